//! Owns what a cell prints: gathers the lines that evcxr hands over, tells the report of a panic from the cell's own
//! words, and knows when everything that was printed has been read.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often whoever waits for lines looks whether the cell has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Lines are gathered until there is so much.
const COALESCE_BYTES: usize = 256 << 10;

/// Hands on lines as they come until the cell has ended and there are no more. `next` waits for one so long.
pub(crate) fn forward(
    next: impl Fn(Duration) -> Option<String>,
    has_ended: &AtomicBool,
    mut take: impl FnMut(String),
) {
    loop {
        // In this order: what was printed before the end is there when the end is known.
        let ended = has_ended.load(Ordering::SeqCst);
        let Some(mut text) = next(if ended { Duration::ZERO } else { LOOK }) else {
            if ended {
                return;
            }
            continue;
        };
        text.push('\n');
        while text.len() < COALESCE_BYTES
            && let Some(line) = next(Duration::ZERO)
        {
            text.push_str(&line);
            text.push('\n');
        }
        take(text);
    }
}

/// What the process that runs cells prints behind each, as a line of its own, for evcxr.
const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";

/// A cell that ends without a newline swallows that line: evcxr takes both for something printed, and waits for ever. Then
/// the line is put into the output of process `id` once more, and taken out of `text`.
pub(crate) fn mend_end(text: String, id: u32) -> String {
    let Some(printed) = text.strip_suffix('\n').and_then(|text| text.strip_suffix(COMPLETE)) else {
        return text;
    };
    // Where that fails, the cell does not end and is interrupted, as without this.
    if let Ok(mut pipe) = OpenOptions::new().write(true).open(format!("/proc/{id}/fd/1")) {
        let _ = writeln!(pipe, "{COMPLETE}");
    }
    printed.to_owned()
}

/// Longer than this nobody waits for the rest of what was printed.
const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_LOOK: Duration = Duration::from_millis(5);

/// Returns once everything that process `id` has written to its standard error is read and `is_taken`.
pub(crate) fn settle(id: u32, is_taken: impl Fn() -> bool) {
    // The other end of the pipe, which says whether something is in it.
    let Ok(pipe) = File::open(format!("/proc/{id}/fd/2")) else { return };
    let started = Instant::now();
    // Between the pipe and the channel lines are in nobody's sight for a moment.
    let mut quiet = 0;
    while quiet < 3 && started.elapsed() < SETTLE {
        let mut about = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let is_read = matches!(poll(&mut about, PollTimeout::ZERO), Ok(0));
        quiet = if is_read && is_taken() { quiet + 1 } else { 0 };
        std::thread::sleep(SETTLE_LOOK);
    }
}

/// Takes the report of the cell's own panic out of what is printed to standard error.
#[derive(Default)]
pub(crate) struct Panics {
    state: State,
    /// What the last report said, and the report as it was printed.
    pub(crate) message: Option<String>,
    pub(crate) report: String,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    Message,
    Trace,
}

impl Panics {
    /// Gives back what is not part of a report.
    pub(crate) fn read(&mut self, text: &str) -> String {
        let mut rest = String::new();
        for line in text.split_inclusive('\n') {
            // Cells run in the main thread; other threads' panics are for reading, and end no cell.
            if line.starts_with("thread 'main' ") && line.contains("panicked at ") {
                // An empty line comes first.
                if rest == "\n" || rest.ends_with("\n\n") {
                    rest.pop();
                }
                self.state = State::Message;
                self.message = Some(String::new());
                self.report = line.to_owned();
                continue;
            }
            match self.state {
                State::Outside => {
                    rest.push_str(line);
                    continue;
                }
                State::Message if line.starts_with("stack backtrace:") => self.state = State::Trace,
                State::Message => {
                    if let Some(message) = &mut self.message {
                        message.push_str(line);
                    }
                }
                State::Trace if line.starts_with("note: ") => self.state = State::Outside,
                State::Trace => {}
            }
            self.report.push_str(line);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_a_panic_is_taken_out() {
        let mut panics = Panics::default();
        let rest = panics.read(
            "before\n\nthread 'main' (7) panicked at src/lib.rs:9:1:\nno\nway\nstack backtrace:\n   0: f\n",
        ) + &panics.read("note: Some details are omitted\nafter\n");
        assert_eq!(rest, "before\nafter\n");
        assert_eq!(panics.message.as_deref(), Some("no\nway\n"));
    }

    #[test]
    fn the_end_that_a_cell_swallowed_is_taken_out() {
        // There is no process 0 whose output could be mended.
        assert_eq!(mend_end("ab\n".to_owned(), 0), "ab\n");
        assert_eq!(mend_end(format!("one\ntwo{COMPLETE}\n"), 0), "one\ntwo");
    }

    #[test]
    fn panics_of_other_threads_are_printed() {
        let text = "thread '<unnamed>' (8) panicked at src/lib.rs:9:1:\nno\n";
        assert_eq!(Panics::default().read(text), text);
    }
}
