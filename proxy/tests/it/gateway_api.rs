//! What a rule of Gateway API asks for and Kong's model has no word for, done by the real binary.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// An upstream that counts its requests by path, and answers as `answer` says to the path and the count.
fn upstream(answer: fn(&str, usize) -> u16) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || serve(stream, answer, &counted));
        }
    });
    (address, asked)
}

fn serve(mut stream: TcpStream, answer: fn(&str, usize) -> u16, asked: &Asked) {
    let Some(head) = read_head(&mut stream) else { return };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let count = {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let status = answer(&path, count);
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // A gateway that has given up does not listen.
    let _ = stream.write_all(text.as_bytes());
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A gateway with one configuration, killed when the test is over.
struct Gateway {
    process: Child,
    address: SocketAddr,
    _prefix: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    fn start(config: &Value) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let file = prefix.path().join("kong.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_flotilla-proxy"))
            .env("KONG_PROXY_LISTEN", free.to_string())
            .env("KONG_ADMIN_LISTEN", "off")
            .env("KONG_STATUS_LISTEN", "off")
            .env("KONG_PREFIX", prefix.path())
            .env("KONG_DECLARATIVE_CONFIG", &file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "the gateway ended");
            assert!(begun.elapsed() < PATIENCE, "the gateway does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, address: free, _prefix: prefix }
    }

    /// The status line and headers of the answer to a request.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
            .unwrap();
        read_head(&mut stream).unwrap()
    }
}

/// A configuration with one service, and a route with this plugin at `/`.
fn config(to: SocketAddr, plugin: &Value, more: &Value) -> Value {
    let mut config = json!({
        "_format_version": "3.0",
        "services": [{
            "name": "web", "host": to.ip().to_string(), "port": to.port(), "retries": 0,
            "routes": [{
                "name": "all", "paths": ["/"],
                "plugins": [{ "name": "flotilla-route", "config": plugin }],
            }],
        }],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

#[test]
fn an_unwanted_answer_is_asked_for_again() {
    let (address, asked) = upstream(|_, count| if count < 3 { 503 } else { 200 });
    let plugin = json!({ "retry": { "attempts": 2, "codes": [503], "backoff": 1 } });
    let gateway = Gateway::start(&config(address, &plugin, &json!({})));
    assert!(gateway.get("/a").starts_with("HTTP/1.1 200"));
    assert_eq!(asked.lock().unwrap()["/a"], 3);
}

#[test]
fn the_last_attempt_is_answered_with_as_it_is() {
    let (address, asked) = upstream(|_, _| 503);
    let plugin = json!({ "retry": { "attempts": 2, "codes": [503] } });
    let gateway = Gateway::start(&config(address, &plugin, &json!({})));
    assert!(gateway.get("/a").starts_with("HTTP/1.1 503"));
    assert_eq!(asked.lock().unwrap()["/a"], 3);
}

#[test]
fn a_mirror_gets_a_copy_and_has_no_say() {
    let (address, _) = upstream(|_, _| 200);
    let (copies, copied) = upstream(|_, _| 500);
    let plugin = json!({ "mirrors": [{ "upstream": "copies" }] });
    let more = json!({
        "upstreams": [{ "name": "copies", "targets": [{ "target": copies.to_string() }] }],
    });
    let gateway = Gateway::start(&config(address, &plugin, &more));
    assert!(gateway.get("/a?b=c").starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    while copied.lock().unwrap().get("/a?b=c") != Some(&1) {
        assert!(begun.elapsed() < PATIENCE, "no copy came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_redirect_replaces_a_prefix_and_keeps_the_query() {
    let (address, asked) = upstream(|_, _| 200);
    let redirect = json!({ "redirect": {
        "scheme": "https", "port": 8443, "path": "/new", "prefix": "/old", "status_code": 308,
    }});
    let gateway = Gateway::start(&config(address, &redirect, &json!({})));
    let answer = gateway.get("/old/a?b=c");
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    let location = "location: https://a.example:8443/new/a?b=c\r\n";
    assert!(answer.to_ascii_lowercase().contains(location), "{answer}");
    assert!(asked.lock().unwrap().is_empty());
}
