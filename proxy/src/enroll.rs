//! Enrollment: how this proxy gets the certificate of its Admin API from the operator.
//!
//! The key is made here and never leaves this process's memory; what travels is a signing request
//! and a service-account token that is good for enrollment only. Without a certificate the Admin API
//! accepts nobody; traffic is not touched by any of this. A certificate is renewed at two thirds of
//! its life, together with the authorities that the operator's own certificate chains to, and running
//! connections stay as they are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use runtime::Shutdown;
use runtime::tls::{Identity, TlsError};
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// How long a whole exchange with the operator may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// The pauses between attempts: from the first, doubled up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// The longest answer that is read.
const ANSWER_MOST: usize = 256 * 1024;

/// Where to enroll, and with what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The operator's enrollment Service, such as `https://flotilla-enrollment.flotilla.svc:8443`.
    pub url: String,
    /// The file with the service-account token; it is read anew each time, since kubelet replaces it.
    pub token_file: PathBuf,
    /// The file with the authorities that the operator's certificate chains to.
    pub ca_file: PathBuf,
}

impl Settings {
    /// Reads `FLOTILLA_ENROLLMENT_URL`, `FLOTILLA_ENROLLMENT_TOKEN_FILE` and
    /// `FLOTILLA_ENROLLMENT_CA_FILE` through `lookup`. `None`: this proxy does not enroll.
    ///
    /// # Errors
    /// When only some of them are set.
    pub fn read(
        lookup: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, Incomplete> {
        let get = |name| lookup(name).filter(|value| !value.is_empty()).ok_or(Incomplete(name));
        let Ok(url) = get("FLOTILLA_ENROLLMENT_URL") else { return Ok(None) };
        let token_file = get("FLOTILLA_ENROLLMENT_TOKEN_FILE")?.into();
        let ca_file = get("FLOTILLA_ENROLLMENT_CA_FILE")?.into();
        Ok(Some(Self { url, token_file, ca_file }))
    }
}

/// Enrollment is asked for, but something that it needs is not said.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("failed to set up enrollment: {0} is not set")]
pub struct Incomplete(&'static str);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum EnrollError {
    #[error("failed to read {path}")]
    File { path: String, source: std::io::Error },
    #[error("failed to use the authorities of the operator")]
    Authorities(#[from] TlsError),
    #[error("failed to make a key")]
    Key(#[from] rcgen::Error),
    #[error("failed to reach the operator")]
    Http(#[from] reqwest::Error),
    #[error("the operator refuses ({status}): {message}")]
    Refused { status: u16, message: String },
    #[error("the operator's answer is too long")]
    Long,
    #[error("the operator's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// What the operator grants.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grant {
    certificate: String,
    client_authorities: String,
    renew_after_seconds: u64,
}

#[derive(Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

/// Enrolls, and again whenever the certificate is due, until shutdown. Each result goes into `tls`,
/// which the Admin API's listener follows.
///
/// # Errors
/// Never: what fails is tried again, and what was granted stays in use.
pub async fn run(
    settings: Settings,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut pause = PAUSES.0;
    loop {
        // Shutdown first: a certificate that arrives after it is of no use.
        let tried = tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(()),
            tried = enroll(&settings) => tried,
        };
        let rest = match tried {
            Ok((config, renew_after)) => {
                info!(renew_after_seconds = renew_after.as_secs(), "enrolled");
                tls.send_replace(Some(config));
                pause = PAUSES.0;
                renew_after
            }
            Err(error) => {
                note_failure(&error, pause);
                let rest = pause;
                pause = (pause * 2).min(PAUSES.1);
                rest
            }
        };
        tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(()),
            () = sleep(rest) => {}
        }
    }
}

/// The first failures of a start are expected: the operator may not be there yet.
fn note_failure(error: &EnrollError, pause: Duration) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    if pause < Duration::from_secs(2) {
        debug!(%error, cause, "enrollment failed, trying again");
    } else {
        warn!(%error, cause, "enrollment still fails");
    }
}

/// One attempt: a new key, a request, a granted certificate.
async fn enroll(settings: &Settings) -> Result<(Arc<ServerConfig>, Duration), EnrollError> {
    let authorities = read(&settings.ca_file).await?;
    let token = read(&settings.token_file).await?;
    let key = KeyPair::generate()?;
    // Names would be ignored: the operator says who this is.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?.pem()?;

    let grant = ask(settings, &authorities, token.trim(), &request).await?;
    let identity = Identity::from_pem(
        grant.certificate.as_bytes(),
        key.serialize_pem().as_bytes(),
        grant.client_authorities.as_bytes(),
    )?;
    let config = identity.server(&[b"h2", b"http/1.1"])?;
    Ok((Arc::new(config), Duration::from_secs(grant.renew_after_seconds.max(10))))
}

async fn ask(
    settings: &Settings,
    authorities: &str,
    token: &str,
    request: &str,
) -> Result<Grant, EnrollError> {
    let roots = runtime::tls::certificates(authorities.as_bytes(), "authorities")?;
    let roots: Result<Vec<_>, _> =
        roots.iter().map(|root| reqwest::Certificate::from_der(root)).collect();
    let client = reqwest::Client::builder()
        .https_only(true)
        .tls_certs_only(roots?)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(EXCHANGE)
        .build()?;
    let url = format!("{}/v1/enroll", settings.url.trim_end_matches('/'));
    let body = serde_json::json!({ "csr": request });
    let mut answer = client.post(url).bearer_auth(token).json(&body).send().await?;
    let status = answer.status();
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if read.len() + chunk.len() > ANSWER_MOST {
            return Err(EnrollError::Long);
        }
        read.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok(serde_json::from_slice(&read)?);
    }
    // Whatever stands between may answer anything.
    let complaint: Complaint = serde_json::from_slice(&read).unwrap_or_default();
    Err(EnrollError::Refused { status: status.as_u16(), message: complaint.message })
}

async fn read(path: &PathBuf) -> Result<String, EnrollError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| EnrollError::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_without_a_url_does_not_enroll() {
        assert_eq!(Settings::read(|_| None), Ok(None));
    }

    #[test]
    fn half_of_the_settings_is_an_error_that_names_the_missing_one() {
        let lookup =
            |name| (name == "FLOTILLA_ENROLLMENT_URL").then(|| "https://operator".to_owned());
        let error = Settings::read(lookup).unwrap_err();
        assert!(error.to_string().contains("FLOTILLA_ENROLLMENT_TOKEN_FILE"));
    }
}
