//! Request smuggling: everything that is sent is refused, or goes on in one form that has one reading.
//!
//! Each case is sent through a raw socket to a gateway in front of a strict upstream, which refuses to guess: one doubt
//! about what it was asked, and the case fails. The same cases run in front of node, and under `make test-servers` of nginx
//! and Apache: there the requests that the server logged are counted.

mod cases;
mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use crate::debian;
use crate::gateway::{Gateway, PATIENCE, read_all, upstream};
use cases::{CASES, Case};
use servers::Logging;

/// What a strict server was asked, or what it could not be sure of.
type Seen = Arc<Mutex<Vec<String>>>;

/// Reads requests as RFC 9112 writes them and takes no other spelling.
fn strict(stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        match request(&mut reader) {
            Ok(None) => return,
            Ok(Some(request)) => seen.lock().unwrap().push(request),
            Err(doubt) => return seen.lock().unwrap().push(format!("doubt: {doubt}")),
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn line(reader: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes).map_err(|error| error.to_string())? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8(bytes).map_err(|_| "a head that is no text".to_owned())?;
    let line = text.strip_suffix("\r\n").ok_or("a line that ends oddly")?;
    if line.contains(|letter: char| letter.is_ascii_control()) {
        return Err(format!("a control character in {line:?}"));
    }
    Ok(Some(line.to_owned()))
}

fn request(reader: &mut impl BufRead) -> Result<Option<String>, String> {
    let Some(first) = line(reader)? else { return Ok(None) };
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(first) };
    if !target.starts_with('/') || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(first);
    }
    let (mut hosts, mut length, mut chunked) = (0, None, false);
    loop {
        let header = line(reader)?.ok_or("an unfinished head")?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ").ok_or(header.clone())?;
        // Some servers take an underscore for a hyphen, and then read another header.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(header);
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" if length.is_none() => {
                let plain = value.bytes().all(|byte| byte.is_ascii_digit());
                length = Some(value.parse::<usize>().ok().filter(|_| plain).ok_or(header.clone())?);
            }
            "transfer-encoding" if !chunked && value == "chunked" => chunked = true,
            "content-length" | "transfer-encoding" | "upgrade" | "http2-settings" | "x-secret"
            | "keep-alive" | "proxy-connection" | "te" | "expect" => return Err(header),
            _ => {}
        }
    }
    if hosts != 1 || chunked && length.is_some() {
        return Err("hosts or lengths".to_owned());
    }
    let body = if chunked { chunks(reader)? } else { bytes(reader, length.unwrap_or(0))? };
    Ok(Some(format!("{method} {target} {}", String::from_utf8_lossy(&body))))
}

fn bytes(reader: &mut impl Read, length: usize) -> Result<Vec<u8>, String> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).map_err(|_| "a body that ends early")?;
    Ok(body)
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let size = line(reader)?.ok_or("an unfinished body")?;
        let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&size, 16).ok().filter(|_| plain).ok_or(size)?;
        if size > 0 {
            body.extend(bytes(reader, size)?);
        }
        if line(reader)?.as_deref() != Some("") {
            return Err("a chunk or a body that ends oddly".to_owned());
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

/// The statuses of the answers that come back.
fn statuses(gateway: &Gateway, case: &Case) -> Vec<u16> {
    let mut stream = TcpStream::connect(gateway.proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A gateway that has refused may have closed already.
    let _ = stream.write_all(case.sent.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let answer = String::from_utf8_lossy(&read_all(&mut stream)).into_owned();
    // No body of these answers has such a line.
    let heads = answer.match_indices("HTTP/1.1 ").map(|(at, start)| &answer[at + start.len()..]);
    heads.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

#[test]
fn every_framing_is_refused_or_goes_on_in_one_form() {
    assert!(CASES.len() >= 60);
    let seen = Seen::default();
    let port = {
        let seen = Arc::clone(&seen);
        upstream(move |stream| strict(stream, &seen))
    };
    let gateway = Gateway::before(port);
    let mut wrong = Vec::new();
    for case in CASES {
        seen.lock().unwrap().clear();
        let statuses = statuses(&gateway, case);
        let seen = seen.lock().unwrap().clone();
        if statuses != case.statuses || seen != case.seen {
            wrong.push(format!("{}: answered {statuses:?}, upstream saw {seen:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn servers_behind_the_gateway_see_the_requests_that_it_let_through() {
    let packaged = ["nginx", "apache2"].into_iter().filter(|_| debian::servers());
    for name in ["node"].into_iter().chain(packaged) {
        let mut server = Logging::start(name);
        let gateway = Gateway::before(server.port());
        let mut wrong = Vec::new();
        for case in CASES {
            let statuses = statuses(&gateway, case);
            let want: Vec<String> = case.seen.iter().map(|seen| asked(seen)).collect();
            let got = server.seen(want.len());
            // Servers answer some of these requests with errors of their own.
            let count = |all: &[u16]| all.iter().filter(|status| **status != 100).count();
            if count(&statuses) != count(case.statuses) || got != want {
                wrong.push(format!("{}: answered {statuses:?}, {name} saw {got:?}", case.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Method and target of what is seen.
fn asked(seen: &str) -> String {
    seen.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")
}
