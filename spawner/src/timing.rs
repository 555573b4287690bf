//! How long an answer took, and how much of that it waited for others: the directory, or the batch system. Both are
//! in the answer's `Server-Timing` header and in the metrics, so that nobody blames the one for the other.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Whom an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Directory,
    Batch,
    /// Whoever knows where a node's name leads.
    Names,
    /// Nobody: a refusal that is told late on purpose.
    Clock,
}

impl Other {
    fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Batch => "batch",
            Self::Names => "names",
            Self::Clock => "clock",
        }
    }
}

tokio::task_local! {
    static WAITS: RefCell<Vec<(Other, Duration)>>;
}

/// Does `work`, whose time counts as waiting for `other` in the request that does it.
pub async fn waiting<T>(other: Other, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    // Outside of a request nobody asks.
    let _ = WAITS.try_with(|waits| waits.borrow_mut().push((other, begun.elapsed())));
    done
}

/// Measures every request of the hub and of launchers. An event stream is answered once it begins.
pub async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = method(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let begun = Instant::now();
    let (mut response, waits) = WAITS
        .scope(RefCell::default(), async {
            let response = next.run(request).await;
            (response, WAITS.with(RefCell::take))
        })
        .await;
    let took = begun.elapsed();
    let waited: Duration = waits.iter().map(|(_, time)| *time).sum();
    app.metrics.answered(method, path.as_ref().map_or("", MatchedPath::as_str), took.saturating_sub(waited));
    if let Ok(value) = HeaderValue::from_str(&header(took, &waits)) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    response
}

/// As [W3C's Server Timing](https://www.w3.org/TR/server-timing/) has it, in milliseconds.
fn header(took: Duration, waits: &[(Other, Duration)]) -> String {
    let milliseconds = |time: Duration| 1e3 * time.as_secs_f64();
    let mut text = format!("total;dur={:.3}", milliseconds(took));
    for (other, time) in waits {
        let _ = write!(text, ", {};dur={:.3}", other.word(), milliseconds(*time));
    }
    text
}

/// Whoever asks may invent methods; metrics have room for these.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_counts_in_the_request_that_waits_and_nowhere_else() {
        assert_eq!(waiting(Other::Batch, async { 1 }).await, 1, "outside of a request");
        let request = |other| {
            WAITS.scope(RefCell::default(), async move {
                waiting(other, tokio::time::sleep(Duration::from_millis(5))).await;
                WAITS.with(RefCell::take)
            })
        };
        let (one, two) = tokio::join!(request(Other::Directory), request(Other::Batch));
        assert!(matches!(*one, [(Other::Directory, time)] if time >= Duration::from_millis(5)), "{one:?}");
        assert!(matches!(*two, [(Other::Batch, _)]), "{two:?}");
    }

    #[test]
    fn the_header_is_one_that_browsers_read() {
        let waits = [(Other::Directory, Duration::from_micros(1500)), (Other::Clock, Duration::from_secs(1))];
        assert_eq!(
            header(Duration::from_millis(2000), &waits),
            "total;dur=2000.000, directory;dur=1.500, clock;dur=1000.000"
        );
    }
}
