//! Owns the mistakes that labelled arrays report; all but those of stores and engines when the expression is built.

use nuna_array::{ArrayError, DType};
use nuna_storage::StorageError;

/// Why a labelled array could not be built, computed, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("{owner} has no dimension `{dim}`; its dimensions are ({})", dims.join(", "))]
    NoDim { owner: String, dim: String, dims: Vec<String> },
    #[error("dimension `{dim}` is named twice in ({})", dims.join(", "))]
    DimTwice { dim: String, dims: Vec<String> },
    #[error("{owner} has no variable `{name}`; it has {}{}", list(have), hint(name, have))]
    NoVariable { owner: String, name: String, have: Vec<String> },
    #[error("variable `{name}` cannot be used: {reason}")]
    Skipped { name: String, reason: String },
    #[error("{owner} has no coordinate `{name}`; it has {}", list(have))]
    NoCoord { owner: String, name: String, have: Vec<String> },
    #[error(
        "`{operation}`: dimension `{dim}` has length {left_size} in {left} but {right_size} in {right}; select the same range of both"
    )]
    Sizes { operation: String, dim: String, left: String, left_size: u64, right: String, right_size: u64 },
    #[error(
        "`{operation}`: the coordinates along `{dim}` of {left} ({left_range}) and {right} ({right_range}) have nothing in common"
    )]
    NothingInCommon {
        operation: String,
        dim: String,
        left: String,
        left_range: String,
        right: String,
        right_range: String,
    },
    #[error("no label {label} along `{dim}`; {hint}")]
    NoLabel { dim: String, label: String, hint: String },
    #[error("{label} is not a label along `{dim}`, which holds {holds}; {hint}")]
    WrongLabel { dim: String, label: String, holds: String, hint: String },
    #[error("position {index} is out of range for dimension `{dim}` of length {size}")]
    Position { dim: String, index: i64, size: u64 },
    #[error("`{key}` does not say how to group: {reason}")]
    GroupKey { key: String, reason: String },
    #[error(
        "variables `{first}` and `{second}` disagree about the length of dimension `{dim}`: {first_size} and {second_size}"
    )]
    DimConflict { dim: String, first: String, first_size: u64, second: String, second_size: u64 },
    #[error("{name} holds {found}, not {asked}; convert it with `astype` first")]
    DType { name: String, found: DType, asked: DType },
    #[error("{0}")]
    Array(#[from] ArrayError),
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Invalid(String),
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "none".to_owned();
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The name that was probably meant.
fn hint(name: &str, have: &[String]) -> String {
    let lower = name.to_lowercase();
    have.iter()
        .find(|other| {
            other.to_lowercase() == lower || (name.len() > 2 && other.to_lowercase().contains(&lower))
        })
        .map(|other| format!("; did you mean `{other}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named() {
        let have = vec!["Theta".to_owned(), "salt".to_owned()];
        let error = LabelError::NoVariable { owner: "the dataset".into(), name: "theta".into(), have };
        assert_eq!(
            error.to_string(),
            "the dataset has no variable `theta`; it has `Theta`, `salt`; did you mean `Theta`?"
        );
    }
}
