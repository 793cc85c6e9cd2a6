//! `fugitive top` in a terminal, with a running server at the other end.

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use fugitive_signal::{ToClient, ToServer};

use crate::{
    client::{description, join_at},
    process::Process,
    running::until,
};

const WIDTH: usize = 100;
const HEIGHT: usize = 30;

/// What a terminal would show: text where the cursor was put, and nothing of colours.
struct Screen {
    cells: Vec<Vec<char>>,
    at: (usize, usize),
    /// Whether the programs's own screen is shown, and not the one from before.
    is_its_own: bool,
    /// Of a sequence that has not ended.
    rest: Vec<u8>,
}

impl Screen {
    fn new() -> Self {
        Self {
            cells: vec![vec![' '; WIDTH]; HEIGHT],
            at: (0, 0),
            is_its_own: false,
            rest: Vec::new(),
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let bytes = [std::mem::take(&mut self.rest), bytes.to_vec()].concat();
        let whole = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
        };
        let mut used = 0;
        while let Some(next) = whole[used..].chars().next() {
            let rest = &whole[used..];
            let Some(sequence) = rest.strip_prefix("\x1b[") else {
                self.put(next);
                used += next.len_utf8();
                continue;
            };
            let Some(end) = sequence.find(|c: char| c.is_ascii_alphabetic()) else {
                break;
            };
            self.obey(&sequence[..end], &sequence[end..=end]);
            used += 2 + end + 1;
        }
        self.rest = bytes[used..].to_vec();
    }

    fn obey(&mut self, arguments: &str, what: &str) {
        match (what, arguments) {
            ("H", arguments) => {
                let mut numbers = arguments.split(';').map(|n| n.parse().unwrap_or(1));
                let (row, column) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(1));
                self.at = (row - 1, column - 1);
            }
            ("h" | "l", "?1049") => self.is_its_own = what == "h",
            ("J", "2") => self.cells.fill(vec![' '; WIDTH]),
            _ => {}
        }
    }

    fn put(&mut self, letter: char) {
        let (row, column) = self.at;
        if let Some(cell) = self.cells.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = letter;
        }
        self.at.1 += 1;
    }

    fn text(&self) -> String {
        let lines = self
            .cells
            .iter()
            .map(|line| line.iter().collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The program in a terminal of its own.
struct Top {
    child: Child,
    screen: Arc<Mutex<Screen>>,
}

impl Top {
    fn of(server: &str) -> Self {
        let top = env!("CARGO_BIN_EXE_fugitive");
        let command = format!("stty rows {HEIGHT} cols {WIDTH}; exec '{top}' top {server}");
        let mut child = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(Screen::new()));
        let (mut shown, into) = (child.stdout.take().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut buffer) {
                into.lock().unwrap().hear(&buffer[..read]);
            }
        });
        Self { child, screen }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    /// Waits until a line has all of these words, one after the other.
    async fn until_shown(&self, words: &[&str]) {
        let shows = |line: &str| {
            let mut rest = Some(line);
            for word in words {
                rest = rest.and_then(|rest| Some(rest.split_once(word)?.1));
            }
            rest.is_some()
        };
        for _ in 0..400 {
            if self.text().lines().any(shows) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never {words:?}:\n{}", self.text());
    }

    fn press(&mut self, key: &str) {
        let keys = self.child.stdin.as_mut().unwrap();
        keys.write_all(key.as_bytes()).unwrap();
        keys.flush().unwrap();
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_who_comes_talks_and_goes_and_that_the_server_ended() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let set = format!("admin={admin}");
    let mut server = Process::start("127.0.0.1:0", &["--set", &set]);
    let mut top = Top::of(&admin);
    top.until_shown(&[&admin, "q ends"]).await;
    top.until_shown(&["peers", "0"]).await;
    assert!(top.screen.lock().unwrap().is_its_own);
    assert!(!top.text().contains("https://site"));

    let mut first = join_at(server.address, "/", 0, None).await;
    top.until_shown(&["1", "https://site"]).await;
    top.until_shown(&["peers", "1"]).await;
    let mut second = join_at(server.address, "/two", 4, None).await;
    for (name, there) in [("peers", "2"), ("connections", "2"), ("pages", "2")] {
        top.until_shown(&[name, there]).await;
    }
    // A rate is what came since it asked last.
    let talk = async {
        loop {
            let (to, signal) = (first.id.clone(), description("x"));
            second.say(&ToServer::Signal { to, signal }).await;
            let heard = first.hear().await;
            assert!(matches!(heard, Some(ToClient::Signal { .. })));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let seen = async {
        until("signals are counted", || async {
            let text = top.text();
            let line = text.lines().find(|line| line.contains("signals  "));
            let rate = line.and_then(|line| line.split("signals").nth(1));
            let rate = rate.and_then(|rest| rest.trim_matches([' ', '│']).parse::<f64>().ok());
            rate.is_some_and(|rate| rate > 5.0)
        })
        .await;
    };
    tokio::select! {
        () = talk => unreachable!(),
        () = seen => {}
    }
    let peer = first.id.clone();
    second.say(&ToServer::Up { peer }).await;
    top.until_shown(&["channels", "1"]).await;
    second.say(&ToServer::Leave {}).await;
    top.until_shown(&["peers", "1"]).await;
    top.until_shown(&["1", "as you wish"]).await;

    server.kill();
    top.until_shown(&[&admin, "nobody answers"]).await;
    top.press("q");
    let status = top.child.wait().unwrap();
    assert!(status.success(), "{status}");
    until("the terminal is as it was", || async {
        !top.screen.lock().unwrap().is_its_own
    })
    .await;
}

#[test]
fn top_of_nobody_says_so_and_takes_no_terminal() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let output = Command::new(env!("CARGO_BIN_EXE_fugitive"))
        .args(["top", &admin])
        .output()
        .unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("nobody answers at {admin}")),
        "{said}"
    );
}
