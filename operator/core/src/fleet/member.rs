//! A member: one proxy that discovery found, and the key by which it stays the same proxy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Who an instance is. An address is never an identity: pods reuse addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceId {
    /// A pod, by its UID.
    Pod(Arc<str>),
    /// An endpoint without a pod behind it, by its slice (`namespace/name`) and address.
    Endpoint {
        /// The EndpointSlice, as `namespace/name`.
        slice: Arc<str>,
        /// The address within it.
        address: IpAddr,
    },
}

impl InstanceId {
    /// The pod's UID, when there is a pod.
    #[must_use]
    pub fn pod_uid(&self) -> Option<&str> {
        match self {
            Self::Pod(uid) => Some(uid),
            Self::Endpoint { .. } => None,
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(uid) => out.write_str(uid),
            Self::Endpoint { slice, address } => write!(out, "{slice}/{address}"),
        }
    }
}

/// What the EndpointSlice says about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// Ready to serve traffic.
    Ready,
    /// Not ready: it counts, since a proxy is not ready before its first configuration.
    NotReady,
    /// Terminating: it finishes what it has and gets nothing new.
    Draining,
}

/// One proxy as discovery sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub id: InstanceId,
    /// The namespace of its pod or slice.
    pub namespace: Arc<str>,
    /// The pod's name, or one made of slice and address.
    pub name: Arc<str>,
    /// Where its Admin API listens.
    pub admin: SocketAddr,
    /// Where its data path listens, when the slice names that port: probes ask there.
    pub data: Option<SocketAddr>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// The zone of that node.
    pub zone: Option<Arc<str>>,
    /// The Service whose slice named it.
    pub service: Arc<str>,
    /// What the slice says about it.
    pub presence: Presence,
}
