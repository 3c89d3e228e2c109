//! What comes over a connection: its meaning never depends on how it was cut into packets.

use bytes::BytesMut;
use http::Method;
use proptest::prelude::*;
use proxy::http1::Framing;
use proxy::http1::body::{Decoder, Piece};
use proxy::http1::{request, response};
use proxy::proxy_protocol;

use super::{config, input, shown};

/// What a request's bytes are, fed in pieces of some size.
fn head(bytes: &[u8], size: usize) -> Option<String> {
    let mut buffer = BytesMut::new();
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        match request::parse(&mut buffer) {
            request::Parsed::Partial => {}
            request::Parsed::Head(head) => {
                let lines = head.headers.iter();
                for (name, value) in lines {
                    let bad = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
                    assert!(!value.as_bytes().iter().any(bad), "{name} spans lines");
                }
                assert!(head.target.first() == Some(&b'/') || head.target.first() == Some(&b'?'));
                return Some(format!("{head:?}"));
            }
            request::Parsed::Refused(refusal) => return Some(refusal.status.to_string()),
        }
    }
    None
}

fn answer(bytes: &[u8], size: usize) -> Option<Result<String, ()>> {
    let mut buffer = BytesMut::new();
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        match response::parse(&mut buffer, &Method::GET) {
            Ok(None) => {}
            Ok(Some(head)) => return Some(Ok(format!("{head:?}"))),
            Err(_) => return Some(Err(())),
        }
    }
    None
}

/// The body, and whether it is over.
fn body(bytes: &[u8], size: usize) -> Result<(Vec<u8>, bool), ()> {
    let (mut buffer, mut whole) = (BytesMut::new(), Vec::new());
    let mut decoder = Decoder::new(Framing::Chunked);
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.next(&mut buffer).map_err(|_| ())? {
                Piece::Data(data) => whole.extend_from_slice(&data),
                Piece::More => break,
                Piece::End => return Ok((whole, true)),
            }
        }
    }
    Ok((whole, false))
}

fn source(bytes: &[u8], size: usize) -> (Option<Option<std::net::SocketAddr>>, BytesMut) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut near, mut far) = tokio::io::duplex(size);
        let bytes = bytes.to_vec();
        let writing = async move {
            // The reader stops where the header ends.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await;
        };
        let reading = async {
            let mut buffer = BytesMut::new();
            let found = proxy_protocol::read(&mut near, &mut buffer).await.ok();
            (found, buffer)
        };
        tokio::pin!(writing);
        // Biased: nothing is left to write once the header was read.
        tokio::select! {
            biased;
            found = reading => found,
            () = async { writing.await; std::future::pending().await } => unreachable!("it never ends"),
        }
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_request_head_has_one_meaning(bytes in input("request")) {
        let whole = head(&bytes, usize::MAX);
        // A refusal may come before the rest does; what is accepted is the same.
        let drops = head(&bytes, 1);
        let accepted = |one: &Option<String>| one.clone().filter(|text| text.starts_with("Head"));
        prop_assert_eq!(accepted(&whole), accepted(&drops), "{}", shown(&bytes));
        prop_assert_eq!(whole.is_some(), drops.is_some(), "{}", shown(&bytes));
    }

    #[test]
    fn an_answers_head_has_one_meaning(bytes in input("response")) {
        prop_assert_eq!(answer(&bytes, usize::MAX), answer(&bytes, 1), "{}", shown(&bytes));
    }

    #[test]
    fn chunks_have_one_meaning(bytes in input("chunks")) {
        prop_assert_eq!(body(&bytes, usize::MAX), body(&bytes, 1), "{}", shown(&bytes));
    }

    #[test]
    fn a_proxy_header_names_one_client(bytes in input("proxy-protocol")) {
        // Without the writer's end a header that is cut off would wait for ever.
        let bytes = [&bytes[..], &[b'\n'; 256]].concat();
        let (whole, drops) = (source(&bytes, 4096), source(&bytes, 1));
        prop_assert_eq!(whole.0, drops.0, "{}", shown(&bytes));
    }
}
