//! Bodies on their way through, watched for activity. Nothing is collected; frames pass as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::routes::Route;

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, hyper::Error>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// When passing data counts as activity of the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    EachFrame,
    End,
}

pub(crate) struct Watched {
    inner: Incoming,
    route: Arc<Route>,
    watch: Watch,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, route: Arc<Route>, watch: Watch) -> Self {
        Self { inner, route, watch }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match (&polled, self.watch) {
            (Poll::Ready(Some(Ok(_))), Watch::EachFrame) | (Poll::Ready(None), Watch::End) => {
                self.route.touch()
            }
            (Poll::Ready(_) | Poll::Pending, _) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        if self.watch == Watch::End && self.inner.is_end_stream() {
            self.route.touch();
        }
    }
}
