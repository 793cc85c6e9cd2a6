//! Servers as processes, each on a core of its own, and what they took by the kernel's account.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Ticks in a second of `/proc/PID/stat`: fixed in Linux for programs.
const TICKS: f64 = 100.0;
/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);

/// A process of ours; it ends with this.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts a program on one core and waits until it listens there.
    pub fn start<S: AsRef<OsStr>>(
        core: Option<usize>,
        address: SocketAddr,
        program: &[S],
        log: Stdio,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        match core {
            Some(core) => command.args(["-c", &core.to_string()]).args(program),
            None => command.args(["-c", "0-4095"]).args(program),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().context("taskset")?;
        let mut process = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if begun.elapsed() > START {
                bail!("it does not listen on {address}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time since it began, user and system, in seconds.
    pub fn cpu(&self) -> f64 {
        let [user, system] = cpu_of(&self.id().to_string());
        user + system
    }

    /// Of that what the kernel spent for it, in seconds.
    pub fn system_cpu(&self) -> f64 {
        cpu_of(&self.id().to_string())[1]
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) * 1024.0
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processor time of this process, in seconds.
pub fn own_cpu() -> f64 {
    cpu_of("self").iter().sum()
}

/// In user code and in the kernel.
fn cpu_of(process: &str) -> [f64; 2] {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name may hold spaces; what follows its closing parenthesis begins with field three.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |field: usize| {
        fields
            .split_whitespace()
            .nth(field - 3)?
            .parse::<f64>()
            .ok()
    };
    [14, 15].map(|field| ticks(field).unwrap_or(0.0) / TICKS)
}

/// Puts this process on one core.
pub fn stay_on(core: usize) {
    let own = std::process::id().to_string();
    let _ = Command::new("taskset")
        .args(["-cp", &core.to_string(), &own])
        .stdout(Stdio::null())
        .status();
}

/// A port that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
