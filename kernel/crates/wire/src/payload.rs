//! Owns the raw part of a frame: values one after another, each from a multiple of sixteen bytes on, from memory or read
//! when it is their turn.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use nuna_plan::Value;
use serde::{Deserialize, Serialize};

use crate::frame::{COPY_BELOW, FrameError};

/// Values start at multiples of this, so that numbers in them can be read in place.
pub(crate) const ALIGNMENT: usize = 16;

/// How long the parts of a value in a payload are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueShape {
    pub header: u32,
    pub body: u64,
}

impl ValueShape {
    pub fn of(value: &Value) -> Self {
        Self { header: value.header.len() as u32, body: value.body.len() as u64 }
    }

    /// Bytes the value takes up in a payload: body, header, and the gap before the next body.
    fn padded(self) -> u64 {
        self.body
            .saturating_add(u64::from(self.header))
            .div_ceil(ALIGNMENT as u64)
            .saturating_mul(ALIGNMENT as u64)
    }
}

/// Bytes that are read when it is their turn to be sent, so that they need no memory of their own until then.
pub trait Parts: Send + 'static {
    /// All of them together.
    fn byte_count(&self) -> u64;

    /// Puts the next ones into `part`, which is empty: some, while there are any. May block.
    ///
    /// # Errors
    /// If they cannot be read. The connection that they were to go over is then closed.
    fn next_part(&mut self, part: &mut Vec<u8>) -> io::Result<()>;
}

/// Bytes of a payload, in order.
pub(crate) enum Piece {
    Here(Bytes),
    Elsewhere(Box<dyn Parts>),
}

/// The raw part of a frame on its way out.
#[derive(Default)]
pub struct Payload {
    pieces: Vec<Piece>,
    gathering: BytesMut,
    length: u64,
}

impl Payload {
    pub fn new() -> Self {
        Self::default()
    }

    /// A payload of these bytes alone, for instance a library.
    pub fn raw(bytes: Bytes) -> Self {
        Self { length: bytes.len() as u64, pieces: vec![Piece::Here(bytes)], gathering: BytesMut::new() }
    }

    pub fn byte_count(&self) -> u64 {
        self.length
    }

    /// Adds a value; the shape returned goes into the frame's header, in the same order.
    pub fn push(&mut self, value: &Value) -> ValueShape {
        let shape = ValueShape::of(value);
        self.append(&value.body);
        self.append(&value.header);
        self.pad(shape);
        shape
    }

    /// Adds a value of this shape that is read when it is sent: its body, then its header.
    pub fn push_later(&mut self, shape: ValueShape, parts: Box<dyn Parts>) {
        self.close_piece();
        self.length += parts.byte_count();
        self.pieces.push(Piece::Elsewhere(parts));
        self.pad(shape);
    }

    fn pad(&mut self, shape: ValueShape) {
        let used = shape.body + u64::from(shape.header);
        let gap = (shape.padded() - used) as usize;
        self.gathering.put_bytes(0, gap);
        self.length += gap as u64;
    }

    pub(crate) fn into_pieces(mut self) -> (u64, Vec<Piece>) {
        self.close_piece();
        (self.length, self.pieces)
    }

    fn append(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BELOW {
            self.gathering.extend_from_slice(bytes);
        } else {
            self.close_piece();
            self.pieces.push(Piece::Here(bytes.clone()));
        }
        self.length += bytes.len() as u64;
    }

    fn close_piece(&mut self) {
        if !self.gathering.is_empty() {
            self.pieces.push(Piece::Here(self.gathering.split().freeze()));
        }
    }
}

/// Takes values back out of a received payload, without copying them.
///
/// # Errors
/// If the shapes do not add up to the payload.
pub fn unpack(
    payload: &Bytes,
    shapes: impl IntoIterator<Item = ValueShape>,
) -> Result<Vec<Value>, FrameError> {
    let shapes = shapes.into_iter();
    let mut values = Vec::with_capacity(shapes.size_hint().0);
    let mut at = 0_u64;
    for shape in shapes {
        let end = at.saturating_add(shape.padded());
        if end > payload.len() as u64 {
            return Err(FrameError::PayloadMismatch { length: payload.len() as u64, described: end });
        }
        let body_end = (at + shape.body) as usize;
        values.push(Value {
            body: payload.slice(at as usize..body_end),
            header: payload.slice(body_end..body_end + shape.header as usize),
        });
        at = end;
    }
    if at != payload.len() as u64 {
        return Err(FrameError::PayloadMismatch { length: payload.len() as u64, described: at });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameReader, FrameWriter, Limits};

    #[test]
    fn shapes_that_lie_are_refused() {
        let payload = Bytes::from(vec![0; 32]);
        let lies = [
            ValueShape { header: 0, body: u64::MAX },
            ValueShape { header: 40, body: 0 },
            ValueShape { header: 0, body: 1 },
        ];
        for lie in lies {
            assert!(unpack(&payload, [lie]).is_err(), "{lie:?}");
        }
    }

    /// Gives this many bytes, a thousand at a time, of a value that is said to have `length`.
    struct Counting {
        length: u64,
        given: u64,
        end: u64,
    }

    impl Parts for Counting {
        fn byte_count(&self) -> u64 {
            self.length
        }

        fn next_part(&mut self, part: &mut Vec<u8>) -> io::Result<()> {
            if self.given == self.end && self.end < self.length {
                return Err(io::Error::other("the disk is gone"));
            }
            let next = self.end.min(self.given + 1000);
            part.extend((self.given..next).map(|number| number as u8));
            self.given = next;
            Ok(())
        }
    }

    async fn sent(length: u64, end: u64) -> (Vec<u8>, Result<(), FrameError>) {
        let before = Value { header: Bytes::from_static(b"h"), body: Bytes::from_static(b"before") };
        let mut payload = Payload::new();
        let mut shapes = vec![payload.push(&before)];
        let shape = ValueShape { header: 7, body: length - 7 };
        payload.push_later(shape, Box::new(Counting { length, given: 0, end }));
        shapes.extend([shape, payload.push(&before)]);
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::new(&mut bytes);
        let outcome = match writer.write(&shapes, payload).await {
            Ok(()) => writer.flush().await,
            Err(error) => Err(error),
        };
        (bytes, outcome)
    }

    #[tokio::test]
    async fn values_that_are_read_when_they_are_sent_arrive_between_others() {
        for length in [7, 1000, 123_457] {
            let (bytes, outcome) = sent(length, length).await;
            outcome.unwrap();
            let mut reader = FrameReader::new(bytes.as_slice(), Limits::CLUSTER);
            let (shapes, payload): (Vec<ValueShape>, Bytes) = reader.read().await.unwrap().unwrap();
            let values = unpack(&payload, shapes).unwrap();
            let counted: Vec<u8> = (0..length).map(|number| number as u8).collect();
            assert_eq!(values[1].body, counted[..length as usize - 7]);
            assert_eq!(values[1].header, counted[length as usize - 7..]);
            assert_eq!((&values[0].body[..], &values[2]), (&b"before"[..], &values[0]));
        }
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_read_to_its_end_leaves_an_unfinished_frame() {
        let (bytes, outcome) = sent(5000, 3000).await;
        assert!(
            matches!(&outcome, Err(FrameError::Io(error)) if error.to_string().contains("the disk is gone"))
        );
        let received = FrameReader::new(bytes.as_slice(), Limits::CLUSTER).read::<Vec<ValueShape>>().await;
        assert!(matches!(received, Err(FrameError::Truncated { .. })), "{received:?}");
        let (_, outcome) = sent(1500, 3000).await;
        let too_much: Result<(), _> = Err(FrameError::PayloadMismatch { length: 1000, described: 500 });
        assert_eq!(format!("{outcome:?}"), format!("{too_much:?}"));
    }
}
