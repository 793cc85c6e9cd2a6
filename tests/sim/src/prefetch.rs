//! What may be wanted next, from peers only and while nothing else is wanted, as the page's script and
//! the worker do it: the images below the fold, whole, into the store.

use fugitive_core::{
    ahead::{self, LOOK},
    engine::Input,
    port::WantId,
};

use crate::{
    site::Content,
    told::Told,
    worker::Request,
    world::{At, Event, Peers, World},
};

/// What is fetched ahead.
#[derive(Default)]
pub struct Ahead {
    queue: ahead::Ahead<Content>,
    /// Under way: the want, the content, and by peers of which tier it comes.
    now: Vec<(WantId, Content, usize)>,
    /// When it is looked whether the page waits no more.
    looks_at: Option<u64>,
}

impl World<'_> {
    /// The page has what it shows.
    pub(crate) fn begin_prefetch(&mut self, at: At) {
        let page = self.people[at.who].looks[at.look].page;
        let lazy = &self.site.pages[page].lazy;
        if let Some(page) = self.page(at) {
            page.ahead.queue = ahead::Ahead::new(lazy.iter().copied());
            self.prefetch(at);
        }
    }

    /// Those that are lacking and whose turn it is.
    pub(crate) fn prefetch(&mut self, at: At) {
        let now = self.ms();
        loop {
            let Some(page) = self.page(at) else { return };
            let has_peers = page.peers == Peers::Here;
            let page_waits = page.requests.values().any(Request::awaits_origin);
            let before = page.ahead.queue.again_at();
            let Some(content) = page.ahead.queue.next(has_peers, page_waits, now) else {
                let looks = page.ahead.looks_at.is_some_and(|at| at > now);
                if page.ahead.queue.is_held_up() && !looks {
                    page.ahead.looks_at = Some(now + LOOK);
                    self.clock.at((now + LOOK) * 1_000, Event::Prefetch(at));
                    return;
                }
                let again = page.ahead.queue.again_at();
                if let Some(again) = again.filter(|_| again != before) {
                    self.clock.at(again * 1_000, Event::Prefetch(at));
                }
                return;
            };
            if self.visitors[at.who].store.contains_key(&content) {
                self.ended_ahead(at, None);
                continue;
            }
            let resource = self.site.content(content);
            let (id, len) = (resource.id(), resource.len());
            let want = self.visitors[at.who].last_want + 1;
            self.visitors[at.who].last_want = want;
            if let Some(page) = self.page(at) {
                page.ahead.now.push((want, content, 0));
            }
            self.tell(at.who, Input::Prefetch { want, id, len });
        }
    }

    /// Peers came or went.
    pub(crate) fn peers_changed_ahead(&mut self, at: At) {
        let now = self.ms();
        let Some(page) = self.page(at) else { return };
        let queue = &mut page.ahead.queue;
        let before = queue.again_at();
        queue.peers_changed(now);
        if let Some(again) = queue.again_at().filter(|again| Some(*again) != before) {
            self.clock.at(again * 1_000, Event::Prefetch(at));
        }
        self.prefetch(at);
    }

    fn ended_ahead(&mut self, at: At, left: Option<Content>) {
        let now = self.ms();
        if let Some(page) = self.page(at) {
            let before = page.ahead.queue.again_at();
            page.ahead.queue.ended(left, now);
            let again = page.ahead.queue.again_at();
            if let Some(again) = again.filter(|_| again != before) {
                self.clock.at(again * 1_000, Event::Prefetch(at));
            }
        }
    }

    /// The bridge says something of it. Says whether it was that want.
    pub(crate) fn told_ahead(&mut self, at: At, want: WantId, told: &Told) -> bool {
        if let Some((content, tier)) = self.visitors[at.who].left_behind.get_mut(&want) {
            let content = *content;
            match told {
                Told::Bytes { tier: from, .. } => *tier = usize::from(from.clamp(&1, &2) - 1),
                Told::End => {
                    let tier = *tier;
                    let len = self.site.content(content).len();
                    self.stock(at, content, len, tier);
                    self.visitors[at.who].left_behind.remove(&want);
                }
                Told::Unsure | Told::Behind { .. } => {}
                Told::Failed(_) => {
                    self.visitors[at.who].left_behind.remove(&want);
                }
            }
            return true;
        }
        let Some(page) = self.page(at) else {
            return false;
        };
        let Some(nth) = page.ahead.now.iter().position(|now| now.0 == want) else {
            return false;
        };
        let left = match told {
            Told::Bytes { tier, .. } => {
                page.ahead.now[nth].2 = usize::from(tier.clamp(&1, &2) - 1);
                return true;
            }
            Told::Unsure | Told::Behind { .. } => return true,
            Told::End => {
                let (_, content, tier) = page.ahead.now.remove(nth);
                let len = self.site.content(content).len();
                self.stock(at, content, len, tier);
                None
            }
            Told::Failed(_) => Some(page.ahead.now.remove(nth).1),
        };
        self.ended_ahead(at, left);
        self.prefetch(at);
        true
    }

    /// The page goes, and with it what it fetches ahead; but those under way go on where the bridge
    /// does, as the worker looks for the end of a page only between two.
    pub(crate) fn stop_prefetch(&mut self, at: At) {
        let Some(page) = self.page(at) else { return };
        let ahead = std::mem::take(&mut page.ahead);
        let is_last = at.look + 1 == self.people[at.who].looks.len();
        for (want, content, tier) in ahead.now {
            if self.people[at.who].tabs && !is_last {
                let left = &mut self.visitors[at.who].left_behind;
                left.insert(want, (content, tier));
            } else {
                self.tell(at.who, Input::Cancel { want });
            }
        }
    }
}
