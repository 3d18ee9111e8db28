use super::*;
use crate::process::testing;

fn somebody() -> Identity {
    Identity { user: "netd".to_owned(), uid: 900, gid: 901, groups: vec![20, 901] }
}

/// A kernel that writes down what is asked of it.
struct Fake {
    asked: Vec<String>,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// The user id that stays behind as saved one.
    saved_uid: Option<u32>,
    capabilities: bool,
    /// Root can be had again.
    leaky: bool,
    ignores_groups: bool,
}

impl Fake {
    fn root() -> Self {
        Self {
            asked: Vec::new(),
            uid: 0,
            gid: 0,
            groups: vec![0, 4, 27],
            saved_uid: None,
            capabilities: false,
            leaky: false,
            ignores_groups: false,
        }
    }

    fn permit(&self) -> io::Result<()> {
        if self.uid == 0 || self.leaky { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Credentials for Fake {
    fn set_groups(&mut self, groups: &[u32]) -> io::Result<()> {
        self.permit()?;
        self.asked.push(format!("groups {groups:?}"));
        if !self.ignores_groups {
            self.groups = groups.to_vec();
        }
        Ok(())
    }

    fn set_gid(&mut self, gid: u32) -> io::Result<()> {
        self.permit()?;
        self.asked.push(format!("gid {gid}"));
        self.gid = gid;
        Ok(())
    }

    fn set_uid(&mut self, uid: u32) -> io::Result<()> {
        self.permit()?;
        self.asked.push(format!("uid {uid}"));
        self.uid = uid;
        Ok(())
    }

    fn uids(&self) -> io::Result<[u32; 3]> {
        Ok([self.uid, self.uid, self.saved_uid.unwrap_or(self.uid)])
    }

    fn gids(&self) -> io::Result<[u32; 3]> {
        Ok([self.gid; 3])
    }

    fn groups(&self) -> io::Result<Vec<u32>> {
        Ok(self.groups.clone())
    }

    fn has_capabilities(&self) -> io::Result<bool> {
        Ok(self.capabilities)
    }
}

#[test]
fn groups_go_first_and_the_user_last() {
    let mut kernel = Fake::root();
    become_identity(&mut kernel, &somebody()).unwrap();
    assert_eq!(kernel.asked, ["groups [20, 901]", "gid 901", "uid 900"]);
}

#[test]
fn whatever_can_be_taken_back_is_an_error() {
    let wrong = |change: fn(&mut Fake)| {
        let mut kernel = Fake::root();
        change(&mut kernel);
        become_identity(&mut kernel, &somebody()).unwrap_err().to_string()
    };
    assert!(wrong(|kernel| kernel.saved_uid = Some(0)).contains("a user id is still another"));
    assert!(wrong(|kernel| kernel.ignores_groups = true).contains("supplementary groups"));
    assert!(wrong(|kernel| kernel.capabilities = true).contains("a capability is left"));
    assert!(wrong(|kernel| kernel.leaky = true).contains("root can be had again"));
}

#[test]
fn who_is_that_user_already_changes_nothing() {
    let mut kernel = Fake { uid: 900, gid: 100, ..Fake::root() };
    become_identity(&mut kernel, &somebody()).unwrap();
    assert!(kernel.asked.is_empty());
}

#[test]
fn to_stay_root_is_allowed() {
    let mut kernel = Fake { capabilities: true, ..Fake::root() };
    become_identity(&mut kernel, &Identity { user: "root".to_owned(), uid: 0, gid: 0, groups: vec![0] }).unwrap();
    assert_eq!(kernel.asked, ["groups [0]", "gid 0", "uid 0"]);
}

#[test]
fn users_and_groups_are_found_by_name_or_number() {
    let resolve = |user, group| Identity::resolve(user, group);
    assert_eq!(resolve(None, None).unwrap(), None);
    let root = resolve(Some("root"), None).unwrap().unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
    assert_eq!(resolve(Some("0"), None).unwrap().unwrap().groups, root.groups);

    let number = resolve(Some("54321"), Some("54322")).unwrap().unwrap();
    assert_eq!(number, Identity { user: "54321".to_owned(), uid: 54321, gid: 54322, groups: vec![54322] });

    let other_group = resolve(Some("root"), Some("54322")).unwrap().unwrap();
    assert_eq!(other_group.gid, 54322);
    assert!(other_group.groups.contains(&54322) && other_group.groups.is_sorted());
}

#[test]
fn an_unknown_one_says_what_to_do() {
    let wrong = |user, group| Identity::resolve(user, group).unwrap_err().to_string();
    let text = wrong(Some("netdd"), None);
    assert!(text.contains("no user `netdd`") && text.contains("useradd --system"), "{text}");
    let text = wrong(Some("root"), Some("netdd"));
    assert!(text.contains("no group `netdd`") && text.contains("groupadd --system"), "{text}");
    assert!(wrong(Some("54321"), None).contains("set process.group too"));
    assert!(wrong(None, Some("root")).contains("process.user is not set"));
    let text = IdentityError::NotRoot { wanted: "netd".to_owned(), current: 1000 }.to_string();
    assert!(text.contains("only root may become another user"), "{text}");
}

#[test]
fn capabilities_are_read_from_status() {
    let status = "Name:\tx\nCapInh:\t00ff\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000400\nCapAmb:\t0\n";
    assert_eq!(capabilities(status).collect::<Vec<_>>(), [0, 0x400, 0]);
    assert_eq!(capabilities("CapEff:\tnonsense").collect::<Vec<_>>(), [u64::MAX]);
}

#[test]
fn privileges_are_really_gone() {
    if Uid::effective().is_root() {
        testing::in_own_process("process::privileges::tests::child_gives_up");
    }
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_gives_up() {
    if !testing::is_own_process() {
        return;
    }
    setgroups(&[Gid::from_raw(0), Gid::from_raw(4)]).unwrap();
    let identity = Identity::resolve(Some("54321"), Some("54322")).unwrap().unwrap();
    drop_privileges(&identity, false).unwrap();

    // Of every thread, not of this one alone.
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let fields = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(fields("Uid"), ["54321"; 4]);
        assert_eq!(fields("Gid"), ["54322"; 4]);
        assert_eq!(fields("Groups"), ["54322"]);
        assert_eq!(fields("CapEff"), ["0000000000000000"]);
        assert_eq!(fields("CapPrm"), ["0000000000000000"]);
        assert_eq!(fields("CapAmb"), ["0000000000000000"]);
    }
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t1"));
    assert!(!prctl::get_dumpable().unwrap());
    assert!(setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err());
    assert!(fs::read("/etc/shadow").is_err());
    assert!(std::net::TcpListener::bind("127.0.0.1:1").is_err() || low_ports_are_free());

    // Again is no fault; another user is.
    drop_privileges(&identity, true).unwrap();
    assert!(prctl::get_dumpable().unwrap());
    let other = Identity { uid: 54323, ..identity };
    assert_eq!(drop_privileges(&other, false).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}

/// Some containers let everybody bind every port.
fn low_ports_are_free() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").is_ok_and(|start| start.trim() == "0")
}
