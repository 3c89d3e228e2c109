//! What a rule of Gateway API asks for and Kong's model has no word for, done by the real binary.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::{self, Gateway, PATIENCE, exchange};

type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// An upstream that counts its requests by path, and answers as `answer` says to the path and the count.
fn upstream(answer: fn(&str, usize) -> u16) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let counted = Arc::clone(&asked);
    let port = gateway::upstream(move |stream| serve(stream, answer, &counted));
    (SocketAddr::from(([127, 0, 0, 1], port)), asked)
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

/// A gateway with one configuration.
fn start(config: &Value) -> Gateway {
    let gateway = Gateway::start(&[]);
    gateway.configure(&config.to_string());
    gateway
}

/// The answer to a request: status line, headers and body.
fn get(gateway: &Gateway, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    exchange(gateway.proxy, request.as_bytes()).unwrap()
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
    let gateway = start(&config(address, &plugin, &json!({})));
    assert!(get(&gateway, "/a").starts_with("HTTP/1.1 200"));
    assert_eq!(asked.lock().unwrap()["/a"], 3);
}

#[test]
fn the_last_attempt_is_answered_with_as_it_is() {
    let (address, asked) = upstream(|_, _| 503);
    let plugin = json!({ "retry": { "attempts": 2, "codes": [503] } });
    let gateway = start(&config(address, &plugin, &json!({})));
    assert!(get(&gateway, "/a").starts_with("HTTP/1.1 503"));
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
    let gateway = start(&config(address, &plugin, &more));
    assert!(get(&gateway, "/a?b=c").starts_with("HTTP/1.1 200"));
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
    let gateway = start(&config(address, &redirect, &json!({})));
    let answer = get(&gateway, "/old/a?b=c");
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    let location = "location: https://a.example:8443/new/a?b=c\r\n";
    assert!(answer.to_ascii_lowercase().contains(location), "{answer}");
    assert!(asked.lock().unwrap().is_empty());
}
