//! The rules. Each answers its breaches.

use std::{collections::BTreeMap, fmt};

use crate::source::{Named, Source, without_test_modules};

/// Most lines of code of a file.
const FILE: usize = 600;
/// Most lines of a function.
const FUNCTION: usize = 80;

/// What each room may import of the others.
const LAW: &[(&str, &[&str])] = &[
    // layer 0: nothing of netd
    ("pb", &[]),
    ("slots", &[]),
    ("sys", &[]),
    ("time", &[]),
    ("wire", &[]),
    // layer 1: layer 0 without sys and pb
    ("balance", &["health", "slots", "time", "wire"]),
    ("config", &["limit", "slots", "time", "wire"]),
    ("health", &["slots", "time", "wire"]),
    ("limit", &["slots", "time", "wire"]),
    ("metrics", &["slots", "time", "wire"]),
    ("protocol", &["slots", "time", "wire"]),
    // layer 2
    ("listen", &["sys", "time"]),
    ("reactor", &["time"]),
    // layer 3: not each other
    ("process", &["config", "listen", "sys", "time"]),
    (
        "worker",
        &[
            "balance", "config", "health", "limit", "listen", "metrics", "protocol", "reactor", "slots", "sys", "time",
            "wire",
        ],
    ),
    // layer 4: layers 1 to 3
    (
        "control",
        &["balance", "config", "health", "limit", "listen", "metrics", "process", "protocol", "reactor", "worker"],
    ),
    ("discovery", &["config", "control"]),
    ("probe", &["config", "control", "health", "listen"]),
    // layer 5: control's vocabulary, values of layer 1, pb
    ("admin", &["config", "control", "metrics", "pb", "protocol"]),
    ("cli", &["config", "control", "pb"]),
    // the one edge that holds sockets: it passes them on
    (
        "handover",
        &["config", "control", "listen", "metrics", "pb", "process", "protocol", "sys", "time", "wire", "worker"],
    ),
];

/// Rooms that may import everything.
const ROOT: &[&str] = &["bin", "daemon", "lib", "logging"];

/// What the logic of layer 1 must not name.
const IMPURE: &[&str] = &[
    "mio",
    "tokio",
    "tonic",
    "socket2",
    "nix",
    "libc",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "env::var",
    "std::fs",
    "std::thread",
    "std::process",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "tracing",
];

const ATOMICS: &[&str] = &["std::sync::atomic"];

/// Which room must not name what.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("balance", IMPURE),
    ("config", IMPURE),
    ("health", IMPURE),
    ("limit", IMPURE),
    ("metrics", IMPURE),
    ("protocol", IMPURE),
    ("balance", ATOMICS),
    ("config", ATOMICS),
    ("limit", ATOMICS),
    ("protocol", ATOMICS),
    ("reactor", &["tokio"]),
    ("listen", &["tokio"]),
    ("process", &["tokio", "tonic", "tracing"]),
    ("worker", &["tokio", "tonic", "prost"]),
    ("control", &["tonic", "prost", "axum", "mio"]),
    ("admin", &["mio"]),
    ("cli", &["mio"]),
    ("handover", &["mio", "tonic", "tracing"]),
];

/// One place where the law is broken.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) path: String,
    pub(crate) line: usize,
    law: String,
}

impl Breach {
    fn new(source: &Source, line: usize, law: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line, law: law.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.law)
    }
}

fn law(room: &str) -> Option<&'static [&'static str]> {
    LAW.iter().find(|(name, _)| *name == room).map(|(_, rooms)| *rooms)
}

fn is_room(name: &str) -> bool {
    law(name).is_some() || ROOT.contains(&name)
}

/// Rooms that a file imports, other than its own.
fn imported(source: &Source) -> Vec<(usize, String)> {
    let foreign = |named: Named| {
        let room = named.segments.get(1)?;
        let counts = named.segments[0] == "crate" && Some(room.as_str()) != source.room() && is_room(room);
        counts.then(|| (named.line, room.clone()))
    };
    if source.test_only { Vec::new() } else { source.paths().into_iter().filter_map(foreign).collect() }
}

pub(crate) fn unknown_rooms(sources: &[Source]) -> Vec<Breach> {
    let unknown = sources.iter().filter(|source| source.room().is_some_and(|room| !is_room(room)));
    unknown.map(|source| Breach::new(source, 1, "the law knows no such room: give it a layer in the table")).collect()
}

pub(crate) fn imports(source: &Source) -> Vec<Breach> {
    let Some((room, may)) = source.room().and_then(|room| Some((room, law(room)?))) else { return Vec::new() };
    let unlawful = imported(source).into_iter().filter(|(_, other)| !may.contains(&other.as_str()));
    unlawful
        .map(|(line, other)| {
            Breach::new(source, line, format!("`{room}` must not import `{other}`; it may import [{}]", may.join(", ")))
        })
        .collect()
}

/// Rings among rooms below the root.
pub(crate) fn rings(sources: &[Source]) -> Vec<Breach> {
    let mut edges = BTreeMap::<&str, BTreeMap<String, Breach>>::new();
    for source in sources {
        let Some(room) = source.room().filter(|room| !ROOT.contains(room)) else { continue };
        for (line, other) in imported(source) {
            edges.entry(room).or_default().entry(other).or_insert_with(|| Breach::new(source, line, String::new()));
        }
    }
    let mut done = Vec::new();
    edges.keys().filter_map(|room| ring(&edges, &mut vec![room], &mut done)).collect()
}

type Edges<'a> = BTreeMap<&'a str, BTreeMap<String, Breach>>;

/// Goes deeper from the last room of the way; answers the first ring.
fn ring<'a>(edges: &'a Edges<'_>, way: &mut Vec<&'a str>, done: &mut Vec<&'a str>) -> Option<Breach> {
    let &here = way.last()?;
    if done.contains(&here) {
        return None;
    }
    for (next, at) in edges.get(here).into_iter().flatten() {
        if let Some(start) = way.iter().position(|room| room == next) {
            let ring = [&way[start..], &[next]].concat().join(" -> ");
            done.extend_from_slice(way);
            return Some(Breach {
                path: at.path.clone(),
                line: at.line,
                law: format!("rooms import in a ring: {ring}"),
            });
        }
        way.push(next);
        let found = ring(edges, way, done);
        way.pop();
        if found.is_some() {
            return found;
        }
    }
    done.push(here);
    None
}

pub(crate) fn words(source: &Source) -> Vec<Breach> {
    if source.test_only {
        return Vec::new();
    }
    let lists = FORBIDDEN.iter().filter(|(room, _)| Some(*room) == source.room());
    let words: Vec<&str> = lists.flat_map(|(_, words)| words.iter().copied()).collect();
    let room = source.room().unwrap_or_default();
    let mut breaches = Vec::new();
    for named in source.paths() {
        if let Some(word) = words.iter().find(|word| names(&named, word)) {
            breaches.push(Breach::new(source, named.line, format!("`{word}` has no place in `{room}`")));
        }
    }
    breaches
}

/// Whether the path holds these segments next to each other; a single lower
/// case word must be the path's first, as a crate's name is.
fn names(named: &Named, word: &str) -> bool {
    let wanted: Vec<&str> = word.split("::").collect();
    let is_crate = wanted.len() == 1 && word.starts_with(char::is_lowercase);
    let mut windows = named.segments.windows(wanted.len());
    if is_crate {
        named.segments.len() > 1 && named.segments[0] == word
    } else {
        windows.any(|window| window == wanted)
    }
}

pub(crate) fn unsafe_code(source: &Source) -> Vec<Breach> {
    if source.room() == Some("sys") {
        return Vec::new();
    }
    let lines = lines_with_word(&source.code, "unsafe");
    lines.map(|line| Breach::new(source, line, "`unsafe` lives in `sys` only")).collect()
}

fn lines_with_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let lines = (1..).zip(code.lines());
    lines.filter(move |(_, line)| line.split(|c| !is_part(c)).any(|each| each == word)).map(|(number, _)| number)
}

pub(crate) fn lints(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let lines: Vec<&str> = source.code.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let is_attribute = line.trim_start().starts_with("#[") || line.trim_start().starts_with("#![");
        if is_attribute && line.contains("allow(") {
            breaches.push(Breach::new(source, index + 1, "`#[expect(.., reason = \"..\")]` instead of `allow`"));
        }
        if is_attribute && line.contains("expect(") {
            let mut attribute = lines[index..].iter().scan(false, |ended, line| {
                let before = *ended;
                *ended |= line.contains(")]");
                (!before).then_some(line)
            });
            if !attribute.any(|line| line.contains("reason =")) {
                breaches.push(Breach::new(source, index + 1, "an expected lint says its reason"));
            }
        }
    }
    breaches
}

pub(crate) fn unfinished(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(source.code.lines()) {
        for mark in ["todo!(", "unimplemented!(", "dbg!("] {
            if line.contains(mark) {
                breaches.push(Breach::new(source, number, format!("`{mark})` is not for a finished house")));
            }
        }
        if line.contains("#[ignore]") {
            breaches.push(Breach::new(source, number, "an ignored test says why: `#[ignore = \"..\"]`"));
        }
    }
    breaches
}

pub(crate) fn budgets(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let lines = source.code_lines();
    if lines > FILE {
        breaches.push(Breach::new(source, lines, format!("a file has at most {FILE} lines of code, not {lines}")));
    }
    let code: Vec<&str> = source.code.lines().collect();
    for (index, line) in code.iter().enumerate() {
        let Some(length) = function_length(&code[index..]).filter(|&length| length > FUNCTION) else { continue };
        let name = line.trim().split('(').next().unwrap_or_default();
        let law = format!("a function has at most {FUNCTION} lines; `{name}` has {length}");
        breaches.push(Breach::new(source, index + 1, law));
    }
    breaches
}

/// Lines of the function that begins on the first line, by rustfmt's
/// indentation; `None` if none begins there or it has no body of its own lines.
fn function_length(code: &[&str]) -> Option<usize> {
    const BEFORE: [&str; 6] = ["pub", "const", "async", "unsafe", "extern", "default"];
    let first = code[0];
    let (before, _) = first.split_once("fn ")?;
    let words =
        before.split_whitespace().all(|word| BEFORE.iter().any(|each| word.starts_with(each)) || word == "\"\"");
    if !words {
        return None;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let ends = |line: &str| line.strip_prefix(indent).is_some_and(|rest| !rest.starts_with(' '));
    let is_whole = |line: &str| line.ends_with('}') || line.ends_with(';');
    if is_whole(first.trim_end()) {
        return None;
    }
    let last = code.iter().skip(1).position(|line| ends(line) && is_whole(line.trim_end()))?;
    Some(last + 2)
}

/// lib.rs holds docs and `mod` lines.
pub(crate) fn map(source: &Source) -> Vec<Breach> {
    if source.path != "src/lib.rs" {
        return Vec::new();
    }
    let code = without_test_modules(&source.code);
    let is_lawful = |line: &str| {
        let line = line.trim();
        line.is_empty() || line.starts_with("#[cfg(") || line.starts_with("pub mod ") || line.starts_with("mod ")
    };
    let items = (1..).zip(code.lines()).filter(|(_, line)| !is_lawful(line));
    items.map(|(line, _)| Breach::new(source, line, "lib.rs is the map: docs and `mod` lines only")).collect()
}
