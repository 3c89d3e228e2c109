//! The Admin API client: one connection to one proxy, whose identity is proved before anything is sent.
//!
//! A connection is opened to an address, never to a name, and judged by [`peer_verifier`](crate::trust::peer_verifier) during the
//! TLS handshake: a pod that is not the expected one gets zero bytes. Every phase has a deadline, every
//! answer a bound, and whatever goes wrong comes back as one word and a sentence, never as a panic
//! or a hang. It speaks about proxies only: no Kubernetes types in here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use kong::admin::TERM_HEADER;
use operator_core::fleet::event::{
    IdentityMode, Node, Observation, PeerIdentity, Probed, Pushed, Trouble, TroubleKind,
};
use operator_core::revision::{Body, ConfigHash};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::trust::{ClientIdentity, Expected};

mod answer;
mod connect;
mod data_path;
mod trouble;

/// How the operator names itself.
const AGENT: &str = concat!("flotilla/", env!("CARGO_PKG_VERSION"));

/// How long each phase of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Opening the TCP connection.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// The answer to a question.
    pub answer: Duration,
    /// The answer to a configuration, beside a second for each half mebibyte of it.
    pub apply: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(2),
            answer: Duration::from_secs(5),
            apply: Duration::from_secs(20),
        }
    }
}

impl Deadlines {
    fn apply_for(&self, bytes: usize) -> Duration {
        let half_mebibytes = u64::try_from(bytes >> 19).unwrap_or(u64::MAX);
        self.apply.saturating_add(Duration::from_secs(half_mebibytes))
    }
}

/// How both sides prove who they are.
#[derive(Clone, Debug)]
pub enum Security {
    /// Mutual TLS.
    Mutual {
        /// What we show, and what the peer must chain to.
        identity: Arc<ClientIdentity>,
        /// Who the peer must be.
        expected: Expected,
    },
    /// Nothing is proved, because the fleet says so in plain words. TLS is used when the peer speaks it.
    Unverified,
}

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The Admin API's address.
    pub address: SocketAddr,
    /// Where traffic arrives, when that is known: probes ask there what is served.
    pub data: Option<SocketAddr>,
    /// How both sides prove who they are.
    pub security: Security,
    /// How long everything may take.
    pub deadlines: Deadlines,
}

/// An open connection to a proxy that proved who it is.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    // Dropping it ends the task that moves the connection's bytes.
    _mover: JoinSet<()>,
    host: String,
    data: Option<SocketAddr>,
    identity: PeerIdentity,
    deadlines: Deadlines,
    /// What `GET /` told: a process that restarts loses its connections, so once is enough.
    node: Option<Node>,
}

/// A configuration to post.
#[derive(Clone, Debug)]
pub struct Post {
    /// The bytes and their hash.
    pub body: Body,
    /// The leader's term.
    pub term: u64,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// In one word and a sentence.
    pub async fn open(target: &Target) -> Result<Self, Trouble> {
        connect::open(target).await
    }

    /// Whether the peer is still there, as far as can be told without asking.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Who the peer proved to be.
    #[must_use]
    pub const fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// Asks who the peer is and what it holds.
    pub async fn probe(&mut self) -> Probed {
        match self.observe().await {
            Ok(observation) => Probed::Answered(Box::new(observation)),
            Err(trouble) => Probed::Failed(trouble),
        }
    }

    async fn observe(&mut self) -> Result<Observation, Trouble> {
        let node = match self.node.clone() {
            Some(node) => node,
            None => {
                let node = answer::node(&self.get("/").await?)?;
                self.node = Some(node.clone());
                node
            }
        };
        let status = self.get("/status").await?;
        let hash = answer::hash(&status)?;
        let served = match self.data {
            Some(address) => data_path::served(address, self.deadlines.answer).await?,
            None => None,
        };
        Ok(Observation { node, hash, served, identity: self.identity.clone() })
    }

    async fn get(&mut self, path: &'static str) -> Result<answer::Answer, Trouble> {
        let by = Instant::now() + self.deadlines.answer;
        let request = self.request(Method::GET, path).body(Full::default());
        let request = request.map_err(|error| trouble::of(&error))?;
        self.call(request, by, path).await
    }

    /// Posts a configuration.
    pub async fn push(&mut self, post: &Post) -> Pushed {
        match self.post(post, "/config?check_hash=1&flatten_errors=1").await {
            Ok(answer) if answer.status == StatusCode::BAD_REQUEST => {
                self.explain(post, answer).await
            }
            Ok(answer) => answer::pushed(&answer),
            Err(trouble) => Pushed::Failed(trouble),
        }
    }

    /// With flattening, some refusals name nothing (a missing reference): then the question is asked
    /// again without it. The proxy keeps what it has either way.
    async fn explain(&mut self, post: &Post, first: answer::Answer) -> Pushed {
        let pushed = answer::pushed(&first);
        let named = match &pushed {
            Pushed::Refused(refusal) => !refusal.entities.is_empty(),
            _ => true,
        };
        if named {
            return pushed;
        }
        match self.post(post, "/config?check_hash=1").await {
            Ok(second) => answer::pushed(&second),
            Err(_) => pushed,
        }
    }

    async fn post(&mut self, post: &Post, path: &'static str) -> Result<answer::Answer, Trouble> {
        let bytes = post.body.bytes().clone();
        let by = Instant::now() + self.deadlines.apply_for(bytes.len());
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "text/yaml")
            .header(TERM_HEADER, post.term)
            .body(Full::new(bytes))
            .map_err(|error| trouble::of(&error))?;
        self.call(request, by, "/config").await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, "application/json")
    }

    async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
        by: Instant,
        what: &'static str,
    ) -> Result<answer::Answer, Trouble> {
        let call = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = if head.status.is_success() && what == "/config" {
                discard(body).await?;
                Bytes::new()
            } else {
                read(body).await?
            };
            Ok::<_, hyper::Error>(answer::Answer::new(&head, body))
        };
        match timeout_at(by, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(trouble::of(&error)),
            Err(_) => Err(Trouble {
                kind: TroubleKind::Timeout,
                message: format!("{what} was not answered in time"),
            }),
        }
    }
}

/// What an answer may hold; anything beyond is cut off.
const ANSWER_MOST: usize = 8 << 20;

/// Reads an answer up to its bound.
async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = ANSWER_MOST - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
            if kept.len() == ANSWER_MOST {
                break;
            }
        }
    }
    Ok(kept.into())
}

/// Reads an answer that nobody needs: Kong echoes the whole configuration.
async fn discard(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// The identity of a peer that nothing was asked of.
fn unproved() -> PeerIdentity {
    PeerIdentity {
        mode: IdentityMode::None,
        subject: String::new(),
        serial: String::new(),
        not_after: 0,
    }
}

/// The hash in a `configuration_hash`, which is absent before the first configuration.
fn hash_of(text: Option<&str>) -> Option<ConfigHash> {
    text.map_or(Some(ConfigHash::EMPTY), ConfigHash::parse)
}
