//! Upstreams that misbehave, and configurations that are too large, impossible or both.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::{Gateway, PATIENCE, exchange, read_all, split, upstream};

/// An upstream that reads a request and then says this, and no more.
fn saying(words: &'static [u8]) -> u16 {
    upstream(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(words);
    })
}

#[test]
fn an_upstream_that_answers_garbage_is_a_bad_gateway() {
    for words in [
        &b"garbage\r\n\r\n"[..],
        b"\0\x01\x02\x03",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ] {
        let gateway = Gateway::before(saying(words));
        assert_eq!(gateway.get("/").0, 502, "{:?}", String::from_utf8_lossy(words));
    }
}

#[test]
fn half_an_answer_is_not_taken_for_a_whole_one() {
    let gateway = Gateway::before(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    let answer = exchange(gateway.proxy, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(answer.ends_with("\r\n\r\nhalf") && answer.contains("Content-Length: 10"), "{answer}");

    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let gateway = Gateway::before(saying(chunks));
    let answer = exchange(gateway.proxy, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn an_upstream_that_says_nothing_is_given_up() {
    let silent =
        upstream(|mut stream| while matches!(stream.read(&mut [0; 1024]), Ok(read) if read > 0) {});
    let gateway = Gateway::start(&[]);
    gateway.configure(
        &json!({ "_format_version": "3.0", "services": [{
            "name": "s", "url": format!("http://127.0.0.1:{silent}"), "read_timeout": 300, "retries": 1,
            "routes": [{ "paths": ["/"] }],
        }] })
        .to_string(),
    );
    assert_eq!(gateway.get("/").0, 504);
}

#[test]
fn ten_gigabytes_wait_at_the_upstream_for_a_client_that_reads_slowly() {
    let taken = Arc::new(AtomicU64::new(0));
    let endless = {
        let taken = Arc::clone(&taken);
        upstream(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            let block = vec![b'a'; 64 * 1024];
            while stream.write_all(&block).is_ok() {
                taken.fetch_add(block.len() as u64, Ordering::SeqCst);
            }
        })
    };
    let gateway = Gateway::before(endless);
    let before = gateway.resident();
    let mut client = TcpStream::connect(gateway.proxy).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // The flow stops by itself: what is on its way fills the sockets' buffers and no more.
    let deadline = Instant::now() + PATIENCE;
    let mut last = u64::MAX;
    while last != taken.load(Ordering::SeqCst) || last == 0 {
        assert!(Instant::now() < deadline, "the upstream is never held up");
        last = taken.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(last < 64 << 20, "{last} bytes were taken for a client that reads nothing");
    assert!(gateway.resident() < before + 16 * 1024);
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    while read < 64 << 20 {
        read += client.read(&mut buffer).unwrap();
    }
    assert!(gateway.resident() < before + 16 * 1024);
}

#[test]
fn a_request_body_is_gathered_first_unless_the_route_wants_it_at_once() {
    for buffering in [true, false] {
        let (told, hear) = mpsc::channel();
        let told = Mutex::new(told);
        let port = upstream(move |mut stream| {
            let mut buffer = [0; 4096];
            while let Ok(read) = stream.read(&mut buffer) {
                if read == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let ended = text.ends_with("second");
                let _ = told.lock().unwrap().send(text);
                if ended {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            }
        });
        let gateway = Gateway::start(&[]);
        gateway.configure(
            &json!({ "_format_version": "3.0", "services": [{
                "name": "s", "url": format!("http://127.0.0.1:{port}"),
                "routes": [{ "paths": ["/"], "request_buffering": buffering }],
            }] })
            .to_string(),
        );
        let mut client = TcpStream::connect(gateway.proxy).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nfirst").unwrap();
        if buffering {
            client.write_all(b"second").unwrap();
            // Head and body come together, from one buffer.
            let all = hear.recv_timeout(PATIENCE).unwrap();
            assert!(all.ends_with("firstsecond"), "{all}");
        } else {
            let mut early = String::new();
            while !early.ends_with("first") {
                early += &hear.recv_timeout(PATIENCE).unwrap();
            }
            client.write_all(b"second").unwrap();
        }
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

/// A configuration of one upstream with one target.
fn targeting(port: u16) -> Value {
    json!({
        "_format_version": "3.0",
        "upstreams": [{ "name": "u", "targets": [{ "target": format!("127.0.0.1:{port}") }] }],
        "services": [{ "name": "s", "host": "u", "routes": [{ "name": "r", "paths": ["/"] }] }],
    })
}

#[test]
fn a_target_that_is_removed_finishes_what_it_has_begun() {
    let (go, wait) = mpsc::channel::<()>();
    let (begun, hear) = mpsc::channel::<()>();
    let channels = Mutex::new((wait, begun));
    let old = upstream(move |mut stream| {
        // The test's probes of the port say nothing.
        if !matches!(stream.read(&mut [0; 4096]), Ok(read) if read > 0) {
            return;
        }
        let channels = channels.lock().unwrap();
        channels.1.send(()).unwrap();
        channels.0.recv().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
    });
    let new = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
    let gateway = Gateway::start(&[]);
    gateway.configure(&targeting(old).to_string());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.get("/"));
        hear.recv_timeout(PATIENCE).unwrap();
        gateway.configure(&targeting(new).to_string());
        assert_eq!(gateway.get("/"), (200, "new".to_owned()));
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap(), (200, "old".to_owned()));
    });
}

#[test]
fn a_changed_target_is_served_at_once_and_after_a_restart() {
    let old = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nold");
    let new = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnew");
    let mut gateway = Gateway::start(&[]);
    gateway.configure(&targeting(old).to_string());
    assert_eq!(gateway.get("/").1, "old");
    let read = |body: String| serde_json::from_str::<Value>(&body).unwrap();
    let hash = |gateway: &Gateway| {
        read(gateway.admin("GET /status", "text/plain", b"").1)["configuration_hash"].clone()
    };
    let all = read(gateway.admin("GET /upstreams/u/targets", "text/plain", b"").1);
    let mut target = all["data"][0].clone();
    target["target"] = json!(format!("127.0.0.1:{new}"));
    let result = "0123456789abcdef0123456789abcdef";
    let delta = json!({ "base": hash(&gateway), "result": result, "put": { "targets": [target] } });
    let kind = "application/vnd.flotilla.delta+json";
    let patch =
        |gateway: &Gateway| gateway.admin("PATCH /config", kind, delta.to_string().as_bytes());
    assert_eq!(patch(&gateway).0, 200);
    assert_eq!(patch(&gateway).0, 409, "the base is not there any more");
    assert_eq!((gateway.get("/").1, hash(&gateway)), ("new".to_owned(), json!(result)));
    gateway.restart();
    assert_eq!((gateway.get("/").1, hash(&gateway)), ("new".to_owned(), json!(result)));
}

#[test]
fn a_hundred_megabytes_of_configuration_are_taken_and_more_than_the_limit_is_not() {
    let ok = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let gateway = Gateway::before(ok);
    let long = "a".repeat(1 << 20);
    let services: Vec<Value> = (0..100)
        .map(|at| json!({ "name": format!("s{at}"), "url": format!("http://127.0.0.1:{ok}"), "tags": [format!("{at}{long}")], "routes": [{ "name": format!("r{at}"), "paths": [format!("/{at}")] }] }))
        .collect();
    gateway.configure(&json!({ "_format_version": "3.0", "services": services }).to_string());
    assert_eq!(gateway.get("/99").0, 200);
    let head = format!(
        "POST /config HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/yaml\r\nContent-Length: {}\r\n\r\n",
        300 << 20
    );
    assert_eq!(split(&exchange(gateway.admin, head.as_bytes()).unwrap()).0, 413);
    assert_eq!(gateway.get("/99").0, 200);
}

#[test]
fn what_cannot_be_run_is_refused_by_name_and_changes_nothing() {
    let ok = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let gateway = Gateway::before(ok);
    let pair = || rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    let table = [
        (json!({ "routes": [{ "name": "odd", "paths": ["~/a(?=b)"] }] }), "look-around"),
        (json!({ "plugins": [{ "name": "no-such-plugin" }] }), "no-such-plugin"),
        (
            json!({ "certificates": [{ "cert": one.cert.pem(), "key": other.signing_key.serialize_pem() }] }),
            "certificate does not match key",
        ),
        (json!({ "certificates": [{ "cert": "none", "key": "none" }] }), "invalid certificate"),
    ];
    for (mut document, words) in table {
        document["_format_version"] = json!("3.0");
        let text = document.to_string();
        let (status, body) =
            gateway.admin("POST /config?flatten_errors=1", "text/yaml", text.as_bytes());
        assert_eq!(status, 400, "{text}");
        assert!(body.contains(words), "{body}");
        assert_eq!(gateway.get("/").0, 200);
    }
}

#[test]
fn ten_thousand_certificates_are_taken() {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificates: Vec<Value> = (0..10_000)
        .map(|at| json!({ "cert": cert, "key": key, "snis": [{ "name": format!("n{at}.test") }] }))
        .collect();
    let gateway = Gateway::start(&[]);
    gateway
        .configure(&json!({ "_format_version": "3.0", "certificates": certificates }).to_string());
    let (status, body) = gateway.admin("GET /snis/n9999.test", "text/plain", b"");
    assert_eq!(status, 200, "{body}");
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let port = upstream(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
        while stream.write_all(&[b'a'; 4096]).is_ok() {}
    });
    let gateway = Gateway::before(port);
    for _ in 0..50 {
        let mut client = TcpStream::connect(gateway.proxy).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let _ = client.read(&mut [0; 100]);
    }
    let active = || {
        let (_, body) = gateway.admin("GET /status", "text/plain", b"");
        serde_json::from_str::<Value>(&body).unwrap()["server"]["connections_active"]
            .as_u64()
            .unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    while active() > 2 {
        assert!(Instant::now() < deadline, "{} connections are kept", active());
    }
    let mut rest = TcpStream::connect(gateway.proxy).unwrap();
    rest.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert!(read_all(&mut rest).len() > 1 << 20);
}
