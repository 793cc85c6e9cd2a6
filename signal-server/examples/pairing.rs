//! How long the matchmaker takes for an offer, and for what it does once a second, by how many peers it
//! has: one line of JSON, times in microseconds. `cargo run --release -p fugitive-server --example pairing -- 1000000`

use std::time::Instant;

use fugitive_server::matchmaker::{Conn, Matchmaker, Output, Place};
use fugitive_signal::{Position, ToClient, ToServer};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// Pages of the site; half of all visitors are on the first.
const PAGES: u32 = 1000;
/// Offers that are measured.
const MEASURED: usize = 2000;
/// A peer is heard once in so many seconds.
const BEAT: u64 = 20;

struct Crowd {
    matchmaker: Matchmaker,
    rng: StdRng,
    peers: u64,
    /// Seconds that passed beside those that joins take.
    seconds: u64,
}

impl Crowd {
    fn new() -> Self {
        Self {
            matchmaker: Matchmaker::new(&[7; 64]),
            rng: StdRng::seed_from_u64(1),
            peers: 0,
            seconds: 0,
        }
    }

    /// Slow, so that nobody is taken for silent, and what was offered long ago is given up.
    fn now(&self) -> u64 {
        1_000_000 + self.peers / 20 + self.seconds * 1000
    }

    /// One more, from one of a few thousand networks; how long that took.
    fn join(&mut self, want: u16) -> f64 {
        self.peers += 1;
        let conn = Conn(self.peers);
        let network = self.rng.random_range(0..5000_u32);
        let place = Place {
            prefix: Some(u64::from(network) << 8 | u64::from(self.rng.random_range(0..8_u32))),
            network: Some(network / 10),
            city: Some(network / 20),
            position: Some(Position {
                lat: (network % 1400) as u16,
                lon: (network * 7 % 3600) as u16,
            }),
        };
        let page = match self.rng.random_range(0..2_u32) {
            0 => 0,
            _ => self.rng.random_range(1..PAGES),
        };
        let (now, mut out) = (self.now(), Vec::new());
        let join = ToServer::Join {
            version: 1,
            page: format!("/{page}"),
            want,
            ticket: None,
            room: None,
            position: None,
        };
        let begun = Instant::now();
        self.matchmaker.open(conn, "https://site", now);
        self.matchmaker.locate(conn, place);
        self.matchmaker
            .receive(conn, join, now, &mut self.rng, &mut out);
        begun.elapsed().as_secs_f64() * 1e6
    }

    /// A second passes, in which a part of all are heard; how long the work of that second took.
    fn second(&mut self) -> f64 {
        self.seconds += 1;
        let (now, mut out) = (self.now(), Vec::new());
        let heard = (self.seconds % BEAT..=self.peers).step_by(BEAT as usize);
        for conn in heard {
            self.matchmaker.heard(Conn(conn), now, &mut out);
        }
        let begun = Instant::now();
        self.matchmaker.tick(now, &mut out);
        begun.elapsed().as_secs_f64() * 1e6
    }

    /// One of them asks for more; how long that took, and how many it got.
    fn more(&mut self) -> (f64, usize) {
        let conn = Conn(self.rng.random_range(1..=self.peers));
        let (now, mut out) = (self.now(), Vec::new());
        let more = ToServer::More {
            want: 8,
            page: None,
        };
        let begun = Instant::now();
        self.matchmaker
            .receive(conn, more, now, &mut self.rng, &mut out);
        let took = begun.elapsed().as_secs_f64() * 1e6;
        let got = out.iter().map(|output| match output {
            Output::Send {
                message: ToClient::Offered { peers },
                ..
            } => peers.len(),
            _ => 0,
        });
        (took, got.sum())
    }
}

fn percentile(times: &mut [f64], of: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len() as f64 * of) as usize;
    (times[at.min(times.len() - 1)] * 10.0).round() / 10.0
}

fn main() -> anyhow::Result<()> {
    let most = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |most| most.parse())?;
    let mut crowd = Crowd::new();
    let mut curve: Vec<Value> = Vec::new();
    let mut step = 1000;
    while step <= most {
        let fill = step - MEASURED as u64 / 4;
        while crowd.peers < fill {
            // Each a few links, as in a swarm that has been there for a while.
            crowd.join(2);
            if crowd.peers.is_multiple_of(10_000) {
                crowd.matchmaker.tick(crowd.now(), &mut Vec::new());
            }
        }
        let mut joins: Vec<f64> = (fill..step).map(|_| crowd.join(8)).collect();
        let (mut mores, got): (Vec<f64>, Vec<usize>) = (0..MEASURED).map(|_| crowd.more()).unzip();
        // The first round finds those whom nobody heard while the others came.
        let mut ticks: Vec<f64> = (0..3 * BEAT).map(|_| crowd.second()).collect();
        let mut ticks = ticks.split_off(BEAT as usize);
        curve.push(json!({
            "peers": step,
            "join_p50": percentile(&mut joins, 0.5),
            "join_p99": percentile(&mut joins, 0.99),
            "more_p50": percentile(&mut mores, 0.5),
            "more_p99": percentile(&mut mores, 0.99),
            "tick_p50": percentile(&mut ticks, 0.5),
            "tick_p99": percentile(&mut ticks, 0.99),
            "offered": got.iter().sum::<usize>() as f64 / MEASURED as f64,
        }));
        eprintln!("{}", curve.last().unwrap_or(&Value::Null));
        step *= 10;
    }
    println!(
        "{}",
        json!({"bench": "pairing", "unit": "us", "curve": curve})
    );
    Ok(())
}
