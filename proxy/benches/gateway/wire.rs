//! HTTP/1.1 reduced to what a load generator needs: send bytes, read one answer whole.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A kept-alive connection with its read buffer.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends `request` and returns the status of the answer, read to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).context("no status line")?.parse()?;
        let length = header(text, "content-length");
        match length {
            Some(length) => {
                let end = head + length.parse::<usize>()?;
                while self.buffer.len() < end {
                    self.more().await?;
                }
                self.buffer.drain(..end);
            }
            None if status == 304 || status == 204 => drop(self.buffer.drain(..head)),
            None => self.chunks(head).await?,
        }
        Ok(status)
    }

    /// Reads a chunked body by waiting for its last chunk: the bodies here never contain it.
    async fn chunks(&mut self, head: usize) -> Result<()> {
        loop {
            if let Some(end) = find(&self.buffer[head.saturating_sub(2)..], b"\r\n0\r\n\r\n") {
                self.buffer.drain(..head.saturating_sub(2) + end + 7);
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection ended inside an answer");
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
