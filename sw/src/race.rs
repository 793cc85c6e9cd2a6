//! Who has the first byte of an answer: peers, or the origin where they are late.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    pin::pin,
    rc::Rc,
};

use fugitive_core::{manifest::Policy, port::AHEAD};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo::timers::future::TimeoutFuture;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use web_sys::Response;

use crate::{
    answer::{Head, peers_ready},
    link::{Peers, Piece, Want},
    log,
    origin::{self, Awaited, Fetching},
    state::State,
};

/// The most that the origin is asked for in place of peers who are late, in bytes: they are asked
/// again for what follows.
const HEDGE: u64 = 1 << 20;

/// Who had the first byte.
pub enum Won {
    /// Peers; the first bytes and their tier.
    Peers(Want, Uint8Array, u8),
    /// The origin; what it was asked for, and peers who go on behind that.
    Origin(Response, Range<u64>, Option<Want>),
}

/// What the origin is asked for when peers are late with these bytes.
pub fn hedge(gap: &Range<u64>) -> Range<u64> {
    gap.start..gap.end.min(gap.start + HEDGE)
}

/// How far behind peers may be for the origin's sake, in milliseconds.
pub fn spared(policy: &Policy) -> u32 {
    if policy.spare_origin {
        policy.max_wait_ms
    } else {
        0
    }
}

/// Asks peers for bytes of a resource and, when they are late, the origin too; the loser is
/// cancelled, but for peers who go on behind the origin. Peers who come while the origin is awaited
/// still take part. `alone` says that the origin does not answer.
pub async fn race(
    state: &Rc<State>,
    head: &Head,
    bytes: Range<u64>,
    alone: bool,
    fetch: impl AsyncFn(&Fetching, Range<u64>) -> Result<Response, JsValue>,
) -> Result<Won, JsValue> {
    let (fetching, _awaited) = (Fetching::default(), Awaited::default());
    let begun = origin::clock();
    let (late, told_late) = oneshot::channel::<()>();
    let asked = Asked::new(bytes.clone(), alone);
    let peers = pin!(from_peers(state, head, late, &asked));
    let origin = pin!(async {
        // Sent, or dropped when peers have nothing: either way it is the origin's turn.
        let _ = told_late.await;
        let began = origin::clock();
        let to = asked.behind.borrow().as_ref().map(|(to, _)| *to);
        let bytes = to.map_or_else(|| hedge(&bytes), |to| bytes.start..to);
        let response = fetch(&fetching, bytes.clone()).await;
        if response.is_ok() {
            state.origin_answered(origin::clock() - began);
            // What it came later for having waited for peers first.
            state.regret(began - begun);
        }
        (response, bytes)
    });
    let is_down = |answer: &Result<Response, _>| {
        answer
            .as_ref()
            .map_or(true, |answer| answer.status() >= 500)
    };
    // Peers may still come where the origin can't; what it says does not exist does not.
    let ((answer, bytes), saved) = match select(peers, origin).await {
        Either::Left((Some(won), _)) => return Ok(won),
        Either::Left((None, origin)) => {
            let answer = origin.await;
            let mut saved = None;
            if is_down(&answer.0) && asked.behind.take().is_some() {
                let again = Asked::new(asked.bytes.clone(), true);
                saved = from_peers(state, head, oneshot::channel().0, &again).await;
            }
            (answer, saved)
        }
        Either::Right((answer, peers)) => {
            let saved = if is_down(&answer.0) && asked.asked.get() {
                peers.await
            } else {
                None
            };
            (answer, saved)
        }
    };
    if let Some(won) = saved {
        return Ok(won);
    }
    fetching.keep();
    let behind = asked.behind.take().map(|(_, want)| want);
    answer.map(|response| Won::Origin(response, bytes, behind))
}

/// What is asked of peers.
struct Asked {
    bytes: Range<u64>,
    alone: bool,
    asked: Cell<bool>,
    /// Up to where the origin fetches, and the peers who go on behind that.
    behind: RefCell<Option<(u64, Want)>>,
}

impl Asked {
    fn new(bytes: Range<u64>, alone: bool) -> Self {
        Self {
            bytes,
            alone,
            asked: Cell::new(false),
            behind: RefCell::default(),
        }
    }
}

/// The first verified bytes from peers, or nothing when they have nothing; `late` is told, or
/// dropped, when it is time to ask the origin.
async fn from_peers(
    state: &Rc<State>,
    head: &Head,
    late: oneshot::Sender<()>,
    asked: &Asked,
) -> Option<Won> {
    let resource = &head.resource;
    if !resource.listed {
        return None;
    }
    let mut late = Some(late);
    if !peers_ready(state).await {
        late = None;
        state.link.find(resource.id, resource.len);
        while !matches!(state.link.peers(), Peers::Here(_)) {
            let _ = state.link.changed().await;
        }
    }
    let (asked_at, start) = (origin::clock(), asked.bytes.start);
    let bytes = asked.bytes.clone();
    let (link, credit) = (&state.link, start + AHEAD);
    let policy = state.catalogue.policy();
    let patience = match late {
        // Nobody else is asked, or the origin is already.
        _ if asked.alone => u32::MAX,
        None => u32::MAX,
        Some(_) => spared(&policy),
    };
    let mut want = link.want(
        resource.id,
        resource.len,
        bytes,
        credit,
        patience,
        head.plays,
    );
    asked.asked.set(true);
    let deadline = state.pace.borrow().deadline(resource.len, &policy);
    let most = f64::from(policy.max_wait_ms);
    let on_time = loop {
        let left = most - (origin::clock() - asked_at);
        let timeout = TimeoutFuture::new(deadline.min(left).max(0.0) as u32);
        let next = match select(pin!(want.next()), timeout).await {
            Either::Left((piece, _)) => Some(piece),
            Either::Right(_) => None,
        };
        match next {
            // Nobody is known to have it: whoever is first has won.
            Some(Piece::Unsure) if policy.spare_origin => continue,
            Some(Piece::Unsure) => break None,
            Some(Piece::Behind(to)) if late.is_some() && to > start => {
                asked.behind.replace(Some((to, want)));
                return None;
            }
            Some(piece) => break Some(piece),
            None => {}
        }
        // Peers who are busy with what the page wanted before this are not late, up to a point.
        let now = origin::clock();
        let are_busy = now - state.link.bytes_at() < deadline;
        if !are_busy || now - asked_at >= most {
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
