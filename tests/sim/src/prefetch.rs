//! What may be wanted next, from peers only and while nothing else is wanted, as the page's script and
//! the worker do it: the images below the fold, whole, and of a film that the page names the beginning, into
//! the store.

use std::ops::Range;

use fugitive_core::{
    ahead::{self, LOOK, reach},
    content::GROUP,
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
    now: Vec<Coming>,
    /// When it is looked whether the page waits no more.
    looks_at: Option<u64>,
}

/// What of it is under way.
pub struct Coming {
    want: WantId,
    content: Content,
    bytes: Range<u64>,
    /// Of the peers who send it.
    tier: usize,
}

/// What was fetched ahead, and not shown yet.
pub struct Stocked {
    pub(crate) bytes: Range<u64>,
    /// Of the peers who sent it.
    pub(crate) tier: usize,
}

impl World<'_> {
    /// The page has what it shows.
    pub(crate) fn begin_prefetch(&mut self, at: At) {
        let page = self.people[at.who].looks[at.look].page;
        let is_named = self.workload.site.video.as_ref().is_some_and(|it| it.ahead);
        let page = &self.site.pages[page];
        let named = page.video.filter(|_| is_named);
        let next = page.lazy.iter().copied().chain(named);
        if let Some(page) = self.page(at) {
            page.ahead.queue = ahead::Ahead::new(next);
            self.prefetch(at);
        }
    }

    /// Which bytes of a content are fetched ahead: those that are lacking before the first that is held,
    /// of a film up to where its beginning ends.
    fn lacking(&self, who: usize, content: Content) -> Range<u64> {
        let is_film = self
            .site
            .pages
            .iter()
            .any(|page| page.video == Some(content));
        let mime = if is_film { "video/mp4" } else { "image/jpeg" };
        let end = reach(self.site.len(content), mime);
        let held = self.visitors[who].store.get(&content);
        let begun = held.and_then(|held| held.first()).filter(|run| run.0 == 0);
        let start = begun.map_or(0, |run| u64::from(run.1) * GROUP);
        start.min(end)..end
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
            let bytes = self.lacking(at.who, content);
            if bytes.is_empty() {
                self.ended_ahead(at, None);
                continue;
            }
            let resource = self.site.content(content);
            let (id, len) = (resource.id(), resource.len());
            let want = self.visitors[at.who].last_want + 1;
            self.visitors[at.who].last_want = want;
            if let Some(page) = self.page(at) {
                page.ahead.now.push(Coming {
                    want,
                    content,
                    bytes: bytes.clone(),
                    tier: 0,
                });
            }
            let input = Input::Prefetch {
                want,
                id,
                len,
                bytes,
            };
            self.tell(at.who, input);
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
        let left_behind = &mut self.visitors[at.who].left_behind;
        if let Some(coming) = left_behind.get_mut(&want) {
            match told {
                Told::Bytes { tier, .. } => coming.tier = usize::from(tier.clamp(&1, &2) - 1),
                Told::Unsure | Told::Behind { .. } => {}
                Told::End | Told::Failed(_) => {
                    let coming = left_behind.remove(&want);
                    let came = coming.filter(|_| matches!(told, Told::End));
                    if let Some(came) = came {
                        self.stock(at, came.content, came.bytes, came.tier);
                    }
                }
            }
            return true;
        }
        let Some(page) = self.page(at) else {
            return false;
        };
        let Some(nth) = page.ahead.now.iter().position(|now| now.want == want) else {
            return false;
        };
        let left = match told {
            Told::Bytes { tier, .. } => {
                page.ahead.now[nth].tier = usize::from(tier.clamp(&1, &2) - 1);
                return true;
            }
            Told::Unsure | Told::Behind { .. } => return true,
            Told::End => {
                let came = page.ahead.now.remove(nth);
                self.stock(at, came.content, came.bytes, came.tier);
                None
            }
            Told::Failed(_) => Some(page.ahead.now.remove(nth).content),
        };
        self.ended_ahead(at, left);
        self.prefetch(at);
        true
    }

    /// Which content is fetched ahead as this want.
    pub(crate) fn is_ahead(&self, who: usize, want: WantId) -> Option<Content> {
        let visitor = &self.visitors[who];
        let now = visitor.page.iter().flat_map(|page| &page.ahead.now);
        let mut all = now.chain(visitor.left_behind.values());
        all.find(|coming| coming.want == want)
            .map(|coming| coming.content)
    }

    /// The page goes, and with it what it fetches ahead; but those under way go on where the bridge
    /// does, as the worker looks for the end of a page only between two.
    pub(crate) fn stop_prefetch(&mut self, at: At) {
        let Some(page) = self.page(at) else { return };
        let ahead = std::mem::take(&mut page.ahead);
        let is_last = at.look + 1 == self.people[at.who].looks.len();
        for coming in ahead.now {
            if self.people[at.who].tabs && !is_last {
                let left = &mut self.visitors[at.who].left_behind;
                left.insert(coming.want, coming);
            } else {
                self.tell(at.who, Input::Cancel { want: coming.want });
            }
        }
    }
}
