//! What reaches deeper into Firefox than a page can: scripts before all others by WebDriver BiDi, the
//! rest by scripts that run as the browser's own do.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use futures_util::{FutureExt, StreamExt};
use http::Method;
use serde_json::{Value, json};
use thirtyfour::{
    RequestData, SessionId, WebDriver,
    bidi::{EventStream, events::LogEntryAdded, modules::script::AddPreloadScript},
    common::command::FormatRequestData,
};

pub(crate) const STOP_WORKERS: &str = r"
  const manager = Cc['@mozilla.org/serviceworkers/manager;1'].getService(Ci.nsIServiceWorkerManager);
  const all = manager.getAllRegistrations();
  for (let at = 0; at < all.length; at++) {
    const { activeWorker } = all.queryElementAt(at, Ci.nsIServiceWorkerRegistrationInfo);
    await activeWorker?.terminateWorker();
  }";
pub(crate) const CLEAR_CACHE: &str = "Services.cache2.clear()";

/// What the consoles of its pages say.
pub(crate) type Console = Mutex<EventStream<LogEntryAdded>>;

/// Listens to them from now on.
pub(crate) async fn console(driver: &WebDriver) -> Result<Console> {
    Ok(Mutex::new(driver.bidi().await?.subscribe().await?))
}

/// What they said since the last call.
pub(crate) fn said(console: &Console) -> Vec<String> {
    let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
    let mut said = Vec::new();
    while let Some(Some(entry)) = console.next().now_or_never() {
        said.push(format!(
            "{:?} {}",
            entry.level,
            entry.text.unwrap_or_default()
        ));
    }
    said
}

/// Whose scripts run from now on: `content` or `chrome`.
#[derive(Debug)]
struct Context(&'static str);

impl FormatRequestData for Context {
    fn format_request(&self, session: &SessionId) -> RequestData {
        let path = format!("/session/{session}/moz/context");
        RequestData::new(Method::POST, path).add_body(json!({ "context": self.0 }))
    }
}

/// Runs a script before any of the page's, on every page of this tab from now on.
pub(crate) async fn before_scripts(driver: &WebDriver, source: &str) -> Result<()> {
    let tab = driver.window().await?.to_string();
    let script = AddPreloadScript {
        function_declaration: format!("() => {{ {source} }}"),
        arguments: Vec::new(),
        sandbox: None,
        contexts: vec![tab.into()],
    };
    driver.bidi().await?.send(script).await?;
    Ok(())
}

/// Runs a script as the browser's own, to its end.
pub(crate) async fn as_browser(driver: &WebDriver, script: &str) -> Result<()> {
    let script = format!(
        "const done = arguments[arguments.length - 1];
         (async () => {{ {script} }})().then(() => done(''), (error) => done(String(error)));"
    );
    driver.handle().cmd(Context("chrome")).await?;
    let answer = driver.execute_async(script, Vec::new()).await;
    driver.handle().cmd(Context("content")).await?;
    match answer?.convert::<Value>()?.as_str() {
        Some("") => Ok(()),
        problem => bail!("the browser says {problem:?}"),
    }
}
