//! Runs a workload and prints its figures: a table, and last one line of JSON.

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use fugitive_sim::{
    charts, report, run, upper_bound,
    workload::{NAMES, Workload},
};

/// The swarm in virtual time.
#[derive(Parser)]
#[command(name = "fugitive-sim")]
struct Arguments {
    /// shop, flash, longtail, hostile, or a TOML file; without one, all four.
    #[arg(long)]
    workload: Option<String>,
    /// How many visitors there are.
    #[arg(long, default_value_t = 100)]
    peers: usize,
    /// The same seed makes the same result.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only say what could be reached at most.
    #[arg(long)]
    bound: bool,
    /// A folder for charts.
    #[arg(long)]
    charts: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let names: Vec<&str> = match &arguments.workload {
        Some(name) => vec![name],
        None => NAMES.to_vec(),
    };
    for name in names {
        let workload = Workload::load(name)?;
        if arguments.bound {
            let bound = upper_bound(&workload, arguments.peers, arguments.seed);
            println!("{}", serde_json::to_string(&bound)?);
            continue;
        }
        let began = Instant::now();
        let mut progress = |what: &str| {
            eprintln!("{name} {:6.1} s: {what}", began.elapsed().as_secs_f64());
        };
        let figures = run(&workload, arguments.peers, arguments.seed, &mut progress);
        if let Some(folder) = &arguments.charts {
            charts::draw(&figures, folder).map_err(|error| anyhow!("charts: {error}"))?;
        }
        println!("{name}\n{}", report::table(&figures));
        let mut line = serde_json::to_value(&figures)?;
        line["workload"] = name.into();
        line["seed"] = arguments.seed.into();
        println!("{line}");
    }
    Ok(())
}
