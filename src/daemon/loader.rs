//! Where the configuration comes from: a file, flags, or both; read at the
//! start and again at every reload.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    config::{self, Config, Flags},
    daemon::{args::Args, environment::Environment, failure::Failure, places},
};

/// The file that is read if it exists and nothing else is asked for.
const DEFAULT_FILE: &str = "/etc/netd/netd.toml";

/// Most of a file that is looked at; the check refuses it long before.
const MAX_FILE: u64 = 2 * config::MAX_FILE_SIZE as u64;

/// Reads the configuration, any number of times, always from the same places.
#[derive(Debug)]
pub(super) struct Loader {
    path: Option<PathBuf>,
    flags: Flags,
    environment: Environment,
    /// A file descriptor to give up when there is no other: a reload and a
    /// plan must work then too.
    spare: Option<File>,
    keeps_spare: bool,
}

impl Loader {
    /// Relative paths are completed now: a daemon changes its directory.
    ///
    /// # Errors
    /// If the current directory is gone and a path is relative.
    pub(super) fn new(args: &Args, environment: &Environment) -> Result<Self, Failure> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
        };
        let path = match &args.config {
            Some(path) => Some(absolute(path)?),
            None if args.listen.is_empty() => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| is_there(path)),
            None => None,
        };
        let prefixed = |value: &Option<String>, prefix: &str| -> Result<Option<String>, Failure> {
            match value.as_deref().and_then(|value| value.strip_prefix(prefix)) {
                Some(path) => Ok(Some(format!("{prefix}{}", absolute(Path::new(path))?.display()))),
                None => Ok(value.clone()),
            }
        };
        let flags = Flags {
            listen: args.listen.clone(),
            upstream: args.upstream.clone(),
            protocol: args.protocol.clone(),
            workers: args.workers.clone(),
            admin: prefixed(&args.admin, "unix:")?,
            metrics: args.metrics.clone(),
            pid_file: args.pid_file.as_deref().map(absolute).transpose()?,
            user: args.user.clone(),
            group: args.group.clone(),
            log: prefixed(&args.log, "file:")?,
            log_level: args.log_level.clone(),
            log_format: args.log_format.clone(),
        };
        Ok(Self { path, flags, environment: environment.clone(), spare: None, keeps_spare: false })
    }

    /// The file, if there is one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether neither a file nor `--listen` says what to serve.
    pub(super) fn is_embedded_default(&self) -> bool {
        self.path.is_none() && self.flags.listen.is_empty()
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// The whole report, ready to be shown.
    pub(super) fn load(&mut self) -> Result<Config, Failure> {
        let base = match self.path.clone() {
            Some(path) => {
                let bytes = self.read(&path, MAX_FILE).map_err(|error| {
                    Failure::config(format!("cannot read the configuration {}: {error}", path.display()))
                })?;
                let env = |name: &str| self.environment.get(name);
                Some(config::parse_bytes(&path.display().to_string(), &bytes, &env).map_err(report)?)
            }
            None => None,
        };
        let config = config::with_flags(base, &self.flags).map_err(Failure::config)?;
        self.with_lists(config)
    }

    /// A candidate that came as text; the flags stand over it as over the
    /// file.
    ///
    /// # Errors
    /// The whole report, ready to be shown.
    pub(super) fn parse(&mut self, text: &str) -> Result<Config, Failure> {
        let base = config::parse("candidate", text, &|name| self.environment.get(name)).map_err(report)?;
        let config = config::with_flags(Some(base), &self.flags).map_err(Failure::config)?;
        self.with_lists(config)
    }

    /// The pid file: named by flag or file, else in the usual place.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub(super) fn pid_file(&mut self, environment: &Environment) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.flags.pid_file {
            return Ok(path.clone());
        }
        let config = self.load()?;
        Ok(config.process.pid_file.unwrap_or_else(|| places::runtime_dir(environment).join("netd.pid")))
    }

    /// Keeps a file descriptor back from now on. Not before detaching, which
    /// closes what is open.
    pub(super) fn keep_spare(&mut self) {
        self.keeps_spare = true;
        self.spare = File::open("/dev/null").ok();
    }

    /// Fills in the networks that the configuration has in files of their own.
    fn with_lists(&mut self, config: Config) -> Result<Config, Failure> {
        config::with_lists(config, &mut |path| {
            self.read(path, config::MAX_LIST_SIZE as u64 + 1).map_err(|error| error.to_string())
        })
        .map_err(|problems| Failure::config(format!("the configuration is not valid: {problems}")))
    }

    fn read(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        // The control thread must not wait for the writer of a FIFO; at the start it may be one.
        if self.keeps_spare && !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no regular file, so it cannot be read again"));
        }
        let opened = File::open(path).or_else(|error| match error.raw_os_error() {
            Some(libc::EMFILE) if self.spare.take().is_some() => File::open(path),
            _ => Err(error),
        });
        let mut bytes = Vec::new();
        let outcome = opened.and_then(|file| {
            if file.metadata()?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            file.take(most).read_to_end(&mut bytes)
        });
        if self.keeps_spare && self.spare.is_none() {
            self.keep_spare();
        }
        outcome.map(|_| bytes)
    }
}

/// Also if that cannot be found out: then reading it says why, rather than that
/// something else is served in silence.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// The first line says the most important, for those who show one line only;
/// the report proper begins on a line of its own.
fn report(errors: config::Errors) -> Failure {
    Failure::config(format!("the configuration is not valid: {}\n{errors}", errors.summary()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn loader(path: &Path) -> Loader {
        let args = Args::parse_from(["netd".as_ref(), "--config".as_ref(), path.as_os_str()]);
        Loader::new(&args, &Environment::read()).unwrap()
    }

    #[test]
    fn a_reload_does_not_wait_for_the_writer_of_a_fifo() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("netd.toml");
        std::fs::write(&path, "[[listener]]\nname = \"echo\"\naddress = \"127.0.0.1:7\"\nprotocol = \"echo\"\n")
            .unwrap();
        let mut loader = loader(&path);
        loader.load().unwrap();
        loader.keep_spare();
        loader.load().unwrap();
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let failure = loader.load().unwrap_err();
        assert!(failure.message.contains("no regular file"), "{failure}");
    }

    #[test]
    fn what_cannot_be_looked_for_counts_as_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert!(!is_there(&file));
        std::fs::write(&file, "").unwrap();
        assert!(is_there(&file.join("netd.toml")), "ENOTDIR, as EACCES, is not an answer");
    }
}
