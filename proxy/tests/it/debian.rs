//! Servers of Debian's packages, for tests that want real ones around the gateway.
//!
//! `make test-servers` unpacks what is not installed into the folder that `SERVERS` names. Without that variable tests leave
//! these servers out: none of them is in a registry that a test could fetch from by itself.

use std::path::PathBuf;
use std::process::Command;

fn root() -> Option<PathBuf> {
    std::env::var_os("SERVERS").map(PathBuf::from)
}

/// Whether these servers are to be had.
pub(crate) fn servers() -> bool {
    root().is_some()
}

/// A file or folder of a package: where it was unpacked, else where it is installed.
pub(crate) fn path(path: &str) -> PathBuf {
    let unpacked = root().map(|root| root.join(path)).filter(|path| path.exists());
    unpacked.unwrap_or_else(|| PathBuf::from("/").join(path))
}

/// A program of a package, with the libraries that were unpacked beside it.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(path(name));
    let libraries =
        root().map(|root| root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)));
    if let Some(libraries) = libraries.filter(|folder| folder.exists()) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}
