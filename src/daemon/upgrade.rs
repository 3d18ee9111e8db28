//! Upgrades as the process sees them: what is started, with which arguments,
//! and what moves besides listeners and connections.

use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    admin::{AdminSockets, FileGuard},
    control::{Begin, Clock, Estate, Receipt, UpgradeProgress, UpgradeRequest, Verdict},
    daemon::{
        args::Args,
        environment::{Environment, FORMER_CONFIG},
        supervisor::Supervisor,
    },
    handover::{ADMIN_TCP, ADMIN_UNIX, Deadlines, EXECUTABLE, Extra, Features, HandOver, METRICS, PID_FILE, Signpost},
    process::{
        pidfile::PidFile,
        successor::{Launch, NEEDED, Reserve},
    },
};

/// Variables that were taken out of the environment at the start, and that a
/// successor needs: it speaks to the same service manager.
const HANDED_DOWN: [&str; 2] = ["NOTIFY_SOCKET", "WATCHDOG_USEC"];

/// The binary before this one.
#[derive(Debug)]
pub(super) struct Former {
    executable: OwnedFd,
    config: Option<PathBuf>,
    /// Of the upgrade from it.
    since: Instant,
}

/// What starting a successor takes.
#[derive(Debug)]
pub(super) struct Starter {
    /// Where this binary was started from.
    binary: io::Result<PathBuf>,
    /// This binary, wherever it is by now.
    executable: io::Result<File>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    config: Option<PathBuf>,
    reserve: Reserve,
    former: Option<Former>,
}

impl Starter {
    /// To be made at the start, while `/proc/self/exe` is what was started.
    pub(super) fn new(args: &Args, config: Option<&Path>, environment: &Environment) -> io::Result<Self> {
        let down = |name: &&str| environment.get(name).map(|value| (OsString::from(name), OsString::from(value)));
        let binary = std::fs::read_link("/proc/self/exe").map(|path| {
            let text = path.to_string_lossy();
            text.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(path)
        });
        Ok(Self {
            binary,
            executable: File::open("/proc/self/exe"),
            arguments: args.again()?,
            environment: HANDED_DOWN.iter().filter_map(down).collect(),
            config: config.map(Path::to_owned),
            reserve: Reserve::new(NEEDED)?,
            former: None,
        })
    }

    /// The binary before this one can be gone back to for a while.
    pub(super) fn keep_former(&mut self, executable: OwnedFd, config: Option<PathBuf>) {
        self.former = Some(Former { executable, config, since: Instant::now() });
    }

    fn launch(&self, request: &UpgradeRequest, window: Duration) -> Result<Launch, String> {
        let (binary, config) = if request.rollback {
            let former = self.former.as_ref().filter(|former| former.since.elapsed() < window);
            let former = former
                .ok_or("there is no binary to go back to: none was upgraded from within upgrade.rollback_window")?;
            (PathBuf::from(format!("/proc/self/fd/{}", former.executable.as_raw_fd())), former.config.clone())
        } else {
            let own = || self.binary.as_ref().map(PathBuf::clone).map_err(|error| format!("/proc/self/exe: {error}"));
            let binary = request.binary.clone().map_or_else(own, Ok)?;
            (binary, request.config.clone().or_else(|| self.config.clone()))
        };
        if !binary.is_absolute() || config.as_ref().is_some_and(|config| !config.is_absolute()) {
            return Err("paths must be absolute: the daemon's working directory is not yours".to_owned());
        }
        let mut arguments = self.arguments.clone();
        let mut environment = self.environment.clone();
        if let Some(config) = config {
            arguments.extend(["--config".into(), config.into()]);
        }
        if let Some(config) = &self.config {
            environment.push((FORMER_CONFIG.into(), config.into()));
        }
        let name = self.binary.as_ref().map_or_else(|_| "netd".into(), |path| path.clone().into_os_string());
        Ok(Launch { binary, name, arguments, environment })
    }
}

/// What moves besides listeners and connections, and the marks of who is the
/// daemon.
#[derive(Debug)]
pub(super) struct Belongings {
    pub(super) admin: AdminSockets,
    pub(super) admin_file: FileGuard,
    pub(super) metrics: Option<OwnedFd>,
    pub(super) signs: Signs,
    pub(super) clock: Clock,
}

/// Pid file and main pid.
#[derive(Debug, Clone)]
pub(super) struct Signs {
    pid_file: Rc<RefCell<Option<PidFile>>>,
    supervisor: Supervisor,
    /// The process that they showed last; 0: nobody asked them to.
    shown: Rc<Cell<u32>>,
}

impl Signs {
    pub(super) fn new(pid_file: Option<PidFile>, supervisor: Supervisor) -> Self {
        Self { pid_file: Rc::new(RefCell::new(pid_file)), supervisor, shown: Rc::default() }
    }

    /// This process is the daemon: the pid file goes with it.
    pub(super) fn own(&self) {
        if let Some(file) = self.pid_file.borrow_mut().as_mut() {
            file.take();
        }
    }

    /// The pid file, to be removed at the end.
    pub(super) fn take_pid_file(&self) -> Option<PidFile> {
        self.pid_file.borrow_mut().take()
    }

    /// Passes a stop on to the successor that they show.
    pub(super) fn stop_successor(&self) {
        let pid = i32::try_from(self.shown.get()).unwrap_or(0);
        if pid > 1
            && let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM)
        {
            tracing::error!(%error, pid, "the successor cannot be told to stop");
        }
    }

    fn give_away(&self) {
        if let Some(file) = self.pid_file.borrow_mut().as_mut() {
            file.give_away();
        }
    }
}

impl Signpost for Signs {
    fn point_at(&mut self, pid: u32) -> Result<(), String> {
        self.shown.set(pid);
        self.supervisor.main_pid(pid);
        match &*self.pid_file.borrow() {
            Some(file) => file.point_at(pid).map_err(|error| format!("pid file {}: {error}", file.path().display())),
            None => Ok(()),
        }
    }
}

impl Belongings {
    fn extras(&self, starter: &Starter) -> io::Result<Vec<Extra>> {
        let file = self.signs.pid_file.borrow();
        let all = [
            (ADMIN_UNIX, self.admin.unix.as_ref().map(OwnedFd::try_clone).transpose()?),
            (ADMIN_TCP, self.admin.tcp.as_ref().map(OwnedFd::try_clone).transpose()?),
            (METRICS, self.metrics.as_ref().map(OwnedFd::try_clone).transpose()?),
            (PID_FILE, file.as_ref().map(PidFile::duplicate).transpose()?),
            (EXECUTABLE, starter.executable.as_ref().ok().map(File::try_clone).transpose()?.map(OwnedFd::from)),
        ];
        Ok(all.into_iter().filter_map(|(name, fd)| Some(Extra { name: name.to_owned(), fd: fd? })).collect())
    }
}

/// Tells the story of each upgrade that is asked for.
pub(super) async fn tell_stories(
    mut asked: mpsc::UnboundedReceiver<Begin>,
    mut starter: Starter,
    mut belongings: Belongings,
) {
    while let Some(begin) = asked.recv().await {
        let receipt = tell(begin, &mut starter, &mut belongings).await;
        if matches!(receipt.verdict, Verdict::Upgraded | Verdict::Draining) {
            return;
        }
        starter.reserve.refill(NEEDED);
    }
}

async fn tell(begin: Begin, starter: &mut Starter, belongings: &mut Belongings) -> Receipt {
    let Begin { request, estate, progress, rollback_window, candidate } = begin;
    let by = request.by.clone();
    let started = starter.launch(&request, rollback_window).and_then(|launch| {
        let named = |error: io::Error| format!("{} cannot be started: {error}", launch.binary.display());
        let (mut successor, channel) = launch.start(&mut starter.reserve).map_err(named)?;
        match belongings.extras(starter) {
            Ok(extras) => Ok((successor, channel, extras)),
            Err(error) => {
                successor.kill();
                Err(format!("nothing can be handed over: {error}"))
            }
        }
    });
    let (successor, channel, extras) = match started {
        Ok(started) => started,
        Err(reason) => {
            let now = belongings.clock.now().wall;
            let receipt = Receipt::failed(Verdict::Refused, reason, by, now, env!("CARGO_PKG_VERSION"));
            estate.resume(receipt.clone()).await;
            // Whoever asked may be gone.
            let _ = progress.send(UpgradeProgress::Ended(Box::new(receipt.clone()))).await;
            return receipt;
        }
    };
    let task = HandOver {
        channel,
        successor: Some(successor),
        by,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        candidate: candidate.filter(|_| request.config.is_none()),
        extras,
        features: Features::all(),
        deadlines: Deadlines::default(),
        clock: belongings.clock.clone(),
    };
    let receipt = crate::handover::hand_over(&estate, task, &mut belongings.signs, progress).await;
    if matches!(receipt.verdict, Verdict::Upgraded | Verdict::Draining) {
        belongings.signs.give_away();
        belongings.admin_file.give_away();
    }
    // Only now: without its handle the Controller ends.
    drop(estate);
    receipt
}
