//! Reading and writing HTTP/1 on a client's connection.
//!
//! A connection is read by whoever needs its bytes next: the loop that waits for heads, or the body of the request in
//! hand. The body takes the reader with it and gives it back when it is dropped, read or not.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::Framing;
use super::body::{Decoder, Piece};
use super::request::{self, Parsed, Version};
use crate::timer::Timer;

/// How long a client may take over one read or write.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How much is gathered before it is written.
const GATHER: usize = 16 * 1024;

/// The reading half of a connection, with what was read ahead.
pub struct Reader {
    io: Box<dyn AsyncRead + Send + Unpin>,
    /// Bytes that nobody has taken yet.
    pub buffer: BytesMut,
    patience: Duration,
    timer: Timer,
}

impl Reader {
    /// A reader that starts with bytes already read, and waits so long for the rest of a head.
    pub fn new(
        io: Box<dyn AsyncRead + Send + Unpin>,
        buffer: BytesMut,
        patience: Duration,
    ) -> Self {
        Self { io, buffer, patience, timer: Timer::default() }
    }

    /// Reads some more; 0 at the end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(4096);
        self.io.read_buf(&mut self.buffer).await
    }

    /// Reads some more before a deadline; 0 at the end.
    async fn fill_until(&mut self, deadline: Instant) -> io::Result<usize> {
        let Self { io, buffer, patience: _, timer } = self;
        buffer.reserve(4096);
        let read = timer.until(deadline, io.read_buf(buffer)).await;
        read.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The next head; `None` when the client is done, or `idle` went by before its first byte.
    pub async fn head(&mut self, idle: Duration) -> io::Result<Option<Parsed>> {
        // A head that comes in drops must be whole in time all the same.
        let mut begun = (!self.buffer.is_empty()).then(Instant::now);
        loop {
            if !self.buffer.is_empty() {
                match request::parse(&mut self.buffer) {
                    Parsed::Partial => {
                        begun.get_or_insert_with(Instant::now);
                    }
                    whole @ (Parsed::Head(_) | Parsed::Refused(_)) => return Ok(Some(whole)),
                }
            }
            let deadline =
                begun.map_or_else(|| Instant::now() + idle, |begun| begun + self.patience);
            match self.fill_until(deadline).await {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
                read => read?,
            };
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// It breaks its framing.
    #[error("request body violates its framing")]
    Framing,
    /// The connection failed, ended early, or stood still too long.
    #[error("failed to read the request body")]
    Connection,
}

/// Where a body leaves the reader when it goes.
pub type Home = Arc<Mutex<Option<(Reader, Decoder)>>>;

/// The body of a request.
pub struct Body {
    inner: Option<(Reader, Decoder)>,
    home: Home,
}

impl Body {
    /// A body that is read from a connection and leaves the reader in `home`.
    pub fn new(reader: Reader, framing: Framing, home: &Home) -> Self {
        Self { inner: Some((reader, Decoder::new(framing))), home: Arc::clone(home) }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let Some((reader, decoder)) = &mut self.inner else { return Ok(None) };
        loop {
            match decoder.next(&mut reader.buffer).map_err(|_| BodyFault::Framing)? {
                Piece::Data(data) => return Ok(Some(data)),
                Piece::End => return Ok(None),
                Piece::More => match reader.fill_until(Instant::now() + PATIENCE).await {
                    Ok(read) if read > 0 => {}
                    Ok(_) | Err(_) => return Err(BodyFault::Connection),
                },
            }
        }
    }

    /// What is there already, and whether that is all.
    pub fn ready(&mut self) -> Result<(Bytes, bool), BodyFault> {
        let mut whole = BytesMut::new();
        let Some((reader, decoder)) = &mut self.inner else { return Ok((Bytes::new(), true)) };
        loop {
            match decoder.next(&mut reader.buffer).map_err(|_| BodyFault::Framing)? {
                Piece::Data(data) => whole.extend_from_slice(&data),
                Piece::End => return Ok((whole.freeze(), true)),
                Piece::More => return Ok((whole.freeze(), decoder.is_done())),
            }
        }
    }

    /// How much is still to come, when that is known.
    pub fn left(&self) -> Option<u64> {
        self.inner.as_ref().and_then(|(_, decoder)| decoder.left())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        *home = self.inner.take();
    }
}

/// The writing half of a connection.
pub struct Writer {
    io: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: Vec<u8>,
    /// Bytes written so far.
    pub written: u64,
}

impl Writer {
    /// A writer.
    pub fn new(io: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self { io, buffer: Vec::new(), written: 0 }
    }

    /// Puts bytes behind those that wait.
    pub fn put(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let written = timeout(PATIENCE, self.io.write_all(&self.buffer)).await;
            self.buffer.clear();
            written.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        self.io.flush().await
    }

    /// Writes bytes behind those that wait; small ones wait too.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() <= GATHER {
            self.put(bytes);
            return Ok(());
        }
        self.flush().await?;
        self.written += bytes.len() as u64;
        timeout(PATIENCE, self.io.write_all(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Ends the connection's writing side.
    pub async fn close(&mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = self.flush().await;
        let _ = self.io.shutdown().await;
    }
}

/// The body that an answer will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// None at all, whatever the headers say.
    None,
    /// So many bytes.
    Exact(u64),
    /// As many as come.
    Unknown,
}

/// Writes one answer.
pub struct Responder<'a> {
    writer: &'a mut Writer,
    version: Version,
    bodiless: bool,
    chunked: bool,
    /// Whether the connection goes on after this answer.
    pub keep_alive: bool,
    /// Whether the head is out.
    pub started: bool,
    left: Option<u64>,
}

impl<'a> Responder<'a> {
    /// A responder for a request.
    pub fn new(writer: &'a mut Writer, version: Version, head: bool, keep_alive: bool) -> Self {
        let (bodiless, chunked, started, left) = (head, false, false, None);
        Self { writer, version, bodiless, chunked, keep_alive, started, left }
    }

    /// Writes the head.
    pub fn head(
        &mut self,
        status: StatusCode,
        reason: Option<&[u8]>,
        headers: &HeaderMap,
        length: Length,
    ) {
        self.head_with((status, reason), length, |out| {
            for (name, value) in headers {
                put_header(out, name, value);
            }
        });
    }

    /// Writes the head around the headers that `put` writes.
    pub fn head_with(
        &mut self,
        (status, reason): (StatusCode, Option<&[u8]>),
        length: Length,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        self.started = true;
        let upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
        let no_body = length == Length::None
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if length == Length::Unknown && !no_body && !self.bodiless {
            self.chunked = self.version == Version::Http11;
            self.keep_alive &= self.chunked;
        }
        self.left = match length {
            Length::Exact(left) if !self.bodiless => Some(left),
            Length::Exact(_) | Length::None | Length::Unknown => None,
        };
        self.bodiless |= no_body;
        if self.version == Version::Http09 {
            return;
        }
        let out = &mut self.writer.buffer;
        let before = out.len();
        out.reserve(512);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason.unwrap_or_else(|| reason_phrase(status)));
        out.extend_from_slice(b"\r\n");
        put(out);
        if upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if self.keep_alive {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        } else {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        if self.chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
        self.writer.written += (out.len() - before) as u64;
    }

    /// Writes a piece of the body.
    pub async fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bodiless || bytes.is_empty() {
            return Ok(());
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        if !self.chunked {
            return self.writer.write(bytes).await;
        }
        self.writer.put(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.writer.write(bytes).await?;
        self.writer.put(b"\r\n");
        Ok(())
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.writer.flush().await
    }

    /// Ends the body.
    pub async fn end(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        if self.chunked && !self.bodiless {
            self.writer.put(b"0\r\n");
            for (name, value) in trailers.into_iter().flatten() {
                put_header(&mut self.writer.buffer, name, value);
            }
            self.writer.put(b"\r\n");
        }
        if self.left.is_some_and(|left| left > 0) {
            self.keep_alive = false;
        }
        self.writer.flush().await
    }

    /// Writes bytes that are not HTTP any more.
    pub async fn data_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.put(bytes);
        self.writer.flush().await
    }
}

/// One header line.
pub fn put_header(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    put_line(out, name.as_str().as_bytes(), &[value.as_bytes()]);
}

/// One header line whose value comes in parts; each word of its name begins with a capital letter.
pub fn put_line(out: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    let mut before = b'-';
    out.extend(name.iter().map(|byte| {
        let first = before == b'-';
        before = *byte;
        if first { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
    }));
    out.extend_from_slice(b": ");
    for part in value {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// The reason phrases that clients of the gateway know: 426 has none.
fn reason_phrase(status: StatusCode) -> &'static [u8] {
    match status {
        StatusCode::UPGRADE_REQUIRED => b"",
        _ => status.canonical_reason().unwrap_or_default().as_bytes(),
    }
}
