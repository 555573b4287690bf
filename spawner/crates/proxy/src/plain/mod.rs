//! Plain requests, carried from socket to socket without hyper: HTTP/1.1 over TCP, small or no body, an http target.
//!
//! Nearly all requests are plain, and for them hyper's two sides cost more than all else this program does (see
//! `docs/decisions/proxy-workers.md`). A connection whose next request is anything else is handed to hyper with what
//! has been read of it, and stays there. So this never refuses a request for its form; answers it does refuse.

mod answer;
mod chunks;
mod exchange;
mod fields;
mod request;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http_body_util::{BodyExt, Limited};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tracing::{debug, info};

use self::answer::Asked;
use self::exchange::{Exchange, Failure, State, poll_read};
use self::request::{Plain, Seen};
use crate::converse::Door;
use crate::forward::{self, Trouble, Visit};
use crate::metrics::count;

/// An error page of the hub's is some kilobytes.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What has been read of a connection that is not plain.
pub(crate) struct HandedOver {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
}

enum Next {
    Request(Box<Plain>),
    HandOver,
    End,
}

/// Serves a connection to its end, or until something comes that is hyper's.
pub(crate) async fn serve(door: &Door, visit: &Visit, mut stream: TcpStream) -> Option<HandedOver> {
    let head_time_max = door.proxy.options.header_time_max;
    let mut heard = door.drain.clone();
    let mut told = pin!(heard.changed());
    let (mut is_listening, mut is_draining) = (false, false);
    let mut deadline = pin!(tokio::time::sleep(head_time_max));
    let mut read = Vec::new();
    loop {
        let mut until = Instant::now() + head_time_max;
        let mut is_new = !read.is_empty();
        let next = poll_fn(|context| {
            if !is_draining && (!is_listening || door.drain.has_changed().unwrap_or(true)) {
                is_listening = true;
                is_draining = told.as_mut().poll(context).is_ready();
            }
            if is_draining && read.is_empty() {
                return Poll::Ready(Next::End);
            }
            if std::mem::take(&mut is_new) {
                let seen = request::read(&read, visit);
                if let Some(next) = sort(seen, &mut read) {
                    return Poll::Ready(next);
                }
            }
            poll_request(&mut stream, &mut read, visit, context, deadline.as_mut(), &mut until, head_time_max)
        })
        .await;
        match next {
            Next::End => return None,
            Next::HandOver => return Some(HandedOver { stream, read }),
            Next::Request(plain) => {
                let closes = plain.closes || is_draining || door.drain.has_changed().unwrap_or(true);
                if !carry(visit, &mut stream, &plain, closes).await || closes {
                    // The client may have gone first.
                    let _ = stream.shutdown().await;
                    return None;
                }
            }
        }
    }
}

/// What to do about the start of `read`, of which a request is taken.
fn sort(seen: Seen, read: &mut Vec<u8>) -> Option<Next> {
    match seen {
        Seen::Partial => None,
        Seen::Unusual => Some(Next::HandOver),
        Seen::Plain(plain) => {
            read.drain(..plain.length);
            if read.is_empty() {
                // Idle connections have no buffers.
                *read = Vec::new();
            }
            Some(Next::Request(Box::new(plain)))
        }
    }
}

fn poll_request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    visit: &Visit,
    context: &mut Context<'_>,
    mut deadline: Pin<&mut Sleep>,
    until: &mut Instant,
    limit: Duration,
) -> Poll<Next> {
    loop {
        let polled = poll_read(stream, context, |bytes, _, _| {
            if bytes.is_empty() {
                return Some(Next::End);
            }
            if read.is_empty() {
                // A request has begun, however long the connection was idle before.
                *until = Instant::now() + limit;
                let seen = request::read(bytes, visit);
                let used = if let Seen::Plain(plain) = &seen { plain.length } else { 0 };
                read.extend_from_slice(&bytes[used..]);
                return match seen {
                    Seen::Partial => None,
                    Seen::Unusual => Some(Next::HandOver),
                    Seen::Plain(plain) => Some(Next::Request(Box::new(plain))),
                };
            }
            read.extend_from_slice(bytes);
            sort(request::read(read, visit), read)
        });
        match polled {
            Poll::Ready(Ok(Some(next))) => return Poll::Ready(next),
            Poll::Ready(Ok(None)) => {}
            Poll::Ready(Err(error)) => {
                debug!(ip = ?visit.peer.address, "connection ended: {error}");
                return Poll::Ready(Next::End);
            }
            Poll::Pending => {
                // The timer is set anew when it goes off, rather than for every request.
                while deadline.as_mut().poll(context).is_ready() {
                    if Instant::now() >= *until {
                        if !read.is_empty() {
                            info!(ip = ?visit.peer.address, "a request was not finished within {limit:?}");
                        }
                        return Poll::Ready(Next::End);
                    }
                    deadline.as_mut().reset(*until);
                }
                return Poll::Pending;
            }
        }
    }
}

/// Sends a request on and its answer back; whether the connection can go on.
async fn carry(visit: &Visit, client: &mut TcpStream, plain: &Plain, closes: bool) -> bool {
    let (proxy, target) = (&visit.proxy, &plain.route.target);
    count(&proxy.metrics.requests_web);
    debug!("PROXY WEB {} to {}", plain.path.split('?').next().unwrap_or_default(), target.authority());
    if plain.has_body {
        plain.route.touch();
    }
    let limit = proxy.options.answer_time_max(&plain.route);
    let mut late = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
    loop {
        let (mut connection, is_fresh) = match visit.upstream.idle_stream(target) {
            Some(connection) => (connection, false),
            // Boxed, since it is rare and large beside the rest.
            None => match Box::pin(visit.upstream.open_stream(target)).await {
                Ok(connection) => (connection, true),
                Err(error) => {
                    let trouble = Trouble::unavailable(&plain.route, format!("{error:#}"));
                    return Box::pin(refuse(visit, client, plain, closes, trouble)).await;
                }
            },
        };
        let mut exchange = Exchange {
            client,
            target: &mut connection,
            metrics: &proxy.metrics,
            outgoing: &plain.outgoing,
            asked: Asked { is_head: plain.is_head(), closes },
            client_time_max: proxy.options.client_time_max,
            answer_limit: late.as_mut().map(Pin::as_mut),
            state: State::new(),
        };
        match poll_fn(|context| exchange.poll(context)).await {
            Ok(answered) => {
                // A flood of errors and redirects must not make a server look used.
                if answered.status < 300 {
                    plain.route.touch();
                }
                if answered.keeps {
                    visit.upstream.keep_stream(target, connection);
                }
                return true;
            }
            Err(Failure::Unanswered { is_unsent, .. }) if !is_fresh && (is_unsent || plain.is_safe()) => {}
            Err(Failure::Unanswered { reason, .. } | Failure::Refused(reason)) => {
                drop(connection);
                let trouble = Trouble::unavailable(&plain.route, reason);
                return Box::pin(refuse(visit, client, plain, closes, trouble)).await;
            }
            Err(Failure::Late) => {
                drop(connection);
                let trouble = Trouble::late(&plain.route, limit.unwrap_or_default());
                return Box::pin(refuse(visit, client, plain, closes, trouble)).await;
            }
            Err(Failure::Client) => {
                debug!(ip = ?visit.peer.address, "the client has gone");
                return false;
            }
            Err(Failure::BrokenOff) => {
                info!("{} broke off within its answer", target.authority());
                return false;
            }
        }
    }
}

/// Sends the page for a target that does not answer; whether the connection can go on.
async fn refuse(
    visit: &Visit,
    client: &mut TcpStream,
    plain: &Plain,
    closes: bool,
    trouble: Trouble,
) -> bool {
    let response = forward::refused(visit, trouble, &plain.method, &plain.path).await;
    let (parts, body) = response.into_parts();
    let page = match Limited::new(body, PAGE_BYTES_MAX).collect().await {
        Ok(page) => page.to_bytes(),
        Err(error) => {
            debug!("an error page could not be read: {error}");
            bytes::Bytes::new()
        }
    };
    let mut out = Vec::with_capacity(page.len() + 256);
    answer::begin(&mut out, parts.status.as_u16(), parts.status.canonical_reason().unwrap_or_default());
    for (name, value) in &parts.headers {
        if ![CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING].contains(name) {
            fields::write(&mut out, name.as_str(), value.as_bytes());
        }
    }
    fields::write(&mut out, "content-length", page.len().to_string().as_bytes());
    fields::write(&mut out, "date", answer::date().as_bytes());
    answer::end(&mut out, closes);
    if !plain.is_head() {
        out.extend_from_slice(&page);
    }
    let sent = tokio::time::timeout(visit.proxy.options.client_time_max, client.write_all(&out)).await;
    matches!(sent, Ok(Ok(())))
}
