//! One request sent over one connection, and its answer passed to the client as it comes.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::answer::{self, Asked, Framing};
use crate::framing::Departure;
use crate::metrics::Metrics;

/// What is read at once. One such place serves all connections of a worker, for nothing stays in it across a wait: idle
/// connections have no buffers, and the one there is stays in the processor's cache.
const READ_BYTES: usize = 64 << 10;
/// Answers of 100 to 199 before the one that counts.
const INTERIM_MAX: usize = 16;

thread_local! {
    static PLACE: RefCell<Place> = RefCell::new(Place { input: vec![0; READ_BYTES].into(), output: Vec::new() });
}

struct Place {
    input: Box<[u8]>,
    output: Vec<u8>,
}

/// Reads what has come from `stream` and gives it to `look`; nothing means that the other side has ended.
pub(super) fn poll_read<T>(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    look: impl FnOnce(&[u8], &mut Vec<u8>, &mut Context<'_>) -> T,
) -> Poll<std::io::Result<T>> {
    PLACE.with_borrow_mut(|place| {
        let mut buffer = ReadBuf::new(&mut place.input);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        place.output.clear();
        Poll::Ready(Ok(look(buffer.filled(), &mut place.output, context)))
    })
}

/// Why an exchange came to no good end.
pub(super) enum Failure {
    /// The client has left, or takes nothing any more.
    Client,
    /// Nothing of an answer has come, so the request may be sent again if the target has not seen it, or if it is safe.
    Unanswered { reason: String, is_unsent: bool },
    /// The client has had a part of the answer.
    BrokenOff,
    /// It cannot be passed on.
    Refused(String),
    /// Nothing of an answer has come in time.
    Late,
}

/// A whole answer has been passed on.
pub(super) struct Answered {
    pub(super) status: u16,
    /// Whether the target's connection can be used again.
    pub(super) keeps: bool,
}

enum Stage {
    Head,
    Body(Framing),
    Done,
}

pub(super) struct Exchange<'a> {
    pub(super) client: &'a mut TcpStream,
    pub(super) target: &'a mut TcpStream,
    pub(super) metrics: &'a Metrics,
    pub(super) outgoing: &'a [u8],
    pub(super) asked: Asked,
    /// How long a client may take nothing of what it is sent.
    pub(super) client_time_max: Duration,
    /// Until the target's answer has begun.
    pub(super) answer_limit: Option<Pin<&'a mut Sleep>>,
    pub(super) state: State,
}

/// How far it has come.
pub(super) struct State {
    sent: usize,
    stage: Stage,
    status: u16,
    keeps: bool,
    interim: usize,
    /// The start of a head that did not come in one piece.
    held: Vec<u8>,
    /// What the client has not taken yet; and how much of it it has.
    waiting: Vec<u8>,
    taken: usize,
    /// Runs while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            stage: Stage::Head,
            status: 0,
            keeps: false,
            interim: 0,
            held: Vec::new(),
            waiting: Vec::new(),
            taken: 0,
            stall: None,
        }
    }
}

impl Exchange<'_> {
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answered, Failure>> {
        loop {
            if self.state.sent < self.outgoing.len() {
                match Pin::new(&mut *self.target).poll_write(context, &self.outgoing[self.state.sent..]) {
                    Poll::Ready(Ok(count)) if count > 0 => self.state.sent += count,
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(self.unanswered("it takes nothing"))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.unanswered(error))),
                    Poll::Pending => return self.waits(context),
                }
                continue;
            }
            if !self.state.waiting.is_empty() && ready!(self.poll_waiting(context)).is_err() {
                return Poll::Ready(Err(Failure::Client));
            }
            if matches!(self.state.stage, Stage::Done) {
                let (status, keeps) = (self.state.status, self.state.keeps);
                return Poll::Ready(Ok(Answered { status, keeps }));
            }
            let (client, state, asked, metrics) =
                (&mut *self.client, &mut self.state, self.asked, self.metrics);
            let arrived = poll_read(self.target, context, |bytes, out, context| {
                state.arrived(bytes, out, asked, metrics)?;
                // A body of known length passes as it is.
                let passed = match &state.stage {
                    Stage::Body(Framing::Length(_)) | Stage::Done if out.is_empty() => bytes,
                    Stage::Head | Stage::Body(_) | Stage::Done => out.as_slice(),
                };
                state.pass(client, passed, context)
            });
            match arrived {
                Poll::Ready(Ok(Ok(()))) => {}
                Poll::Ready(Ok(Err(failure))) => return Poll::Ready(Err(failure)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(match self.state.stage {
                        Stage::Head => self.unanswered(error),
                        Stage::Body(_) | Stage::Done => Failure::BrokenOff,
                    }));
                }
                Poll::Pending => return self.waits(context),
            }
        }
    }

    /// For the target, as long as the client does and there is time.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<Result<Answered, Failure>> {
        if self.client.poll_departed(context).is_ready() {
            return Poll::Ready(Err(Failure::Client));
        }
        if let (Stage::Head, Some(limit)) = (&self.state.stage, &mut self.answer_limit)
            && limit.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(Failure::Late));
        }
        Poll::Pending
    }

    fn unanswered(&self, reason: impl std::fmt::Display) -> Failure {
        let reason = reason.to_string();
        match self.state.held.is_empty() && self.state.interim == 0 {
            true => Failure::Unanswered { reason, is_unsent: self.state.sent == 0 },
            false => Failure::Refused(reason),
        }
    }

    /// Ready once the client has taken all; an error if it has gone or stands still.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let state = &mut self.state;
        while let Some(rest) = state.waiting.get(state.taken..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *self.client).poll_write(context, rest) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    state.taken += count;
                    state.stall = None;
                }
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    let limit = self.client_time_max;
                    let stall = state.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    ready!(stall.as_mut().poll(context));
                    tracing::info!("a client has taken nothing of its answer for {limit:?}");
                    return Poll::Ready(Err(()));
                }
            }
        }
        (state.waiting, state.taken) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl State {
    /// Writes to the client, and keeps what it does not take at once.
    fn pass(
        &mut self,
        client: &mut TcpStream,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let taken = match Pin::new(client).poll_write(context, bytes) {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(_)) => return Err(Failure::Client),
            Poll::Pending => 0,
        };
        self.waiting.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// What has come from the target, written to `out` as the client is to get it. `out` stays empty for what passes
    /// as it is.
    fn arrived(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        asked: Asked,
        metrics: &Metrics,
    ) -> Result<(), Failure> {
        match &mut self.stage {
            Stage::Head if self.held.is_empty() => self.head(bytes, out, asked, metrics),
            Stage::Head => {
                if bytes.is_empty() {
                    return Err(Failure::Refused("it broke off within the head of its answer".to_owned()));
                }
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(bytes);
                self.head(&held, out, asked, metrics)
            }
            Stage::Body(Framing::UntilClose) if bytes.is_empty() => {
                out.extend_from_slice(b"0\r\n\r\n");
                self.stage = Stage::Done;
                Ok(())
            }
            Stage::Body(_) if bytes.is_empty() => Err(Failure::BrokenOff),
            Stage::Body(Framing::Length(left)) if bytes.len() as u64 <= *left => {
                *left -= bytes.len() as u64;
                if *left == 0 {
                    self.stage = Stage::Done;
                }
                Ok(())
            }
            Stage::Body(_) => self.body(bytes, out),
            Stage::Done => Ok(()),
        }
    }

    fn head(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        asked: Asked,
        metrics: &Metrics,
    ) -> Result<(), Failure> {
        if bytes.is_empty() {
            let (reason, is_unsent) = ("it closed the connection".to_owned(), false);
            return Err(match self.interim {
                0 => Failure::Unanswered { reason, is_unsent },
                _ => Failure::Refused(reason),
            });
        }
        loop {
            match answer::read(bytes, asked, out) {
                answer::Seen::Partial => {
                    self.held = bytes.to_vec();
                    return Ok(());
                }
                answer::Seen::Interim(length) if self.interim < INTERIM_MAX => {
                    self.interim += 1;
                    bytes = &bytes[length..];
                }
                answer::Seen::Interim(_) => {
                    return Err(Failure::Refused("it sent too many interim answers".to_owned()));
                }
                answer::Seen::Refused(reason) => return Err(Failure::Refused(reason.to_owned())),
                answer::Seen::Complete(head) => {
                    metrics.proxied(head.status);
                    (self.status, self.keeps) = (head.status, head.keeps);
                    self.stage = Stage::Body(head.body);
                    return self.body(&bytes[head.length..], out);
                }
            }
        }
    }

    fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let Stage::Body(framing) = &mut self.stage else { return Ok(()) };
        let (is_done, used) = match framing {
            Framing::Length(left) => {
                let length = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                out.extend_from_slice(&bytes[..length]);
                *left -= length as u64;
                (*left == 0, length)
            }
            Framing::Chunked(chunks) => {
                let used = chunks.read(bytes, |data| chunk(data, out)).map_err(|_| Failure::BrokenOff)?;
                if chunks.is_done() {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                (chunks.is_done(), used)
            }
            Framing::UntilClose => {
                chunk(bytes, out);
                (false, bytes.len())
            }
        };
        if is_done {
            // More than an answer: nobody asked for it, and the next one would be taken for it.
            self.keeps &= used == bytes.len();
            self.stage = Stage::Done;
        }
        Ok(())
    }
}

fn chunk(data: &[u8], out: &mut Vec<u8>) {
    use std::io::Write;
    if !data.is_empty() {
        // Writing to memory does not fail.
        let _ = write!(out, "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}
