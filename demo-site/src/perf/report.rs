//! The figures for people: a page that needs nothing but itself, and a table for a terminal.

use std::fmt::Write;

use super::{
    cases::{Case, PEERS, Shaping},
    chart,
    figures::{FIGURES, Figure, Figures, Interval, Run, Unit},
};
use crate::origin::policy;

const STYLE: &str = include_str!("report.css");

/// The page.
pub fn html(figures: &Figures) -> String {
    let page = &figures.page;
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>What Fugitive does to a page</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>What Fugitive does to a page</h1>\n<p class=\"lead\">{}</p>\n",
        story(figures).join(" ")
    );
    out += "<ul class=\"key\">";
    for case in Case::ALL {
        let _ = write!(
            out,
            "<li><i class=\"{}\"></i>{}</li>",
            class(case),
            case.name()
        );
    }
    out += "</ul>\n";
    for figure in &FIGURES {
        section(&mut out, figures, figure);
    }
    proof(&mut out, figures);
    let _ = write!(
        out,
        "<h2>How it was measured</h2>\n<ul class=\"how\">\n\
         <li>The page is <code>{page}</code> of the demo, in Debian’s Chromium, by {lighthouse} with its \
         default screen, that of a phone, and no throttling of its own. The page with Fugitive is the same \
         page with the one line, without the panel.</li>\n\
         <li>All traffic of the origin, signalling too, is late by the round trip that is given and shares a \
         line of that width; a connection costs one round trip more, and TLS another. Files come over HTTP/2. \
         Two visitors are {ms} ms from each \
         other wherever the origin is, by way of a TURN server, and one can give {mbit} Mbit/s. Slow start \
         and loss on the way are not imitated.</li>\n\
         <li>A bar is the median, its dots are the loads, its line goes from the least to the most. Each \
         load has a browser profile of its own, and the cases take turns.</li>\n\
         <li>Filled by peers: a visitor who comes from two other pages of the site, so that the worker is in \
         control and nothing of this page is in the store; one other visitor is on the page. Again: the HTTP \
         cache, and with Fugitive its store, have all of the page. As in the demo, requests wait for peers \
         though the origin may be faster (<code>spare-origin</code>), and for at most {wait} ms. Where two \
         visitors are as far from each other as a far origin, their connection can come after that, and the \
         page from the origin.</li>\n\
         <li>The browser, the other visitor, the origin and the relay share one machine: times are to be \
         compared with each other, and with no other machine’s.</li>\n</ul>\n</body>\n</html>\n",
        lighthouse = figures.lighthouse.replace('@', " "),
        ms = PEERS.0,
        mbit = PEERS.1,
        wait = policy().max_wait_ms,
    );
    out
}

/// For a terminal.
pub fn table(figures: &Figures) -> String {
    let mut out = String::new();
    for shaping in figures.shapings() {
        let _ = write!(out, "\n{:<28}", shaping.name());
        for case in Case::ALL {
            let _ = write!(out, "{:>27}", case.name());
        }
        for figure in &FIGURES {
            let _ = write!(out, "\n  {:<26}", figure.name);
            for case in Case::ALL {
                let cell = figures.spread(shaping, case, figure).map(|spread| {
                    let show = |value| figure.unit.show(value);
                    let [low, high] = [spread.low, spread.high].map(show);
                    format!("{} ({low}–{high})", show(spread.median))
                });
                let _ = write!(out, "{:>27}", cell.unwrap_or_default());
            }
        }
        out.push('\n');
    }
    out.push('\n');
    for line in differences(figures) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn class(case: Case) -> &'static str {
    match case {
        Case::PlainFirst => "plain-first",
        Case::PlainRepeat => "plain-repeat",
        Case::First => "first",
        Case::Repeat => "repeat",
        Case::Peers => "peers",
    }
}

/// What it comes to, in a few sentences.
fn story(figures: &Figures) -> Vec<String> {
    let [origin, lcp, ..] = &FIGURES;
    // The least and the most of all distances, of one case against another.
    let range = |figure: &Figure, case: Case, than: Case| {
        let shapings = figures.shapings().into_iter();
        let shares: Vec<f64> = shapings
            .filter_map(|shaping| {
                let ours = figures.spread(shaping, case, figure)?.median;
                let theirs = figures.spread(shaping, than, figure)?.median;
                (theirs > 0.0).then_some(ours / theirs)
            })
            .collect();
        super::figures::Spread::of(shares)
    };
    let mut story = Vec::new();
    if let Some(left) = range(origin, Case::Peers, Case::PlainFirst) {
        story.push(format!(
            "Where another visitor has what a page shows, the origin sends <b>{} %</b> of what it \
             would send,",
            between(left.low * 100.0, left.high * 100.0)
        ));
        if let Some(times) = range(lcp, Case::Peers, Case::PlainFirst) {
            story.push(format!(
                "and the largest paint takes {} of the time of a first visit without Fugitive.",
                between(times.low * 100.0, times.high * 100.0) + " %"
            ));
        }
    }
    if let Some(left) = range(origin, Case::Repeat, Case::PlainRepeat) {
        story.push(format!(
            "A visitor who comes again costs the origin {} % of what one costs whose browser has only its \
             own cache.",
            between(left.low * 100.0, left.high * 100.0)
        ));
    }
    if let Some(all) = figures.difference(&Shaping::ALL) {
        story.push(format!(
            "On a first visit the line changes Lighthouse’s score by {}: {}.",
            points(all),
            all.verdict()
        ));
    }
    story
}

fn between(low: f64, high: f64) -> String {
    let [low, high] = [low, high].map(|share| format!("{share:.0}"));
    if low == high {
        low
    } else {
        [low, "–".into(), high].concat()
    }
}

fn points(interval: Interval) -> String {
    let Interval {
        mean,
        low,
        high,
        pairs,
    } = interval;
    format!("{mean:+.1} points (95 % between {low:+.1} and {high:+.1}, {pairs} pairs)")
}

fn differences(figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    let shapings = figures.shapings();
    let each = shapings
        .iter()
        .map(|shaping| (shaping.name(), vec![*shaping]));
    let all = (shapings.len() > 1).then(|| ("all".to_owned(), shapings.clone()));
    for (name, of) in each.chain(all) {
        lines.push(match figures.difference(&of) {
            Some(interval) => format!(
                "first visit, with minus without, {name}: {}: {}",
                points(interval),
                interval.verdict()
            ),
            None => {
                format!("first visit, with minus without, {name}: one pair says nothing of chance")
            }
        });
    }
    lines
}

fn section(out: &mut String, figures: &Figures, figure: &Figure) {
    let _ = write!(
        out,
        "<section>\n<h2>{}</h2>\n<p>{}; {}</p>\n<div class=\"row\">\n",
        figure.name,
        figure.about,
        if figure.unit == Unit::Points {
            "more is better"
        } else {
            "less is better"
        }
    );
    for shaping in figures.shapings() {
        let values = |case| -> Vec<f64> { figures.of(shaping, case).map(figure.of).collect() };
        let most = match figure.unit {
            Unit::Points => 100.0,
            // Of next to nothing no difference is drawn large.
            Unit::Milliseconds => Case::ALL.into_iter().flat_map(values).fold(100.0, f64::max),
            Unit::Bytes => Case::ALL.into_iter().flat_map(values).fold(0.0, f64::max),
        };
        let _ = writeln!(out, "<table>\n<caption>{}</caption>", shaping.name());
        for case in Case::ALL {
            let Some(spread) = figures.spread(shaping, case, figure) else {
                continue;
            };
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"bar\">{}</td>\
                 <td class=\"value\" title=\"{} to {}\">{}</td></tr>",
                case.name(),
                chart::bar(class(case), spread, &values(case), most),
                figure.unit.show(spread.low),
                figure.unit.show(spread.high),
                figure.unit.show(spread.median)
            );
        }
        out.push_str("</table>\n");
    }
    out.push_str("</div>\n");
    if figure.unit == Unit::Points {
        out.push_str("<p>the score, pair by pair:</p>\n<ul class=\"how\">");
        for line in differences(figures) {
            let _ = write!(out, "<li>{line}</li>");
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</section>\n");
}

/// That each load was what its case says.
fn proof(out: &mut String, figures: &Figures) {
    out.push_str(
        "<section>\n<h2>That it was so</h2>\n<p>what the page was told of each load that a worker \
         answered, and what the origin says that it sent; a load that was not what its name says ends \
         the measurement</p>\n<div class=\"wide\"><table class=\"proof\">\n<tr><th>distance</th><th>case</th>\
         <th>worker in control</th><th>connected after</th><th>from peers</th><th>from the store</th><th>media from the origin</th>\
         </tr>\n",
    );
    for shaping in figures.shapings() {
        for case in [Case::Repeat, Case::Peers] {
            let runs: Vec<&Run> = figures.of(shaping, case).collect();
            let controlled = runs.iter().filter(|run| run.controlled).count();
            let each = |bytes: &dyn Fn(&Run) -> u64| {
                let all = runs.iter().map(|run| Unit::Bytes.show(bytes(run) as f64));
                all.collect::<Vec<_>>().join(", ")
            };
            let held = |run: &Run| {
                let sources = ["store", "memory"].iter();
                sources.filter_map(|name| run.served.get(*name)).sum()
            };
            let open = runs.iter().filter_map(|run| run.connected);
            let connected: Vec<_> = open.map(|ms| Unit::Milliseconds.show(ms)).collect();
            let connected = connected.join(", ");
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{controlled} of {}</td><td>{connected}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                shaping.name(),
                case.name(),
                runs.len(),
                each(&Run::from_peers),
                each(&held),
                each(&|run| run.media),
            );
        }
    }
    out.push_str("</table></div>\n</section>\n");
}

#[cfg(test)]
mod tests {
    use super::{
        super::figures::{Figures, tests::fixture},
        *,
    };

    #[test]
    fn report_needs_nothing_but_itself() {
        let html = html(&fixture());
        for outside in ["<script", "src=", "<link rel=\"stylesheet", "http", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn report_has_a_bar_for_each_figure_of_each_case_and_distance() {
        let html = html(&fixture());
        let bars = FIGURES.len() * Case::ALL.len() * Shaping::ALL.len();
        assert_eq!(html.matches("<svg").count(), bars);
        assert_eq!(html.matches("<circle").count(), bars * 3);
    }

    #[test]
    fn report_says_what_it_comes_to_and_proves_it() {
        let html = html(&fixture());
        assert!(html.contains("the origin sends <b>2 %</b>"), "{html}");
        assert!(html.contains("-1.0 points (95 % between -1.0 and -1.0, 9 pairs)"));
        assert!(html.contains("Fugitive costs points"));
        assert!(html.contains(
            "3 of 3</td><td>200 ms, 220 ms, 240 ms</td><td>1.90 MB, 1.90 MB, 1.90 MB</td>"
        ));
    }

    #[test]
    fn report_of_nothing_is_a_page() {
        let html = html(&Figures::new("/sky.html"));
        assert!(html.ends_with("</html>\n"));
        assert!(!html.contains("NaN"));
    }
}
