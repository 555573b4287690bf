//! The connections to targets that one worker keeps, and the answers that come over them.
//!
//! A connection is driven by whoever uses it and by nobody while it is idle: the request, the target's answer and the
//! client's connection are one task, so that nothing is handed between tasks or threads on the way through.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use tokio::net::TcpStream;

use crate::body::AnyBody;
use crate::idle::{IdlePool, Reusable};
use crate::routes::Route;
use crate::tls::Outgoing;
use crate::upstream::{Stream, Target, connect, connect_tcp};

const CONNECT_MAX: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One worker's connections to all targets.
pub(crate) struct Upstream {
    tls: Arc<Outgoing>,
    /// Those that hyper speaks over.
    channels: IdlePool<Box<Channel>>,
    /// Those for plain requests.
    streams: IdlePool<TcpStream>,
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
}

impl Reusable for Box<Channel> {
    /// Errors of an ended connection have been told to its request.
    fn is_free(&mut self) -> bool {
        // Notices an end that came in the meantime.
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

impl Upstream {
    pub(crate) fn new(tls: Arc<Outgoing>) -> Self {
        Self { tls, channels: IdlePool::new(), streams: IdlePool::new() }
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
            let (mut channel, is_fresh) = match self.channels.take(target.key()) {
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

    /// A connection for plain requests that is idle.
    pub(crate) fn idle_stream(&self, target: &Target) -> Option<TcpStream> {
        self.streams.take(target.key())
    }

    /// Another one.
    pub(crate) async fn open_stream(&self, target: &Target) -> anyhow::Result<TcpStream> {
        in_time(connect_tcp(target)).await
    }

    pub(crate) fn keep_stream(&self, target: &Target, stream: TcpStream) {
        self.streams.keep(target.key(), stream);
    }

    async fn open(&self, target: &Target) -> anyhow::Result<Channel> {
        let stream = in_time(connect(target, self.tls.current())).await?;
        let (sender, connection) = Builder::new().handshake(stream).await?;
        Ok(Channel { sender, connection: Some(connection) })
    }

    /// Closes what has been idle for too long, for as long as the worker runs.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            self.channels.sweep(now);
            self.streams.sweep(now);
        }
    }
}

async fn in_time<T>(connecting: impl Future<Output = std::io::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(CONNECT_MAX, connecting)
        .await
        .map_err(|_| anyhow::anyhow!("connecting took longer than {CONNECT_MAX:?}"))?
        .context("cannot connect")
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
            lease.home.channels.keep(&lease.key, lease.channel);
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
