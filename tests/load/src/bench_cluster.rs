//! `bench cluster`: two of our servers alone and as one, and three with as many visitors as they are
//! to carry together. All servers and NATS are on one core, the crowd on another, so that only ratios
//! say something.

use std::{fs, net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::sleep,
};

use crate::{
    crowd::Crowd,
    dialect::{Dialect, Fugitive},
    measure::Percentiles,
    process::{Process, free_address, stay_on},
};

/// The core of the servers, and that of the crowd.
const CORES: [usize; 2] = [0, 1];
/// Visitors of the first rounds, in pairs.
const VISITORS: usize = 2000;
/// The offered rate where latencies are compared.
const RATE: f64 = 2000.0;
/// Calls under way at once when as many are made as can be.
const AT_ONCE: usize = 256;
/// Generators of the last round.
const GENERATORS: usize = 3;

/// Where the servers are.
#[derive(Args)]
pub struct Programs {
    /// Our server, optimised.
    #[arg(long)]
    fugitive: PathBuf,
    /// How long each measurement takes, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often the first rounds are done; the figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Visitors of the last round; 0: without it.
    #[arg(long, default_value_t = 50_000)]
    visitors: usize,
    /// Signals a second of the last round.
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
}

struct Bench {
    programs: Programs,
    folder: TempDir,
}

impl Bench {
    fn server(&self, nats: Option<&Process>) -> anyhow::Result<Process> {
        let address = free_address()?;
        let fugitive = self.programs.fugitive.display().to_string();
        let site = self.folder.path().join("site").display().to_string();
        let listen = address.to_string();
        let mut program = vec!["env", "FUGITIVE_LOG=warn", &fugitive, "serve"];
        program.extend(["--site", &site, "--listen", &listen]);
        let url = nats.map_or(String::new(), |nats| format!("nats://{}", nats.address));
        if nats.is_some() {
            program.extend(["--set", "access.ticket-secret=bench", "--cluster", &url]);
        }
        Process::start(Some(CORES[0]), address, &program, Stdio::null()).context("fugitive")
    }

    fn nats(&self) -> anyhow::Result<Process> {
        let address = free_address()?;
        let port = address.port().to_string();
        let program = ["nats-server", "-a", "127.0.0.1", "-p", &port];
        Process::start(Some(CORES[0]), address, &program, Stdio::null()).context("nats-server")
    }

    /// The highest rate, and the latency at a given one, of pairs on one server or on two.
    async fn pairs(
        &self,
        servers: Vec<SocketAddr>,
        is_together: bool,
        run: usize,
    ) -> anyhow::Result<(f64, Percentiles)> {
        let dialect: Box<dyn Dialect> = Box::new(Fugitive {
            origin: format!("http://run-{run}-{is_together}"),
            is_page_apart: true,
            want: 1,
        });
        let mut crowd = Crowd::with(dialect, servers, 0, is_together);
        crowd.on_a_page = 2;
        crowd.grow(VISITORS).await?;
        // Whoever came a moment too early to be found looks once more.
        sleep(Duration::from_secs(3)).await;
        let time = Duration::from_secs_f64(self.programs.seconds);
        let (talk, _) = crowd.talk(RATE, 0.0, time).await;
        let latency = talk.relay.borrow().percentiles();
        let (shout, took) = crowd.shout(AT_ONCE, time).await;
        crowd.leave().await;
        Ok((shout.relayed.get() as f64 / took, latency))
    }

    /// Three servers, and generators as processes: one may not hold so many sockets.
    async fn full_house(&self) -> anyhow::Result<Value> {
        let nats = self.nats()?;
        let servers = [
            self.server(Some(&nats))?,
            self.server(Some(&nats))?,
            self.server(Some(&nats))?,
        ];
        let urls: Vec<String> = servers
            .iter()
            .map(|server| format!("http://{}", server.address))
            .collect();
        let each = self.programs.visitors / GENERATORS;
        let rate = self.programs.rate / GENERATORS as f64;
        let mut generators = Vec::new();
        for number in 0..GENERATORS {
            let mut child = Command::new(std::env::current_exe()?)
                .args(["load", "--hold", "--navigations", "0"])
                .args(["--server", &urls.join(",")])
                .args(["--peers", &each.to_string()])
                .args(["--first", &(number * each).to_string()])
                .args(["--rate", &rate.to_string()])
                .args(["--seconds", &self.programs.seconds.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let stdout = child.stdout.take().context("no output")?;
            generators.push((child, BufReader::new(stdout)));
        }
        for (_, output) in &mut generators {
            let mut line = String::new();
            output.read_line(&mut line).await?;
            anyhow::ensure!(line.trim() == "ready", "a generator: {line}");
        }
        sleep(Duration::from_secs(2)).await;
        let before: f64 = servers.iter().map(Process::cpu).sum();
        for (child, _) in &mut generators {
            go(child).await?;
        }
        let mut reports = Vec::new();
        for (_, output) in &mut generators {
            let mut line = String::new();
            output.read_line(&mut line).await?;
            reports.push(serde_json::from_str::<Value>(&line).context(line)?);
        }
        let spent = servers.iter().map(Process::cpu).sum::<f64>() - before;
        let sum = |key: &str| reports.iter().filter_map(|r| r[key].as_f64()).sum::<f64>();
        let worst = |at: &str| {
            let values = reports.iter().filter_map(|r| r["relay_ms"][at].as_f64());
            values.fold(0.0, f64::max)
        };
        let relayed = sum("relayed_per_second") * self.programs.seconds;
        let errors: Vec<&Value> = reports.iter().map(|report| &report["errors"]).collect();
        Ok(json!({
            "connections": sum("connected_at_the_end"),
            "servers": servers.len(),
            "relayed_per_second": sum("relayed_per_second"),
            "unanswered": sum("unanswered"),
            "worst_relay_p50_ms": worst("p50"),
            "worst_relay_p99_ms": worst("p99"),
            "servers_cpu_us_per_signal": spent * 1e6 / relayed.max(1.0),
            "kib_per_connection": servers.iter().map(Process::memory).sum::<f64>()
                / sum("connected_at_the_end").max(1.0) / 1024.0,
            "errors": errors,
        }))
    }
}

async fn go(child: &mut Child) -> anyhow::Result<()> {
    let stdin = child.stdin.as_mut().context("no input")?;
    stdin.write_all(b"go\n").await?;
    Ok(stdin.flush().await?)
}

/// Goes through all rounds and prints what came of them.
pub async fn run(programs: Programs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let site = folder.path().join("site");
    fs::create_dir(&site)?;
    fs::write(site.join("index.html"), "<p>hello")?;
    stay_on(CORES[1]);
    let bench = Bench { programs, folder };
    let (mut alone, mut same, mut cross) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.programs.rounds {
        eprintln!("round {}", round + 1);
        {
            let two = [bench.server(None)?, bench.server(None)?];
            let servers = two.iter().map(|server| server.address).collect();
            alone.push(bench.pairs(servers, true, round).await?);
        }
        let nats = bench.nats()?;
        let two = [bench.server(Some(&nats))?, bench.server(Some(&nats))?];
        let servers: Vec<SocketAddr> = two.iter().map(|server| server.address).collect();
        // They must have found NATS.
        sleep(Duration::from_secs(2)).await;
        same.push(bench.pairs(servers.clone(), true, round).await?);
        cross.push(bench.pairs(servers, false, round).await?);
    }
    let rate = |runs: &[(f64, Percentiles)]| median(runs.iter().map(|run| run.0).collect());
    let p50 = |runs: &[(f64, Percentiles)]| median(runs.iter().map(|run| run.1.p50).collect());
    let p99 = |runs: &[(f64, Percentiles)]| median(runs.iter().map(|run| run.1.p99).collect());
    let full_house = match bench.programs.visitors {
        0 => Value::Null,
        _ => {
            eprintln!("{} visitors", bench.programs.visitors);
            let full_house = bench.full_house().await;
            full_house.unwrap_or_else(|error| json!({ "failed": format!("{error:#}") }))
        }
    };
    let figures = |runs: &[(f64, Percentiles)]| {
        json!({
            "highest_rate": rate(runs),
            "relay_p50_ms": p50(runs),
            "relay_p99_ms": p99(runs),
        })
    };
    let result = json!({
        "rounds": bench.programs.rounds,
        "offered_per_second": RATE,
        "two_alone": figures(&alone),
        "two_as_one_same_server": figures(&same),
        "two_as_one_across": figures(&cross),
        "same_server_rate_to_two_alone": rate(&same) / rate(&alone),
        "across_p50_to_same_server": p50(&cross) / p50(&same),
        "across_p99_to_same_server": p99(&cross) / p99(&same),
        "full_house": full_house,
    });
    println!("{result:#}");
    println!("{result}");
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
