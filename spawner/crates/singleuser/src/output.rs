//! The user server's own output: passed on to the job's, without secrets and up to a limit, and its end kept.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::secret::Scrubber;

/// PBS keeps a job's output in a spool that all jobs of the node share.
const PASSED_BYTES_MAX: usize = 8 << 20;
/// What the service shows of a server that failed.
const TAIL_BYTES_MAX: usize = 4 << 10;
/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    passed: usize,
}

/// Shared by the readers of standard output and standard error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    kept: Arc<Mutex<Kept>>,
}

impl Output {
    /// Reads `source` to its end.
    pub(crate) async fn follow(self, source: impl AsyncRead + Unpin, scrubber: Scrubber) {
        let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, source);
        let mut line = Vec::new();
        loop {
            let (used, is_complete) = match reader.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(at) => {
                        line.extend_from_slice(&bytes[..at]);
                        (at + 1, true)
                    }
                    None => {
                        line.extend_from_slice(bytes);
                        (bytes.len(), false)
                    }
                },
            };
            reader.consume(used);
            if is_complete || line.len() >= LINE_BYTES_MAX {
                self.take(&scrubber.scrub(&String::from_utf8_lossy(&line)));
                line.clear();
            }
        }
        if !line.is_empty() {
            self.take(&scrubber.scrub(&String::from_utf8_lossy(&line)));
        }
    }

    fn take(&self, line: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = PASSED_BYTES_MAX.saturating_sub(kept.passed);
        if room > 0 {
            // The job's output may be gone (a full disk, a closed pipe); the server goes on without it.
            let _ = if line.len() < room {
                writeln!(std::io::stderr(), "{line}")
            } else {
                writeln!(std::io::stderr(), "nuna-singleuser: the server's further output is not kept")
            };
            kept.passed = kept.passed.saturating_add(line.len() + 1).min(PASSED_BYTES_MAX);
        }
        kept.bytes += line.len() + 1;
        kept.lines.push_back(line.to_owned());
        while kept.bytes > TAIL_BYTES_MAX && kept.lines.len() > 1 {
            if let Some(first) = kept.lines.pop_front() {
                kept.bytes -= first.len() + 1;
            }
        }
    }

    /// The last lines, at most 4 kB.
    pub(crate) fn tail(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = kept.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let mut from = text.len().saturating_sub(TAIL_BYTES_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text[from..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_is_the_end_and_holds_no_secret() {
        let environment = [("A_TOKEN".to_owned(), "sesamesesame".to_owned())];
        let scrubber = Scrubber::new(environment.iter().map(|(name, value)| (name, value)), []);
        let mut text = String::new();
        for index in 0..2000 {
            text.push_str(&format!("line {index} sesamesesame\n"));
        }
        text.push_str("the last words");
        let output = Output::default();
        output.clone().follow(text.as_bytes(), scrubber).await;
        let tail = output.tail();
        assert!(tail.len() <= TAIL_BYTES_MAX && tail.len() > TAIL_BYTES_MAX / 2, "{}", tail.len());
        assert!(tail.ends_with("line 1999 ***\nthe last words"), "{tail}");
        assert!(!tail.contains("sesame"));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let output = Output::default();
        let endless = vec![b'\xff'; LINE_BYTES_MAX * 3];
        output.clone().follow(endless.as_slice(), Scrubber::default()).await;
        assert!(output.tail().len() <= TAIL_BYTES_MAX);
    }
}
