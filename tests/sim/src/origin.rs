//! The origin: what a request is answered with over the network, and what the worker learns of it.

use fugitive_core::engine::Input;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Time,
    causes::Why,
    clock::mix,
    worker::{From, STALL},
    world::{At, Event, FetchKey, World},
};

/// What sockets hold between the origin and a page that does not read on.
const SOCKETS: u64 = 1 << 20;

/// A response of the origin.
pub struct Fetch {
    whose: At,
    request: u32,
    seed: u64,
    /// What has arrived, what has been given to the pipe, where it ends.
    came: u64,
    given: u64,
    pub(crate) end: u64,
    began: Time,
    /// The origin has begun to answer, perhaps with more than the page reads as yet.
    pub(crate) answers: bool,
    head: bool,
    pub(crate) why: Why,
    is_over: bool,
}

impl World<'_> {
    pub(crate) fn fetch(&mut self, at: At, number: u32, end: u64) {
        let now = self.clock.now();
        let Some(start) = self.with(at, number, |request| request.at) else {
            return;
        };
        let whose = mix(at.who as u64, at.look as u64);
        let seed = mix(mix(self.seed, whose), mix(u64::from(number), start));
        let fetch = self.fetches.insert(Fetch {
            whose: at,
            request: number,
            seed,
            came: start,
            given: start,
            end,
            began: now,
            answers: false,
            head: false,
            why: Why::IN_VAIN,
            is_over: false,
        });
        self.with(at, number, |request| {
            request.fetch = Some(fetch);
            request.asked_origin.get_or_insert(now - request.began);
        });
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let think = self.workload.origin.think_ms.draw(&mut rng);
        let way = self.net.way(self.visitors[at.who].origin);
        self.clock
            .after(way + (think * 1e3) as Time, Event::Answers(fetch));
    }

    pub(crate) fn cancel_fetch(&mut self, at: At, number: u32) {
        let fetch = self.with(at, number, |request| request.fetch.take());
        if let Some(key) = fetch.flatten()
            && let Some(fetch) = self.fetches.get_mut(key)
        {
            fetch.is_over = true;
            let way = self.net.way(self.visitors[at.who].origin);
            self.clock.after(way, Event::Aborted(key));
        }
    }

    pub(crate) fn origin_answers(&mut self, key: FetchKey) {
        if let Some(fetch) = self.fetches.get_mut(key) {
            fetch.answers = true;
        }
        self.give(key);
    }

    /// Lets the origin send as far as the page reads.
    pub(crate) fn give(&mut self, key: FetchKey) {
        let Some(fetch) = self.fetches.get(key) else {
            return;
        };
        let (whose, number, given) = (fetch.whose, fetch.request, fetch.given);
        let limit = self.with(whose, number, |request| request.limit + SOCKETS);
        let Some(fetch) = self.fetches.get_mut(key) else {
            return;
        };
        let to = limit.unwrap_or(0).min(fetch.end);
        if to > given && !fetch.is_over {
            fetch.given = to;
            let (seed, pipe) = (fetch.seed, self.visitors[whose.who].origin);
            self.net
                .send_body(pipe, to - given, key, seed, &mut self.clock);
        }
    }

    pub(crate) fn origin_aborts(&mut self, key: FetchKey) {
        if let Some(fetch) = self.fetches.remove(key) {
            let pipe = self.visitors[fetch.whose.who].origin;
            self.net.stop_body(pipe, key);
        }
    }

    /// Bytes of the origin came.
    pub(crate) fn body_came(&mut self, key: FetchKey, bytes: u64) {
        let now = self.clock.now();
        let Some(fetch) = self.fetches.get_mut(key) else {
            return;
        };
        let (at, number) = (fetch.whose, fetch.request);
        let (offset, began) = (fetch.came, fetch.began);
        fetch.came += bytes;
        let is_first = !std::mem::replace(&mut fetch.head, true);
        let is_over = fetch.is_over;
        let is_last = fetch.came >= fetch.end;
        self.log.origin_sent(at.who, bytes);
        if is_first && !is_over && self.together {
            self.explain(at, number, key);
        }
        let none = Why::IN_VAIN;
        let why = self.fetches.get(key).map_or(none, |fetch| fetch.why);
        if is_last {
            self.fetches.remove(key);
        }
        if is_over {
            return self.log.lost(none, bytes);
        }
        if is_first {
            let ms = (now - began) as f64 / 1e3;
            self.visitors[at.who].pace.origin_answered(ms);
            self.learn(at.who, ms);
            let is_head = self.with(at, number, |request| request.from == From::Head);
            if is_head == Some(false) {
                self.cancel_want(at, number);
                self.with(at, number, |request| {
                    request.from = From::Origin;
                    request.timer = None;
                });
                self.want_behind(at, number);
            }
        }
        let next = self.with(at, number, |request| {
            if is_last {
                request.fetch = None;
            }
            request.at
        });
        let before = self.log.useful[2];
        if next == Some(offset) {
            self.takes(at, number, bytes, 2);
        }
        let useful = self.log.useful[2] - before;
        self.log.lost(why, useful);
        self.log.lost(none, bytes - useful);
        if next == Some(offset) {
            let goes_on = self.with(at, number, |request| request.at < request.end);
            if is_last && goes_on == Some(true) {
                self.goes_on(at, number);
            }
        }
    }

    /// The origin has sent what it was asked for.
    fn goes_on(&mut self, at: At, number: u32) {
        let behind = self.with(at, number, |request| {
            let behind = request.want.filter(|_| request.from == From::Head);
            if behind.is_some() {
                request.from = From::Peers;
            }
            behind
        });
        let Some(want) = behind.flatten() else {
            return self.open(at, number);
        };
        self.set_timer(at, number, STALL);
        while let Some(told) = self
            .with(at, number, |request| match request.from {
                From::Head => None,
                _ => request.behind.pop_front(),
            })
            .flatten()
        {
            self.told(at.who, want, told);
        }
    }

    /// The worker learns how quick the origin is, and tells the bridge.
    fn learn(&mut self, who: usize, ms: f64) {
        let before = self.visitors[who].learnt.unwrap_or(ms);
        self.visitors[who].learnt = Some(before + (ms - before) / 8.0);
        if self.together {
            self.tell_origin(who);
        }
    }

    pub(crate) fn tell_origin(&mut self, who: usize) {
        if let Some(first_byte) = self.visitors[who].learnt {
            let origin = Input::Origin {
                first_byte: first_byte as u32,
                rate: (self.people[who].down * 8e5) as u64,
            };
            self.tell(who, origin);
        }
    }
}
