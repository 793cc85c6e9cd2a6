//! Every row of the table, and the ledger.

use super::*;

/// A visitor at a desk who was asked and said yes.
fn desk() -> Signals {
    Signals {
        consent: Consent::Said,
        save_data: Some(false),
        memory: Some(8.0),
        cores: Some(8),
        ..Signals::default()
    }
}

fn with(change: impl FnOnce(&mut Signals)) -> Manners {
    let mut signals = desk();
    change(&mut signals);
    decide(&signals, &Limits::default().bounded(), 0)
}

#[test]
fn every_reason_to_serve_nobody_is_found_and_named() {
    type Change = fn(&mut Signals);
    let rows: [(Change, Option<Quiet>, &str); 29] = [
        (|_| {}, None, ""),
        (|s| s.consent = Consent::Implied, None, ""),
        (
            |s| s.consent = Consent::None,
            Some(Quiet::NoConsent),
            "no consent",
        ),
        (
            |s| (s.gpc, s.consent) = (true, Consent::Implied),
            Some(Quiet::PrivacyControl),
            "Global Privacy Control",
        ),
        (|s| s.gpc = true, None, ""),
        (
            |s| s.save_data = Some(true),
            Some(Quiet::SaveData),
            "data saver",
        ),
        (
            |s| s.reduced_data = true,
            Some(Quiet::SaveData),
            "data saver",
        ),
        (
            |s| s.line = Some("cellular".into()),
            Some(Quiet::Cellular),
            "cellular",
        ),
        (
            |s| s.line = Some("bluetooth".into()),
            Some(Quiet::Cellular),
            "cellular",
        ),
        (
            |s| s.line = Some("wimax".into()),
            Some(Quiet::Cellular),
            "cellular",
        ),
        (|s| s.line = Some("wifi".into()), None, ""),
        // Slow, and not for that cellular.
        (|s| s.speed = Some("2g".into()), None, ""),
        (|s| s.speed = Some("3g".into()), None, ""),
        (
            |s| s.phone = true,
            Some(Quiet::Phone),
            "a phone on an unknown line",
        ),
        (
            |s| (s.phone, s.line) = (true, Some("unknown".into())),
            Some(Quiet::Phone),
            "a phone on an unknown line",
        ),
        (
            |s| (s.phone, s.line) = (true, Some("wifi".into())),
            None,
            "",
        ),
        (
            |s| (s.battery, s.charging) = (Some(0.22), Some(false)),
            Some(Quiet::Battery(22)),
            "battery 22 %",
        ),
        (
            |s| (s.battery, s.charging) = (Some(0.22), Some(true)),
            None,
            "",
        ),
        (
            |s| (s.battery, s.charging) = (Some(0.30), Some(false)),
            None,
            "",
        ),
        (
            |s| s.battery = Some(0.1),
            Some(Quiet::Battery(10)),
            "battery 10 %",
        ),
        (|s| s.charging = Some(false), None, ""),
        (|s| s.loading = true, Some(Quiet::Loading), "the page loads"),
        (|s| s.hidden = Some(0), None, ""),
        (|s| s.hidden = Some(599), None, ""),
        (|s| s.hidden = Some(600), Some(Quiet::Hidden), "hidden"),
        (
            |s| (s.hidden, s.others) = (Some(0), true),
            Some(Quiet::Others),
            "another tab is open",
        ),
        // It is the one that is seen.
        (|s| s.others = true, None, ""),
        (
            |s| s.turn = Turn::Next,
            Some(Quiet::Turn),
            "another tab serves",
        ),
        (
            |s| (s.turn, s.hidden, s.others) = (Turn::Over, Some(0), true),
            Some(Quiet::Turn),
            "another tab serves",
        ),
    ];
    for (at, (change, why, words)) in rows.into_iter().enumerate() {
        let manners = with(change);
        assert_eq!(manners.quiet, why, "row {at}");
        assert_eq!(
            manners.quiet.map_or(String::new(), |why| why.to_string()),
            words
        );
        let slots = manners.config(1).slots;
        assert_eq!(slots == 0, why.is_some(), "row {at}");
        // Only who has not agreed meets nobody.
        assert_eq!(manners.asks, why != Some(Quiet::NoConsent), "row {at}");
    }
}

#[test]
fn limits_are_halved_where_the_device_is_weak_or_little_is_known() {
    type Change = fn(&mut Signals);
    let full = with(|_| {});
    let rows: [(Change, bool); 10] = [
        (|s| s.memory = Some(2.0), true),
        (|s| s.memory = Some(4.0), false),
        (|s| s.memory = None, false),
        (|s| s.cores = Some(1), true),
        (|s| s.cores = Some(2), false),
        (|s| s.cores = None, false),
        (|s| s.speed = Some("slow-2g".into()), true),
        (|s| s.speed = Some("4g".into()), false),
        // Neither the line nor the wish to save data: nothing is known of this one.
        (|s| s.save_data = None, true),
        (
            |s| (s.save_data, s.line) = (None, Some("ethernet".into())),
            false,
        ),
    ];
    for (at, (change, is_half)) in rows.into_iter().enumerate() {
        let manners = with(change);
        if !is_half {
            assert_eq!(manners, full, "row {at}");
            continue;
        }
        assert_eq!(manners.quiet, None, "row {at}");
        let of = |manners: &Manners| {
            [
                manners.min_peers as u64,
                manners.target_peers as u64,
                manners.max_peers as u64,
                manners.slots as u64,
                manners.upload,
                manners.daily,
                manners.storage,
                manners.window.into(),
            ]
        };
        assert_eq!(of(&manners).map(|half| half * 2), of(&full), "row {at}");
    }
    let limits = Limits::default();
    assert_eq!(storage(Some(2.0), None, &limits) * 2, limits.storage);
    assert_eq!(storage(None, Some(8), &limits), limits.storage);
}

#[test]
fn half_is_what_the_engine_takes_for_a_weak_device() {
    let (half, weak) = (with(|s| s.memory = Some(1.0)).config(0), Config::weak());
    let of = |c: Config| {
        [
            c.min_peers,
            c.target_peers,
            c.max_peers,
            c.slots,
            c.window as usize,
        ]
    };
    assert_eq!(of(half), of(weak));
    assert_eq!(of(with(|_| {}).config(0)), of(Config::default()));
}

#[test]
fn hidden_tab_serves_slowly() {
    let hidden = with(|s| s.hidden = Some(1));
    assert_eq!((hidden.upload, hidden.slots), (250_000, 2));
    let weak = with(|s| (s.hidden, s.memory) = (Some(1), Some(1.0)));
    assert_eq!((weak.upload, weak.slots), (125_000, 2));
}

#[test]
fn tab_whose_turn_is_over_finishes_unless_something_else_forbids_it() {
    let over = with(|s| s.turn = Turn::Over);
    assert!(over.finishes && over.config(0).finishes);
    assert_eq!((over.min_peers, over.target_peers), (0, 0));
    let next = with(|s| s.turn = Turn::Next);
    assert!(!next.finishes && next.target_peers > 0);
    let low = with(|s| (s.turn, s.battery) = (Turn::Over, Some(0.1)));
    assert!(!low.finishes);
}

#[test]
fn nothing_is_served_when_the_days_bytes_are_given() {
    let limits = Limits::default();
    let quiet = |given| decide(&desk(), &limits, given).quiet;
    assert_eq!(quiet(limits.daily - 1), None);
    assert_eq!(quiet(limits.daily), Some(Quiet::Daily));
}

#[test]
fn every_limit_can_be_set_by_its_name_within_hard_limits() {
    for name in Limits::NAMES {
        let mut limits = Limits::default();
        limits.set(name, 20.0);
        let (set, _) = limits.named(name).unwrap();
        assert_eq!(*set, 20, "{name}");
        for wild in [f64::MAX, -1.0, f64::NAN, f64::INFINITY] {
            limits.set(name, wild);
            limits = limits.bounded();
            let (set, hard) = limits.named(name).unwrap();
            assert!(hard.contains(set), "{name} {wild}");
        }
    }
    let mut limits = Limits::default();
    limits.set("daily", 7.0);
    assert_eq!(Limits::of(&limits.values()), limits);
    assert_eq!(Limits::of(&[]), Limits::default());
    let mut limits = Limits::default();
    limits.set("consent", 1.0);
    assert_eq!(limits, Limits::default());
    assert_eq!(limits.clone().bounded(), limits);
}

#[test]
fn site_can_ask_for_less_or_nothing() {
    for (name, what) in [("slots", 0.0), ("upload", 0.0), ("daily", 0.0)] {
        let mut limits = Limits::default();
        limits.set(name, what);
        let manners = decide(&desk(), &limits.bounded(), 0);
        assert_eq!(manners.quiet, Some(Quiet::Site), "{name}");
        assert!(manners.asks);
    }
    let mut limits = Limits::default();
    limits.set("battery", 80.0);
    let mut signals = desk();
    signals.battery = Some(0.79);
    let quiet = decide(&signals, &limits.bounded(), 0).quiet;
    assert_eq!(quiet, Some(Quiet::Battery(79)));
}

#[test]
fn more_peers_than_the_most_are_the_most() {
    let mut limits = Limits::default();
    limits.set("target_peers", 20.0);
    let limits = limits.bounded();
    assert_eq!((limits.target_peers, limits.max_peers), (20, 20));
    let mut limits = Limits::default();
    limits.set("target_peers", 1.0);
    assert_eq!(limits.bounded().min_peers, 1);
}

#[test]
fn ledger_counts_a_day_and_begins_anew() {
    let mut ledger = Ledger::default();
    let noon = 20_000.5 * DAY;
    assert_eq!(ledger.given(noon), 0);
    ledger.give(700, noon);
    ledger.give(300, noon + DAY / 3.0);
    assert_eq!(ledger.given(noon), 1_000);
    assert_eq!(ledger.given(noon + DAY / 2.0), 0);
    ledger.give(5, noon + DAY);
    assert_eq!(ledger.given(noon + DAY), 5);
}

#[test]
fn readme_tells_the_limits_as_they_are() {
    let number = |number: u64| {
        let digits = number.to_string();
        let groups = digits.as_bytes().rchunks(3).rev();
        let groups: Vec<_> = groups.map(|group| str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let bound = |bound: u64| match bound {
        0 => "0".to_owned(),
        bound if bound % (1 << 30) == 0 => format!("{} GiB", bound >> 30),
        bound if bound % (1 << 20) == 0 => format!("{} MiB", bound >> 20),
        bound => number(bound),
    };
    let readme = include_str!("../../../../README.md");
    let mut limits = Limits::default();
    for name in Limits::NAMES {
        let row = |line: &&str| line.starts_with("| `") && line.contains(&format!("`{name}`"));
        let row = readme.lines().find(row).unwrap();
        let (default, hard) = limits.named(name).unwrap();
        for told in [number(*default), bound(*hard.start()), bound(*hard.end())] {
            assert!(row.contains(&told), "{name}: {told} is not in {row}");
        }
    }
}
