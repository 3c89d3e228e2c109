//! What the cluster scenarios stand on: a real Kubernetes on this machine, images of the product, the
//! clients that its users have, and the blows that a fleet must survive.
//!
//! Needs Linux, root and a Go toolchain; it installs and builds whatever else it lacks. It touches nothing
//! that it did not make.

pub mod api;
pub mod bench;
pub mod binaries;
pub mod cluster;
pub mod command;
pub mod components;
pub mod conformance;
pub mod fake;
pub mod http;
pub mod images;
pub mod load;
pub mod manifests;
pub mod netns;
pub mod oci;
pub mod packages;
pub mod pki;
pub mod place;
pub mod processes;
pub mod product;
pub mod wait;

/// Says on standard error what takes a while.
#[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
pub fn say(line: &str) {
    eprintln!("e2e: {line}");
}
