//! The operator's shell: everything that talks to the cluster and to proxies.

pub mod trust;
