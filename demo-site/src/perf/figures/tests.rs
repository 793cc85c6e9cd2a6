//! What the figures come to, of loads that nobody has seen.

use super::*;

/// Three loads of each kind: one point less with Fugitive, and next to nothing from the origin where
/// peers have it.
pub fn fixture() -> Figures {
    let mut figures = Figures::new("/sky.html");
    for shaping in Shaping::ALL {
        for round in 0..3 {
            for case in Case::ALL {
                let ms = f64::from(shaping.measures().0) * (10.0 + round as f64);
                let (origin, served): (u64, &[(&str, u64)]) = match case {
                    Case::PlainFirst => (2_000_000, &[]),
                    Case::PlainRepeat => (4_000, &[]),
                    Case::First => (2_300_000, &[("network", 10_000)]),
                    Case::Repeat => (4_000, &[("store", 2_000_000)]),
                    Case::Peers => (40_000, &[("tier-1", 1_900_000), ("network", 36_000)]),
                };
                let with = if case == Case::First { 1.0 } else { 0.0 };
                figures.runs.push(Run {
                    shaping,
                    case,
                    round,
                    load: Load {
                        score: 99.0 - round as f64 - with,
                        fcp: ms,
                        lcp: ms * 2.0,
                        tbt: with * 12.0,
                        speed_index: 800.0,
                        shift: 0.0,
                        main_thread: 500.0,
                        load: ms * 3.0,
                    },
                    own_lcp: ms * 2.0,
                    cpu: 3_000.0,
                    origin,
                    media: origin * 9 / 10,
                    connected: (case == Case::Peers).then_some(ms),
                    controlled: matches!(case, Case::Repeat | Case::Peers),
                    served: served
                        .iter()
                        .map(|(name, bytes)| ((*name).to_owned(), *bytes))
                        .collect(),
                });
            }
        }
    }
    figures
}

#[test]
fn median_of_an_even_number_lies_between_the_two_in_the_middle() {
    let spread = |values: &[f64]| Spread::of(values.to_vec());
    let of = |median, low, high| Some(Spread { median, low, high });
    assert_eq!(spread(&[3.0, 1.0, 2.0]), of(2.0, 1.0, 3.0));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), of(2.5, 1.0, 4.0));
    assert_eq!(spread(&[]), None);
}

/// Five differences of a textbook's kind: mean -1, deviation sqrt(2.5), t 2.776.
#[test]
fn interval_is_students() {
    let interval = Interval::of(&[-3.0, -2.0, -1.0, 0.0, 1.0]).unwrap();
    assert!((interval.mean - -1.0).abs() < 1e-9);
    assert!((interval.low - -2.963).abs() < 1e-3, "{interval:?}");
    assert!((interval.high - 0.963).abs() < 1e-3, "{interval:?}");
    assert_eq!(interval.verdict(), "no difference can be told");
}

#[test]
fn interval_beside_zero_is_a_gain_or_a_loss() {
    let verdict = |differences: &[f64]| Interval::of(differences).unwrap().verdict();
    assert_eq!(verdict(&[-2.0, -2.1, -1.9]), "Fugitive costs points");
    assert_eq!(verdict(&[2.0, 2.1, 1.9]), "Fugitive wins points");
    assert_eq!(verdict(&[0.0, 0.0, 0.0]), "no difference can be told");
}

#[test]
fn one_pair_says_nothing() {
    assert_eq!(Interval::of(&[5.0]), None);
    assert_eq!(Interval::of(&[]), None);
}

#[test]
fn more_pairs_than_the_table_has_are_taken_with_its_last_row() {
    let differences: Vec<f64> = (0..100).map(|n| f64::from(n % 2)).collect();
    let interval = Interval::of(&differences).unwrap();
    // A little wider than the normal distribution's 0.098.
    let half = (interval.high - interval.low) / 2.0;
    assert!((0.098..0.104).contains(&half), "{half}");
}

#[test]
fn pairs_are_the_two_of_a_round() {
    let mut figures = fixture();
    let with = figures.difference(&Shaping::ALL).unwrap();
    assert_eq!((with.pairs, with.mean), (9, -1.0));
    // One without its other.
    figures
        .runs
        .retain(|run| (run.case, run.round) != (Case::First, 0));
    assert_eq!(figures.difference(&Shaping::ALL).unwrap().pairs, 6);
    assert_eq!(figures.difference(&[Shaping::Far]).unwrap().pairs, 2);
}

#[test]
fn figures_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let figures = fixture();
    figures.write(&file).unwrap();
    let read = Figures::read(&file).unwrap();
    assert_eq!(read.runs.len(), figures.runs.len());
    assert_eq!(read.runs[7].load, figures.runs[7].load);
    let all: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let peers = &all["summary"][0]["cases"]["peers"];
    assert_eq!(peers["origin_bytes"]["median"], 40_000.0);
}

#[test]
fn load_that_was_not_what_its_case_says_is_refused() {
    let fixture = fixture();
    let of = |case| {
        let mut runs = fixture.of(Shaping::Near, case);
        runs.next().unwrap().clone()
    };
    for case in Case::ALL {
        of(case).prove().unwrap();
    }
    let refused = |case, spoil: fn(&mut Run)| {
        let mut run = of(case);
        spoil(&mut run);
        run.prove().unwrap_err().to_string()
    };
    let said = refused(Case::Peers, |run| run.controlled = false);
    assert!(said.contains("in control"), "{said}");
    let said = refused(Case::Peers, |run| run.served = BTreeMap::new());
    assert!(said.contains("nothing from peers"), "{said}");
    let said = refused(Case::Peers, |run| {
        run.served.insert("store".into(), 1);
    });
    assert!(said.contains("the store had"), "{said}");
    let said = refused(Case::Peers, |run| run.media = 2_000_000);
    assert!(said.contains("the origin sent"), "{said}");
    let said = refused(Case::Repeat, |run| run.served = BTreeMap::new());
    assert!(said.contains("nothing from the store"), "{said}");
    let said = refused(Case::First, |run| run.controlled = true);
    assert!(said.contains("in control"), "{said}");
    let said = refused(Case::PlainFirst, |run| {
        run.served.insert("network".into(), 1);
    });
    assert!(said.contains("a worker served"), "{said}");
}
