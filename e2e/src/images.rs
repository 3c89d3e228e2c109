//! Container images without an engine: OCI archives of our own making, and their import into containerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{finish, run};
use crate::oci::{File, Image, USER};
use crate::place::Place;

/// The image that holds a pod's namespaces open.
pub const PAUSE: &str = "flotilla.test/pause:1";
/// The upstream of the scenarios.
pub const ECHO: &str = "flotilla.test/echo:1";
/// The operator's image, as built from this tree.
pub const OPERATOR: &str = concat!("ghcr.io/flotilla-dev/flotilla:", env!("CARGO_PKG_VERSION"));
/// The proxy's image, as built from this tree.
pub const PROXY: &str = concat!("ghcr.io/flotilla-dev/flotilla-proxy:", env!("CARGO_PKG_VERSION"));

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The pause image: busybox, asleep.
pub fn pause() -> Result<Image> {
    let busybox =
        ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|file| Path::new(file).exists());
    let busybox = busybox.context("failed to find busybox")?;
    let program = File::program("busybox", read(Path::new(busybox))?);
    Ok(Image {
        name: PAUSE.to_owned(),
        files: vec![program],
        entrypoint: vec!["/busybox".into(), "sleep".into(), "2147483647".into()],
        user: USER,
    })
}

/// The images of operator, proxy and echo, from static programs that are built now, or from those of the
/// folder that `FLOTILLA_E2E_BINARIES` names: debug builds go into a cluster that way.
pub fn build() -> Result<Vec<Image>> {
    let programs = match std::env::var_os("FLOTILLA_E2E_BINARIES") {
        Some(folder) => {
            PROGRAMS.iter().map(|(program, _)| Path::new(&folder).join(program)).collect()
        }
        None => compile()?,
    };
    let image = |(program, name): &(&str, &str)| {
        let built =
            programs.iter().find(|path| path.file_name().is_some_and(|file| file == *program));
        let built = built.with_context(|| {
            format!("failed to find the program {program} among what cargo built")
        })?;
        let mut files = vec![File::program(program, read(built)?)];
        files.extend(libraries(built)?);
        Ok(Image {
            name: (*name).to_owned(),
            files,
            entrypoint: vec![format!("/{program}")],
            user: USER,
        })
    };
    PROGRAMS.iter().map(image).collect()
}

/// Each program and the image that runs it.
const PROGRAMS: [(&str, &str); 3] =
    [("flotilla", OPERATOR), ("flotilla-proxy", PROXY), ("echo", ECHO)];

/// Builds the static programs and returns their paths.
fn compile() -> Result<Vec<PathBuf>> {
    crate::say(
        "building static programs for the images (about ten minutes the first time on two cores)",
    );
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args([
            "--message-format=json-render-diagnostics",
            "-p",
            "operator",
            "-p",
            "proxy",
            "-p",
            "echo",
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("failed to build the static programs: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect())
}

/// The shared libraries of a program; a static one has none.
fn libraries(program: &Path) -> Result<Vec<File>> {
    let Ok(listed) = run("ldd", &[program]) else { return Ok(Vec::new()) };
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    paths
        .map(|path| Ok(File::program(path.trim_start_matches('/'), read(Path::new(path))?)))
        .collect()
}

fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    message.get("executable")?.as_str().map(PathBuf::from)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Gives an image to the cluster's containerd.
pub fn import(place: &Place, image: &Image) -> Result<()> {
    let archive = place.path("image.tar");
    image.write(&archive)?;
    ctr(place, &["image", "import", "--no-unpack", &archive.to_string_lossy()])?;
    fs::remove_file(&archive).with_context(|| format!("failed to remove {}", archive.display()))
}

/// Runs containerd's client in the namespace that kubelet uses.
pub fn ctr(place: &Place, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ctr");
    command.arg("-a").arg(place.containerd_socket()).args(["-n", "k8s.io"]).args(arguments);
    finish(&mut command, None)
}
