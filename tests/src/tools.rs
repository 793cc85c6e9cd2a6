//! What reaches deeper than a page can: scripts before all others, the console, workers, tabs that are
//! not in front. The developer tools are Chromium's alone.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    browser::{Engine, Visitor},
    firefox,
};

impl Visitor {
    /// Runs a script before any of the page's, on every page of this tab from now on.
    pub async fn before_scripts(&self, source: &str) -> Result<()> {
        if self.engine == Engine::Firefox {
            return firefox::before_scripts(&self.driver, source).await;
        }
        let source = json!({ "source": source });
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source)
            .await?;
        Ok(())
    }

    /// A command of the Chrome DevTools Protocol.
    pub async fn cdp(&self, method: &str, parameters: Value) -> Result<Value> {
        Ok(self.driver.cdp().send_raw(method, parameters).await?)
    }

    /// A command to the tab with this handle, which need not be in front, nor alive after it. Through
    /// the browser's own door: what a driver can reach is the tab in front.
    pub async fn tell(&self, tab: &thirtyfour::WindowHandle, method: &str) -> Result<()> {
        self.tell_with(tab, method, json!({})).await
    }

    /// The same, with parameters.
    pub async fn tell_with(
        &self,
        tab: &thirtyfour::WindowHandle,
        method: &str,
        parameters: Value,
    ) -> Result<()> {
        let port = self.port()?;
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        // A WebSocket (RFC 6455) of one message.
        let upgrade = format!(
            "GET /devtools/page/{tab} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let message = json!({ "id": 1, "method": method, "params": parameters }).to_string();
        let len = u8::try_from(message.len()).ok().filter(|len| *len < 126);
        let len = len.context("a longer message has another head")?;
        // One final text frame; masked by zeros it stays as it is.
        let frame = [&[0x81, 0x80 | len, 0, 0, 0, 0], message.as_bytes()].concat();
        stream.write_all(&frame).await?;
        // Answered, or its page is no more.
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_u8()).await;
        Ok(())
    }

    /// Where the browser's own door for tools is.
    pub fn port(&self) -> Result<u16> {
        let file = self.profile.path().join("DevToolsActivePort");
        let port = std::fs::read_to_string(file)?;
        Ok(port.lines().next().context("no port")?.parse()?)
    }

    /// Stops the Service Worker as the browser does when it is idle.
    pub async fn stop_workers(&self) -> Result<()> {
        if self.engine == Engine::Firefox {
            return firefox::as_browser(&self.driver, firefox::STOP_WORKERS).await;
        }
        self.cdp("ServiceWorker.enable", json!({})).await?;
        self.cdp("ServiceWorker.stopAllWorkers", json!({})).await?;
        Ok(())
    }

    /// Empties the browser's own cache, which would stand in for the origin.
    pub async fn clear_cache(&self) -> Result<()> {
        if self.engine == Engine::Firefox {
            return firefox::as_browser(&self.driver, firefox::CLEAR_CACHE).await;
        }
        for method in ["enable", "clearBrowserCache", "disable"] {
            self.cdp(&format!("Network.{method}"), json!({})).await?;
        }
        Ok(())
    }

    /// What the page's console said since the last call.
    pub async fn log(&self) -> Result<Vec<String>> {
        if let Some(console) = &self.console {
            return Ok(firefox::said(console));
        }
        if self.engine == Engine::WebKit {
            return Ok(Vec::new());
        }
        let entries = self.driver.browser_log().await?;
        Ok(entries
            .into_iter()
            .map(|entry| format!("{:?} {}", entry.level, entry.message))
            .collect())
    }
}
