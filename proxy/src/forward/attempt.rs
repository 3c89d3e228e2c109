//! One attempt: a connection, the request on it, the answer's head.

use std::borrow::Cow;
use std::time::Duration;

use bytes::BytesMut;
use http::header;
use proxy_core::exchange::{Exchange, TlsWish};
use proxy_core::route::Protocol;
use proxy_core::table::Service;
use proxy_core::uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::limits::Patience;
use super::{Chosen, Fault, Outgoing, Tried, http2, relay};
use crate::app::Gateway;
use crate::downstream::Piece;
use crate::http::{Client1, Text, UpstreamHeaders, Way};
use crate::http1::Framing;
use crate::http1::io::{BodyFault, put_line};
use crate::http1::response::{self, Head};
use crate::timer::Timer;
use crate::upstream::{ConnectError, Connection, Io, Key, TlsPlan};

/// How much is written at once.
const WRITE: usize = 64 * 1024;

/// How long an upstream that takes no more may still answer.
const LAST_WORDS: Duration = Duration::from_millis(200);

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
    pub headers: &'a UpstreamHeaders,
    /// How long each step may take.
    pub patience: Patience,
    /// Answers that are worth another attempt.
    pub unwanted: &'a [http::StatusCode],
    /// TLS as a plugin wants it, whatever the service says.
    pub wish: Option<&'a TlsWish>,
}

impl Job<'_> {
    /// The Host that the peer is shown.
    pub(super) fn host<'a>(&'a self, exchange: &Exchange) -> Option<Cow<'a, [u8]>> {
        if let Some(host) = &exchange.upstream.host {
            return Some(host.as_bytes().to_vec().into());
        }
        if self.way.route.preserve_host
            && let Some(host) = exchange.request.headers.get(header::HOST)
        {
            return Some(host.as_bytes().to_vec().into());
        }
        let Chosen { host, port, .. } = self.chosen;
        let usual = if secure(self.service.protocol) { 443 } else { 80 };
        let bare = host.contains(':')
            && !host.starts_with('[')
            && host.parse::<std::net::Ipv6Addr>().is_ok();
        if !host.bytes().all(is_visible) {
            return None;
        }
        if !bare && *port == usual {
            return Some(host.as_bytes().into());
        }
        let (open, close) = if bare { ("[", "]") } else { ("", "") };
        let mut text = Vec::with_capacity(host.len() + 8);
        for part in [open, host.as_ref(), close] {
            text.extend_from_slice(part.as_bytes());
        }
        if *port != usual {
            text.push(b':');
            text.extend_from_slice(Text::of(*port).as_bytes());
        }
        Some(text.into())
    }

    pub(super) fn tls(&self, host: Option<&[u8]>) -> Result<Option<TlsPlan>, Fault> {
        let Self { way, .. } = self;
        if let Some(TlsWish { name, demands }) = self.wish {
            let entrance = way.generation.table.entrances.get(&way.peer.local.1);
            let shown = entrance.and_then(|entrance| entrance.certificate.as_deref());
            let shown = shown.or(self.service.tls.certificate.as_deref());
            let plan = way.generation.tls.client(demands, shown.map(Into::into), name);
            return plan.map(Some).ok_or(Fault::Tls);
        }
        if !secure(self.service.protocol) {
            return Ok(None);
        }
        let name = visible(host);
        let name = proxy_core::route::compat::split_port(name).0;
        let upstream = self.way.generation.live.get(&self.service.host).map(|live| &live.upstream);
        let shown = upstream.and_then(|upstream| upstream.certificate.clone());
        let plan = self.way.generation.tls.client(&self.service.tls, shown, name);
        plan.map(Some).ok_or(Fault::Tls)
    }
}

/// A host as text; one with other than visible letters is none.
pub(super) fn visible(host: Option<&[u8]>) -> &str {
    let host = host.filter(|host| host.iter().copied().all(is_visible));
    host.and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default()
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e)
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
    let tls = match job.tls(host.as_deref()) {
        Ok(tls) => tls,
        Err(fault) => return Tried::Failed(fault),
    };
    match job.service.protocol {
        Protocol::Grpc | Protocol::Grpcs => {
            http2::run(job, exchange, body, client, (host, tls)).await
        }
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

pub(super) fn fault(error: &ConnectError) -> Fault {
    match error {
        ConnectError::Refused(_) => Fault::Refused,
        ConnectError::Timeout => Fault::ConnectTimeout,
        ConnectError::Tls(_) => Fault::Tls,
    }
}

/// The request's head as it goes to the peer.
pub(super) fn head(
    job: &Job<'_>,
    exchange: &Exchange,
    framing: Framing,
    host: Option<&[u8]>,
) -> Vec<u8> {
    let lines = &job.headers.lines;
    let path = uri::bytes(&exchange.upstream.path);
    let query = exchange.request.query.as_deref().map(uri::bytes);
    let room = path.len() + query.as_ref().map_or(0, |query| query.len());
    let mut out = Vec::with_capacity(lines.len() + room + 256);
    out.extend_from_slice(exchange.request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(&path);
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(&query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        put_line(&mut out, b"host", &[host]);
    }
    out.extend_from_slice(lines);
    match framing {
        Framing::Length(length) => {
            put_line(&mut out, b"content-length", &[Text::of(length).as_bytes()]);
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// How the body will be framed. That follows from the body alone: whatever clients and plugins do to headers, what is
/// announced is what is sent.
pub(super) fn framing(headers: &UpstreamHeaders, body: &Outgoing) -> Framing {
    match body {
        Outgoing::Empty | Outgoing::Spent if headers.has_length => Framing::Length(0),
        Outgoing::Empty | Outgoing::Spent => Framing::None,
        Outgoing::Whole(bytes) => Framing::Length(bytes.len() as u64),
        Outgoing::Streaming(first, rest) => match rest.left() {
            Some(left) => Framing::Length(left + first.len() as u64),
            None => Framing::Chunked,
        },
    }
}

/// The Host that is shown, and how TLS is done.
pub(super) type Wire<'a> = (Option<Cow<'a, [u8]>>, Option<TlsPlan>);

async fn http1(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
    (host, tls): Wire<'_>,
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
    let head = head(job, exchange, framing, host.as_deref());
    let chunked = framing == Framing::Chunked;
    let Connection { io, buffer, timer, reused, .. } = &mut connection;
    let reused = *reused;
    let (tried, reusable) = match io {
        Io::Plain(stream) => {
            let (mut from, mut to) = stream.split();
            let (from, to) = (&mut from, &mut to);
            let request = Talk { head, chunked, reused, writing, reading, from, to, buffer, timer };
            talk(job, exchange, body, client, request).await
        }
        Io::Tls(stream) => {
            let (mut from, mut to) = tokio::io::split(&mut **stream);
            let (from, to) = (&mut from, &mut to);
            let request = Talk { head, chunked, reused, writing, reading, from, to, buffer, timer };
            talk(job, exchange, body, client, request).await
        }
    };
    if reusable {
        job.gateway.pool.keep(Key::new(job.chosen.address, tls.as_ref()), connection);
    }
    tried
}

/// A request that is ready to be sent on a connection.
struct Talk<'a, R, W> {
    head: Vec<u8>,
    chunked: bool,
    reused: bool,
    writing: Duration,
    reading: Duration,
    from: &'a mut R,
    to: &'a mut W,
    buffer: &'a mut BytesMut,
    timer: &'a mut Timer,
}

/// Sends a request and relays the answer; whether the connection can be used again.
async fn talk<R, W>(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
    request: Talk<'_, R, W>,
) -> (Tried, bool)
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let Talk { head, chunked, reused, writing, reading, from, to, buffer, timer } = request;
    let method = exchange.request.method.clone();
    let (answer, sent) = {
        let sending = send(to, head, body, (chunked, writing));
        tokio::pin!(sending);
        let begun = {
            let receiving = receive(from, buffer, &method, reused);
            tokio::pin!(receiving);
            // Biased: an answer that is there wins over more of a request that nobody waits for.
            tokio::select! {
                biased;
                answer = &mut receiving => (answer, None),
                result = &mut sending => {
                    (await_answer(result, receiving, (timer, reading)).await, Some(result))
                }
            }
        };
        match begun {
            (Ok(head), None)
                if head.status != http::StatusCode::SWITCHING_PROTOCOLS
                    && !job.unwanted.contains(&head.status) =>
            {
                let upstream = relay::Upstream { head, from, buffer };
                let relaying = relay::whole(job, exchange, upstream, client);
                tokio::pin!(relaying);
                // Biased: the exchange is over with its answer, whatever of the request is left.
                let (status, _) = tokio::select! {
                    biased;
                    relayed = &mut relaying => relayed,
                    _ = &mut sending => relaying.await,
                };
                return (Tried::Answered(status), false);
            }
            (answer, sent) => (answer, matches!(sent, Some(Ok(())))),
        }
    };
    let head = match answer {
        Ok(head) => head,
        Err(fault) => return (Tried::Failed(fault), false),
    };
    if job.unwanted.contains(&head.status) {
        return (Tried::Failed(Fault::Unwanted(head.status)), false);
    }
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        let ahead = buffer.split();
        let status = relay::tunnel(job, exchange, head, (from, to, ahead), client).await;
        return (Tried::Answered(status), false);
    }
    let reusable = sent && head.keep_alive;
    let upstream = relay::Upstream { head, from, buffer };
    let (status, whole) = relay::whole(job, exchange, upstream, client).await;
    (Tried::Answered(status), reusable && whole)
}

/// Waits for the head once the request is out; what an upstream said before it stopped listening counts too.
async fn await_answer(
    sent: Result<(), Fault>,
    receiving: impl Future<Output = Result<Head, Fault>>,
    (timer, patience): (&mut Timer, Duration),
) -> Result<Head, Fault> {
    match sent {
        Ok(()) => {
            let answer = timer.until(Instant::now() + patience, receiving).await;
            answer.unwrap_or(Err(Fault::ReadTimeout))
        }
        Err(fault @ Fault::Closed { .. }) => {
            let last = timer.until(Instant::now() + LAST_WORDS, receiving).await;
            last.and_then(Result::ok).ok_or(fault)
        }
        Err(fault) => Err(fault),
    }
}

async fn send<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    mut head: Vec<u8>,
    body: &mut Outgoing,
    (chunked, patience): (bool, Duration),
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
    patience: Duration,
) -> Result<(), Fault> {
    if piece.is_empty() {
        return Ok(());
    }
    if !chunked {
        return write(to, piece, patience).await;
    }
    let mut framed = Vec::with_capacity(piece.len() + 16);
    framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    framed.extend_from_slice(piece);
    framed.extend_from_slice(b"\r\n");
    write(to, &framed, patience).await
}

async fn write<W: tokio::io::AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    patience: Duration,
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
