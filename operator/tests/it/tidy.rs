//! Holds the house rules that the compiler does not: who may import whom (ARCHITECTURE.md, "Who may
//! import whom"), that every file says what it is, and where tasks may be started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A part of the tree and the words that its code must not contain.
struct Unit {
    /// A folder, or the start of file paths (`operator/src/admin` is `admin.rs` and `admin/`).
    path: &'static str,
    /// Paths of crates, modules and types.
    never: &'static [&'static str],
}

const UNITS: &[Unit] = &[
    Unit {
        path: "kong/src",
        never: &[
            "tokio",
            "kube",
            "hyper",
            "reqwest",
            "rand",
            "std::env",
            "std::fs",
            "TcpStream",
            "SystemTime",
            "Instant",
        ],
    },
    Unit { path: "operator/api/src", never: &["tokio", "kube::client", "kube::Client"] },
    Unit {
        path: "operator/core/src",
        never: &[
            "tokio",
            "kube::client",
            "kube::Client",
            "kube::runtime",
            "reqwest",
            "rustls",
            "rcgen",
            "std::env",
            "std::fs",
            "SystemTime",
            "Instant::now",
            "HashMap",
            "HashSet",
        ],
    },
    Unit { path: "operator/src/admin", never: &["k8s_openapi", "kube::"] },
    Unit { path: "operator/src/admission", never: &["reqwest", "crate::admin:", "crate::fleet:"] },
    Unit { path: "operator/src/watch", never: &["kong::", "translate::"] },
    Unit { path: "operator/src/status", never: &["reqwest"] },
    Unit { path: "operator/src/trust", never: &["translate::", "crate::admin"] },
    Unit { path: "operator/src/serve", never: &["&mut self"] },
    Unit { path: "proxy/core/src", never: &["tokio", "hyper", "rustls", "kube"] },
    Unit { path: "proxy/src", never: &["kube", "operator_"] },
    Unit { path: "runtime/src", never: &["kube", "kong::"] },
];

/// Where the gateway starts tasks that end with a connection, a session or a configuration generation, and not
/// with the process: they cannot join the named tasks.
const SHORT_LIVED: &[&str] = &[
    "proxy/src/forward/mirror.rs",
    "proxy/src/live.rs",
    "proxy/src/serve.rs",
    "proxy/src/stream/udp.rs",
    "proxy/src/upstream.rs",
];

/// Packages that a package must not name among its dependencies.
const EDGES: &[(&str, &[&str])] = &[
    ("kong", &["tokio", "kube", "hyper", "reqwest", "rand", "rustls", "tracing"]),
    ("operator-api", &["tokio", "kong", "reqwest"]),
    ("operator-core", &["tokio", "kube-client", "kube-runtime", "reqwest", "rustls", "rcgen"]),
    ("proxy-core", &["tokio", "hyper", "rustls", "kube"]),
    ("proxy", &["kube", "k8s-openapi", "operator", "operator-core", "operator-api"]),
    ("runtime", &["kube", "k8s-openapi", "kong"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of ours, as a path relative to the root, with its text.
fn sources() -> BTreeMap<String, String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files failed");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).ok();
    listed.lines().filter_map(|path| Some((path.to_owned(), read(path)?))).collect()
}

/// The text without comments and string literals' lines that are only prose: `//` to the line's end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// Whether `word` stands in `line` as a path of its own, not as a part of a longer name.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = line;
    while let Some(at) = rest.find(word) {
        let before = rest[..at].chars().next_back();
        let after = rest[at + word.len()..].chars().next();
        let starts =
            !before.is_some_and(|c| part(c) || c == '"' || c == '-' || c == '.' || c == '/');
        let ends =
            word.ends_with([':', '_']) || !after.is_some_and(|c| part(c) || c == '-' || c == '.');
        if starts && ends {
            return true;
        }
        rest = &rest[at + word.len()..];
    }
    false
}

fn check(found: &BTreeSet<String>, rule: &str) {
    let listed: Vec<_> = found.iter().map(String::as_str).collect();
    assert!(found.is_empty(), "{rule}:\n  {}", listed.join("\n  "));
}

#[test]
fn units_import_only_what_they_may() {
    let mut found = BTreeSet::new();
    for (path, text) in sources() {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        if path.ends_with("tests.rs") {
            continue;
        }
        for unit in UNITS.iter().filter(|unit| path.starts_with(unit.path)) {
            for (number, line) in code(text) {
                for word in unit.never.iter().filter(|word| names(line, word)) {
                    found.insert(format!("{path}:{number} names {word}"));
                }
            }
        }
    }
    check(&found, "a unit names what ARCHITECTURE.md keeps from it");
}

#[test]
fn packages_depend_only_on_what_they_may() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut found = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, never)) = EDGES.iter().find(|(of, _)| *of == name) else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && never.contains(&on) {
                found.insert(format!("{name} depends on {on}"));
            }
        }
    }
    check(&found, "a package has an edge that ARCHITECTURE.md forbids");
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(path, text): (String, String)| (!text.starts_with("//!")).then_some(path);
    let found = sources().into_iter().filter_map(silent).collect();
    check(&found, "a file begins without a module doc");
}

#[test]
fn long_lived_tasks_start_in_one_place() {
    let mut found = BTreeSet::new();
    for (path, text) in sources() {
        let apart = ["/tests/", "/benches/"].iter().any(|part| path.contains(part))
            || SHORT_LIVED.contains(&path.as_str());
        if apart || path.starts_with("runtime/") || path.starts_with("e2e/") {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(text).filter(|(_, line)| line.contains("tokio::spawn(")) {
            found.insert(format!("{path}:{number} {}", line.trim()));
        }
    }
    check(&found, "tokio::spawn outside of runtime::tasks (use Tasks, JoinSet or TaskTracker)");
}

#[test]
fn every_choice_between_futures_has_an_order() {
    let mut found = BTreeSet::new();
    for (path, text) in sources() {
        let lines: Vec<_> = code(&text).collect();
        for (index, (number, line)) in lines.iter().enumerate() {
            let opens = line.contains("select! {") && !line.contains("biased");
            let next = lines.get(index + 1).map_or("", |(_, next)| next.trim());
            if opens && !next.starts_with("biased;") {
                found.insert(format!("{path}:{number}"));
            }
        }
    }
    check(&found, "select! without biased");
}

#[test]
fn names_are_found_as_paths_only() {
    for (line, word, expected) in [
        ("use tokio::sync;", "tokio", true),
        ("use rustls_pki_types::X;", "rustls", false),
        ("let x = \"tokio\";", "tokio", false),
        ("kube::Client::new()", "kube::", true),
        ("operator_core::x", "operator_", true),
    ] {
        assert_eq!(names(line, word), expected, "{word} in {line}");
    }
}
