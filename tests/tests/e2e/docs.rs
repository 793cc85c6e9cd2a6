//! The documents: every command in them runs, and what they say in tables is so.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// Documents with commands.
const PAGES: [&str; 4] = [
    "README.md",
    "signal-server/README.md",
    "sw/store/README.md",
    "tests/sim/README.md",
];
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines of all fenced blocks that are shell, without comments.
fn commands() -> Result<BTreeSet<String>> {
    let mut commands = BTreeSet::new();
    for page in PAGES {
        let text = fs::read_to_string(root().join(page))?;
        for block in text.split("```").skip(1).step_by(2) {
            let (language, lines) = block.split_once('\n').unwrap_or_default();
            if !matches!(language, "" | "sh") {
                continue;
            }
            for line in lines.lines() {
                let command = line.split('#').next().unwrap_or_default().trim();
                if !command.is_empty() {
                    commands.insert(command.to_owned());
                }
            }
        }
    }
    Ok(commands)
}

/// What goes on until it is stopped.
struct Going(Child);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, and waits until it says what `ready` finds on either of its outputs.
fn goes(mut command: Command, ready: &str) -> Result<Going> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (said, heard) = std::sync::mpsc::channel();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let going = Going(child);
    for reader in [
        output.map(|output| Box::new(output) as Box<dyn std::io::Read + Send>),
        errors.map(|errors| Box::new(errors) as Box<dyn std::io::Read + Send>),
    ] {
        let (reader, said) = (reader.context("no output")?, said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
    }
    drop(said);
    let mut all = Vec::new();
    while let Ok(line) = heard.recv_timeout(fugitive_tests::browser::PATIENCE) {
        if line.contains(ready) {
            return Ok(going);
        }
        all.push(line);
    }
    bail!("{command:?} never says {ready:?}: {}", all.join("\n"))
}

fn ends_well(mut command: Command) -> Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(())
}

/// As a shell would, with our programs in its path, on a site of ours and ports that are free.
fn shell(command: &str, folder: &Path) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    let command = command
        .replace("./demo-site/run", "fugitive-demo --port 0")
        .replace("target/release/", "")
        .replace("/var/www/site", "site")
        .replace("DIR", "site")
        .replace(":8080", ":0");
    shell
        .args(["-c", &["exec ", &command].concat()])
        .env("PATH", [&programs.to_string_lossy(), ":", &path].concat())
        .env("FUGITIVE_LISTEN", "127.0.0.1:0")
        // A word to the tests, and no setting.
        .env_remove("FUGITIVE_BROWSER")
        .current_dir(folder);
    shell
}

#[test]
fn every_command_in_the_documents_runs() -> Result<()> {
    let folder = TempDir::new()?;
    fs::create_dir(folder.path().join("site"))?;
    fs::write(folder.path().join("site/a.jpg"), b"an image")?;
    let script = fs::read_to_string(root().join("tests/run"))?;
    for command in commands()? {
        println!("{command}");
        let words: Vec<_> = command.split_whitespace().collect();
        match words[..] {
            ["./tests/run"] => {}
            ["./tests/run", part, ..] => {
                ensure!(script.contains(&format!("\n{part}() {{")), "no part {part}");
            }
            // What is compiled is compiled before this runs, and the demo's own tests by the script.
            ["cargo", .., package] => {
                ensure!(
                    script.contains(&format!("-p {package}")),
                    "{package} is not built"
                );
            }
            [
                "./demo-site/run",
                option @ ("--check" | "--swarm" | "--perf"),
                ..,
            ] => {
                let runs = ["target/debug/fugitive-demo ", option].concat();
                ensure!(script.contains(&runs), "{option} is not run");
            }
            ["./demo-site/run", ..] => drop(goes(shell(&command, folder.path()), "ready http://")?),
            [.., "serve", _, _] | [.., "serve", _, _, _, _] => {
                drop(goes(shell(&command, folder.path()), "http://127.0.0.1:")?);
            }
            // It needs a terminal.
            ["fugitive", "top", _] => ends_well(shell("fugitive top --help", folder.path()))?,
            _ => ends_well(shell(&command, folder.path()))?,
        }
    }
    Ok(())
}

/// Attributes of the script tag that the client reads are those that the README explains.
#[test]
fn every_attribute_of_the_script_tag_is_explained() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let mut read = BTreeSet::new();
    for entry in fs::read_dir(root().join("page-bridge/js"))? {
        let script = fs::read_to_string(entry?.path())?;
        for part in script.split("settings.").skip(1) {
            let name: String = part
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            read.insert(name);
        }
    }
    ensure!(read.len() > 5, "the client reads {read:?}");
    for name in read {
        let dashed = name
            .chars()
            .fold(String::from("data-"), |mut dashed, letter| {
                if letter.is_ascii_uppercase() {
                    dashed.push('-');
                }
                dashed.push(letter.to_ascii_lowercase());
                dashed
            });
        // The words of the question stand in one row.
        let short = dashed.replace("data-consent-", "`-");
        let is_there = readme.contains(&dashed) || short != dashed && readme.contains(&short);
        ensure!(is_there, "the README lacks {dashed}");
    }
    Ok(())
}
