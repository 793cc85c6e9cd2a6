//! `bench signal`: our server and others in turn, in one run, each alone on one core with the same
//! crowd on another. Figures of different runs or machines are not to be compared; ratios are.

mod curve;
mod ours;

use std::{
    collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use self::curve::Point;
use crate::{
    crowd::Crowd,
    dialect::{Dialect, Fugitive},
    floor::Floor,
    others::{PeerJs, Tracker},
    process::{Process, free_address, own_cpu, stay_on},
};

/// The core of the server, and that of the crowd.
const CORES: [usize; 2] = [0, 1];
/// The offered rate, in signals a second.
const RATE: f64 = 4000.0;
/// Few and many connections.
const CONNECTIONS: [usize; 2] = [1000, 10_000];
/// Calls under way at once when as many are made as can be.
const AT_ONCE: usize = 256;
/// Where the servers are.
#[derive(Args)]
pub struct Programs {
    /// Our server, optimised.
    #[arg(long)]
    fugitive: PathBuf,
    /// A folder with `node_modules` that hold `peer` and `bittorrent-tracker`.
    #[arg(long)]
    npm: Option<PathBuf>,
    /// The binary `aquatic_ws`.
    #[arg(long)]
    aquatic: Option<PathBuf>,
    /// How often all are measured; the figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One server after the other: memory, latency, the highest rate.
    Each,
    /// All in turns: what a signal costs at several rates.
    Turns,
    /// What only ours does.
    Ours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Contender {
    Fugitive,
    /// Of no use but as a measure: what the kernel and the machine take for any relay.
    Floor,
    PeerJs,
    Tracker,
    Aquatic,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::Fugitive => "fugitive",
            Self::Floor => "floor (checks nothing)",
            Self::PeerJs => "peer 1.0.2",
            Self::Tracker => "bittorrent-tracker",
            Self::Aquatic => "aquatic_ws",
        }
    }

    fn dialect(self) -> Box<dyn Dialect> {
        match self {
            Self::Fugitive => Box::new(Fugitive {
                origin: "http://site.example".into(),
                is_page_apart: false,
                want: 8,
            }),
            Self::Floor => Box::new(Floor),
            Self::PeerJs => Box::new(PeerJs),
            Self::Tracker | Self::Aquatic => Box::new(Tracker),
        }
    }
}

/// What was measured of one server.
#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    /// Microseconds of processor time a relayed signal, with few and with many connections.
    cpu_us_per_signal: [f64; 2],
    /// Of these what the kernel spends to read it and to write it, which a relay cannot do without.
    system_us_per_signal: [f64; 2],
    /// Of resident memory, with few and with many connections, after they talked.
    kib_per_connection: [f64; 2],
    /// With many connections.
    relay_p50_ms: f64,
    relay_p99_ms: f64,
    /// With few connections, as many as can be.
    highest_rate: f64,
    highest_rate_generator_cpu_share: f64,
    /// Until the server's first answer to a join, and its first peers if it names any.
    join_p50_ms: f64,
    errors: u64,
}

struct Bench {
    programs: Programs,
    folder: TempDir,
}

impl Bench {
    fn start(&self, contender: Contender) -> anyhow::Result<Process> {
        let address = free_address()?;
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let node = |script: &str| {
            let npm = self.programs.npm.as_ref().context("no npm folder")?;
            // Modules are looked for from the folder of the program, which `env` can set.
            anyhow::Ok(vec![
                "env".into(),
                "-C".into(),
                npm.display().to_string(),
                "node".into(),
                "--input-type=module".into(),
                "-e".into(),
                script.to_owned(),
                "--".into(),
                host.clone(),
                port.clone(),
            ])
        };
        let program = match contender {
            Contender::Fugitive => self.fugitive(address, &[]),
            Contender::Floor => {
                let own = std::env::current_exe()?.display().to_string();
                vec![own, "floor".into(), "--listen".into(), address.to_string()]
            }
            Contender::PeerJs => node(include_str!("../servers/peerjs.mjs"))?,
            Contender::Tracker => node(include_str!("../servers/tracker.mjs"))?,
            Contender::Aquatic => {
                let aquatic = self.programs.aquatic.as_ref().context("no aquatic_ws")?;
                let config = self.folder.path().join("aquatic.toml");
                let text = format!("[network]\naddress = \"{address}\"\ntcp_backlog = 4096\n");
                fs::write(&config, text)?;
                vec![
                    aquatic.display().to_string(),
                    "-c".into(),
                    config.display().to_string(),
                ]
            }
        };
        let log = fs::File::create(self.folder.path().join("log"))?;
        Process::start(Some(CORES[0]), address, &program, Stdio::from(log)).with_context(|| {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            format!("{}: {log}", contender.name())
        })
    }

    fn fugitive(&self, address: SocketAddr, more: &[&str]) -> Vec<String> {
        let mut program = vec![
            "env".into(),
            "FUGITIVE_LOG=warn".into(),
            self.programs.fugitive.display().to_string(),
            "serve".into(),
            "--site".into(),
            self.folder.path().join("site").display().to_string(),
            "--listen".into(),
            address.to_string(),
        ];
        program.extend(more.iter().map(|&more| more.to_owned()));
        program
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.programs.seconds)
    }

    async fn measure(&self, contender: Contender) -> anyhow::Result<Figures> {
        let server = self.start(contender)?;
        let mut figures = Figures::default();
        // What is loaded when it is first needed is not a connection's.
        let crowd = Crowd::new(contender.dialect(), vec![server.address], 1_000_000);
        crowd.grow(2).await?;
        crowd.talk(10.0, 0.0, Duration::from_secs(1)).await;
        let empty = server.memory();
        let crowd = {
            crowd.leave().await;
            Crowd::new(contender.dialect(), vec![server.address], 0)
        };
        for (i, connections) in CONNECTIONS.into_iter().enumerate() {
            crowd.grow(connections).await?;
            let arrivals = crowd.tally();
            if i == 0 {
                figures.join_p50_ms = arrivals.join.borrow().percentiles().p50;
            }
            sleep(Duration::from_secs(1)).await;
            let before = (server.cpu(), server.system_cpu());
            let (talk, _) = crowd.talk(RATE, 0.0, self.time()).await;
            let spent = (server.cpu() - before.0, server.system_cpu() - before.1);
            let relayed = talk.relayed.get().max(1) as f64;
            figures.cpu_us_per_signal[i] = spent.0 * 1e6 / relayed;
            figures.system_us_per_signal[i] = spent.1 * 1e6 / relayed;
            figures.kib_per_connection[i] = (server.memory() - empty) / connections as f64 / 1024.0;
            let relay = talk.relay.borrow().percentiles();
            (figures.relay_p50_ms, figures.relay_p99_ms) = (relay.p50, relay.p99);
            figures.errors += errors(&talk.errors.borrow()) + errors(&arrivals.errors.borrow());
            if i == 0 {
                let before = own_cpu();
                let (shout, took) = crowd.shout(AT_ONCE, self.time()).await;
                figures.highest_rate = shout.relayed.get() as f64 / took;
                // Its answers come in after the time is over; that is little.
                figures.highest_rate_generator_cpu_share = (own_cpu() - before) / took;
                figures.errors += errors(&shout.errors.borrow());
            }
        }
        Ok(figures)
    }
}

fn errors(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

/// Goes through all rounds and prints what came of them.
pub async fn run(programs: Programs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    fs::create_dir(&site)?;
    fs::write(site.join("index.html"), "<p>hello")?;
    stay_on(CORES[1]);
    let mut contenders = vec![Contender::Fugitive, Contender::Floor];
    if programs.npm.is_some() {
        contenders.extend([Contender::PeerJs, Contender::Tracker]);
    }
    if programs.aquatic.is_some() {
        contenders.push(Contender::Aquatic);
    }
    let bench = Bench { programs, folder };
    let mut all: BTreeMap<Contender, Vec<Figures>> = BTreeMap::new();
    let mut failed = BTreeMap::new();
    let does = |part| bench.programs.parts.is_empty() || bench.programs.parts.contains(&part);
    for round in 0..bench.programs.rounds {
        for contender in contenders.iter().filter(|_| does(Part::Each)) {
            eprintln!("round {}: {}", round + 1, contender.name());
            match bench.measure(*contender).await {
                Ok(figures) => {
                    eprintln!("  {}", json!(figures));
                    all.entry(*contender).or_default().push(figures);
                }
                Err(error) => {
                    eprintln!("  {error:#}");
                    failed.insert(contender.name(), format!("{error:#}"));
                }
            }
        }
    }
    contenders.retain(|contender| !failed.contains_key(contender.name()));
    let mut curve = Vec::new();
    if does(Part::Turns) {
        eprintln!("all in turns");
        curve = bench.curve(&contenders).await?;
    }
    let mut ours = Value::Null;
    if does(Part::Ours) {
        eprintln!("ours alone");
        ours = bench.ours().await?;
    }
    let medians: BTreeMap<Contender, Figures> = all
        .iter()
        .map(|(contender, figures)| (*contender, median(figures)))
        .collect();
    let ratios = ratios(&medians);
    let curve: Vec<Value> = curve.iter().map(Point::json).collect();
    for (contender, figures) in &medians {
        println!(
            "{:22} cpu a signal {:6.1} and {:6.1} us (kernel {:.1} and {:.1}); a connection {:5.1} and {:5.1} KiB; relay p50 {:7.2} ms, p99 {:7.2} ms; at most {:7.0}/s (generator at {:.0} %); join p50 {:.2} ms",
            contender.name(),
            figures.cpu_us_per_signal[0],
            figures.cpu_us_per_signal[1],
            figures.system_us_per_signal[0],
            figures.system_us_per_signal[1],
            figures.kib_per_connection[0],
            figures.kib_per_connection[1],
            figures.relay_p50_ms,
            figures.relay_p99_ms,
            figures.highest_rate,
            figures.highest_rate_generator_cpu_share * 100.0,
            figures.join_p50_ms,
        );
    }
    let servers: BTreeMap<&str, &Figures> = medians
        .iter()
        .map(|(contender, figures)| (contender.name(), figures))
        .collect();
    println!(
        "{}",
        json!({
            "offered_per_second": RATE,
            "connections": CONNECTIONS,
            "rounds": bench.programs.rounds,
            "servers": servers,
            "in_turns": curve,
            "ours": ours,
            "ratios_to_the_best_other": ratios,
            "failed": failed,
        })
    );
    Ok(())
}

fn median(figures: &[Figures]) -> Figures {
    let of = |what: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(what).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        cpu_us_per_signal: [
            of(|f| f.cpu_us_per_signal[0]),
            of(|f| f.cpu_us_per_signal[1]),
        ],
        system_us_per_signal: [
            of(|f| f.system_us_per_signal[0]),
            of(|f| f.system_us_per_signal[1]),
        ],
        kib_per_connection: [
            of(|f| f.kib_per_connection[0]),
            of(|f| f.kib_per_connection[1]),
        ],
        relay_p50_ms: of(|f| f.relay_p50_ms),
        relay_p99_ms: of(|f| f.relay_p99_ms),
        highest_rate: of(|f| f.highest_rate),
        highest_rate_generator_cpu_share: of(|f| f.highest_rate_generator_cpu_share),
        join_p50_ms: of(|f| f.join_p50_ms),
        errors: figures.iter().map(|f| f.errors).sum(),
    }
}

/// Ours by the best of the others: below one is better, but for the rate. Beside it what of that nobody
/// could do without: what the kernel takes of ours, and all that the floor takes.
fn ratios(medians: &BTreeMap<Contender, Figures>) -> Option<Value> {
    let ours = medians.get(&Contender::Fugitive)?;
    let floor = medians.get(&Contender::Floor);
    let others: Vec<&Figures> = medians
        .iter()
        .filter(|(contender, _)| !matches!(contender, Contender::Fugitive | Contender::Floor))
        .map(|(_, figures)| figures)
        .collect();
    if others.is_empty() {
        return None;
    }
    let best =
        |what: fn(&Figures) -> f64| others.iter().map(|f| what(f)).fold(f64::INFINITY, f64::min);
    let least = |what: fn(&Figures) -> f64| what(ours) / best(what);
    let cpu = [
        best(|f| f.cpu_us_per_signal[0]),
        best(|f| f.cpu_us_per_signal[1]),
    ];
    let by_cpu = |us: [f64; 2]| [us[0] / cpu[0], us[1] / cpu[1]];
    let most = others.iter().map(|f| f.highest_rate).fold(0.0, f64::max);
    Some(json!({
        "cpu_per_signal": [least(|f| f.cpu_us_per_signal[0]), least(|f| f.cpu_us_per_signal[1])],
        "of_it_the_kernel": by_cpu(ours.system_us_per_signal),
        "floor_cpu_per_signal": floor.map(|floor| by_cpu(floor.cpu_us_per_signal)),
        "memory_per_connection":
            [least(|f| f.kib_per_connection[0]), least(|f| f.kib_per_connection[1])],
        "relay_p99": least(|f| f.relay_p99_ms),
        "highest_rate": ours.highest_rate / most,
    }))
}
