//! The Debian packages that a cluster stands on, installed when one is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::finish;

/// A file that proves that a package is there, and the package.
const NEEDED: [(&str, &str); 8] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/busybox", "busybox-static"),
    ("/usr/bin/curl", "curl"),
];

/// Installs what is missing. A machine without apt gets told what to install.
pub fn ensure() -> Result<()> {
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(file, _)| !present(file)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these Debian packages, or their like, are needed: {}", missing.join(" "));
    }
    crate::say(&format!("installing {} (ten seconds)", missing.join(", ")));
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())
}

fn present(file: &str) -> bool {
    let name = Path::new(file).file_name().unwrap_or_default();
    Path::new(file).exists()
        || ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(name).exists())
}

fn apt(arguments: &[&str]) -> Result<()> {
    finish(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"), None)
        .map(drop)
}
