use std::{
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{Child, Stdio},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use nix::sys::wait::{WaitPidFlag, waitpid};

use super::*;
use crate::process::testing;

fn path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netd.pid");
    (directory, path)
}

#[test]
fn the_file_has_our_id_and_goes_with_us() {
    let (_directory, path) = path();
    assert_eq!(holder(&path).unwrap(), Holder::Missing);
    let file = PidFile::acquire(&path).unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{own}\n"));
    assert_eq!(holder(&path).unwrap(), Holder::Running(own));
    assert_eq!(file.taken_over(), None);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o133, 0, "written by its owner only");
    file.remove().unwrap();
    assert!(!path.exists());

    drop(PidFile::acquire(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_second_one_hears_who_was_first() {
    let (_directory, path) = path();
    let _first = PidFile::acquire(&path).unwrap();
    let error = PidFile::acquire(&path).unwrap_err();
    let PidFileError::AlreadyRunning { pid, command, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(i32::try_from(std::process::id()).unwrap()));
    let text = error.to_string();
    assert!(text.contains(&format!("process {} ({})", pid.unwrap(), command.as_ref().unwrap())), "{text}");
    assert!(path.exists(), "the loser has not removed it");
}

#[test]
fn of_fifty_at_once_exactly_one_wins() {
    let (_directory, path) = path();
    for _ in 0..20 {
        let start = Barrier::new(50);
        let files: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..50)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        PidFile::acquire(&path)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(files.iter().filter(|file| file.is_ok()).count(), 1);
        assert!(
            files
                .iter()
                .filter_map(|file| file.as_ref().err())
                .all(|e| matches!(e, PidFileError::AlreadyRunning { .. }))
        );
    }
}

#[test]
fn no_two_hold_it_while_others_come_and_go() {
    let (_directory, path) = path();
    let inside = AtomicUsize::new(0);
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if let Ok(file) = PidFile::acquire(&path) {
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        won.fetch_add(1, SeqCst);
                        inside.fetch_sub(1, SeqCst);
                        file.remove().unwrap();
                    }
                }
            });
        }
    });
    assert!(won.into_inner() > 0);
}

#[test]
fn a_stale_file_is_taken_over_even_if_its_number_lives() {
    let (_directory, path) = path();
    // Process 1 runs, but has not locked it: its number was given anew, or it is another program's file.
    fs::write(&path, "1\n").unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Stale(Some(1)));
    let file = PidFile::acquire(&path).unwrap();
    assert_eq!(file.taken_over(), Some(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    drop(file);
    fs::write(&path, "what is this, a very long line that is no number at all").unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Stale(None));
    assert_eq!(PidFile::acquire(&path).unwrap().taken_over(), None);
}

#[test]
fn a_file_put_in_its_place_is_not_removed() {
    let (_directory, path) = path();
    let file = PidFile::acquire(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "other\n").unwrap();
    file.remove().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "other\n");
}

#[test]
fn what_is_no_pid_file_is_refused_with_a_hint() {
    let (directory, path) = path();
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let text = PidFile::acquire(&path).unwrap_err().to_string();
    assert!(text.contains("symbolic link"), "{text}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");

    let text = PidFile::acquire(Path::new("/nonexistent/netd.pid")).unwrap_err().to_string();
    assert!(text.contains("install -d /nonexistent"), "{text}");

    assert!(PidFile::acquire(directory.path()).is_err());
    assert!(matches!(PidFile::acquire(Path::new("/dev/null")), Err(PidFileError::NotAFile(_))));
}

#[test]
fn only_positive_numbers_are_ids() {
    assert_eq!(parse_pid(b"42\n"), Some(42));
    assert_eq!(parse_pid(b" 42 \n"), Some(42));
    for bytes in [&b""[..], b"\n", b"0", b"-1\n", b"99999999999", b"1 2", b"\xff"] {
        assert_eq!(parse_pid(bytes), None, "{bytes:?}");
    }
}

#[test]
fn exit_codes_are_those_of_the_lsb() {
    assert_eq!(
        [Holder::Running(1), Holder::Stale(None), Holder::Missing, Holder::Empty].map(Holder::exit_code),
        [0, 1, 3, 3]
    );
}

/// Starts a process that holds the pid file until it is killed.
fn daemon(path: &Path) -> Child {
    let mut daemon = testing::own_process("process::pidfile::tests::child_holds_the_file")
        .env("NETD_TEST_PID_FILE", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(daemon.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains("holding") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended");
    }
    daemon
}

#[test]
#[ignore = "run in a process of its own by other tests"]
fn child_holds_the_file() {
    if !testing::is_own_process() {
        return;
    }
    let _file = PidFile::acquire(Path::new(&testing::env("NETD_TEST_PID_FILE").unwrap())).unwrap();
    println!("holding");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_daemon_is_stopped_and_its_leftover_taken_over() {
    let (_directory, path) = path();
    let mut child = daemon(&path);
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(holder(&path).unwrap(), Holder::Running(pid));
    let status = std::thread::spawn(move || child.wait().unwrap());

    assert_eq!(stop(&path, Duration::from_secs(60)).unwrap(), Stopped { pid });
    assert_eq!(status.join().unwrap().signal(), Some(libc::SIGTERM));

    // SIGTERM's default action has left the file behind.
    assert_eq!(holder(&path).unwrap(), Holder::Stale(Some(pid)));
    let error = stop(&path, Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), format!("netd does not run (process {pid} left its pid file)"));
    assert_eq!(PidFile::acquire(&path).unwrap().taken_over(), Some(pid));
    assert!(matches!(stop(&path, Duration::ZERO), Err(StopError::NotRunning { stale: None })));
}

#[test]
fn a_daemon_that_does_not_end_in_time_is_reported() {
    let (_directory, path) = path();
    let mut child = daemon(&path);
    let pid = i32::try_from(child.id()).unwrap();
    // A stopped process gets SIGTERM only when it goes on.
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WUNTRACED)).unwrap();
    let error = stop(&path, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, StopError::TimedOut { pid: told, .. } if told == pid));
    assert!(error.to_string().contains("still drains after 1ms"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn where_it_cannot_be_removed_it_is_emptied() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (directory, path) = path();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = testing::own_process("process::pidfile::tests::child_without_privileges");
    let output = command.env("NETD_TEST_PID_FILE", &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(holder(&path).unwrap(), Holder::Empty);
    drop(PidFile::acquire(&path).unwrap());
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_without_privileges() {
    if !testing::is_own_process() {
        return;
    }
    let file = PidFile::acquire(Path::new(&testing::env("NETD_TEST_PID_FILE").unwrap())).unwrap();
    nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
    file.remove().unwrap();
}
