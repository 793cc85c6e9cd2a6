//! The backbone over NATS: core subjects, so that any NATS server will do.
//!
//! `fugitive.beat` for all servers, `fugitive.server.ID` for one, `fugitive.call.HASH` for those who
//! have peers of an origin: who takes part in what is what NATS keeps track of itself. Give the
//! addresses of several nodes, and the loss of one is a moment's silence.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Backbone, ServerId};

/// Letters that may wait to be sent; more are lost.
const WAITING: usize = 1 << 16;
/// The longest pause between two attempts to reach a node.
const PAUSE: Duration = Duration::from_millis(500);

const ALL: &str = "fugitive.beat";

/// What is done with a letter that came.
pub type Take = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// See the module.
pub struct Nats {
    /// Once it is there.
    client: watch::Receiver<Option<Client>>,
    to_send: mpsc::Sender<(String, Bytes)>,
    /// Letters that are not handed over yet.
    waiting: Arc<AtomicUsize>,
    take: Take,
    /// By subject, the task that takes what is called out there.
    attended: Mutex<HashMap<Box<str>, AbortOnDropHandle<()>>>,
}

impl Nats {
    /// Connects as soon as a node is there, and hands each letter that comes to `take`.
    pub fn start(urls: Vec<String>, me: ServerId, take: Take, end: CancellationToken) -> Arc<Self> {
        let (to_send, queue) = mpsc::channel(WAITING);
        let (found, client) = watch::channel(None);
        let waiting = Arc::new(AtomicUsize::new(0));
        let handed_over = waiting.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = publish(&urls, found, queue, &handed_over) => {}
                () = end.cancelled() => {}
            }
        });
        let nats = Arc::new(Self {
            client,
            to_send,
            waiting,
            take,
            attended: Mutex::default(),
        });
        nats.listen(ALL.into(), ALL.into());
        let own = server_subject(me);
        nats.listen(own.as_str().into(), own);
        nats
    }

    /// Takes what comes on a subject, as long as the name stands for it.
    fn listen(&self, name: Box<str>, subject: String) {
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        attended.entry(name).or_insert_with(|| {
            let (mut client, take) = (self.client.clone(), self.take.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let client = match client.wait_for(Option::is_some).await {
                    Ok(client) => client.clone(),
                    Err(_) => return,
                };
                let Some(client) = client else { return };
                match client.subscribe(subject).await {
                    Ok(mut letters) => {
                        while let Some(letter) = letters.next().await {
                            take(&letter.payload);
                        }
                    }
                    Err(error) => tracing::warn!("cluster: {error}"),
                }
            }))
        });
    }

    fn send(&self, subject: String, message: Vec<u8>) {
        let message = Bytes::from(message);
        // At once if it has room and no other waits, which this one must not overtake: a letter that
        // goes through a queue and a task of ours takes its time.
        if self.waiting.load(Ordering::Acquire) == 0
            && let Some(client) = &*self.client.borrow()
        {
            let handed_over = client.publish(subject.clone(), message.clone());
            match handed_over.now_or_never() {
                Some(Ok(())) => return,
                Some(Err(error)) => return tracing::debug!("cluster: {error}"),
                None => {}
            }
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // If NATS is away for long, what is lost is said again.
        if self.to_send.try_send((subject, message)).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Sends what is in the queue, as long as there is one.
async fn publish(
    urls: &[String],
    found: watch::Sender<Option<Client>>,
    mut queue: mpsc::Receiver<(String, Bytes)>,
    waiting: &AtomicUsize,
) {
    let client = loop {
        let options = ConnectOptions::new()
            .name("fugitive")
            .no_echo()
            .retry_on_initial_connect()
            .connection_timeout(Duration::from_secs(2))
            .ping_interval(Duration::from_secs(2))
            .reconnect_delay_callback(|tries| PAUSE.min(Duration::from_millis(20 * tries as u64)))
            .event_callback(|event| async move { tracing::info!("cluster: NATS: {event}") });
        match options.connect(urls).await {
            Ok(client) => break client,
            Err(error) => {
                tracing::warn!("cluster: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    found.send_replace(Some(client.clone()));
    while let Some((subject, bytes)) = queue.recv().await {
        if let Err(error) = client.publish(subject, bytes).await {
            tracing::debug!("cluster: {error}");
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn server_subject(server: ServerId) -> String {
    format!("fugitive.server.{server:016x}")
}

/// An origin may hold what a subject must not.
fn call_subject(origin: &str) -> String {
    format!(
        "fugitive.call.{}",
        &blake3::hash(origin.as_bytes()).to_hex()[..32]
    )
}

impl Backbone for Nats {
    fn tell(&self, server: ServerId, message: Vec<u8>) {
        self.send(server_subject(server), message);
    }

    fn call(&self, origin: &str, message: Vec<u8>) {
        self.send(call_subject(origin), message);
    }

    fn tell_all(&self, message: Vec<u8>) {
        self.send(ALL.into(), message);
    }

    fn attend(&self, origin: &str) {
        self.listen(origin.into(), call_subject(origin));
    }

    fn attend_only(&self, is_ours: &dyn Fn(&str) -> bool) {
        let mut attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        attended.retain(|name, _| name.starts_with("fugitive.") || is_ours(name));
    }
}
