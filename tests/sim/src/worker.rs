//! The Service Worker: manifest, store, peers with a deadline, the origin, as `sw/src/answer.rs` and
//! `sw/src/flow.rs` do it; and the browser without one.

use std::{collections::VecDeque, ops::Range};

use crate::{
    Time,
    causes::Cause,
    log::Sample,
    player::Player,
    site::Content,
    told::Told,
    world::{At, Event, FetchKey, Peers, World},
};
use fugitive_core::{
    content::{GROUP, GROUPS_PER_BLOCK},
    engine::Input,
    port::{AHEAD, WantId},
};

/// What the origin is asked for in place of peers who are late.
const HEDGE: u64 = 1 << 20;
/// How often, in one answer, before peers are not asked again.
pub(crate) const MAX_STRIKES: u32 = 2;
/// Peers that say nothing for this long are left.
pub(crate) const STALL: Time = 1_500_000;
/// What it costs a request to pass through a worker, as measured in Chromium.
pub(crate) const WORKER: Time = 2_500;

/// Where the bytes of a request come from at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The bridge is waited for.
    Nowhere,
    /// Peers, the origin, or both have been asked.
    Race,
    Peers,
    Origin,
    /// The origin, for the next bytes; peers go on behind them.
    Head,
}

/// A request under way.
pub struct Request {
    pub(crate) content: Content,
    pub(crate) len: u64,
    pub(crate) end: u64,
    /// The next byte that is lacking.
    pub(crate) at: u64,
    /// How far the page reads for now.
    pub(crate) limit: u64,
    pub(crate) began: Time,
    pub(crate) first: Option<Time>,
    pub(crate) from: From,
    pub(crate) want: Option<WantId>,
    pub(crate) fetch: Option<FetchKey>,
    pub(crate) asked_at: Time,
    pub(crate) timer: Option<Time>,
    pub(crate) strikes: u32,
    /// What was said of it by peers who go on behind what the origin fetches.
    pub(crate) behind: VecDeque<Told>,
    /// From peers of tier 1 and 2, and from the origin.
    pub(crate) bytes: [u64; 3],
    pub(crate) start: u64,
    /// What became of it with peers, for the report.
    pub(crate) story: String,
    /// What keeps its next bytes from coming from peers.
    pub(crate) cause: Cause,
    pub(crate) near: Option<Time>,
    pub(crate) somebody: bool,
    /// How long after it began the origin was asked first.
    pub(crate) asked_origin: Option<Time>,
    /// What peers had sent the visitor when it began.
    pub(crate) down: u64,
}

impl Request {
    /// The origin is asked for it, or may be.
    pub(crate) fn awaits_origin(&self) -> bool {
        self.fetch.is_some() || matches!(self.from, From::Nowhere | From::Race)
    }

    pub(crate) fn read(&self) -> u64 {
        self.at.min(self.limit)
    }
}

impl World<'_> {
    pub(crate) fn image(&mut self, at: At, index: usize) {
        let content = self.people[at.who].looks[at.look].images[index].1;
        let len = self.site.content(content).len();
        self.ask(at, index as u32, content, 0..len);
    }

    /// The page asks for bytes of a content.
    pub(crate) fn ask(&mut self, at: At, number: u32, content: Content, bytes: Range<u64>) {
        let now = self.clock.now();
        let len = self.site.content(content).len();
        let controlled = self.together && now >= self.people[at.who].worker;
        if controlled {
            let id = self.site.content(content).id();
            self.context(at, vec![id]);
        }
        let Some(page) = self.page(at) else { return };
        let twice = page
            .requests
            .values()
            .any(|r| r.content == content && r.at <= bytes.start && bytes.end <= r.end);
        if twice {
            return; // The browser waits for the first.
        }
        let (held, shown) = self.shown(at.who, content, &bytes);
        let mut from = [0; 3];
        if let Some(shown) = &shown {
            from[shown.tier] = shown.bytes.end - shown.bytes.start;
        }
        if held == bytes {
            self.log.held(bytes.end - bytes.start);
            if shown.is_some() {
                self.log.sample(Sample {
                    at,
                    number,
                    content,
                    bytes: bytes.end - bytes.start,
                    began: now,
                    first: WORKER,
                    last: WORKER,
                    from,
                    story: "fetched ahead".into(),
                    near: None,
                    somebody: true,
                    asked: None,
                    left: false,
                    beside: 0,
                });
            }
            if let Some(player) = self.page(at).and_then(|page| page.player.as_mut()) {
                player.reads(bytes.end);
            }
            return self.say_pace(at, content);
        }
        let is_video = self.page(at).is_some_and(|page| page.player.is_some());
        let first = (held.end / GROUP) as u32;
        let near = self.nearest_holder(at.who, content, first);
        let somebody =
            near.is_some() || self.together && self.somebody_holds(at.who, content, first);
        let down = self.log.down[at.who];
        let Some(page) = self.page(at) else { return };
        page.requests.insert(
            number,
            Request {
                content,
                len,
                end: bytes.end,
                at: held.end,
                limit: if is_video { bytes.start } else { bytes.end },
                began: now,
                first: (!held.is_empty()).then_some(now + WORKER),
                from: From::Nowhere,
                want: None,
                fetch: None,
                asked_at: 0,
                timer: None,
                strikes: 0,
                behind: VecDeque::new(),
                bytes: from,
                start: bytes.start,
                story: String::new(),
                cause: Cause::NoWorker,
                near,
                somebody,
                asked_origin: None,
                down,
            },
        );
        self.log.asked(self.clock.now(), at.who, content, &bytes);
        if controlled {
            self.set_timer(at, number, WORKER);
        } else {
            self.tells(at, number, "no worker yet");
            self.fetch(at, number, bytes.end);
            self.with(at, number, |request| request.from = From::Race);
        }
    }

    /// The first bytes of what is played say how long it lasts.
    fn say_pace(&mut self, at: At, content: Content) {
        let player = self.page(at).and_then(|page| page.player.as_mut());
        if let Some(rate) = player.and_then(Player::pace) {
            let id = self.site.content(content).id();
            self.tell(at.who, Input::Pace { id, rate });
        }
    }

    /// The origin is asked because of this.
    pub(crate) fn because(&mut self, at: At, number: u32, cause: Cause) {
        self.with(at, number, |request| request.cause = cause);
    }

    /// Where a visitor is now.
    pub(crate) fn looks_at(&self, who: usize) -> At {
        At {
            who,
            look: self.visitors[who].look,
        }
    }

    pub(crate) fn with<T>(
        &mut self,
        at: At,
        number: u32,
        what: impl FnOnce(&mut Request) -> T,
    ) -> Option<T> {
        let page = self.page(at)?;
        page.requests.get_mut(&number).map(what)
    }

    /// The first thing that a request's time went into is what is told of it.
    pub(crate) fn tells(&mut self, at: At, number: u32, what: &str) {
        self.with(at, number, |request| {
            if request.story.is_empty() {
                request.story.push_str(what);
            }
        });
    }

    pub(crate) fn set_timer(&mut self, at: At, number: u32, wait: Time) {
        let rings = self.clock.now() + wait.max(1);
        self.with(at, number, |request| request.timer = Some(rings));
        self.clock.at(rings, Event::Timer(at, number));
    }

    /// Finds a source for the next byte.
    pub(crate) fn open(&mut self, at: At, number: u32) {
        let (now, policy) = (self.clock.now(), self.workload.browser.policy());
        let patience = self.visitors[at.who].pace.patience(&policy);
        let Some(page) = self.page(at) else { return };
        let since = now - *page.first_request.get_or_insert(now);
        let peers = page.peers;
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        request.from = From::Race;
        request.timer = None;
        if request.strikes >= MAX_STRIKES {
            request.cause = Cause::Lost;
            let end = request.end;
            return self.fetch(at, number, end);
        }
        match peers {
            Peers::Here => self.want(at, number),
            Peers::None => {
                self.tells(at, number, "no peers");
                self.because(at, number, Cause::NoPeers);
                self.hedge(at, number);
            }
            Peers::Unknown | Peers::Coming => {
                request.cause = Cause::NoChannel;
                let left = (patience * 1e3) as Time;
                if since >= left {
                    self.tells(at, number, "peers not there yet");
                    return self.hedge(at, number);
                }
                request.from = From::Nowhere;
                self.tells(at, number, "waited for the bridge");
                self.set_timer(at, number, left - since);
            }
        }
    }

    /// Asks the peers.
    pub(crate) fn want(&mut self, at: At, number: u32) {
        let (now, policy) = (self.clock.now(), self.workload.browser.policy());
        let want = self.visitors[at.who].last_want + 1;
        let Some(page) = self.page(at) else { return };
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        page.wants.insert(want, number);
        request.want = Some(want);
        request.asked_at = now;
        request.from = From::Race;
        request.cause = Cause::Raced;
        let (content, len, bytes) = (request.content, request.len, request.at..request.end);
        let credit = request.read() + AHEAD;
        self.visitors[at.who].last_want = want;
        let Some(request) = self.page(at).and_then(|page| page.requests.get(&number)) else {
            return;
        };
        if request.fetch.is_none() {
            let deadline = self.visitors[at.who].pace.deadline(len, &policy);
            self.set_timer(at, number, (deadline * 1e3) as Time);
        }
        self.tell_want(at.who, want, content, bytes, credit);
    }

    /// The bridge is asked for bytes of a content.
    pub(crate) fn tell_want(
        &mut self,
        who: usize,
        want: WantId,
        content: Content,
        bytes: Range<u64>,
        credit: u64,
    ) {
        let at = self.looks_at(who);
        let plays = self.page(at).is_some_and(|page| page.player.is_some());
        let content = self.site.content(content);
        let (id, len) = (content.id(), content.len());
        let input = Input::Want {
            want,
            id,
            len,
            bytes,
            credit,
            patience: self.spared(),
            plays,
        };
        self.tell(who, input);
    }

    /// How far behind peers may be for the origin's sake, in milliseconds.
    fn spared(&self) -> u32 {
        let browser = &self.workload.browser;
        if browser.spare_origin {
            browser.max_wait_ms
        } else {
            0
        }
    }

    /// Asks the origin for what peers are late with.
    pub(crate) fn hedge(&mut self, at: At, number: u32) {
        let end = self.with(at, number, |r| r.end.min(r.at + HEDGE));
        if let Some(end) = end {
            self.fetch(at, number, end);
        }
    }

    pub(crate) fn timer(&mut self, at: At, number: u32) {
        let now = self.clock.now();
        let policy = self.workload.browser.policy();
        let Some(page) = self.page(at) else { return };
        let bytes_at = page.bytes_at;
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        if request.timer != Some(now) {
            return;
        }
        request.timer = None;
        match request.from {
            From::Nowhere if page.first_request.is_none() => self.open(at, number),
            From::Nowhere => {
                let began = request.began;
                let waited =
                    matches!(page.peers, Peers::Unknown | Peers::Coming) && now > began + WORKER;
                if waited {
                    self.visitors[at.who].pace.peers_did_not_come();
                    self.with(at, number, |request| request.from = From::Race);
                    self.hedge(at, number);
                } else {
                    self.open(at, number);
                }
            }
            From::Race => {
                let (asked_at, len) = (request.asked_at, request.len);
                let deadline = self.visitors[at.who].pace.deadline(len, &policy);
                let deadline = (deadline * 1e3) as Time;
                let are_busy = bytes_at.is_some_and(|at| now - at < deadline);
                let most = Time::from(policy.max_wait_ms) * 1_000;
                let left = most.saturating_sub(now - asked_at);
                if are_busy && left > 0 {
                    self.set_timer(at, number, deadline.min(left));
                } else {
                    self.tells(at, number, "peers were late");
                    self.hedge(at, number);
                }
            }
            // Nobody is late with what the page does not read.
            From::Peers if request.at < request.limit.min(request.end) => {
                self.cancel_want(at, number);
                self.peers_left(at, number);
            }
            From::Peers | From::Origin | From::Head => {}
        }
    }

    pub(crate) fn cancel_want(&mut self, at: At, number: u32) {
        let want = self.with(at, number, |request| request.want.take());
        if let Some(want) = want.flatten() {
            if let Some(page) = self.page(at) {
                page.wants.remove(&want);
            }
            self.tell(at.who, Input::Cancel { want });
        }
    }

    /// The next bytes of a request are there.
    pub(crate) fn takes(&mut self, at: At, number: u32, bytes: u64, source: usize) {
        let now = self.clock.now();
        let Some((content, len, from, to, end)) = self.with(at, number, |request| {
            request.first.get_or_insert(now);
            let bytes = bytes.min(request.end - request.at);
            let from = request.at;
            request.at += bytes;
            request.bytes[source] += bytes;
            let whole = (request.content, request.len, request.start, request.end);
            (whole.0, whole.1, (whole.2, from), request.at, whole.3)
        }) else {
            return;
        };
        let (start, before) = from;
        self.log.useful(at.who, to - before, source);
        let block = GROUP * u64::from(GROUPS_PER_BLOCK);
        if before / block != to / block || to == end {
            self.store(at, content, len, start..to);
        }
        if let Some(player) = self.page(at).and_then(|page| page.player.as_mut()) {
            let limit = player.limit();
            player.reads(to.min(limit));
            player.plays(now);
        }
        self.say_pace(at, content);
        self.finish(at, number);
    }

    /// Ends a request that has all and that the page has read.
    fn finish(&mut self, at: At, number: u32) {
        let now = self.clock.now();
        let done = self.with(at, number, |r| r.read() >= r.end);
        if done != Some(true) {
            return;
        }
        self.cancel_want(at, number);
        let request = self.page(at).and_then(|page| page.requests.remove(&number));
        if let Some(request) = request {
            let own = request.bytes[0] + request.bytes[1];
            self.log.sample(Sample {
                at,
                number,
                content: request.content,
                bytes: request.end - request.start,
                began: request.began,
                first: request.first.unwrap_or(now) - request.began,
                last: now - request.began,
                from: request.bytes,
                story: request.story,
                near: request.near,
                somebody: request.somebody,
                asked: request.asked_origin,
                left: request.strikes > 0,
                beside: (self.log.down[at.who] - request.down).saturating_sub(own),
            });
            let waits = self.page(at).is_some_and(|page| !page.requests.is_empty());
            if !waits {
                self.loaded(at);
            }
            // A part of a video is followed by the next.
            if let Some(player) = self.page(at).and_then(|page| page.player.as_mut())
                && let Some((number, bytes)) = player.next_part()
            {
                let (content, limit) = (player.content, player.limit());
                self.ask(at, number, content, bytes);
                self.reads_to(at, limit);
            }
        }
    }

    /// The player reads up to here.
    pub(crate) fn reads_to(&mut self, at: At, limit: u64) {
        let Some(page) = self.page(at) else { return };
        let mut read = None;
        let numbers: Vec<u32> = page.requests.keys().copied().collect();
        for number in numbers {
            let mut waits = false;
            let fetch = self.with(at, number, |request| {
                let before = request.limit;
                request.limit = before.max(limit.min(request.end));
                read = read.max(Some(request.read()));
                waits = request.from == From::Peers
                    && before <= request.at
                    && request.at < request.limit;
                request.fetch
            });
            if waits {
                self.set_timer(at, number, STALL);
            }
            if let Some(fetch) = fetch.flatten() {
                let answers = self.fetches.get(fetch).is_some_and(|fetch| fetch.answers);
                if answers {
                    self.give(fetch);
                }
            }
            self.credit(at, number);
        }
        if let (Some(read), Some(player)) =
            (read, self.page(at).and_then(|page| page.player.as_mut()))
        {
            player.reads(read);
        }
        let numbers: Vec<u32> = match self.page(at) {
            Some(page) => page.requests.keys().copied().collect(),
            None => Vec::new(),
        };
        for number in numbers {
            self.finish(at, number);
        }
    }

    pub(crate) fn credit(&mut self, at: At, number: u32) {
        let credit = self.with(at, number, |request| (request.want, request.read() + AHEAD));
        if let Some((Some(want), to)) = credit {
            self.tell(at.who, Input::Credit { want, to });
        }
    }

    /// The page goes: nobody waits for what it asked for.
    pub(crate) fn abandon_all(&mut self, at: At) {
        self.stop_prefetch(at);
        let Some(page) = self.page(at) else { return };
        let numbers: Vec<u32> = page.requests.keys().copied().collect();
        for number in numbers {
            self.cancel_want(at, number);
            self.cancel_fetch(at, number);
            self.log.abandoned();
        }
    }
}
