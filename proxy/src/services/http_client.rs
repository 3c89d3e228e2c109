//! Requests that plugins make of HTTP servers: one at a time, read whole, within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use proxy_core::plugin::{HttpCall, HttpReply, ServiceError};
use rustls::ClientConfig;

/// The largest answer that is read.
const MAX_REPLY: usize = 64 << 20;

/// A client by whether it verifies certificates, and by its proxy.
type Known = HashMap<(bool, Option<String>), reqwest::Client>;

/// Clients in use.
#[derive(Default)]
pub(super) struct Clients(Mutex<Known>);

impl Clients {
    /// Asks once.
    pub(super) async fn ask(
        &self,
        tls: &Arc<ClientConfig>,
        call: HttpCall,
    ) -> Result<HttpReply, ServiceError> {
        let HttpCall { method, url, headers, body, timeout, verify, proxy } = call;
        let refused = |error: reqwest::Error| {
            // The address may hold a secret in its query.
            ServiceError::Unreachable(error.without_url().to_string())
        };
        let client = self.client(tls, verify, proxy).map_err(refused)?;
        let request = client.request(method, url).headers(headers).body(body).timeout(timeout);
        let mut answer = request.send().await.map_err(refused)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(refused)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_REPLY {
                return Err(ServiceError::Refused("answer too large".to_owned()));
            }
        }
        Ok(HttpReply { status, headers, body: Bytes::from(body) })
    }

    fn client(
        &self,
        tls: &ClientConfig,
        verify: bool,
        proxy: Option<String>,
    ) -> Result<reqwest::Client, reqwest::Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&(verify, proxy.clone())) {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(address) = &proxy {
            builder = builder.proxy(reqwest::Proxy::all(address)?);
        }
        let client = builder.build()?;
        known.insert((verify, proxy), client.clone());
        Ok(client)
    }
}
