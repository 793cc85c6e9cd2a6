//! All visitors of one generator: how they come, talk at a given rate, navigate and go.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::bail;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    dialect::{Dialect, Me},
    measure::{Tally, now},
    peer::{Command, Peer},
};

/// How many are on one page, or in one swarm, where nothing else is said.
pub const ON_A_PAGE: usize = 50;
/// How many may be on their way in at once.
const DOORS: usize = 32;
/// How often calls are given out.
const BEAT: Duration = Duration::from_millis(1);
/// How often every visitor says that it is still there.
pub const HEARTBEAT: Duration = Duration::from_secs(20);
/// For how long answers are waited for that are still under way.
const DRAIN: Duration = Duration::from_secs(2);
/// How often somebody who can call is looked for.
const TRIES: usize = 50;

/// What all visitors share.
pub struct Shared {
    /// What they speak.
    pub dialect: Box<dyn Dialect>,
    /// Where they go, in turn.
    pub servers: Vec<SocketAddr>,
    /// Whether all visitors of a page go to the same server.
    pub is_page_together: bool,
    /// Who wants to come in waits here.
    pub doors: Semaphore,
    /// Somebody came in.
    pub arrived: Notify,
    tally: RefCell<Rc<Tally>>,
    peers: RefCell<Vec<Rc<Peer>>>,
    /// Whether each answer is followed by another call.
    ceaseless: Cell<bool>,
}

impl Shared {
    /// Where to count.
    pub fn tally(&self) -> Rc<Tally> {
        self.tally.borrow().clone()
    }

    /// A call was answered.
    pub fn answered(&self) {
        if self.ceaseless.get() {
            self.dial_somebody(now());
        }
    }

    fn somebody(&self) -> Option<Rc<Peer>> {
        let peers = self.peers.borrow();
        if peers.is_empty() {
            return None;
        }
        (0..TRIES).find_map(|_| {
            let peer = &peers[rand::random_range(0..peers.len())];
            (peer.here.get() && peer.has_partners.get()).then(|| peer.clone())
        })
    }

    fn dial_somebody(&self, due: u64) {
        match self.somebody() {
            Some(peer) => peer.tell(Command::Dial(due)),
            None => self.tally().error("nobody can call"),
        }
    }
}

/// The visitors.
pub struct Crowd {
    shared: Rc<Shared>,
    first: usize,
    /// How long nobody may come before all are given up.
    pub patience: Duration,
    /// How many are on one page.
    pub on_a_page: usize,
}

impl Crowd {
    /// Nobody yet. Several generators on one machine give their visitors different numbers. Needs a
    /// `LocalSet`.
    pub fn new(dialect: Box<dyn Dialect>, servers: Vec<SocketAddr>, first: usize) -> Self {
        Self::with(dialect, servers, first, false)
    }

    /// As [`Crowd::new`]; all visitors of a page may go to the same server, and not in turn.
    pub fn with(
        dialect: Box<dyn Dialect>,
        servers: Vec<SocketAddr>,
        first: usize,
        is_page_together: bool,
    ) -> Self {
        let shared = Rc::new(Shared {
            dialect,
            servers,
            is_page_together,
            doors: Semaphore::new(DOORS),
            arrived: Notify::new(),
            tally: RefCell::default(),
            peers: RefCell::default(),
            ceaseless: Cell::new(false),
        });
        let beating = Rc::downgrade(&shared);
        tokio::task::spawn_local(async move {
            let mut next = 0;
            let step = HEARTBEAT / 1000;
            let mut steps = interval(step);
            steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                steps.tick().await;
                let Some(shared) = beating.upgrade() else {
                    return;
                };
                // A thousandth at a time: a heartbeat of all at once would be a burst.
                let peers = shared.peers.borrow();
                for _ in 0..peers.len().div_ceil(1000) {
                    if let Some(peer) = peers.get(next % peers.len().max(1))
                        && peer.here.get()
                    {
                        peer.tell(Command::Beat);
                    }
                    next += 1;
                }
            }
        });
        Self {
            shared,
            first,
            patience: Duration::from_secs(20),
            on_a_page: ON_A_PAGE,
        }
    }

    /// How many the server knows.
    pub fn here(&self) -> usize {
        let peers = self.shared.peers.borrow();
        peers.iter().filter(|peer| peer.here.get()).count()
    }

    /// Lets visitors come until there are so many, and waits for them. Fails if nobody comes any
    /// more.
    pub async fn grow(&self, to: usize) -> anyhow::Result<()> {
        let pages = to.div_ceil(self.on_a_page).max(1);
        while self.shared.peers.borrow().len() < to {
            let number = self.first + self.shared.peers.borrow().len();
            let me = Me {
                number,
                // The neighbours of a pair have numbers that follow each other.
                page: number / 2 % pages,
                ..Me::default()
            };
            let peer = Peer::start(self.shared.clone(), me);
            self.shared.peers.borrow_mut().push(peer);
        }
        self.wait_for(to).await
    }

    /// Waits until so many are here.
    pub async fn wait_for(&self, count: usize) -> anyhow::Result<()> {
        while self.here() < count {
            let arrived = self.shared.arrived.notified();
            if timeout(self.patience, arrived).await.is_err() {
                let errors = self.shared.tally().errors.borrow().clone();
                bail!("only {} of {count} came: {errors:?}", self.here());
            }
            // Counting all for each that comes would be quadratic.
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A fresh sheet; what was counted until now.
    pub fn tally(&self) -> Rc<Tally> {
        self.shared.tally.replace(Rc::default())
    }

    /// Signals at a rate, half of them calls and half answers, and besides so many navigations a
    /// second; what was counted meanwhile, and how long it took in seconds.
    pub async fn talk(&self, rate: f64, navigations: f64, time: Duration) -> (Rc<Tally>, f64) {
        self.tally();
        let begun = Instant::now();
        let clock = now();
        let (mut calls, mut moves) = (0_u64, 0_u64);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while begun.elapsed() < time {
            beats.tick().await;
            let elapsed = begun.elapsed().as_secs_f64();
            while (calls as f64) < elapsed * rate / 2.0 {
                let due = clock + (calls as f64 * 2e9 / rate) as u64;
                self.shared.dial_somebody(due);
                calls += 1;
            }
            while (moves as f64) < elapsed * navigations {
                self.navigate_one(true);
                moves += 1;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        sleep(DRAIN.min(time)).await;
        (self.tally(), took)
    }

    /// As many signals as can be, with so many calls under way.
    pub async fn shout(&self, at_once: usize, time: Duration) -> (Rc<Tally>, f64) {
        self.tally();
        self.shared.ceaseless.set(true);
        let begun = Instant::now();
        for _ in 0..at_once {
            self.shared.dial_somebody(now());
        }
        sleep(time).await;
        self.shared.ceaseless.set(false);
        let took = begun.elapsed().as_secs_f64();
        let tally = self.tally();
        sleep(DRAIN).await;
        self.tally();
        (tally, took)
    }

    /// Sends these visitors to another page, at a rate, and waits until they are there.
    pub async fn navigate(
        &self,
        who: &[usize],
        rate: f64,
        with_ticket: bool,
    ) -> anyhow::Result<Rc<Tally>> {
        self.tally();
        let all = self.here();
        let begun = Instant::now();
        let mut beats = interval(BEAT);
        let mut moved = 0;
        while moved < who.len() {
            beats.tick().await;
            while moved < who.len() && (moved as f64) < begun.elapsed().as_secs_f64() * rate {
                if let Some(peer) = self.shared.peers.borrow().get(who[moved]) {
                    peer.tell(Command::Navigate(with_ticket));
                }
                moved += 1;
            }
        }
        sleep(Duration::from_millis(500)).await;
        self.wait_for(all).await?;
        Ok(self.tally())
    }

    /// Lets each have channels with all that it was offered, without a word between them.
    pub async fn connect(&self) {
        for peer in self.shared.peers.borrow().iter() {
            peer.tell(Command::Connect);
        }
        sleep(Duration::from_millis(500)).await;
    }

    fn navigate_one(&self, with_ticket: bool) {
        if let Some(peer) = self.shared.somebody() {
            peer.tell(Command::Navigate(with_ticket));
        }
    }

    /// Lets all go.
    pub async fn leave(&self) {
        for peer in self.shared.peers.borrow_mut().drain(..) {
            peer.tell(Command::Leave);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
