//! Short commands: run to the end, with what they printed in the error when they fail.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it printed.
pub fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A]) -> Result<String> {
    finish(Command::new(program).args(arguments), None)
}

/// Runs a prepared command, with `input` on its standard input when given, and returns what it printed.
pub fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    let shown = format!("{command:?}");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {shown}"))?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).with_context(|| format!("failed to feed {shown}"))?;
    }
    let output = child.wait_with_output().with_context(|| format!("failed to wait for {shown}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{shown}: {}\n{}{printed}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(printed)
}
