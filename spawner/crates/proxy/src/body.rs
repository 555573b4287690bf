//! Bodies on their way through, watched for activity. Nothing is collected; frames pass as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::pool::Answer;
use crate::routes::Route;

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
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Upload(upload) => Pin::new(upload).poll_frame(context),
            Self::Answer(answer) => Pin::new(answer).poll_frame(context),
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

/// What a client sends; each piece is activity of the route.
pub(crate) struct Upload {
    inner: Incoming,
    route: Arc<Route>,
}

impl Upload {
    pub(crate) fn new(inner: Incoming, route: Arc<Route>) -> Self {
        Self { inner, route }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.route.touch();
        }
        polled
    }
}
