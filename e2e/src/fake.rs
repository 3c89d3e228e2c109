//! Servers that an operator takes for proxies, and that misbehave as proxies do.
//!
//! They listen on the node's address, where the operator's pods reach them through a hand-made EndpointSlice.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use md5::Digest as _;

use crate::place::NODE_ADDRESS;

/// How a fake proxy treats a configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Accepts it, and reports its hash.
    Accepts,
    /// Refuses it with status 400.
    Refuses,
    /// Answers everything with a page for people.
    AnswersHtml,
    /// Takes everything and says nothing.
    NeverAnswers,
    /// Reads the configuration, waits this many seconds, and accepts it then.
    AcceptsAfter(u64),
}

/// A configuration as it arrived.
#[derive(Clone, Debug)]
pub struct Push {
    /// The operator's pod.
    pub from: IpAddr,
    /// The request's head.
    pub head: String,
    /// The hash of the body, as a proxy would report it.
    pub hash: String,
}

/// A running fake proxy.
#[derive(Clone)]
pub struct FakeProxy {
    port: u16,
    shared: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    requests: usize,
    pushes: Vec<Push>,
    hash: String,
}

/// The hash that a proxy reports for a configuration.
fn hash(body: &[u8]) -> String {
    hex::encode(md5::Md5::digest(body))
}

/// The hash that a proxy without a configuration reports.
const EMPTY: &str = "00000000000000000000000000000000";

impl FakeProxy {
    /// Starts a fake proxy on a free port of the node's address.
    pub fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind((NODE_ADDRESS, 0))
            .context("failed to listen on the node's address")?;
        let port = listener.local_addr().context("failed to read the listener's address")?.port();
        let state = State { manner, requests: 0, pushes: Vec::new(), hash: EMPTY.to_owned() };
        let fake = Self { port, shared: Arc::new(Mutex::new(state)) };
        let server = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.serve(&stream));
            }
        });
        Ok(fake)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes its manner.
    pub fn become_(&self, manner: Manner) {
        self.state(|state| state.manner = manner);
    }

    /// Gives it another configuration, as a person with curl does.
    pub fn configure_by_hand(&self) {
        self.state(|state| {
            state.hash = hash(b"a stranger's configuration");
        });
    }

    /// How many requests of any kind have arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state(|state| state.requests)
    }

    /// The configurations that have arrived so far.
    #[must_use]
    pub fn pushes(&self) -> Vec<Push> {
        self.state(|state| state.pushes.clone())
    }

    fn state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let from: SocketAddr = stream.peer_addr().ok()?;
        let mut reader = BufReader::new(stream);
        if reader.fill_buf().ok()?.first() == Some(&TLS_HANDSHAKE) && !self.silent() {
            // What a server of plain HTTP says to a client that begins with TLS.
            (&mut &*stream)
                .write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                .ok()?;
            return None;
        }
        loop {
            let (head, body) = read(&mut reader)?;
            let push = head.starts_with("POST /config");
            let manner = self.state(|state| {
                state.requests += 1;
                if push {
                    state.pushes.push(Push {
                        from: from.ip(),
                        head: head.clone(),
                        hash: hash(&body),
                    });
                }
                state.manner
            });
            let (status, kind, text) = match manner {
                Manner::NeverAnswers => {
                    thread::sleep(Duration::from_secs(600));
                    return None;
                }
                Manner::AnswersHtml => {
                    ("200 OK", "text/html", "<html><body>It works!</body></html>".to_owned())
                }
                Manner::Refuses if push => ("400 Bad Request", JSON, REFUSAL.to_owned()),
                Manner::AcceptsAfter(seconds) if push => {
                    thread::sleep(Duration::from_secs(seconds));
                    ("201 Created", JSON, self.accept(&body))
                }
                Manner::Accepts if push => ("201 Created", JSON, self.accept(&body)),
                Manner::Accepts | Manner::Refuses | Manner::AcceptsAfter(_) => {
                    ("200 OK", JSON, self.answer(&head))
                }
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            (&mut &*stream).write_all(format!("{head}{text}").as_bytes()).ok()?;
        }
    }

    fn silent(&self) -> bool {
        self.state(|state| state.manner == Manner::NeverAnswers)
    }

    fn accept(&self, body: &[u8]) -> String {
        let hash = hash(body);
        self.state(|state| state.hash.clone_from(&hash));
        format!(r#"{{"configuration_hash":"{hash}"}}"#)
    }

    fn answer(&self, head: &str) -> String {
        if head.starts_with("GET /status") {
            let hash = self.state(|state| state.hash.clone());
            format!(r#"{{"configuration_hash":"{hash}","server":{{"total_requests":1}}}}"#)
        } else {
            ROOT.to_owned()
        }
    }
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

const JSON: &str = "application/json; charset=utf-8";
const ROOT: &str = r#"{"version":"3.9.0","tagline":"Welcome to kong","hostname":"fake","node_id":"8f0c52de-7d40-4b2b-9b60-2f3c5b1c0a11","configuration":{"database":"off","router_flavor":"expressions","role":"traditional"}}"#;
const REFUSAL: &str = r#"{"code":14,"name":"invalid declarative configuration","message":"declarative config is invalid: {}","fields":{},"flattened_errors":[{"entity_type":"route","entity_name":"fake.refused.example","entity_tags":["k8s-name:refused","k8s-namespace:fake","k8s-kind:Ingress"],"errors":[{"type":"field","field":"paths.1","message":"this proxy refuses everything"}]}]}"#;

/// Reads one request; none when the client has gone.
fn read(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    let mut length = 0;
    let mut chunked = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        head.push_str(line.trim_end());
        head.push('\n');
    }
    if chunked {
        return chunks(reader).map(|body| (head, body));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
