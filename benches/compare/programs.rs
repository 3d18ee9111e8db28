//! The programs that netd is compared with: where they are, and which version
//! each of them is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the system's daemons are, which a user's PATH may not name.
const DAEMONS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program that runs here.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Its first two numbers, as in 3.2.
    pub(crate) version: String,
    /// What it says of its version.
    pub(crate) line: String,
}

/// Those that the environment's `variable` lists, separated like a PATH; if it
/// is not set, the one of this `name` in PATH.
///
/// # Errors
/// There is none, or one that was named does not run.
pub(crate) fn find(name: &str, variable: &str, option: &str) -> Result<Vec<Program>, String> {
    let Some(list) = variable_of(variable) else {
        let path = in_path(name).ok_or_else(|| format!("it is not installed, and {variable} names none"))?;
        return Ok(vec![program(path, option)?]);
    };
    list.iter().map(|path| program(path.clone(), option)).collect()
}

/// The paths that a variable of the environment lists.
#[expect(clippy::disallowed_methods, reason = "where peers are is told by the environment")]
pub(crate) fn variable_of(name: &str) -> Option<Vec<PathBuf>> {
    env::var_os(name).map(|list| env::split_paths(&list).collect())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = variable_of("PATH").unwrap_or_default();
    let mut files = path.into_iter().chain(DAEMONS.map(PathBuf::from)).map(|directory| directory.join(name));
    files.find(|file| file.is_file())
}

fn program(path: PathBuf, option: &str) -> Result<Program, String> {
    let text = output(&path, option)?;
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    let version = version(&line).ok_or_else(|| format!("{} tells no version: {line:?}", path.display()))?;
    Ok(Program { path, version, line })
}

/// What a program prints with an option, on both ways out.
///
/// # Errors
/// It does not run.
pub(crate) fn output(path: &Path, option: &str) -> Result<String, String> {
    let output = Command::new(path).arg(option).output().map_err(|error| format!("{}: {error}", path.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        false => Err(format!("{} {option}: {}", path.display(), output.status)),
    }
}

/// The first two parts of the first number with dots in a line.
fn version(line: &str) -> Option<String> {
    let words = line.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut numbers = words.filter_map(|word| word.split_once('.'));
    let (major, rest) = numbers.find(|(major, rest)| !major.is_empty() && !rest.is_empty())?;
    let minor = rest.split('.').next().unwrap_or_default();
    Some(format!("{major}.{minor}"))
}

/// Compiles a program of one C file that is in `peers/`, with the system's
/// compiler.
///
/// # Errors
/// There is no compiler, or it did not compile it.
pub(crate) fn compile(name: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("benches/compare/peers").join(name).with_extension("c");
    let directory = root.join("target/compare");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let program = directory.join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-o"]).args([&program, &source]);
    let output = command.output().map_err(|error| format!("the system has no C compiler (cc): {error}"))?;
    match output.status.success() {
        true => Ok(program),
        false => Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
