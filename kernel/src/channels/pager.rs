//! Owns `?name` and `?` as cells: help that opens beside the notebook, as IPython's does. No Rust cell begins like that;
//! `name?` stays what it is in Rust.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Kernel, language};
use crate::{evaluator::failure::Failure, message::child};

/// The name that a cell asks about, empty for the kernel itself; none if the cell is something else.
pub(super) fn asked(code: &str) -> Option<&str> {
    let name = code.trim().strip_prefix('?')?;
    // A second one asks for more, and there is no more.
    let name = name.strip_prefix('?').unwrap_or(name).trim();
    let plain = |c: char| c.is_alphanumeric() || "_:.!".contains(c);
    name.chars().all(plain).then_some(name)
}

/// The payload that makes a front end open its pager; none if nothing is known.
pub(super) async fn page(kernel: &Arc<Kernel>, name: &str) -> Option<Value> {
    let data = if name.is_empty() {
        json!({"text/plain": HELP})
    } else {
        let content = json!({"code": name, "cursor_pos": name.chars().count(), "detail_level": 1});
        let request = child(&kernel.id, "inspect_request", &json!({}), content);
        let (_, mut answer) = language::content_of(kernel, &request).await;
        if answer["found"] != true {
            return None;
        }
        answer["data"].take()
    };
    Some(json!({"source": "page", "data": data, "start": 0}))
}

/// Whether a cell is what people type into `jupyter console` to leave it, and nothing of theirs has that name.
pub(super) fn means_exit(code: &str, failure: &Failure) -> bool {
    ["exit", "quit"].contains(&code.trim()) && failure.value.starts_with("cannot find value")
}

const HELP: &str = "\
A cell is Rust: items, `let`, statements, and a last expression that is shown. Variables and items stay for later cells.

?name            opens what is known about a name
:help            lists the kernel's commands
Shift-Tab        shows the same beside the cursor
Interrupt        stops the cell and keeps every variable; a second time ends its process
";

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn only_what_rust_cannot_mean_is_a_question() {
        assert_eq!(asked("?Vec::push"), Some("Vec::push"));
        assert_eq!(asked(" ??x \n"), Some("x"));
        assert_eq!(asked("?"), Some(""));
        assert_eq!(asked("x?"), None);
        assert_eq!(asked("? x + 1"), None);
    }
}
