//! WebDriver programs, and the browsers that they start.

use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use thirtyfour::{Capabilities, CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities};

use crate::browser::PATIENCE;

/// What Chromium needs to run as root, without a display, without looking for the outside world.
const CHROMIUM: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    // Two visitors are two windows, and only one of them can be in front.
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
];
const MINI_BROWSER: &str = "webkit2gtk-4.1/MiniBrowser";

/// Whose browser.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// Debian's Chromium.
    Chromium,
    /// Debian's Firefox.
    Firefox,
    /// WebKitGTK's `MiniBrowser`.
    WebKit,
}

/// Starts visitors: a chromedriver for all of them, other drivers for one each.
pub struct Driver {
    pub(crate) engine: Engine,
    shared: Option<Process>,
}

impl Driver {
    /// For Chromium, or what `FUGITIVE_BROWSER=firefox` says.
    pub fn start() -> Result<Self> {
        let is_firefox = std::env::var("FUGITIVE_BROWSER").is_ok_and(|name| name == "firefox");
        Self::of(if is_firefox {
            Engine::Firefox
        } else {
            Engine::Chromium
        })
    }

    /// For what can be done only to Chromium, or be seen only by its tools.
    pub fn chromium() -> Result<Self> {
        Self::of(Engine::Chromium)
    }

    /// For any.
    pub fn of(engine: Engine) -> Result<Self> {
        let shared = match engine {
            Engine::Chromium => Some(Process::chromedriver()?),
            Engine::Firefox | Engine::WebKit => None,
        };
        Ok(Self { engine, shared })
    }

    /// Where a session begins, and what must not end before that does.
    pub(crate) fn session(&self) -> Result<(String, Option<Process>)> {
        let own = match (&self.shared, self.engine) {
            (Some(shared), _) => return Ok((shared.url.clone(), None)),
            (None, Engine::WebKit) => Process::webkit()?,
            (None, _) => Process::geckodriver()?,
        };
        Ok((own.url.clone(), Some(own)))
    }

    /// What a session asks for.
    pub(crate) fn capabilities(&self, profile: &Path, args: &[&str]) -> Result<Capabilities> {
        if self.engine != Engine::Chromium {
            ensure!(args.is_empty(), "arguments of Chromium's: {args:?}");
        }
        Ok(match self.engine {
            Engine::Chromium => {
                let mut asked = DesiredCapabilities::chrome();
                let data_dir = format!("--user-data-dir={}", profile.display());
                for arg in CHROMIUM.iter().chain(args).chain([&data_dir.as_str()]) {
                    asked.add_arg(arg)?;
                }
                asked.set("goog:loggingPrefs", json!({ "browser": "ALL" }))?;
                asked.into()
            }
            Engine::Firefox => {
                let mut asked = DesiredCapabilities::firefox();
                let options = json!({
                    "binary": program(&["/usr/bin/firefox-esr", "/usr/bin/firefox"]),
                    "args": ["-headless"],
                    "prefs": {
                        // Between two browsers of one machine.
                        "media.peerconnection.ice.loopback": true,
                        "media.autoplay.default": 0,
                        "datareporting.policy.dataSubmissionEnabled": false,
                        "network.captive-portal-service.enabled": false,
                        "network.connectivity-service.enabled": false,
                    },
                });
                asked.set("moz:firefoxOptions", options)?;
                asked.enable_bidi()?;
                asked.into()
            }
            Engine::WebKit => {
                let folders = [
                    "/usr/lib/x86_64-linux-gnu",
                    "/usr/lib/aarch64-linux-gnu",
                    "/usr/libexec",
                ];
                let programs = folders.map(|folder| [folder, "/", MINI_BROWSER].concat());
                let programs: Vec<_> = programs.iter().map(String::as_str).collect();
                let mut asked = Capabilities::new();
                asked.set("browserName", "MiniBrowser")?;
                let options = json!({ "binary": program(&programs), "args": ["--automation"] });
                asked.set("webkitgtk:browserOptions", options)?;
                asked
            }
        })
    }
}

/// A driver that runs; ends with this value.
pub(crate) struct Process {
    process: Child,
    url: String,
    _display: Option<Display>,
}

impl Process {
    fn chromedriver() -> Result<Self> {
        let program = program(&[
            "/usr/bin/chromedriver",
            "/usr/local/bin/chromedriver",
            "chromedriver",
        ]);
        let mut command = Command::new(program);
        command.args(["--port=0", "--log-level=WARNING"]);
        Self::that_says("successfully on port ", command)
    }

    fn geckodriver() -> Result<Self> {
        let own = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/tools/bin/geckodriver"
        );
        let mut command = Command::new(program(&[own, "/usr/bin/geckodriver", "geckodriver"]));
        command.args(["--port=0", "--websocket-port=0", "--log=info"]);
        command.arg("--allow-system-access");
        Self::that_says("Listening on 127.0.0.1:", command)
    }

    fn webkit() -> Result<Self> {
        let display = Display::start()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = program(&["/usr/bin/WebKitWebDriver", "WebKitWebDriver"]);
        let process = Command::new(program)
            .arg(format!("--port={port}"))
            .env("DISPLAY", &display.name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("WebKitWebDriver does not start")?;
        let driver = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            _display: Some(display),
        };
        until_listens(port, String::new)?;
        Ok(driver)
    }

    /// One that says on which port it listens, after these words.
    fn that_says(words: &'static str, mut command: Command) -> Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        let output = process.stdout.take().context("no output")?;
        let (said, port) = mpsc::channel();
        // Read to its end, because its pipe must not fill up.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once(words)
                    && let Ok(port) = rest.trim_end_matches('.').parse::<u16>()
                {
                    let _ = said.send(port);
                }
            }
        });
        let mut driver = Self {
            process,
            url: String::new(),
            _display: None,
        };
        let port = port.recv_timeout(PATIENCE);
        let port = port.with_context(|| format!("{command:?} does not say its port"))?;
        driver.url = format!("http://127.0.0.1:{port}");
        Ok(driver)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A screen that nobody sees, for a browser that needs one.
struct Display {
    process: Child,
    name: String,
}

impl Display {
    fn start() -> Result<Self> {
        let mut process = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-nolisten",
                "tcp",
                "-screen",
                "0",
                "1280x900x24",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("Xvfb does not start")?;
        let output = process.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self {
            process,
            name: format!(":{}", line.trim()),
        })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a program listens on this port of ours; `log` is what it has to say if it never does.
pub fn until_listens(port: u16, log: impl Fn() -> String) -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(
            began.elapsed() < PATIENCE,
            "nobody listens on port {port}: {}",
            log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The first that is there, or the last.
fn program<'a>(names: &[&'a str]) -> &'a str {
    let there = names.iter().find(|name| Path::new(name).exists());
    there.or(names.last()).copied().unwrap_or_default()
}
