//! Where one cluster keeps everything that it makes.
//!
//! A cluster owns one folder, one network namespace and the pods' folder below them; whatever is not
//! under these names was made by somebody else and is never touched.

use std::path::{Path, PathBuf};

/// The folder, the names and the addresses of one cluster.
#[derive(Clone, Debug)]
pub struct Place {
    name: String,
    root: PathBuf,
}

impl Place {
    /// The cluster that `make cluster` leaves running.
    #[must_use]
    pub fn development() -> Self {
        Self::named("dev")
    }

    /// The cluster that a test run brings up and takes down.
    #[must_use]
    pub fn test() -> Self {
        Self::named("test")
    }

    /// The cluster that the conformance suite runs in.
    #[must_use]
    pub fn conformance() -> Self {
        Self::named("conformance")
    }

    fn named(name: &str) -> Self {
        let base = std::env::var_os("FLOTILLA_E2E_STATE")
            .map_or_else(|| PathBuf::from("/var/tmp/flotilla-e2e"), PathBuf::from);
        Self { name: name.to_owned(), root: base.join(name) }
    }

    /// The network namespace, the CNI network and the node carry this name.
    #[must_use]
    pub fn network(&self) -> String {
        format!("flotilla-{}", self.name)
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the folder.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// The socket of containerd.
    #[must_use]
    pub fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }
}

/// The node's address inside the namespace.
pub const NODE_ADDRESS: &str = "172.31.255.1";
/// The addresses that pods get: one node, one range.
pub const POD_RANGE: &str = "10.244.0.0/24";
/// The addresses that Services get.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first address of the Services' range is the API server's.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// The cluster's DNS server, as pods see it.
pub const DNS_ADDRESS: &str = "10.96.0.10";
/// Where clients reach the API server.
pub const API_ENDPOINT: &str = "https://172.31.255.1:6443";
