//! Small runs of every workload: the same seed gives the same result, and the promises hold.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use fugitive_sim::{measure::Figures, run, workload::Workload};

fn figures(name: &str, peers: usize, seed: u64) -> Figures {
    let workload = Workload::load(name).unwrap();
    run(&workload, peers, seed, &mut |_| {})
}

fn line(figures: &Figures) -> String {
    serde_json::to_string(figures).unwrap()
}

#[test]
fn same_seed_gives_the_same_result_to_the_byte_and_another_seed_another() {
    let first = line(&figures("hostile", 40, 7));
    assert_eq!(first, line(&figures("hostile", 40, 7)));
    assert_ne!(first, line(&figures("hostile", 40, 8)));
}

#[test]
fn charts_are_the_same_for_the_same_seed() {
    let draw = |folder: &std::path::Path| {
        let figures = figures("longtail", 30, 3);
        fugitive_sim::charts::draw(&figures, folder).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(files.len() >= 6);
        files
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect::<Vec<_>>()
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    assert!(draw(folders[0].path()) == draw(folders[1].path()));
}

/// What peers did not deliver came from the origin, each byte for one reason.
fn every_byte_is_explained(figures: &Figures) {
    let causes: f64 = figures.causes.iter().map(|(_, share)| share.bytes).sum();
    assert!((figures.offload + causes - 1.0).abs() < 1e-9, "{causes}");
    for (why, share) in &figures.causes {
        assert!(
            share.held <= share.bytes
                && share.later <= share.bytes
                && share.reachable <= share.held,
            "{why}"
        );
        let closely = figures.details.iter().filter(|(cause, ..)| cause == why);
        let closely: Vec<f64> = closely.map(|(.., bytes)| *bytes).collect();
        let said: f64 = closely.iter().sum();
        assert!(
            closely.is_empty() || (said - share.bytes).abs() < 1e-9,
            "{why}: {said} of {}",
            share.bytes
        );
    }
    let named = |name: &str| figures.causes.iter().any(|(why, _)| *why == name);
    assert!(named("no worker yet") && named("nobody there has it"));
}

/// Promise 2, for a site of images: hardly a request ends later than the network would have ended it.
fn is_never_in_the_way(figures: &Figures) {
    every_byte_is_explained(figures);
    assert_eq!(figures.wrong_bytes, 0);
    assert!(figures.regret.p95 <= 0.05, "{:?}", figures.regret);
    assert!(figures.regret_page.p95 <= 0.05, "{:?}", figures.regret_page);
    assert!(figures.offload <= figures.bound.reachable);
}

#[test]
fn shop_is_offloaded_without_anybody_waiting_and_little_is_wasted() {
    let figures = figures("shop", 100, 1);
    is_never_in_the_way(&figures);
    assert!(figures.offload > 0.15, "{}", figures.offload);
    assert!(figures.wasted <= 0.03, "{}", figures.wasted);
}

#[test]
fn crowd_gets_the_video_from_each_other() {
    let figures = figures("flash", 100, 1);
    every_byte_is_explained(&figures);
    assert_eq!(figures.wrong_bytes, 0);
    assert!(figures.offload > 0.6, "{}", figures.offload);
    assert!(figures.regret.p50 <= 0.05, "{:?}", figures.regret);
}

#[test]
fn where_few_visitors_come_peers_are_not_in_the_way() {
    let figures = figures("longtail", 100, 1);
    is_never_in_the_way(&figures);
    assert!(figures.peak_at_once < 20);
}

#[test]
fn hostile_peers_are_dropped_and_the_others_are_not_the_worse_for_them() {
    let figures = figures("hostile", 100, 1);
    is_never_in_the_way(&figures);
    assert!(figures.offload > 0.1, "{}", figures.offload);
    let lied = figures.dropped.get("sent groups that do not verify");
    assert!(lied.is_some_and(|lied| *lied > 0), "{:?}", figures.dropped);
}
