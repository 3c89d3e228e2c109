//! Plugins whose effect is seen beside the request: records of streams, spans, secrets of the environment.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE, exchange};

/// Starts a gateway; the configuration may depend on the stream listener's port.
fn start(environment: &[(&str, &str)], config: impl Fn(u16) -> Value) -> Gateway {
    let gateway = Gateway::start(environment);
    gateway.configure(&config(gateway.stream.port()).to_string());
    gateway
}

/// Answers every request with 200 and hands its head and body over.
fn sink() -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                while let Some(request) = serve(&stream) {
                    let last = request.0.contains("connection: close");
                    // The test may have what it wanted.
                    let _ = sender.send(request);
                    if last {
                        return;
                    }
                }
            });
        }
    });
    (address, receiver)
}

fn serve(mut stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        read.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
    Some((head, body))
}

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{headers}\r\n");
    exchange(address, request.as_bytes()).unwrap()
}

fn plugin(name: &str, config: &Value) -> Value {
    json!({ "name": name, "config": config })
}

fn on_streams(name: &str, config: &Value) -> Value {
    json!({ "name": name, "config": config, "protocols": ["tcp"] })
}

fn with_stream(port: u16, to: SocketAddr, plugins: &Value) -> Value {
    let route = json!({ "name": "r", "protocols": ["tcp"], "destinations": [{ "port": port }] });
    json!({ "_format_version": "3.0", "plugins": plugins, "services": [{
        "name": "s", "protocol": "tcp", "host": "127.0.0.1", "port": to.port(), "routes": [route],
    }]})
}

#[test]
fn a_stream_is_logged_with_its_bytes() {
    let (log, records) = sink();
    let (upstream, _) = sink();
    let endpoint = json!({ "http_endpoint": format!("http://{log}/") });
    let gateway =
        start(&[], |port| with_stream(port, upstream, &json!([on_streams("http-log", &endpoint)])));
    let answer = get(gateway.stream, "/", "");
    assert!(answer.ends_with("ok"), "{answer}");
    let deadline = Instant::now() + PATIENCE;
    // Earlier connections, which only looked whether it listens, are logged too.
    let record = loop {
        assert!(Instant::now() < deadline, "no record of the stream");
        let (_, body) = records.recv_timeout(PATIENCE).unwrap();
        let record: Value = serde_json::from_slice(&body).unwrap();
        if record["session"]["sent"] != 0 {
            break record;
        }
    };
    assert_eq!(record["session"]["sent"], answer.len());
    assert_eq!(record["upstream"]["received"], answer.len());
    assert_eq!(record["service"]["name"], "s");
    assert_eq!(record["route"]["name"], "r");
    assert_eq!(record["client_ip"], "127.0.0.1");
    assert!(record.get("request").is_none());
}

#[test]
fn a_stream_of_a_denied_address_is_closed() {
    let (upstream, asked) = sink();
    let denied = on_streams("ip-restriction", &json!({ "deny": ["127.0.0.0/8"] }));
    let gateway = start(&[], |port| with_stream(port, upstream, &json!([denied])));
    let mut stream = TcpStream::connect(gateway.stream).unwrap();
    let mut answer = Vec::new();
    // The connection may be closed already.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    // A reset is as good an end as any.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert!(asked.try_recv().is_err());
}

#[test]
fn spans_are_exported_where_instrumentations_are_on() {
    let (collector, spans) = sink();
    let (upstream, _) = sink();
    let config = json!({
        "traces_endpoint": format!("http://{collector}/v1/traces"),
        "sampling_rate": 1,
        "resource_attributes": { "service.name": "edge" },
        "headers": { "X-Token": "t" },
        "queue": { "max_coalescing_delay": 0.01 },
    });
    let gateway = start(&[("KONG_TRACING_INSTRUMENTATIONS", "all")], |_| {
        json!({ "_format_version": "3.0", "plugins": [plugin("opentelemetry", &config)], "services": [{
            "name": "s", "url": format!("http://{upstream}"), "routes": [{ "name": "r", "paths": ["/"] }],
        }]})
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    get(gateway.proxy, "/", &format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n"));
    let (head, body) = spans.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains("content-type: application/x-protobuf") && head.contains("x-token: t"));
    let has = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    let id: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&trace[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(has(b"kong.access.plugin.opentelemetry"));
    assert!(has(&id) && has(b"kong.balancer") && has(b"edge") && has(b"http.status_code"));
}

#[test]
fn a_secret_of_the_environment_is_used() {
    let value = "{vault://env/upstream-token}";
    let (upstream, asked) = sink();
    let headers = plugin(
        "ai-proxy",
        &json!({
            "route_type": "preserve",
            "auth": { "header_name": "X-Token", "header_value": value },
            "model": { "provider": "openai", "name": "m", "options": { "upstream_url": format!("http://{upstream}/") } },
        }),
    );
    let gateway = start(&[("UPSTREAM_TOKEN", "s3cret")], |_| {
        json!({ "_format_version": "3.0", "plugins": [headers], "services": [{
            "name": "s", "url": format!("http://{upstream}"), "routes": [{ "name": "r", "paths": ["/"] }],
        }]})
    });
    let mut stream = TcpStream::connect(gateway.proxy).unwrap();
    let body = json!({ "prompt": "hello" }).to_string();
    let length = body.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let (head, _) = asked.recv_timeout(PATIENCE).unwrap();
    assert!(head.contains("x-token: s3cret"), "{head}");
}

/// A service of this name at an address, for every path.
fn service(name: &str, upstream: SocketAddr) -> Value {
    json!([{
        "name": name, "url": format!("http://{upstream}"), "routes": [{ "name": "r", "paths": ["/"] }],
    }])
}

#[test]
fn figures_share_a_datagram_and_carry_tags_where_wanted() {
    let (upstream, _) = sink();
    let told = |more: Value| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let metric =
            |name: &str, kind: &str| json!({ "name": name, "stat_type": kind, "sample_rate": 1 });
        let mut config = json!({
            "host": "127.0.0.1", "port": socket.local_addr().unwrap().port(), "udp_packet_size": 1_000,
            "metrics": [metric("request_count", "counter"), metric("status_count", "counter")],
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let gateway = start(&[], |_| {
            json!({
                "_format_version": "3.0", "plugins": [plugin("statsd", &config)],
                "services": service("a.b", upstream),
            })
        });
        get(gateway.proxy, "/", "");
        let mut packet = [0; 1_000];
        let length = socket.recv(&mut packet).unwrap();
        String::from_utf8_lossy(&packet[..length]).into_owned()
    };
    assert_eq!(
        told(json!({})),
        "kong.service.a_b.request.count:1|c\nkong.service.a_b.status.200:1|c"
    );
    let tagged = told(json!({ "tag_style": "dogstatsd" }));
    let (figure, tags) = tagged.split_once('#').unwrap();
    assert_eq!(figure, "kong.request.count:1|c|");
    assert!(tags.starts_with("service:a.b,route:r,workspace:") && tags.ends_with(",status:200"));
    let tagged = told(json!({ "tag_style": "signalfx" }));
    assert!(tagged.starts_with("kong.request.count[service=a.b,") && tagged.ends_with("]:1|c"));
}

#[test]
fn streams_are_counted_like_requests() {
    let (upstream, _) = sink();
    let config =
        json!({ "status_code_metrics": true, "latency_metrics": true, "bandwidth_metrics": true });
    let gateway =
        start(&[], |port| with_stream(port, upstream, &json!([on_streams("prometheus", &config)])));
    let answer = get(gateway.stream, "/", "");
    assert!(answer.ends_with("ok"), "{answer}");
    let labels = r#"{service="s",route="r","#;
    let wanted = [
        format!("kong_stream_sessions_total{labels}code=\"200\""),
        format!("kong_session_duration_ms_count{labels}"),
        format!("kong_bandwidth_bytes{labels}direction=\"egress\""),
    ];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = get(gateway.admin, "/metrics", "");
        if wanted.iter().all(|line| metrics.contains(line)) {
            return;
        }
        assert!(Instant::now() < deadline, "{metrics}");
    }
}

#[test]
fn an_answer_names_its_route_where_that_is_allowed() {
    let (upstream, _) = sink();
    let answer = |environment: &[(&str, &str)], asked: &str| {
        let gateway = start(
            environment,
            |_| json!({ "_format_version": "3.0", "services": service("s", upstream) }),
        );
        get(gateway.proxy, "/", asked).to_ascii_lowercase()
    };
    let allowed = [("KONG_ALLOW_DEBUG_HEADER", "on")];
    let told = answer(&allowed, "Kong-Debug: 1\r\n");
    assert!(
        told.contains("\r\nkong-route-name: r\r\n")
            && told.contains("\r\nkong-service-name: s\r\n")
    );
    assert!(told.contains("\r\nkong-route-id: ") && told.contains("\r\nkong-service-id: "));
    assert!(!answer(&allowed, "").contains("kong-route-"));
    assert!(!answer(&[], "Kong-Debug: 1\r\n").contains("kong-route-"));
}

#[test]
fn a_function_is_called_with_the_keys_of_a_role() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut read = Vec::new();
            let mut byte = [0];
            while !read.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                read.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&read).into_owned();
            let body = if head.contains("Action=AssumeRole") {
                "<AccessKeyId>LENT</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
            } else {
                "{}"
            };
            let length = body.len();
            // The gateway may not wait for the answer.
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            // The test may have what it wanted.
            let _ = sender.send(head);
        }
    });
    let config = json!({
        "aws_key": "own", "aws_secret": "s", "aws_region": "us-east-1", "function_name": "f",
        "aws_assume_role_arn": "arn:aws:iam::1:role/r", "aws_sts_endpoint_url": format!("http://{address}"),
        "host": "127.0.0.1", "port": address.port(), "disable_https": true,
    });
    let gateway = start(&[], |_| {
        json!({
            "_format_version": "3.0", "plugins": [plugin("aws-lambda", &config)],
            "services": service("s", address),
        })
    });
    for _ in 0..2 {
        assert!(get(gateway.proxy, "/", "").starts_with("HTTP/1.1 200"));
    }
    let heads: Vec<String> =
        (0..3).map(|_| asked.recv_timeout(PATIENCE).unwrap().to_ascii_lowercase()).collect();
    assert!(heads[0].contains("rolearn=arn") && heads[0].contains("credential=own/"));
    for head in &heads[1..] {
        assert!(head.contains("/functions/f/invocations"), "keys are lent once: {head}");
        assert!(head.contains("credential=lent/") && head.contains("x-amz-security-token: token"));
    }
}
