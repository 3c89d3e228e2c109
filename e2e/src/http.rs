//! A client as curl is one: it asks a given address for a given host.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::blocking::{Client as Blocking, ClientBuilder};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
    /// The server's certificate, over TLS.
    pub certificate: Option<Vec<u8>>,
}

/// A client without cookies, redirects or retries of its own.
#[derive(Clone, Debug)]
pub struct Client {
    http: Blocking,
}

impl Client {
    /// A client that keeps its connections open.
    pub fn new() -> Result<Self> {
        builder().build().map(|http| Self { http }).context("failed to build a client")
    }

    /// A client that opens a connection for each request.
    pub fn without_keepalive() -> Result<Self> {
        let http =
            builder().pool_max_idle_per_host(0).build().context("failed to build a client")?;
        Ok(Self { http })
    }

    /// Asks `address` for `path` of `host`.
    pub fn get(&self, address: SocketAddr, host: &str, path: &str) -> Result<Answer> {
        self.get_with(address, (host, path), &[])
    }

    /// Asks `address` for a path of a host, with more headers.
    pub fn get_with(
        &self,
        address: SocketAddr,
        (host, path): (&str, &str),
        headers: &[(&str, &str)],
    ) -> Result<Answer> {
        let request = self.http.get(format!("http://{address}{path}")).header("host", host);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        read(request.send().with_context(|| format!("failed to ask {address} for {host}{path}"))?)
    }
}

/// Asks `address` for `path` of `host` over TLS, and returns the certificate that it showed, whoever signed it.
pub fn get_tls(address: SocketAddr, host: &str, path: &str) -> Result<Answer> {
    let client = builder()
        .resolve(host, address)
        .tls_danger_accept_invalid_certs(true)
        .tls_info(true)
        .build()
        .context("failed to build a client")?;
    let url = format!("https://{host}:{}{path}", address.port());
    read(
        client
            .get(url)
            .send()
            .with_context(|| format!("failed to ask {address} for {host}{path} over TLS"))?,
    )
}

fn builder() -> ClientBuilder {
    // Another part of the process may have installed it already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Blocking::builder()
        .redirect(Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .timeout(Duration::from_secs(10))
}

fn read(response: reqwest::blocking::Response) -> Result<Answer> {
    let certificate = response
        .extensions()
        .get::<TlsInfo>()
        .and_then(|info| info.peer_certificate())
        .map(<[u8]>::to_vec);
    let status = response.status().as_u16();
    Ok(Answer { status, body: response.text().context("failed to read the body")?, certificate })
}
