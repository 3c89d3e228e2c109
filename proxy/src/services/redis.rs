//! A small Redis client: pipelines over kept connections, in the protocol's second version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use proxy_core::plugin::{Redis, Reply, ServiceError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Idle connections kept for one server.
const MAX_IDLE: usize = 64;
/// The largest answer that is read.
const MAX_REPLY: usize = 16 << 20;

/// Idle connections by server.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<Redis, Vec<Connection>>>>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Connection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Connections {
    /// Runs commands in order on one connection.
    pub(super) async fn run(
        &self,
        server: &Redis,
        tls: Option<Arc<ClientConfig>>,
        commands: Vec<Vec<Bytes>>,
    ) -> Result<Vec<Reply>, ServiceError> {
        let kept = self.lock().get_mut(server).and_then(Vec::pop);
        // A connection that the server has closed meanwhile is found out before anything is sent on it. What was sent
        // is never sent again: counting twice is worse than failing.
        if let Some(mut connection) = kept
            && connection.is_open()
        {
            let replies = within(server.timeout, connection.pipeline(&commands)).await;
            let replies = replies.map_err(|_| unreachable(server))?;
            self.keep(server, connection);
            return Ok(replies);
        }
        let work = async {
            let mut connection = Connection::open(server, tls).await?;
            let replies = connection.pipeline(&commands).await?;
            Ok((connection, replies))
        };
        let (connection, replies) =
            within(server.timeout, work).await.map_err(|_| unreachable(server))?;
        self.keep(server, connection);
        Ok(replies)
    }

    fn keep(&self, server: &Redis, connection: Connection) {
        let mut servers = self.lock();
        let idle = servers.entry(server.clone()).or_default();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Redis, Vec<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|late| Err(late.into()))
}

fn unreachable(server: &Redis) -> ServiceError {
    ServiceError::Unreachable(format!("redis at {}:{}", server.host, server.port))
}

impl Connection {
    async fn open(server: &Redis, tls: Option<Arc<ClientConfig>>) -> std::io::Result<Self> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let name = server
                    .tls
                    .as_ref()
                    .and_then(|(name, _)| name.clone())
                    .unwrap_or_else(|| server.host.clone());
                let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
                Box::new(TlsConnector::from(config).connect(name, stream).await?)
            }
        };
        let mut connection = Self { stream, buffer: BytesMut::new() };
        connection.greet(server).await?;
        Ok(connection)
    }

    async fn greet(&mut self, server: &Redis) -> std::io::Result<()> {
        let word = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut commands = Vec::new();
        match (&server.username, &server.password) {
            (Some(user), Some(password)) => {
                commands.push(vec![word("AUTH"), word(user), word(password)]);
            }
            (None, Some(password)) => commands.push(vec![word("AUTH"), word(password)]),
            (_, None) => {}
        }
        if server.database != 0 {
            commands.push(vec![word("SELECT"), word(&server.database.to_string())]);
        }
        for reply in self.pipeline(&commands).await? {
            if let Reply::Error(text) = reply {
                return Err(std::io::Error::other(text));
            }
        }
        Ok(())
    }

    /// Whether the server has neither closed the connection nor said anything that nobody asked for.
    fn is_open(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let read = std::pin::Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        read.is_pending() && self.buffer.is_empty()
    }

    async fn pipeline(&mut self, commands: &[Vec<Bytes>]) -> std::io::Result<Vec<Reply>> {
        let mut request = Vec::new();
        for command in commands {
            request.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                request.extend_from_slice(word);
                request.extend_from_slice(b"\r\n");
            }
        }
        self.stream.write_all(&request).await?;
        self.stream.flush().await?;
        let mut replies = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            let mut at = 0;
            match parse(&self.buffer, &mut at, 0)? {
                Some(reply) => {
                    self.buffer.advance(at);
                    replies.push(reply);
                }
                None => self.read().await?,
            }
        }
        Ok(replies)
    }

    async fn read(&mut self) -> std::io::Result<()> {
        if self.buffer.len() > MAX_REPLY {
            return Err(std::io::Error::other("reply too large"));
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// One reply from the buffer; `None` while it is not complete.
fn parse(buffer: &[u8], at: &mut usize, depth: u8) -> std::io::Result<Option<Reply>> {
    let broken = || std::io::Error::other("not a redis reply");
    if depth > 8 {
        return Err(broken());
    }
    let Some(line) = line(buffer, at) else { return Ok(None) };
    let (kind, rest) = line.split_first().ok_or_else(broken)?;
    let text = std::str::from_utf8(rest).map_err(|_| broken())?;
    let number = || text.parse::<i64>().map_err(|_| broken());
    match kind {
        b'+' => Ok(Some(Reply::Data(Bytes::copy_from_slice(rest)))),
        b'-' => Ok(Some(Reply::Error(text.to_owned()))),
        b':' => number().map(|number| Some(Reply::Integer(number))),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Some(Reply::Nil)) };
            let Some(data) = buffer.get(*at..*at + length + 2) else { return Ok(None) };
            *at += length + 2;
            Ok(Some(Reply::Data(Bytes::copy_from_slice(&data[..length]))))
        }
        b'*' => {
            let Ok(count) = usize::try_from(number()?) else { return Ok(Some(Reply::Nil)) };
            let mut items = Vec::new();
            for _ in 0..count {
                match parse(buffer, at, depth + 1)? {
                    Some(item) => items.push(item),
                    None => return Ok(None),
                }
            }
            Ok(Some(Reply::List(items)))
        }
        _ => Err(broken()),
    }
}

fn line<'a>(buffer: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = buffer.get(*at..)?;
    let end = rest.windows(2).position(|window| window == b"\r\n")?;
    *at += end + 2;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> Redis {
        Redis {
            host: "127.0.0.1".into(),
            port,
            timeout: Duration::from_secs(30),
            username: None,
            password: None,
            database: 0,
            tls: None,
        }
    }

    /// Serves one connection: answers the first command, reads the second and closes. How many it has read.
    async fn answering_once() -> (u16, tokio::task::JoinHandle<usize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            assert_ne!(stream.read(&mut buffer).await.unwrap(), 0);
            stream.write_all(b":1\r\n").await.unwrap();
            1 + usize::from(stream.read(&mut buffer).await.unwrap() > 0)
        });
        (port, served)
    }

    fn count() -> Vec<Vec<Bytes>> {
        vec![vec![Bytes::from_static(b"INCR"), Bytes::from_static(b"a")]]
    }

    #[tokio::test]
    async fn a_command_that_was_sent_is_not_sent_again() {
        // The connection takes a second command and closes without an answer.
        let (port, served) = answering_once().await;
        let connections = Connections::default();
        let server = server(port);
        assert_eq!(connections.run(&server, None, count()).await.unwrap(), [Reply::Integer(1)]);
        assert!(connections.run(&server, None, count()).await.is_err());
        assert_eq!(served.await.unwrap(), 2);
    }

    fn check(bytes: &[u8], want: impl Into<Option<Reply>>) {
        let mut at = 0;
        assert_eq!(parse(bytes, &mut at, 0).unwrap(), want.into());
    }

    #[test]
    fn replies_are_read_once_they_are_complete() {
        check(b":12\r\n", Some(Reply::Integer(12)));
        check(b"$3\r\nabc\r\n", Some(Reply::Data(Bytes::from_static(b"abc"))));
        check(b"$3\r\nab", None);
        check(b"$-1\r\n", Some(Reply::Nil));
        check(b"*2\r\n:1\r\n$-1\r\n", Some(Reply::List(vec![Reply::Integer(1), Reply::Nil])));
        check(b"-ERR no\r\n", Some(Reply::Error("ERR no".into())));
    }
}
