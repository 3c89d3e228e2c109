//! The end of a body, found without IO.

use bytes::{Buf, Bytes, BytesMut};

use super::Framing;

/// A body that breaks its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("body violates its framing")]
pub struct BadBody;

/// What the bytes at hand give.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A piece of the body.
    Data(Bytes),
    /// Nothing until more is read.
    More,
    /// The body is over.
    End,
}

/// Takes a body apart.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    /// Digits of a chunk size so far, and whether there was one.
    Size(u64, bool),
    /// The rest of a size line.
    Extension(u64),
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// At the start of a trailer line.
    Trailer,
    /// Inside one.
    TrailerRest,
    Done,
}

impl Decoder {
    /// A decoder for a framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0, false),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether the body is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Whether the end of the connection ends the body well.
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self.0, State::Done | State::UntilClose)
    }

    /// How much is still to come, when that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece from the buffer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, BadBody> {
        loop {
            if self.0 == State::Done {
                return Ok(Piece::End);
            }
            let Some(first) = buffer.first().copied() else { return Ok(Piece::More) };
            self.0 = match self.0 {
                State::Length(left) => {
                    let data = take(buffer, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Piece::Data(data));
                }
                State::UntilClose => return Ok(Piece::Data(buffer.split().freeze())),
                State::Data(left) => {
                    let data = take(buffer, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Piece::Data(data));
                }
                State::Done => State::Done,
                line => {
                    let crlf = first == b'\r';
                    if crlf && buffer.len() < 2 {
                        return Ok(Piece::More);
                    }
                    let end = first == b'\n' || crlf && buffer.get(1) == Some(&b'\n');
                    buffer.advance(if end && crlf { 2 } else { 1 });
                    step(line, first, end)?
                }
            };
        }
    }
}

/// One step through the lines of a chunked body; `end` is a line end.
fn step(state: State, byte: u8, end: bool) -> Result<State, BadBody> {
    let after = |size| if size == 0 { State::Trailer } else { State::Data(size) };
    Ok(match (state, end) {
        (State::Size(size, true) | State::Extension(size), true) => after(size),
        (State::Size(size, some), false) => match char::from(byte).to_digit(16) {
            Some(_) if size >> 59 != 0 => return Err(BadBody),
            Some(digit) => State::Size(size << 4 | u64::from(digit), true),
            None if some && matches!(byte, b';' | b' ' | b'\t') => State::Extension(size),
            None => return Err(BadBody),
        },
        (State::Extension(size), false) => State::Extension(size),
        (State::DataEnd, true) => State::Size(0, false),
        (State::Trailer, true) => State::Done,
        (State::Trailer | State::TrailerRest, false) => State::TrailerRest,
        (State::TrailerRest, true) => State::Trailer,
        (State::Size(_, false) | State::DataEnd, _)
        | (State::Length(_) | State::UntilClose | State::Data(_) | State::Done, _) => {
            return Err(BadBody);
        }
    })
}

fn take(buffer: &mut BytesMut, limit: u64) -> Bytes {
    let length = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
    buffer.split_to(length).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Option<String>, BadBody> {
        let mut buffer = BytesMut::from(text);
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut out = String::new();
        loop {
            match decoder.next(&mut buffer)? {
                Piece::Data(data) => out.push_str(std::str::from_utf8(&data).unwrap()),
                Piece::More => return Ok(None),
                Piece::End => return Ok(Some(out)),
            }
        }
    }

    #[test]
    fn chunks_are_decoded_with_extensions_trailers_and_bare_line_feeds() {
        for text in [
            "3\r\nabc\r\n0\r\n\r\n",
            "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n",
            "3 \r\nabc\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\n",
            "0003\nabc\n0\n\n",
        ] {
            assert_eq!(decode(text), Ok(Some("abc".to_owned())), "{text:?}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for text in
            ["xyz\r\n", "\r\nabc", "fffffffffffffffff\r\na", "2\r\nabc\r\n0\r\n\r\n", "-1\r\n"]
        {
            assert_eq!(decode(text), Err(BadBody), "{text:?}");
        }
        assert_eq!(decode("5\r\nab"), Ok(None));
    }
}
