//! One attempt: a connection, the request on it, the answer's head.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use hyper::body::Frame;
use proxy_core::exchange::Exchange;
use proxy_core::route::Protocol;
use proxy_core::table::Service;
use proxy_core::uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::Patience;
use super::{Chosen, Fault, Outgoing, Tried, relay};
use crate::app::Gateway;
use crate::downstream::{ChannelBody, Piece};
use crate::http::{Client1, Way};
use crate::http1::Framing;
use crate::http1::io::{BodyFault, put_header};
use crate::http1::response::{self, Head};
use crate::upstream::{ConnectError, Key, TlsPlan};

/// How much is written at once.
const WRITE: usize = 64 * 1024;

/// What an attempt works with.
pub(super) struct Job<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// The routing.
    pub way: &'a Way<'a>,
    /// The service.
    pub service: &'a Service,
    /// The peer.
    pub chosen: &'a Chosen,
    /// The headers, without Host.
    pub headers: &'a HeaderMap,
    /// How long each step may take.
    pub patience: Patience,
    /// Answers that are worth another attempt.
    pub unwanted: &'a [http::StatusCode],
}

impl Job<'_> {
    /// The Host that the peer is shown.
    pub(super) fn host(&self, exchange: &Exchange) -> Option<HeaderValue> {
        if let Some(host) = &exchange.upstream.host {
            return Some(host.clone());
        }
        if self.way.route.preserve_host
            && let Some(host) = exchange.request.headers.get(header::HOST)
        {
            return Some(host.clone());
        }
        let Chosen { host, port, .. } = self.chosen;
        let usual = if secure(self.service.protocol) { 443 } else { 80 };
        let host = if host.contains(':')
            && !host.starts_with('[')
            && host.parse::<std::net::Ipv6Addr>().is_ok()
        {
            format!("[{host}]")
        } else {
            host.to_string()
        };
        let host = if *port == usual { host } else { format!("{host}:{port}") };
        HeaderValue::from_str(&host).ok()
    }

    fn tls(&self, host: Option<&HeaderValue>) -> Result<Option<TlsPlan>, Fault> {
        if !secure(self.service.protocol) {
            return Ok(None);
        }
        let name = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = proxy_core::route::compat::split_port(name).0;
        let upstream = self.way.generation.live.get(&self.service.host).map(|live| &live.upstream);
        let shown = upstream.and_then(|upstream| upstream.certificate.clone());
        let plan = self.way.generation.tls.client(&self.service.tls, shown, name);
        plan.map(Some).ok_or(Fault::Tls)
    }
}

fn secure(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Https | Protocol::Grpcs | Protocol::Tls | Protocol::Wss)
}

/// Makes the attempt.
pub(super) async fn run(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
) -> Tried {
    let host = job.host(exchange);
    let tls = match job.tls(host.as_ref()) {
        Ok(tls) => tls,
        Err(fault) => return Tried::Failed(fault),
    };
    match job.service.protocol {
        Protocol::Grpc | Protocol::Grpcs => http2(job, exchange, body, client, (host, tls)).await,
        Protocol::Http
        | Protocol::Https
        | Protocol::Tcp
        | Protocol::Tls
        | Protocol::TlsPassthrough
        | Protocol::Udp
        | Protocol::Ws
        | Protocol::Wss => http1(job, exchange, body, client, (host, tls)).await,
    }
}

fn fault(error: &ConnectError) -> Fault {
    match error {
        ConnectError::Refused(_) => Fault::Refused,
        ConnectError::Timeout => Fault::ConnectTimeout,
        ConnectError::Tls(_) => Fault::Tls,
    }
}

/// Path and query for the upstream.
fn target(exchange: &Exchange) -> String {
    match &exchange.request.query {
        Some(query) => format!("{}?{query}", exchange.upstream.path),
        None => exchange.upstream.path.clone(),
    }
}

/// The request's head as it goes to the peer.
pub(super) fn head(
    job: &Job<'_>,
    exchange: &Exchange,
    framing: Framing,
    host: Option<&HeaderValue>,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(1024);
    out.put_slice(exchange.request.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(&uri::bytes(&target(exchange)));
    out.put_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        put_header(&mut out, &header::HOST, host);
    }
    for (name, value) in job.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        put_header(&mut out, name, value);
    }
    match framing {
        Framing::Length(length) => {
            put_header(&mut out, &header::CONTENT_LENGTH, &HeaderValue::from(length));
        }
        Framing::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    out.put_slice(b"\r\n");
    out
}

/// How the body will be framed. That follows from the body alone: whatever clients and plugins do to headers, what is
/// announced is what is sent.
pub(super) fn framing(headers: &HeaderMap, body: &Outgoing) -> Framing {
    match body {
        Outgoing::Empty | Outgoing::Spent if headers.contains_key(header::CONTENT_LENGTH) => {
            Framing::Length(0)
        }
        Outgoing::Empty | Outgoing::Spent => Framing::None,
        Outgoing::Whole(bytes) => Framing::Length(bytes.len() as u64),
        Outgoing::Streaming(first, rest) => match rest.left() {
            Some(left) => Framing::Length(left + first.len() as u64),
            None => Framing::Chunked,
        },
    }
}

type Wire = (Option<HeaderValue>, Option<TlsPlan>);

async fn http1(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
    (host, tls): Wire,
) -> Tried {
    let Patience { connect: connecting, write: writing, read: reading } = job.patience;
    let mut connection = match job
        .gateway
        .pool
        .http1(job.chosen.address, tls.as_ref(), connecting)
        .await
    {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(address = %job.chosen.address, %error, "failed to reach an upstream");
            return Tried::Failed(fault(&error));
        }
    };
    let framing = framing(job.headers, body);
    let head = head(job, exchange, framing, host.as_ref());
    let method = exchange.request.method.clone();
    let chunked = framing == Framing::Chunked;
    let reused = connection.reused;
    let (mut from, mut to) = tokio::io::split(connection.io);
    let buffer = &mut connection.buffer;
    let (answer, sent) = {
        let sending = send(&mut to, head, body, (chunked, writing));
        tokio::pin!(sending);
        let begun = {
            let receiving = receive(&mut from, buffer, &method, reused);
            tokio::pin!(receiving);
            // Biased: an answer that is there wins over more of a request that nobody waits for.
            tokio::select! {
                biased;
                answer = &mut receiving => (answer, None),
                result = &mut sending => (await_answer(result, receiving, reading).await, Some(result)),
            }
        };
        match begun {
            (Ok(head), None)
                if head.status != http::StatusCode::SWITCHING_PROTOCOLS
                    && !job.unwanted.contains(&head.status) =>
            {
                let relaying = relay::whole(
                    job,
                    exchange,
                    relay::Upstream { head, from: &mut from, buffer },
                    client,
                );
                tokio::pin!(relaying);
                // Biased: the exchange is over with its answer, whatever of the request is left.
                let (status, _) = tokio::select! {
                    biased;
                    relayed = &mut relaying => relayed,
                    _ = &mut sending => relaying.await,
                };
                return Tried::Answered(status);
            }
            (answer, sent) => (answer, matches!(sent, Some(Ok(())))),
        }
    };
    let head = match answer {
        Ok(head) => head,
        Err(fault) => return Tried::Failed(fault),
    };
    if job.unwanted.contains(&head.status) {
        return Tried::Failed(Fault::Unwanted(head.status));
    }
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        let ahead = buffer.split();
        let status = relay::tunnel(job, exchange, head, (from, to, ahead), client).await;
        return Tried::Answered(status);
    }
    let reusable = sent && head.keep_alive;
    let upstream = relay::Upstream { head, from: &mut from, buffer };
    let (status, whole) = relay::whole(job, exchange, upstream, client).await;
    if reusable && whole {
        connection.io = from.unsplit(to);
        job.gateway.pool.keep(Key::new(job.chosen.address, tls.as_ref()), connection);
    }
    Tried::Answered(status)
}

/// Waits for the head once the request is out; what an upstream said before it stopped listening counts too.
async fn await_answer(
    sent: Result<(), Fault>,
    receiving: impl Future<Output = Result<Head, Fault>>,
    patience: std::time::Duration,
) -> Result<Head, Fault> {
    match sent {
        Ok(()) => timeout(patience, receiving).await.unwrap_or(Err(Fault::ReadTimeout)),
        Err(fault @ Fault::Closed { .. }) => {
            let last = timeout(std::time::Duration::from_millis(200), receiving).await;
            last.ok().and_then(Result::ok).ok_or(fault)
        }
        Err(fault) => Err(fault),
    }
}

async fn send<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    mut head: BytesMut,
    body: &mut Outgoing,
    (chunked, patience): (bool, std::time::Duration),
) -> Result<(), Fault> {
    match body {
        Outgoing::Empty | Outgoing::Spent => write(to, &head, patience).await?,
        Outgoing::Whole(bytes) if bytes.len() <= WRITE => {
            head.extend_from_slice(bytes);
            write(to, &head, patience).await?;
        }
        Outgoing::Whole(bytes) => {
            write(to, &head, patience).await?;
            for piece in bytes.chunks(WRITE) {
                write(to, piece, patience).await?;
            }
        }
        Outgoing::Streaming(first, rest) => {
            let first = std::mem::take(first);
            write(to, &head, patience).await?;
            write_piece(to, &first, chunked, patience).await?;
            loop {
                match rest.next().await {
                    Ok(Some(Piece::Data(data))) => {
                        write_piece(to, &data, chunked, patience).await?;
                    }
                    Ok(Some(Piece::Trailers(_))) => {}
                    Ok(None) => break,
                    Err(BodyFault::Framing) => return Err(Fault::ClientBody),
                    Err(BodyFault::Connection) => return Err(Fault::ClientGone),
                }
            }
            if chunked {
                write(to, b"0\r\n\r\n", patience).await?;
            }
            *body = Outgoing::Spent;
        }
    }
    Ok(())
}

async fn write_piece<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    piece: &[u8],
    chunked: bool,
    patience: std::time::Duration,
) -> Result<(), Fault> {
    if piece.is_empty() {
        return Ok(());
    }
    if !chunked {
        return write(to, piece, patience).await;
    }
    let mut framed = BytesMut::with_capacity(piece.len() + 16);
    framed.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    framed.put_slice(piece);
    framed.put_slice(b"\r\n");
    write(to, &framed, patience).await
}

async fn write<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    patience: std::time::Duration,
) -> Result<(), Fault> {
    let all = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match timeout(patience, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Fault::Closed { reused: false }),
        Err(_) => Err(Fault::WriteTimeout),
    }
}

async fn receive<R: tokio::io::AsyncRead + Unpin>(
    from: &mut R,
    buffer: &mut BytesMut,
    method: &http::Method,
    reused: bool,
) -> Result<Head, Fault> {
    loop {
        if !buffer.is_empty()
            && let Some(head) = response::parse(buffer, method).map_err(|_| Fault::Garbage)?
        {
            return Ok(head);
        }
        buffer.reserve(8192);
        match from.read_buf(buffer).await {
            Ok(0) | Err(_) => return Err(Fault::Closed { reused: reused && buffer.is_empty() }),
            Ok(_) => {}
        }
    }
}

async fn http2(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
    (host, tls): Wire,
) -> Tried {
    let Patience { connect: connecting, write: _, read: reading } = job.patience;
    let mut sender =
        match job.gateway.pool.http2(job.chosen.address, tls.as_ref(), connecting).await {
            Ok(sender) => sender,
            Err(error) => return Tried::Failed(fault(&error)),
        };
    let Some(request) = http2_request(job, exchange, host.as_ref(), tls.is_some()) else {
        return Tried::Failed(Fault::ClientBody);
    };
    let (pieces, channel) = ChannelBody::new(None);
    let request = request.map(|()| channel);
    let feeding = async {
        let fed = match body {
            Outgoing::Empty | Outgoing::Spent => Ok(()),
            Outgoing::Whole(bytes) => {
                pieces.send(Ok(Frame::data(bytes.clone()))).await.map_err(|_| ())
            }
            Outgoing::Streaming(first, rest) => {
                let first = std::mem::take(first);
                if !first.is_empty() {
                    // An upstream that wants no more of the body says so in its answer.
                    let _ = pieces.send(Ok(Frame::data(first))).await;
                }
                while let Ok(Some(piece)) = rest.next().await {
                    let frame = match piece {
                        Piece::Data(data) => Frame::data(data),
                        Piece::Trailers(trailers) => Frame::trailers(trailers),
                    };
                    if pieces.send(Ok(frame)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        };
        drop(pieces);
        fed
    };
    let answering = async {
        match timeout(reading, sender.send_request(request)).await {
            Ok(Ok(response)) if job.unwanted.contains(&response.status()) => {
                Tried::Failed(Fault::Unwanted(response.status()))
            }
            Ok(Ok(response)) => {
                let status = relay::http2_answer(job, exchange, response, client).await;
                Tried::Answered(status)
            }
            Ok(Err(_)) => Tried::Failed(Fault::Closed { reused: false }),
            Err(_) => Tried::Failed(Fault::ReadTimeout),
        }
    };
    tokio::pin!(feeding, answering);
    // Biased: once the answer is over, nobody wants the rest of the request.
    tokio::select! {
        biased;
        tried = &mut answering => tried,
        _ = &mut feeding => answering.await,
    }
}

fn http2_request(
    job: &Job<'_>,
    exchange: &Exchange,
    host: Option<&HeaderValue>,
    tls: bool,
) -> Option<Request<()>> {
    let authority = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if tls { "https" } else { "http" };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(uri::bytes(&target(exchange)).as_ref())
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = exchange.request.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().clone_from(job.headers);
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    Some(request)
}
