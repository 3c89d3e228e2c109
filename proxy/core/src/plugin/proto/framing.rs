//! gRPC's frames: a flag, the length in four bytes, a message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost_reflect::MessageDescriptor;

use super::decode;

/// The length of what stands before a message.
const HEAD: usize = 5;

/// Puts a message into a frame.
pub(in crate::plugin) fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + HEAD);
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Takes the first message out, once all of it is there.
pub(in crate::plugin) fn unframe(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = buffer.get(1..HEAD)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = HEAD.checked_add(usize::try_from(length).ok()?)?;
    if buffer.len() < end {
        return None;
    }
    let mut whole = buffer.split_to(end);
    whole.advance(HEAD);
    Some(whole.freeze())
}

/// Turns the messages of an answer into JSON, one after the other, as they come.
pub(in crate::plugin) struct Messages {
    kind: MessageDescriptor,
    buffer: BytesMut,
}

impl Messages {
    /// Messages of one type.
    pub(in crate::plugin) fn new(kind: MessageDescriptor) -> Self {
        Self { kind, buffer: BytesMut::new() }
    }

    /// Takes a piece and gives the messages that it completes.
    pub(in crate::plugin) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        self.buffer.extend_from_slice(piece);
        let mut messages = Vec::new();
        while let Some(message) = unframe(&mut self.buffer) {
            match decode(&self.kind, message.clone()) {
                Some(text) => messages.push(text),
                None => {
                    // Not such a message: it is shown as it came.
                    messages.push(String::from_utf8_lossy(&message).into_owned());
                }
            }
        }
        messages
    }

    /// What is left at the end and makes no frame.
    pub(in crate::plugin) fn rest(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_out_once_its_last_byte_is_there() {
        let bytes = [frame(0, b"one"), frame(0, b""), frame(0, b"two")].concat();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in bytes {
            buffer.put_u8(byte);
            while let Some(message) = unframe(&mut buffer) {
                found.push(message);
            }
        }
        assert_eq!(found, ["one", "", "two"]);
        assert!(buffer.is_empty());
    }
}
