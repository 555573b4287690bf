//! Owns framing: sixteen bytes that say how long header and payload are, a `postcard` header, then the raw bytes of a
//! [`Payload`]. Lengths are checked against [`Limits`] before anything is allocated for them.

use bytes::{BufMut, Bytes};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::payload::{Parts, Payload, Piece};

const MAGIC: u32 = u32::from_le_bytes(*b"nuna");
const PRELUDE: usize = 16;
/// Pieces at least this long are written from where they are; shorter ones are first put together.
pub(crate) const COPY_BELOW: usize = 16 << 10;
/// Payloads from here on are read into memory that somebody else gives out, if somebody does.
const ALLOCATED_FROM: usize = 256 << 10;
/// What is put together before it is written.
const WRITE_BUFFER: usize = 128 << 10;

/// What a peer may send in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub header_bytes_max: u32,
    pub payload_bytes_max: u64,
}

impl Limits {
    /// Before the other side is known: a greeting, and nothing else.
    pub const GREETING: Self = Self { header_bytes_max: 16 << 10, payload_bytes_max: 0 };
    /// Between parties of one cluster: plans of many stages, blocks of many bytes.
    pub const CLUSTER: Self = Self { header_bytes_max: 256 << 20, payload_bytes_max: 64 << 30 };
}

/// Why a frame was refused. The connection it came over is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the other side does not speak Nuna's protocol (a frame began with {found:#010x})")]
    NotAFrame { found: u32 },
    #[error("a frame's {part} has {length} bytes, more than the {limit} allowed here")]
    TooLong { part: &'static str, length: u64, limit: u64 },
    #[error("a frame of {length} bytes does not fit into this process's memory")]
    NoMemory { length: u64 },
    #[error("the connection ended inside a frame ({missing} bytes were still to come)")]
    Truncated { missing: u64 },
    #[error("a frame's header cannot be read: {0}")]
    Header(#[from] postcard::Error),
    #[error("a frame's payload has {length} bytes, but its header describes {described}")]
    PayloadMismatch { length: u64, described: u64 },
}

/// Memory that a payload is read into: as long as was asked for, with any contents.
pub trait PayloadMemory: AsRef<[u8]> + AsMut<[u8]> + Send + 'static {}

impl<T: AsRef<[u8]> + AsMut<[u8]> + Send + 'static> PayloadMemory for T {}

/// Gives out memory for a payload of so many bytes, or none if there is not so much.
pub type Allocate = fn(usize) -> Option<Box<dyn PayloadMemory>>;

struct Owner(Box<dyn PayloadMemory>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// Reads frames from one direction of a connection.
pub struct FrameReader<R> {
    stream: BufReader<R>,
    limits: Limits,
    allocate: Option<Allocate>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(stream: R, limits: Limits) -> Self {
        Self { stream: BufReader::with_capacity(WRITE_BUFFER, stream), limits, allocate: None }
    }

    /// Large payloads are read into memory of this kind from now on.
    pub fn set_memory(&mut self, allocate: Allocate) {
        self.allocate = Some(allocate);
    }

    /// Other limits from the next frame on: wider once the other side has been let in.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The next frame, or `None` where the connection ended between two.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing more can be read after one. Not to be cancelled half-way and called again.
    pub async fn read<H: DeserializeOwned>(&mut self) -> Result<Option<(H, Bytes)>, FrameError> {
        let mut prelude = [0; PRELUDE];
        let mut have = 0;
        while have < PRELUDE {
            let n = self.stream.read(&mut prelude[have..]).await?;
            if n == 0 && have == 0 {
                return Ok(None);
            }
            if n == 0 {
                return Err(FrameError::Truncated { missing: (PRELUDE - have) as u64 });
            }
            have += n;
        }
        let word =
            |at: usize| u32::from_le_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
        let (magic, header) = (word(0), word(4));
        let payload = u64::from(word(8)) | u64::from(word(12)) << 32;
        if magic != MAGIC {
            return Err(FrameError::NotAFrame { found: magic });
        }
        let Limits { header_bytes_max, payload_bytes_max } = self.limits;
        if header > header_bytes_max {
            return Err(FrameError::TooLong {
                part: "header",
                length: header.into(),
                limit: header_bytes_max.into(),
            });
        }
        if payload > payload_bytes_max {
            return Err(FrameError::TooLong { part: "payload", length: payload, limit: payload_bytes_max });
        }
        let header = self.take(u64::from(header)).await?;
        let header = postcard::from_bytes(&header)?;
        let payload = self.take(payload).await?;
        Ok(Some((header, payload)))
    }

    async fn take(&mut self, length: u64) -> Result<Bytes, FrameError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        // One allocation of the exact size: the address it starts at is what values in it are aligned to. It is asked for
        // politely, since a length may be nonsense and an allocation that fails would end the process.
        let mut buffer = Vec::new();
        let size = usize::try_from(length).map_err(|_| FrameError::NoMemory { length })?;
        if let Some(allocate) = self.allocate
            && size >= ALLOCATED_FROM
        {
            let mut memory = allocate(size).ok_or(FrameError::NoMemory { length })?;
            let target = (*memory).as_mut();
            let mut have = 0;
            while have < size {
                match self.stream.read(&mut target[have..size]).await? {
                    0 => return Err(FrameError::Truncated { missing: (size - have) as u64 }),
                    n => have += n,
                }
            }
            return Ok(Bytes::from_owner(Owner(memory)).slice(..size));
        }
        buffer.try_reserve_exact(size).map_err(|_| FrameError::NoMemory { length })?;
        let mut buffer = buffer.limit(size);
        while buffer.has_remaining_mut() {
            if self.stream.read_buf(&mut buffer).await? == 0 {
                return Err(FrameError::Truncated { missing: buffer.remaining_mut() as u64 });
            }
        }
        Ok(buffer.into_inner().into())
    }
}

/// Writes frames into one direction of a connection.
pub struct FrameWriter<W> {
    stream: W,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(stream: W) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Queues a frame; what is short waits for [`flush`](Self::flush), so that many small frames share a packet.
    ///
    /// # Errors
    /// If the header cannot be encoded, the connection is gone, or what is read only now cannot be: then the other side
    /// waits for the rest of a frame that does not come, so nothing more may be written.
    pub async fn write<H: Serialize>(&mut self, header: &H, payload: Payload) -> Result<(), FrameError> {
        let (length, pieces) = payload.into_pieces();
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; PRELUDE]);
        self.buffer = postcard::to_extend(header, std::mem::take(&mut self.buffer))?;
        let header_length = (self.buffer.len() - start - PRELUDE) as u64;
        let header_length = u32::try_from(header_length).map_err(|_| FrameError::TooLong {
            part: "header",
            length: header_length,
            limit: u32::MAX.into(),
        })?;
        self.buffer[start..start + 4].copy_from_slice(&MAGIC.to_le_bytes());
        self.buffer[start + 4..start + 8].copy_from_slice(&header_length.to_le_bytes());
        self.buffer[start + 8..start + 16].copy_from_slice(&length.to_le_bytes());
        for piece in pieces {
            match piece {
                Piece::Here(bytes) if bytes.len() < COPY_BELOW => self.buffer.extend_from_slice(&bytes),
                Piece::Here(bytes) => {
                    self.write_buffer().await?;
                    self.stream.write_all(&bytes).await?;
                }
                Piece::Elsewhere(parts) => {
                    self.write_buffer().await?;
                    self.write_parts(parts).await?;
                }
            }
        }
        if self.buffer.len() >= WRITE_BUFFER {
            self.write_buffer().await?;
        }
        Ok(())
    }

    /// Reads and sends part after part, so that no more than one is in memory, and that in the processor's cache.
    async fn write_parts(&mut self, mut parts: Box<dyn Parts>) -> Result<(), FrameError> {
        let mut left = parts.byte_count();
        let mut part = Vec::new();
        while left > 0 {
            let read = move || {
                part.clear();
                let outcome = parts.next_part(&mut part);
                (parts, part, outcome)
            };
            let outcome;
            // Files may take their time, which other connections do not wait for.
            (parts, part, outcome) =
                tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?;
            outcome?;
            left = match part.len() as u64 {
                1.. if part.len() as u64 <= left => left - part.len() as u64,
                length => return Err(FrameError::PayloadMismatch { length, described: left }),
            };
            self.stream.write_all(&part).await?;
        }
        Ok(())
    }

    /// Sends what [`write`](Self::write) has queued.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        self.write_buffer().await?;
        Ok(self.stream.flush().await?)
    }

    /// Says that nothing more will come.
    ///
    /// # Errors
    /// If the connection is gone already.
    pub async fn close(&mut self) -> Result<(), FrameError> {
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }

    async fn write_buffer(&mut self) -> Result<(), FrameError> {
        if !self.buffer.is_empty() {
            self.stream.write_all(&self.buffer).await?;
            self.buffer.clear();
            self.buffer.shrink_to(4 * WRITE_BUFFER);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nuna_plan::Value;

    use super::*;
    use crate::payload::{ALIGNMENT, unpack};

    fn value(header: &[u8], body: Vec<u8>) -> Value {
        Value { header: Bytes::copy_from_slice(header), body: Bytes::from(body) }
    }

    async fn encoded(header: &str, payload: Payload) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = FrameWriter::new(&mut bytes);
        writer.write(&header, payload).await.unwrap();
        writer.flush().await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn values_come_back_equal_and_aligned() {
        let values = vec![
            value(b"h", vec![1; 5]),
            value(b"", vec![]),
            value(b"long", vec![7; 100_000]),
            value(b"x", vec![9; 16]),
        ];
        let mut payload = Payload::new();
        let shapes: Vec<_> = values.iter().map(|v| payload.push(v)).collect();
        let bytes = encoded("values", payload).await;
        let mut reader = FrameReader::new(bytes.as_slice(), Limits::CLUSTER);
        let (header, payload): (String, Bytes) = reader.read().await.unwrap().unwrap();
        assert_eq!(header, "values");
        let back = unpack(&payload, shapes).unwrap();
        assert_eq!(back, values);
        let base = payload.as_ptr() as usize;
        assert!(
            back.iter()
                .all(|v| v.body.is_empty() || (v.body.as_ptr() as usize - base).is_multiple_of(ALIGNMENT))
        );
        assert!(reader.read::<String>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn large_payloads_are_read_into_the_memory_that_is_given() {
        let allocate: Allocate = |length| {
            (length < 1 << 20).then(|| Box::new(vec![0xee_u8; length + 100]) as Box<dyn PayloadMemory>)
        };
        for length in [1000, ALLOCATED_FROM, 700_001] {
            let sent = value(b"h", (0..length).map(|i| i as u8).collect());
            let mut payload = Payload::new();
            let shape = payload.push(&sent);
            let bytes = encoded("values", payload).await;
            let mut reader = FrameReader::new(bytes.as_slice(), Limits::CLUSTER);
            reader.set_memory(allocate);
            let (_, payload): (String, Bytes) = reader.read().await.unwrap().unwrap();
            assert_eq!(unpack(&payload, [shape]).unwrap(), [sent]);
            let mut reader = FrameReader::new(&bytes[..bytes.len() - 1], Limits::CLUSTER);
            reader.set_memory(allocate);
            let result = reader.read::<String>().await;
            assert!(matches!(result, Err(FrameError::Truncated { missing: 1 })), "{result:?}");
        }
        let mut payload = Payload::new();
        payload.push(&value(b"", vec![0; 1 << 20]));
        let bytes = encoded("too much", payload).await;
        let mut reader = FrameReader::new(bytes.as_slice(), Limits::CLUSTER);
        reader.set_memory(allocate);
        assert!(matches!(reader.read::<String>().await, Err(FrameError::NoMemory { .. })));
    }

    #[tokio::test]
    async fn every_truncation_is_an_error() {
        let mut payload = Payload::new();
        payload.push(&value(b"h", vec![1; 40]));
        let bytes = encoded("cut", payload).await;
        for length in 1..bytes.len() {
            let mut reader = FrameReader::new(&bytes[..length], Limits::CLUSTER);
            let result = reader.read::<String>().await;
            assert!(matches!(result, Err(FrameError::Truncated { .. })), "{length}: {result:?}");
        }
    }

    #[tokio::test]
    async fn long_frames_are_refused_by_their_first_bytes() {
        let mut payload = Payload::new();
        payload.push(&value(b"", vec![1; 40]));
        let bytes = encoded("long", payload).await;
        let limits = Limits { header_bytes_max: 100, payload_bytes_max: 10 };
        let result = FrameReader::new(bytes.as_slice(), limits).read::<String>().await;
        assert!(
            matches!(result, Err(FrameError::TooLong { part: "payload", length: 48, limit: 10 })),
            "{result:?}"
        );
        let limits = Limits { header_bytes_max: 2, payload_bytes_max: 1000 };
        let result = FrameReader::new(bytes.as_slice(), limits).read::<String>().await;
        assert!(matches!(result, Err(FrameError::TooLong { part: "header", .. })), "{result:?}");
    }

    #[tokio::test]
    async fn other_protocols_are_named_as_such() {
        let result =
            FrameReader::new(b"GET / HTTP/1.1\r\n\r\n".as_slice(), Limits::CLUSTER).read::<String>().await;
        assert!(matches!(result, Err(FrameError::NotAFrame { .. })), "{result:?}");
    }
}
