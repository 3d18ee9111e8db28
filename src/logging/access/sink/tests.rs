use std::fs;

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;

fn batch(lines: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        batch.text.push_str(line);
        batch.text.push('\n');
        batch.ends.push(batch.text.len());
    }
    batch
}

fn open_file(path: &Path) -> Sink {
    Sink::open(&AccessTarget::File(path.to_owned())).unwrap().unwrap()
}

#[test]
fn a_detached_daemon_has_no_standard_error() {
    use crate::{config::AccessLog, logging::AccessLogging};
    let unseen = |target| AccessLogging::unseen_if_detached(&AccessLog { target, ..AccessLog::OFF });
    assert!(unseen(AccessTarget::Stderr).is_some_and(|why| why.contains("set access_log.target to a file")));
    assert_eq!(unseen(AccessTarget::Off), None);
    assert_eq!(unseen(AccessTarget::File("/a".into())), None);
}

#[test]
fn lines_are_appended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access");
    fs::write(&path, "old\n").unwrap();
    let (written, result) = open_file(&path).write(&batch(&["one", "two"]), &|| false);
    assert!(written == 2 && result.is_ok());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old\none\ntwo\n");
}

#[test]
fn what_cannot_be_opened_is_told_with_the_way_out() {
    assert!(Sink::open(&AccessTarget::Off).unwrap().is_none());
    let error = Sink::open(&AccessTarget::File("/nonexistent/access".into())).unwrap_err();
    assert!(error.starts_with("access log file /nonexistent/access: ") && error.contains("install -d"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let error = Sink::open(&AccessTarget::File(directory.path().to_owned())).unwrap_err();
    assert!(error.contains("name a file in it"), "{error}");
}

#[test]
fn a_fifo_without_a_reader_takes_what_it_has_room_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut sink = open_file(&path);
    let line = "x".repeat(999);
    let lines = vec![line.as_str(); 100];
    let (written, result) = sink.write(&batch(&lines), &|| true);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!((1..100).contains(&written), "{written}");
    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let mut read = vec![0; 1 << 20];
    let length = io::Read::read(&mut reader, &mut read).unwrap();
    assert_eq!(read[..length].iter().filter(|byte| **byte == b'\n').count(), written);
    let (written, result) = sink.write(&batch(&["somebody reads"]), &|| false);
    assert!(written == 1 && result.is_ok());
    let length = io::Read::read(&mut reader, &mut read).unwrap();
    assert!(read[..length].ends_with(b"\nsomebody reads\n"));
}

/// Another destination is let in; the line that was begun is not glued to the
/// next one.
#[test]
fn a_fifo_that_nobody_reads_is_given_up_for_another_destination() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let mut sink = open_file(&path);
    let line = "x".repeat(60_000);
    let (written, result) = sink.write(&batch(&[line.as_str(); 3]), &|| true);
    assert_eq!((written, result.unwrap_err().kind()), (1, ErrorKind::TimedOut));
    let mut read = vec![0; 1 << 20];
    let length = io::Read::read(&mut reader, &mut read).unwrap();
    assert!(read[..length].contains(&b'\n') && !read[..length].ends_with(b"\n"), "the second line is torn");
    let (written, result) = sink.write(&batch(&["whole"]), &|| false);
    assert!(written == 1 && result.is_ok());
    let length = io::Read::read(&mut reader, &mut read).unwrap();
    assert_eq!(&read[..length], b"\nwhole\n");
}

#[test]
fn a_full_device_refuses_and_says_so() {
    let (written, result) = open_file(Path::new("/dev/full")).write(&batch(&["one", "two"]), &|| false);
    assert_eq!((written, result.unwrap_err().raw_os_error()), (0, Some(libc::ENOSPC)));
}

#[test]
fn a_pipe_gets_whole_lines_in_pieces_that_it_has_room_for() {
    let short = "s".repeat(99);
    let lines: Vec<&str> = vec![&short; 100];
    let batch = batch(&lines);
    let (mut done, mut pieces) = (0, 0);
    while done < batch.text.len() {
        let end = batch.piece(done);
        assert!(end > done && end - done <= PIECE && batch.text[done..end].ends_with('\n'));
        (done, pieces) = (end, pieces + 1);
    }
    assert_eq!(pieces, 3);
    let long = self::batch(&["l".repeat(3 * PIECE).as_str(), "s"]);
    assert_eq!(long.piece(0), 3 * PIECE + 1, "a line that is too long goes alone");
}
