//! The world that plugins are given: time, chance, and places to send to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proxy_core::exchange::Later;
use proxy_core::plugin::{Ldap, Redis, Reply, ServiceError, Services, Sink, Target};

/// The machine.
pub struct World {
    hostname: String,
}

impl World {
    /// The machine that this runs on.
    pub fn new() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { hostname: hostname.trim().to_owned() }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn send(&self, _record: Bytes) {}
}

impl Services for World {
    fn now(&self) -> Duration {
        crate::http::now()
    }

    fn random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(16) {
            let bytes = uuid::Uuid::new_v4().into_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn hostname(&self) -> &str {
        &self.hostname
    }

    fn sink(&self, _target: &Target) -> Arc<dyn Sink> {
        Arc::new(Nowhere)
    }

    fn redis<'a>(
        &'a self,
        server: &'a Redis,
        _commands: Vec<Vec<Bytes>>,
    ) -> Later<'a, Result<Vec<Reply>, ServiceError>> {
        let host = server.host.clone();
        Box::pin(async move { Err(ServiceError::Unreachable(host)) })
    }

    fn redis_detached(&self, server: &Redis, _commands: Vec<Vec<Bytes>>) {
        tracing::debug!(host = %server.host, "commands are lost: no Redis client yet");
    }

    fn ldap_bind<'a>(
        &'a self,
        _server: &'a Ldap,
        dn: &'a str,
        _password: &'a str,
    ) -> Later<'a, Result<bool, ServiceError>> {
        Box::pin(async move { Err(ServiceError::Unreachable(dn.to_owned())) })
    }
}
