//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};

use crate::config::{Address, LogLevel};

use super::target;

const EXIT_STATUS: &str = "\
Exit status:
    0  done; for `drain`: nothing is left
    1  refused by the daemon (`upgrade`: also if it was taken back), or the output could not be written
    2  wrong arguments, or a candidate file that cannot be read
    3  netd cannot be reached, or the connection to it broke
    4  the drain ended with connections left
    5  no answer in time
    6  `plan --exit-code`: something would change
    7  `check`: not every endpoint answered as it should
  130  interrupted; a drain goes on in the daemon

netd is looked for at --admin, $NETD_ADMIN, /run/netd/admin.sock,
$XDG_RUNTIME_DIR/netd/admin.sock or /tmp/netd-UID/admin.sock: the first that is
given or, for /run, there.";

/// Kinds of events, as the API names them.
const EVENT_KINDS: [&str; 37] = [
    "started",
    "reloaded",
    "reload-refused",
    "lame-duck",
    "reload-confirmed",
    "reload-reverted",
    "rolled-back",
    "drain-started",
    "drain-ended",
    "undrained",
    "listener-started",
    "listener-stopped",
    "listener-paused",
    "listener-resumed",
    "override-set",
    "override-cleared",
    "override-expired",
    "endpoint-failing",
    "endpoint-recovered",
    "endpoint-healthy",
    "endpoint-unhealthy",
    "endpoint-ejected",
    "endpoint-readmitted",
    "ejections-refused",
    "pool-panic",
    "pool-panic-ended",
    "connections-closed",
    "connections-refused",
    "overload",
    "connections-moved",
    "workers-changed",
    "log-level",
    "shutdown",
    "upgrade-started",
    "upgraded",
    "upgrade-failed",
    "missed",
];

/// See, explain and change a running netd.
#[derive(Debug, Clone, Parser)]
#[command(name = "netctl", version, after_help = EXIT_STATUS, max_term_width = 100)]
pub struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Where netd serves its admin API: unix:PATH, http://ADDRESS:PORT or ADDRESS:PORT [env: NETD_ADMIN]
    // Not by clap, which takes an empty variable for an empty address.
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = target::parse)]
    pub admin: Option<Address>,
    /// table, for people, or json, for scripts
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT", hide_possible_values = true)]
    pub output: OutputFormat,
    /// Longest wait for one answer
    #[arg(long, global = true, default_value = "10s", value_name = "DURATION", value_parser = positive_duration)]
    pub timeout: Duration,
    /// Who asks for a change [default: the user, also behind sudo]
    #[arg(long, global = true, value_name = "NAME")]
    pub who: Option<String>,
    /// Why a change is made, for example a ticket; kept with the override and in the log
    #[arg(long, global = true, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub why: String,
}

/// Shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// Tables and sentences
    #[default]
    Table,
    /// JSON; streams as JSON lines
    Json,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// The daemon at a glance
    Status,
    /// Listeners: what is configured, overridden and seen
    Listeners {
        /// Only this one
        name: Option<String>,
    },
    /// Pools and endpoints: what is configured, overridden and seen
    Pools {
        /// Only this one
        name: Option<String>,
    },
    /// Live connections, ordered by id
    Connections(ConnectionsArgs),
    /// End connections (both sides see a reset)
    Close(CloseArgs),
    /// Print the configuration in force, as TOML
    Config,
    /// Say what a candidate configuration would change; change nothing
    Plan {
        /// The candidate; `-` for standard input [default: the daemon's own file, read anew]
        file: Option<PathBuf>,
        /// End with 6 if something would change
        #[arg(long)]
        exit_code: bool,
    },
    /// Apply a candidate configuration whole, or not at all
    Reload(ReloadArgs),
    /// Keep a reload that is on trial
    Confirm {
        /// Refuse unless it is this one
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        generation: Option<u64>,
    },
    /// Return to one of the last generations
    Rollback {
        /// Which one (see `history`) [default: the one before]
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        generation: Option<u64>,
        /// Refuse unless this generation is still in force
        #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
        expect: Option<u64>,
    },
    /// Changes of the configuration: who, when, what, and what became of them
    History {
        /// Only this one, with all that it changed
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        generation: Option<u64>,
    },
    /// Take nothing new and wait until what is open is done
    Drain(DrainArgs),
    /// Take a drain back
    Undrain(TargetArgs),
    /// Lift a stop: bind the listener again and accept; or bring a drained worker back
    Start {
        /// Name of the listener, or `worker INDEX`
        #[arg(value_name = "LISTENER", num_args = 1..=2, required = true)]
        words: Vec<String>,
    },
    /// Stop accepting on a listener; its open connections go on
    Stop {
        /// Name of the listener
        listener: String,
        /// The stop ends by itself after this [default: never]
        #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
        expires_in: Option<Duration>,
    },
    /// Override an endpoint's weight or state
    Set(SetArgs),
    /// Set the shares of a listener's pools, for example for a canary
    SetSplit(SetSplitArgs),
    /// Say where a connection would go that came now, and why; change nothing
    Explain {
        /// Client's address, IP or IP:PORT [default: over a Unix socket]
        #[arg(long, value_name = "ADDRESS")]
        from: Option<String>,
        /// Name of the listener
        #[arg(long, value_name = "NAME")]
        listener: String,
    },
    /// Check endpoints now, each once, as the pool's health checks do; change nothing
    Check {
        /// POOL, or POOL/ENDPOINT for one endpoint
        #[arg(value_name = "POOL[/ENDPOINT]")]
        object: String,
    },
    /// Move open connections between workers until all have as many
    Rebalance {
        /// Most connections that move [default: as many as it takes]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Say which layer decides the state of an object, and why
    Why {
        /// listener/NAME, pool/NAME, endpoint/POOL/ADDRESS, or a plain name that is unique
        object: String,
    },
    /// Print or change the log level (until the next start)
    LogLevel {
        /// error, warn, info, debug or trace [default: print the one in force]
        level: Option<LogLevel>,
    },
    /// Print what happens, as it happens
    Events {
        /// Only this kind; may be given several times
        #[arg(long = "kind", value_name = "KIND", value_parser = PossibleValuesParser::new(EVENT_KINDS))]
        kinds: Vec<String>,
    },
    /// Replace the running binary; every open connection goes on in the new process
    Upgrade(UpgradeArgs),
    /// Drain and stop the daemon, or stop it at once
    Shutdown(ShutdownArgs),
}

/// Arguments of `reload`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReloadArgs {
    /// The candidate; `-` for standard input [default: the daemon's own file, read anew]
    pub file: Option<PathBuf>,
    /// Refuse unless this generation is still in force (see `plan`)
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
    pub expect: Option<u64>,
    /// Bring the former configuration back unless `confirm` follows within this time
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub confirm: Option<Duration>,
    /// Bring it back early if connections fail more often than in the minute before
    #[arg(long)]
    pub guard: bool,
    /// By how many percentage points the share of failed connections may rise [default: 5]
    #[arg(long, value_name = "POINTS", requires = "guard", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub guard_threshold: Option<u32>,
    /// So many connections must have ended before the guard judges [default: 20]
    #[arg(long, value_name = "N", requires = "guard", value_parser = clap::value_parser!(u64).range(1..))]
    pub guard_min: Option<u64>,
    /// How long the guard watches without --confirm [default: 1m]
    #[arg(long, value_name = "DURATION", requires = "guard", conflicts_with = "confirm", value_parser = positive_duration)]
    pub guard_for: Option<Duration>,
}

/// Which connections; all that is given must match.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Came in on this listener
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Relayed to this pool
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// Relayed to this endpoint
    #[arg(long, value_name = "ADDRESS")]
    pub endpoint: Option<String>,
    /// From this IP address or network
    #[arg(long, value_name = "CIDR")]
    pub source: Option<String>,
    /// At least this old
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_age: Option<Duration>,
    /// Without a byte moved for at least this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_idle: Option<Duration>,
}

/// Arguments of `connections`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectionsArgs {
    /// Which ones.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Stop after this many; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub limit: u64,
    /// Connections fetched at a time, 1 to 1000 [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub page_size: Option<u32>,
    /// Continue an earlier listing that was ended by --limit
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub page_token: String,
}

/// Arguments of `close`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    override_usage = "netctl close [OPTIONS] <ID>...\n       netctl close [OPTIONS] <FILTERS>\n       netctl close [OPTIONS] --all"
)]
#[command(group = ArgGroup::new("filters").multiple(true)
    .args(["listener", "pool", "endpoint", "source", "min_age", "min_idle"])
    .conflicts_with_all(["ids", "all"]))]
#[command(group = ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "all", "listener", "pool", "endpoint", "source", "min_age", "min_idle"]))]
pub struct CloseArgs {
    /// Ids of connections, at most 1000
    #[arg(value_name = "ID", num_args = 0..=1000)]
    pub ids: Vec<String>,
    /// Which ones.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Every connection of the daemon
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
}

/// What a drain is about.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetArgs {
    /// `listener NAME`, `pool NAME`, `endpoint POOL ADDRESS` or `worker INDEX` [default: the whole daemon]
    #[arg(value_name = "TARGET", num_args = 0..=3)]
    pub words: Vec<String>,
}

/// Arguments of `drain`.
#[derive(Debug, Clone, clap::Args)]
pub struct DrainArgs {
    /// Of what.
    #[command(flatten)]
    pub target: TargetArgs,
    /// When to cut what is left [default: the configured drain.timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub deadline: Option<Duration>,
    /// Never cut: wait until the last connection ends by itself
    #[arg(long, conflicts_with = "deadline")]
    pub no_deadline: bool,
    /// Of a worker: move its connections to the other workers at once
    #[arg(long = "move")]
    pub moves: bool,
    /// How, besides.
    #[command(flatten)]
    pub course: CourseArgs,
}

/// What a drain does besides waiting and cutting.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CourseArgs {
    /// End idle connections evenly over this time, the longest idle first; 0s: do not [default: the configured drain.gradual]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub gradual: Option<Duration>,
    /// Of the whole daemon: first go on accepting so long while /readyz fails already; 0s: do not [default: the configured drain.lame_duck]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lame_duck: Option<Duration>,
}

/// Arguments of `shutdown`.
#[derive(Debug, Clone, clap::Args)]
pub struct ShutdownArgs {
    /// Stop at once; open connections are cut
    #[arg(long, conflicts_with_all = ["deadline", "gradual", "lame_duck"])]
    pub now: bool,
    /// When to cut what is left [default: the configured drain.timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub deadline: Option<Duration>,
    /// How, besides.
    #[command(flatten)]
    pub course: CourseArgs,
}

/// Arguments of `upgrade`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpgradeArgs {
    /// The binary to start [default: the path that the running one was started from]
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// The configuration file of the new process [default: that of the running one]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Back to the binary before the running one; possible for `upgrade.rollback_window` after its upgrade
    #[arg(long, conflicts_with_all = ["binary", "config"])]
    pub rollback: bool,
}

/// Arguments of `set`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("setting").required(true).args(["weight", "drain", "maintenance", "clear"]))]
pub struct SetArgs {
    /// Name of the pool
    pub pool: String,
    /// Address of the endpoint, as configured
    pub endpoint: String,
    /// Its share of new connections, 0 to 1000; 0 drains
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub weight: Option<u32>,
    /// Take nothing new, finish what is open
    #[arg(long)]
    pub drain: bool,
    /// The same, shown as under maintenance
    #[arg(long)]
    pub maintenance: bool,
    /// Back to what the file says
    #[arg(long, conflicts_with = "expires_in")]
    pub clear: bool,
    /// The override ends by itself after this [default: never]
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    pub expires_in: Option<Duration>,
}

/// Arguments of `set-split`.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).args(["shares", "clear"]))]
pub struct SetSplitArgs {
    /// Name of the listener
    pub listener: String,
    /// Share of a pool, 0 to 1000; pools that are not named keep theirs
    #[arg(value_name = "POOL=WEIGHT", num_args = 0..=64, value_parser = share)]
    pub shares: Vec<(String, u32)>,
    /// Back to what the file says
    #[arg(long, conflicts_with = "expires_in")]
    pub clear: bool,
    /// The override ends by itself after this [default: never]
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    pub expires_in: Option<Duration>,
}

fn share(text: &str) -> Result<(String, u32), String> {
    let read = text.split_once('=').and_then(|(pool, weight)| Some((pool.to_owned(), weight.parse::<u32>().ok()?)));
    read.filter(|(pool, weight)| !pool.is_empty() && *weight <= 1000)
        .ok_or_else(|| "write a pool and its share, 0 to 1000, as in `canary=5`".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, as in `30s`, `10m` or `1h30m`"))
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than nothing".to_owned()),
        duration => Ok(duration),
    }
}
