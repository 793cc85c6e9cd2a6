//! `tests/run load` itself, against a server of ours: what its last line says is what the server counted.

#![allow(clippy::unwrap_used, reason = "what fails here is a test")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fugitive_server::{Config, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

/// A server on threads of its own, as long as this lives.
struct Running {
    address: SocketAddr,
    admin: SocketAddr,
    _site: TempDir,
    _runtime: Runtime,
}

impl Running {
    fn start() -> Self {
        let site = tempfile::tempdir().unwrap();
        fs::write(site.path().join("index.html"), "<p>hello").unwrap();
        let config = Config {
            site: site.path().into(),
            ..Config::default()
        };
        let runtime = Runtime::new().unwrap();
        let (address, admin) = runtime.block_on(async {
            let sockets = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let metrics = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let found = (sockets.local_addr().unwrap(), metrics.local_addr().unwrap());
            let server = Server::open(config).unwrap();
            server.admin(metrics);
            tokio::spawn(server.run(sockets, std::future::pending()));
            found
        });
        Self {
            address,
            admin,
            _site: site,
            _runtime: runtime,
        }
    }

    /// What `/metrics` says, by name.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.strip_prefix("fugitive_")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        pairs.collect()
    }

    /// `./tests/run load` with these arguments more. Cargo has built the generator already, with this
    /// test: in its place is a program that does nothing.
    fn load(&self, arguments: &[&str]) -> Child {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let root = root.unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_fugitive-load"));
        assert_eq!(built, root.join("target/debug/fugitive-load"));
        let programs = self._site.path().join("programs");
        fs::create_dir_all(&programs).unwrap();
        let cargo = programs.join("cargo");
        fs::write(&cargo, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let path = env::var("PATH").unwrap();
        Command::new(root.join("tests/run"))
            .args(["load", "--server", &format!("http://{}", self.address)])
            .args(arguments)
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// The last line that it prints, once it has ended well.
fn report(load: Child) -> Value {
    let output = load.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
}

/// A count that is given as a rate.
fn count(report: &Value, rate: &str) -> f64 {
    let seconds = report["seconds"].as_f64().unwrap();
    (report[rate].as_f64().unwrap() * seconds).round()
}

#[test]
fn report_says_what_the_server_counted() {
    let server = Running::start();
    let arguments = ["--peers", "40", "--rate", "200", "--seconds", "3"];
    let mut load = server.load(&[&arguments[..], &["--navigations", "0", "--hold"]].concat());
    let mut out = BufReader::new(load.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let metrics = server.metrics();
    for (name, there) in [
        ("peers", 40.0),
        ("connections", 40.0),
        ("joins_total", 40.0),
    ] {
        assert_eq!(metrics[name], there, "{name}");
    }
    assert_eq!(metrics["signals_relayed_total"], 0.0);
    load.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    assert!(load.wait().unwrap().success());
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();

    let metrics = server.metrics();
    let relayed = count(&report, "relayed_per_second");
    assert_eq!(relayed, metrics["signals_relayed_total"]);
    assert_eq!(relayed, count(&report, "sent_per_second"));
    assert_eq!(report["relay_ms"]["count"].as_f64(), Some(relayed));
    assert_eq!(report["unanswered"], 0);
    // As many calls as there should be, and each has an answer.
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds >= 3.0 && relayed >= 2.0 * 250.0, "{report}");
    assert!(relayed <= 200.0 * seconds + 2.0, "{report}");
    for name in ["joined", "connected_at_the_end"] {
        assert_eq!(report[name], 40, "{name}");
    }
    assert_eq!(report["join_to_first_offer_ms"]["count"], 40);
    assert_eq!(
        (&report["resumed"], metrics["joins_total"]),
        (&0.into(), 40.0)
    );
    assert_eq!(report["errors"], serde_json::json!({}));
    let [p50, p99, max] = ["p50", "p99", "max"].map(|of| report["relay_ms"][of].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{report}");
    for _ in 0..100 {
        if server.metrics()["peers"] == 0.0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("they left, and the server counts {:?}", server.metrics());
}

#[test]
fn navigations_are_joins_of_the_server_and_none_is_an_error() {
    let server = Running::start();
    let report = report(server.load(&[
        "--peers",
        "30",
        "--rate",
        "100",
        "--seconds",
        "3",
        "--navigations",
        "10",
    ]));
    let metrics = server.metrics();
    let resumed = report["resumed"].as_f64().unwrap();
    assert!((20.0..=31.0).contains(&resumed), "{report}");
    assert_eq!(metrics["joins_total"], 30.0 + resumed);
    assert_eq!(
        report["resume_to_first_offer_ms"]["count"].as_f64(),
        Some(resumed)
    );
    // What was handed on to one that was just leaving has arrived nowhere.
    let [sent, relayed] = ["sent_per_second", "relayed_per_second"].map(|of| count(&report, of));
    let handed_on = metrics["signals_relayed_total"];
    assert!(
        relayed <= handed_on && handed_on <= sent,
        "{report} {handed_on}"
    );
    assert_eq!(report["unanswered"].as_f64(), Some(sent - relayed));
    let refused = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("joins_refused"));
    assert_eq!(refused.count(), 0);
}

#[test]
fn rate_that_is_none_is_said_and_there_is_no_report() {
    let server = Running::start();
    let load = server.load(&["--peers", "2", "--rate", "much"]);
    let output = load.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--rate"), "{said}");
    assert_eq!(server.metrics()["joins_total"], 0.0);
}
