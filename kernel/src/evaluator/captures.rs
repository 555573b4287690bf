//! Owns what a person reads when a closure captures what cannot travel to a worker: the captured type once, and not the
//! pointer inside it, nor that it is not `Copy`, which the compiler says beside it.

use super::compile::Diagnostic;

const CANNOT_TRAVEL: &str = "cannot travel to another process";
const WITHIN: &str = "required because it appears within the type `";

/// The errors of a cell with those about captures in a person's words. Others stay as they are, in their order.
pub(super) fn in_words(errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let staying: Vec<_> =
        errors.iter().filter(|error| error.message.ends_with(CANNOT_TRAVEL)).map(begin).collect();
    let says_nothing_new = |error: &Diagnostic| {
        error.message.contains("Copy` is not satisfied in `{closure@") && staying.contains(&begin(error))
    };
    errors.into_iter().filter(|error| !says_nothing_new(error)).map(with_capture).collect()
}

fn begin(error: &Diagnostic) -> Option<(usize, usize)> {
    error.primary().map(|span| (span.line_start, span.column_start))
}

/// The compiler follows a type down to a pointer and tells the way in notes, the last of them the captured type.
fn with_capture(mut error: Diagnostic) -> Diagnostic {
    let inner = error.message.strip_suffix(CANNOT_TRAVEL).map(|inner| inner.trim_end().to_owned());
    let captured =
        error.children.iter().rev().find_map(|note| note.message.strip_prefix(WITHIN)?.strip_suffix('`'));
    let (Some(inner), Some(captured)) = (inner, captured.map(|ty| format!("`{ty}`"))) else { return error };
    error.message = format!("{captured} {CANNOT_TRAVEL}");
    for span in &mut error.spans {
        if let Some(label) = &mut span.label {
            *label = label.replace(&inner, &captured);
        }
    }
    error.children.retain(|note| !note.message.starts_with(WITHIN) && !note.message.contains(&inner));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(message: &str, children: &[&str]) -> Diagnostic {
        let leaf = |message: &str, children| Diagnostic {
            message: message.to_owned(),
            code: None,
            level: "error".to_owned(),
            spans: Vec::new(),
            children,
        };
        leaf(message, children.iter().map(|note| leaf(note, Vec::new())).collect())
    }

    #[test]
    fn the_captured_type_is_named_and_not_the_pointer_in_it() {
        let told = in_words(vec![
            diagnostic(
                "the trait bound `Vec<f64>: Copy` is not satisfied in `{closure@/cells/a.rs:1:2: 3:4}`",
                &[],
            ),
            diagnostic(
                "`*const u8` cannot travel to another process",
                // As rustc says it.
                &[
                    "the trait `nuna::Ship` is not implemented for `*const u8`",
                    "write `move |…|`",
                    "required because it appears within the type `NonNull<u8>`",
                    "required because it appears within the type `Vec<f64>`",
                ],
            ),
        ]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].message, "`Vec<f64>` cannot travel to another process");
        assert_eq!(told[0].children.len(), 1, "{:?}", told[0].children);
    }

    #[test]
    fn other_errors_stay() {
        let other = ["cannot find value `x` in this scope", "`&f64` cannot travel to another process"];
        let told = in_words(other.iter().map(|message| diagnostic(message, &["a note"])).collect());
        assert_eq!(told.iter().map(|error| error.message.as_str()).collect::<Vec<_>>(), other);
        assert!(told.iter().all(|error| error.children.len() == 1));
    }
}
