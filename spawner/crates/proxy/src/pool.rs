//! The connections to targets that one worker keeps, and the answers that come over them.
//!
//! A connection is driven by whoever uses it and by nobody while it is idle: the request, the target's answer and the
//! client's connection are one task, so that nothing is handed between tasks or threads on the way through.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};

use crate::body::AnyBody;
use crate::routes::Route;
use crate::tls::Outgoing;
use crate::upstream::{Stream, Target, connect};

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Idle connections kept per target and worker for that long; those a burst leaves beyond them go sooner, for a
/// user's server may have few file descriptors.
const IDLE_PER_TARGET_MAX: usize = 32;
const IDLE_AFTER_BURST_MAX: Duration = Duration::from_secs(2);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One worker's connections to all targets.
pub(crate) struct Upstream {
    tls: Arc<Outgoing>,
    /// By `Target::key`, the most recently used last; never held across a wait.
    idle: Mutex<HashMap<Arc<str>, Vec<Idle>>>,
}

struct Idle {
    channel: Box<Channel>,
    since: Instant,
}

/// A connection and its driver.
struct Channel {
    sender: SendRequest<AnyBody>,
    /// `None` once it has ended.
    connection: Option<Connection<Stream, AnyBody>>,
}

impl Channel {
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    /// Sends a request and waits for the head of the answer.
    fn exchange(
        &mut self,
        request: Request<AnyBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<AnyBody>>>> {
        let sent = self.sender.try_send_request(request);
        let connection = &mut self.connection;
        async move {
            let mut sent = std::pin::pin!(sent);
            poll_fn(|context| {
                if let Some(running) = connection
                    && Pin::new(running).poll(context).is_ready()
                {
                    *connection = None;
                }
                // The connection alone answers, and it has just run: nobody needs to be woken for what it said.
                sent.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })
            .await
        }
    }

    /// Whether another request may be sent now. Errors of an ended connection have been told to its request.
    fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

impl Upstream {
    pub(crate) fn new(tls: Arc<Outgoing>) -> Self {
        Self { tls, idle: Mutex::default() }
    }

    /// Sends a request in origin form with a `Host` and waits for the head of the answer.
    ///
    /// A request that found its idle connection closed is sent again over another one; one of which anything may
    /// have reached the target is not.
    pub(crate) async fn send(
        self: &Arc<Self>,
        target: &Target,
        mut request: Box<Request<AnyBody>>,
    ) -> anyhow::Result<Response<Answer>> {
        loop {
            let (mut channel, is_fresh) = match self.take(target) {
                Some(channel) => (channel, false),
                // Boxed, since it is rare and large beside the rest of a request.
                None => (Box::new(Box::pin(self.open(target)).await?), true),
            };
            match channel.exchange(*request).await {
                Ok(response) => return Ok(self.answer(target, channel, response)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if !is_fresh => *request = unsent,
                    Some(_) | None => return Err(failed.into_error().into()),
                },
            }
        }
    }

    /// Sends a request to change protocols, over a connection of its own that runs as a task.
    pub(crate) async fn send_upgrade(
        &self,
        target: &Target,
        request: Request<AnyBody>,
    ) -> anyhow::Result<Response<Answer>> {
        let Channel { mut sender, connection } = self.open(target).await?;
        if let Some(connection) = connection {
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!("a tunnel's connection ended: {}", crate::forward::chain(&error));
                }
            });
        }
        let response = sender.send_request(request).await?;
        Ok(response.map(|incoming| Answer { incoming, lease: None, success_of: None }))
    }

    fn answer(
        self: &Arc<Self>,
        target: &Target,
        channel: Box<Channel>,
        response: Response<Incoming>,
    ) -> Response<Answer> {
        let lease = Lease { channel, home: self.clone(), key: target.key().clone() };
        response.map(|incoming| Answer { incoming, lease: Some(lease), success_of: None })
    }

    async fn open(&self, target: &Target) -> anyhow::Result<Channel> {
        let stream = tokio::time::timeout(CONNECT_MAX, connect(target, self.tls.current()))
            .await
            .map_err(|_| anyhow::anyhow!("connecting took longer than {CONNECT_MAX:?}"))?
            .context("cannot connect")?;
        let (sender, connection) = Builder::new().handshake(stream).await?;
        Ok(Channel { sender, connection: Some(connection) })
    }

    /// An idle connection that, as far as can be seen, is still open.
    fn take(&self, target: &Target) -> Option<Box<Channel>> {
        let mut idle = self.idle();
        let kept = idle.get_mut(target.key())?;
        loop {
            let mut channel = kept.pop()?.channel;
            // Notices an end that came in the meantime.
            channel.drive(&mut Context::from_waker(Waker::noop()));
            if channel.is_free() {
                return Some(channel);
            }
        }
    }

    fn keep(&self, key: Arc<str>, channel: Box<Channel>) {
        self.idle().entry(key).or_default().push(Idle { channel, since: Instant::now() });
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what has been idle for too long, for as long as the worker runs.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            self.sweep_once(Instant::now());
        }
    }

    fn sweep_once(&self, now: Instant) {
        self.idle().retain(|_, idle| {
            let surplus = idle.len().saturating_sub(IDLE_PER_TARGET_MAX);
            let mut place = 0;
            // The longest idle come first.
            idle.retain_mut(|one| {
                place += 1;
                let limit = if place <= surplus { IDLE_AFTER_BURST_MAX } else { IDLE_MAX };
                one.channel.drive(&mut Context::from_waker(Waker::noop()));
                one.channel.is_free() && now.saturating_duration_since(one.since) < limit
            });
            !idle.is_empty()
        });
    }
}

/// A connection that is in use.
struct Lease {
    channel: Box<Channel>,
    home: Arc<Upstream>,
    key: Arc<str>,
}

/// The body of a target's answer. Its connection goes back to the pool when the last byte has come, or is closed when
/// this is dropped before.
pub(crate) struct Answer {
    incoming: Incoming,
    lease: Option<Lease>,
    /// Reaching the end of it is activity of this route.
    success_of: Option<Arc<Route>>,
}

impl Answer {
    pub(crate) fn counting_for(mut self, route: Arc<Route>) -> Self {
        self.success_of = Some(route);
        self
    }

    fn ended(&mut self) {
        if let Some(route) = self.success_of.take() {
            route.touch();
        }
        if let Some(lease) = self.lease.take() {
            // Whether it is free is found out when it is taken: until this answer has been passed on, the buffer
            // that it lies in could not be read into again.
            lease.home.keep(lease.key, lease.channel);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.lease {
            None => Pin::new(&mut this.incoming).poll_frame(context),
            // As for the head: what the connection has read is here once it has run.
            Some(lease) => {
                let mut quiet = Context::from_waker(Waker::noop());
                match Pin::new(&mut this.incoming).poll_frame(&mut quiet) {
                    Poll::Pending => {
                        lease.channel.drive(context);
                        Pin::new(&mut this.incoming).poll_frame(&mut quiet)
                    }
                    ready => ready,
                }
            }
        };
        match &polled {
            Poll::Ready(None) => this.ended(),
            // A body of known length is not polled again after its last byte.
            Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => this.ended(),
            Poll::Ready(Some(_)) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // An empty body is never polled.
        if self.incoming.is_end_stream() {
            self.ended();
        }
    }
}
