//! Names to addresses: the resolver of the system's configuration, with its cache.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::TokioResolver;

/// Resolves names; answers are kept for their time to live.
pub struct Dns {
    resolver: Option<TokioResolver>,
    turn: AtomicUsize,
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

impl Dns {
    /// A resolver as the system is configured.
    pub fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().map(|mut builder| {
            let options = builder.options_mut();
            options.timeout = std::time::Duration::from_secs(2);
            options.attempts = 2;
            builder.build()
        });
        Self { resolver: resolver.ok(), turn: AtomicUsize::new(0) }
    }

    /// All addresses of a name, with the port that a service record may set.
    pub async fn resolve(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return vec![SocketAddr::new(ip, port)];
        }
        let Some(resolver) = &self.resolver else { return Vec::new() };
        if host.starts_with('_')
            && let Ok(records) = resolver.srv_lookup(host).await
        {
            let mut all = Vec::new();
            for record in records.iter() {
                if let Ok(found) = resolver.lookup_ip(record.target().clone()).await {
                    all.extend(found.iter().map(|ip| SocketAddr::new(ip, record.port())));
                }
            }
            return all;
        }
        match resolver.lookup_ip(host).await {
            Ok(found) => found.iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// One address of a name, another one each time.
    pub async fn resolve_one(&self, host: &str, port: u16) -> Option<SocketAddr> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Some(SocketAddr::new(ip, port));
        }
        let all = self.resolve(host, port).await;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        all.get(turn.checked_rem(all.len())?).copied()
    }
}
