//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1.
const LINE: usize = 107;

/// Reads the header and leaves what follows in the buffer; the client, unless the balancer speaks for itself.
pub async fn read<R: AsyncRead + Unpin>(
    io: &mut R,
    buffer: &mut BytesMut,
) -> io::Result<Option<SocketAddr>> {
    loop {
        match parse(buffer) {
            Ok(Some((source, size))) => {
                buffer.advance(size);
                return Ok(source);
            }
            Ok(None) => {}
            Err(()) => return Err(io::ErrorKind::InvalidData.into()),
        }
        if io.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The source and the header's size, once it is complete.
type Header = Option<(Option<SocketAddr>, usize)>;

/// Parses what has come so far.
fn parse(bytes: &[u8]) -> Result<Header, ()> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        if bytes.len() < SIGNATURE.len() { Ok(None) } else { version2(bytes) }
    } else if begins(b"PROXY ") {
        version1(bytes)
    } else {
        Err(())
    }
}

fn version1(bytes: &[u8]) -> Result<Header, ()> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() > LINE { Err(()) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| ())?;
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4" | "TCP6") => {
            let ip = words.next().and_then(|ip| ip.parse::<IpAddr>().ok()).ok_or(())?;
            let port = words.nth(1).and_then(|port| port.parse().ok()).ok_or(())?;
            Some(SocketAddr::new(ip, port))
        }
        _ => return Err(()),
    };
    Ok(Some((source, end + 2)))
}

fn version2(bytes: &[u8]) -> Result<Header, ()> {
    let Some((&[command, family, high, low], rest)) =
        bytes[SIGNATURE.len()..].split_first_chunk::<4>()
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(addresses) = rest.get(..length) else { return Ok(None) };
    let size = SIGNATURE.len() + 4 + length;
    let source = match (command, family >> 4) {
        (0x20, _) => None,
        (0x21, 1) => {
            let ip = addresses.first_chunk::<4>().ok_or(())?;
            Some(SocketAddr::new(Ipv4Addr::from(*ip).into(), port(addresses, 8)?))
        }
        (0x21, 2) => {
            let ip = addresses.first_chunk::<16>().ok_or(())?;
            Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), port(addresses, 32)?))
        }
        (0x21, _) => None,
        _ => return Err(()),
    };
    Ok(Some((source, size)))
}

fn port(addresses: &[u8], at: usize) -> Result<u16, ()> {
    match addresses.get(at..at + 2) {
        Some([high, low]) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_name_the_client() {
        let client = "10.0.0.1:1234".parse().unwrap();
        let one = b"PROXY TCP4 10.0.0.1 10.0.0.2 1234 80\r\nGET";
        assert_eq!(parse(one), Ok(Some((Some(client), one.len() - 3))));
        let mut two = SIGNATURE.to_vec();
        two.extend([0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 4, 210, 0, 80]);
        assert_eq!(parse(&two), Ok(Some((Some(client), two.len()))));
        assert_eq!(parse(&two[..20]), Ok(None));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(()));
    }
}
