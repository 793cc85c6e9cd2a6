//! `--perf`: what Fugitive does to a page, by Lighthouse and by the origin's access log, in five cases
//! and at three distances. Loads of one kind are never taken in a row.
//!
//! Everything is real but the distance: Debian's Chromium, a profile of its own for each load, a second
//! visitor who stays on the page, and a TURN server between the two, because that is a way that can be
//! made long. A load that was not what its case says is no figure but an error.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    certificate::Certificate,
    lighthouse::{Lighthouse, is_mishap},
    origin::Origin,
    site::{DEMO_LINE, Site},
    turn::Turn,
};

pub mod cases;
mod chart;
pub mod figures;
pub mod report;

use crate::origin::policy;
use cases::{Case, Shaping, relay};
use figures::{FIGURES, Figures, Run};

/// The one line, without the panel. The visitors meet by way of a relay, because that is at a distance.
const LINE: &str = "<script src=\"/fugitive.js\" data-consent=\"implied\" \
     data-upload=\"25000000\" data-relay-only async></script>";
/// Two pages of the site, with a small drawing each: on the way through them a visitor gets a worker,
/// and the worker learns how soon after a click there are others.
const WAY: [&str; 2] = ["door", "hall"];
const DRAWING: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 8 8\">";
/// Videos are played so many times as fast as they are.
const PACE: f64 = 8.0;

/// What is measured.
pub struct Options {
    /// The path of the page.
    pub page: String,
    /// Loads of each kind.
    pub runs: usize,
    /// From which distances, by name; none are all.
    pub shapings: Vec<String>,
    /// Whether it goes on where an earlier run has ended.
    pub resume: bool,
    /// Where the report goes, and the figures.
    pub folder: PathBuf,
}

/// Measures and writes the report.
pub async fn run(options: Options) -> Result<()> {
    let is_wanted = |shaping: &Shaping| {
        let names = &options.shapings;
        names.is_empty() || names.iter().any(|name| name == shaping.key())
    };
    fs::create_dir_all(&options.folder)?;
    let file = options.folder.join("figures.json");
    let mut figures = Figures::new(&options.page);
    if options.resume && file.exists() {
        let earlier = Figures::read(&file)?;
        let is_same = earlier.page == figures.page && earlier.lighthouse == figures.lighthouse;
        ensure!(
            is_same,
            "{} is of another page, or of another Lighthouse",
            file.display()
        );
        figures = earlier;
    }
    let lighthouse = Lighthouse::install()?;
    let (plain, with) = (Site::demo()?, Site::demo()?);
    ensure!(plain.rewrite(DEMO_LINE, "")? > 0, "no page has the line");
    with.rewrite(DEMO_LINE, LINE)?;
    for (site, line) in [(&plain, ""), (&with, LINE)] {
        for name in WAY {
            let drawing = format!("{DRAWING}<desc>{name}</desc><path d=\"M0 0h8v8z\"/></svg>");
            fs::write(site.path(&format!("{name}.svg")), drawing)?;
            let image = format!("<img src=\"/{name}.svg\" width=80 height=80 alt=\"\">");
            site.page_with(&format!("{name}.html"), line, &image)?;
        }
    }
    for shaping in Shaping::ALL.into_iter().filter(is_wanted) {
        let missing = (0..options.runs)
            .flat_map(|round| Case::ALL.map(|case| (round, case)))
            .any(|(round, case)| !figures.has(shaping, case, round));
        if missing {
            let place = Place::new(shaping, &plain, &with, &options.page).await?;
            measure(&place, &lighthouse, options.runs, &mut figures, &file).await?;
        }
    }
    figures.write(&file)?;
    let report = options.folder.join(crate::report::FILE);
    fs::write(&report, report::html(&figures))?;
    println!("{}", report::table(&figures));
    println!("report  {}", report.display());
    println!("figures {}", file.display());
    Ok(())
}

/// The two origins at a distance, and somebody who is on the page.
struct Place<'a> {
    shaping: Shaping,
    page: &'a str,
    plain: Origin,
    with: Origin,
    driver: Driver,
    trust: String,
    resident: Visitor,
    _turn: Turn,
}

impl<'a> Place<'a> {
    async fn new(shaping: Shaping, plain: &Site, with: &Site, page: &'a str) -> Result<Self> {
        let turn = Turn::start(relay()).await?;
        let driver = Driver::start()?;
        let certificate = Certificate::new()?;
        let trust = certificate.trust();
        let far = shaping.origin();
        let plain = Origin::far_and_secure(policy(), &certificate, plain, far, None).await?;
        let with = Origin::far_and_secure(policy(), &certificate, with, far, Some(&turn)).await?;
        let resident = Visitor::with_args(&driver, &[&trust]).await?;
        let place = Self {
            shaping,
            page,
            plain,
            with,
            driver,
            trust,
            resident,
            _turn: turn,
        };
        place
            .settle(&place.resident)
            .await
            .context("the other visitor")?;
        Ok(place)
    }

    fn origin(&self, case: Case) -> &Origin {
        if case.has_fugitive() {
            &self.with
        } else {
            &self.plain
        }
    }

    /// A visitor sees all of the page, and keeps it.
    async fn settle(&self, visitor: &Visitor) -> Result<()> {
        visitor.goto(&self.with.url(self.page)).await?;
        visitor.until_controlled().await?;
        visitor.see_all(PACE).await?;
        let images: usize = visitor
            .eval("new Set([...document.images].map(({ currentSrc }) => currentSrc)).size")
            .await?;
        visitor.until_held(images).await
    }

    /// A visitor who is about to come to the page.
    async fn visitor(&self, case: Case) -> Result<Visitor> {
        let visitor = Visitor::with_args(&self.driver, &[&self.trust]).await?;
        match case {
            Case::PlainFirst | Case::First => {}
            Case::PlainRepeat => {
                visitor.goto(&self.plain.url(self.page)).await?;
                visitor.see_all(PACE).await?;
                visitor.goto(&self.plain.url(&page(WAY[1]))).await?;
            }
            Case::Repeat => {
                self.settle(&visitor).await?;
                visitor.goto(&self.with.url(&page(WAY[1]))).await?;
            }
            Case::Peers => {
                for name in WAY {
                    visitor.goto(&self.with.url(&page(name))).await?;
                    visitor.until_peers(1).await?;
                }
            }
        }
        Ok(visitor)
    }

    /// One load.
    async fn load(&self, lighthouse: &Lighthouse, case: Case, round: usize) -> Result<Run> {
        let visitor = self.visitor(case).await?;
        let origin = self.origin(case);
        let sent = || anyhow::Ok((origin.sent_below("/")?, origin.sent_below("/media/")?));
        let (before, cpu) = (sent()?, visitor.cpu()?);
        let (load, told) = lighthouse.within(&visitor, &origin.url(self.page)).await?;
        let (after, cpu) = (sent()?, visitor.cpu()?.saturating_sub(cpu));
        visitor.quit().await?;
        let (mut seen, mut served) = (HashSet::new(), BTreeMap::new());
        for one in told.served {
            // What is asked for again is Lighthouse's doing, and not the page's.
            if seen.insert(one.url) {
                *served.entry(one.source).or_default() += one.bytes;
            }
        }
        let run = Run {
            shaping: self.shaping,
            case,
            round,
            load,
            own_lcp: told.lcp,
            cpu: cpu.as_secs_f64() * 1e3,
            origin: after.0 - before.0,
            media: after.1 - before.1,
            controlled: told.controlled,
            connected: told.open,
            served,
        };
        run.prove()?;
        Ok(run)
    }
}

fn page(name: &str) -> String {
    format!("/{name}.html")
}

/// What is missing of so many rounds. Each begins with another case, so that none always comes first.
async fn measure(
    place: &Place<'_>,
    lighthouse: &Lighthouse,
    runs: usize,
    figures: &mut Figures,
    file: &Path,
) -> Result<()> {
    let shaping = place.shaping;
    for round in 0..runs {
        let mut cases = Case::ALL;
        cases.rotate_left(round % Case::ALL.len());
        for case in cases {
            if figures.has(shaping, case, round) {
                continue;
            }
            let mut run = place.load(lighthouse, case, round).await;
            if run.as_ref().is_err_and(is_mishap) {
                run = place.load(lighthouse, case, round).await;
            }
            let run = run.with_context(|| format!("{}, {}", shaping.name(), case.name()))?;
            let told = FIGURES
                .iter()
                .map(|figure| figure.unit.show((figure.of)(&run)));
            let told: Vec<_> = told.collect();
            println!(
                "{}, round {}, {:<26}{}",
                shaping.name(),
                round + 1,
                case.name(),
                told.join("  ")
            );
            figures.runs.push(run);
            figures.write(file)?;
        }
    }
    Ok(())
}
