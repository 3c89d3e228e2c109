//! The enrollment server: a proxy that proves which pod it is gets a certificate for its own key.
//!
//! `POST /v1/enroll` carries a signing request and, as bearer, a service-account token that is bound
//! to the audience `flotilla.dev/enrollment`. The API server reviews the token; the pod that it names
//! must exist with that UID and belong to a fleet. Names in the request are ignored: only its key
//! counts. The answer is the chain, the authorities of the operator's own client certificate, and
//! when to come back. Private keys of proxies are never seen here.

mod judge;
mod serve;

use serde::{Deserialize, Serialize};

pub use judge::Judge;
pub(super) use serve::seconds as serve_seconds;
pub use serve::{Settings, serve};

/// The path of the one thing that can be asked for.
pub const PATH: &str = "/v1/enroll";

/// What a proxy asks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Request {
    /// A signing request, in PEM.
    pub csr: String,
}

/// What a proxy gets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The certificate, in PEM.
    pub certificate: String,
    /// What the operator's client certificate chains to, in PEM.
    pub client_authorities: String,
    /// What enrollment servers chain to, in PEM: to be trusted beside the file from now on.
    pub enrollment_authorities: String,
    /// In how many seconds to come back for the next one.
    pub renew_after_seconds: i64,
}

/// Why a proxy gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request says nothing that could be reviewed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The token is not good, or not for this.
    #[error("the token is not valid for the audience {audience}")]
    Unauthenticated {
        /// The audience that it must be bound to.
        audience: &'static str,
    },
    /// The token is good, but its pod may not have a certificate.
    #[error("{0}")]
    Forbidden(String),
    /// The operator cannot tell now.
    #[error("the operator cannot review this now")]
    Unavailable(#[source] Option<Box<kube::Error>>),
}
