//! The figures, for people and as one line of JSON.

use std::fmt::Write;

use crate::measure::{Both, Figures};

/// A table for people.
pub fn table(figures: &Figures) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<34} {value}");
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let both = |both: &Both| {
        format!(
            "{:.0} / {:.0}   origin only {:.0} / {:.0}",
            both.peers.p50, both.peers.p95, both.origin.p50, both.origin.p95
        )
    };
    row("workload", figures.about.clone());
    row(
        "visitors, at most at once",
        format!("{}, {}", figures.peers, figures.peak_at_once),
    );
    row(
        "requests, bytes",
        format!(
            "{}, {:.1} MB of {:.1} MB unique, in {:.0} s",
            figures.requests,
            figures.bytes as f64 / 1e6,
            figures.unique_bytes as f64 / 1e6,
            figures.seconds
        ),
    );
    row("offload", percent(figures.offload));
    if figures.offload_honest != figures.offload {
        let honest = percent(figures.offload_honest);
        row("  of those who mean well", honest);
    }
    row(
        "  by tier 1, tier 2",
        format!("{}, {}", percent(figures.tier1), percent(figures.tier2)),
    );
    row(
        "  upper bound, reached of it",
        format!(
            "{}, {}",
            percent(figures.bound.reachable),
            percent(figures.of_bound)
        ),
    );
    row(
        "  page can ask, somebody has it",
        format!(
            "{}, {}",
            percent(figures.bound.can_ask),
            percent(figures.bound.somebody_has)
        ),
    );
    row(
        "  bound if no request waits",
        percent(figures.bound.without_waiting),
    );
    row(
        "  uplink supply / demand",
        format!("{:.1}", figures.bound.supply),
    );
    row("first byte ms, p50 / p95", both(&figures.ttfb_ms));
    row("last byte ms, p50 / p95", both(&figures.ttlb_ms));
    row(
        "regret, p50 / p95 / p99",
        format!(
            "{} / {} / {}",
            percent(figures.regret.p50),
            percent(figures.regret.p95),
            percent(figures.regret.p99)
        ),
    );
    row(
        "  of whole pages, p50 / p95",
        format!(
            "{} / {}",
            percent(figures.regret_page.p50),
            percent(figures.regret_page.p95)
        ),
    );
    for (why, late) in &figures.late_pages {
        row(
            &format!("    {why}"),
            format!(
                "{} of pages, by {} on average",
                percent(late.pages),
                percent(late.regret)
            ),
        );
    }
    row(
        "  requests that were not slower",
        percent(figures.not_slower),
    );
    row(
        "wasted, of it by peers",
        format!(
            "{}, {}",
            percent(figures.wasted),
            percent(figures.wasted_peers)
        ),
    );
    row("fetched ahead, never shown", percent(figures.ahead_in_vain));
    row("wrong bytes accepted", figures.wrong_bytes.to_string());
    row(
        "upload MB per visitor, mean / p95",
        format!(
            "{:.2} / {:.2}",
            figures.upload.mean / 1e6,
            figures.upload.p95 / 1e6
        ),
    );
    row(
        "  Gini of all, of those who serve",
        format!("{:.2}, {:.2}", figures.gini, figures.gini_serving),
    );
    row(
        "signalling messages per visitor",
        format!(
            "{:.0} (p95 {:.0})",
            figures.signalling.mean, figures.signalling.p95
        ),
    );
    row(
        "connections opened, failed",
        format!("{}, {}", figures.links[0], figures.links[1]),
    );
    if figures.startup_s.origin.p50 > 0.0 {
        row(
            "video start s, p50 / p95",
            format!(
                "{:.2} / {:.2}   origin only {:.2} / {:.2}",
                figures.startup_s.peers.p50,
                figures.startup_s.peers.p95,
                figures.startup_s.origin.p50,
                figures.startup_s.origin.p95
            ),
        );
        row(
            "stalled s per view",
            format!(
                "{:.3}   origin only {:.3}",
                figures.stalled_s[0], figures.stalled_s[1]
            ),
        );
    }
    row(
        "from the origin, because",
        "of all bytes, held by somebody, asked for later, reachable without waiting".into(),
    );
    for (why, share) in &figures.causes {
        row(
            &format!("  {why}"),
            format!(
                "{:>7} {:>7} {:>7} {:>7}",
                percent(share.bytes),
                percent(share.held),
                percent(share.later),
                percent(share.reachable)
            ),
        );
        let closely = figures.details.iter().filter(|(cause, ..)| cause == why);
        for (_, detail, bytes) in closely {
            row(&format!("    {detail}"), format!("{:>7}", percent(*bytes)));
        }
    }
    for (name, story) in &figures.stories {
        row(
            &format!("requests: {name}"),
            format!(
                "{} of bytes, {} of them by peers; {} had a holder at {:.0} ms; regret {} / {}",
                percent(story.bytes),
                percent(story.from_peers),
                percent(story.holder),
                story.holder_ms.p50,
                percent(story.regret.p50),
                percent(story.regret.p95)
            ),
        );
    }
    for (why, count) in &figures.dropped {
        row("peers dropped", format!("{count} × {why}"));
    }
    for (why, count) in &figures.failed {
        row("wants failed", format!("{count} × {why}"));
    }
    if !figures.missed.is_empty() {
        row("GOALS NOT REACHED", figures.missed.join(", "));
    }
    out
}
