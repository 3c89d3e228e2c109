//! One plain HTTP request through a proxy, as `curl` would make it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::networking::v1::Ingress;
use operator_core::snapshot::Snapshot;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A host and a path that the manifests route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) host: String,
    pub(super) path: String,
}

/// An answer, shortened to its first line.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) line: String,
}

impl Question {
    /// The first rule of any Ingress that names a host.
    pub(super) fn from(snapshot: &Snapshot) -> Option<Self> {
        snapshot.ingresses.iter().find_map(|ingress| Self::of(ingress))
    }

    /// The first rule of an Ingress that names a host.
    pub(super) fn of(ingress: &Ingress) -> Option<Self> {
        let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        rules.into_iter().find_map(|rule| {
            let host = rule.host.clone().filter(|host| !host.contains('*'))?;
            let paths = rule.http.as_ref()?.paths.as_slice();
            let path = paths.iter().find_map(|path| path.path.clone());
            Some(Self { host, path: path.unwrap_or_else(|| "/".to_owned()) })
        })
    }

    /// Asks through one proxy.
    pub(super) async fn ask(&self, proxy: SocketAddr) -> anyhow::Result<Reply> {
        timeout(Duration::from_secs(5), self.ask_slowly(proxy))
            .await
            .context("no answer in time")?
    }

    async fn ask_slowly(&self, proxy: SocketAddr) -> anyhow::Result<Reply> {
        let stream = TcpStream::connect(proxy).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut mover = JoinSet::new();
        mover.spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .uri(&self.path)
            .header(header::HOST, &self.host)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 64 << 10).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        Ok(Reply { status, line: text.lines().next().unwrap_or_default().to_owned() })
    }
}
