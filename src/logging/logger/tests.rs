use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::mpsc,
};

use tracing::{debug, error, info, info_span, trace, warn};

use super::*;
use crate::{
    config::LogFormat,
    logging::{record::MAX_TEXT, writer::MAX_WAITING},
};

fn config(target: LogTarget, level: LogLevel) -> config::Log {
    config::Log { target, level, format: LogFormat::Text }
}

const PLAIN: Surroundings = Surroundings { daemon_mode: false, stderr_is_journal: false, color: false };

/// A log into a file, for this thread alone.
fn log_to(path: &Path, level: LogLevel, body: impl FnOnce(&Logging)) {
    let config = config(LogTarget::File(path.to_owned()), level);
    let output = Output::open(&config, PLAIN).unwrap();
    let logging = Logging::with_output(&config, PLAIN, output).unwrap();
    let subscriber = tracing_subscriber::registry().with(logging.layer());
    tracing::subscriber::with_default(subscriber, || body(&logging));
    assert!(flush(&logging));
}

/// However slow the machine is.
fn flush(logging: &Logging) -> bool {
    logging.queue.flush(Duration::from_secs(600))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn lines_are_written_in_order_with_fields_and_spans() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    log_to(&path, LogLevel::Info, |logging| {
        info!(listener = "web", count = 3, "bound");
        let span = info_span!("worker", worker = 1, cpu = tracing::field::Empty);
        span.in_scope(|| {
            span.record("cpu", 7);
            warn!(error = %io::Error::from_raw_os_error(24), "accept failed");
        });
        assert!(flush(logging));
    });
    let text = read(&path);
    let lines: Vec<&str> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
    assert_eq!(lines[0], "INFO  logging: bound listener=web count=3");
    assert_eq!(lines[1], "WARN  logging: accept failed worker=1 cpu=7 error=\"Too many open files (os error 24)\"");
    assert_eq!(lines.len(), 2);
}

#[test]
fn the_level_changes_while_running_and_dependencies_keep_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    log_to(&path, LogLevel::Info, |logging| {
        let say = || {
            debug!("own debug");
            info!(target: "h2::proto", "foreign info");
            warn!(target: "h2::proto", "foreign warning");
        };
        say();
        assert_eq!(logging.set_level(LogLevel::Trace), LogLevel::Info);
        say();
        trace!("own trace");
        assert_eq!(logging.set_level(LogLevel::Error), LogLevel::Trace);
        say();
        error!("own error");
        assert_eq!(logging.level(), LogLevel::Error);
    });
    let text = read(&path);
    assert_eq!(text.matches("own debug").count(), 1);
    assert_eq!(text.matches("foreign warning").count(), 2);
    assert_eq!(text.matches("foreign info").count(), 0);
    assert_eq!(text.matches("own trace").count(), 1);
    assert_eq!(text.matches("own error").count(), 1);
}

#[test]
fn a_rotated_file_is_left_alone_after_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("log"), directory.path().join("log.1"));
    log_to(&path, LogLevel::Info, |logging| {
        info!("before");
        assert!(flush(logging));
        fs::rename(&path, &rotated).unwrap();
        info!("between");
        assert!(flush(logging));
        logging.reopen().unwrap();
        info!("after");
    });
    assert!(read(&rotated).contains("before") && read(&rotated).contains("between"));
    assert!(read(&path).contains("after") && !read(&path).contains("between"));
}

#[test]
fn a_reload_moves_the_log_or_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("log"), directory.path().join("other"));
    log_to(&path, LogLevel::Info, |logging| {
        info!("first");
        assert!(flush(logging));
        let wrong = config(LogTarget::File("/nonexistent/log".into()), LogLevel::Trace);
        assert!(logging.apply(&wrong).unwrap_err().contains("/nonexistent"));
        assert_eq!(logging.level(), LogLevel::Info);
        info!("second");
        assert!(flush(logging));
        let mut json = config(LogTarget::File(other.clone()), LogLevel::Debug);
        json.format = LogFormat::Json;
        logging.apply(&json).unwrap();
        debug!("third");
    });
    assert!(read(&path).contains("second") && !read(&path).contains("third"));
    let line: serde_json::Value = serde_json::from_str(&read(&other)).unwrap();
    assert_eq!((&line["message"], &line["level"]), (&"third".into(), &"debug".into()));
}

/// Blocks until told, then forwards.
struct Blocked {
    gate: mpsc::Receiver<()>,
    open: bool,
    out: mpsc::Sender<String>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open {
            self.gate.recv().map_err(io::Error::other)?;
            self.open = true;
        }
        self.out.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_destination_that_blocks_stops_nobody_and_lost_lines_are_counted() {
    let (unblock, gate) = mpsc::channel();
    let (out, lines) = mpsc::channel();
    let output =
        Output::Stream { stream: Box::new(Blocked { gate, open: false, out }), format: LogFormat::Text, color: false };
    let logging = Logging::with_output(&config(LogTarget::Stderr, LogLevel::Info), PLAIN, output).unwrap();
    let subscriber = tracing_subscriber::registry().with(logging.layer());
    let written = 2 * MAX_WAITING;
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..written {
            info!(number, "line");
        }
        // All that could wait does, and perhaps one is in the writer's hands.
        let lost = logging.lost() as usize;
        assert!((written - MAX_WAITING - 1..=written - MAX_WAITING).contains(&lost), "{lost}");
        assert!(!logging.queue.flush(Duration::from_millis(1)));
        unblock.send(()).unwrap();
        assert!(flush(&logging));
        let (told, lines): (Vec<String>, Vec<String>) = lines.try_iter().partition(|line| line.contains("were lost"));
        let told = told.iter().map(|line| {
            let count = line.split_once("logging: ").unwrap().1.split(' ').next().unwrap();
            count.parse::<usize>().unwrap()
        });
        assert_eq!(told.sum::<usize>(), lost);
        assert_eq!(lines.len() + lost, written);
    });
}

#[test]
fn a_record_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    log_to(&path, LogLevel::Info, |_| {
        info!(field = "b".repeat(10), "{}", "ä".repeat(MAX_TEXT));
    });
    let text = read(&path);
    assert!(text.len() < MAX_TEXT + 200 && text.contains("ä… field=…"));
}

#[test]
fn a_panic_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let test = "logging::logger::tests::child_logs_for_the_whole_process";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("NETD_TEST_LOG", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = read(&path);
    assert!(text.contains("ERROR netd: panic: out of cheese place="), "{text}");
    assert!(text.contains("thread=victim"), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("out of cheese"), "the default action follows");
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn child_logs_for_the_whole_process() {
    #[expect(clippy::disallowed_methods, reason = "how a test tells its own process what to do")]
    let Ok(path) = std::env::var("NETD_TEST_LOG") else { return };
    let config = config(LogTarget::File(path.into()), LogLevel::Info);
    let logging = Logging::start(&config, false, None).unwrap();
    assert!(Logging::start(&config, false, None).unwrap_err().contains("cannot start the log"));
    let victim = std::thread::Builder::new().name("victim".to_owned()).spawn(|| panic!("out of {}", "cheese")).unwrap();
    assert!(victim.join().is_err());
    drop(logging);
}
