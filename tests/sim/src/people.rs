//! Who comes, with what device, when, and what they look at: drawn from the seed before the run, so
//! that a run with peers and one without have the very same visitors.

use std::collections::BTreeSet;

use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    Time,
    site::{Content, Site},
    workload::{Device, Dist, Workload},
};

/// What a visitor gives to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// What it holds.
    All,
    /// Nothing, because of its device.
    Nothing,
    /// Wrong bytes.
    Wrong,
    /// Nothing, and says so.
    Free,
    /// Nothing, and says otherwise.
    Stalls,
}

/// One page of a visit.
#[derive(Clone, Debug)]
pub struct Look {
    /// Which page.
    pub page: usize,
    /// When it is navigated to.
    pub at: Time,
    /// When its HTML is there.
    pub html: Time,
    /// When its bridge takes its first step.
    pub bridge: Time,
    /// When it is left.
    pub left: Time,
    /// Whether peers hear of that.
    pub silently: bool,
    /// When which image is asked for.
    pub images: Vec<(Time, Content)>,
    /// When the video is started.
    pub play: Option<Time>,
}

/// One visitor.
#[derive(Clone, Debug)]
pub struct Person {
    /// Which of the workload's devices.
    pub device: usize,
    /// Which of its NATs.
    pub nat: usize,
    /// Where.
    pub region: usize,
    /// Bytes per microsecond.
    pub down: f64,
    /// Bytes per microsecond.
    pub up: f64,
    /// One way to the backbone.
    pub access: Time,
    /// Share of packets lost.
    pub loss: f64,
    /// Half of everything.
    pub weak: bool,
    /// Pages are opened in tabs of their own, so that the first one's bridge stays.
    pub tabs: bool,
    /// See there.
    pub gives: Gives,
    /// When the worker is in control.
    pub worker: Time,
    /// What is in the store from an earlier visit.
    pub before: Vec<Content>,
    /// The pages of that visit, the latest first.
    pub been: Vec<usize>,
    /// Pages, in order.
    pub looks: Vec<Look>,
}

impl Person {
    /// When the visit begins.
    pub fn comes(&self) -> Time {
        self.looks.first().map_or(0, |look| look.at)
    }

    /// When it ends.
    pub fn leaves(&self) -> Time {
        self.looks.last().map_or(0, |look| look.left)
    }
}

/// Seconds as virtual time.
fn seconds(s: f64) -> Time {
    (s * 1e6) as Time
}

fn millis(dist: &Dist, rng: &mut impl Rng) -> Time {
    (dist.draw(rng) * 1e3) as Time
}

/// All visitors of a run, in the order of their arrival.
pub fn draw(workload: &Workload, site: &Site, count: usize, seed: u64) -> Vec<Person> {
    let mut people: Vec<Person> = (0..count)
        .map(|index| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(1 + index as u64);
            let mut person = person(workload, site, count, &mut rng);
            // Of lots of their own, so that the visit is the same with and without.
            rng.set_stream(u64::MAX - index as u64);
            if person.worker == 0 {
                (person.before, person.been) = earlier(workload, site, &mut rng);
            }
            person
        })
        .collect();
    people.sort_by_key(Person::comes);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    turn_hostile(workload, &mut people, &mut rng);
    people
}

fn person(workload: &Workload, site: &Site, count: usize, rng: &mut ChaCha8Rng) -> Person {
    let device = pick(rng, workload.devices.iter().map(|device| device.share));
    let nat = pick(rng, workload.nats.iter().map(|nat| nat.share));
    let region = pick(rng, workload.world.regions.iter().copied());
    let kind = &workload.devices[device];
    let down = kind.down_mbps.draw(rng).max(1.0) / 8.0;
    let up = kind.up_mbps.draw(rng).max(0.5) / 8.0;
    let access = millis(&kind.access_ms, rng);
    let loss = kind.loss.draw(rng).min(0.05);
    let gives = if serves(kind, rng) {
        Gives::All
    } else {
        Gives::Nothing
    };
    let mut person = Person {
        device,
        nat,
        region,
        down,
        up: up.min(down * kind.up_to_down),
        access,
        loss,
        weak: kind.weak,
        tabs: {
            let (strong, weak) = workload.visits.tabs;
            rng.random::<f64>() < if kind.weak { weak } else { strong }
        },
        gives,
        worker: 0,
        before: Vec::new(),
        been: Vec::new(),
        looks: Vec::new(),
    };
    visit(workload, site, count, &mut person, rng);
    person
}

fn serves(kind: &Device, rng: &mut impl Rng) -> bool {
    // Every reason is drawn, so that two do not exclude each other.
    let mut serves = true;
    for (_, share) in &kind.does_not_serve {
        serves &= rng.random::<f64>() >= *share;
    }
    serves
}

fn visit(
    workload: &Workload,
    site: &Site,
    count: usize,
    person: &mut Person,
    rng: &mut ChaCha8Rng,
) {
    let visits = &workload.visits;
    let mut at = seconds(visits.arrives_s.draw(rng));
    if visits.at_a_time > 0.0 {
        // A visit takes what its pages take; the mean is near enough, taken once for all.
        let mean = visits.pages * mean_dwell(&visits.dwell_s);
        let span = count as f64 * mean / visits.at_a_time;
        at = seconds(rng.random::<f64>() * span);
    }
    let returning = rng.random::<f64>() < visits.returning;
    let install = millis(&workload.browser.install_ms, rng);
    let to_origin = workload.world.between_ms[person.region][workload.origin.region];
    let rtt = 2 * (person.access + (to_origin * 1e3) as Time);
    loop {
        let page = site.visit(rng);
        // Name look-up, TCP and TLS for the first page of a visit.
        let connect = if person.looks.is_empty() { 3 * rtt } else { 0 };
        let html = at + connect + rtt + millis(&workload.origin.page_ms, rng);
        let dwell = seconds(visits.dwell_s.draw(rng).clamp(0.5, 3600.0));
        let left = html + dwell;
        let bridge = html + millis(&workload.browser.bridge_ms, rng);
        let shown = &site.pages[page];
        let stagger = (workload.browser.stagger_ms * 1e3) as Time;
        let mut images: Vec<(Time, Content)> = shown
            .eager
            .iter()
            .enumerate()
            .map(|(index, content)| (html + index as Time * stagger, *content))
            .collect();
        // Scrolled to in order, and no further than the visitor looks.
        let seen = shown.lazy.len() as f64 * visits.scrolled * 2.0 * rng.random::<f64>();
        let in_time = dwell as f64 * 0.8 / (visits.scroll_s * 1e6);
        let seen = &shown.lazy[..(seen.min(in_time) as usize).min(shown.lazy.len())];
        for (index, content) in seen.iter().enumerate() {
            let share = (index as f64 + rng.random::<f64>()) / seen.len() as f64;
            images.push((html + (dwell as f64 * 0.8 * share) as Time, *content));
        }
        images.retain(|(at, _)| *at < left);
        let video = workload.site.video.as_ref();
        let play = video.map(|video| html + seconds(video.start_s.draw(rng)));
        let silently = rng.random::<f64>() < workload.world.leaves_silently;
        if person.looks.is_empty() {
            person.worker = if returning { 0 } else { html + install };
        }
        person.looks.push(Look {
            page,
            at,
            html,
            bridge: bridge.max(person.worker),
            left,
            silently,
            images,
            play: play.filter(|play| *play < left),
        });
        at = left;
        if rng.random::<f64>() >= 1.0 - 1.0 / visits.pages {
            return;
        }
    }
}

/// What an earlier visit left in the store: of pages as popular as any, what was seen of them.
fn earlier(workload: &Workload, site: &Site, rng: &mut ChaCha8Rng) -> (Vec<Content>, Vec<usize>) {
    let visits = &workload.visits;
    let mut room = (visits.store_mb * 1e6) as u64;
    let (mut before, mut been) = (BTreeSet::new(), Vec::new());
    for _ in 0..visits.earlier_pages {
        let page = site.visit(rng);
        been.insert(0, page);
        let shown = &site.pages[page];
        let seen = shown.lazy.len() as f64 * visits.scrolled * 2.0 * rng.random::<f64>();
        let seen = &shown.lazy[..(seen as usize).min(shown.lazy.len())];
        for content in shown.eager.iter().chain(seen) {
            let len = site.len(*content);
            if len <= room && before.insert(*content) {
                room -= len;
            }
        }
    }
    (before.into_iter().collect(), been)
}

/// The mean of a distribution, from fixed draws.
fn mean_dwell(dist: &Dist) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..2_000).map(|_| dist.draw(&mut rng)).sum::<f64>() / 2_000.0
}

/// Exact shares, of all visitors.
fn turn_hostile(workload: &Workload, people: &mut [Person], rng: &mut ChaCha8Rng) {
    let hostile = &workload.hostile;
    let mut order: Vec<usize> = (0..people.len()).collect();
    order.shuffle(rng);
    let mut order = order.into_iter();
    let kinds = [
        (hostile.pollute, Gives::Wrong),
        (hostile.free_ride, Gives::Free),
        (hostile.stall, Gives::Stalls),
    ];
    for (share, gives) in kinds {
        let count = (people.len() as f64 * share).round() as usize;
        for index in order.by_ref().take(count) {
            people[index].gives = gives;
        }
    }
}

fn pick(rng: &mut impl Rng, shares: impl Iterator<Item = f64>) -> usize {
    let mut left = rng.random::<f64>();
    let mut last = 0;
    for (index, share) in shares.enumerate() {
        if left < share {
            return index;
        }
        left -= share;
        last = index;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(name: &str, count: usize) -> (Workload, Vec<Person>) {
        let workload = Workload::load(name).unwrap();
        let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(1));
        let people = draw(&workload, &site, count, 1);
        (workload, people)
    }

    #[test]
    fn devices_and_hostile_peers_have_their_shares() {
        let (workload, people) = people("hostile", 2_000);
        let wrong = people.iter().filter(|p| p.gives == Gives::Wrong).count();
        assert_eq!(wrong, 400);
        for (index, device) in workload.devices.iter().enumerate() {
            let count = people.iter().filter(|p| p.device == index).count();
            assert!((count as f64 / 2_000.0 - device.share).abs() < 0.04);
        }
    }

    #[test]
    fn cellular_never_serves_and_a_realistic_share_of_the_others_does_not() {
        let (workload, people) = people("shop", 2_000);
        let cellular = |p: &&Person| workload.devices[p.device].name.contains("cellular");
        assert!(
            people
                .iter()
                .filter(cellular)
                .all(|p| p.gives == Gives::Nothing)
        );
        let serving = people.iter().filter(|p| p.gives == Gives::All).count();
        assert!((1_000..1_500).contains(&serving), "{serving}");
    }

    #[test]
    fn few_at_a_time_are_few_at_a_time_however_many_come() {
        for count in [200, 2_000] {
            let (_, people) = people("longtail", count);
            let looked: Time = people.iter().map(|p| p.leaves() - p.comes()).sum();
            let end = people.iter().map(Person::leaves).max().unwrap();
            let at_a_time = looked as f64 / end as f64;
            assert!((3.0..8.0).contains(&at_a_time), "{at_a_time}");
        }
    }

    #[test]
    fn who_returns_has_the_popular_images_of_the_earlier_visit_and_who_does_not_has_none() {
        let (workload, people) = people("shop", 500);
        let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(1));
        for person in &people {
            assert_eq!(person.before.is_empty(), person.worker > 0);
            let held: u64 = person.before.iter().map(|content| site.len(*content)).sum();
            assert!(held as f64 <= workload.visits.store_mb * 1e6);
        }
        // What every page shows all of them have.
        let shell = site.pages[0].eager[0];
        let returning = people.iter().filter(|person| person.worker == 0);
        assert!(returning.clone().count() > 350);
        assert!(returning.into_iter().all(|p| p.before.contains(&shell)));
        let film = Workload::load("flash").unwrap();
        let site = Site::new(&film.site, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(
            draw(&film, &site, 100, 1)
                .iter()
                .all(|person| person.before.is_empty())
        );
    }

    #[test]
    fn pages_follow_each_other() {
        let (_, people) = people("shop", 100);
        for person in people {
            for pair in person.looks.windows(2) {
                assert_eq!(pair[0].left, pair[1].at);
            }
        }
    }
}
