//! Visitors: headless browser sessions, each with a profile of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::WebDriver;

use crate::{
    driver::Process,
    firefox::{self, Console},
    processes,
};
pub use crate::{
    driver::{Driver, Engine},
    records,
};

/// How long anything in a page may take before a test gives up. Generous: the machine may be busy,
/// and no test asserts a time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs before any script of a page, or after it has loaded: keeps every `served` event, in order.
const RECORD: &str = r"
(() => {
  self.__served = [];
  const listen = () => {
    if (!self.fugitive) return;
    clearInterval(timer);
    self.__served.push(...fugitive.served.values());
    fugitive.addEventListener('served', ({ detail }) => self.__served.push(detail));
  };
  const timer = setInterval(listen, 1);
  listen();
})()
";

/// Scrolls so that lazy images load, plays each video to its end, and waits for all of it.
const SEE_ALL: &str = r"(async (pace) => {
  const rest = (ms) => new Promise((done) => setTimeout(done, ms));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
    scrollTo(0, y);
    await rest(30);
  }
  for (const image of document.images) {
    // Lazy ones wait for the viewport, not for the walk.
    if (!image.complete) image.scrollIntoView();
    for (let n = 0; !image.complete && n < 400; n++) await rest(50);
    await image.decode().catch(() => {});
  }
  for (const video of document.querySelectorAll('video')) {
    video.scrollIntoView();
    video.muted = true;
    video.playbackRate = pace;
    const ended = new Promise((done) => {
      video.onended = () => done('');
      video.onerror = () => done(video.error?.message || 'error');
    });
    await video.play();
    const problem = await ended;
    if (problem) throw new Error(video.currentSrc + ': ' + problem);
  }
  scrollTo(0, 0);
  })";

/// How long what [`Visitor::at_length`] waits for may take.
const AT_LENGTH: Duration = Duration::from_secs(120);

/// What a page is told of each answer that it got.
#[derive(Debug, Deserialize)]
pub struct Served {
    /// Of what.
    pub url: String,
    /// `memory`, `store`, `tier-1`, `tier-2` or `network`.
    pub source: String,
    /// How many bytes.
    pub bytes: u64,
    /// From the request to the last byte, in milliseconds.
    pub ms: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Job<T> {
    Value(T),
    Error(String),
}

/// One visitor.
pub struct Visitor {
    pub(crate) driver: WebDriver,
    pub(crate) engine: Engine,
    pub(crate) profile: TempDir,
    /// Firefox's; a driver of Chromium's keeps what was said.
    pub(crate) console: Option<Console>,
    /// After the session.
    _own: Option<Process>,
}

impl Visitor {
    /// A visitor who has never been here.
    pub async fn new(driver: &Driver) -> Result<Self> {
        Self::with_args(driver, &[]).await
    }

    /// A visitor whose browser gets more arguments.
    pub async fn with_args(driver: &Driver, args: &[&str]) -> Result<Self> {
        Self::in_profile(driver, TempDir::new()?, args).await
    }

    /// A visitor who has been here before, with this profile.
    pub async fn in_profile(driver: &Driver, profile: TempDir, args: &[&str]) -> Result<Self> {
        // A browser that was killed leaves it behind, and the next one's port would be read from it.
        let _ = std::fs::remove_file(profile.path().join("DevToolsActivePort"));
        let (url, own) = driver.session()?;
        let capabilities = driver.capabilities(profile.path(), args)?;
        let engine = driver.engine;
        let driver = WebDriver::new(&url, capabilities).await?;
        driver.set_script_timeout(PATIENCE).await?;
        let console = match engine {
            Engine::Firefox => Some(firefox::console(&driver).await?),
            Engine::Chromium | Engine::WebKit => None,
        };
        let visitor = Self {
            driver,
            engine,
            profile,
            console,
            _own: own,
        };
        if engine != Engine::WebKit {
            visitor.before_scripts(RECORD).await?;
        }
        Ok(visitor)
    }

    /// Goes to a page, in this tab.
    pub async fn goto(&self, url: &str) -> Result<()> {
        self.driver.goto(url).await?;
        if self.engine == Engine::WebKit {
            self.eval::<()>(RECORD).await?;
        }
        Ok(())
    }

    /// The value of an expression, awaited, in the page.
    pub async fn eval<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => (await ({expression})))().then(
               (value) => done({{ value }}),
               (error) => done({{ error: String(error?.stack ?? error) }}));"
        );
        let answer = self.driver.execute_async(script, Vec::new()).await?;
        let mut answer: Value = answer.convert()?;
        if let Some(error) = answer.get("error") {
            bail!("{expression}: {error}");
        }
        let value = answer.get_mut("value").map(Value::take);
        Ok(serde_json::from_value(value.unwrap_or_default())?)
    }

    /// As [`Visitor::eval`], for what may take longer than a script may hold the driver.
    pub async fn at_length<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let start = format!(
            "(() => {{
               self.__job = null;
               ({expression}).then((value) => (self.__job = {{ value: value ?? null }}),
                 (error) => (self.__job = {{ error: String(error?.stack ?? error) }}));
             }})()"
        );
        self.eval::<()>(&start).await?;
        let began = Instant::now();
        loop {
            match self.eval("self.__job").await? {
                Some(Job::Value(value)) => return Ok(value),
                Some(Job::Error(error)) => bail!("{error}"),
                None => ensure!(began.elapsed() < AT_LENGTH, "not done after {AT_LENGTH:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Looks at all of the page: scrolls, so that lazy images load, and plays each video to its end, so
    /// many times as fast as it is.
    pub async fn see_all(&self, pace: f64) -> Result<()> {
        self.at_length(&format!("({SEE_ALL})({pace})")).await
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, expression: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            if self
                .eval(&format!("!!(await ({expression}))"))
                .await
                .unwrap_or(false)
            {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let log = self.log().await.unwrap_or_default();
                bail!("never true: {expression}\nconsole:\n{}", log.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the worker is in control and the bridge has this many peers.
    pub async fn until_peers(&self, count: u32) -> Result<()> {
        self.until("navigator.serviceWorker.controller").await?;
        self.until(&format!("(await fugitive.stats()).peers >= {count}"))
            .await
    }

    /// Waits until the store holds this many contents whole, as peers may have them.
    pub async fn until_held(&self, count: usize) -> Result<()> {
        let contents = records::all("contents");
        self.until(&format!(
            "(await {contents}).filter(({{ len, groups, shared }}) => shared && groups.length === 1 &&
               groups[0][0] === 0 && groups[0][1] === Math.max(1, Math.ceil(len / 16384))
             ).length >= {count}"
        ))
        .await
    }

    /// Reads a resource until the store has all of it: what its writer can't keep up with is not
    /// kept.
    pub async fn fill(&self, path: &str, len: u64) -> Result<()> {
        let read = format!("fugitive.fetch({})", json!(path));
        for _ in 0..20 {
            self.body_hash(&read).await?;
            if self.runs(len).await? == [(0, len.div_ceil(16_384))] {
                return Ok(());
            }
        }
        bail!("{path} is never whole: {:?}", self.runs(len).await?)
    }

    /// Waits until the manifest has this path: a file that has just been written is not listed at
    /// once.
    pub async fn until_listed(&self, path: &str) -> Result<()> {
        self.until(&format!(
            "fugitive.fetch({}, {{ headers: {{ range: 'bytes=0-0' }} }})
               .then((response) => response.headers.has('x-fugitive'))",
            json!(path)
        ))
        .await
    }

    /// The runs of groups that the store holds of the content of this length.
    pub async fn runs(&self, len: u64) -> Result<Vec<(u64, u64)>> {
        self.eval(&Self::held(len)).await
    }

    /// The same as an expression, a promise.
    pub fn held(len: u64) -> String {
        let contents = records::all("contents");
        format!(
            "{contents}.then((contents) =>
               contents.find((content) => Number(content.len) === {len})?.groups ?? [])"
        )
    }

    /// Waits until the worker is in control of this page.
    pub async fn until_controlled(&self) -> Result<()> {
        self.until("navigator.serviceWorker.controller").await
    }

    /// Waits until every image of the page has loaded, and says how many there are.
    pub async fn until_images(&self) -> Result<u32> {
        self.until(
            "document.readyState === 'complete' && \
             [...document.images].every((image) => image.complete && image.naturalWidth > 0)",
        )
        .await?;
        self.eval("document.images.length").await
    }

    /// All `served` events of this page so far.
    pub async fn all_served(&self) -> Result<Vec<Served>> {
        self.settled().await?;
        self.eval("__served").await
    }

    /// `served` events of this page whose URL ends with this: source and bytes.
    pub async fn served(&self, ending: &str) -> Result<Vec<(String, u64)>> {
        self.settled().await?;
        let ending = json!(ending);
        self.eval(&format!(
            "__served.filter(({{ url }}) => url.endsWith({ending}))
                     .map(({{ source, bytes }}) => [source, bytes])"
        ))
        .await
    }

    /// What the worker has not yet told of its answers it does before it tells its figures.
    async fn settled(&self) -> Result<()> {
        self.eval::<Value>("self.fugitive?.stats()").await?;
        Ok(())
    }

    /// The same, when there are as many as this: an answer is told of a moment after its last byte.
    pub async fn until_served(&self, ending: &str, count: usize) -> Result<Vec<(String, u64)>> {
        let quoted = json!(ending);
        self.until(&format!(
            "__served.filter(({{ url }}) => url.endsWith({quoted})).length >= {count}"
        ))
        .await?;
        self.served(ending).await
    }

    /// SHA-256 of the pixels of what matches a selector, as it is rendered.
    pub async fn pixels(&self, selector: &str) -> Result<String> {
        let selector = json!(selector);
        self.eval(&format!(
            "(() => {{
               const shown = document.querySelector({selector});
               const canvas = document.createElement('canvas');
               canvas.width = shown.naturalWidth || shown.videoWidth;
               canvas.height = shown.naturalHeight || shown.videoHeight;
               const context = canvas.getContext('2d', {{ willReadFrequently: true }});
               context.drawImage(shown, 0, 0);
               const {{ data }} = context.getImageData(0, 0, canvas.width, canvas.height);
               return crypto.subtle.digest('SHA-256', data);
             }})().then((hash) => [...new Uint8Array(hash)]
               .map((byte) => byte.toString(16).padStart(2, '0')).join(''))"
        ))
        .await
    }

    /// Seeks a video to the same time here and there, and waits until both show the same frame: one
    /// may be painted a moment after the seek is done.
    pub async fn until_same_frame(&self, other: &Self, video: &str, seconds: f64) -> Result<()> {
        let seek = format!(
            "new Promise((done) => {{
               const video = document.querySelector({});
               video.onseeked = () => done(true);
               video.currentTime = {seconds};
             }})",
            json!(video)
        );
        self.until(&seek).await?;
        other.until(&seek).await?;
        let began = Instant::now();
        while self.pixels(video).await? != other.pixels(video).await? {
            if began.elapsed() > PATIENCE {
                bail!("never the same frame at {seconds}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// SHA-256 of what an expression that gives a `Response` brings.
    pub async fn body_hash(&self, response: &str) -> Result<String> {
        self.eval(&format!(
            "({response}).then((response) => response.arrayBuffer())
               .then((bytes) => crypto.subtle.digest('SHA-256', bytes))
               .then((hash) => [...new Uint8Array(hash)]
                 .map((byte) => byte.toString(16).padStart(2, '0')).join(''))"
        ))
        .await
    }

    /// A new tab in front, in the same profile; the handle of the one before.
    pub async fn new_tab(&self) -> Result<thirtyfour::WindowHandle> {
        let before = self.driver.window().await?;
        let tab = self.driver.new_tab().await?;
        self.driver.switch_to_window(tab).await?;
        self.before_scripts(RECORD).await?;
        Ok(before)
    }

    /// A new window beside the others, as visible as they are, and its handle.
    pub async fn new_window(&self) -> Result<thirtyfour::WindowHandle> {
        let window = self.driver.new_window().await?;
        self.driver.switch_to_window(window.clone()).await?;
        self.before_scripts(RECORD).await?;
        Ok(window)
    }

    /// The handle of the tab in front.
    pub async fn window(&self) -> Result<thirtyfour::WindowHandle> {
        Ok(self.driver.window().await?)
    }

    /// Brings a tab to the front.
    pub async fn to_tab(&self, to: thirtyfour::WindowHandle) -> Result<()> {
        Ok(self.driver.switch_to_window(to).await?)
    }

    /// Closes the tab in front and goes to another one.
    pub async fn close_tab(&self, to: thirtyfour::WindowHandle) -> Result<()> {
        self.driver.close_window().await?;
        Ok(self.driver.switch_to_window(to).await?)
    }

    /// What the browser's processes take that they share with no other, in bytes.
    pub fn memory(&self) -> Result<u64> {
        processes::memory(self.profile.path())
    }

    /// For how long the browser's processes that are alive have used a core, all of them together.
    pub fn cpu(&self) -> Result<Duration> {
        processes::cpu(self.profile.path())
    }

    /// A picture of the page, PNG.
    pub async fn screenshot(&self, to: &std::path::Path) -> Result<()> {
        Ok(self.driver.screenshot(to).await?)
    }

    /// The browser ends as by a crash, whatever it is doing; what is left is its profile.
    pub fn kill(self) -> Result<TempDir> {
        processes::kill(self.profile.path())?;
        self.driver.leak()?;
        Ok(self.profile)
    }

    /// Leaves for good.
    pub async fn quit(self) -> Result<()> {
        Ok(self.driver.quit().await?)
    }
}
