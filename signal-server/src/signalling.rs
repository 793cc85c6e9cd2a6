//! `/fugitive/signal`: sockets around the matchmaker.
//!
//! Each client has a queue to it, bounded in bytes; one that does not read is dropped, and so is
//! one that sends what is not a message. Nothing that one client does makes another wait.

mod entrance;
mod relay;

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fugitive_signal::{ToClient, ToServer};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::entrance::route;
use self::relay::{drop_deaf, hand_on, hand_out, say_goodbye};
use crate::{
    address::Visitor,
    backlog::Backlog,
    clock::{self, Clocks},
    cluster::{Backbone, ServerId, abroad::Abroad},
    frames::Frame,
    geo::Geo,
    ice::Ice,
    limits::Share,
    matchmaker::{Conn, Counts, Matchmaker, Numbered, Output, Rules},
    metrics::{self, Metrics},
    socket::{Outgoing, Socket, Stream},
    ticket::Id,
};

/// How long a client that is being closed has to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);
/// Close code for a server that ends and another that takes its place (IANA, "Service Restart").
const RESTART: u16 = 1012;
/// Close code: what the client did is not allowed.
const POLICY: u16 = 1008;
/// Close code: all is well.
const NORMAL: u16 = 1000;

struct State {
    matchmaker: Matchmaker,
    outgoing: Numbered<Conn, Arc<Outgoing>>,
    known: Arc<Known>,
    metrics: Arc<Metrics>,
    /// With other servers, if there may be any.
    abroad: Option<Abroad>,
    /// Of what peers there sent to clients of ours.
    foreign: Numbered<Id, Backlog>,
    rng: StdRng,
    next: u64,
}

/// What the operator lets clients and the matchmaker know.
pub struct Known {
    /// Where to gather candidates.
    pub ice: Ice,
    /// Where visitors are.
    pub geo: Geo,
}

/// All clients that are connected.
#[derive(Clone)]
pub struct Signalling {
    state: Arc<Mutex<State>>,
    clocks: Clocks,
    sockets: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Signalling {
    /// Works until `end`. Without a secret for tickets, those of an earlier start are worth nothing.
    pub fn new(
        known: Known,
        rules: Rules,
        secret: Option<&str>,
        clocks: Clocks,
        metrics: Arc<Metrics>,
        end: CancellationToken,
    ) -> Self {
        let mut rng = StdRng::from_rng(&mut rand::rng());
        let mut key: [u8; 64] = rng.random();
        if let Some(secret) = secret {
            let mut hasher = blake3::Hasher::new_derive_key("fugitive resume tickets");
            hasher.update(secret.as_bytes());
            hasher.finalize_xof().fill(&mut key);
        }
        let mut matchmaker = Matchmaker::new(&key);
        matchmaker.set_rules(rules);
        let state = State {
            matchmaker,
            outgoing: Numbered::default(),
            known: Arc::new(known),
            metrics: metrics.clone(),
            abroad: None,
            foreign: Numbered::default(),
            rng,
            next: 0,
        };
        let signalling = Self {
            state: Arc::new(Mutex::new(state)),
            clocks,
            sockets: TaskTracker::new(),
            metrics,
        };
        let ticking = signalling.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            let mut ahead = ticking.clocks.ahead();
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        let now = ticking.now();
                        let before = std::mem::replace(&mut ahead, ticking.clocks.ahead());
                        if clock::was_set(before, ahead) {
                            let by = ahead.saturating_sub(before) / 1000;
                            tracing::warn!("the wall clock was set, by {by} seconds");
                        }
                        ticking.with(|state, out| {
                            state.matchmaker.set_ahead(ahead);
                            state.foreign.retain(|_, backlog| !backlog.is_idle());
                            state.matchmaker.tick(now, out);
                            let mut deliver = Vec::new();
                            if let Some(abroad) = &mut state.abroad {
                                abroad.tick(&mut state.matchmaker, now, out, &mut deliver);
                            }
                            hand_out(state, deliver, now, out);
                        });
                    }
                    () = end.cancelled() => break,
                }
            }
            for outgoing in ticking.lock().outgoing.values() {
                outgoing.close(RESTART);
            }
        });
        signalling
    }

    /// Tells all clients that there is a new manifest.
    pub fn manifest_changed(&self) {
        self.with(|state, out| state.matchmaker.tell_all(&ToClient::Manifest {}, out));
    }

    /// From now on, for clients that join.
    pub fn configure(&self, known: Known, rules: Rules) {
        let mut state = self.lock();
        state.known = Arc::new(known);
        state.matchmaker.set_rules(rules);
    }

    /// Asks all clients to go elsewhere, each at a moment of its own within `spread`, and waits until
    /// they have or that has passed.
    pub async fn drain(&self, spread: Duration) {
        let told = self.with(|state, out| {
            let members = state.matchmaker.members();
            for to in &members {
                let after = state.rng.random_range(0..=spread.as_millis() as u32);
                let message = ToClient::Elsewhere { after };
                out.push(Output::Send { to: *to, message });
            }
            members.len()
        });
        tracing::info!("signal: {told} clients told to go elsewhere within {spread:?}");
        self.sockets.close();
        // The last one is told the whole time and then needs a moment.
        let _ = tokio::time::timeout(spread + FAREWELL, self.sockets.wait()).await;
    }

    /// Closes all sockets with a reason (1012: the server restarts), and waits until they are.
    pub async fn close(&self) {
        let outgoing = std::mem::take(&mut self.lock().outgoing);
        for outgoing in outgoing.into_values() {
            outgoing.close(RESTART);
        }
        self.sockets.close();
        let _ = tokio::time::timeout(FAREWELL, self.sockets.wait()).await;
    }

    /// How many there are of what, and the largest origins.
    pub fn counts(&self) -> (Counts, Vec<(Arc<str>, usize)>) {
        let state = self.lock();
        let largest = state.matchmaker.largest(metrics::MOST_ORIGINS);
        (state.matchmaker.counts(), largest)
    }

    /// Is one of many servers from now on.
    pub fn join_cluster(&self, me: ServerId, backbone: Arc<dyn Backbone>) {
        self.lock().abroad = Some(Abroad::new(me, backbone));
    }

    /// Takes letters of other servers. It keeps nothing alive of what it belongs to.
    pub fn letters(&self) -> impl Fn(&[u8]) + Send + Sync + 'static {
        let (state, clocks) = (Arc::downgrade(&self.state), self.clocks.clone());
        let (sockets, metrics) = (self.sockets.clone(), self.metrics.clone());
        move |letter| {
            if let Some(state) = state.upgrade() {
                let signalling = Self {
                    state,
                    clocks: clocks.clone(),
                    sockets: sockets.clone(),
                    metrics: metrics.clone(),
                };
                signalling.letter(letter);
            }
        }
    }

    /// How many other servers are in the cluster.
    pub fn other_servers(&self) -> usize {
        self.lock().abroad.as_ref().map_or(0, Abroad::others)
    }

    /// Something came from another server.
    fn letter(&self, letter: &[u8]) {
        let now = self.now();
        self.with(|state, out| {
            let State {
                matchmaker,
                abroad,
                rng,
                next,
                ..
            } = state;
            let mut deliver = Vec::new();
            if let Some(abroad) = abroad {
                abroad.receive(letter, matchmaker, next, now, rng, out, &mut deliver);
            }
            hand_out(state, deliver, now, out);
        });
    }

    fn now(&self) -> u64 {
        self.clocks.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the matchmaker, and then what it says.
    fn with<T>(&self, what: impl FnOnce(&mut State, &mut Vec<Output>) -> T) -> T {
        let mut state = self.lock();
        let mut out = Vec::new();
        let result = what(&mut state, &mut out);
        if out.is_empty() {
            return result;
        }
        let now = self.now();
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Send { to, message }
                        if state.abroad.as_ref().is_some_and(|a| a.is_guest(to)) =>
                    {
                        if let Some(abroad) = &mut state.abroad {
                            abroad.send(to, &message);
                        }
                    }
                    Output::Send { to, message }
                        if state
                            .abroad
                            .as_ref()
                            .is_some_and(|a| a.is_known_elsewhere(to, &message)) => {}
                    Output::Send {
                        to,
                        message: ToClient::Signal { from, signal },
                    } => hand_on(&mut state, (from, signal), to, now, &mut out),
                    Output::Send { to, mut message } => {
                        if let ToClient::Refused { why } = &message
                            && let Some(outgoing) = state.outgoing.get(&to)
                        {
                            tracing::debug!("signal: {} is refused: {why}", outgoing.remote);
                        }
                        if let ToClient::Welcome { id, ice, .. } = &mut message {
                            *ice = state.known.ice.servers(id, self.clocks.date() / 1000);
                            self.metrics.joins.inc();
                        }
                        let message = fugitive_signal::encode(&message);
                        let sent = state
                            .outgoing
                            .get(&to)
                            .map(|outgoing| outgoing.send(&[&message]));
                        if sent == Some(false) {
                            drop_deaf(&mut state, to, now, &mut out);
                        }
                    }
                    Output::Ping { to } => {
                        if let Some(outgoing) = state.outgoing.get(&to) {
                            outgoing.ping();
                        }
                    }
                    Output::Close { conn, why } => {
                        let guest = state.abroad.as_mut().map(|abroad| abroad.close(conn));
                        if guest == Some(true) {
                            continue;
                        }
                        if let Some(outgoing) = state.outgoing.remove(&conn) {
                            tracing::info!("signal: closed {}: {why}", outgoing.remote);
                            metrics::count(&self.metrics.closed, "why", why);
                            say_goodbye(&outgoing, why);
                        }
                    }
                }
            }
        }
        result
    }

    /// Closes a connection for a reason that the matchmaker does not know about.
    fn drop_client(&self, conn: Conn, why: &str) {
        let now = self.now();
        self.with(|state, out| {
            if let Some(outgoing) = state.outgoing.remove(&conn) {
                tracing::warn!("signal: closed {}: {why}", outgoing.remote);
                metrics::count(&self.metrics.closed, "why", "not a message");
                say_goodbye(&outgoing, why);
            }
            state.matchmaker.closed(conn, now, out);
        });
    }

    /// To the end of a connection, whose first message may have come with it.
    async fn serve(
        self,
        (stream, first): (Stream, Option<Vec<u8>>),
        origin: String,
        remote: Visitor,
        share: Share,
    ) {
        let (outgoing, begun) = Outgoing::new(stream, remote);
        let outgoing = Arc::new(outgoing);
        let now = self.now();
        let known = self.lock().known.clone();
        let place = known.geo.place(remote);
        let conn = self.with(|state, _| {
            state.next += 1;
            let conn = Conn(state.next);
            state.matchmaker.open(conn, &origin, now);
            state.matchmaker.locate(conn, place);
            state.outgoing.insert(conn, outgoing.clone());
            conn
        });
        tracing::debug!("signal: {remote} connected from {origin}");
        let mut socket = Socket::new(&outgoing, begun);
        let hear = |frame: Frame<'_>| {
            self.metrics.messages.inc();
            match share.message() {
                Ok(()) => self.hear(conn, &outgoing, frame),
                Err(why) => {
                    self.drop_client(conn, why);
                    ControlFlow::Break(())
                }
            }
        };
        let flow = first.map_or(ControlFlow::Continue(()), |first| {
            hear(Frame::Binary(&first))
        });
        if flow.is_continue()
            && let Err(broken) = socket.talk(hear).await
        {
            self.drop_client(conn, &broken.to_string());
        }
        let now = self.now();
        self.with(|state, out| {
            state.outgoing.remove(&conn);
            state.matchmaker.closed(conn, now, out);
            if let Some(abroad) = &mut state.abroad {
                abroad.left(conn);
            }
        });
        let _ = tokio::time::timeout(FAREWELL, socket.farewell()).await;
        tracing::debug!("signal: {remote} is gone");
    }

    /// Breaks when there is nothing more to be heard.
    fn hear(&self, conn: Conn, outgoing: &Outgoing, frame: Frame<'_>) -> ControlFlow<()> {
        let bytes = match frame {
            Frame::Binary(bytes) => bytes,
            Frame::Text => {
                self.drop_client(conn, "text where MessagePack should be");
                return ControlFlow::Break(());
            }
            Frame::Close => {
                outgoing.close(NORMAL);
                return ControlFlow::Break(());
            }
            Frame::Ping(_) | Frame::Pong => {
                let now = self.now();
                if !self.with(|state, out| state.matchmaker.heard(conn, now, out)) {
                    return ControlFlow::Break(());
                }
                if let Frame::Ping(data) = frame {
                    outgoing.pong(data);
                }
                return ControlFlow::Continue(());
            }
        };
        if let Some((to, signal)) = fugitive_signal::addressed(bytes) {
            return self.relay((conn, outgoing), to, signal, bytes);
        }
        let now = self.now();
        let message = fugitive_signal::decode::<ToServer>(bytes);
        let heard = self.with(|state, out| {
            let State {
                matchmaker,
                abroad,
                rng,
                ..
            } = state;
            if !matchmaker.heard(conn, now, out) {
                return ControlFlow::Break(());
            }
            if let Ok(message) = &message {
                matchmaker.receive(conn, message.clone(), now, rng, out);
                if let ToServer::Join {
                    ticket: Some(ticket),
                    ..
                } = message
                    && out.iter().any(|output| is_another(output, conn, ticket))
                {
                    let remote = outgoing.remote;
                    tracing::debug!("signal: {remote} shows a ticket that is worth nothing");
                }
                if let Some(abroad) = abroad {
                    let found = out.iter().map(|output| offered(output, conn)).sum();
                    abroad.asked(conn, message, matchmaker, found, now);
                }
            }
            ControlFlow::Continue(())
        });
        match message {
            Err(error) if heard.is_continue() => match fugitive_signal::kind(bytes) {
                Some(kind) if !ToServer::knows(&kind) => {
                    let remote = outgoing.remote;
                    tracing::debug!("signal: {remote} says {kind:?}, which is ignored");
                    heard
                }
                _ => {
                    self.drop_client(conn, &error.to_string());
                    ControlFlow::Break(())
                }
            },
            _ => heard,
        }
    }
}

/// Whether this welcomes the client on `conn` as another than its ticket says.
fn is_another(output: &Output, conn: Conn, ticket: &str) -> bool {
    match output {
        Output::Send {
            to,
            message: ToClient::Welcome { id, .. },
        } => *to == conn && !ticket.starts_with(id),
        _ => false,
    }
}

/// How many peers, or holders, this offers to the client on `conn`.
fn offered(output: &Output, conn: Conn) -> usize {
    match output {
        Output::Send {
            to,
            message: ToClient::Offered { peers } | ToClient::Holders { peers, .. },
        } if *to == conn => peers.len(),
        _ => 0,
    }
}
