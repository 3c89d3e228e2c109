//! h2spec, the conformance suite of HTTP/2, against the gateway.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gateway::Gateway;
use crate::limits::answering;

const MODULE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// What the gateway does otherwise, on purpose: a connection that does not begin as HTTP/2 is HTTP/1.1, and is refused
/// in its words before it ends.
const WANTED: [&str; 1] = ["2: Sends invalid connection preface"];

/// The program, built once.
fn h2spec() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cache = std::env::var_os("FLOTILLA_CACHE")
        .map_or_else(|| Path::new(&home).join(".cache/flotilla"), PathBuf::from);
    let folder = cache.join("h2spec-2.2.1");
    let program = folder.join("h2spec");
    if !program.exists() {
        let built = Command::new("go").args(["install", MODULE]).env("GOBIN", &folder).output();
        let built = built.expect("go is part of the toolchain");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    program
}

#[test]
fn http2_is_spoken_as_its_conformance_suite_wants() {
    // With a route, requests are answered once they are whole: an answer that comes first hides what is wrong later.
    let gateway = Gateway::before(answering());
    let port = gateway.proxy.port().to_string();
    let run = Command::new(h2spec()).args(["-h", "127.0.0.1", "-p", &port, "-o", "10"]).output();
    let output = String::from_utf8_lossy(&run.unwrap().stdout).into_owned();
    assert!(output.contains(" passed, "), "{output}");
    let failures = output.split_once("Failures:").map_or("", |(_, failures)| failures);
    let failed: Vec<&str> = failures
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("\u{d7} "))
        .filter(|name| !WANTED.contains(name))
        .collect();
    assert!(failed.is_empty(), "{failed:?}\n{output}");
}
