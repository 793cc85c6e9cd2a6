//! One client's WebSocket: from the request that asks for it to the last byte. Not for what is said
//! on it.
//!
//! A connection is one task that reads, and writes what waits. Others write to it by its [`Outgoing`],
//! and never wait for it: what the kernel does not take at once goes into a queue, which is bounded in
//! bytes. A connection on which nothing happens holds no buffer.

use std::{
    cell::RefCell,
    io,
    ops::ControlFlow,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use fugitive_signal::{
    MAX_MESSAGE,
    handshake::{self, BadHandshake},
};
use futures_util::task::AtomicWaker;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use warp::{
    Filter, Rejection,
    http::{HeaderMap, HeaderValue, Request, header::SEC_WEBSOCKET_PROTOCOL},
    reply::Response,
};

use crate::{
    address::Visitor,
    backlog::{Backlog, Waiting},
    connection::Served,
    frames::{self, BadFrame, Frame, Frames},
};

/// What may wait to be sent to one client, in bytes.
const QUEUE: usize = 1 << 20;
/// What one read takes at most, in bytes; the longest message and its header fit in twice.
const READ: usize = 4 * MAX_MESSAGE;

thread_local! {
    /// What was just read on this thread, for no longer than it is looked at.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    /// What is about to be written on this thread.
    static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A request for a WebSocket that can be granted.
pub struct Upgrade {
    response: Response,
    upgrade: OnUpgrade,
    /// The first message, if the request carries it.
    first: Option<Vec<u8>>,
}

impl Upgrade {
    /// Grants it: `then` runs with the socket and the first message, if the client takes it.
    pub fn on_upgrade<F>(
        self,
        then: impl FnOnce(Stream, Option<Vec<u8>>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send,
    {
        let (upgrade, first) = (self.upgrade, self.first);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => then(Stream::new(upgraded), first).await,
                Err(error) => tracing::debug!("signal: no upgrade: {error}"),
            }
        });
        self.response
    }
}

/// Takes requests for a WebSocket. Those that are none are not found; one may carry what cannot be a
/// message.
pub fn upgrade()
-> impl Filter<Extract = (Result<Upgrade, BadHandshake>,), Error = Rejection> + Clone {
    warp::get()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and_then(|headers: HeaderMap, upgrade: Option<OnUpgrade>| {
            let mut request = Request::new(());
            *request.headers_mut() = headers;
            let response = create_response_with_body(&request, || "".into());
            std::future::ready(match (response, upgrade) {
                (Ok(response), Some(upgrade)) => Ok(granted(request.headers(), response, upgrade)),
                _ => Err(warp::reject::not_found()),
            })
        })
}

fn granted(
    headers: &HeaderMap,
    mut response: Response,
    upgrade: OnUpgrade,
) -> Result<Upgrade, BadHandshake> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    let named = handshake::read(offered)?;
    if named.is_some() {
        let name = HeaderValue::from_static(handshake::NAME);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(Upgrade {
        response,
        upgrade,
        first: named.flatten(),
    })
}

/// Bytes both ways.
pub struct Stream {
    way: Way,
    /// What came with the request and was not read with it.
    begun: Vec<u8>,
}

enum Way {
    /// A socket, which anybody may write to without waiting.
    Plain(Served<TcpStream>),
    /// TLS, or a stream of a caller's.
    Other(TokioIo<Upgraded>),
}

impl Stream {
    fn new(upgraded: Upgraded) -> Self {
        match downcast::<TokioIo<Served<TcpStream>>>(upgraded) {
            Ok(parts) => Self {
                way: Way::Plain(parts.io.into_inner()),
                // Copied: its buffer is as long as the longest head of a request.
                begun: parts.read_buf.to_vec(),
            },
            Err(upgraded) => Self {
                way: Way::Other(TokioIo::new(upgraded)),
                begun: Vec::new(),
            },
        }
    }
}

impl Way {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Other(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// How much of it the kernel takes now; its task finds out what is wrong if it takes nothing.
    fn write_now(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Plain(stream) => stream.get_ref().try_write(bytes).unwrap_or(0),
            Self::Other(_) => 0,
        }
    }
}

/// The way to one client.
pub struct Outgoing {
    queue: Mutex<Queue>,
    way: Mutex<Way>,
    waker: AtomicWaker,
    /// Nothing more is heard, nor taken to be sent.
    ends: AtomicBool,
    /// Not even what waits is sent.
    is_cut: AtomicBool,
    /// Of what this client sent to others.
    pub backlog: Backlog,
    /// The client's address.
    pub remote: Visitor,
}

#[derive(Default)]
struct Queue {
    /// Frames, one behind the other.
    bytes: Vec<u8>,
    /// What of these others sent.
    relayed: Vec<Waiting>,
    /// How much of what was taken from here is not written yet, and what of that others sent.
    taken: usize,
    taken_relayed: Vec<Waiting>,
}

impl Outgoing {
    /// To a client at this address, and what it has sent already.
    pub fn new(stream: Stream, remote: Visitor) -> (Self, Vec<u8>) {
        let outgoing = Self {
            queue: Mutex::default(),
            way: Mutex::new(stream.way),
            waker: AtomicWaker::new(),
            ends: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            backlog: Backlog::default(),
            remote,
        };
        (outgoing, stream.begun)
    }

    /// Queues a message made of these parts. `false` if the client has not read what was sent
    /// before.
    pub fn send(&self, parts: &[&[u8]]) -> bool {
        self.push(|queue| frames::binary(parts, &mut queue.bytes))
    }

    /// Queues a message that another client sent, as long as not too much of that one waits.
    pub fn relay(&self, parts: &[&[u8]], of: &Backlog) -> Result<(), Unsent> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let waiting = of.add(bytes).ok_or(Unsent::TooMuch)?;
        let is_read = self.push(|queue| {
            frames::binary(parts, &mut queue.bytes);
            queue.relayed.push(waiting);
        });
        is_read.then_some(()).ok_or(Unsent::Deaf)
    }

    /// As [`Outgoing::relay`], but written at once as far as the kernel takes it: to wake this client's
    /// task takes longer than the writing. Not for who holds a lock that others wait for.
    pub fn relay_now(&self, parts: &[&[u8]], of: &Backlog) -> Result<(), Unsent> {
        if self.ends.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut queue = self.lock();
        let Some(way) = self.idle_way(&queue) else {
            drop(queue);
            return self.relay(parts, of);
        };
        let bytes = parts.iter().map(|part| part.len()).sum();
        if !of.has_room(bytes) {
            return Err(Unsent::TooMuch);
        }
        DRAFT.with_borrow_mut(|draft| {
            draft.clear();
            frames::binary(parts, draft);
            let written = way.write_now(draft);
            drop(way);
            if written < draft.len() {
                queue.bytes.extend_from_slice(&draft[written..]);
                queue.relayed.push(of.add_anyway(bytes));
                drop(queue);
                self.waker.wake();
            }
        });
        Ok(())
    }

    /// If nothing waits, and nobody reads or writes just now.
    fn idle_way(&self, queue: &Queue) -> Option<MutexGuard<'_, Way>> {
        let waits = !queue.bytes.is_empty() || queue.taken > 0;
        (!waits).then(|| self.way.try_lock().ok()).flatten()
    }

    /// Queues a question whether the client is there.
    pub fn ping(&self) {
        self.push(|queue| frames::ping(&mut queue.bytes));
    }

    /// Queues the answer to a ping.
    pub fn pong(&self, data: &[u8]) {
        self.push(|queue| frames::pong(data, &mut queue.bytes));
    }

    /// After what waits, the connection is closed, with a reason as in RFC 6455.
    pub fn close(&self, code: u16) {
        self.push(|queue| frames::close(code, &mut queue.bytes));
        self.ends.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The connection is dropped.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.ends.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn push(&self, write: impl FnOnce(&mut Queue)) -> bool {
        if self.ends.load(Ordering::Acquire) {
            return true;
        }
        let mut queue = self.lock();
        if queue.bytes.len() + queue.taken > QUEUE {
            return false;
        }
        let was_empty = queue.bytes.is_empty();
        write(&mut queue);
        drop(queue);
        if was_empty {
            self.waker.wake();
        }
        true
    }

    /// What waits; what was taken before is written.
    fn take(&self) -> Vec<u8> {
        let mut queue = self.lock();
        queue.taken = queue.bytes.len();
        queue.taken_relayed = std::mem::take(&mut queue.relayed);
        std::mem::take(&mut queue.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a message of another client is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// This one has not read what was sent before.
    Deaf,
    /// Others have not read what that one sent before.
    TooMuch,
}

/// Why a connection ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The network, or the client, without a word.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client does not keep to the protocol.
    #[error("{0}")]
    Frame(#[from] BadFrame),
    /// … or its process or its network ended.
    #[error("it ended within a message")]
    Cut,
}

/// A connection at work.
pub struct Socket<'a> {
    outgoing: &'a Outgoing,
    frames: Frames,
    /// What came before it was asked for.
    begun: Vec<u8>,
    /// The beginning of a frame.
    partial: Vec<u8>,
    batch: Vec<u8>,
    written: usize,
}

impl<'a> Socket<'a> {
    /// By the way to its client, and what that has sent already.
    pub fn new(outgoing: &'a Outgoing, begun: Vec<u8>) -> Self {
        Self {
            outgoing,
            frames: Frames::default(),
            begun,
            partial: Vec::new(),
            batch: Vec::new(),
            written: 0,
        }
    }

    /// Sends what is queued and gives each frame that comes to `hear`, until that breaks, the queue
    /// is closed or the client is.
    pub async fn talk(
        &mut self,
        mut hear: impl FnMut(Frame<'_>) -> ControlFlow<()>,
    ) -> Result<(), Broken> {
        std::future::poll_fn(|cx| self.poll_talk(cx, &mut hear)).await
    }

    fn poll_talk(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut impl FnMut(Frame<'_>) -> ControlFlow<()>,
    ) -> Poll<Result<(), Broken>> {
        self.outgoing.waker.register(cx.waker());
        loop {
            if self.outgoing.ends.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            // A client that does not read is heard all the same: its queue is bounded.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error.into()));
            }
            if ready!(self.poll_hear(cx, hear))?.is_break() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.batch.len() {
                self.written = 0;
                self.batch = self.outgoing.take();
                if self.batch.is_empty() {
                    return self.outgoing.way().poll_flush(cx);
                }
            }
            let rest = &self.batch[self.written..];
            match ready!(self.outgoing.way().poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
    }

    fn poll_hear(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut impl FnMut(Frame<'_>) -> ControlFlow<()>,
    ) -> Poll<Result<ControlFlow<()>, Broken>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let begun = self.partial.len();
            scratch[..begun].copy_from_slice(&self.partial);
            let mut buf = ReadBuf::new(&mut scratch[begun..]);
            if self.begun.is_empty() {
                ready!(self.outgoing.way().poll_read(cx, &mut buf))?;
            } else {
                let some = self.begun.len().min(buf.remaining());
                buf.put_slice(&self.begun[..some]);
                self.begun.drain(..some);
            }
            let read = buf.filled().len();
            if read == 0 {
                return Poll::Ready(match begun > 0 || self.frames.is_within() {
                    true => Err(Broken::Cut),
                    false => Ok(ControlFlow::Break(())),
                });
            }
            let bytes = &mut scratch[..begun + read];
            let mut flow = ControlFlow::Continue(());
            let used = self.frames.read(bytes, MAX_MESSAGE, |frame| {
                flow = hear(frame);
                flow
            })?;
            self.partial = bytes[used..].to_vec();
            Poll::Ready(Ok(flow))
        })
    }

    /// Sends what still waits, and lets the client read it: closing with bytes unread would take
    /// back what was sent.
    pub async fn farewell(&mut self) {
        let _: io::Result<()> = std::future::poll_fn(|cx| {
            if self.outgoing.is_cut.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_send(cx))?;
            ready!(self.outgoing.way().poll_shutdown(cx))?;
            SCRATCH.with_borrow_mut(|scratch| {
                loop {
                    let mut buf = ReadBuf::new(scratch);
                    ready!(self.outgoing.way().poll_read(cx, &mut buf))?;
                    if buf.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
            })
        })
        .await;
    }
}
