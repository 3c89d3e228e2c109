//! One attempt over HTTP/2: a stream of a connection that others use too.

use http::{Request, Uri, header};
use hyper::body::Frame;
use proxy_core::exchange::Exchange;
use proxy_core::uri;
use tokio::time::timeout;

use super::attempt::{Job, Wire, fault, visible};
use super::limits::Patience;
use super::{Fault, Outgoing, Tried, relay};
use crate::downstream::{ChannelBody, Piece};
use crate::http::Client1;

/// Makes the attempt.
pub(super) async fn run(
    job: &Job<'_>,
    exchange: &mut Exchange,
    body: &mut Outgoing,
    client: &mut Client1<'_>,
    (host, tls): Wire<'_>,
) -> Tried {
    let Patience { connect: connecting, write: _, read: reading } = job.patience;
    let mut sender =
        match job.gateway.pool.http2(job.chosen.address, tls.as_ref(), connecting).await {
            Ok(sender) => sender,
            Err(error) => return Tried::Failed(fault(&error)),
        };
    let Some(request) = http2_request(job, exchange, host.as_deref(), tls.is_some()) else {
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

/// Path and query for the upstream.
fn target(exchange: &Exchange) -> String {
    match &exchange.request.query {
        Some(query) => format!("{}?{query}", exchange.upstream.path),
        None => exchange.upstream.path.clone(),
    }
}

fn http2_request(
    job: &Job<'_>,
    exchange: &Exchange,
    host: Option<&[u8]>,
    tls: bool,
) -> Option<Request<()>> {
    let authority = visible(host);
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
    request.headers_mut().clone_from(&job.headers.map);
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    Some(request)
}
