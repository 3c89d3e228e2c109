//! Clients that want to tie the gateway up: heads in drops, streams that are reset at once, heads without end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, PATIENCE, upstream};

/// Answers every request that has no body.
pub(crate) fn answering() -> u16 {
    upstream(|mut stream| {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer), Ok(read) if read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream
}

/// Whether the other side has ended the connection.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => {
            !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
    }
}

#[test]
fn a_head_that_comes_in_drops_is_given_up_on_both_ports() {
    let gateway = Gateway::start(&[("KONG_NGINX_HTTP_CLIENT_HEADER_TIMEOUT", "1s")]);
    for address in [gateway.proxy, gateway.admin] {
        let mut slow = connect(address);
        slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        let deadline = Instant::now() + PATIENCE;
        while slow.write_all(b"X-Drop: 1\r\n").is_ok() && !is_over(&mut slow) {
            assert!(Instant::now() < deadline, "a head without end is listened to");
        }
    }
}

#[test]
fn many_unfinished_heads_leave_room_for_whole_ones() {
    let gateway = Gateway::before(answering());
    let unfinished: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = connect(gateway.proxy);
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
            stream
        })
        .collect();
    assert_eq!(gateway.get("/").0, 200);
    assert_eq!(unfinished.len(), 300);
}

// ---- HTTP/2 ------------------------------------------------------------------------------------

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a` in HPACK.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn http2(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// A header field that is not kept by either side, in HPACK.
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let mut out = vec![0, length(name)];
    out.extend(name.bytes());
    out.push(length(value));
    out.extend(value.bytes());
    out
}

/// Reads frames until one satisfies `wanted`; false when the connection ends before.
fn wait_for(stream: &mut TcpStream, wanted: impl Fn(u8, &[u8]) -> bool) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            return false;
        }
        if wanted(head[3], &payload) {
            return true;
        }
    }
    false
}

#[test]
fn a_stream_that_is_reset_frees_no_room_for_another_request() {
    let most = Arc::new(AtomicUsize::new(0));
    let silent = {
        let most = Arc::clone(&most);
        upstream(move |mut stream| {
            most.fetch_add(1, Ordering::SeqCst);
            // Says nothing until the gateway goes away.
            while matches!(stream.read(&mut [0; 1024]), Ok(read) if read > 0) {}
        })
    };
    let gateway = Gateway::before(silent);
    let mut attacker = http2(gateway.proxy);
    for at in 0..2_000_u32 {
        let stream = at * 2 + 1;
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        both.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
        // The gateway may have had enough and hung up.
        if attacker.write_all(&both).is_err() {
            break;
        }
    }
    let mut honest = http2(gateway.proxy);
    let ping = frame(6, 0, 0, &[7; 8]);
    honest.write_all(&ping).unwrap();
    assert!(wait_for(&mut honest, |kind, payload| kind == 6 && payload == [7; 8]));
    // What the attacker sent before was read before its own ping is answered, or it was sent away.
    let _ = attacker.write_all(&ping);
    wait_for(&mut attacker, |kind, _| kind == 6 || kind == GO_AWAY);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 128, "{most} requests at the upstream");
    assert_eq!(gateway.admin("GET /status", "text/plain", b"").0, 200);
}

#[test]
fn a_head_without_end_ends_the_connection() {
    let gateway = Gateway::before(answering());
    let before = gateway.resident();
    let mut attacker = http2(gateway.proxy);
    attacker.write_all(&frame(HEADERS, END_STREAM, 1, GET)).unwrap();
    let more = frame(CONTINUATION, 0, 1, &field("x-more", &"a".repeat(100)).repeat(100));
    let hung_up = (0..10_000).any(|_| attacker.write_all(&more).is_err());
    assert!(hung_up, "100 MB of head were read");
    assert!(gateway.resident() < before + 64 * 1024, "they were kept");
    assert_eq!(gateway.get("/").0, 200);
}

#[test]
fn a_head_of_too_many_fields_is_refused() {
    let gateway = Gateway::before(answering());
    let mut client = http2(gateway.proxy);
    let mut block = GET.to_vec();
    (0..2_000).for_each(|at| block.extend(field(&format!("x-{at}"), "a")));
    let (first, rest) = block.split_at(16_000);
    client.write_all(&frame(HEADERS, END_STREAM, 1, first)).unwrap();
    client.write_all(&frame(CONTINUATION, END_HEADERS, 1, rest)).unwrap();
    // Any status but 200 (0x88 in HPACK), a reset, or the end of the connection.
    let refused = wait_for(&mut client, |kind, payload| match kind {
        HEADERS => payload.first() != Some(&0x88),
        other => other == RESET || other == GO_AWAY,
    });
    assert!(refused || is_over(&mut client));
}
