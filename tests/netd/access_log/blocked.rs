//! Destinations that take nothing, or nothing more.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::fs::OpenOptionsExt,
    process::Command,
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::{ECHO, access, read};
use crate::support::{Client, Daemon, Finished, Setup, eventually, is_root};

fn dropped(daemon: &Daemon, cause: &str) -> f64 {
    daemon.metrics().one("netd_access_log_dropped_total", &[("cause", cause)])
}

/// Connections come and go; each is served at once.
fn visit(daemon: &Daemon, times: usize) {
    let address = daemon.address("echo");
    for _ in 0..times {
        let mut client = Client::connect(address);
        client.echo(b"served");
        client.reset();
    }
}

#[test]
fn a_fifo_that_nobody_reads_yet_is_no_reason_not_to_start() {
    let config = format!("{}{ECHO}", access(""));
    let setup = Setup::config(&config);
    let path = setup.path("access");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    let daemon = setup.start();
    visit(&daemon, 1);
    daemon.netctl(&["reload"]).ended_with(0);
    let reader = OpenOptions::new().read(true).open(&path).expect("a reader");
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["listener"], "echo", "what came before somebody read is there");
}

#[test]
fn a_fifo_that_nobody_reads_holds_up_nobody() {
    let config = format!("[workers]\ncount = 1\n{}{ECHO}", access(""));
    let setup = Setup::config(&config);
    let path = setup.path("access");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a reader");
    let daemon = setup.start();
    // 64 KiB in the pipe, a batch in the writer's hands, 4096 in the queue.
    let mut visits = 0;
    eventually("lines are dropped", || {
        visit(&daemon, 500);
        visits += 500;
        (dropped(&daemon, "behind") > 0.0).then_some(())
    });
    daemon.logs("lines of the access log are dropped: its destination does not keep up");
    let said = daemon.log().matches("does not keep up").count();
    visit(&daemon, 200);
    visits += 200;
    assert_eq!(daemon.log().matches("does not keep up").count(), said, "once in a while");
    daemon.becomes_idle();

    // Read at last: what waited comes, whole; and what was dropped is known.
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).expect("a FIFO");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            let line = line.expect("a line");
            serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    let mut received = 0;
    eventually("every line was read or dropped", || {
        received += lines.try_iter().count();
        (received + dropped(&daemon, "behind") as usize == visits).then_some(())
    });
    assert_eq!(dropped(&daemon, "refused"), 0.0);
}

#[test]
fn a_reload_leaves_a_fifo_that_nobody_reads_and_a_stop_does_not_wait_for_it() {
    let setup = Setup::config(&format!("{}{ECHO}", access("")));
    let path = setup.path("access");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a reader");
    let mut daemon = setup.start();
    visit(&daemon, 600);
    let other = format!("[access_log]\ntarget = \"file:DIR/other\"\n{ECHO}");
    daemon.rewrite(&other);
    daemon.ask(&["reload"]);
    let other = daemon.path("other");
    eventually("lines go there", || {
        visit(&daemon, 1);
        (!read(&other).is_empty()).then_some(())
    });
    daemon.rewrite(&format!("{}{ECHO}", access("")));
    daemon.ask(&["reload"]);
    visit(&daemon, 600);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait();
}

#[test]
fn a_full_disk_drops_lines_and_delays_nobody() {
    if !is_root("a small file system") {
        return;
    }
    let setup = Setup::config(&format!("[access_log]\ntarget = \"file:DIR/small/access\"\n{ECHO}"));
    let small = setup.path("small");
    fs::create_dir(&small).expect("a directory");
    let mount = |program: &str, arguments: &[&str]| Finished::run(Command::new(program).args(arguments).arg(&small));
    let mounted = mount("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
    if mounted.code() != Some(0) {
        eprintln!("skipped: no file system can be mounted here: {}", mounted.story());
        return;
    }
    let daemon = setup.start();
    eventually("the file system is full", || {
        visit(&daemon, 100);
        (dropped(&daemon, "refused") > 0.0).then_some(())
    });
    daemon.logs("its destination does not take them: No space left on device");
    // Room again: lines are whole again, behind one that may be torn.
    fs::File::options().write(true).open(small.join("access")).and_then(|file| file.set_len(0)).expect("a file");
    let text = eventually("lines are written again", || {
        visit(&daemon, 10);
        let text = fs::read_to_string(small.join("access")).expect("a file");
        (text.matches('\n').count() >= 5).then_some(text)
    });
    let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert!(whole >= 4, "{text}");
    drop(daemon);
    assert_eq!(mount("umount", &["-l"]).code(), Some(0));
}

#[test]
fn what_a_destination_has_not_taken_is_counted_when_the_old_process_ends() {
    const VISITS: usize = 2000;
    let setup = Setup::config(&format!("[workers]\ncount = 1\n{}{ECHO}", access("")));
    let path = setup.path("access");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a reader");
    let mut daemon = setup.start();
    visit(&daemon, VISITS);
    daemon.becomes_idle();
    let written = |daemon: &Daemon| daemon.metrics().one("netd_access_log_lines_total", &[]);
    let before = written(&daemon);
    daemon.upgrade(&[]);
    assert!(written(&daemon) >= before, "counters go on");
    daemon.logs("lines of the access log are dropped at the end");
    eventually("every line is counted once", || {
        let all = written(&daemon) + dropped(&daemon, "refused") + dropped(&daemon, "behind");
        (all as usize == VISITS).then_some(())
    });
    assert!(dropped(&daemon, "refused") > 0.0);
    daemon.upgrade(&[]);
    let all = written(&daemon) + dropped(&daemon, "refused") + dropped(&daemon, "behind");
    assert_eq!(all as usize, VISITS);
}
