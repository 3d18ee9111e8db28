//! Giving up root's privileges for good (setuid(2), capabilities(7)).
//!
//! What needs them (low ports, the pid file, the admin socket's directory)
//! must be open before. The order matters: supplementary groups and the group
//! first, as only root may; the user last.

use std::{ffi::CString, fs, io, path::Path};

use nix::{
    sys::prctl,
    unistd::{Gid, Group, Uid, User, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid},
};

/// Whom to become. Resolved once, so that nothing is looked up afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For messages: the user's name, or its number.
    pub user: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups, with `gid`, ascending.
    pub groups: Vec<u32>,
}

/// Why an identity cannot be taken on. The text says what would be right.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No such user or group, or not enough is known of it.
    #[error("{0}")]
    Unknown(String),
    /// Only root may become somebody else.
    #[error(
        "process.user is `{wanted}`, but netd was started by user {current}, and only root may become another user; start it as root or leave the setting out"
    )]
    NotRoot {
        /// From the configuration.
        wanted: String,
        /// Effective user id.
        current: u32,
    },
    /// The user database cannot be read.
    #[error("the user database cannot be read: {0}")]
    Database(io::Error),
}

impl Identity {
    /// Looks up what the configuration names; `None` if it names nobody.
    /// The groups are the user's own and all that list it as a member.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, IdentityError> {
        let Some(user) = user else {
            return match group {
                None => Ok(None),
                Some(group) => Err(IdentityError::Unknown(format!(
                    "process.group is `{group}`, but process.user is not set; set both or none"
                ))),
            };
        };
        let entry = find_user(user)?;
        let uid = match (&entry, user.parse()) {
            (Some(entry), _) => entry.uid.as_raw(),
            (None, Ok(uid)) => uid,
            (None, Err(_)) => {
                return Err(IdentityError::Unknown(format!(
                    "there is no user `{user}`; `useradd --system --no-create-home --shell /usr/sbin/nologin {user}` makes it"
                )));
            }
        };
        let gid = match (group, &entry) {
            (Some(group), _) => find_group(group)?,
            (None, Some(entry)) => entry.gid.as_raw(),
            (None, None) => {
                return Err(IdentityError::Unknown(format!(
                    "user {uid} has no entry in the user database, so its group is not known; set process.group too"
                )));
            }
        };
        let mut groups = match &entry {
            Some(entry) => member_of(&entry.name, gid)?,
            None => vec![gid],
        };
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Ok(Some(Self { user: user.to_owned(), uid, gid, groups }))
    }

    /// Checks that this process may become it: it is root, or is it already.
    ///
    /// # Errors
    /// [`IdentityError::NotRoot`].
    pub fn check(&self) -> Result<(), IdentityError> {
        let current = Uid::effective();
        if current.is_root() || current.as_raw() == self.uid {
            return Ok(());
        }
        Err(IdentityError::NotRoot { wanted: self.user.clone(), current: current.as_raw() })
    }
}

/// Becomes `identity` for good: groups, group, user, in real, effective and
/// saved ids, without capabilities, and checks that nothing of it can be taken
/// back. For a process that is that user already, only the last points apply.
///
/// Either way no later exec can gain privileges (PR_SET_NO_NEW_PRIVS: set-uid
/// files have no effect), and core dumps (and with them ptrace(2) by the same
/// user) are as `core_dumps` says. Applies to all threads.
///
/// # Errors
/// What the system says, or what could be taken back. The process must not go
/// on after an error.
pub fn drop_privileges(identity: &Identity, core_dumps: bool) -> io::Result<()> {
    identity.check().map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()))?;
    become_identity(&mut Kernel, identity)?;
    prctl::set_no_new_privs()?;
    // A change of ids has turned it off.
    prctl::set_dumpable(core_dumps)?;
    Ok(())
}

/// What the kernel does for it; a fake one in tests.
trait Credentials {
    fn set_groups(&mut self, groups: &[u32]) -> io::Result<()>;
    fn set_gid(&mut self, gid: u32) -> io::Result<()>;
    fn set_uid(&mut self, uid: u32) -> io::Result<()>;
    /// Real, effective, saved.
    fn uids(&self) -> io::Result<[u32; 3]>;
    fn gids(&self) -> io::Result<[u32; 3]>;
    fn groups(&self) -> io::Result<Vec<u32>>;
    /// Whether a permitted, effective or ambient capability is left.
    fn has_capabilities(&self) -> io::Result<bool>;
}

fn become_identity(process: &mut impl Credentials, identity: &Identity) -> io::Result<()> {
    if process.uids()?[1] != 0 {
        // Not root, and already that user. What capabilities it has, its service manager gave on purpose.
        return Ok(());
    }
    process.set_groups(&identity.groups)?;
    process.set_gid(identity.gid)?;
    process.set_uid(identity.uid)?;
    verify(process, identity)
}

fn verify(process: &mut impl Credentials, identity: &Identity) -> io::Result<()> {
    let kept = |what: &str| Err(io::Error::other(format!("privileges were not given up: {what}")));
    if process.uids()? != [identity.uid; 3] {
        return kept("a user id is still another one");
    }
    if process.gids()? != [identity.gid; 3] {
        return kept("a group id is still another one");
    }
    let mut groups = process.groups()?;
    groups.sort_unstable();
    groups.dedup();
    if groups != identity.groups {
        return kept("the supplementary groups are still others");
    }
    if identity.uid == 0 {
        return Ok(());
    }
    if process.has_capabilities()? {
        return kept("a capability is left");
    }
    if process.set_uid(0).is_ok() {
        return kept("root can be had again");
    }
    if identity.gid != 0 && process.set_gid(0).is_ok() {
        return kept("root's group can be had again");
    }
    Ok(())
}

struct Kernel;

impl Credentials for Kernel {
    fn set_groups(&mut self, groups: &[u32]) -> io::Result<()> {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        Ok(setgroups(&groups)?)
    }

    fn set_gid(&mut self, gid: u32) -> io::Result<()> {
        let gid = Gid::from_raw(gid);
        Ok(setresgid(gid, gid, gid)?)
    }

    fn set_uid(&mut self, uid: u32) -> io::Result<()> {
        // Else leaving uid 0 would not clear the permitted set.
        prctl::set_keepcaps(false)?;
        let uid = Uid::from_raw(uid);
        Ok(setresuid(uid, uid, uid)?)
    }

    fn uids(&self) -> io::Result<[u32; 3]> {
        let ids = getresuid()?;
        Ok([ids.real, ids.effective, ids.saved].map(Uid::as_raw))
    }

    fn gids(&self) -> io::Result<[u32; 3]> {
        let ids = getresgid()?;
        Ok([ids.real, ids.effective, ids.saved].map(Gid::as_raw))
    }

    fn groups(&self) -> io::Result<Vec<u32>> {
        Ok(getgroups()?.into_iter().map(Gid::as_raw).collect())
    }

    fn has_capabilities(&self) -> io::Result<bool> {
        let status = fs::read_to_string(Path::new("/proc/thread-self/status"))?;
        Ok(capabilities(&status).any(|set| set != 0))
    }
}

/// The permitted, effective and ambient sets of a /proc/PID/status.
fn capabilities(status: &str) -> impl Iterator<Item = u64> {
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| matches!(*name, "CapPrm" | "CapEff" | "CapAmb"))
        // What cannot be read counts as all of them.
        .map(|(_, set)| u64::from_str_radix(set.trim(), 16).unwrap_or(u64::MAX))
}

/// A name, else a number.
fn find_user(user: &str) -> Result<Option<User>, IdentityError> {
    let named = User::from_name(user).map_err(database)?;
    match (named, user.parse()) {
        (None, Ok(uid)) => User::from_uid(Uid::from_raw(uid)).map_err(database),
        (named, _) => Ok(named),
    }
}

/// A name, else a number.
fn find_group(group: &str) -> Result<u32, IdentityError> {
    match (Group::from_name(group).map_err(database)?, group.parse()) {
        (Some(entry), _) => Ok(entry.gid.as_raw()),
        (None, Ok(gid)) => Ok(gid),
        (None, Err(_)) => {
            Err(IdentityError::Unknown(format!("there is no group `{group}`; `groupadd --system {group}` makes it")))
        }
    }
}

fn member_of(user: &str, gid: u32) -> Result<Vec<u32>, IdentityError> {
    let name = CString::new(user).map_err(|error| IdentityError::Database(error.into()))?;
    Ok(getgrouplist(&name, Gid::from_raw(gid)).map_err(database)?.into_iter().map(Gid::as_raw).collect())
}

fn database(error: nix::Error) -> IdentityError {
    IdentityError::Database(error.into())
}

#[cfg(test)]
mod tests;
