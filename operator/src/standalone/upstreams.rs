//! Small echo servers for Services that have no endpoints: each answers with what it received.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The echo servers, by Service. They end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    addresses: BTreeMap<String, SocketAddr>,
    servers: JoinSet<()>,
}

impl Echoes {
    /// The address of a Service's echo server, which is started when it is first asked for.
    pub(super) async fn address(&mut self, service: &str) -> anyhow::Result<SocketAddr> {
        if let Some(address) = self.addresses.get(service) {
            return Ok(*address);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("failed to start an echo server")?;
        let address = listener.local_addr()?;
        let name = service.to_owned();
        let router = Router::new().fallback(async move |request: Request| answer(&name, &request));
        self.servers.spawn(async move {
            // It ends with this process; a failed accept is the caller's next connection error.
            let _ = axum::serve(listener, router).await;
        });
        self.addresses.insert(service.to_owned(), address);
        Ok(address)
    }
}

fn answer(service: &str, request: &Request) -> String {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("-");
    format!("{service} got {} {} for {host}\n", request.method(), request.uri())
}
