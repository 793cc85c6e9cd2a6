//! How soon after a click the next page has a peer again, and what the time goes into: on one
//! machine, so that what is measured is our own doing and not the line.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::Site,
};
use serde_json::{Map, json};

use crate::median;

const RUNS: usize = 30;
/// As the page marks them, each from the start of the navigation; between `joined` and `open` what
/// the first connection itself says.
const STEPS: [&str; 11] = [
    "response", "loader", "script", "turn", "wasm", "host", "joined", "dial", "ice", "dtls", "open",
];

/// Runs before the page: when the first connection is made, has a way to the peer, and is encrypted.
const WATCH: &str = "
  const mark = (step) => {
    const name = `fugitive:${step}`;
    if (!performance.getEntriesByName(name).length) performance.mark(name);
  };
  self.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...configuration) {
      super(...configuration);
      mark('dial');
      const reached = { ice: ['iceConnectionState', 'connected'], dtls: ['connectionState', 'connected'] };
      for (const [step, [state, value]] of Object.entries(reached)) {
        this.addEventListener(`${state.toLowerCase()}change`, () => this[state] === value && mark(step));
      }
    }
  };";

/// Runs it and prints its figures.
pub async fn navigation() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/empty.html")).await?;
    other.until_controlled().await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.before_scripts(WATCH).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;

    let mut steps = vec![Vec::new(); STEPS.len()];
    for run in 0..RUNS {
        let page = ["/again.html", "/empty.html"][run % 2];
        visitor
            .eval::<()>(&format!("void (location.href = '{page}')"))
            .await?;
        visitor
            .until(&format!(
                "location.pathname === '{page}' && \
                 performance.getEntriesByName('fugitive:open').length"
            ))
            .await?;
        let times: Vec<f64> = visitor
            .eval(&format!(
                "{}.map((step) => {{
                   const [page] = performance.getEntriesByType('navigation');
                   if (step === 'response') return page.responseStart;
                   if (step === 'loader') return performance.getEntriesByType('resource')
                     .find(({{ name }}) => name.endsWith('/fugitive.js')).responseEnd;
                   return performance.getEntriesByName(`fugitive:${{step}}`)[0]?.startTime ?? 0;
                 }})",
                json!(STEPS)
            ))
            .await?;
        println!("{page} {times:.0?}");
        for (step, time) in steps.iter_mut().zip(times) {
            step.push(time);
        }
    }
    visitor.quit().await?;
    other.quit().await?;
    let mut figures = Map::new();
    figures.insert("bench".into(), json!("return"));
    figures.insert("navigations".into(), json!(RUNS));
    for (name, times) in STEPS.iter().zip(&mut steps) {
        figures.insert(format!("{name}_ms"), json!(median(times)?));
    }
    println!("{}", json!(figures));
    Ok(())
}
