//! The client of recorded cases: one request a connection, the bytes as they are written.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

/// An answer.
pub(super) struct Answer {
    /// Status.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Subject of the server's certificate.
    pub certificate: Option<String>,
}

/// A request that failed, under the name that the recordings have for it.
pub(super) struct Failure(pub &'static str);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self("ConnectionResetError")
            }
            io::ErrorKind::ConnectionRefused => Self("ConnectionRefusedError"),
            io::ErrorKind::UnexpectedEof => Self("RemoteDisconnected"),
            io::ErrorKind::InvalidData => Self("SSLError"),
            _ => Self("OSError"),
        }
    }
}

/// The common name of a certificate.
pub(super) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

/// The subject as openssl writes it; what the gateway made for itself has a name of its own.
fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let text = parsed.subject().to_string().replace('=', " = ");
    if text.ends_with("CN = localhost") {
        return Some("<default certificate>".to_owned());
    }
    Some(format!("subject={text}"))
}

/// Accepts whatever is shown without reading it: some recorded certificates are older than any verifier reads.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The provider with only the suites that openssl calls so.
fn provider(ciphers: Option<&str>) -> rustls::crypto::CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Some(ciphers) = ciphers {
        let wanted: Vec<String> =
            ciphers.split(':').map(|name| name.replace('-', "_").to_uppercase()).collect();
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            let openssl = name
                .trim_start_matches("TLS_")
                .replace("_WITH_", "_")
                .replace("AES_128_", "AES128_")
                .replace("AES_256_", "AES256_")
                .replace("CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305");
            name.starts_with("TLS13") || wanted.contains(&openssl)
        });
    }
    provider
}

fn connect(address: SocketAddr, tls: &Value) -> Result<Stream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(70)))?;
    let Some(tls) = tls.as_object().filter(|map| !map.is_empty()) else {
        return Ok(Stream::Plain(stream));
    };
    let versions: &[&rustls::SupportedProtocolVersion] =
        match tls.get("version").and_then(Value::as_str) {
            Some("1.2") => &[&rustls::version::TLS12],
            Some("1.3") => &[&rustls::version::TLS13],
            Some(_) => return Err(Failure("SSLError")),
            None => &[&rustls::version::TLS12, &rustls::version::TLS13],
        };
    let provider = Arc::new(provider(tls.get("ciphers").and_then(Value::as_str)));
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|_| Failure("SSLError"))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    for name in tls.get("alpn").and_then(Value::as_array).into_iter().flatten() {
        config.alpn_protocols.push(name.as_str().unwrap_or_default().as_bytes().to_vec());
    }
    let sni = tls.get("sni").and_then(Value::as_str);
    config.enable_sni = sni.is_some();
    let name = ServerName::try_from(sni.unwrap_or("localhost").to_owned())
        .map_err(|_| Failure("SSLError"))?;
    let mut session =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|_| Failure("SSLError"))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => Failure("ConnectionResetError"),
            _ => Failure("SSLError"),
        })?;
    }
    Ok(Stream::Tls(Box::new(rustls::StreamOwned::new(session, stream))))
}

fn certificate(stream: &Stream) -> Option<String> {
    match stream {
        Stream::Plain(_) => None,
        Stream::Tls(stream) => stream.conn.peer_certificates()?.first().and_then(subject),
    }
}

/// A handshake alone.
pub(super) fn handshake(address: SocketAddr, tls: &Value) -> Value {
    match connect(address, tls) {
        Err(Failure(name)) => json!({ "error": name }),
        Ok(stream) => {
            let (mut version, mut alpn) = (None, None);
            if let Stream::Tls(stream) = &stream {
                version = stream.conn.protocol_version().map(|version| match version {
                    rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
                    _ => "TLSv1.2",
                });
                alpn = stream.conn.alpn_protocol().map(String::from_utf8_lossy);
            }
            json!({ "certificate": certificate(&stream), "version": version, "alpn": alpn })
        }
    }
}

fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|letter| letter as u8).collect()
}

/// Raw bytes: what came back, and whether the connection was closed.
pub(super) fn raw(address: SocketAddr, request: &Value) -> (Vec<u8>, bool) {
    let Ok(mut stream) = TcpStream::connect(address) else { return (Vec::new(), true) };
    let text = request["raw"].as_str().unwrap_or_default();
    let _ = stream.write_all(&latin(text));
    let wait = Duration::from_secs_f64(request["wait"].as_f64().unwrap_or(2.0));
    let mut data = Vec::new();
    let mut buffer = vec![0; 65536];
    let mut last = Instant::now();
    loop {
        let left = wait.saturating_sub(last.elapsed());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return (data, false);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return (data, true),
            Ok(n) => {
                data.extend_from_slice(&buffer[..n]);
                last = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return (data, true),
            Err(_) => return (data, false),
        }
    }
}

/// One request on its own connection.
pub(super) fn send(address: SocketAddr, request: &Value) -> Result<Answer, Failure> {
    let mut stream = connect(address, &request["tls"])?;
    let certificate = certificate(&stream);
    let body = match (&request["body64"], &request["body"]) {
        (Value::String(text), _) => STANDARD.decode(text).unwrap_or_default(),
        (_, Value::Null) => Vec::new(),
        (_, Value::String(text)) => text.clone().into_bytes(),
        (_, other) => other.to_string().into_bytes(),
    };
    let mut heads: Vec<(String, String)> = Vec::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        heads.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), Into::into)));
    }
    for pair in request["header_list"].as_array().into_iter().flatten() {
        let text = |at: usize| pair[at].as_str().unwrap_or_default().to_owned();
        heads.push((text(0), text(1)));
    }
    let has = |name: &str| heads.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let method = request["method"].as_str().unwrap_or("GET");
    let mut head = format!("{method} {} HTTP/1.1\r\n", request["path"].as_str().unwrap_or("/"));
    if !has("host") {
        head += &format!("Host: {}\r\n", request["host"].as_str().unwrap_or("example.test"));
    }
    heads.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut bytes = latin(&head);
    bytes.extend(body);
    // Who refuses early may close before all is written; the answer counts.
    let _ = stream.write_all(&bytes);
    let _ = stream.flush();
    let mut answer = read_answer(&mut stream, method)?;
    answer.certificate = certificate;
    Ok(answer)
}

fn read_answer(stream: &mut Stream, method: &str) -> Result<Answer, Failure> {
    let mut data = Vec::new();
    let mut chunk = vec![0; 65536];
    let mut more = |data: &mut Vec<u8>| -> Result<bool, Failure> {
        match stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(n) => {
                data.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    loop {
        let end = loop {
            if let Some(at) = find(&data, b"\r\n\r\n") {
                break at;
            }
            if !more(&mut data)? {
                return Err(Failure("RemoteDisconnected"));
            }
        };
        let (status, _, _, headers) = head(&data[..end]).ok_or(Failure("BadStatusLine"))?;
        data.drain(..end + 4);
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        while !complete(&data, status, method, &headers) {
            if !more(&mut data)? {
                break;
            }
        }
        let (body, whole) = body(&mut data, status, method, &headers);
        if !whole {
            return Err(Failure("IncompleteRead"));
        }
        return Ok(Answer { status, headers, body, certificate: None });
    }
}

/// Where the needle begins.
pub(super) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// Status, version, reason and headers of an answer's head.
pub(super) fn head(bytes: &[u8]) -> Option<(u16, String, String, Vec<(String, String)>)> {
    let text: String = bytes.iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    let mut words = first.splitn(3, ' ');
    let version = words.next()?.to_owned();
    let status = words.next()?.parse().ok()?;
    let reason = words.next().unwrap_or_default().to_owned();
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim_start_matches([' ', '\t']).to_owned())
        })
        .collect();
    Some((status, version, reason, headers))
}

fn named<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

fn complete(data: &[u8], status: u16, method: &str, headers: &[(String, String)]) -> bool {
    if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return true;
    }
    if named(headers, "transfer-encoding") == Some("chunked") {
        return data.starts_with(b"0\r\n\r\n") || find(data, b"\r\n0\r\n").is_some();
    }
    named(headers, "content-length")
        .and_then(|text| text.parse::<usize>().ok())
        .is_some_and(|length| data.len() >= length)
}

/// Takes the body of an answer off the data; says whether all of it was there.
pub(super) fn body(
    data: &mut Vec<u8>,
    status: u16,
    method: &str,
    headers: &[(String, String)],
) -> (Vec<u8>, bool) {
    if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return (Vec::new(), true);
    }
    if let Some(length) = named(headers, "content-length").and_then(|text| text.parse().ok()) {
        let end = data.len().min(length);
        return (data.drain(..end).collect(), end == length);
    }
    if named(headers, "transfer-encoding") != Some("chunked") {
        return (std::mem::take(data), true);
    }
    let mut out = Vec::new();
    while let Some(at) = find(data, b"\r\n") {
        let line = String::from_utf8_lossy(&data[..at]).into_owned();
        let size = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if data.len() < at + 2 + size + 2 {
            out.extend(data.drain(at + 2..));
            break;
        }
        out.extend_from_slice(&data[at + 2..at + 2 + size]);
        data.drain(..at + 2 + size + 2);
        if size == 0 {
            return (out, true);
        }
    }
    data.clear();
    out.extend(b"<cut off>");
    (out, false)
}
