//! The binary as a process of its own, which a test may end as a crash would.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;

use crate::running::{put, until};

pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _site: TempDir,
}

impl Process {
    /// Serves a site of one page there, with these arguments more.
    pub fn start(listen: &str, arguments: &[&str]) -> Self {
        let site = tempfile::tempdir().unwrap();
        put(site.path(), "index.html", b"top");
        let mut child = Command::new(env!("CARGO_BIN_EXE_fugitive"))
            .args(["serve", "--listen", listen, "--site"])
            .arg(site.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().trim_start_matches("ready http://");
        let address = address.trim_end_matches('/').parse().unwrap();
        Self {
            child,
            address,
            log,
            _site: site,
        }
    }

    /// Without a word.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How many lines of the log say this.
    pub fn said(&self, what: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(what)).count()
    }

    /// Waits until the log says so.
    pub async fn until_said(&self, what: &str) {
        until(what, || async { self.said(what) > 0 }).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
