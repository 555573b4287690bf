//! Owns answers to commands of evcxr, IPython and others that this kernel has other ways for, and to misspelt ones. No I/O.

use super::{refused, shown};
use crate::evaluator::Evaluation;

/// Every `:` command, for suggestions.
const COLON: &[&str] = &[
    "help",
    "vars",
    "type",
    "t",
    "doc",
    "dep",
    "show_deps",
    "offline",
    "opt",
    "timing",
    "env",
    "cd",
    "pwd",
    "clear",
    "explain",
    "last_error_json",
    "last_compile_dir",
    "version",
];

/// Every `%` command, for suggestions.
const MAGIC: &[&str] = &[
    "time", "timeit", "cd", "pwd", "env", "who", "whos", "reset", "bash", "html", "markdown", "latex", "svg",
    "lsmagic",
];

/// Answers a `:` command that does nothing here.
pub(super) fn colon(word: &str, rest: &str) -> Evaluation {
    match word {
        "preserve_vars_on_panic" => shown("variables are always kept when a cell panics"),
        "types" => {
            shown("a variable's type is shown by `:vars` and `:type NAME`; results are shown without it")
        }
        "fmt" => shown("results are shown by `nuna::display::Display` where they have it, else by `Debug`"),
        "efmt" => shown("errors that `?` returns are shown by `Display`, with their causes"),
        "sccache" | "cache" | "clear_cache" => shown(
            "crates of `:dep` and compiled cells are cached without being asked; nothing needs to be set",
        ),
        "linker" => shown("cells are linked by the linker that comes with the compiler (lld)"),
        "codegen_backend" => shown(
            "cells are compiled by LLVM; cells without closures or functions are not optimised, which is quick",
        ),
        "allow_static_linking" => {
            shown("crates of `:dep` become one shared library, so that their statics exist once")
        }
        "build_env" => {
            shown("the environment of builds is the kernel's own; set it in the kernelspec's `env`")
        }
        "toolchain" => match rest {
            "" => shown("cells are compiled by the toolchain that built this kernel; `:version` names it"),
            _ => refused(
                "cells share libraries with this kernel, so only the toolchain that built it can compile them; `:version` names it",
            ),
        },
        "load_config" | "internal_debug" | "time_passes" => refused(format!(
            "this kernel has no `:{word}`; `:timing` shows where time goes, `:help` lists the commands"
        )),
        "quit" | "restart" => refused(
            "restart or shut the kernel down from the notebook's Kernel menu; `:clear` forgets variables and items",
        ),
        _ => refused(unknown(":", word, COLON)),
    }
}

/// Answers a `%` or `%%` command that does nothing here.
pub(super) fn magic(word: &str) -> Evaluation {
    let advice = match word {
        "matplotlib" | "pylab" => "plots need no magic: a value's `.plot()` as the last expression shows it",
        "load_ext" | "reload_ext" | "autoreload" | "config" | "alias" | "autocall" | "colors" => {
            "this kernel has no extensions to load; `:dep NAME` adds a crate"
        }
        "pip" | "conda" | "mamba" => {
            "Rust crates are added with `:dep NAME = \"1.0\"`; for anything else, `!COMMAND` runs a shell"
        }
        "run" | "load" => "`include!(\"FILE.rs\");` takes in a file of Rust",
        "history" | "hist" | "recall" => {
            "the notebook keeps its history; in a console, the arrow keys walk through it"
        }
        "debug" | "pdb" => "this kernel has no debugger; `dbg!(…)` prints an expression with its place",
        "prun" | "memit" | "mprun" | "lprun" => {
            "this kernel has no profiler; `%time` and `%timeit` say how long code takes"
        }
        "python" | "python3" | "perl" | "ruby" => {
            "cells are Rust; `!COMMAND` and `%%bash` run a shell, which can run other languages"
        }
        "capture" => "a cell's output cannot be captured; functions can return what they have to say",
        "writefile" | "file" => "std::fs::write(\"FILE\", \"…\")? writes a file",
        "javascript" | "js" => "this kernel runs no scripts in the browser; `%%html` shows HTML",
        _ => return refused(unknown("%", word, MAGIC)),
    };
    refused(advice)
}

fn unknown(sign: &str, word: &str, all: &[&str]) -> String {
    match nearest(word, all) {
        Some(other) => {
            format!("there is no command `{sign}{word}`; did you mean `{sign}{other}`? `:help` lists them")
        }
        None => format!("there is no command `{sign}{word}`; `:help` lists them"),
    }
}

/// The word that is closest to `word`, unless all are far.
fn nearest<'a>(word: &str, all: &[&'a str]) -> Option<&'a str> {
    let far = word.chars().count().div_ceil(2).min(3);
    all.iter()
        .map(|other| (distance(word, other), *other))
        .filter(|(distance, _)| *distance < far)
        .min()
        .map(|(_, other)| other)
}

/// How many characters have to change; two that changed places count once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + same).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_command_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("var", COLON), Some("vars"));
        assert_eq!(nearest("hlep", COLON), Some("help"));
        assert_eq!(nearest("timng", COLON), Some("timing"));
        assert_eq!(nearest("timeti", MAGIC), Some("timeit"));
        assert_eq!(nearest("nonsense", COLON), None);
    }

    #[test]
    fn distances_count_single_changes() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acbd"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ba", "ab"), 1);
    }
}
