//! `/fugitive/signal`: sockets around the matchmaker.
//!
//! Each client has a queue to it, bounded in bytes; one that does not read is dropped, and so is
//! one that sends what is not a message. Nothing that one client does makes another wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use fugitive_signal::{MAX_MESSAGE, ToClient, ToServer};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warp::{
    Filter, Rejection, Reply,
    reply::Response,
    ws::{Message, WebSocket},
};

use crate::{
    access::{Access, Refused},
    address::Visitor,
    entity,
    geo::Geo,
    ice::Ice,
    limits::Share,
    matchmaker::{Conn, Counts, Matchmaker, Output, Rules},
    metrics::{self, Metrics},
};

/// What may wait to be sent to one client, in bytes.
const QUEUE: usize = 1 << 20;
/// What a waiting message takes beside its bytes.
const MESSAGE: usize = 64;
/// How long a client that is being closed has to read why.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);
/// Close code for a server that ends and another that takes its place (IANA, "Service Restart").
const RESTART: u16 = 1012;

/// The way to one client.
struct Outgoing {
    queue: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    /// Ends both halves of the socket at once.
    cut: CancellationToken,
    remote: Visitor,
}

impl Outgoing {
    /// `false` if the client has not read what was sent before.
    fn send(&self, message: Message) -> bool {
        let size = message.as_bytes().len() + MESSAGE;
        self.waiting.fetch_add(size, Ordering::Relaxed) + size <= QUEUE
            && self.queue.send(message).is_ok()
    }
}

struct State {
    matchmaker: Matchmaker,
    outgoing: HashMap<Conn, Outgoing>,
    known: Arc<Known>,
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
    /// The monotonic clock, and what it is added to.
    begun: (Instant, Duration),
    sockets: TaskTracker,
    metrics: Arc<Metrics>,
    end: CancellationToken,
}

impl Signalling {
    /// Works until `end`. Without a secret for tickets, those of an earlier start are worth nothing.
    pub fn new(
        known: Known,
        rules: Rules,
        secret: Option<&str>,
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
            outgoing: HashMap::new(),
            known: Arc::new(known),
            rng,
            next: 0,
        };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let signalling = Self {
            state: Arc::new(Mutex::new(state)),
            begun: (Instant::now(), since_epoch.unwrap_or_default()),
            sockets: TaskTracker::new(),
            metrics,
            end,
        };
        let ticking = signalling.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {
                        let now = ticking.now();
                        ticking.with(|state, out| state.matchmaker.tick(now, out));
                    }
                    () = ticking.end.cancelled() => return,
                }
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
            outgoing.send(Message::close_with(RESTART, "this server ends"));
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

    fn now(&self) -> u64 {
        (self.begun.1 + self.begun.0.elapsed()).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the matchmaker, and then what it says.
    fn with<T>(&self, what: impl FnOnce(&mut State, &mut Vec<Output>) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let mut out = Vec::new();
        let result = what(&mut state, &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Send { to, mut message } => {
                        match &mut message {
                            ToClient::Welcome { id, ice, .. } => {
                                *ice = state.known.ice.servers(id, date());
                                self.metrics.joins.inc();
                            }
                            ToClient::Signal { .. } => {
                                self.metrics.relayed.inc();
                            }
                            _ => {}
                        }
                        let message = Message::binary(fugitive_signal::encode(&message));
                        let sent = state
                            .outgoing
                            .get(&to)
                            .map(|outgoing| outgoing.send(message));
                        if sent == Some(false)
                            && let Some(outgoing) = state.outgoing.remove(&to)
                        {
                            tracing::warn!("signal: dropped {}: it does not read", outgoing.remote);
                            metrics::count(&self.metrics.closed, "why", "it does not read");
                            outgoing.cut.cancel();
                            state.matchmaker.closed(to, now, &mut out);
                        }
                    }
                    Output::Ping { to } => {
                        if let Some(outgoing) = state.outgoing.get(&to) {
                            outgoing.send(Message::ping(Vec::new()));
                        }
                    }
                    Output::Close { conn, why } => {
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

    async fn serve(self, socket: WebSocket, origin: String, remote: Visitor, share: Share) {
        let (sink, mut stream) = socket.split();
        let (queue, to_send) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let cut = self.end.child_token();
        let now = self.now();
        let known = self.lock().known.clone();
        let place = known.geo.place(remote);
        let conn = self.with(|state, _| {
            state.next += 1;
            let conn = Conn(state.next);
            state.matchmaker.open(conn, &origin, now);
            state.matchmaker.locate(conn, place);
            let outgoing = Outgoing {
                queue,
                waiting: waiting.clone(),
                cut: cut.clone(),
                remote,
            };
            state.outgoing.insert(conn, outgoing);
            conn
        });
        tracing::debug!("signal: {remote} connected from {origin}");
        let writer = tokio::spawn(write(sink, to_send, waiting, cut.clone()));
        loop {
            let message = tokio::select! {
                message = stream.next() => message,
                () = cut.cancelled() => break,
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.drop_client(conn, &error.to_string());
                    break;
                }
                None => break,
            };
            if message.is_close() {
                break;
            }
            self.metrics.messages.inc();
            if let Err(why) = share.message() {
                self.drop_client(conn, why);
                break;
            }
            let now = self.now();
            if !self.with(|state, out| state.matchmaker.heard(conn, now, out)) {
                break;
            }
            if message.is_ping() || message.is_pong() {
                continue;
            }
            let bytes = message.as_bytes();
            match fugitive_signal::decode::<ToServer>(bytes) {
                Ok(_) if message.is_text() => {
                    self.drop_client(conn, "text where MessagePack should be");
                    break;
                }
                Ok(message) => self.with(|state, out| {
                    let State {
                        matchmaker, rng, ..
                    } = state;
                    matchmaker.receive(conn, message, now, rng, out);
                }),
                Err(error) => match fugitive_signal::kind(bytes) {
                    Some(kind) if !ToServer::knows(&kind) => {
                        tracing::debug!("signal: {remote} says {kind:?}, which is ignored");
                    }
                    _ => {
                        self.drop_client(conn, &error.to_string());
                        break;
                    }
                },
            }
        }
        let now = self.now();
        self.with(|state, out| {
            state.outgoing.remove(&conn);
            state.matchmaker.closed(conn, now, out);
        });
        // The queue has no sender any more: the writer ends when it has sent what is in it.
        if tokio::time::timeout(FAREWELL, writer).await.is_err() {
            cut.cancel();
        }
        tracing::debug!("signal: {remote} is gone");
    }
}

fn say_goodbye(outgoing: &Outgoing, why: &str) {
    let refused = ToClient::Refused { why: why.into() };
    outgoing.send(Message::binary(fugitive_signal::encode(&refused)));
    outgoing.send(Message::close_with(1008_u16, String::new()));
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<AtomicUsize>,
    cut: CancellationToken,
) {
    let sending = async {
        while let Some(message) = queue.recv().await {
            let size = message.as_bytes().len() + MESSAGE;
            if sink.send(message).await.is_err() {
                break;
            }
            waiting.fetch_sub(size, Ordering::Relaxed);
        }
        let _ = sink.close().await;
    };
    tokio::select! {
        () = sending => {}
        () = cut.cancelled() => {}
    }
}

/// The WebSocket. A handshake without `Origin` is refused: it says within what peers are paired.
pub fn route(
    signalling: Signalling,
    access: Arc<ArcSwap<Access>>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let token = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path!("fugitive" / "signal")
        .and(warp::ws())
        .and(warp::header::optional::<String>("origin"))
        .and(token)
        .and(warp::ext::get::<Visitor>())
        .map(
            move |ws: warp::ws::Ws, origin: Option<String>, query: String, remote: Visitor| {
                let access = access.load();
                let origin = origin.unwrap_or_default();
                match access.admit(remote, &origin, token_in(&query)) {
                    Ok(share) => {
                        let signalling = signalling.clone();
                        ws.max_message_size(MAX_MESSAGE)
                            .max_frame_size(MAX_MESSAGE)
                            .on_upgrade(move |socket| {
                                let sockets = signalling.sockets.clone();
                                sockets
                                    .track_future(signalling.serve(socket, origin, remote, share))
                            })
                            .into_response()
                    }
                    Err(refused) => {
                        let metrics = &signalling.metrics;
                        metrics::count(&metrics.refused, "why", refused.kind());
                        // Those who are too many have said so, once for many.
                        if !matches!(refused, Refused::TooMany(_)) {
                            tracing::info!("signal: refused {remote}: {refused}");
                        }
                        entity::bare(refused.status())
                    }
                }
            },
        )
}

/// Seconds since 1970 by the wall clock, which other machines go by.
fn date() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// `token` of a query. A JWT needs no decoding.
fn token_in(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
}
