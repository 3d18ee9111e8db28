//! netd beside what others run: the same work on the same machine in the same
//! run, each proxy with one thread and its best-practice configuration
//! (`peers/`).
//!
//! The proxy has a CPU of its own; the load generator and the origin, processes
//! of this same program, share another. Each measurement has a proxy that was
//! just started. docs/performance.md tells how to read the figures.

#[path = "../common/echo.rs"]
mod echo;
mod generator;
mod histogram;
mod launch;
mod origin;
mod peer;
mod pin;
mod plans;
mod programs;
#[path = "../common/proxy.rs"]
mod proxy_process;
mod pump;
mod statistics;
mod table;
mod usage;
mod workload;

use std::{
    io,
    time::{Duration, SystemTime},
};

use clap::Parser;
use serde::{Deserialize, Serialize};

use origin::Origin;
use peer::Field;
use pin::Cpus;
use table::{Record, Table};
use workload::{Case, Times, WORKLOADS};

/// Compares netd with the proxies that are installed.
#[derive(Parser)]
struct Args {
    /// Short measurements and three rounds, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(WORKLOADS))]
    workload: Vec<String>,
    /// Only those with so many connections, separated by commas
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Only ways whose names begin so, separated by commas; ratios need netd
    #[arg(long, value_delimiter = ',')]
    way: Vec<String>,
    /// How often each is measured [default: 15, and 5 of idle, mix, mix_paced and reload;
    /// or 3 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that a measurement counts [default: 1, or 0.5 with --quick]
    #[arg(long)]
    seconds: Option<f64>,
    /// What cargo passes to each benchmark
    #[arg(long, hide = true)]
    bench: bool,
    /// A process of the comparison itself
    #[arg(long, hide = true)]
    role: Option<String>,
}

/// What else this program is.
#[derive(Serialize, Deserialize)]
enum Role {
    Origin,
    Generator(generator::Job),
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    match args.role.as_deref().map(serde_json::from_str).transpose()? {
        Some(Role::Origin) => origin::serve(),
        Some(Role::Generator(job)) => generator::generate(&job),
        None => compare(&args),
    }
}

fn compare(args: &Args) -> io::Result<()> {
    let (window, usual) = if args.quick { (0.5, 3) } else { (1.0, 15) };
    let window = Duration::from_secs_f64(args.seconds.unwrap_or(window));
    let times = Times { warm_up: window.div_f64(4.0), window };
    let cpus = Cpus::choose();
    pin::pin(&[cpus.load]);
    let mut record = Record::create(run_number())?;
    let mut field = Field::find(&args.way);
    println!("{}\n{}", field.versions.join("\n"), usage::system());
    println!("proxy on CPU {}, load on CPU {}; {window:?} each", cpus.proxy, cpus.load);
    println!("load average: {}\n", usage::load_average());
    let is_wanted = |case: &Case| args.connections.is_empty() || args.connections.contains(&case.connections);
    for case in workload::cases(&args.workload, args.quick).into_iter().filter(is_wanted) {
        let rounds = args.rounds.unwrap_or_else(|| case.rounds(usual)).max(1);
        let table = measure(&case, rounds, times, &cpus, &mut record, &mut field)?;
        println!("## {}\n\nrounds: {rounds}\n\n{}", case.name(), table.text());
    }
    println!("load average: {}", usage::load_average());
    field.left_out.iter().for_each(|(name, why)| println!("{name} is left out: {why}"));
    println!("all measurements: {}", record.path.display());
    Ok(())
}

/// All rounds of a case. Who begins a round changes. A peer that fails is left
/// out from there on; netd may not fail.
fn measure(
    case: &Case,
    rounds: usize,
    times: Times,
    cpus: &Cpus,
    record: &mut Record,
    field: &mut Field,
) -> io::Result<Table> {
    let peers = field.of(case.tuning);
    let mut table = Table::default();
    table.order(peers.iter().map(|peer| peer.name.clone()));
    for round in 0..rounds {
        for peer in (0..peers.len()).map(|index| &peers[(index + round) % peers.len()]) {
            let here = format!("{} in {}", peer.name, case.name());
            if field.left_out.contains_key(&peer.name) || field.left_out.contains_key(&here) {
                continue;
            }
            let origin = Origin::start()?;
            let opened = peer.open(case.origin(origin.at), case.tuning, cpus).map_err(|why| (peer.name.clone(), why));
            let measured = opened.and_then(|way| {
                let figures = case.measure(peer, &way, times);
                figures.map_err(|error| (here, failed(way.proxy, &error)))
            });
            let figures = match measured {
                Ok(figures) => figures,
                Err((what, why)) if peer.kind.is_own() => return Err(io::Error::other(format!("{what}: {why}"))),
                Err((what, why)) => {
                    field.left_out.insert(what, why);
                    continue;
                }
            };
            record.add(&case.name(), round, &peer.name, &figures)?;
            table.add(round, &peer.name, &figures);
            eprintln!("{} round {round} {}: {:.3} {}", case.name(), peer.name, figures[0].1, figures[0].0);
        }
    }
    Ok(table)
}

fn failed(proxy: Option<proxy_process::Proxy>, error: &io::Error) -> String {
    let report = proxy.map(|mut proxy| proxy.report()).unwrap_or_default();
    format!("{error}; {}", report.trim_end())
}

#[expect(clippy::disallowed_methods, reason = "names the file of this run")]
fn run_number() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
