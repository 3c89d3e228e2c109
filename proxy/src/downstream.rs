//! The client's side of an exchange, whatever HTTP it speaks: a body to read, an answer to write.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proxy_core::exchange::{BodyError, BodyReader, Later};
use tokio::sync::{mpsc, oneshot};

use crate::http1::io::{Body, BodyFault, Length, Responder};

/// What a plugin may have read into memory.
const READ_LIMIT: usize = 64 * 1024 * 1024;

/// A request body that is still on its way.
pub enum RequestBody {
    /// From an HTTP/1 connection.
    Http1(Body),
    /// From an HTTP/2 stream.
    Http2(Incoming),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// What HTTP/2 sends after the bytes.
    Trailers(HeaderMap),
}

impl RequestBody {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Piece>, BodyFault> {
        match self {
            Self::Http1(body) => Ok(body.next().await?.map(Piece::Data)),
            Self::Http2(body) => match body.frame().await {
                None => Ok(None),
                Some(Err(_)) => Err(BodyFault::Connection),
                Some(Ok(frame)) => Ok(Some(match frame.into_data() {
                    Ok(data) => Piece::Data(data),
                    Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
                })),
            },
        }
    }

    /// What is there already, and whether that is all.
    pub fn ready(&mut self) -> Result<(Bytes, bool), BodyFault> {
        match self {
            Self::Http1(body) => body.ready(),
            Self::Http2(_) => Ok((Bytes::new(), false)),
        }
    }

    /// How much is still to come, when that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Http1(body) => body.left(),
            Self::Http2(body) => http_body::Body::size_hint(body).exact(),
        }
    }
}

impl BodyReader for RequestBody {
    fn read_all(&mut self) -> Later<'_, Result<Bytes, BodyError>> {
        Box::pin(async move {
            let mut whole = BytesMut::new();
            while let Some(piece) = self.next().await.map_err(|_| BodyError::Broken)? {
                let Piece::Data(data) = piece else { continue };
                if whole.len() + data.len() > READ_LIMIT {
                    return Err(BodyError::TooLarge);
                }
                whole.extend_from_slice(&data);
            }
            Ok(whole.freeze())
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// The answer's way to the client.
pub enum Out<'a> {
    /// On an HTTP/1 connection.
    Http1(Responder<'a>),
    /// On an HTTP/2 stream.
    Http2(Http2Responder),
}

impl Out<'_> {
    /// Sends the head.
    pub fn head(
        &mut self,
        status: StatusCode,
        reason: Option<&[u8]>,
        headers: &HeaderMap,
        length: Length,
    ) {
        match self {
            Self::Http1(out) => out.head(status, reason, headers, length),
            Self::Http2(out) => out.head(status, headers, length),
        }
    }

    /// Sends a piece of the body, sooner or later.
    pub async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Http1(out) => out.data(&bytes).await,
            Self::Http2(out) => out.data(bytes).await,
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(out) => out.flush().await,
            Self::Http2(_) => Ok(()),
        }
    }

    /// Ends the body.
    pub async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        match self {
            Self::Http1(out) => out.end(trailers.as_ref()).await,
            Self::Http2(out) => out.end(trailers).await,
        }
    }

    /// Cuts the answer off, so that the client sees that it is not whole.
    pub async fn abort(&mut self) {
        match self {
            Self::Http1(out) => {
                out.keep_alive = false;
                // The client may be gone as well; there is nobody to tell.
                let _ = out.flush().await;
            }
            Self::Http2(out) => out.abort().await,
        }
    }

    /// Whether a head was sent.
    pub fn started(&self) -> bool {
        match self {
            Self::Http1(out) => out.started,
            Self::Http2(out) => out.head.is_none(),
        }
    }

    /// Makes the connection end after this answer.
    pub fn close_after(&mut self) {
        if let Self::Http1(out) = self {
            out.keep_alive = false;
        }
    }
}

/// The answer to an HTTP/2 request: its head once, then pieces through a channel that holds one.
pub struct Http2Responder {
    head: Option<oneshot::Sender<Response<ChannelBody>>>,
    pieces: Option<mpsc::Sender<io::Result<Frame<Bytes>>>>,
    bodiless: bool,
}

impl Http2Responder {
    /// A responder, and where its head will come out.
    pub fn new(bodiless: bool) -> (Self, oneshot::Receiver<Response<ChannelBody>>) {
        let (head, receiver) = oneshot::channel();
        (Self { head: Some(head), pieces: None, bodiless }, receiver)
    }

    fn head(&mut self, status: StatusCode, headers: &HeaderMap, length: Length) {
        let none = self.bodiless
            || matches!(length, Length::None | Length::Exact(0))
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = if none {
            ChannelBody { pieces: None, left: Some(0) }
        } else {
            let (sender, pieces) = mpsc::channel(1);
            self.pieces = Some(sender);
            let left = match length {
                Length::Exact(left) => Some(left),
                Length::None | Length::Unknown => None,
            };
            ChannelBody { pieces: Some(pieces), left }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().clone_from(headers);
        if let Some(head) = self.head.take() {
            // The stream may be reset already; the pieces will fail to go out too.
            let _ = head.send(response);
        }
    }

    async fn send(&mut self, piece: io::Result<Frame<Bytes>>) -> io::Result<()> {
        match &self.pieces {
            Some(pieces) => pieces.send(piece).await.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }

    async fn data(&mut self, bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.send(Ok(Frame::data(bytes))).await }
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        if let Some(trailers) = trailers {
            self.send(Ok(Frame::trailers(trailers))).await?;
        }
        self.pieces = None;
        Ok(())
    }

    async fn abort(&mut self) {
        // A stream that is gone needs no reset.
        let _ = self.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
        self.pieces = None;
    }
}

/// A body whose pieces come through a channel.
pub struct ChannelBody {
    pieces: Option<mpsc::Receiver<io::Result<Frame<Bytes>>>>,
    left: Option<u64>,
}

impl ChannelBody {
    /// A body, and the way into it.
    pub fn new(left: Option<u64>) -> (mpsc::Sender<io::Result<Frame<Bytes>>>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        (sender, Self { pieces: Some(pieces), left })
    }

    /// A body of nothing.
    pub fn empty() -> Self {
        Self { pieces: None, left: Some(0) }
    }
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(pieces) = &mut this.pieces else { return Poll::Ready(None) };
        let piece = std::task::ready!(pieces.poll_recv(ctx));
        if let (Some(left), Some(Ok(frame))) = (&mut this.left, &piece) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
