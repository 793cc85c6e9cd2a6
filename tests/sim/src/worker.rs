//! The Service Worker: manifest, store, peers with a deadline, the origin, as `sw/src/answer.rs` and
//! `sw/src/flow.rs` do it; and the browser without one.

use std::ops::Range;

use fugitive_core::{
    content::{GROUP, GROUPS_PER_BLOCK, group_count},
    engine::{FailReason, Input},
    manifest::Policy,
    port::WantId,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Time,
    clock::mix,
    measure::Sample,
    people::Gives,
    site::Content,
    world::{At, Event, FetchKey, Peers, World},
};

/// As in `sw/src/flow.rs`: how far peers may be ahead of the page.
const AHEAD: u64 = 2 << 20;
/// What the origin is asked for in place of peers who are late.
const HEDGE: u64 = 1 << 20;
/// How often, in one answer, before peers are not asked again.
const MAX_STRIKES: u32 = 2;
/// Peers that say nothing for this long are left.
const STALL: Time = 1_500_000;
/// What sockets hold between the origin and a page that does not read on.
const SOCKETS: u64 = 1 << 20;
/// What it costs a request to pass through a worker, as measured in Chromium.
const WORKER: Time = 2_500;

/// What the bridge says of a want.
pub enum Told {
    /// Verified bytes.
    Bytes {
        /// Where they belong.
        offset: u64,
        /// How many, verified.
        bytes: u64,
        /// 1 or 2.
        tier: u8,
    },
    /// Nobody is known to hold it.
    Unsure,
    /// That was all.
    End,
    /// Nothing more comes, and why.
    Failed(FailReason),
}

/// Where the bytes of a request come from at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The bridge is waited for.
    Nowhere,
    /// Peers, the origin, or both have been asked.
    Race,
    Peers,
    Origin,
}

/// A request under way.
pub struct Request {
    content: Content,
    len: u64,
    end: u64,
    /// The next byte that is lacking.
    at: u64,
    /// How far the page reads for now.
    limit: u64,
    began: Time,
    first: Option<Time>,
    from: From,
    want: Option<WantId>,
    fetch: Option<FetchKey>,
    asked_at: Time,
    timer: Option<Time>,
    strikes: u32,
    /// From peers of tier 1 and 2, and from the origin.
    bytes: [u64; 3],
    start: u64,
    /// What became of it with peers, for the report.
    story: String,
    near: Option<Time>,
}

impl Request {
    fn read(&self) -> u64 {
        self.at.min(self.limit)
    }
}

/// A response of the origin.
pub struct Fetch {
    whose: At,
    request: u32,
    seed: u64,
    /// What has arrived, what has been given to the pipe, where it ends.
    came: u64,
    given: u64,
    end: u64,
    began: Time,
    /// The origin has begun to answer, perhaps with more than the page reads as yet.
    answers: bool,
    head: bool,
    is_over: bool,
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
        let held = self.visitors[at.who].store.get(&content);
        let run = fugitive_core::content::groups_of(bytes.clone());
        let is_held = held.is_some_and(|held| {
            held.iter()
                .any(|(from, to)| *from <= run.start && run.end <= *to)
        });
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
        if is_held {
            self.log.held(bytes.end - bytes.start);
            if let Some(tier) = self.visitors[at.who].stocked.remove(&content) {
                self.log.stocked(-(len as i64));
                self.log.useful(at.who, len, tier);
                let mut from = [0; 3];
                from[tier] = len;
                self.log.sample(Sample {
                    at,
                    number,
                    content,
                    bytes: len,
                    began: now,
                    first: WORKER,
                    last: WORKER,
                    from,
                    story: "fetched ahead".into(),
                    near: None,
                });
            }
            if let Some(player) = self.page(at).and_then(|page| page.player.as_mut()) {
                player.reads(bytes.end);
            }
            return;
        }
        let is_video = page.player.is_some();
        let near = self.nearest_holder(at.who, content, run.start);
        let Some(page) = self.page(at) else { return };
        page.requests.insert(
            number,
            Request {
                content,
                len,
                end: bytes.end,
                at: bytes.start,
                limit: if is_video { bytes.start } else { bytes.end },
                began: now,
                first: None,
                from: From::Nowhere,
                want: None,
                fetch: None,
                asked_at: 0,
                timer: None,
                strikes: 0,
                bytes: [0; 3],
                start: bytes.start,
                story: String::new(),
                near,
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

    /// Where a visitor is now.
    fn looks_at(&self, who: usize) -> At {
        At {
            who,
            look: self.visitors[who].look,
        }
    }

    fn with<T>(&mut self, at: At, number: u32, what: impl FnOnce(&mut Request) -> T) -> Option<T> {
        let page = self.page(at)?;
        page.requests.get_mut(&number).map(what)
    }

    /// The first thing that a request's time went into is what is told of it.
    fn tells(&mut self, at: At, number: u32, what: &str) {
        self.with(at, number, |request| {
            if request.story.is_empty() {
                request.story.push_str(what);
            }
        });
    }

    fn set_timer(&mut self, at: At, number: u32, wait: Time) {
        let rings = self.clock.now() + wait.max(1);
        self.with(at, number, |request| request.timer = Some(rings));
        self.clock.at(rings, Event::Timer(at, number));
    }

    /// Finds a source for the next byte.
    fn open(&mut self, at: At, number: u32) {
        let (now, max_wait) = (self.clock.now(), self.workload.browser.max_wait_ms);
        let patience = self.visitors[at.who].pace.patience(&at_most(max_wait));
        let Some(page) = self.page(at) else { return };
        let since = now - *page.first_request.get_or_insert(now);
        let peers = page.peers;
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        request.from = From::Race;
        request.timer = None;
        if request.strikes >= MAX_STRIKES {
            let end = request.end;
            return self.fetch(at, number, end);
        }
        match peers {
            Peers::Here => self.want(at, number),
            Peers::None => {
                self.tells(at, number, "no peers");
                self.hedge(at, number);
            }
            Peers::Unknown | Peers::Coming => {
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
    fn want(&mut self, at: At, number: u32) {
        let (now, max_wait) = (self.clock.now(), self.workload.browser.max_wait_ms);
        let want = self.visitors[at.who].last_want + 1;
        let Some(page) = self.page(at) else { return };
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        page.wants.insert(want, number);
        request.want = Some(want);
        request.asked_at = now;
        request.from = From::Race;
        let (content, len, bytes) = (request.content, request.len, request.at..request.end);
        let credit = request.read() + AHEAD;
        self.visitors[at.who].last_want = want;
        let Some(request) = self.page(at).and_then(|page| page.requests.get(&number)) else {
            return;
        };
        if request.fetch.is_none() {
            let deadline = self.visitors[at.who].pace.deadline(len, &at_most(max_wait));
            self.set_timer(at, number, (deadline * 1e3) as Time);
        }
        let id = self.site.content(content).id();
        self.tell(
            at.who,
            Input::Want {
                want,
                id,
                len,
                bytes,
                credit,
            },
        );
    }

    /// Asks the origin for what peers are late with.
    fn hedge(&mut self, at: At, number: u32) {
        let end = self.with(at, number, |r| r.end.min(r.at + HEDGE));
        if let Some(end) = end {
            self.fetch(at, number, end);
        }
    }

    fn fetch(&mut self, at: At, number: u32, end: u64) {
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
            is_over: false,
        });
        self.with(at, number, |request| request.fetch = Some(fetch));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let think = self.workload.origin.think_ms.draw(&mut rng);
        let way = self.net.way(self.visitors[at.who].origin);
        self.clock
            .after(way + (think * 1e3) as Time, Event::Answers(fetch));
    }

    pub(crate) fn timer(&mut self, at: At, number: u32) {
        let now = self.clock.now();
        let max_wait = self.workload.browser.max_wait_ms;
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
                let deadline = self.visitors[at.who].pace.deadline(len, &at_most(max_wait));
                let deadline = (deadline * 1e3) as Time;
                let are_busy = bytes_at.is_some_and(|at| now - at < deadline);
                let most = Time::from(max_wait) * 1_000;
                if are_busy && now - asked_at + deadline <= most {
                    self.set_timer(at, number, deadline);
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
            From::Peers | From::Origin => {}
        }
    }

    /// What is known of peers changed.
    pub(crate) fn told_peers(&mut self, bridge: At, peers: Peers) {
        let now = self.clock.now();
        match self.bridge(bridge) {
            Some(bridge) => bridge.peers = peers,
            None => return,
        }
        let at = self.looks_at(bridge.who);
        let Some(page) = self.page(at) else { return };
        let before = std::mem::replace(&mut page.peers, peers);
        let first_request = page.first_request;
        let waiting: Vec<(u32, From, bool)> = page
            .requests
            .iter()
            .map(|(number, r)| (*number, r.from, r.want.is_none()))
            .collect();
        if peers == Peers::Here && before != Peers::Here {
            let pace = &mut self.visitors[at.who].pace;
            match first_request {
                Some(first) => pace.peers_came((now - first) as f64 / 1e3),
                None => pace.peers_are_here(),
            }
        }
        let controlled = now >= self.people[at.who].worker;
        for (number, from, no_want) in waiting {
            match (peers, from) {
                (Peers::Here | Peers::None, From::Nowhere) if first_request.is_some() => {
                    self.open(at, number);
                }
                // Peers who come while the origin is awaited still take part.
                (Peers::Here, From::Race) if no_want && controlled => self.want(at, number),
                _ => {}
            }
        }
    }

    /// Whether what the engine gives out as verified is what the site holds.
    pub(crate) fn check(&mut self, who: usize, want: WantId, offset: u64, bytes: &[u8]) {
        let Some(page) = self.page(self.looks_at(who)) else {
            return;
        };
        let number = page.wants.get(&want).copied().unwrap_or(u32::MAX);
        let Some(content) = page.requests.get(&number).map(|request| request.content) else {
            return;
        };
        let held = &self.site.content(content).bytes();
        let start = offset as usize;
        if held.get(start..start + bytes.len()) != Some(bytes) {
            self.log.wrong += bytes.len() as u64;
        }
    }

    /// The bridge says something of a want.
    pub(crate) fn told(&mut self, who: usize, want: WantId, told: Told) {
        let now = self.clock.now();
        let at = self.looks_at(who);
        if self.told_ahead(at, want, &told) {
            return;
        }
        let Some(page) = self.page(at) else { return };
        let Some(number) = page.wants.get(&want).copied() else {
            return;
        };
        match told {
            Told::Bytes {
                offset,
                bytes,
                tier,
            } => {
                page.bytes_at = Some(now);
                let Some(request) = page.requests.get_mut(&number) else {
                    return;
                };
                if offset != request.at {
                    return;
                }
                if request.from == From::Race {
                    if request.story.is_empty() {
                        request.story.push_str("from peers");
                    }
                    request.from = From::Peers;
                    let ms = (now - request.asked_at) as f64 / 1e3;
                    self.visitors[at.who].pace.peer_answered(ms);
                    self.cancel_fetch(at, number);
                }
                self.set_timer(at, number, STALL);
                let source = usize::from(tier.clamp(1, 2)) - 1;
                self.takes(at, number, bytes, source);
                self.credit(at, number);
            }
            Told::Unsure => {
                let waits = self.with(at, number, |request| {
                    request.from == From::Race && request.fetch.is_none()
                });
                if waits == Some(true) {
                    self.tells(at, number, "nobody known to hold it");
                    self.with(at, number, |request| request.timer = None);
                    self.hedge(at, number);
                }
            }
            Told::End => {
                page.wants.remove(&want);
                self.with(at, number, |request| request.want = None);
            }
            Told::Failed(why) => {
                self.tells(at, number, &why.to_string());
                let Some(page) = self.page(at) else { return };
                page.wants.remove(&want);
                let from = self.with(at, number, |request| {
                    request.want = None;
                    (request.from, request.fetch.is_some())
                });
                match from {
                    Some((From::Race, false)) => {
                        self.with(at, number, |request| request.timer = None);
                        self.hedge(at, number);
                    }
                    Some((From::Peers, _)) => self.peers_left(at, number),
                    _ => {}
                }
            }
        }
    }

    /// Peers went away or stalled in the middle.
    fn peers_left(&mut self, at: At, number: u32) {
        let goes_on = self.with(at, number, |request| {
            request.strikes += 1;
            request.from = From::Race;
            request.timer = None;
        });
        if goes_on.is_some() {
            self.hedge(at, number);
        }
    }

    fn cancel_want(&mut self, at: At, number: u32) {
        let want = self.with(at, number, |request| request.want.take());
        if let Some(want) = want.flatten() {
            if let Some(page) = self.page(at) {
                page.wants.remove(&want);
            }
            self.tell(at.who, Input::Cancel { want });
        }
    }

    fn cancel_fetch(&mut self, at: At, number: u32) {
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
    fn give(&mut self, key: FetchKey) {
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
        if is_last {
            self.fetches.remove(key);
        }
        if is_over {
            return;
        }
        if is_first {
            let ms = (now - began) as f64 / 1e3;
            self.visitors[at.who].pace.origin_answered(ms);
            self.learn(at.who, ms);
            self.cancel_want(at, number);
            self.with(at, number, |request| {
                request.from = From::Origin;
                request.timer = None;
            });
        }
        let next = self.with(at, number, |request| {
            if is_last {
                request.fetch = None;
            }
            request.at
        });
        if next == Some(offset) {
            self.takes(at, number, bytes, 2);
            let goes_on = self.with(at, number, |request| request.at < request.end);
            if is_last && goes_on == Some(true) {
                self.open(at, number);
            }
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

    /// The next bytes of a request are there.
    fn takes(&mut self, at: At, number: u32, bytes: u64, source: usize) {
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

    fn credit(&mut self, at: At, number: u32) {
        let credit = self.with(at, number, |request| {
            (request.want, request.read() + AHEAD, request.end)
        });
        if let Some((Some(want), to, end)) = credit {
            let to = to.min(end);
            self.tell(at.who, Input::Credit { want, to });
        }
    }

    /// A content came whole and ahead of its time.
    pub(crate) fn stock(&mut self, at: At, content: Content, len: u64, tier: usize) {
        if !self.visitors[at.who].store.contains_key(&content) {
            self.visitors[at.who].stocked.insert(content, tier);
            self.log.stocked(len as i64);
        }
        self.store(at, content, len, 0..len);
    }

    /// What is held now, and may be served from now on.
    fn store(&mut self, at: At, content: Content, len: u64, bytes: Range<u64>) {
        let groups = (bytes.start / GROUP) as u32..if bytes.end == len {
            group_count(len)
        } else {
            (bytes.end / GROUP) as u32
        };
        if groups.is_empty() {
            return;
        }
        let runs = self.visitors[at.who].store.entry(content).or_default();
        runs.push((groups.start, groups.end));
        merge(runs);
        // What comes before the worker is in control it adopts later.
        if self.together && self.clock.now() >= self.people[at.who].worker {
            self.tell_stored(at.who, content);
        }
    }

    /// The worker takes control of a page that loaded before: what is there is kept.
    pub(crate) fn adopt(&mut self, at: At) {
        if self.gives(at.who) == Gives::Free {
            return;
        }
        let held: Vec<Content> = self.visitors[at.who].store.keys().copied().collect();
        for content in held {
            self.tell_stored(at.who, content);
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

/// Sorts runs and joins those that touch.
fn merge(runs: &mut Vec<(u32, u32)>) {
    runs.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
    for &(start, end) in runs.iter() {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    *runs = merged;
}

/// The site's word on waiting.
fn at_most(max_wait_ms: u32) -> Policy {
    Policy {
        max_wait_ms,
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        let mut runs = vec![(8, 9), (0, 4), (4, 6), (5, 7)];
        merge(&mut runs);
        assert_eq!(runs, [(0, 7), (8, 9)]);
    }
}
