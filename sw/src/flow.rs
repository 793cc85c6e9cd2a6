//! One answer's bytes on their way to the page: from the store where they are held, from peers, from
//! the origin, in order, as fast as the page reads.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    pin::pin,
    rc::Rc,
};

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, groups_of},
    request::parse_content_range,
};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo::timers::future::TimeoutFuture;
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::Response;

use crate::{
    answer::{Head, peers_ready},
    link::{Peers, Piece, Want},
    log,
    origin::{self, Body, Fetching},
    tally::{Served, Source},
    worker::State,
    writer::Writer,
};

/// How far peers may be ahead of the page, in bytes.
const AHEAD: u64 = 2 << 20;
/// The most that the origin is asked for in place of peers who are late, in bytes: they are asked
/// again for what follows.
const HEDGE: u64 = 1 << 20;
/// After this many times in one answer peers are not asked again.
const MAX_STRIKES: u32 = 2;
/// Peers that say nothing for this long in the middle of an answer are left, in milliseconds.
const STALL: u32 = 1_500;

/// Up to this length an answer takes what its source takes, in bytes.
const COUNTS: u64 = 4 << 20;

/// Who had the first byte.
pub enum Won {
    /// Peers; the first bytes and their tier.
    Peers(Want, Uint8Array, u8),
    /// The origin.
    Origin(Response),
}

/// Asks peers for bytes of a resource and, when they are late, the origin too; the loser is
/// cancelled. Peers who come while the origin is awaited still take part.
pub async fn race(
    state: &Rc<State>,
    head: &Head,
    bytes: Range<u64>,
    fetch: impl AsyncFn(&Fetching) -> Result<Response, JsValue>,
) -> Result<Won, JsValue> {
    let fetching = Fetching::default();
    let begun = origin::clock();
    let (late, told_late) = oneshot::channel::<()>();
    let asked = Cell::new(false);
    let peers = pin!(from_peers(state, head, bytes, late, &asked));
    let origin = pin!(async {
        // Sent, or dropped when peers have nothing: either way it is the origin's turn.
        let _ = told_late.await;
        let began = origin::clock();
        let response = fetch(&fetching).await;
        if response.is_ok() {
            state.origin_answered(origin::clock() - began);
            // What it came later for having waited for peers first.
            state.regret(began - begun);
        }
        response
    });
    let response = match select(peers, origin).await {
        Either::Left((Some(won), _)) => return Ok(won),
        Either::Left((None, origin)) => origin.await,
        // Peers may still come where the origin can't; what it says does not exist does not.
        Either::Right((answer, peers)) => {
            let is_down = answer
                .as_ref()
                .map_or(true, |answer| answer.status() >= 500);
            let saved = if is_down && asked.get() {
                peers.await
            } else {
                None
            };
            if let Some(won) = saved {
                return Ok(won);
            }
            answer
        }
    };
    fetching.keep();
    response.map(Won::Origin)
}

/// The first verified bytes from peers, or nothing when they have nothing; `late` is told, or
/// dropped, when it is time to ask the origin.
async fn from_peers(
    state: &Rc<State>,
    head: &Head,
    bytes: Range<u64>,
    late: oneshot::Sender<()>,
    asked: &Cell<bool>,
) -> Option<Won> {
    let resource = &head.resource;
    if !resource.listed {
        return None;
    }
    let mut late = Some(late);
    if !peers_ready(state).await {
        late = None;
        while !matches!(state.link.peers(), Peers::Here(_)) {
            let _ = state.link.changed().await;
        }
    }
    let (asked_at, start) = (origin::clock(), bytes.start);
    let mut want = state
        .link
        .want(resource.id, resource.len, bytes, start + AHEAD);
    asked.set(true);
    let policy = state.catalogue.policy();
    let deadline = state.pace.borrow().deadline(resource.len, &policy);
    let on_time = loop {
        let timeout = TimeoutFuture::new(deadline as u32);
        match select(pin!(want.next()), timeout).await {
            // Nobody is known to have it: whoever is first has won.
            Either::Left((Piece::Unsure, _)) if policy.spare_origin => continue,
            Either::Left((Piece::Unsure, _)) => break None,
            Either::Left((piece, _)) => break Some(piece),
            Either::Right(_) => {}
        }
        // Peers who are busy with what the page wanted before this are not late, up to a point.
        let now = origin::clock();
        let are_busy = now - state.link.bytes_at() < deadline;
        if !are_busy || now - asked_at + deadline > f64::from(policy.max_wait_ms) {
            break None;
        }
    };
    let piece = match on_time {
        Some(piece) => piece,
        None => {
            drop(late.take());
            state.look_again();
            want.next_piece().await
        }
    };
    match piece {
        Piece::Bytes {
            offset,
            bytes,
            tier,
        } if offset == start => {
            let ms = origin::clock() - asked_at;
            state.pace.borrow_mut().peer_answered(ms);
            Some(Won::Peers(want, bytes, tier))
        }
        Piece::Failed(why) => {
            log::debug(&[&resource.url, ": ", &why]);
            None
        }
        _ => None,
    }
}

enum From {
    /// To be found out.
    Nowhere,
    /// The store, up to this byte.
    Store(u64),
    Peers(Want),
    /// The origin, up to this byte where that is known.
    Origin(Body, Option<u64>),
    /// All of it, verified.
    Whole(Uint8Array),
}

/// The bytes of one answer, in order.
pub struct Stream {
    state: Rc<State>,
    head: Option<Rc<Head>>,
    at: u64,
    end: Option<u64>,
    held: Vec<(u32, u32)>,
    from: From,
    first: Option<(Uint8Array, u8)>,
    writer: Option<Writer>,
    served: Served,
    retried: bool,
    strikes: u32,
    /// When bytes of the origin began to come, how many did, and when the last.
    network: Option<(f64, u64, f64)>,
}

impl Stream {
    /// Of a resource that is known, from its parts.
    pub fn new(
        state: Rc<State>,
        head: Rc<Head>,
        bytes: Range<u64>,
        held: Vec<(u32, u32)>,
        served: Served,
    ) -> Self {
        Self {
            state,
            head: Some(head),
            at: bytes.start,
            end: Some(bytes.end),
            held,
            from: From::Nowhere,
            first: None,
            writer: None,
            served,
            retried: false,
            strikes: 0,
            network: None,
        }
    }

    /// Of an answer of the origin.
    pub fn relay(
        state: Rc<State>,
        head: Option<Rc<Head>>,
        start: u64,
        end: Option<u64>,
        body: Body,
        served: Served,
    ) -> Self {
        Self {
            state,
            head,
            at: start,
            end,
            held: Vec::new(),
            from: From::Origin(body, end),
            first: None,
            writer: None,
            served,
            retried: false,
            strikes: 0,
            network: None,
        }
    }

    /// Keeps what passes through.
    pub fn write_with(&mut self, writer: Writer) {
        self.writer = Some(writer);
    }

    /// What is lacking from the current byte on, up to what is held again; nothing where the
    /// current byte is held.
    pub fn gap(&self) -> Option<Range<u64>> {
        let end = self.end?;
        let group = (self.at / GROUP) as u32;
        let next = self.held.iter().filter(|(_, end)| *end > group).min();
        match next {
            Some((start, _)) if *start <= group => None,
            Some((start, _)) => Some(self.at..end.min(u64::from(*start) * GROUP)),
            None => Some(self.at..end),
        }
    }

    /// Peers have begun.
    pub fn begin(&mut self, want: Want, bytes: Uint8Array, tier: u8) {
        self.from = From::Peers(want);
        self.first = Some((bytes, tier));
    }

    async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        if let Some(writer) = &self.writer {
            writer.room().await;
        }
        while self.end.is_none_or(|end| self.at < end) {
            let state = self.state.clone();
            let (bytes, source) = match &mut self.from {
                From::Nowhere => {
                    self.open().await?;
                    continue;
                }
                From::Store(held_to) => {
                    match read(&state, self.head.as_deref(), self.at, *held_to).await {
                        Some(bytes) => (bytes, Source::Store),
                        None => {
                            self.held.clear();
                            self.from = From::Nowhere;
                            continue;
                        }
                    }
                }
                From::Peers(want) => {
                    let first = self.first.take();
                    match peers_next(want, first, self.at).await {
                        Some((bytes, tier)) => {
                            want.credit(self.at + u64::from(bytes.length()) + AHEAD);
                            let source = if tier == 1 {
                                Source::Tier1
                            } else {
                                Source::Tier2
                            };
                            (bytes, source)
                        }
                        None => {
                            self.peers_left().await?;
                            continue;
                        }
                    }
                }
                From::Whole(bytes) => (
                    bytes.subarray(self.at as u32, bytes.length()),
                    Source::Network,
                ),
                From::Origin(body, to) => match body.next().await {
                    Ok(Some(bytes)) => (bytes, Source::Network),
                    Ok(None) if self.end.is_none() => return Ok(None),
                    Ok(None) if to.is_some_and(|to| self.at >= to) => {
                        self.from = From::Nowhere;
                        continue;
                    }
                    Ok(None) => {
                        self.again("the origin sent less than it said".into())
                            .await?;
                        continue;
                    }
                    Err(error) => {
                        self.again(error).await?;
                        continue;
                    }
                },
            };
            return Ok(Some(self.take(bytes, source)));
        }
        Ok(None)
    }

    fn take(&mut self, bytes: Uint8Array, source: Source) -> Uint8Array {
        let left = self.end.map_or(u64::MAX, |end| end - self.at);
        let bytes = if u64::from(bytes.length()) > left {
            bytes.subarray(0, left as u32)
        } else {
            bytes
        };
        let length = u64::from(bytes.length());
        if let Some(writer) = &mut self.writer
            && source != Source::Store
        {
            writer.push(self.at, &bytes, source == Source::Network);
        }
        self.served.add(source, length);
        if source == Source::Network {
            let now = origin::clock();
            // The first piece says nothing of the rate.
            let (since, sent) = self
                .network
                .map_or((now, 0), |(since, sent, _)| (since, sent + length));
            self.network = Some((since, sent, now));
        }
        self.at += length;
        let is_over = match &self.from {
            From::Store(held_to) => self.at >= *held_to,
            From::Peers(_) => self.is_held(),
            From::Nowhere | From::Origin(..) | From::Whole(_) => false,
        };
        if is_over {
            self.from = From::Nowhere;
        }
        bytes
    }

    fn is_held(&self) -> bool {
        self.gap().is_none() && self.end.is_some_and(|end| self.at < end)
    }

    /// Finds a source for the current byte.
    async fn open(&mut self) -> Result<(), JsValue> {
        let Some(gap) = self.gap() else {
            let group = (self.at / GROUP) as u32;
            let held = self.held.iter().find(|(s, e)| *s <= group && group < *e);
            let end = self.end.unwrap_or(u64::MAX);
            self.from = From::Store(held.map_or(end, |(_, to)| end.min(u64::from(*to) * GROUP)));
            return Ok(());
        };
        let Some(head) = self.head.clone() else {
            return Err("nothing is known of the resource".into());
        };
        if self.strikes >= MAX_STRIKES {
            return self.ask_origin(&head, gap).await;
        }
        let url = &head.resource.url;
        if self.state.catalogue.is_elsewhere(url) {
            return self.ask_origin(&head, gap).await;
        }
        let hedge = hedge(&gap);
        let rest =
            async |fetching: &Fetching| fetching.rest(url, hedge.clone(), head.validator()).await;
        match race(&self.state, &head, gap, rest).await? {
            Won::Peers(want, bytes, tier) => self.begin(want, bytes, tier),
            Won::Origin(response) => {
                self.strikes += 1;
                self.go_on_with(&response, &hedge)?;
            }
        }
        Ok(())
    }

    /// Whether the origin's answer begins with these bytes of this resource; then they are next.
    pub fn begin_with(&mut self, response: &Response, bytes: &Range<u64>) -> bool {
        let range = response.headers().get("content-range").ok().flatten();
        let range = range.as_deref().and_then(parse_content_range);
        let len = self.head.as_ref().map(|head| head.resource.len);
        let goes_on = response.status() == 206 && range == Some(bytes.start).zip(len);
        if goes_on {
            self.from = From::Origin(Body::of(response), Some(bytes.end));
        }
        goes_on
    }

    /// As [`Stream::begin_with`], where there is no other way: a resource that changed in the middle
    /// comes as a whole, and the two must not be mixed.
    fn go_on_with(&mut self, response: &Response, bytes: &Range<u64>) -> Result<(), JsValue> {
        if self.begin_with(response, bytes) {
            return Ok(());
        }
        drop(Body::of(response));
        if let Some(head) = &self.head {
            self.state.catalogue.distrust(&head.resource.url);
        }
        Err("the origin has another version now".into())
    }

    /// Peers went away or stalled.
    async fn peers_left(&mut self) -> Result<(), JsValue> {
        self.strikes += 1;
        match self.head.clone().zip(self.gap()) {
            Some((head, gap)) => self.ask_origin(&head, hedge(&gap)).await,
            None => {
                self.from = From::Nowhere;
                Ok(())
            }
        }
    }

    async fn ask_origin(&mut self, head: &Head, bytes: Range<u64>) -> Result<(), JsValue> {
        // What was there before is cancelled first.
        self.from = From::Nowhere;
        let fetching = Fetching::default();
        let url = &head.resource.url;
        if self.state.catalogue.is_elsewhere(url) {
            self.from = From::Whole(whole(&fetching, head).await?);
            return Ok(());
        }
        let response = fetching.rest(url, bytes.clone(), head.validator()).await?;
        fetching.keep();
        self.go_on_with(&response, &bytes)
    }

    /// The origin broke off. Once, it is asked to go on where it stopped.
    async fn again(&mut self, error: JsValue) -> Result<(), JsValue> {
        match self.head.clone().zip(self.gap()) {
            Some((head, gap)) if !std::mem::replace(&mut self.retried, true) => {
                self.ask_origin(&head, gap).await
            }
            _ => Err(error),
        }
    }

    fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
        // More than this a page reads as it plays, not as fast as it comes.
        if let Some((since, sent, last)) = self.network
            && self.served.total() <= COUNTS
        {
            self.state.pace.borrow_mut().origin_sent(sent, last - since);
        }
        if self.served.total() > 0 {
            self.state.served(&self.served);
        }
    }
}

/// All of another host's resource: CORS hides which range it answers with, and so whether that can be
/// joined to what the page has.
async fn whole(fetching: &Fetching, head: &Head) -> Result<Uint8Array, JsValue> {
    let response = fetching.whole(&head.resource.url).await?;
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    let bytes = Uint8Array::new(buffer.unchecked_ref::<JsValue>());
    fetching.keep();
    if ContentId::of(&bytes.to_vec()) != head.resource.id {
        return Err("its host has another version now".into());
    }
    Ok(bytes)
}

/// What the origin is asked for when peers are late with these bytes.
pub fn hedge(gap: &Range<u64>) -> Range<u64> {
    gap.start..gap.end.min(gap.start + HEDGE)
}

async fn peers_next(
    want: &mut Want,
    first: Option<(Uint8Array, u8)>,
    at: u64,
) -> Option<(Uint8Array, u8)> {
    if first.is_some() {
        return first;
    }
    match select(pin!(want.next_piece()), TimeoutFuture::new(STALL)).await {
        Either::Left((
            Piece::Bytes {
                offset,
                bytes,
                tier,
            },
            _,
        )) if offset == at => Some((bytes, tier)),
        Either::Left((Piece::Failed(why), _)) => {
            log::debug(&["peers end early: ", &why]);
            None
        }
        _ => None,
    }
}

/// The next bytes from the store, at most to the end of a block.
async fn read(state: &Rc<State>, head: Option<&Head>, at: u64, held_to: u64) -> Option<Uint8Array> {
    let (resource, store) = (&head?.resource, state.store().await?);
    let end = held_to.min((at / BLOCK + 1) * BLOCK);
    let groups = groups_of(at..end);
    let skip = at - u64::from(groups.start) * GROUP;
    match store.read(&resource.id, resource.len, groups).await {
        Ok(bytes) => {
            let to = (skip + end - at).min(bytes.len() as u64);
            Some(Uint8Array::from(&bytes[skip as usize..to as usize]))
        }
        Err(error) => {
            state.store_failed(&error);
            None
        }
    }
}

/// A stream as JavaScript pulls it.
#[wasm_bindgen]
pub struct Flow {
    stream: Rc<RefCell<Option<Stream>>>,
    cancelled: Rc<Cell<bool>>,
    cancel: RefCell<Option<oneshot::Sender<()>>>,
}

impl Flow {
    /// Around a stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: Rc::new(RefCell::new(Some(stream))),
            cancelled: Rc::default(),
            cancel: RefCell::default(),
        }
    }
}

#[wasm_bindgen]
impl Flow {
    /// Resolves with the next bytes, or undefined at the end.
    pub fn next(&self) -> Promise {
        let (slot, cancelled) = (self.stream.clone(), self.cancelled.clone());
        let (sender, cancel) = oneshot::channel();
        self.cancel.replace(Some(sender));
        future_to_promise(async move {
            let Some(mut stream) = slot.take() else {
                return Ok(JsValue::UNDEFINED);
            };
            let next = match select(pin!(stream.next()), cancel).await {
                Either::Left((next, _)) => next,
                Either::Right(_) => Ok(None),
            };
            if cancelled.get() || !matches!(next, Ok(Some(_))) {
                stream.finish();
            } else {
                slot.replace(Some(stream));
            }
            if let Err(error) = &next {
                log::warn(&["answer broke off: ", &log::reason(error)]);
            }
            Ok(next?.map_or(JsValue::UNDEFINED, JsValue::from))
        })
    }

    /// The page no longer reads.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        self.cancel.replace(None);
        if let Some(mut stream) = self.stream.take() {
            stream.finish();
        }
    }
}
