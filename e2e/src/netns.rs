//! The network namespace that a cluster lives in.
//!
//! Nothing of the machine's own network is touched: all addresses, bridges and nftables rules are made
//! inside, and deleting the namespace removes them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::run;
use crate::place::NODE_ADDRESS;

/// A named network namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Names a namespace without making it.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self { name }
    }

    fn file(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// True when the namespace exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.file().exists()
    }

    /// Makes the namespace with its loopback, the node's address and a default route.
    ///
    /// Kubelet and the API server look for a default route to find their own address; it leads nowhere.
    pub fn create(&self) -> Result<()> {
        run("ip", &["netns", "add", &self.name])?;
        let file = format!("--net={}", self.file().display());
        let node = format!("{NODE_ADDRESS}/32");
        let inside = |arguments: &[&str]| run("nsenter", &[&[file.as_str()], arguments].concat());
        inside(&["ip", "link", "set", "lo", "up"])?;
        inside(&["ip", "link", "add", "node", "type", "bridge"])?;
        inside(&["ip", "address", "add", &node, "dev", "node"])?;
        inside(&["ip", "link", "set", "node", "up"])?;
        inside(&["ip", "route", "add", "default", "dev", "node"])?;
        inside(&["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        Ok(())
    }

    /// Moves the calling thread, and with it every process that it starts, into the namespace.
    pub fn enter(&self) -> Result<()> {
        let file = File::open(self.file())
            .with_context(|| format!("failed to open network namespace {}", self.name))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("failed to enter network namespace {}", self.name))
    }

    /// Deletes the namespace when it exists.
    pub fn delete(&self) -> Result<()> {
        if self.exists() {
            run("ip", &["netns", "delete", &self.name])?;
        }
        Ok(())
    }
}
