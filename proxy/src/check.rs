//! One active health check of one peer.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_core::balance::Peer;
use proxy_core::health::{Active, CheckKind, Report};
use proxy_core::table::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::http1::response;
use crate::tls::Store;
use crate::upstream::{ConnectError, Io, TlsPlan, connect};

/// Checks a peer within the declared time.
pub async fn check(upstream: &Upstream, peer: &Peer, tls: &Store) -> Report {
    let active = &upstream.checks.active;
    match timeout(active.timeout, ask(upstream, peer, tls)).await {
        Ok(report) => report,
        Err(_) => Report::Timeout,
    }
}

async fn ask(upstream: &Upstream, peer: &Peer, tls: &Store) -> Report {
    let active = &upstream.checks.active;
    let host = upstream.host_header.as_deref().unwrap_or(&peer.host);
    let plan = match active.kind {
        CheckKind::Https | CheckKind::Grpcs => plan(upstream, host, tls),
        CheckKind::Http | CheckKind::Tcp | CheckKind::Grpc => None,
    };
    let address = SocketAddr::new(peer.ip, peer.port);
    let io = match connect(address, plan.as_ref(), active.timeout).await {
        Ok(io) => io,
        Err(ConnectError::Timeout) => return Report::Timeout,
        Err(ConnectError::Refused(_) | ConnectError::Tls(_)) => return Report::TcpFailure,
    };
    match active.kind {
        CheckKind::Tcp => Report::Connected,
        CheckKind::Http | CheckKind::Https => {
            get(io, active, host).await.unwrap_or(Report::TcpFailure)
        }
        CheckKind::Grpc | CheckKind::Grpcs => {
            call(io, active, host).await.unwrap_or(Report::TcpFailure)
        }
    }
}

fn plan(upstream: &Upstream, host: &str, tls: &Store) -> Option<TlsPlan> {
    let active = &upstream.checks.active;
    let demands = proxy_core::table::UpstreamTls {
        verify: Some(active.verify_certificate),
        ..proxy_core::table::UpstreamTls::default()
    };
    tls.client(&demands, upstream.certificate.clone(), active.sni.as_deref().unwrap_or(host))
}

async fn get(mut io: Io, active: &Active, host: &str) -> Option<Report> {
    let mut request = format!("GET {} HTTP/1.0\r\nHost: {host}\r\n", active.path);
    for (name, values) in &active.headers {
        for value in values {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.ok()?;
    io.flush().await.ok()?;
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if !buffer.is_empty()
            && let Some(head) = response::parse(&mut buffer, &Method::GET).ok()?
        {
            return Some(Report::Status(head.status.as_u16()));
        }
        if io.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn call(io: Io, active: &Active, host: &str) -> Option<Report> {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.handshake::<_, Empty<Bytes>>(TokioIo::new(io)).await.ok()?;
    let request = Request::get(format!("http://{host}{}", active.path)).body(Empty::new()).ok()?;
    // Biased: the connection must run for its request to get anywhere.
    tokio::select! {
        biased;
        _ = connection => None,
        answer = sender.send_request(request) => Some(Report::Status(answer.ok()?.status().as_u16())),
    }
}
