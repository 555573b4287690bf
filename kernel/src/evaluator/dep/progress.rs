//! Owns the line that says what `:dep` is doing: one display of the notebook, changed in place.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::evaluator::{print::Print, process::Printed};

/// What takes less is not worth a line that comes and goes.
const QUIET: Duration = Duration::from_millis(600);
/// The line changes no more often than this.
const PACE: Duration = Duration::from_millis(350);

pub(super) struct Progress<'a> {
    print: &'a Print,
    id: String,
    begun: Instant,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(print: &'a Print) -> Self {
        Self {
            print,
            id: format!("nuna-dep-{}", uuid::Uuid::new_v4().simple()),
            begun: Instant::now(),
            last: None,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Says what is done now, unless something was said a moment ago.
    pub(super) async fn say(&mut self, text: &str) {
        let due = match self.last {
            None => self.begun.elapsed() >= QUIET,
            Some(last) => last.elapsed() >= PACE,
        };
        if due {
            self.send(text).await;
        }
    }

    /// Says what has become of it; an empty text takes the line away.
    pub(super) async fn finish(&mut self, text: &str) {
        if self.last.is_some() || !text.is_empty() {
            self.send(text).await;
        }
    }

    async fn send(&mut self, text: &str) {
        let kind = if self.last.is_some() { "update_display_data" } else { "display_data" };
        self.last = Some(Instant::now());
        let message = json!({
            "msg_type": kind,
            "content": {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": self.id}},
        });
        let marked =
            format!("EVCXR_BEGIN_CONTENT application/x-nuna-message\n{message}\nEVCXR_END_CONTENT\n");
        // Whoever does not listen any more need not know.
        let _ = self.print.send(Printed::Stdout(marked)).await;
    }
}
