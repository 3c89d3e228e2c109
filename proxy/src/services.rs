//! The world that plugins are given: time, chance, and places to send to.

mod http_client;
mod http_sink;
mod ldap;
mod queue;
mod redis;
mod sinks;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use proxy_core::exchange::Later;
use proxy_core::plugin::{
    HttpCall, HttpReply, Ldap, Redis, Reply, ServiceError, Services, Sink, Target,
};
use rustls::ClientConfig;

/// The machine.
pub struct World {
    hostname: String,
    node: String,
    tls: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    /// Sinks in use, so that a new configuration finds its queues again.
    sinks: Mutex<Vec<(Target, Weak<dyn Sink>)>>,
    redis: redis::Connections,
    http: http_client::Clients,
}

impl World {
    /// The machine that this runs on; `tls` is how it talks to servers whose certificates it checks.
    #[must_use]
    pub fn new(node: uuid::Uuid, tls: Arc<ClientConfig>, unverified: Arc<ClientConfig>) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            hostname: hostname.trim().to_owned(),
            node: node.to_string(),
            tls,
            unverified,
            sinks: Mutex::default(),
            redis: redis::Connections::default(),
            http: http_client::Clients::default(),
        }
    }

    /// The TLS for a server, verified or not.
    fn tls(&self, verify: bool) -> Arc<ClientConfig> {
        Arc::clone(if verify { &self.tls } else { &self.unverified })
    }
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

    fn product(&self) -> &str {
        crate::app::PRODUCT
    }

    fn node_id(&self) -> &str {
        &self.node
    }

    fn log(&self, level: &str, text: &str) {
        match level {
            "debug" => tracing::debug!(text, "plugin"),
            "info" | "notice" => tracing::info!(text, "plugin"),
            "warn" => tracing::warn!(text, "plugin"),
            _ => tracing::error!(text, "plugin"),
        }
    }

    fn sink(&self, target: &Target) -> Arc<dyn Sink> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|(_, sink)| sink.strong_count() > 0);
        let known =
            sinks.iter().find(|(known, _)| known == target).and_then(|(_, sink)| sink.upgrade());
        known.unwrap_or_else(|| {
            let sink = sinks::open(target, &self.unverified);
            sinks.push((target.clone(), Arc::downgrade(&sink)));
            sink
        })
    }

    fn redis<'a>(
        &'a self,
        server: &'a Redis,
        commands: Vec<Vec<Bytes>>,
    ) -> Later<'a, Result<Vec<Reply>, ServiceError>> {
        let tls = server.tls.as_ref().map(|(_, verify)| self.tls(*verify));
        Box::pin(self.redis.run(server, tls, commands))
    }

    fn redis_detached(&self, server: &Redis, commands: Vec<Vec<Bytes>>) {
        let tls = server.tls.as_ref().map(|(_, verify)| self.tls(*verify));
        let (connections, server) = (self.redis.clone(), server.clone());
        sinks::detach(async move {
            if let Err(error) = connections.run(&server, tls, commands).await {
                tracing::warn!(host = %server.host, %error, "redis commands are lost");
            }
        });
    }

    fn read_file(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn http<'a>(&'a self, call: HttpCall) -> Later<'a, Result<HttpReply, ServiceError>> {
        let tls = self.tls(call.verify);
        Box::pin(async move { self.http.ask(&tls, call).await })
    }

    fn ldap_bind<'a>(
        &'a self,
        server: &'a Ldap,
        dn: &'a str,
        password: &'a str,
    ) -> Later<'a, Result<bool, ServiceError>> {
        Box::pin(ldap::bind(server, self.tls(server.verify), dn, password))
    }
}
