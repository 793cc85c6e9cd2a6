//! One answer's bytes on their way to the page: from the store where they are held, from peers, from
//! the origin, in order, as fast as the page reads.

mod pulled;

use std::{ops::Range, pin::pin, rc::Rc};

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, groups_of},
    hedge::LARGE,
    port::AHEAD,
    request::parse_content_range,
};
use futures_util::future::{Either, select};
use gloo::timers::future::TimeoutFuture;
use js_sys::Uint8Array;
pub use pulled::Flow;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use crate::{
    answer::Head,
    link::{Peers, Piece, Want},
    log,
    origin::{self, Body, Fetching},
    race::{Won, hedge, race, spared},
    state::State,
    tally::{Served, Source},
    writer::Writer,
};

/// After this many times in one answer peers are not asked again.
const MAX_STRIKES: u32 = 2;
/// Peers that say nothing for this long in the middle of an answer are left, in milliseconds.
const STALL: u32 = 1_500;

/// Up to this length an answer takes what its source takes, in bytes.
const COUNTS: u64 = 4 << 20;

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
    /// Peers who go on behind what the origin sends.
    behind: Option<Want>,
    /// The origin does not answer.
    alone: bool,
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
            behind: None,
            alone: false,
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
            behind: None,
            alone: false,
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
                        Next::Bytes(bytes, tier) => {
                            want.credit(self.at + u64::from(bytes.length()) + AHEAD);
                            let source = if tier == 1 {
                                Source::Tier1
                            } else {
                                Source::Tier2
                            };
                            (bytes, source)
                        }
                        Next::Behind(to) => {
                            self.leave_head(to).await?;
                            continue;
                        }
                        Next::Left => {
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
                        let behind = self.behind.take();
                        self.from = behind.map_or(From::Nowhere, From::Peers);
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
        if let Some(behind) = &self.behind {
            behind.credit(self.at + AHEAD);
        }
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
        let rest = async |fetching: &Fetching, bytes| {
            let rest = fetching.rest(url, bytes, head.validator());
            rest.await
        };
        match race(&self.state, &head, gap, self.alone, rest).await? {
            Won::Peers(want, bytes, tier) => self.begin(want, bytes, tier),
            Won::Origin(response, bytes, behind) => {
                self.strikes += u32::from(behind.is_none());
                self.go_on_with(&response, &bytes, behind)?;
            }
        }
        Ok(())
    }

    /// The origin has the next bytes sooner than peers, who go on behind them.
    async fn leave_head(&mut self, to: u64) -> Result<(), JsValue> {
        let From::Peers(behind) = std::mem::replace(&mut self.from, From::Nowhere) else {
            return Ok(());
        };
        let Some(head) = self.head.clone() else {
            return Ok(());
        };
        if self.ask_origin(&head, self.at..to).await.is_err() {
            // Then peers are all there is.
            self.alone = true;
        } else if matches!(self.from, From::Origin(..)) {
            self.behind = Some(behind);
        }
        Ok(())
    }

    /// Whether the origin's answer begins with these bytes of this resource; then they are next, and
    /// peers go on behind them.
    pub fn begin_with(
        &mut self,
        response: &Response,
        bytes: &Range<u64>,
        behind: Option<Want>,
    ) -> bool {
        let range = response.headers().get("content-range").ok().flatten();
        let range = range.as_deref().and_then(parse_content_range);
        let len = self.head.as_ref().map(|head| head.resource.len);
        let goes_on = response.status() == 206 && range == Some(bytes.start).zip(len);
        if goes_on {
            self.from = From::Origin(Body::of(response), Some(bytes.end));
            self.behind = behind.or_else(|| self.wants_behind(bytes.end));
        }
        goes_on
    }

    /// What follows the origin's bytes of something large is asked of peers meanwhile.
    fn wants_behind(&self, from: u64) -> Option<Want> {
        let head = self.head.as_ref()?;
        let (resource, plays) = (&head.resource, head.plays);
        let (gap, link) = (self.gap()?, &self.state.link);
        let may = resource.listed && resource.len > LARGE && self.strikes < MAX_STRIKES;
        let asks = may && from < gap.end && matches!(link.peers(), Peers::Here(_));
        asks.then(|| {
            let (credit, patience) = (self.at + AHEAD, spared(&self.state.catalogue.policy()));
            link.want(
                resource.id,
                resource.len,
                from..gap.end,
                credit,
                patience,
                plays,
            )
        })
    }

    /// As [`Stream::begin_with`], where there is no other way: a resource that changed in the middle
    /// comes as a whole, and the two must not be mixed.
    fn go_on_with(
        &mut self,
        response: &Response,
        bytes: &Range<u64>,
        behind: Option<Want>,
    ) -> Result<(), JsValue> {
        if self.begin_with(response, bytes, behind) {
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
        self.behind = None;
        let fetching = Fetching::default();
        let url = &head.resource.url;
        if self.state.catalogue.is_elsewhere(url) {
            self.from = From::Whole(whole(&fetching, head).await?);
            return Ok(());
        }
        let response = fetching.rest(url, bytes.clone(), head.validator()).await?;
        fetching.keep();
        self.go_on_with(&response, &bytes, None)
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

/// What peers say next.
enum Next {
    Bytes(Uint8Array, u8),
    /// The origin has the next bytes sooner, up to here.
    Behind(u64),
    /// Nothing, or nothing any more.
    Left,
}

async fn peers_next(want: &mut Want, first: Option<(Uint8Array, u8)>, at: u64) -> Next {
    if let Some((bytes, tier)) = first {
        return Next::Bytes(bytes, tier);
    }
    match select(pin!(want.next_piece()), TimeoutFuture::new(STALL)).await {
        Either::Left((
            Piece::Bytes {
                offset,
                bytes,
                tier,
            },
            _,
        )) if offset == at => Next::Bytes(bytes, tier),
        Either::Left((Piece::Behind(to), _)) if to > at => Next::Behind(to),
        Either::Left((Piece::Failed(why), _)) => {
            log::debug(&["peers end early: ", &why]);
            Next::Left
        }
        _ => Next::Left,
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
