//! Rust source as the law sees it: code without comments and strings, and the
//! paths in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// From the package's root: `src/worker/conn.rs`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// The same lines with comments and the insides of strings blanked.
    pub(crate) code: String,
    /// Compiled for tests only.
    pub(crate) test_only: bool,
}

/// A path as code names it: `std::env::var` with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, test_only: false }
    }

    /// The room of `src/` it belongs to: `worker`, `bin`, `lib`.
    pub(crate) fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split_once('/').map_or_else(|| inside.trim_end_matches(".rs"), |(room, _)| room))
    }

    /// All paths, use trees flattened. `super::` that leaves the room, and
    /// `netd::`, come out as `crate::`. Inline `#[cfg(test)]` modules are left
    /// out.
    pub(crate) fn paths(&self) -> Vec<Named> {
        let depth = self.depth();
        let mut found = paths(&without_test_modules(&self.code));
        for named in &mut found {
            let ups = named.segments.iter().take_while(|&segment| segment == "super").count();
            if ups > 0 && ups == depth {
                named.segments.splice(..ups, ["crate".to_owned()]);
            } else if named.segments[0] == "netd" && self.room() == Some("bin") {
                "crate".clone_into(&mut named.segments[0]);
            }
        }
        found
    }

    /// Lines that are neither blank nor only comment.
    pub(crate) fn code_lines(&self) -> usize {
        let lines = self.text.lines().zip(self.code.lines());
        lines.filter(|(_, code)| !code.trim().is_empty()).count()
    }

    /// How many modules below the crate it is.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').count()
    }
}

/// Every Rust file below `folders` of the package, test-only ones marked.
pub(crate) fn tree(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(&root.join(folder), &mut files));
    files.sort();
    let mut sources: Vec<Source> = files.iter().map(|file| read(root, file)).collect();
    mark_tests(&mut sources);
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).expect("inside the package").to_str().expect("a UTF-8 path");
    Source::new(path, &fs::read_to_string(file).expect("a readable file"))
}

/// A file is for tests only if a `#[cfg(test)] mod` declares it or a folder
/// above it.
fn mark_tests(sources: &mut [Source]) {
    let mut roots = Vec::new();
    for source in sources.iter() {
        let folder = source.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("src/lib");
        roots.extend(test_modules(&source.code).map(|module| format!("{folder}/{module}")));
    }
    for source in sources {
        source.test_only =
            roots.iter().any(|root| source.path.strip_prefix(root).is_some_and(|rest| rest.starts_with(['/', '.'])));
    }
}

/// Names of modules with a file of their own that `#[cfg(test)]` declares.
pub(crate) fn test_modules(code: &str) -> impl Iterator<Item = &str> {
    code.split("#[cfg(test)]").skip(1).filter_map(|after| {
        let declaration = after.split_once(';')?.0;
        let (before, name) = declaration.rsplit_once("mod ")?;
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let only_visibility = before.trim().is_empty() || before.trim().starts_with("pub");
        (is_name && only_visibility).then_some(name)
    })
}

/// Blanks inline `#[cfg(test)] mod x { .. }`, by rustfmt's indentation.
pub(crate) fn without_test_modules(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let (mut announced, mut inside) = (false, false);
    for line in code.lines() {
        if line.trim() == "#[cfg(test)]" && !line.starts_with(' ') {
            announced = true;
        } else if announced && !line.trim().is_empty() && !line.starts_with("#[") {
            inside = line.contains("mod ") && line.ends_with('{');
            announced = false;
        }
        if !inside {
            out.push_str(line);
        }
        out.push('\n');
        inside &= line != "}";
    }
    out
}

/// Replaces comments and the insides of strings and characters with spaces;
/// lines stay where they are.
pub(crate) fn blank(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if !follows_a_name(&characters, at) => raw_string(rest),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|&c| c == '\'').unwrap_or(0),
            ['\'', _, '\'', ..] => 2,
            _ => 0,
        };
        if length == 0 {
            out.push(rest[0]);
            at += 1;
            continue;
        }
        out.extend(rest[..length].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at += length;
    }
    out
}

fn follows_a_name(characters: &[char], at: usize) -> bool {
    at > 0 && (characters[at - 1].is_alphanumeric() && characters[at - 1] != 'b' || characters[at - 1] == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut open) = (2, 1);
    while open > 0 && at < rest.len() {
        match &rest[at..] {
            ['*', '/', ..] => (open, at) = (open - 1, at + 2),
            ['/', '*', ..] => (open, at) = (open + 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// Up to the closing quote, which stays in the code.
fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// 0 if it is none, such as a raw identifier.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    (2 + hashes + length + end.len()).min(rest.len())
}

/// All paths of some code; `a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = if is_name(&tokens[at].1) { path(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

type Token = (usize, String);

/// Reads one path from `at`; answers where the code goes on.
fn path(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let line = tokens[at].0;
    let mut segments = before.to_vec();
    loop {
        match tokens.get(at).map(|token| token.1.as_str()) {
            Some("{") if !segments.is_empty() => return tree_of(tokens, at + 1, &segments, found),
            Some(name) if is_name(name) => segments.push(name.to_owned()),
            // A glob, or a generic as in `Vec::<u8>::new`.
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token.1 != "::") {
            break;
        }
        at += 1;
    }
    found.push(Named { line, segments });
    at
}

fn tree_of(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        at = match token.as_str() {
            "}" => return at + 1,
            name if is_name(name) => path(tokens, at, before, found),
            _ => at + 1,
        };
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                ':' if rest.starts_with("::") => 2,
                c if c.is_alphanumeric() || c == '_' => {
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
                }
                c => c.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push((line, rest[..length].to_owned()));
            }
            rest = &rest[length..];
        }
    }
    tokens
}
