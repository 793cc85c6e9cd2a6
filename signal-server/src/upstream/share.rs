//! What the servers of a cluster tell each other of a live site. All of it is believed: they are one
//! operator's, and NATS lets nobody else in. Of what visitors claim they only tell each other to look.

use std::{sync::Arc, time::Duration};

use fugitive_core::content::ContentId;
use fugitive_signal::{decode, encode};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    Shared, State,
    fellows::{Fellows, Turn},
    listing::{Question, Record},
};
use crate::cluster::{Backbone, Kind, Letter, ServerId};

/// Between two beats.
const TICK: Duration = Duration::from_secs(1);
/// Letters that may wait to be read; what is lost is said again.
pub(super) const LETTERS: usize = 256;
/// Records in one letter, in bytes; NATS takes a megabyte.
const LONGEST_LETTER: usize = 256 << 10;
/// Hash trees that are asked for at once.
const MOST_TREES: usize = 8;
/// A record that is longer is not told.
const LONGEST_RECORD: usize = 64 << 10;

/// The others, and the way to them.
pub(super) struct Cluster {
    pub(super) me: ServerId,
    pub(super) fellows: Fellows,
    backbone: Arc<dyn Backbone>,
    /// Which sites, by which rules: only servers that agree on that work together.
    follows: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// I am there, and what I know has these digests.
    Here { digests: Vec<u64> },
    /// What of this do you know that I do not?
    Ask { question: Question },
    /// This is how it is.
    Known { records: Vec<Record> },
    /// A visitor of mine claims that this is to be looked at, and it is your turn.
    Look { url: String, differs: bool },
    /// How does the hash tree of this go on?
    Tree { id: ContentId, start: usize },
    /// So, from there.
    Branch {
        id: ContentId,
        start: usize,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}

impl Cluster {
    pub(super) fn new(me: ServerId, backbone: Arc<dyn Backbone>, follows: u64) -> Self {
        Self {
            me,
            fellows: Fellows::new(me),
            backbone,
            follows,
        }
    }

    fn letter(&self, word: &Word) -> Vec<u8> {
        let letter = Letter {
            kind: Kind::Site,
            from: self.me,
            conn: self.follows,
            body: &encode(word),
        };
        letter.bytes()
    }

    fn tell(&self, server: ServerId, word: &Word) {
        self.backbone.tell(server, self.letter(word));
    }

    /// Something was found out here.
    pub(super) fn tell_all(&self, record: Record) {
        if is_short(&record) {
            let records = vec![record];
            self.backbone
                .tell_all(self.letter(&Word::Known { records }));
        }
    }

    /// A visitor's claim that others are to look at.
    pub(super) fn pass_on(&mut self, url: &str, differs: bool, turn: Turn) {
        if self.fellows.pass_on(url, differs, turn)
            && let Turn::Theirs(server) = turn
        {
            let url = url.to_owned();
            self.tell(server, &Word::Look { url, differs });
        }
    }

    fn answer(&self, server: ServerId, records: impl Iterator<Item = Record>) {
        let (mut some, mut len) = (Vec::new(), 0);
        for record in records.filter(is_short) {
            len += encode(&record).len();
            some.push(record);
            if len > LONGEST_LETTER {
                let records = std::mem::take(&mut some);
                self.tell(server, &Word::Known { records });
                len = 0;
            }
        }
        if !some.is_empty() {
            self.tell(server, &Word::Known { records: some });
        }
    }
}

fn is_short(record: &Record) -> bool {
    encode(record).len() <= LONGEST_RECORD
}

impl Shared {
    /// Reads what other servers say, and beats.
    pub(super) async fn share(&self, mut letters: mpsc::Receiver<Vec<u8>>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                letter = letters.recv() => match letter {
                    Some(letter) => self.hear(&letter),
                    None => return,
                },
                _ = ticks.tick() => self.beat(),
            }
        }
    }

    fn beat(&self) {
        let moved = {
            let mut state = self.lock();
            let State {
                listing,
                trees,
                cluster,
                ..
            } = &mut *state;
            let Some(cluster) = cluster else { return };
            let lacking = listing.long().filter(|(id, _)| !trees.has(*id));
            for (id, _) in lacking.take(MOST_TREES) {
                let start = trees.begun(id);
                if let Some(server) = cluster.fellows.any() {
                    cluster.tell(server, &Word::Tree { id, start });
                }
            }
            let digests = listing.digests().to_vec();
            let here = cluster.letter(&Word::Here { digests });
            cluster.backbone.tell_all(here);
            let moved = cluster.fellows.tick();
            self.checker.pace.share_among(1 + cluster.fellows.count());
            moved
        };
        for (url, differs) in moved {
            self.claim(&url, differs);
        }
    }

    fn hear(&self, bytes: &[u8]) {
        let now = self.date();
        let mut state = self.lock();
        let State {
            listing,
            trees,
            cluster,
            ..
        } = &mut *state;
        let (Some(letter), Some(cluster)) = (Letter::read(bytes), cluster) else {
            return;
        };
        let from = letter.from;
        if from == cluster.me || letter.conn != cluster.follows {
            return;
        }
        cluster.fellows.heard(from);
        match decode::<Word>(letter.body) {
            Ok(Word::Here { digests }) => {
                if let Some(question) = listing.ask(&digests)
                    && cluster.fellows.may_ask()
                {
                    cluster.tell(from, &Word::Ask { question });
                }
            }
            Ok(Word::Ask { question }) => {
                cluster.answer(from, listing.answer(&question, now));
            }
            Ok(Word::Known { mut records }) => {
                records.retain(|record| self.is_allowed(&record.url));
                let mut is_news = false;
                records.retain(|record| {
                    cluster.fellows.done(&record.url);
                    let taken = listing.take(record, now);
                    is_news |= taken == Some(true);
                    taken.is_some()
                });
                if records.is_empty() {
                    return;
                }
                let all = records.iter().map(|record| record.url.as_str());
                self.store.put(all.map(|url| (url, listing.get(url))));
                drop(state);
                if is_news {
                    let count = records.len();
                    tracing::info!("upstream: told by another server of {count} URLs");
                    self.announce();
                }
            }
            Ok(Word::Look { url, differs }) => {
                if self.is_allowed(&url) {
                    self.look_soon(&mut state, &url, differs);
                }
            }
            Ok(Word::Tree { id, start }) => {
                let tree = trees.has(id).then(|| trees.read(id)).flatten();
                let tree = tree.unwrap_or_default();
                let end = tree.len().min(start.saturating_add(LONGEST_LETTER));
                if let Some(bytes) = tree.get(start..end).filter(|bytes| !bytes.is_empty()) {
                    let bytes = bytes.to_vec();
                    cluster.tell(from, &Word::Branch { id, start, bytes });
                }
            }
            Ok(Word::Branch { id, start, bytes }) => {
                let long = listing.long().find(|(long, _)| *long == id);
                let Some((_, len)) = long.filter(|_| !trees.has(id)) else {
                    return;
                };
                if trees.grow(id, len, start, &bytes) {
                    drop(state);
                    self.announce();
                } else if trees.begun(id) > start {
                    let start = trees.begun(id);
                    cluster.tell(from, &Word::Tree { id, start });
                }
            }
            Err(error) => tracing::debug!("upstream: from another server: {error}"),
        }
    }
}
