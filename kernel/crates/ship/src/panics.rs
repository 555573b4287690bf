//! Owns turning a panic of shipped code into a value with its message and its place.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};

/// What a panic said, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("panicked{}: {message}", location.as_ref().map(|place| format!(" at {place}")).unwrap_or_default())]
pub struct Panicked {
    pub message: String,
    /// `file:line:column`, as the compiler knew it.
    pub location: Option<String>,
}

impl From<Panicked> for TaskError {
    fn from(panicked: Panicked) -> Self {
        // The same program on the same data panics again.
        TaskError::fatal(panicked.to_string())
    }
}

thread_local! {
    /// How many `catch`es this thread is in. Only their panics are kept quiet.
    static CATCHING: Cell<usize> = const { Cell::new(0) };
    static CAUGHT: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic comes back as a value and prints nothing.
///
/// # Errors
/// [`Panicked`] if `work` panicked.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let (mut work, mut result) = (Some(work), None);
    // The generic part stays tiny, because it is compiled again into every cell.
    catch_dyn(&mut || result = work.take().map(|work| work()))?;
    Ok(result.expect("work that did not panic has a result"))
}

fn catch_dyn(work: &mut dyn FnMut()) -> Result<(), Panicked> {
    listen();
    CAUGHT.set(None);
    CATCHING.set(CATCHING.get() + 1);
    // Whatever the closure was changing belongs to the caller, who drops it with the failed task.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    outcome.map_err(|payload| {
        let heard = CAUGHT.take();
        heard.unwrap_or_else(|| Panicked { message: text(payload.as_ref()), location: None })
    })
}

/// Adds a hook before the process's own: only a hook hears where a panic happened.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() == 0 {
                return before(info);
            }
            let location = info.location().map(ToString::to_string);
            CAUGHT.set(Some(Panicked { message: text(info.payload()), location }));
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "with a value that is not text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_value_with_message_and_place() {
        let numbers = [1, 2, 3];
        let index = std::hint::black_box(7);
        let panicked = catch(|| numbers[index]).unwrap_err();
        assert!(panicked.message.contains("index out of bounds"), "{panicked}");
        assert!(panicked.location.as_ref().unwrap().contains("panics.rs:"), "{panicked}");
        assert_eq!(catch(|| 5), Ok(5));
    }

    #[test]
    fn a_payload_that_is_not_text_still_says_so() {
        let panicked = catch(|| panic::panic_any(5)).unwrap_err();
        assert_eq!(panicked.message, "with a value that is not text");
    }
}
