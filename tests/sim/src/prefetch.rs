//! What may be wanted next, from peers only and while nothing else is wanted, as the page's script and
//! the worker do it: the images below the fold, one after the other, whole, into the store.

use std::collections::VecDeque;

use fugitive_core::{engine::Input, port::WantId};

use crate::{
    Time,
    site::Content,
    told::Told,
    world::{At, Event, Peers, World},
};

/// As in `sw/src/answer.rs`: resources of one prefetch.
const MAX_PREFETCH: usize = 64;
/// As there: what nobody had is asked for again, so often and after this.
const ROUNDS: usize = 4;
const ROUND: Time = 4_000_000;

/// What is fetched ahead.
#[derive(Default)]
pub struct Ahead {
    now: Option<(WantId, Content, u64, usize)>,
    next: VecDeque<Content>,
    /// What nobody had.
    left: Vec<Content>,
    round: usize,
}

impl World<'_> {
    /// The page has what it shows.
    pub(crate) fn begin_prefetch(&mut self, at: At, round: usize) {
        if round > 0 {
            let Some(page) = self.page(at) else { return };
            page.ahead.next = std::mem::take(&mut page.ahead.left).into();
            page.ahead.round = round;
            return self.prefetch(at);
        }
        let page = self.people[at.who].looks[at.look].page;
        let lazy = &self.site.pages[page].lazy;
        let lazy = lazy.iter().copied().take(MAX_PREFETCH).collect();
        let Some(page) = self.page(at) else { return };
        if page.peers == Peers::Here {
            page.ahead.next = lazy;
        } else {
            page.ahead.left = lazy.into();
        }
        self.prefetch(at);
    }

    /// The next one that is lacking.
    fn prefetch(&mut self, at: At) {
        loop {
            let Some(page) = self.page(at) else { return };
            page.ahead.now = None;
            let Some(content) = page.ahead.next.pop_front() else {
                let round = page.ahead.round + 1;
                if round < ROUNDS && !page.ahead.left.is_empty() {
                    self.clock.after(ROUND, Event::Prefetch(at, round));
                }
                return;
            };
            if self.visitors[at.who].store.contains_key(&content) {
                continue;
            }
            let resource = self.site.content(content);
            let (id, len) = (resource.id(), resource.len());
            let want = self.visitors[at.who].last_want + 1;
            self.visitors[at.who].last_want = want;
            if let Some(page) = self.page(at) {
                page.ahead.now = Some((want, content, 0, 0));
            }
            return self.tell(at.who, Input::Prefetch { want, id, len });
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
        let Some((_, content, came, tier)) = page.ahead.now.as_mut().filter(|now| now.0 == want)
        else {
            return false;
        };
        let content = *content;
        match told {
            Told::Bytes {
                bytes, tier: from, ..
            } => {
                *came += bytes;
                *tier = usize::from(from.clamp(&1, &2) - 1);
            }
            Told::End => {
                let tier = *tier;
                let len = self.site.content(content).len();
                self.stock(at, content, len, tier);
                self.prefetch(at);
            }
            Told::Unsure | Told::Behind { .. } => {}
            Told::Failed(_) => {
                if let Some(page) = self.page(at) {
                    page.ahead.left.push(content);
                }
                self.prefetch(at);
            }
        }
        true
    }

    /// The page goes, and with it what it fetches ahead; but the one under way goes on where the
    /// bridge does, as the worker's loop looks for its end only between two.
    pub(crate) fn stop_prefetch(&mut self, at: At) {
        let ahead = self.page(at).map(|page| std::mem::take(&mut page.ahead));
        let Some((want, content, _, tier)) = ahead.and_then(|ahead| ahead.now) else {
            return;
        };
        let is_last = at.look + 1 == self.people[at.who].looks.len();
        if self.people[at.who].tabs && !is_last {
            let left = &mut self.visitors[at.who].left_behind;
            left.insert(want, (content, tier));
        } else {
            self.tell(at.who, Input::Cancel { want });
        }
    }
}
