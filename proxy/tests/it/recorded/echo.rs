//! The upstreams of recorded cases: they answer with what they received, or as `x-echo` says.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

/// What the upstreams remember of the case at hand.
#[derive(Default)]
pub(super) struct Memory {
    /// Requests to paths with `/sink`, by upstream.
    pub sink: HashMap<String, Vec<Value>>,
    /// What paths with `/health` answer, by upstream.
    pub health: HashMap<String, u16>,
}

/// Three plain upstreams, one with TLS, a closed port, one that lets nobody in.
pub(super) struct Upstreams {
    /// Ports by name.
    pub ports: BTreeMap<&'static str, u16>,
    /// What they remember.
    pub memory: Arc<Mutex<Memory>>,
    /// Sockets that must stay open.
    _kept: (tokio::runtime::Runtime, tokio::net::TcpListener, TcpStream, tokio::net::TcpSocket),
}

impl Upstreams {
    /// Starts them on free ports.
    pub(super) fn start(pem: &Path) -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let mut ports = BTreeMap::new();
        for name in ["A", "B", "C"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            ports.insert(name, listener.local_addr().unwrap().port());
            let memory = Arc::clone(&memory);
            std::thread::spawn(move || accept(name, &listener, &memory, None));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        ports.insert("S", listener.local_addr().unwrap().port());
        let (shared, tls) = (Arc::clone(&memory), server_tls(pem));
        std::thread::spawn(move || accept("S", &listener, &shared, Some(&tls)));
        // Bound and not listening: nobody else gets the port, and nobody gets through to it.
        let closed = tokio::net::TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        ports.insert("Z", closed.local_addr().unwrap().port());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let full = {
            let _inside = runtime.enter();
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket.listen(0).unwrap()
        };
        let address = full.local_addr().unwrap();
        ports.insert("W", address.port());
        // Its queue is full with this one: no further connection gets through.
        let waiting = TcpStream::connect(address).unwrap();
        Self { ports, memory, _kept: (runtime, full, waiting, closed) }
    }
}

fn server_tls(pem: &Path) -> Arc<rustls::ServerConfig> {
    let text = std::fs::read(pem).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(&text).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &chain {
        // One that is no authority is of no use here.
        let _ = roots.add(certificate.clone());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    )
    .allow_unauthenticated()
    .build()
    .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn accept(
    name: &'static str,
    listener: &TcpListener,
    memory: &Arc<Mutex<Memory>>,
    tls: Option<&Arc<rustls::ServerConfig>>,
) {
    for stream in listener.incoming().flatten() {
        let memory = Arc::clone(memory);
        let tls = tls.cloned();
        std::thread::spawn(move || match tls {
            None => serve(name, stream, &memory, None),
            Some(config) => {
                let Ok(mut session) = rustls::ServerConnection::new(config) else { return };
                let mut stream = stream;
                if session.complete_io(&mut stream).is_err() {
                    return;
                }
                let client = session
                    .peer_certificates()
                    .and_then(<[_]>::first)
                    .and_then(|one| super::client::common_name(one));
                let seen = json!({ "sni": session.server_name(), "client": client });
                serve(name, rustls::StreamOwned::new(session, stream), &memory, Some(&seen));
            }
        });
    }
}

/// A request as it came.
struct Request {
    method: String,
    uri: String,
    version: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        read_line(reader, &mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            read_line(reader, &mut line)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim_start_matches([' ', '\t']).to_owned()));
        }
        Some(Self { method, uri, version, headers })
    }

    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }

    fn body(&self, reader: &mut impl BufRead) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if self.header("transfer-encoding").contains("chunked") {
            loop {
                let mut line = String::new();
                read_line(reader, &mut line)?;
                let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                if size == 0 {
                    let mut line = String::new();
                    read_line(reader, &mut line)?;
                    return Some(out);
                }
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).ok()?;
                out.extend_from_slice(&chunk[..size]);
            }
        }
        out.resize(self.header("content-length").parse().unwrap_or(0), 0);
        reader.read_exact(&mut out).ok()?;
        Some(out)
    }
}

/// One line without its end, each byte a letter.
fn read_line(reader: &mut impl BufRead, out: &mut String) -> Option<()> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes).ok()? == 0 {
        return None;
    }
    while matches!(bytes.last(), Some(b'\r' | b'\n')) {
        bytes.pop();
    }
    out.extend(bytes.into_iter().map(char::from));
    Some(())
}

fn serve<S: Read + Write>(name: &str, stream: S, memory: &Mutex<Memory>, tls: Option<&Value>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader) {
        let closes = tls.is_some()
            || request.header("connection").eq_ignore_ascii_case("close")
            || request.version == "HTTP/1.0";
        let Some(goes_on) = answer(name, &request, &mut reader, memory, tls) else {
            return;
        };
        if closes || !goes_on {
            return;
        }
    }
}

/// The instructions for this upstream: names and what follows `=`.
fn instructions(name: &str, request: &Request) -> Vec<(String, String)> {
    request
        .header("x-echo")
        .split(';')
        .filter(|part| !part.is_empty())
        .filter_map(|part| match part.as_bytes() {
            [who, b':', ..] => (char::from(*who).to_string() == name).then(|| &part[2..]),
            _ => Some(part),
        })
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(what, value)| (what.to_owned(), value.to_owned()))
        .collect()
}

/// Answers one request; says whether the connection goes on.
fn answer<S: Read + Write>(
    name: &str,
    request: &Request,
    reader: &mut BufReader<S>,
    memory: &Mutex<Memory>,
    tls: Option<&Value>,
) -> Option<bool> {
    let todo = instructions(name, request);
    let find = |what: &str| todo.iter().rev().find(|(known, _)| known == what);
    let value = |what: &str| find(what).map(|(_, value)| value.as_str());
    if request.header("x-echo").contains("noread") {
        std::thread::sleep(Duration::from_secs(3));
        return None;
    }
    if request.header("expect").eq_ignore_ascii_case("100-continue") {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let body = request.body(reader)?;
    let mut headers: Vec<(String, String)> =
        request.headers.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())).collect();
    headers.sort();
    let body: String = body.into_iter().map(char::from).collect();
    let mut seen = json!({
        "upstream": name, "method": request.method, "uri": request.uri,
        "version": request.version, "headers": headers, "body": body,
    });
    if let Some(tls) = tls {
        seen["tls"] = tls.clone();
    }
    if request.uri.contains("/sink") {
        memory.lock().unwrap().sink.entry(name.to_owned()).or_default().push(seen.clone());
    }
    if let Some(seconds) = value("delay") {
        std::thread::sleep(Duration::from_secs_f64(seconds.parse().unwrap_or(0.0)));
    }
    if find("close").is_some() {
        return None;
    }
    if todo.iter().any(|(what, _)| matches!(what.as_str(), "raw" | "sleep" | "tunnel")) {
        raw(&todo, reader);
        return None;
    }
    let mut status: u16 = value("status").and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut memory = memory.lock().unwrap();
    if let Some(health) = value("health").and_then(|text| text.parse().ok()) {
        memory.health.insert(name.to_owned(), health);
    }
    if request.uri.contains("/health") {
        status = memory.health.get(name).copied().unwrap_or(status);
    }
    drop(memory);
    let text = match (value("size"), value("body")) {
        (Some(size), _) => Some("x".repeat(size.parse().unwrap_or(0))),
        (None, body) => body.map(str::to_owned),
    };
    let out = write(request, &todo, status, text, &seen);
    reader.get_mut().write_all(&out).ok()?;
    reader.get_mut().flush().ok()?;
    Some(true)
}

fn write(
    request: &Request,
    todo: &[(String, String)],
    status: u16,
    text: Option<String>,
    seen: &Value,
) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or_default()).into_bytes();
    let own: Vec<(&str, &str)> = todo
        .iter()
        .filter_map(|(what, value)| Some((what.strip_prefix("h.")?, value.as_str())))
        .collect();
    let kind = if text.is_some() { "text/plain" } else { "application/json" };
    let body = text.unwrap_or_else(|| super::observe::python(seen));
    if !own.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        out.extend(format!("Content-Type: {kind}\r\n").bytes());
    }
    out.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    for (name, value) in own {
        out.extend(format!("{name}: ").bytes());
        out.extend(value.chars().map(|letter| letter as u8));
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
    if request.method != "HEAD" {
        out.extend(body.bytes());
    }
    out
}

/// Bytes as they are, pauses between them, then the connection's end.
fn raw<S: Read + Write>(todo: &[(String, String)], reader: &mut BufReader<S>) {
    for (what, value) in todo {
        match what.as_str() {
            "raw" => {
                let bytes = STANDARD.decode(value).unwrap_or_default();
                if reader.get_mut().write_all(&bytes).is_err() {
                    return;
                }
                let _ = reader.get_mut().flush();
            }
            "sleep" => {
                std::thread::sleep(Duration::from_secs_f64(value.parse().unwrap_or(0.0)));
            }
            _ => loop {
                let chunk = match reader.fill_buf() {
                    Ok(chunk) if !chunk.is_empty() => chunk.to_ascii_uppercase(),
                    _ => break,
                };
                reader.consume(chunk.len());
                if reader.get_mut().write_all(&chunk).is_err() {
                    return;
                }
            },
        }
    }
}
