//! Owns the WebSocket load of `bench proxy`: a server that sends back what it gets, and clients that wait for it.
//!
//! After the handshake a proxy passes bytes on, so both ends speak frames that nobody unpacks.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A masked frame of 58 bytes, as long as a message of a kernel's channel is short.
const FRAME_BYTES: usize = 64;
/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Echoes {
    pub(super) count: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Connections that did not get an answer in time.
    pub(super) failures: u64,
}

/// A server on threads of its own, for as long as the program runs.
pub(super) fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo_one(stream));
        }
    });
    Ok(address)
}

fn echo_one(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    read_head(&mut stream)?;
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .ok()?;
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        stream.write_all(buffer.get(..length)?).ok()?;
    }
}

/// Byte by byte: what follows it belongs to somebody else.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).ok()
}

/// So many connections, each sending a frame as soon as it has got the last one back.
pub(super) fn load(address: SocketAddr, path: &str, connections: usize, time: Duration) -> Result<Echoes> {
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let head = read_head(&mut stream).context("the proxy closed the connection")?;
        if !head.starts_with("HTTP/1.1 101") {
            bail!("no WebSocket came about: {head}");
        }
        Ok(stream)
    };
    let streams: Vec<TcpStream> = (0..connections).map(|_| open()).collect::<Result<_>>()?;
    let until = Instant::now() + time;
    let clients: Vec<_> =
        streams.into_iter().map(|stream| std::thread::spawn(move || converse(stream, until))).collect();
    let (mut times, mut failures) = (Vec::new(), 0);
    for client in clients {
        match client.join() {
            Ok((own, is_whole)) => {
                times.extend(own);
                failures += u64::from(!is_whole);
            }
            Err(_) => bail!("a client panicked"),
        }
    }
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(Duration::ZERO);
    Ok(Echoes { count: times.len() as u64, p50: at(0.5), p99: at(0.99), failures })
}

/// How long each answer took, and whether all came.
fn converse(mut stream: TcpStream, until: Instant) -> (Vec<Duration>, bool) {
    let mut times = Vec::new();
    let frame = [0x82; FRAME_BYTES];
    let mut back = [0; FRAME_BYTES];
    while Instant::now() < until {
        let started = Instant::now();
        if stream.write_all(&frame).is_err() || stream.read_exact(&mut back).is_err() || back != frame {
            return (times, false);
        }
        times.push(started.elapsed());
    }
    (times, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_comes_back() {
        let echoes = load(echo().unwrap(), "/x", 3, Duration::from_millis(50)).unwrap();
        assert!(echoes.count >= 3 && echoes.failures == 0 && echoes.p99 >= echoes.p50);
    }
}
