//! Real servers around the gateway, most of them of Debian's packages.
//!
//! `make test-servers` unpacks what is not installed into the folder that `SERVERS` names. Without that variable tests leave
//! those out: none of them is in a registry that a test could fetch from by itself.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::gateway::PATIENCE;

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

/// A server of a test's own; dropping it ends it.
pub(crate) struct Server {
    process: Child,
    /// Where it listens.
    pub(crate) port: u16,
    /// What it works in.
    pub(crate) folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts what `command` says for a free port and a folder, and waits until it listens.
    pub(crate) fn start(command: impl FnOnce(u16, &Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = command(port, folder.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, port, folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{:?} does not listen", command.get_program());
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}
