//! A gateway that is asked to end: what is on its way is still answered.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::gateway::{Gateway, PATIENCE, answering, read_all};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection that has been used once and waits.
fn kept(gateway: &Gateway) -> TcpStream {
    let mut client = TcpStream::connect(gateway.proxy).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(REQUEST).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = client.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    client
}

#[test]
fn an_idle_connection_is_served_once_more_and_told_to_close() {
    let mut gateway = Gateway::before(answering());
    let (mut idle, mut half) = (kept(&gateway), kept(&gateway));
    half.write_all(&REQUEST[..10]).unwrap();
    gateway.terminate();
    idle.write_all(REQUEST).unwrap();
    half.write_all(&REQUEST[10..]).unwrap();
    for mut client in [idle, half] {
        let answer = String::from_utf8_lossy(&read_all(&mut client)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    assert!(gateway.ended().success());
}

#[test]
fn a_connection_that_stays_idle_does_not_hold_the_end_up() {
    let mut gateway = Gateway::before(answering());
    let mut idle = kept(&gateway);
    gateway.terminate();
    assert!(gateway.ended().success());
    assert_eq!(read_all(&mut idle), b"");
}
