//! The binary: what it prints, what it writes, how it ends.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fugitive_core::{
    content::ContentId,
    manifest::{Entry, Manifest},
};

use crate::running::{bytes, put};

fn fugitive() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fugitive"))
}

fn read(path: &Path) -> Manifest {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn serve_says_when_it_is_ready_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "index.html", b"top");
    let mut server = fugitive()
        .args(["serve", "--listen", "127.0.0.1:0", "--site"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.strip_prefix("ready ").unwrap().trim();
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix('/')
        .unwrap();
    // A client that stays connected does not hold up the end.
    let _idle = std::net::TcpStream::connect(address).unwrap();
    let told = Instant::now();
    let id = server.id().to_string();
    Command::new("kill").arg(id).status().unwrap();
    let status = server.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < Duration::from_secs(5));
}

#[test]
fn serve_without_a_site_says_so_in_one_line() {
    let output = fugitive()
        .args(["serve", "--listen", "127.0.0.1:0", "--site", "/nowhere"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/nowhere"), "{said}");
}

#[test]
fn manifest_is_written_for_another_server_and_what_is_stale_goes() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path();
    let video = bytes(2_500_000);
    put(site, "v.mp4", &video);
    put(site, "private/a.png", b"x");
    for i in 0..600 {
        put(site, &format!("g/{i}.png"), format!("{i}").as_bytes());
    }
    let run = |extra: &[&str]| {
        let output = fugitive()
            .arg("manifest")
            .arg(site)
            .env("XDG_CACHE_HOME", site.join(".cache"))
            .args(extra)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["--exclude", "private"]);
    let out = site.join("fugitive");
    let index = read(&out.join("manifest.json"));
    assert!(index.entries.is_empty() && index.shards.len() > 1);
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for shard in &index.shards {
        let bytes = fs::read(out.join(format!("shard/{}.json", shard.id))).unwrap();
        assert_eq!(ContentId::of(&bytes), shard.id);
        let more: BTreeMap<String, Entry> = serde_json::from_slice(&bytes).unwrap();
        entries.extend(more);
    }
    assert_eq!(entries.len(), 601);
    let variant = &entries["/v.mp4"][0];
    assert_eq!(variant.id, ContentId::of(&video));
    assert!(variant.bao && variant.etag.is_none() && variant.cache.is_none());
    let outboard = out.join("bao").join(variant.id.to_hex());
    let mode = fs::metadata(&outboard).unwrap().permissions().mode();
    assert_eq!(mode & 0o044, 0o044, "a web server can read it");

    fs::write(out.join("shard/mine.json"), "mine").unwrap();
    fs::remove_dir_all(site.join("g")).unwrap();
    fs::remove_file(site.join("v.mp4")).unwrap();
    run(&[]);
    let index = read(&out.join("manifest.json"));
    assert_eq!(index.entries.keys().collect::<Vec<_>>(), ["/private/a.png"]);
    assert!(!outboard.exists());
    let left: Vec<_> = fs::read_dir(out.join("shard")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the file that is not ours");
}

/// Where a server that was just started says it listens.
fn ready(server: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().trim_start_matches("ready http://");
    address.trim_end_matches('/').to_owned()
}

#[test]
fn access_log_and_options_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let site = folder.path().join("site");
    put(&site, "a.png", b"x");
    let mut server = fugitive()
        .args(["serve", "--listen", "127.0.0.1:0", "--exclude", "*.gif"])
        .args(["--ice", "stun:127.0.0.1:3478", "--site"])
        .arg(&site)
        .arg("--access-log")
        .arg(&log)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address = ready(&mut server);
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let request = "GET /a.png HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let id = server.id().to_string();
    Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(server.wait().unwrap().success());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("\"GET /a.png HTTP/1.1\" 200 1\n"), "{log}");
}

#[test]
fn client_files_are_a_package_that_npm_takes_and_node_can_import() {
    let out = tempfile::tempdir().unwrap();
    let site = tempfile::tempdir().unwrap();
    let written = fugitive()
        .args(["client", "--npm", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(out.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let packed = run("npm", &["pack", "--dry-run", "--json", "--offline"]);
    let packed: serde_json::Value = serde_json::from_str(&packed).unwrap();
    assert_eq!(packed[0]["version"], env!("CARGO_PKG_VERSION"));
    let files = packed[0]["files"].as_array().unwrap();
    let has = |name: &str| files.iter().any(|file| file["path"] == name);
    for name in [
        "index.js",
        "index.d.ts",
        "client/fugitive.js",
        "client/fugitive-sw.js",
    ] {
        assert!(has(name), "the package lacks {name}");
    }
    // On a server there is no page to put it into.
    let import = "import('./index.js').then((m) => m.register()).then((f) => console.log(f))";
    assert_eq!(run("node", &["-e", import]).trim(), "undefined");
    let folder = site.path().to_str().unwrap();
    run("node", &["copy.js", folder]);
    assert!(site.path().join("fugitive.js").is_file());
}

#[test]
fn client_files_are_written_or_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let output = fugitive()
        .args(["client", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    if output.status.success() {
        for name in ["fugitive.js", "fugitive-sw.js", "fugitive.js.br"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("without client files"), "{said}");
    }
}

#[test]
fn hang_up_reads_the_configuration_again_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    put(&site, "a.png", b"x");
    let config = folder.path().join("fugitive.toml");
    let write = |more: &str| {
        let text = format!(
            "site = {:?}\nlisten = \"127.0.0.1:0\"\nlog-format = \"json\"\n{more}",
            site.display().to_string()
        );
        fs::write(&config, text).unwrap();
    };
    write("");
    let mut server = fugitive()
        .args(["serve", "--config"])
        .arg(&config)
        .env("FUGITIVE_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = ready(&mut server);
    let knock = || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request = "GET /fugitive/signal HTTP/1.1\r\nhost: x\r\norigin: https://b\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        String::from_utf8_lossy(&head[9..]).into_owned()
    };
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut hang_up = |expected: &str| {
        let id = server.id().to_string();
        Command::new("kill").args(["-HUP", &id]).status().unwrap();
        let line = log
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("configuration"));
        let line = line.unwrap();
        assert!(line.contains(expected), "{line}");
        serde_json::from_str::<serde_json::Value>(&line).expect("a line of JSON");
    };
    assert_eq!(knock(), "101");
    write("[access]\norigins = [\"https://a\"]\n");
    hang_up("read again");
    assert_eq!(knock(), "403");
    write("[access]\norigin = []\n");
    hang_up("stays as it was");
    assert_eq!(knock(), "403");
    server.kill().unwrap();
    server.wait().unwrap();
}
