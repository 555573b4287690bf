//! Owns what a cell's crate is called. The name follows from what the crate is made of, not from when it was compiled:
//! the same cell behind the same cells is the same crate in every session, so its compilation can be looked up
//! (`cache`). A cell that runs again is the same crate as before, and is loaded already, unless that could be noticed.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::cache::Inputs;

/// How every cell's crate begins.
pub const PREFIX: &str = "cell_";
/// Hexadecimal digits behind it.
const DIGITS: usize = 16;

/// Macros of the standard library and of `nuna` that make no static.
const WITHOUT_STATICS: &[&str] = &[
    "addr_of",
    "assert",
    "assert_eq",
    "assert_ne",
    "captures",
    "cfg",
    "column",
    "compile_error",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "file",
    "format",
    "format_args",
    "grid",
    "line",
    "macro_rules",
    "matches",
    "module_path",
    "panic",
    "pin",
    "print",
    "println",
    "stringify",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Macros by example that people take from other crates. What they make of their arguments follows from the text.
const DECLARATIVE: &[&str] = &[
    "anyhow",
    "array",
    "azip",
    "bail",
    "bitflags",
    "debug",
    "ensure",
    "error",
    "info",
    "iproduct",
    "izip",
    "json",
    "lazy_static",
    "s",
    "thread_local",
    "trace",
    "warn",
];
/// Attributes of the language and of `serde`.
const ATTRIBUTES: &[&str] = &[
    "allow",
    "cfg",
    "cold",
    "default",
    "deny",
    "doc",
    "expect",
    "inline",
    "macro_export",
    "must_use",
    "non_exhaustive",
    "repr",
    "serde",
    "track_caller",
    "unsafe",
    "warn",
];
/// Derives of the language and of `serde`.
const DERIVES: &[&str] = &[
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "Deserialize",
    "Eq",
    "Hash",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Serialize",
];

/// Names of the crates that this session's process has loaded and that must not be loaded as the same once more.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// What was loaded under a name, by its hash.
    loaded: HashMap<String, blake3::Hash>,
}

impl Names {
    /// The name for a crate of these `inputs`. What was taken gets a number, in the same order in every session.
    pub fn name(&self, inputs: &Inputs) -> String {
        let digest = blake3::Hash::from_bytes(inputs.key().0).to_hex();
        let name = format!("{PREFIX}{}", &digest[..DIGITS]);
        let mut free = name.clone();
        let mut number = 1;
        while self.taken.contains(&free) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }

    /// Where to load the crate `name` from, which was compiled to `library`. The loader gives what it has for a path
    /// that it knows, so what differs from that (a crate that the cell uses was replaced) gets a path of its own.
    ///
    /// # Errors
    /// If the session's folder cannot be read or written.
    pub fn to_load(&mut self, name: &str, library: &Path) -> Result<PathBuf> {
        let bytes = std::fs::read(library).with_context(|| format!("reading {}", library.display()))?;
        let hash = blake3::hash(&bytes);
        if *self.loaded.entry(name.to_owned()).or_insert(hash) == hash {
            return Ok(library.to_owned());
        }
        let path = library.with_extension(format!("{}.so", &hash.to_hex()[..DIGITS]));
        if !path.exists() {
            std::fs::copy(library, &path).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(path)
    }

    /// From now on `name` is another crate.
    pub fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }
}

/// Whether running `text`, a generated crate without items, a second time could be told from going on with the first:
/// by a static. A macro that is not known may make one.
pub fn may_have_statics(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: usize, word: &str| {
        !text[..at].ends_with(|c| is_word(c) || c == '\'') && !text[at + word.len()..].starts_with(is_word)
    };
    text.match_indices("static").any(|(at, word)| whole(at, word))
        || macros(text).any(|name| WITHOUT_STATICS.binary_search(&name).is_err())
}

/// Macros that `text` calls, without those that it defines: their bodies are part of it.
fn macros(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word_before = move |at: usize| {
        let before = text[..at].trim_end();
        &before[before.trim_end_matches(is_word).len()..]
    };
    let own: HashSet<&str> = text
        .match_indices("macro_rules!")
        .filter_map(|(at, found)| text[at + found.len()..].trim_start().split(|c| !is_word(c)).next())
        .collect();
    text.match_indices('!')
        .filter(|(at, _)| !text[at + 1..].starts_with('='))
        .map(move |(at, _)| word_before(at))
        .filter(move |word| !word.is_empty() && !own.contains(word))
}

/// Whether `text`, which uses crates of `:dep`, may call a procedural macro of one: such a macro can read what it likes
/// without the compiler knowing.
pub fn may_run_foreign_code(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let known = |list: &[&str], word: &str| list.contains(&word);
    if macros(text).any(|name| !known(WITHOUT_STATICS, name) && !known(DECLARATIVE, name)) {
        return true;
    }
    text.match_indices("#[").chain(text.match_indices("#![")).any(|(at, begin)| {
        let inside = text[at + begin.len()..].split(']').next().unwrap_or_default().trim();
        let Some(derived) = inside.strip_prefix("derive") else {
            return !known(ATTRIBUTES, inside.split(|c| !is_word(c)).next().unwrap_or_default());
        };
        let names = derived.trim_matches(|c: char| c == '(' || c == ')' || c.is_whitespace()).split(',');
        names
            .map(str::trim)
            .any(|name| !name.is_empty() && !known(DERIVES, name.rsplit("::").next().unwrap_or(name)))
    })
}

/// Whether `name` is that of a cell's crate.
pub fn is_cell(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let (digits, number) = rest.split_at_checked(DIGITS).unwrap_or((rest, ""));
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    digits.len() == DIGITS
        && digits.chars().all(is_hex)
        && (number.is_empty()
            || number.strip_prefix('_').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &str) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.add(text.as_bytes());
        inputs
    }

    #[test]
    fn a_name_follows_from_what_is_inside() {
        let mut names = Names::default();
        let first = names.name(&inputs("a"));
        assert!(is_cell(&first), "{first}");
        assert_eq!(names.name(&inputs("a")), first);
        assert_ne!(names.name(&inputs("b")), first);
        names.take(&first);
        let second = names.name(&inputs("a"));
        assert_eq!(second, format!("{first}_2"));
        names.take(&second);
        assert_eq!(names.name(&inputs("a")), format!("{first}_3"));
        assert!(is_cell(&second));
    }

    #[test]
    fn what_the_loader_has_under_a_path_is_not_taken_for_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libcell_a.so");
        let mut names = Names::default();
        let mut load = |content: &str| {
            std::fs::write(&library, content).unwrap();
            let path = names.to_load("cell_a", &library).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            path
        };
        assert_eq!(load("one"), library);
        assert_eq!(load("one"), library);
        let other = load("two");
        assert_ne!(other, library);
        assert_eq!(load("two"), other);
        assert_eq!(load("one"), library);
    }

    #[test]
    fn names_of_other_crates_are_not_those_of_cells() {
        for name in
            ["cell_", "cell_1", "cell_data", "cell_0123456789abcdeg", "cell_0123456789abcdef_x", "std"]
        {
            assert!(!is_cell(name), "{name}");
        }
    }

    #[test]
    fn macros_of_other_crates_that_could_read_anything_are_seen() {
        for text in [
            "json!({\"a\": 1})",
            "#![allow(dead_code)]\n#[unsafe(no_mangle)]\npub fn f() { println!(\"{}\", 1) }",
            "#[derive(Clone, serde::Serialize)]\n#[serde(rename_all = \"kebab-case\")]\nstruct P;",
            "#[derive()]\nstruct P;",
        ] {
            assert!(!may_run_foreign_code(text), "{text}");
        }
        for text in
            ["query!(\"select\")", "#[derive(Clone, Template)]\nstruct P;", "#[tokio::main]\nasync fn f() {}"]
        {
            assert!(may_run_foreign_code(text), "{text}");
        }
    }

    #[test]
    fn only_statics_make_a_second_run_differ() {
        assert!(WITHOUT_STATICS.is_sorted());
        for text in [
            "1 + 1",
            "let s: &'static str = x;",
            "println!(\"{}\", vec![1].len())",
            "a != b && !c",
            "statics()",
        ] {
            assert!(!may_have_statics(text), "{text}");
        }
        for text in
            ["{ static N: u8 = 0; }", "lazy! { a }", "tracing::info ! (\"a\")", "std::thread_local! {}"]
        {
            assert!(may_have_statics(text), "{text}");
        }
        assert!(!may_have_statics("macro_rules! own { () => { vec![1] } }\nown!()"));
        assert!(may_have_statics("macro_rules! own { () => { lazy!() } }\nown!()"));
    }
}
