use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::SystemTime,
};

use super::*;

fn surroundings(daemon_mode: bool, stderr_is_journal: bool) -> Surroundings {
    Surroundings { daemon_mode, stderr_is_journal, color: false }
}

fn record(message: &str) -> Record {
    Record {
        time: SystemTime::UNIX_EPOCH,
        level: tracing::Level::INFO,
        target: "netd",
        source: None,
        message: message.to_owned(),
        fields: Vec::new(),
    }
}

#[test]
fn auto_is_journal_then_syslog_then_stderr() {
    let auto = |daemon, journal, syslog| resolve(&LogTarget::Auto, surroundings(daemon, journal), syslog);
    assert_eq!(auto(false, true, true), LogTarget::Journal);
    assert_eq!(auto(true, true, true), LogTarget::Journal);
    assert_eq!(auto(true, false, true), LogTarget::Syslog);
    assert_eq!(auto(true, false, false), LogTarget::Stderr);
    assert_eq!(auto(false, false, true), LogTarget::Stderr);
    assert_eq!(resolve(&LogTarget::Stderr, surroundings(true, true), true), LogTarget::Stderr);
}

#[test]
fn journal_stream_is_device_and_inode() {
    assert_eq!(parse_stream("8:4711"), Some((8, 4711)));
    for text in ["", "8", "8:", ":4711", "8:x", "-8:1"] {
        assert_eq!(parse_stream(text), None, "{text}");
    }
    let stat = fstat(io::stderr()).unwrap();
    let stream = format!("{}:{}", stat.st_dev, stat.st_ino);
    assert!(Surroundings::look(false, Some(&stream), false).stderr_is_journal);
    assert!(!Surroundings::look(false, Some("8:4711"), false).stderr_is_journal);
    assert!(!Surroundings::look(false, None, false).stderr_is_journal);
    assert!(!Surroundings::look(false, None, true).color);
}

#[test]
fn a_file_is_appended_to_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netd.log");
    for line in ["one\n", "two\n"] {
        open_file(&path).unwrap().write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    let flags = fcntl(open_file(&path).unwrap(), FcntlArg::F_GETFL).unwrap();
    assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
}

#[test]
fn only_a_plain_file_of_root_is_given_away() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netd.log");
    let owner = |path: &Path| fs::symlink_metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    open_file(&path).unwrap();
    give_file(&path, 54321, 54322).unwrap();
    assert_eq!(owner(&path), (54321, 54322));
    give_file(&path, 54321, 54322).unwrap();
    assert!(give_file(&path, 54323, 54322).is_err(), "somebody else's");

    // What the user of the directory may have put there in place of the log.
    let secret = directory.path().join("secret");
    open_file(&secret).unwrap();
    let (symbolic, hard) = (directory.path().join("symbolic"), directory.path().join("hard"));
    std::os::unix::fs::symlink(&secret, &symbolic).unwrap();
    fs::hard_link(&secret, &hard).unwrap();
    assert!(give_file(&symbolic, 54321, 54322).is_err());
    assert!(give_file(&hard, 54321, 54322).is_err());
    assert_eq!(owner(&secret).0, 0);
}

#[test]
fn the_destination_is_told_in_words() {
    let config = |target| config::Log { target, level: config::LogLevel::Info, format: LogFormat::Text };
    assert_eq!(destination(&config(LogTarget::Auto), surroundings(false, true)), "the journal");
    assert_eq!(destination(&config(LogTarget::Auto), surroundings(false, false)), "standard error");
    assert_eq!(destination(&config(LogTarget::File("/x".into())), surroundings(true, false)), "/x");
    let nowhere = destination(&config(LogTarget::Stderr), surroundings(true, false));
    assert!(nowhere.contains("nowhere") && nowhere.contains("log.target"), "{nowhere}");
}

#[test]
fn a_destination_that_is_not_there_says_what_to_do() {
    let open = |path: &Path| {
        let config = config::Log {
            target: LogTarget::File(path.to_owned()),
            level: config::LogLevel::Info,
            format: LogFormat::Text,
        };
        Output::open(&config, surroundings(false, false)).unwrap_err()
    };
    let text = open(Path::new("/nonexistent/netd.log"));
    assert!(text.starts_with("log file /nonexistent/netd.log: ") && text.contains("install -d /nonexistent"), "{text}");

    let directory = tempfile::tempdir().unwrap();
    assert!(open(directory.path()).contains("name a file in it"));

    // Nobody reads: an error at once, where a plain open would wait for ever.
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(open(&fifo).contains("log file") && open(&fifo).contains("start what is to read this FIFO"));
    let socket = directory.path().join("socket");
    let _held = UnixDatagram::bind(&socket).unwrap();
    assert!(open(&socket).contains("name another file"), "{}", open(&socket));

    let text = Output::syslog(Path::new("/nonexistent/log")).unwrap_err();
    assert!(text.contains("does a syslog daemon run here?"), "{text}");
    assert!(Output::journal(Path::new("/nonexistent/log")).unwrap_err().contains("systemd-journald"));
}

#[test]
fn syslog_is_found_again_after_it_was_started_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let heard = |daemon: &UnixDatagram| {
        let mut buffer = [0; 256];
        let length = daemon.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let daemon = UnixDatagram::bind(&path).unwrap();
    let mut output = Output::syslog(&path).unwrap();
    output.write(&record("first")).unwrap();
    assert!(heard(&daemon).ends_with(": first"));

    drop(daemon);
    assert!(output.write(&record("lost")).is_err());
    fs::remove_file(&path).unwrap();
    let daemon = UnixDatagram::bind(&path).unwrap();
    output.write(&record("second")).unwrap();
    assert!(heard(&daemon).ends_with(": second"));

    let mut output = Output::journal(&path).unwrap();
    output.write(&record("third")).unwrap();
    assert!(heard(&daemon).starts_with("MESSAGE=third\nPRIORITY=6\n"));
}

#[test]
fn a_detached_daemon_without_standard_error_or_syslog_is_unseen() {
    let config = |target| config::Log { target, level: config::LogLevel::Info, format: LogFormat::Text };
    assert!(unseen(&config(LogTarget::Stderr)).is_some_and(|why| why.contains("set log.target to a file")));
    assert_eq!(unseen(&config(LogTarget::File(PathBuf::from("/var/log/netd.log")))), None);
    assert_eq!(unseen(&config(LogTarget::Syslog)), None);
}
