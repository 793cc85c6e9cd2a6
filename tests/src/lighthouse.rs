//! Lighthouse: what it says of a page that it opens in a browser of its own, or in a visitor's, whose
//! profile then stays as it is.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    browser::{Served, Visitor},
    npm,
};

/// Pinned: scores of two versions can't be compared.
pub const VERSION: &str = "lighthouse@13.5.0";

/// Opens a page in the tab of a browser that is there already; see there.
const IN_TAB: &str = include_str!("lighthouse.mjs");

/// Of one load of a page.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Load {
    /// Of performance, from 0 to 100.
    pub score: f64,
    /// First contentful paint, in milliseconds from the start of the navigation, as are the others.
    pub fcp: f64,
    /// Largest contentful paint.
    pub lcp: f64,
    /// Total blocking time: what tasks of the main thread took beyond 50 ms each.
    pub tbt: f64,
    /// How soon what is seen is there, on the whole.
    pub speed_index: f64,
    /// How far what is seen moves about; a share of the window, as summed up by Lighthouse.
    pub shift: f64,
    /// What the main thread did at all.
    pub main_thread: f64,
    /// The end of the load event; zero where a network is simulated.
    pub load: f64,
}

impl Load {
    /// Out of a report of Lighthouse's, JSON.
    pub fn parse(report: &Value) -> Result<Self> {
        if let Some(error) = report.pointer("/runtimeError/message") {
            anyhow::bail!("lighthouse: {error}");
        }
        let number = |pointer: &str| {
            report
                .pointer(pointer)
                .and_then(Value::as_f64)
                .with_context(|| format!("the report has no {pointer}"))
        };
        let metrics = "/audits/metrics/details/items/0";
        Ok(Self {
            score: number("/categories/performance/score")? * 100.0,
            fcp: number("/audits/first-contentful-paint/numericValue")?,
            lcp: number("/audits/largest-contentful-paint/numericValue")?,
            tbt: number("/audits/total-blocking-time/numericValue")?,
            speed_index: number("/audits/speed-index/numericValue")?,
            shift: number("/audits/cumulative-layout-shift/numericValue")?,
            main_thread: number("/audits/mainthread-work-breakdown/numericValue")?,
            load: number(&[metrics, "/observedLoad"].concat())?,
        })
    }
}

/// Whether Lighthouse itself says that nothing but another run is needed.
pub fn is_mishap(error: &anyhow::Error) -> bool {
    error.to_string().contains("Please run Lighthouse again")
}

/// What the page itself told at the end of a load.
#[derive(Debug, Deserialize)]
pub struct Told {
    /// Whether a worker was in control before the page's first script ran.
    pub controlled: bool,
    /// Largest contentful paint by the page's own clock, in milliseconds.
    pub lcp: f64,
    /// When the first connection to another visitor was open, in milliseconds.
    pub open: Option<f64>,
    /// What the worker answered, in order. At the end Lighthouse asks for images again, to measure them.
    pub served: Vec<Served>,
}

/// Lighthouse, installed.
pub struct Lighthouse {
    home: PathBuf,
}

impl Lighthouse {
    /// Installs it unless it is there.
    pub fn install() -> Result<Self> {
        Ok(Self {
            home: npm::install(VERSION)?,
        })
    }

    /// Opens a page in a browser that was nowhere before and gets more arguments, over a
    /// network that is simulated.
    pub fn anew(&self, url: &str, args: &str) -> Result<Load> {
        let done = Command::new("node")
            .arg(self.home.join("node_modules/lighthouse/cli/index.js"))
            .args([
                url,
                "--output=json",
                "--quiet",
                "--only-categories=performance",
            ])
            .arg(format!(
                "--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-quic \
                 --no-first-run --disable-background-networking --disable-component-update \
                 --disable-sync {args}",
            ))
            .env("CHROME_PATH", "/usr/bin/chromium")
            .output()
            .context("node does not start")?;
        Load::parse(&answer(&done)?)
    }

    /// Opens a page in the tab of a visitor, over the network as it is, with what the profile holds.
    pub async fn within(&self, visitor: &Visitor, url: &str) -> Result<(Load, Told)> {
        let asked = json!({ "port": visitor.port()?, "url": url });
        let done = tokio::process::Command::new("node")
            .args(["--input-type=module", "--eval", IN_TAB, "--"])
            .arg(asked.to_string())
            // Where it finds what it imports.
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("node does not start")?;
        let mut answer = answer(&done)?;
        let load = Load::parse(&answer["report"])?;
        Ok((load, serde_json::from_value(answer["told"].take())?))
    }
}

fn answer(done: &Output) -> Result<Value> {
    ensure!(
        done.status.success(),
        "lighthouse failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(serde_json::from_slice(&done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        let audit = |value: f64| json!({ "numericValue": value });
        json!({
            "categories": { "performance": { "score": 0.97 } },
            "audits": {
                "first-contentful-paint": audit(310.5),
                "largest-contentful-paint": audit(820.0),
                "total-blocking-time": audit(12.0),
                "speed-index": audit(500.0),
                "cumulative-layout-shift": audit(0.01),
                "mainthread-work-breakdown": audit(240.0),
                "metrics": { "details": { "items": [{ "observedLoad": 900 }, {}] } },
            },
        })
    }

    #[test]
    fn figures_are_read_from_a_report() {
        let load = Load::parse(&report()).unwrap();
        let expected = Load {
            score: 97.0,
            fcp: 310.5,
            lcp: 820.0,
            tbt: 12.0,
            speed_index: 500.0,
            shift: 0.01,
            main_thread: 240.0,
            load: 900.0,
        };
        assert_eq!(load, expected);
    }

    #[test]
    fn report_without_a_figure_is_refused_by_name() {
        let mut report = report();
        report["audits"]["largest-contentful-paint"] = json!({ "errorMessage": "NO_LCP" });
        let error = Load::parse(&report).unwrap_err().to_string();
        assert!(error.contains("largest-contentful-paint"), "{error}");
    }

    #[test]
    fn report_of_a_load_that_failed_is_refused_with_its_reason() {
        let mut report = report();
        report["runtimeError"] = json!({ "code": "NO_FCP", "message": "nothing was painted" });
        let error = Load::parse(&report).unwrap_err().to_string();
        assert!(error.contains("nothing was painted"), "{error}");
    }
}
