//! The processes of a browser, which Linux knows by the profile in their command lines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};

/// Linux tells of time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// What they take that they share with no other, in bytes.
pub fn memory(profile: &Path) -> Result<u64> {
    let private = |rollup: &str| {
        rollup
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    Ok(sum(profile, "smaps_rollup", private)? * 1024)
}

/// For how long those that are alive have used a core, all of them together.
pub fn cpu(profile: &Path) -> Result<Duration> {
    Ok(TICK * u32::try_from(sum(profile, "stat", ticks)?)?)
}

/// Ends the browser as by a crash, whatever it is doing.
pub fn kill(profile: &Path) -> Result<()> {
    let mut killed = 0;
    for (folder, command) in of(profile)? {
        // Its other processes end with the first one.
        if command.contains("--type=") {
            continue;
        }
        if let Some(pid) = folder.file_name() {
            Command::new("kill").arg("-9").arg(pid).status()?;
            killed += 1;
        }
    }
    ensure!(killed > 0, "no browser to kill");
    Ok(())
}

/// In user and in system mode, of a line as in proc(5).
fn ticks(stat: &str) -> u64 {
    // A program's name may have spaces and brackets.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let numbers = rest.split_whitespace().skip(11).take(2);
    numbers
        .filter_map(|number| number.parse::<u64>().ok())
        .sum()
}

/// Of what a file in `/proc` says of each of them.
fn sum(profile: &Path, file: &str, number: impl Fn(&str) -> u64) -> Result<u64> {
    let texts = of(profile)?
        .into_iter()
        .filter_map(|(folder, _)| fs::read_to_string(folder.join(file)).ok());
    Ok(texts.map(|text| number(&text)).sum())
}

/// Their folders in `/proc`, and their command lines.
fn of(profile: &Path) -> Result<Vec<(PathBuf, String)>> {
    let profile = profile.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // A process may end while it is looked at.
        if let Ok(command) = fs::read_to_string(folder.join("cmdline"))
            && command.contains(&profile)
        {
            found.push((folder, command));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_behind_a_name_with_brackets() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 9 0 100";
        assert_eq!(ticks(stat), 42);
    }
}
