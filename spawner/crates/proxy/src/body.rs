//! Bodies on their way through, watched for activity. Nothing is collected; frames pass as they come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::pool::Answer;
use crate::routes::Route;

/// What ended a body too early.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Every body this proxy sends, to either side. An enum rather than a box: one is made for each request.
pub(crate) enum AnyBody {
    /// All of it at once; `None` once it is sent.
    Full(Option<Bytes>),
    Upload(Upload),
    Answer(Answer),
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    AnyBody::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
}

impl Body for AnyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upload(upload) => upload.poll_frame(context),
            Self::Answer(answer) => Pin::new(answer).poll_frame(context).map_err(Broken::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Upload(upload) => upload.inner.is_end_stream(),
            Self::Answer(answer) => answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upload(upload) => upload.inner.size_hint(),
            Self::Answer(answer) => answer.size_hint(),
        }
    }
}

/// What a client sends; each piece is activity of the route, and has a time within which it must come.
pub(crate) struct Upload {
    inner: Incoming,
    route: Arc<Route>,
    patience: Duration,
    /// Runs while the client sends nothing. While the target takes nothing, nobody asks the client.
    stall: Option<Pin<Box<Sleep>>>,
    gave_up: Arc<AtomicBool>,
}

/// Tells whether an upload was given up, to those who only hear that the request has failed.
#[derive(Clone)]
pub(crate) struct GaveUp(Arc<AtomicBool>);

impl GaveUp {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Upload {
    pub(crate) fn new(inner: Incoming, route: Arc<Route>, patience: Duration) -> Self {
        Self { inner, route, patience, stall: None, gave_up: Arc::default() }
    }

    pub(crate) fn gave_up(&self) -> GaveUp {
        GaveUp(self.gave_up.clone())
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(frame) = polled {
            if let Some(Ok(_)) = &frame {
                self.route.touch();
            }
            self.stall = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Broken::from)));
        }
        let patience = self.patience;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(stall.as_mut().poll(context));
        self.gave_up.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err(format!("the client sent nothing for {patience:?}").into())))
    }
}
