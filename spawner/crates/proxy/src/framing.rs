//! Refuses requests that tell their length in two ways, between the socket and hyper.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` is how requests are smuggled past proxies. hyper
//! believes the latter and drops the former before anybody can see it; we want such a request refused (RFC 9112,
//! 6.1 allows either). So this reader follows the framing of what arrives, head by head, and spoils a head that has
//! both, which hyper then answers with 400 before it closes the connection. It decides nothing else: whatever it
//! does not understand is hyper's to refuse, and from then on it only looks on.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

/// Longest start of a line that is kept: the names looked for, and any number.
const LINE_BYTES_MAX: usize = 128;
/// No header holds it, so hyper's parser stops there.
const SPOILER: u8 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The request line, or empty lines before it.
    Start,
    Headers,
    /// Bytes of the body that are still to come.
    Body(u64),
    ChunkSize,
    /// Bytes of the chunk, its line end included.
    Chunk(u64),
    Trailers,
    /// A tunnel, or nothing that is understood here.
    Through,
}

/// Where in a connection's requests the next byte belongs.
#[derive(Debug)]
struct Scanner {
    at: At,
    /// The line so far, if it did not arrive in one piece.
    line: Vec<u8>,
    length: Option<u64>,
    is_encoded: bool,
    is_upgrade: bool,
}

impl Scanner {
    fn new() -> Self {
        Self { at: At::Start, line: Vec::new(), length: None, is_encoded: false, is_upgrade: false }
    }

    /// Reads on; gives the place of a byte that lies within a head with two lengths.
    fn read(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.at {
                At::Through => return None,
                At::Body(left) | At::Chunk(left) => {
                    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.at = match self.at {
                        At::Body(_) if left == 0 => At::Start,
                        At::Body(_) => At::Body(left),
                        _ if left == 0 => At::ChunkSize,
                        _ => At::Chunk(left),
                    };
                }
                At::Start | At::Headers | At::ChunkSize | At::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.keep(bytes);
                        return None;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    if self.line.is_empty() {
                        self.line_ended(line);
                    } else {
                        self.keep(line);
                        let line = std::mem::take(&mut self.line);
                        self.line_ended(&line);
                    }
                    if self.length.is_some() && self.is_encoded {
                        self.at = At::Through;
                        // The line end before `bytes`: hyper has not seen the end of this head.
                        return Some(whole - bytes.len() - 1);
                    }
                }
            }
        }
        None
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line_ended(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.at {
            At::Start => {
                if !line.is_empty() {
                    (self.length, self.is_encoded, self.is_upgrade) = (None, false, false);
                    self.at = At::Headers;
                }
            }
            At::Headers if line.is_empty() => {
                self.at = match (self.is_upgrade, self.is_encoded, self.length.take()) {
                    // What follows may be another protocol, and there is nothing in it for us.
                    (true, _, _) => At::Through,
                    (false, true, _) => At::ChunkSize,
                    (false, false, None | Some(0)) => At::Start,
                    (false, false, Some(length)) => At::Body(length),
                };
            }
            At::Headers => self.header(line),
            At::ChunkSize => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                self.at = match number(digits, 16) {
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size.saturating_add(2)),
                    None => At::Through,
                };
            }
            At::Trailers => {
                if line.is_empty() {
                    self.at = At::Start;
                    self.is_encoded = false;
                }
            }
            At::Body(_) | At::Chunk(_) | At::Through => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.eq_ignore_ascii_case(b"content-length") {
            match number(value, 10) {
                Some(length) => self.length = Some(length),
                None => self.at = At::Through,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_encoded = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.is_upgrade = true;
        }
    }
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

/// What is written in pieces that are no longer than this is joined: copying it costs less than the system's way of
/// writing pieces does.
const JOINED_BYTES_MAX: usize = 2 << 10;

/// The pieces as one, if they are short.
pub(crate) fn join<'a>(slices: &[io::IoSlice<'_>], joined: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        let end = length + slice.len();
        joined.get_mut(length..end)?.copy_from_slice(slice);
        length = end;
    }
    joined.get(..length)
}

/// A stream of which it may be seen without reading that the other side has gone.
///
/// While a request is answered, hyper finds that out by reading, for which it gets another buffer for every request;
/// where this trait can tell, it is spared that.
pub(crate) trait Departure {
    const IS_SEEN: bool;

    /// Ready once the other side has gone; never if that is not seen.
    fn poll_departed(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

impl Departure for TcpStream {
    const IS_SEEN: bool = true;

    fn poll_departed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        match self.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            // More than was asked for so far: another request, which has to wait.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Departure for UnixStream {
    const IS_SEEN: bool = false;

    fn poll_departed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl<S> Departure for tokio_rustls::server::TlsStream<S> {
    const IS_SEEN: bool = false;

    fn poll_departed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// A connection on which no request with two lengths gets through.
pub(crate) struct Framed<S> {
    stream: S,
    /// Read before, and not given out yet.
    ahead: Bytes,
    scanner: Scanner,
    /// How long the client may take nothing of what it is sent.
    patience: Duration,
    /// Runs while it takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Framed<S> {
    /// `ahead` is what has been read of the stream.
    pub(crate) fn new(stream: S, ahead: Vec<u8>, patience: Duration) -> Self {
        Self { stream, ahead: ahead.into(), scanner: Scanner::new(), patience, stall: None }
    }

    /// Ends the connection of a client that takes nothing for too long. A tunnel may stand still.
    fn watched(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
        } else if self.scanner.at != At::Through {
            let patience = self.patience;
            let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(stall.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client has taken nothing for {patience:?}"),
            )));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = if this.ahead.is_empty() {
            Pin::new(&mut this.stream).poll_read(context, buffer)
        } else {
            buffer.put_slice(&this.ahead.split_to(buffer.remaining().min(this.ahead.len())));
            Poll::Ready(Ok(()))
        };
        let fresh = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if let Some(place) = this.scanner.read(fresh)
            && let Some(byte) = fresh.get_mut(place)
        {
            *byte = SPOILER;
        }
        outcome
    }
}

impl<S: AsyncWrite + Departure + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watched(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stream = Pin::new(&mut this.stream);
        let mut joined = [0; JOINED_BYTES_MAX];
        let written = match join(slices, &mut joined) {
            Some(bytes) => stream.poll_write(context, bytes),
            None => stream.poll_write_vectored(context, slices),
        };
        this.watched(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked for whenever a connection has run. A request that has been read whole is being answered, or there is
        // none, and then hyper reads and sees the end itself.
        if this.scanner.at == At::Start && this.stream.poll_departed(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client has gone")));
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: [&str; 3] = [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-ENCODING: gzip\r\nX: y\r\ncontent-length:0\r\n\r\n",
        "\r\nPOST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding:\tchunked\n\n",
    ];
    const GOOD: [&str; 5] = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 59\r\n\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nGET / HTT!",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n15;x=y\r\nContent-Length: 5\r\n\r\n\r\n1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n",
        "PUT / HTTP/1.1\r\nX-Content-Length: 5\r\nContent-Length: 0\r\nX: Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    ];

    /// The place that is spoilt, with the text cut into two reads.
    fn spoilt(text: &str, cut: usize) -> Option<usize> {
        let mut scanner = Scanner::new();
        let (first, second) = text.as_bytes().split_at(cut);
        scanner.read(first).or_else(|| scanner.read(second).map(|place| cut + place))
    }

    #[test]
    fn two_lengths_are_found_however_the_bytes_arrive() {
        for bad in BAD {
            for good in ["", GOOD[0], GOOD[1], GOOD[2], GOOD[3], GOOD[4]] {
                let text = format!("{good}{bad}");
                let end = good.len() + bad.trim_start().find("\r\n\r\n").or(bad.find("\n\n")).unwrap();
                for cut in 0..=text.len() {
                    let place = spoilt(&text, cut).unwrap_or_else(|| panic!("{text:?} cut at {cut}"));
                    assert!(place >= good.len() && place <= end + 3, "{place} in {text:?}");
                }
            }
        }
    }

    #[test]
    fn bodies_and_trailers_may_say_what_they_like() {
        let all = GOOD.concat().repeat(2);
        for cut in 0..=all.len() {
            let mut scanner = Scanner::new();
            let (first, second) = all.as_bytes().split_at(cut);
            assert_eq!((scanner.read(first), scanner.read(second)), (None, None), "cut at {cut}");
            assert_eq!(scanner.at, At::Start, "cut at {cut}");
        }
    }

    #[test]
    fn byte_by_byte_is_the_same() {
        let mut scanner = Scanner::new();
        assert!(GOOD.concat().bytes().all(|byte| scanner.read(&[byte]).is_none()));
        let found = BAD[0].bytes().position(|byte| scanner.read(&[byte]).is_some()).unwrap();
        assert!(BAD[0][..found].ends_with("chunked\r"));
    }

    #[test]
    fn tunnels_and_nonsense_pass() {
        let tunnel = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        for start in [tunnel, "POST / HTTP/1.1\r\nContent-Length: five\r\n\r\n"] {
            let mut scanner = Scanner::new();
            assert_eq!(scanner.read(format!("{start}{}", BAD[0]).as_bytes()), None);
            assert_eq!(scanner.at, At::Through);
        }
        let mut scanner = Scanner::new();
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));
        assert_eq!(scanner.read(long.as_bytes()), None);
        assert!(scanner.line.len() <= LINE_BYTES_MAX);
    }
}
