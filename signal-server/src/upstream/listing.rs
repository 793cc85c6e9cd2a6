//! What was found about the URLs of a live site, and how the servers of a cluster come to know the same.
//! Pure.
//!
//! Each look at a URL makes a [`Record`], and the latest of a URL counts, wherever it was made. What one
//! server missed shows in the digests of the others, one for each bucket of URLs: it says what it has of
//! those that differ, and is told the rest.

use std::{collections::HashMap, time::Duration};

use fugitive_core::{content::ContentId, manifest::Entry};
use serde::{Deserialize, Serialize};

use super::judge::LONGEST;
use crate::cluster::ServerId;

/// What was looked at is not looked at again for a claim before this has passed, in seconds.
const PAUSE: u64 = 60;
/// … nor, if it was not good, before this has.
const PENANCE: u64 = 10 * 60;
/// URLs that were not good and are remembered as such.
const MOST_BAD: usize = 10_000;
/// URLs are compared by so many digests.
const BUCKETS: usize = 256;
/// Versions of known records that are told at once; 18 bytes each.
const MOST_KNOWN: usize = 16_384;
/// Servers that list at the same time may list so many more than there may be.
const SLACK: usize = 1000;

/// One URL that is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// As the manifest has it.
    pub entry: Entry,
    /// When it was looked at, in seconds since 1970.
    pub seen: u64,
    /// Until when the origin stands by it.
    pub until: u64,
    /// Of its record.
    #[serde(default)]
    version: u64,
}

/// One that is not.
struct Bad {
    seen: u64,
    version: u64,
    /// It once was, and others are to forget that.
    is_withdrawn: bool,
}

/// What came of a look at a URL, for other servers. Times are by no clock: theirs may be wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Of what.
    pub url: String,
    /// Higher than that of what was known before; no two servers use the same.
    version: u64,
    /// How long ago it was looked at, in seconds.
    ago: u64,
    /// How long the origin stands by it from then on, in seconds.
    fresh: u64,
    /// Empty if it is not to be listed.
    entry: Entry,
    /// It is not, and was.
    is_withdrawn: bool,
}

/// What a server knows of what may differ, for one that may know more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    buckets: Vec<u8>,
    /// Names and versions.
    known: Vec<(u64, u64)>,
}

/// See the module.
pub struct Listing {
    most: usize,
    listed: HashMap<String, Listed>,
    bad: HashMap<String, Bad>,
    digests: [u64; BUCKETS],
}

impl Listing {
    /// Begins with what is listed already, and lists so many at most.
    pub fn new(listed: HashMap<String, Listed>, most: usize) -> Self {
        let mut digests = [0; BUCKETS];
        for (url, one) in &listed {
            note(&mut digests, url, one.version);
        }
        Self {
            most,
            listed,
            bad: HashMap::new(),
            digests,
        }
    }

    /// What is listed of a URL.
    pub fn get(&self, url: &str) -> Option<&Listed> {
        self.listed.get(url)
    }

    /// All that is listed.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.listed.iter().map(|(url, listed)| (url, &listed.entry))
    }

    /// What is listed with an outboard, and its length.
    pub fn long(&self) -> impl Iterator<Item = (ContentId, u64)> {
        let variants = self.listed.values().flat_map(|listed| &listed.entry);
        let long = variants.filter(|variant| variant.bao);
        long.map(|variant| (variant.id, variant.len))
    }

    /// Whether a visitor's claim, that it got the URL or got other bytes than are listed, is worth a look.
    pub fn is_worth_a_look(&self, url: &str, differs: bool, now: u64) -> bool {
        match (self.listed.get(url), self.bad.get(url)) {
            (Some(listed), _) => differs && !within(PAUSE, listed.seen, now),
            (None, Some(bad)) => !within(PENANCE, bad.seen, now),
            (None, None) => self.listed.len() < self.most,
        }
    }

    /// What is to be looked at again. What was looked at in the future is: the clock was set back, and
    /// nobody knows for how long it was right.
    pub fn due(&self, now: u64) -> impl Iterator<Item = &String> {
        let due = self
            .listed
            .iter()
            .filter(move |(_, listed)| listed.until <= now || listed.seen > now);
        due.map(|(url, _)| url)
    }

    /// Forgets what was bad and is of no use any more. What was withdrawn is known as long as a server
    /// that was away may come back with it, and the origin's word for it.
    pub fn tidy(&mut self, now: u64) {
        let digests = &mut self.digests;
        self.bad.retain(|url, bad| {
            let stays = match bad.is_withdrawn {
                true => within(LONGEST.as_secs(), bad.seen, now),
                false => within(PENANCE, bad.seen, now),
            };
            if !stays && bad.is_withdrawn {
                note(digests, url, bad.version);
            }
            stays
        });
    }

    /// A server looked at a URL, now, and found this, or nothing to list. Tells whether that is news.
    pub fn found(
        &mut self,
        url: &str,
        found: Option<(Entry, Duration)>,
        by: ServerId,
        now: u64,
    ) -> (Record, bool) {
        let (listed, bad) = (self.listed.get(url), self.bad.get(url));
        let known = listed
            .map(|listed| listed.version)
            .or(bad.map(|bad| bad.version));
        // Dates, so that they grow though a server forgot what it knew; below them the server.
        let count = now.max(known.map_or(0, |known| (known >> 16) + 1));
        let was_listed = listed.is_some() || bad.is_some_and(|bad| bad.is_withdrawn);
        let is_withdrawn = found.is_none() && was_listed;
        let (entry, fresh) = found.unwrap_or_default();
        let record = Record {
            url: url.to_owned(),
            version: count << 16 | by & 0xffff,
            ago: 0,
            fresh: fresh.as_secs(),
            entry,
            is_withdrawn,
        };
        let is_news = self.put(&record, now);
        (record, is_news)
    }

    /// Another server found this. Tells whether that is news; nothing if it is known, or too much.
    pub fn take(&mut self, record: &Record, now: u64) -> Option<bool> {
        let (listed, bad) = (self.listed.get(&record.url), self.bad.get(&record.url));
        let known = listed
            .map(|listed| listed.version)
            .or(bad.map(|bad| bad.version));
        let is_too_much = listed.is_none()
            && !record.entry.is_empty()
            && self.listed.len() >= self.most.saturating_add(SLACK);
        let is_over = record.entry.is_empty() && record.ago >= LONGEST.as_secs();
        if known.is_some_and(|known| known >= record.version) || is_too_much || is_over {
            return None;
        }
        Some(self.put(record, now))
    }

    fn put(&mut self, record: &Record, now: u64) -> bool {
        let Record { url, version, .. } = record;
        let before = self.listed.remove(url);
        if let Some(before) = &before {
            note(&mut self.digests, url, before.version);
        }
        self.forget_bad(url);
        let seen = now.saturating_sub(record.ago);
        if record.entry.is_empty() {
            if self.bad.len() >= MOST_BAD {
                let oldest = self.bad.iter().min_by_key(|(_, bad)| bad.seen);
                let oldest = oldest.map(|(url, _)| url.clone());
                self.forget_bad(&oldest.unwrap_or_default());
            }
            let bad = Bad {
                seen,
                version: *version,
                is_withdrawn: record.is_withdrawn,
            };
            self.bad.insert(url.clone(), bad);
            if record.is_withdrawn {
                note(&mut self.digests, url, *version);
            }
            return before.is_some();
        }
        let listed = Listed {
            entry: record.entry.clone(),
            seen,
            until: seen.saturating_add(record.fresh),
            version: *version,
        };
        self.listed.insert(url.clone(), listed);
        note(&mut self.digests, url, *version);
        before.is_none_or(|before| before.entry != record.entry)
    }

    fn forget_bad(&mut self, url: &str) {
        if let Some(bad) = self.bad.remove(url)
            && bad.is_withdrawn
        {
            note(&mut self.digests, url, bad.version);
        }
    }

    /// By which others see whether they know the same.
    pub fn digests(&self) -> &[u64] {
        &self.digests
    }

    /// What to ask a server that has these digests; nothing if it knows nothing that is not known here.
    pub fn ask(&self, theirs: &[u64]) -> Option<Question> {
        let pairs = self.digests.iter().zip(theirs);
        let differ = pairs.map(|(ours, theirs)| ours != theirs && *theirs != 0);
        let differ: Vec<bool> = differ.collect();
        let mut known: Vec<Vec<(u64, u64)>> = vec![Vec::new(); BUCKETS];
        if !differ.contains(&true) {
            return None;
        }
        for (url, version) in self.versions() {
            let (bucket, name) = place(url);
            if differ.get(usize::from(bucket)) == Some(&true)
                && let Some(known) = known.get_mut(usize::from(bucket))
            {
                known.push((name, version));
            }
        }
        let mut question = Question {
            buckets: Vec::new(),
            known: Vec::new(),
        };
        for (bucket, (differs, known)) in differ.iter().zip(known).enumerate() {
            if *differs && question.known.len() < MOST_KNOWN {
                question.buckets.push(bucket as u8);
                question.known.extend(known);
            }
        }
        Some(question)
    }

    /// What is known here and not to whoever asks.
    pub fn answer(&self, question: &Question, now: u64) -> impl Iterator<Item = Record> {
        let known: HashMap<u64, u64> = question.known.iter().copied().collect();
        let lacks = move |url: &str, version: u64| {
            let (bucket, name) = place(url);
            question.buckets.contains(&bucket)
                && known.get(&name).is_none_or(|known| *known < version)
        };
        let answers = self.versions().filter(move |(url, v)| lacks(url, *v));
        answers.map(move |(url, version)| {
            let (seen, until, entry) = match (self.listed.get(url), self.bad.get(url)) {
                (Some(listed), _) => (listed.seen, listed.until, listed.entry.clone()),
                (None, Some(bad)) => (bad.seen, bad.seen, Entry::new()),
                (None, None) => (now, now, Entry::new()),
            };
            Record {
                url: url.clone(),
                version,
                ago: now.saturating_sub(seen),
                fresh: until.saturating_sub(seen),
                is_withdrawn: entry.is_empty(),
                entry,
            }
        })
    }

    /// All that the digests are of.
    fn versions(&self) -> impl Iterator<Item = (&String, u64)> {
        let listed = self.listed.iter().map(|(url, one)| (url, one.version));
        let bad = self.bad.iter().filter(|(_, bad)| bad.is_withdrawn);
        listed.chain(bad.map(|(url, bad)| (url, bad.version)))
    }
}

/// The bucket of a URL, and a short name for it.
fn place(url: &str) -> (u8, u64) {
    let hash = blake3::hash(url.as_bytes());
    let [bucket, a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    (bucket, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// Adds a record to its digest, or takes it out.
fn note(digests: &mut [u64; BUCKETS], url: &str, version: u64) {
    let (bucket, name) = place(url);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&name.to_le_bytes());
    hasher.update(&version.to_le_bytes());
    let mut mark = [0; 8];
    hasher.finalize_xof().fill(&mut mark);
    if let Some(digest) = digests.get_mut(usize::from(bucket)) {
        *digest ^= u64::from_le_bytes(mark);
    }
}

/// Whether `now` is so many seconds after `then` at most, and not before it.
fn within(seconds: u64, then: u64, now: u64) -> bool {
    now.checked_sub(then).is_some_and(|since| since < seconds)
}

#[cfg(test)]
mod tests {
    use fugitive_core::manifest::Variant;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn listing(most: usize) -> Listing {
        Listing::new(HashMap::new(), most)
    }

    fn good(bytes: &[u8]) -> Option<(Entry, Duration)> {
        let variant = Variant {
            id: ContentId::of(bytes),
            len: bytes.len() as u64,
            mime: "image/png".into(),
            cache: None,
            etag: None,
            modified: None,
            accept: None,
            bao: false,
        };
        Some((vec![variant], Duration::from_secs(600)))
    }

    fn catch_up(one: &mut Listing, other: &Listing, now: u64) {
        if let Some(question) = one.ask(other.digests()) {
            let records: Vec<Record> = other.answer(&question, now).collect();
            for record in records {
                one.take(&record, now);
            }
        }
    }

    fn urls(listing: &Listing) -> Vec<&str> {
        let mut urls: Vec<&str> = listing.all().map(|(url, _)| url.as_str()).collect();
        urls.sort_unstable();
        urls
    }

    #[test]
    fn later_record_counts_in_whatever_order_they_come() {
        let (mut one, mut other, mut third) = (listing(9), listing(9), listing(9));
        let (first, _) = one.found("a", good(b"1"), 1, NOW);
        assert_eq!(other.take(&first, NOW), Some(true));
        // By a clock that is an hour behind.
        let (second, is_news) = other.found("a", None, 2, NOW - 3600);
        assert!(is_news);
        assert_eq!(third.take(&second, NOW), Some(false));
        assert_eq!(third.take(&first, NOW), None);
        assert_eq!(one.take(&second, NOW), Some(true));
        for one in [&one, &other, &third] {
            assert!(urls(one).is_empty());
            assert_eq!(one.digests(), third.digests());
        }
    }

    #[test]
    fn who_was_away_catches_up_and_brings_nothing_back_that_was_withdrawn() {
        let (mut one, mut other) = (listing(999), listing(999));
        for number in 0..500 {
            let (record, _) = one.found(&format!("{number}"), good(b"x"), 1, NOW);
            other.take(&record, NOW);
        }
        one.found("7", None, 1, NOW + 10);
        one.found("new", good(b"n"), 1, NOW + 10);
        let mut away = other;
        away.found("8", good(b"other"), 2, NOW + 20);
        catch_up(&mut one, &away, NOW + 30);
        catch_up(&mut away, &one, NOW + 30);
        assert_eq!(one.digests(), away.digests());
        assert_eq!(one.ask(away.digests()), None);
        assert_eq!(urls(&one), urls(&away));
        assert!(urls(&away).contains(&"new") && !urls(&away).contains(&"7"));
        let entry = |listing: &Listing| listing.get("8").unwrap().entry.clone();
        assert_eq!(entry(&one), entry(&away));
        let until = away.get("new").unwrap().until;
        assert_eq!(until, NOW + 10 + 600);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let mut one = listing(2);
        for number in 0..MOST_BAD + 5 {
            one.found(&format!("{number}"), None, 1, NOW + number as u64);
        }
        assert_eq!(one.bad.len(), MOST_BAD);
        assert!(!one.bad.contains_key("4") && one.bad.contains_key("5"));
        let mut other = listing(2);
        for number in 0..SLACK + 5 {
            let (record, _) = listing(2).found(&format!("{number}"), good(b"x"), 1, NOW);
            other.take(&record, NOW);
        }
        assert_eq!(other.listed.len(), SLACK + 2);
        let mut third = listing(2);
        third.found("a", good(b"x"), 1, NOW);
        third.found("a", None, 1, NOW);
        third.tidy(NOW + PENANCE);
        assert_eq!(third.bad.len(), 1);
        third.tidy(NOW + LONGEST.as_secs());
        assert!(third.bad.is_empty());
        assert_eq!(third.digests(), listing(2).digests());
    }

    #[test]
    fn claim_is_worth_a_look_if_it_can_tell_anything_new() {
        let mut one = listing(1);
        assert!(one.is_worth_a_look("a", false, NOW));
        one.found("a", good(b"x"), 1, NOW);
        one.found("b", None, 1, NOW);
        assert!(!one.is_worth_a_look("a", false, NOW + PAUSE));
        assert!(!one.is_worth_a_look("a", true, NOW + PAUSE - 1));
        assert!(one.is_worth_a_look("a", true, NOW + PAUSE));
        assert!(!one.is_worth_a_look("b", false, NOW + PENANCE - 1));
        assert!(one.is_worth_a_look("b", false, NOW + PENANCE));
        assert!(!one.is_worth_a_look("c", false, NOW));
    }
}
