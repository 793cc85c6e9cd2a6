//! What the bridge tells the worker, and what that makes of its requests.

use fugitive_core::{
    engine::FailReason,
    hedge::LARGE,
    port::{AHEAD, WantId},
};

use crate::{
    causes::Cause,
    worker::{From, MAX_STRIKES, STALL},
    world::{At, Peers, World},
};

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
    /// The network is to fetch the next bytes, up to here.
    Behind {
        /// One past the last.
        to: u64,
    },
    /// That was all.
    End,
    /// Nothing more comes, and why.
    Failed(FailReason),
}

impl World<'_> {
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
                (Peers::Here, From::Origin) if no_want && controlled => {
                    self.want_behind(at, number);
                }
                _ => {}
            }
        }
        self.peers_changed_ahead(at);
    }

    /// Whether what the engine gives out as verified is what the site holds.
    pub(crate) fn check(&mut self, who: usize, want: WantId, offset: u64, bytes: &[u8]) {
        let ahead = self.is_ahead(who, want);
        let Some(page) = self.page(self.looks_at(who)) else {
            return;
        };
        let number = page.wants.get(&want).copied().unwrap_or(u32::MAX);
        let request = page.requests.get(&number);
        let Some(content) = request.map(|request| request.content).or(ahead) else {
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
        // What follows the network's bytes waits for them.
        if let Some(request) = page.requests.get_mut(&number)
            && request.from == From::Head
        {
            return request.behind.push_back(told);
        }
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
                let spares = self.workload.browser.spare_origin;
                let waits = self.with(at, number, |request| {
                    request.from == From::Race && request.fetch.is_none() && !spares
                });
                if waits == Some(true) {
                    self.tells(at, number, "nobody known to hold it");
                    self.because(at, number, Cause::NotKnown);
                    self.with(at, number, |request| request.timer = None);
                    self.hedge(at, number);
                }
            }
            Told::Behind { to } => {
                self.tells(at, number, "peers were behind");
                self.because(at, number, Cause::Behind);
                self.cancel_fetch(at, number);
                self.with(at, number, |request| {
                    request.from = From::Head;
                    request.timer = None;
                });
                self.fetch(at, number, to);
            }
            Told::End => {
                page.wants.remove(&want);
                self.with(at, number, |request| request.want = None);
            }
            Told::Failed(why) => {
                self.tells(at, number, &why.to_string());
                self.because(at, number, Cause::of(why));
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
    pub(crate) fn peers_left(&mut self, at: At, number: u32) {
        let goes_on = self.with(at, number, |request| {
            request.strikes += 1;
            request.cause = Cause::Lost;
            request.from = From::Race;
            request.timer = None;
        });
        if goes_on.is_some() {
            self.hedge(at, number);
        }
    }

    /// Asks the peers for what follows what the origin is asked for of something large.
    pub(crate) fn want_behind(&mut self, at: At, number: u32) {
        let fetch = self.with(at, number, |request| request.fetch).flatten();
        let Some(start) = fetch.and_then(|fetch| self.fetches.get(fetch)?.end.into()) else {
            return;
        };
        let want = self.visitors[at.who].last_want + 1;
        let Some(page) = self.page(at) else { return };
        let is_here = page.peers == Peers::Here;
        let Some(request) = page.requests.get_mut(&number) else {
            return;
        };
        let (content, len, bytes) = (request.content, request.len, start..request.end);
        if !is_here || len <= LARGE || bytes.is_empty() || request.strikes >= MAX_STRIKES {
            return;
        }
        request.want = Some(want);
        request.from = From::Head;
        request.timer = None;
        let credit = request.read() + AHEAD;
        page.wants.insert(want, number);
        self.visitors[at.who].last_want = want;
        self.tell_want(at.who, want, content, bytes, credit);
    }
}
