//! The systemd unit and the Dockerfile: neither is run by what it is for here, so all that they name
//! is.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fugitive_server::Config;

use crate::running::put;

const BINARY: &str = env!("CARGO_BIN_EXE_fugitive");

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The values of a key of the unit.
fn said<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines();
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.collect()
}

/// What systemd has to say to a unit; nothing if all is well.
fn verify(unit: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fugitive.service");
    fs::write(&path, unit).unwrap();
    let said = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .expect("systemd-analyze, of Debian's systemd");
    format!(
        "{}{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
        if said.status.success() { "" } else { "refused" }
    )
}

/// Says `ready`, and where.
fn ready(server: &mut Child) -> String {
    let mut line = String::new();
    let stdout = server.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.strip_prefix("ready ").map(|url| url.trim().to_owned());
    url.unwrap_or_else(|| panic!("it said {line:?}"))
}

#[test]
fn systemd_takes_the_unit_and_what_it_starts_reloads_and_ends_in_time() {
    let unit = file("fugitive.service");
    let here = unit.replace("/usr/local/bin/fugitive", BINARY);
    assert_ne!(here, unit);
    assert_eq!(verify(&here), "");
    // It would have said so.
    let misspelt = here.replace("PrivateTmp", "PrivateTemp");
    assert!(verify(&misspelt).contains("PrivateTemp"));
    assert_ne!(verify(&here.replace(BINARY, "/nowhere/fugitive")), "");

    // As it would be started, with a configuration as the unit's first lines want it.
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "site/index.html", b"top");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let config = folder.path().join("fugitive.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nsite = {:?}\ncache = {cache:?}\n",
        folder.path().join("site"),
    );
    fs::write(&config, text).unwrap();
    let [start] = said(&here, "ExecStart")[..] else {
        panic!("one command")
    };
    let config = config.to_str().unwrap();
    let start = start.replace("/etc/fugitive/fugitive.toml", config);
    assert!(start.contains(config));
    let mut words = start.split(' ');
    let mut server = Command::new(words.next().unwrap())
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ready(&mut server);
    assert!(fs::read_dir(&cache).unwrap().next().is_some());

    let [reload] = said(&unit, "ExecReload")[..] else {
        panic!("one command")
    };
    let id = server.id().to_string();
    let reload = reload.replace("$MAINPID", &id);
    let mut words = reload.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success());
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("configuration read again")));

    // Nobody is there who could be told to go elsewhere, so the end does not take the whole time.
    let [stop] = said(&unit, "TimeoutStopSec")[..] else {
        panic!("one time")
    };
    let stop = Duration::from_secs(stop.parse().unwrap());
    let told = Instant::now();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(server.wait().unwrap().success());
    assert!(told.elapsed() < stop);
    let drain = Config::default().drain_seconds;
    assert!(stop > Duration::from_secs((drain + 5).into()));
}

/// The instructions, each with what follows it.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let whole = dockerfile.replace("\\\n", " ");
    let lines = whole.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    pairs
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn container_copies_what_a_release_makes_and_starts_it_with_settings_that_exist() {
    let dockerfile = file("Dockerfile");
    let all = instructions(&dockerfile);
    let of = |name: &str| {
        let found = all.iter().filter(|(other, _)| other == name);
        found.map(|(_, rest)| rest.as_str()).collect::<Vec<_>>()
    };
    // What cargo calls the binary, and where the container has it.
    let name = Path::new(BINARY).file_name().unwrap().to_str().unwrap();
    let copied = format!("target/release/{name} /usr/local/bin/{name}");
    assert_eq!(of("COPY"), [copied]);
    let comments = dockerfile.replace("\n# ", " ");
    assert!(comments.contains("cargo build --release -p fugitive-server"));
    assert_eq!(env!("CARGO_PKG_NAME"), "fugitive-server");
    assert_eq!(of("STOPSIGNAL"), ["SIGTERM"]);

    // The ports that are told to the outside are those of the settings, and of the reference.
    let settings: BTreeMap<&str, &str> = of("ENV")
        .iter()
        .flat_map(|all| all.split(' '))
        .map(|one| one.split_once('=').unwrap())
        .collect();
    let port = |key: &str| settings[key].rsplit_once(':').unwrap().1;
    let exposed = format!(
        "{} {} 3478/udp",
        port("FUGITIVE_LISTEN"),
        port("FUGITIVE_ADMIN")
    );
    assert_eq!(of("EXPOSE"), [exposed]);

    // As it would be started: with nothing but these settings, on ports that are free here, and with
    // another site.
    let [entry] = of("ENTRYPOINT")[..] else {
        panic!("one command")
    };
    let entry: Vec<String> = serde_json::from_str(entry).unwrap();
    let [volume] = &serde_json::from_str::<Vec<String>>(of("VOLUME")[0]).unwrap()[..] else {
        panic!("one volume")
    };
    assert_eq!(entry[0], name);
    assert!(entry.contains(volume));
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "index.html", b"top");
    let site = folder.path().to_str().unwrap();
    let arguments = entry[1..].iter().map(|word| match word == volume {
        true => site,
        false => word,
    });
    let mut server = Command::new(BINARY)
        .args(arguments)
        .env_clear()
        .envs(settings.iter().map(|(key, value)| {
            let loopback = value.starts_with("0.0.0.0:");
            (*key, if loopback { "127.0.0.1:0" } else { value })
        }))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ready(&mut server);
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let line = log.find(|line| line.as_ref().unwrap().contains("metrics on"));
    let line: serde_json::Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO", "the log is JSON: {line}");
    let id = server.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(server.wait().unwrap().success());
}
