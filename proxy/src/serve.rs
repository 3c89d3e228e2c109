//! A client's connection: PROXY protocol, TLS, then HTTP/1 or HTTP/2 until either side has enough.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming as Http2Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proxy_core::answer::Answer;
use proxy_core::exchange::{Client, Exchange, Tls};
use runtime::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::app::Gateway;
use crate::downstream::{ChannelBody, Http2Responder, Out, RequestBody};
use crate::http::{self as exchange, Client1, Incoming, Peer, respond};
use crate::http1::Framing;
use crate::http1::body::{Decoder, Piece};
use crate::http1::io::{Body, Home, PATIENCE, Reader, Responder, Writer};
use crate::http1::request::{Head, Parsed, Refusal, Version as HeadVersion};
use crate::proxy_protocol;

/// How connections of a listener begin.
pub struct Entry {
    /// The TLS configuration.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Whether a PROXY header comes first.
    pub proxy_protocol: bool,
    /// Whether clients without a good certificate get no session.
    pub verifies: bool,
}

/// How many requests an HTTP/2 connection has in hand at once.
const STREAMS: usize = 128;
/// How long an unread body is thrown away before its connection is given up.
const DISCARD: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
pub async fn connection(
    gateway: Arc<Gateway>,
    entry: Arc<Entry>,
    client: (TcpStream, SocketAddr),
    shutdown: Shutdown,
) {
    resume(gateway, entry, client, BytesMut::new(), shutdown).await;
}

/// Serves a connection of which some bytes were read already.
pub async fn resume(
    gateway: Arc<Gateway>,
    entry: Arc<Entry>,
    (mut stream, address): (TcpStream, SocketAddr),
    mut ahead: BytesMut,
    shutdown: Shutdown,
) {
    gateway.counters.accepted.fetch_add(1, Ordering::Relaxed);
    let Ok(local) = stream.local_addr() else { return };
    gateway.counters.active.fetch_add(1, Ordering::Relaxed);
    let mut peer = Peer::new(address, local);
    let known = if entry.proxy_protocol {
        match timeout(PATIENCE, proxy_protocol::read(&mut stream, &mut ahead)).await {
            Ok(Ok(source)) => {
                if let Some(source) = source {
                    peer = Peer::new(source, local);
                }
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    } else {
        true
    };
    if known {
        match &entry.tls {
            Some(config) => {
                tls(&gateway, (config, entry.verifies), (stream, ahead), peer, shutdown).await;
            }
            None => plain(&gateway, entry.http2, (stream, ahead), peer, shutdown).await,
        }
    }
    gateway.counters.active.fetch_sub(1, Ordering::Relaxed);
}

async fn plain(
    gateway: &Arc<Gateway>,
    http2_too: bool,
    (stream, mut ahead): (TcpStream, BytesMut),
    peer: Peer,
    shutdown: Shutdown,
) {
    if http2_too {
        let begins = timeout(PATIENCE, is_preface(&stream, &ahead)).await;
        if matches!(begins, Ok(true)) {
            return http2(
                gateway,
                crate::rewind::Rewind::new(ahead.split(), stream),
                peer,
                shutdown,
            )
            .await;
        }
    }
    let (read, write) = stream.into_split();
    http1(
        gateway,
        Reader::new(Box::new(read), ahead, gateway.settings.head_patience),
        Writer::new(Box::new(write)),
        peer,
        shutdown,
    )
    .await;
}

/// Whether the connection begins as HTTP/2 does.
async fn is_preface(stream: &TcpStream, ahead: &[u8]) -> bool {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if !ahead.is_empty() {
        return preface.starts_with(&ahead[..ahead.len().min(preface.len())]);
    }
    let mut first = [0; 3];
    loop {
        match stream.peek(&mut first).await {
            Ok(3) => return first == preface[..3],
            Ok(0) | Err(_) => return false,
            Ok(some) if first[..some] != preface[..some] => return false,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn tls(
    gateway: &Arc<Gateway>,
    (config, verifies): (&Arc<rustls::ServerConfig>, bool),
    (stream, ahead): (TcpStream, BytesMut),
    mut peer: Peer,
    shutdown: Shutdown,
) {
    let mut first = [0];
    let begin = if ahead.is_empty() {
        match timeout(PATIENCE, stream.peek(&mut first)).await {
            Ok(Ok(1)) => first[0],
            _ => return,
        }
    } else {
        ahead[0]
    };
    if begin.is_ascii_uppercase() {
        return plain_on_tls(gateway, (stream, ahead), peer).await;
    }
    let stream = crate::rewind::Rewind::new(ahead, stream);
    let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
    let Ok(Ok(stream)) = timeout(PATIENCE, accepting).await else { return };
    let session = stream.get_ref().1;
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    peer.tls = Some(Arc::new(describe(session, verifies)));
    if alpn.as_deref() == Some(b"h2") {
        return http2(gateway, stream, peer, shutdown).await;
    }
    let (read, write) = tokio::io::split(stream);
    http1(
        gateway,
        Reader::new(Box::new(read), BytesMut::new(), gateway.settings.head_patience),
        Writer::new(Box::new(write)),
        peer,
        shutdown,
    )
    .await;
}

fn describe(session: &rustls::ServerConnection, verifies: bool) -> Tls {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let suite = session.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default();
    Tls {
        version: version.into(),
        cipher: openssl_name(cipher).into(),
        sni: session.server_name().map(Into::into),
        client_verify: if verifies { "SUCCESS" } else { "NONE" }.into(),
    }
}

/// Cipher suites as OpenSSL writes them.
fn openssl_name(suite: &str) -> String {
    if let Some(rest) = suite.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    suite
        .trim_start_matches("TLS_")
        .replace("_WITH_", "-")
        .replace("AES_128", "AES128")
        .replace("AES_256", "AES256")
        .replace("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305")
        .replace('_', "-")
}

/// Plain HTTP on a TLS port gets an answer that says so.
async fn plain_on_tls(gateway: &Arc<Gateway>, (stream, ahead): (TcpStream, BytesMut), peer: Peer) {
    let (read, write) = stream.into_split();
    let mut reader = Reader::new(Box::new(read), ahead, gateway.settings.head_patience);
    let mut writer = Writer::new(Box::new(write));
    let Ok(Some(parsed)) = reader.head(PATIENCE).await else { return };
    let refusal = match parsed {
        Parsed::Refused(refusal) => *refusal,
        Parsed::Head(head) => Refusal {
            status: StatusCode::BAD_REQUEST,
            message: Some("The plain HTTP request was sent to HTTPS port"),
            accept: head.headers.get(header::ACCEPT).cloned(),
            bare: false,
            method: Some(head.method),
            target: head.target,
        },
        Parsed::Partial => return,
    };
    refuse(gateway, &peer, refusal, &mut writer).await;
}

async fn http1(
    gateway: &Arc<Gateway>,
    reader: Reader,
    mut writer: Writer,
    peer: Peer,
    shutdown: Shutdown,
) {
    let home = Home::default();
    let mut reader = reader;
    let mut first = true;
    let stop = shutdown.requested();
    tokio::pin!(stop);
    let mut stopping = false;
    loop {
        let idle = if first { gateway.settings.head_patience } else { gateway.settings.keep_alive };
        first = false;
        // Biased: a request that is here already is served even while the gateway stops.
        let parsed = tokio::select! {
            biased;
            parsed = reader.head(idle) => parsed,
            // Closing now would break a request that is on its way: the client learns from its next answer.
            () = &mut stop, if !stopping => {
                stopping = true;
                reader.head(gateway.settings.last_call).await
            }
        };
        let head = match parsed {
            Ok(Some(Parsed::Head(head))) => *head,
            Ok(Some(Parsed::Refused(refusal))) => {
                refuse(gateway, &peer, *refusal, &mut writer).await;
                break;
            }
            Ok(Some(Parsed::Partial) | None) | Err(_) => break,
        };
        let keep = !shutdown.has_begun();
        match request(gateway, &peer, (head, keep), reader, (&mut writer, &home)).await {
            Some(again) => reader = again,
            None => break,
        }
    }
    writer.close().await;
}

/// Serves one request; gives the reader back when another may follow.
async fn request(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    (head, keep): (Head, bool),
    reader: Reader,
    (writer, home): (&mut Writer, &Home),
) -> Option<Reader> {
    let Head { method, target, authority, version, headers, framing, size, keep_alive } = head;
    let expects = headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects && version == HeadVersion::Http11 {
        writer.put(b"HTTP/1.1 100 Continue\r\n\r\n");
        writer.flush().await.ok()?;
    }
    let bodiless = matches!(framing, Framing::None | Framing::Length(0));
    let (mut kept, body) = if bodiless {
        (Some(reader), None)
    } else {
        (None, Some(RequestBody::Http1(Body::new(reader, framing, home))))
    };
    let responder = Responder::new(writer, version, method == Method::HEAD, keep && keep_alive);
    let incoming = Incoming {
        method,
        version: if version == HeadVersion::Http11 { Version::HTTP_11 } else { Version::HTTP_10 },
        target,
        authority,
        headers,
        body,
        size: size as u64,
    };
    let mut client = Client1 { out: Out::Http1(responder), reader: kept.as_mut() };
    exchange::serve(gateway, peer, incoming, &mut client).await;
    let Out::Http1(responder) = client.out else { return None };
    if !responder.keep_alive || !responder.started {
        return None;
    }
    if let Some(kept) = kept {
        return Some(kept);
    }
    let (reader, mut decoder) =
        home.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()?;
    discard(reader, &mut decoder).await
}

/// Throws the rest of a body away, so that the client gets its answer and the next request can be read.
async fn discard(mut reader: Reader, decoder: &mut Decoder) -> Option<Reader> {
    let end = tokio::time::Instant::now() + DISCARD;
    loop {
        match decoder.next(&mut reader.buffer).ok()? {
            Piece::End => return Some(reader),
            Piece::Data(_) => {}
            Piece::More => {
                let next = (tokio::time::Instant::now() + Duration::from_secs(5)).min(end);
                match timeout_at(next, reader.fill()).await {
                    Ok(Ok(read)) if read > 0 => {}
                    _ => return None,
                }
            }
        }
    }
}

/// Answers a head that is not served.
async fn refuse(gateway: &Arc<Gateway>, peer: &Peer, refusal: Refusal, writer: &mut Writer) {
    let Refusal { status, message, accept, bare, method, target } = refusal;
    let mut headers = http::HeaderMap::new();
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, accept);
    }
    let method = method.unwrap_or(Method::GET);
    let version = if bare { HeadVersion::Http09 } else { HeadVersion::Http11 };
    let responder = Responder::new(writer, version, method == Method::HEAD, false);
    let mut out = Out::Http1(responder);
    let mut exchange = refused(gateway, peer, (method, target, headers));
    let answer = match message {
        Some(message) => {
            let format = exchange.request.headers.get(header::ACCEPT);
            let format = format
                .map_or(proxy_core::answer::Format::Plain, proxy_core::answer::Format::accepted);
            Answer::formatted(format, status, message, &exchange.id)
        }
        None => Answer::bare(&exchange, status),
    };
    let plan = Arc::clone(&gateway.state.current().table.unmatched);
    respond(gateway, &plan, &mut exchange, answer, &mut out).await;
}

fn refused(
    gateway: &Gateway,
    peer: &Peer,
    (method, target, headers): (Method, Vec<u8>, http::HeaderMap),
) -> Exchange {
    gateway.counters.requests.fetch_add(1, Ordering::Relaxed);
    let request = proxy_core::exchange::Request {
        method,
        version: Version::HTTP_11,
        scheme: peer.scheme(),
        host: String::new(),
        port: peer.local.1,
        path: String::new(),
        query: None,
        headers,
        body: proxy_core::exchange::Body::Empty,
        size: 0,
        target: String::from_utf8_lossy(&target).into_owned(),
    };
    let client = Client { ip: peer.ip, peer: peer.ip, port: peer.port, tls: peer.tls.clone() };
    Exchange::new(exchange::request_id::next(), client, request, exchange::now())
}

async fn http2<S>(gateway: &Arc<Gateway>, stream: S, peer: Peer, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (gateway, peer) = (Arc::clone(gateway), Arc::new(peer));
    // A stream that is reset makes room for another at once, the request behind it only when it is over.
    let slots = Arc::new(Semaphore::new(STREAMS));
    let service = hyper::service::service_fn(move |request: Request<Http2Body>| {
        let slots = Arc::clone(&slots);
        http2_request((Arc::clone(&gateway), Arc::clone(&peer)), slots, request)
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS as u32)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(60))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Biased: a connection that is over needs no farewell.
    tokio::select! {
        biased;
        _ = &mut connection => return,
        () = shutdown.requested() => connection.as_mut().graceful_shutdown(),
    }
    // A client that breaks off has nobody to tell.
    let _ = connection.await;
}

async fn http2_request(
    (gateway, peer): (Arc<Gateway>, Arc<Peer>),
    slots: Arc<Semaphore>,
    request: Request<Http2Body>,
) -> io::Result<Response<ChannelBody>> {
    let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
    let (responder, head) = Http2Responder::new(request.method() == Method::HEAD);
    tokio::spawn(async move {
        let _slot = slot;
        let incoming = from_http2(request);
        let mut client = Client1 { out: Out::Http2(responder), reader: None };
        exchange::serve(&gateway, &peer, incoming, &mut client).await;
    });
    head.await.map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

fn from_http2(request: Request<Http2Body>) -> Incoming {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let ended = http_body::Body::is_end_stream(&body);
    let size =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    Incoming {
        method: parts.method,
        version: Version::HTTP_2,
        target: target.as_bytes().to_vec(),
        authority: None,
        headers,
        body: (!ended).then_some(RequestBody::Http2(body)),
        size: (size + target.len()) as u64,
    }
}
