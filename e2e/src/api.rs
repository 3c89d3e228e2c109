//! The API server without kubectl's start-up time, for measurements.

use std::fs;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use serde_json::Value;

use crate::place::{API_ENDPOINT, Place};

/// A client of the API server as its administrator.
pub struct Api {
    http: Client,
}

impl Api {
    /// Connects with the certificates of the cluster's folder.
    pub fn new(place: &Place) -> Result<Self> {
        // Another part of the process may have installed it already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let read = |name: &str| {
            fs::read(place.path(name)).with_context(|| format!("failed to read {name}"))
        };
        let identity =
            Identity::from_pem(&[read("pki/admin.key")?, read("pki/admin.crt")?].concat())
                .context("failed to read the administrator's certificate")?;
        let authority = Certificate::from_pem(&read("pki/ca.crt")?)
            .context("failed to read the cluster's authority")?;
        let http =
            Client::builder().no_proxy().identity(identity).tls_certs_only([authority]).build();
        Ok(Self { http: http.context("failed to build a client")? })
    }

    /// Creates an object and returns when the API server has answered.
    pub fn create(&self, collection: &str, object: &Value) -> Result<()> {
        let sent = self.http.post(format!("{API_ENDPOINT}{collection}")).json(object).send();
        let answer = sent.context("failed to reach the API server")?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "the API server answers {status}: {}",
            answer.text().unwrap_or_default()
        );
        Ok(())
    }
}
