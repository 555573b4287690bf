//! Owns the evaluator's side of standard input: asks the kernel for a line, waits for it or for an interrupt, and gives it
//! to whoever reads.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io::{Error, ErrorKind, Write},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use nuna::session;
use nuna_kernel::evaluator::process::Report;

use crate::report;

/// How often somebody who waits looks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);
/// A print as long as this is no question.
pub(crate) const REQUEST_BYTES_MAX: usize = 4096;
const REQUEST: &str = "EVCXR_INPUT_REQUEST:";
const REQUEST_PASSWORD: &str = "EVCXR_INPUT_REQUEST_PASSWORD:";

#[derive(Default)]
struct Asked {
    number: u64,
    /// Questions that wait, and what came of them.
    answers: HashMap<u64, Option<Result<String, String>>>,
    /// What was answered and not read yet.
    unread: VecDeque<u8>,
    /// Why the running cell got no answer.
    refused: Option<String>,
}

static ASKED: Mutex<Option<Asked>> = Mutex::new(None);
static ANSWERED: Condvar = Condvar::new();

thread_local! {
    /// The question that evcxr's input crate printed on this thread and will read the answer to.
    static REQUESTED: RefCell<Option<(String, bool)>> = const { RefCell::new(None) };
}

fn with<T>(use_it: impl FnOnce(&mut Asked) -> T) -> T {
    use_it(ASKED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// A cell begins: what the last one left unread is nobody's.
pub(crate) fn begin() {
    with(|asked| {
        asked.unread.clear();
        asked.refused = None;
    });
}

/// Why the cell got no answer to a question, if it did not.
pub(crate) fn refusal() -> Option<String> {
    with(|asked| asked.refused.take())
}

/// Takes the kernel's answer.
pub(crate) fn answered(number: u64, answer: Result<String, String>) {
    with(|asked| {
        // Nobody waits any more after an interrupt.
        if let Some(waiting) = asked.answers.get_mut(&number) {
            *waiting = Some(answer);
        }
    });
    ANSWERED.notify_all();
}

/// Asks the person and waits.
pub(crate) fn ask(prompt: &str, password: bool) -> std::io::Result<String> {
    // What was printed before belongs before the question.
    let _ = std::io::stdout().flush();
    let number = with(|asked| {
        asked.number += 1;
        asked.answers.insert(asked.number, None);
        asked.number
    });
    report(&Report::Ask { number, parent: session::parent(), prompt: prompt.to_owned(), password })?;
    let mut guard = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let asked = guard.get_or_insert_default();
        if let Some(Some(answer)) = asked.answers.get_mut(&number).map(Option::take) {
            asked.answers.remove(&number);
            if let Err(reason) = &answer {
                asked.refused = Some(reason.clone());
            }
            return answer.map_err(|reason| Error::new(ErrorKind::Unsupported, reason));
        }
        if session::interrupted() && session::parent() == session::running() {
            asked.answers.remove(&number);
            session::cut_wait();
            return Err(Error::other("interrupted while waiting for input"));
        }
        guard = ANSWERED.wait_timeout(guard, LOOK).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// What `read(2)` of standard input gives: bytes of one line, or an error number.
pub(crate) fn read(buffer: &mut [u8]) -> Result<usize, i32> {
    if with(|asked| asked.unread.is_empty()) {
        let (prompt, password) = REQUESTED.take().unwrap_or_default();
        match ask(&prompt, password) {
            Ok(line) => with(|asked| {
                asked.unread.extend(line.bytes());
                asked.unread.push_back(b'\n');
            }),
            // The standard library tries again after EINTR; this one ends its reading.
            Err(_) if session::wait_was_cut() => return Err(libc::ECANCELED),
            Err(_) => return Err(libc::EOPNOTSUPP),
        }
    }
    Ok(with(|asked| {
        let count = buffer.len().min(asked.unread.len());
        for (to, from) in buffer.iter_mut().zip(asked.unread.drain(..count)) {
            *to = from;
        }
        count
    }))
}

/// If `text` ends with a line by which evcxr's input crate asks, remembers the question and gives the bytes before it.
pub(crate) fn request(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.strip_suffix('\n')?;
    let start = line.rfind('\n').map_or(0, |at| at + 1);
    let (prompt, password) = match line[start..].strip_prefix(REQUEST) {
        Some(prompt) => (prompt, false),
        None => (line[start..].strip_prefix(REQUEST_PASSWORD)?, true),
    };
    // A thread that is about to end has nobody who reads.
    REQUESTED.try_with(|requested| *requested.borrow_mut() = Some((prompt.to_owned(), password))).ok()?;
    Some(start)
}
