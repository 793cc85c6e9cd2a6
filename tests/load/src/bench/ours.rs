//! What only our server does: letting a visitor come back with a ticket; and how many it carries.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Bench, Contender};
use crate::{
    crowd::Crowd,
    measure::Percentiles,
    process::{Process, own_cpu},
};

/// Visitors, of whom some navigate at a time: the others' connections stand.
const VISITORS: usize = 4000;
const AT_A_TIME: usize = 500;
/// How often with tickets, and as often without.
const TURNS: usize = 8;
/// Navigations a second: so many that the server has always something to do. What it takes to wake a
/// server up for each of them is no work of its own.
const PACE: f64 = 4000.0;
/// Until the server has done what it put off until it is sure that somebody is not coming back.
const PUT_OFF: Duration = Duration::from_millis(4500);
/// The crowd of the last round, and its rate: what one server has to carry.
const FULL_HOUSE: (usize, f64) = (18_000, 5000.0);

impl Bench {
    pub(super) async fn ours(&self) -> anyhow::Result<Value> {
        let server = self.start(Contender::Fugitive)?;
        let crowd = Crowd::new(Contender::Fugitive.dialect(), vec![server.address], 0);
        crowd.grow(VISITORS / 2).await?;
        sleep(PUT_OFF).await;
        let before = server.cpu();
        crowd.grow(VISITORS).await?;
        sleep(PUT_OFF).await;
        let arrival = (server.cpu() - before) * 1e6 / (VISITORS - VISITORS / 2) as f64;
        let returns = self.returns(&server, &crowd).await?;
        let (many, rate) = FULL_HOUSE;
        crowd.grow(many).await?;
        crowd.tally();
        sleep(Duration::from_secs(1)).await;
        let before = (server.cpu(), own_cpu());
        let (talk, took) = crowd.talk(rate, 0.0, self.time()).await;
        let share = |spent: f64| spent / took;
        Ok(json!({
            "arrival_cpu_us": arrival,
            "navigations": returns,
            "full_house": {
                "connections": crowd.here(),
                "relayed_per_second": talk.relayed.get() as f64 / took,
                "relay_ms": talk.relay.borrow().percentiles(),
                "server_cpu_share": share(server.cpu() - before.0),
                "generator_cpu_share": share(own_cpu() - before.1),
                "errors": talk.errors.borrow().clone(),
            },
        }))
    }

    /// Visitors whose connections stand go to another page: with their tickets, and without, as if each
    /// left and another came. In turn, so that what else happens on the machine hits both.
    async fn returns(&self, server: &Process, crowd: &Crowd) -> anyhow::Result<Value> {
        let mut costs = [0.0; 2];
        let mut told = [0.0; 2];
        let mut times = [Percentiles::default(); 2];
        for turn in 0..2 * TURNS {
            let with_ticket = turn % 2 == 1;
            crowd.connect().await;
            let before = server.cpu();
            // By lot: who went round in turn would always be dialled by the others.
            let who = rand::seq::index::sample(&mut rand::rng(), VISITORS, AT_A_TIME);
            let who = who.into_vec();
            let tally = crowd.navigate(&who, PACE, with_ticket).await?;
            sleep(PUT_OFF).await;
            let i = usize::from(with_ticket);
            let gone = tally.gone.get() + crowd.tally().gone.get();
            told[i] += gone as f64 / (TURNS * AT_A_TIME) as f64;
            costs[i] += (server.cpu() - before) * 1e6 / (TURNS * AT_A_TIME) as f64;
            let took = [&tally.join, &tally.resume][i];
            times[i] = took.borrow().percentiles();
        }
        Ok(json!({
            "of_each": TURNS * AT_A_TIME,
            "leave_and_join_cpu_us": costs[0],
            "leave_and_resume_cpu_us": costs[1],
            "resume_to_join": costs[1] / costs[0],
            "others_told_of_a_join": told[0],
            "others_told_of_a_resume": told[1],
            "join_to_first_offer_p50_ms": times[0].p50,
            "resume_to_first_offer_p50_ms": times[1].p50,
        }))
    }
}
