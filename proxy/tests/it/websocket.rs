//! WebSocket through the gateway: every kind of frame arrives as it was sent, in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::gateway::{Gateway, PATIENCE, upstream};

/// Agrees to the upgrade and sends everything back.
fn echo(stream: TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    reader.get_mut().write_all(accept.as_bytes()).unwrap();
    let mut buffer = [0; 64 * 1024];
    while let Ok(read) = reader.read(&mut buffer) {
        if read == 0 || reader.get_mut().write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[test]
fn frames_of_every_kind_pass_unchanged() {
    let gateway = Gateway::before(upstream(echo));
    let mut stream = TcpStream::connect(gateway.proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The first frame comes with the handshake: it must not get lost between the two protocols.
    let early = frame(0x81, b"early");
    let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(&[head.as_bytes(), &early].concat()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answer = String::new();
    while reader.read_line(&mut answer).unwrap() > 2 {}
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"),
        "{answer}"
    );
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");

    let table: Vec<(&str, Vec<u8>)> = vec![
        ("early text", early),
        ("empty text", frame(0x81, b"")),
        ("text of 125 bytes", frame(0x81, &[b'a'; 125])),
        ("text of 126 bytes", frame(0x81, &[b'a'; 126])),
        ("text of 65,535 bytes", frame(0x81, &[b'a'; 65_535])),
        ("text of 65,536 bytes", frame(0x81, &[b'a'; 65_536])),
        ("text that is no UTF-8", frame(0x81, &[0xff, 0xfe])),
        ("binary of a megabyte", frame(0x82, &vec![7; 1 << 20])),
        ("three fragments", [frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c")].concat()),
        (
            "a ping between fragments",
            [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x80, b"c")].concat(),
        ),
        ("a ping", frame(0x89, b"ping")),
        ("a ping of 125 bytes", frame(0x89, &[1; 125])),
        ("an unasked pong", frame(0x8a, b"")),
        ("reserved bits", frame(0xf1, b"x")),
        ("an unknown opcode", frame(0x83, b"x")),
        ("close with a code and a reason", frame(0x88, b"\x03\xe8bye")),
    ];
    for (name, bytes) in table {
        if name != "early text" {
            let (mut writer, bytes) = (stream.try_clone().unwrap(), bytes.clone());
            std::thread::spawn(move || writer.write_all(&bytes));
        }
        let mut back = vec![0; bytes.len()];
        reader.read_exact(&mut back).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(back == bytes, "{name} came back changed");
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "the end is passed on");
}
