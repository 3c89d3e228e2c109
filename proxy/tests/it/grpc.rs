//! gRPC services behind grpc-gateway and grpc-web: requests of browsers and of HTTP clients, a server that speaks gRPC.

use std::convert::Infallible;
use std::io::Write;
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::gateway::{Gateway, exchange, split};

const PROTO: &str = r#"
syntax = "proto3";
package test;
import "google/api/annotations.proto";
import "shapes/shape.proto";
service Echo {
  rpc Say(Words) returns (Words) {
    option (google.api.http) = {
      get: "/v1/say/{name}"
      additional_bindings { post: "/v1/say" body: "*" }
    };
  }
}
message Words {
  string name = 1;
  repeated int32 numbers = 2;
  shapes.Shape shape = 3;
}
"#;

const SHAPE: &str =
    r#"syntax = "proto3"; package shapes; message Shape { string kind = 1; int64 sides = 2; }"#;

type Frames =
    StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn frames(frames: Vec<Frame<Bytes>>) -> Frames {
    StreamBody::new(futures::stream::iter(frames.into_iter().map(Ok).collect::<Vec<_>>()))
}

/// Answers a call with its own message, twice where it says so, and with an error where it says so.
async fn echo(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let is_call = request.uri().path() == "/test.Echo/Say"
        && request.uri().query().is_none()
        && request.method() == "POST"
        && request.headers().get("te").is_some_and(|te| te == "trailers")
        && request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let says = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    let answer = Response::builder().header("content-type", "application/grpc");
    if !is_call || says(b"missing") {
        let status = if is_call { "5" } else { "12" };
        let answer = answer.header("grpc-status", status).header("grpc-message", "no such words");
        return Ok(answer.body(frames(Vec::new())).unwrap());
    }
    let times = if says(b"twice") { 2 } else { 1 };
    let mut parts: Vec<_> = (0..times).map(|_| Frame::data(body.clone())).collect();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    parts.push(Frame::trailers(trailers));
    Ok(answer.body(frames(parts)).unwrap())
}

/// Starts the server and says its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(echo));
                tokio::spawn(serving);
            }
        });
    });
    port
}

/// A gateway with a plugin before the server, and the folder of its files.
fn gateway(plugin: &str, file: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shapes")).unwrap();
    std::fs::write(folder.path().join("echo.proto"), PROTO).unwrap();
    std::fs::write(folder.path().join("shapes/shape.proto"), SHAPE).unwrap();
    let gateway = Gateway::start(&[]);
    let document = json!({ "_format_version": "3.0", "services": [{
        "name": "s", "url": format!("grpc://127.0.0.1:{}", server()), "retries": 0,
        "routes": [{ "name": "r", "paths": ["/"], "protocols": ["http"], "strip_path": false }],
        "plugins": [{ "name": plugin, "config": { "proto": folder.path().join(file) } }],
    }]});
    gateway.configure(&document.to_string());
    (gateway, folder)
}

/// Sends a request and gives status, head and body.
fn send(gateway: &Gateway, line: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
    let mut request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n").into_bytes();
    if !body.is_empty() {
        let length = body.len();
        write!(request, "Content-Type: {kind}\r\nContent-Length: {length}\r\n").unwrap();
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    let answer = exchange(gateway.proxy, &request).unwrap();
    let (status, body) = split(&answer);
    let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(&body) } else { body };
    (status, head, body)
}

/// The bytes of a chunked body, as far as they are text.
fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

#[test]
fn resources_are_methods_of_a_grpc_service() {
    let (gateway, _folder) = gateway("grpc-gateway", "echo.proto");
    let get = "GET /v1/say/a?numbers=1&numbers=2&shape.kind=box&shape.sides=4";
    let (status, head, body) = send(&gateway, get, "", b"");
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let expected =
        json!({ "name": "a", "numbers": [1, 2], "shape": { "kind": "box", "sides": 4 } });
    assert_eq!(json_of(&body), expected);

    let words = json!({ "name": "b", "numbers": [7] });
    let post = |body: &str| send(&gateway, "POST /v1/say", "application/json", body.as_bytes());
    let (status, _, body) = post(&words.to_string());
    assert_eq!((status, json_of(&body)), (200, words));

    let (status, head, body) = post(r#"{"name":"missing"}"#);
    assert_eq!((status, body.as_str()), (404, ""));
    assert!(head.contains("grpc-message: no such words"), "{head}");

    assert_eq!(post("{").0, 500);
    assert_eq!(post(r#"{"numbers":["many"]}"#).0, 500);
    assert_eq!(post("5").2, "body must be a table");

    let (status, _, body) = send(&gateway, "GET /v1/nothing", "", b"");
    assert_eq!(status, 400);
    assert_eq!(body, r#"failed to transcode .proto file Unknown path "/v1/nothing""#);
    let (status, _, body) = send(&gateway, "DELETE /v1/say/a", "", b"");
    assert_eq!(status, 400);
    assert_eq!(body, r#"failed to transcode .proto file Unknown method "delete""#);

    let (status, head, body) = send(&gateway, "OPTIONS /v1/say/a", "", b"");
    assert_eq!((status, body.as_str()), (200, "OK"));
    assert!(head.contains("access-control-allow-methods: get,post,patch,delete"), "{head}");
}

#[test]
fn messages_of_a_stream_are_json_one_after_the_other() {
    let (gateway, _folder) = gateway("grpc-gateway", "echo.proto");
    let (_, _, body) = send(&gateway, "GET /v1/say/twice", "", b"");
    let messages: Vec<Value> =
        serde_json::Deserializer::from_str(&body).into_iter().map(Result::unwrap).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], json!({ "name": "twice", "numbers": {} }));
    assert_eq!(messages[0], messages[1]);
}

#[test]
fn a_file_that_is_not_there_fails_each_request_until_it_is() {
    let (gateway, folder) = gateway("grpc-gateway", "later.proto");
    assert_eq!(send(&gateway, "GET /v1/say/a", "", b"").0, 500);
    std::fs::rename(folder.path().join("echo.proto"), folder.path().join("later.proto")).unwrap();
    assert_eq!(send(&gateway, "GET /v1/say/a", "", b"").0, 200);
}

#[test]
fn browsers_call_methods_with_json() {
    let (gateway, _folder) = gateway("grpc-web", "echo.proto");
    let line = "POST /test.Echo/Say";
    let words = br#"{"name":"a","shape":{"sides":"3"}}"#;
    let (status, head, body) = send(&gateway, line, "application/json", words);
    assert_eq!(status, 200, "{head} {body}");
    let expected = json!({ "name": "a", "numbers": {}, "shape": { "kind": "", "sides": 3 } });
    assert_eq!(json_of(&body), expected);

    let text = STANDARD.encode(frame(br#"{"name":"b"}"#));
    let kind = "application/grpc-web-text+json";
    let (status, head, body) = send(&gateway, line, kind, text.as_bytes());
    assert_eq!(status, 200, "{head}");
    let answer = STANDARD.decode(body).unwrap();
    let message = frame(br#"{"name":"b","numbers":{}}"#);
    assert_eq!(answer[..message.len()], message);
    assert!(answer.ends_with(b"grpc-status:0\r\n"));

    let (status, _, body) = send(&gateway, "POST /test.Echo/Sing", "application/json", b"{}");
    assert_eq!((status, body.as_str()), (400, r#"Unkown path "/test.Echo/Sing""#));
    assert_eq!(send(&gateway, line, "application/json", b"{").0, 500);
}
