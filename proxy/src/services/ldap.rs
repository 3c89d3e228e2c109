//! One question to a directory: is this the password of this name? A simple bind (RFC 4511) and nothing else.

use std::sync::Arc;

use proxy_core::plugin::{Ldap, ServiceError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
/// `[APPLICATION 0]`, constructed.
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
/// `[APPLICATION 23]`, constructed, and its name `[0]`.
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const CONTEXT_0: u8 = 0x80;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const SUCCESS: u8 = 0;
const INVALID_CREDENTIALS: u8 = 49;
const INVALID_DN: u8 = 34;
const NO_SUCH_OBJECT: u8 = 32;

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Binds once; whether the directory took the password.
pub(super) async fn bind(
    server: &Ldap,
    tls: Arc<ClientConfig>,
    dn: &str,
    password: &str,
) -> Result<bool, ServiceError> {
    let unreachable =
        || ServiceError::Unreachable(format!("ldap at {}:{}", server.host, server.port));
    let conversation = async {
        let mut stream = connect(server, tls).await?;
        let request =
            [integer(3), element(OCTETS, dn.as_bytes()), element(CONTEXT_0, password.as_bytes())]
                .concat();
        ask(&mut stream, 2, BIND_REQUEST, &request, BIND_RESPONSE).await
    };
    match tokio::time::timeout(server.timeout, conversation).await {
        Ok(Ok(SUCCESS)) => Ok(true),
        Ok(Ok(INVALID_CREDENTIALS | INVALID_DN | NO_SUCH_OBJECT)) => Ok(false),
        Ok(Ok(code)) => {
            Err(ServiceError::Refused(format!("the directory answered with result {code}")))
        }
        Ok(Err(_)) | Err(_) => Err(unreachable()),
    }
}

async fn connect(server: &Ldap, tls: Arc<ClientConfig>) -> std::io::Result<Box<dyn Stream>> {
    let mut stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
    if server.start_tls {
        let request = element(CONTEXT_0, START_TLS);
        if ask(&mut stream, 1, EXTENDED_REQUEST, &request, EXTENDED_RESPONSE).await? != SUCCESS {
            return Err(std::io::Error::other("the directory refused TLS"));
        }
    }
    if !server.start_tls && !server.ldaps {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(server.host.clone()).map_err(std::io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
}

/// Sends one operation and gives the result code of its answer.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    id: u8,
    operation: u8,
    request: &[u8],
    response: u8,
) -> std::io::Result<u8> {
    let message = element(SEQUENCE, &[integer(id), element(operation, request)].concat());
    stream.write_all(&message).await?;
    stream.flush().await?;
    let message = read_element(stream).await?;
    result(&message, response).ok_or_else(|| std::io::Error::other("not an LDAP answer"))
}

fn integer(value: u8) -> Vec<u8> {
    vec![INTEGER, 1, value]
}

/// A tag, the length and the contents.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(length @ 0..=0x7f) => element.push(length),
        _ => {
            let length = contents.len().to_be_bytes();
            let skipped = length.iter().take_while(|byte| **byte == 0).count();
            let significant = length.get(skipped..).unwrap_or_default();
            element.push(0x80 | significant.len() as u8);
            element.extend_from_slice(significant);
        }
    }
    element.extend_from_slice(contents);
    element
}

async fn read_element(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let _tag = stream.read_u8().await?;
    let first = stream.read_u8().await?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        length = 0;
        for _ in 0..first & 0x7f {
            length = (length << 8) | usize::from(stream.read_u8().await?);
            if length > MAX_ANSWER {
                return Err(std::io::Error::other("answer too long"));
            }
        }
    }
    let mut contents = vec![0; length];
    stream.read_exact(&mut contents).await?;
    Ok(contents)
}

/// The result code in a message: id, then the operation, whose first element it is.
fn result(message: &[u8], response: u8) -> Option<u8> {
    let (_, _, rest) = split(message)?;
    let (tag, operation, _) = split(rest)?;
    let (kind, code, _) = split(operation)?;
    (tag == response && kind == ENUMERATED).then(|| code.first().copied())?
}

fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        length =
            rest.get(..count)?.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = rest.get(count..)?;
    }
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_code_is_found_in_a_bind_response() {
        let answer =
            [integer(2), element(BIND_RESPONSE, &[ENUMERATED, 1, 49, OCTETS, 0, OCTETS, 0])]
                .concat();
        assert_eq!(result(&answer, BIND_RESPONSE), Some(INVALID_CREDENTIALS));
    }

    #[test]
    fn long_contents_have_a_long_length() {
        assert_eq!(element(OCTETS, &[0; 300])[..4], [OCTETS, 0x82, 1, 44]);
    }
}
