//! Long-lived processes that outlive the program that started them, found again by their pid files.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;

/// Starts a program in the background: its output goes to `log/NAME.log`, its pid to `pid/NAME`.
pub fn start(place: &Place, name: &str, command: &mut Command) -> Result<()> {
    let log =
        File::create(place.path(&format!("log/{name}.log"))).context("failed to create a log")?;
    let errors = log.try_clone().context("failed to share a log")?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    let born = birth(child.id()).with_context(|| format!("{name} ended at once, see its log"))?;
    fs::write(place.path(&format!("pid/{name}")), format!("{} {born}", child.id()))
        .context("failed to write a pid file")
}

/// True when the process that the pid file names is alive.
#[must_use]
pub fn alive(place: &Place, name: &str) -> bool {
    recorded(&place.path(&format!("pid/{name}"))).is_some()
}

/// Names with a pid file.
#[must_use]
pub fn names(place: &Place) -> Vec<String> {
    let Ok(entries) = fs::read_dir(place.path("pid")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Stops a process, first politely, and forgets it. A pid that meanwhile belongs to another process is left alone.
pub fn stop(place: &Place, name: &str, patience: Duration) -> Result<()> {
    let file = place.path(&format!("pid/{name}"));
    let begun = Instant::now();
    let mut signal = Signal::TERM;
    while let Some(pid) = recorded(&file) {
        // It may end between the look and the signal, which is as good.
        let _ = kill_process(pid, signal);
        if begun.elapsed() > patience {
            signal = Signal::KILL;
        }
        if begun.elapsed() > patience + Duration::from_secs(10) {
            bail!("failed to stop {name}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    }
    Ok(())
}

/// The process that a pid file names, when it is alive and still the same one.
fn recorded(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, born) = text.split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    if birth(pid)? != born {
        return None;
    }
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// When a process started, in the kernel's ticks; none for one that is gone or waits to be reaped.
fn birth(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold blanks: count after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}
