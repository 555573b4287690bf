//! Owns the reading of what the evaluator process prints: gathers small prints into messages, keeps characters whole, and
//! hands everything on. Which bytes belong where is decided by `streams`.

use std::{
    io::ErrorKind,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::unix::pipe::Receiver, sync::mpsc};

use super::{
    Running,
    print::{Output, Parent},
    process::Printed,
    streams::{End, Next, Stream, Streams},
};

/// Prints are gathered for so long before they are sent on.
const COALESCE: Duration = Duration::from_millis(15);
/// Or until there is so much.
const COALESCE_BYTES: usize = 256 << 10;
/// As many messages may be sent at once, and so many per second after that: jupyter_server drops what comes faster than
/// 1000 a second over three seconds. With none left, the prints of a moment are sorted by stream.
const MESSAGES_MAX: f64 = 600.0;
const MESSAGES_PER_SECOND: f64 = 250.0;

/// What the reader tells the process's owner.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// All that the last order printed was handed on.
    End,
    /// Both pipes are closed.
    Closed,
}

pub(super) struct Reader {
    pub stdout: Receiver,
    pub stderr: Receiver,
    pub streams: Streams,
    pub running: Arc<Running>,
    pub passed: mpsc::UnboundedSender<Passed>,
    /// Set when the standard library said that a stack is full.
    pub overflowed: Arc<AtomicBool>,
}

impl Reader {
    /// Reads until both pipes are closed.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; 64 << 10];
        let mut open = [true; 2];
        let mut gathered = Gathered::new();
        while open[0] || open[1] {
            let wait = gathered.since.map(|since| COALESCE.saturating_sub(since.elapsed()));
            let stream = tokio::select! {
                ready = self.stdout.readable(), if open[0] => ready.map(|()| Stream::Stdout),
                ready = self.stderr.readable(), if open[1] => ready.map(|()| Stream::Stderr),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    if !self.send(&mut gathered, false).await { return }
                    continue;
                }
            };
            let Ok(stream) = stream else { break };
            self.read(stream, &mut buffer, &mut open);
            loop {
                match self.streams.advance() {
                    Next::Wait => break,
                    Next::Drain(stream) => {
                        self.drain(stream, &mut buffer, &mut open);
                        self.streams.drained(stream);
                    }
                    Next::Text(parent, stream, bytes) => self.add(&mut gathered, parent, stream, bytes),
                    Next::End(parent, end) => {
                        if !self.send(&mut gathered, true).await {
                            return;
                        }
                        match end {
                            End::Order => drop(self.passed.send(Passed::End)),
                            End::Handler => {
                                let mut waiting =
                                    self.running.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                                if let Some(waiting) = waiting.remove(&parent) {
                                    let _ = waiting.send(());
                                }
                            }
                        }
                    }
                }
                if gathered.bytes >= COALESCE_BYTES && !self.send(&mut gathered, false).await {
                    return;
                }
            }
        }
        for next in self.streams.rest() {
            if let Next::Text(parent, stream, bytes) = next {
                self.add(&mut gathered, parent, stream, bytes);
            }
        }
        self.send(&mut gathered, true).await;
        let _ = self.passed.send(Passed::Closed);
    }

    fn pipe(&self, stream: Stream) -> &Receiver {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// Reads once.
    fn read(&mut self, stream: Stream, buffer: &mut [u8], open: &mut [bool; 2]) {
        match self.pipe(stream).try_read(buffer) {
            Ok(count @ 1..) => drop(self.streams.take(stream, &buffer[..count])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => open[stream as usize] = false,
        }
    }

    /// Reads all that is there. A mark ends it, so that a cell which goes on printing is not read ahead.
    ///
    /// Asks the system rather than the runtime, which may not know yet that there is something to read.
    fn drain(&mut self, stream: Stream, buffer: &mut [u8], open: &mut [bool; 2]) {
        loop {
            match nix::unistd::read(self.pipe(stream), buffer) {
                Ok(count @ 1..) => {
                    if self.streams.take(stream, &buffer[..count]) {
                        return;
                    }
                }
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(nix::errno::Errno::EINTR) => {}
                Ok(0) | Err(_) => {
                    open[stream as usize] = false;
                    return;
                }
            }
        }
    }

    fn add(&self, gathered: &mut Gathered, parent: Parent, stream: Stream, bytes: Vec<u8>) {
        if stream == Stream::Stderr && contains(&bytes, b"has overflowed its stack") {
            self.overflowed.store(true, Ordering::SeqCst);
        }
        gathered.add(parent, stream, bytes);
    }

    /// Hands on what was gathered. False once nobody listens.
    async fn send(&self, gathered: &mut Gathered, whole: bool) -> bool {
        for (parent, stream, bytes) in gathered.take(whole, Instant::now()) {
            let text = match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            };
            let printed = match stream {
                Stream::Stdout => Printed::Stdout(text),
                Stream::Stderr => Printed::Stderr(text),
            };
            // Before the kernel's channels are there nothing runs that could print.
            let Some(outlet) = self.running.outlet.get() else { continue };
            if outlet.send(Output::Printed(parent, printed)).await.is_err() {
                return false;
            }
        }
        true
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.len() >= what.len() && bytes.windows(what.len()).any(|window| window == what)
}

/// Prints of a moment.
struct Gathered {
    pieces: Vec<(Parent, Stream, Vec<u8>)>,
    bytes: usize,
    since: Option<Instant>,
    /// Messages that may be sent now.
    budget: f64,
    at: Option<Instant>,
}

impl Gathered {
    fn new() -> Self {
        Self { pieces: Vec::new(), bytes: 0, since: None, budget: MESSAGES_MAX, at: None }
    }

    fn add(&mut self, parent: Parent, stream: Stream, bytes: Vec<u8>) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += bytes.len();
        match self.pieces.last_mut() {
            Some((p, s, held)) if (*p, *s) == (parent, stream) => held.extend(bytes),
            _ => self.pieces.push((parent, stream, bytes)),
        }
    }

    /// Gives the pieces. Unless `whole`, an unfinished character at the end of a stream stays.
    fn take(&mut self, whole: bool, now: Instant) -> Vec<(Parent, Stream, Vec<u8>)> {
        let mut pieces = std::mem::take(&mut self.pieces);
        (self.bytes, self.since) = (0, None);
        let earned = self.at.replace(now).map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        self.budget = (self.budget + earned * MESSAGES_PER_SECOND).min(MESSAGES_MAX);
        if pieces.len() as f64 > self.budget {
            pieces = sorted(pieces);
        }
        self.budget = (self.budget - pieces.len() as f64).max(0.0);
        // A character may be cut by a print of another stream.
        for index in 0..pieces.len() {
            let (parent, stream, bytes) = &mut pieces[index];
            let cut = bytes.len() - unfinished(bytes);
            if cut == bytes.len() {
                continue;
            }
            let (parent, stream) = (*parent, *stream);
            let next = pieces[index + 1..].iter().position(|(p, s, _)| (*p, *s) == (parent, stream));
            if next.is_none() && whole {
                continue;
            }
            let tail = pieces[index].2.split_off(cut);
            match next {
                Some(next) => drop(pieces[index + 1 + next].2.splice(..0, tail)),
                None => {
                    self.bytes += tail.len();
                    self.pieces.push((parent, stream, tail));
                }
            }
        }
        pieces.retain(|(_, _, bytes)| !bytes.is_empty());
        pieces
    }
}

/// Each request's prints of each stream in one piece, in the order of the first of them.
fn sorted(pieces: Vec<(Parent, Stream, Vec<u8>)>) -> Vec<(Parent, Stream, Vec<u8>)> {
    let mut out: Vec<(Parent, Stream, Vec<u8>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (parent, stream, bytes) in pieces {
        let place = *places.entry((parent, stream)).or_insert_with(|| {
            out.push((parent, stream, Vec::new()));
            out.len() - 1
        });
        out[place].2.extend(bytes);
    }
    out
}

/// Bytes at the end that may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    // Looking at all of it again and again would cost more than sending it.
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (index, byte) in tail.iter().enumerate() {
        let (length, left) = (tail.len() - index, byte.leading_ones() as usize);
        if (2..=4).contains(&left) && left > length {
            return length;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole_across_moments_and_streams() {
        let mut gathered = Gathered::new();
        let letter = "é".as_bytes();
        gathered.add(1, Stream::Stdout, letter[..1].to_vec());
        gathered.add(1, Stream::Stderr, b"x".to_vec());
        let sent = gathered.take(false, Instant::now());
        assert_eq!(sent, [(1, Stream::Stderr, b"x".to_vec())]);
        gathered.add(1, Stream::Stdout, letter[1..].to_vec());
        assert_eq!(gathered.take(false, Instant::now()), [(1, Stream::Stdout, letter.to_vec())]);
        gathered.add(1, Stream::Stdout, vec![0xc3]);
        assert_eq!(gathered.take(true, Instant::now()).len(), 1, "at the end of a cell it is sent as it is");
    }

    #[test]
    fn alternating_prints_keep_their_order_until_there_are_too_many() {
        let now = Instant::now();
        let mut gathered = Gathered::new();
        let fill = |gathered: &mut Gathered, count: usize| {
            for _ in 0..count {
                gathered.add(1, Stream::Stdout, b"a\n".to_vec());
                gathered.add(1, Stream::Stderr, b"b\n".to_vec());
            }
        };
        fill(&mut gathered, 5);
        assert_eq!(gathered.take(true, now).len(), 10);
        fill(&mut gathered, 50_000);
        let sent = gathered.take(true, now);
        assert_eq!(
            sent.iter().map(|(_, stream, bytes)| (*stream, bytes.len())).collect::<Vec<_>>(),
            [(Stream::Stdout, 100_000), (Stream::Stderr, 100_000)]
        );
    }

    #[test]
    fn only_the_last_bytes_of_a_long_text_are_looked_at() {
        assert_eq!(unfinished(&[b'a'; 9]), 0);
        assert_eq!(unfinished("a€".as_bytes()), 0);
        assert_eq!(unfinished(&"a€".as_bytes()[..3]), 2);
        assert_eq!(unfinished(&[0xff, 0xff]), 0);
    }
}
