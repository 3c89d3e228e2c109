//! The upstream of the cluster scenarios: answers every request with what it saw and who it is.
//!
//! Only the standard library, so that its image is small and builds in a moment. It speaks as much HTTP/1.1
//! as a gateway does to its upstreams: keep-alive, `Content-Length` and chunked bodies, which it discards.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

fn main() -> Result<()> {
    let listen = std::env::var("ECHO_LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".to_owned());
    let name: Arc<str> = std::env::var("POD_NAME").unwrap_or_else(|_| "echo".to_owned()).into();
    for stream in TcpListener::bind(listen)?.incoming() {
        let (stream, name) = (stream?, Arc::clone(&name));
        // A client that goes away ends its thread and nothing else.
        thread::Builder::new().stack_size(128 << 10).spawn(move || serve(&stream, &name))?;
    }
    Ok(())
}

fn serve(stream: &TcpStream, name: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let body = format!("pod: {name}\n{request}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        (&mut &*stream).write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}

/// Reads one request with its body and returns its head; none when the client has gone.
fn read(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut head = String::new();
    let mut length = 0;
    let mut chunked = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        head.push_str(line.trim_end());
        head.push('\n');
    }
    if chunked {
        discard_chunks(reader)?;
    } else {
        discard(reader, length)?;
    }
    Ok(Some(head))
}

fn discard(reader: &mut impl BufRead, length: u64) -> Result<()> {
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).map(drop)
}

fn discard_chunks(reader: &mut impl BufRead) -> Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size =
            u64::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0);
        // Each chunk, the last and empty one too, ends with a line break.
        discard(reader, size + 2)?;
        if size == 0 {
            return Ok(());
        }
    }
}
