//! Owns `use` lines: which names they bring, and each of them as a line of its own, so that a later cell can take one
//! name over without losing the others.

use syn::{ItemUse, UseTree, spanned::Spanned};

/// One name that a `use` line brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// None for `*` and for `as _`, which shadow nothing.
    pub name: Option<String>,
    /// A line that brings this name alone.
    pub line: String,
    /// The first word of the path, which may be an item of a cell.
    pub root: String,
}

/// Adds what `line` brings; `text` is its own text, from its first attribute on.
pub fn imports(line: &ItemUse, text: &str, out: &mut Vec<Import>) {
    let start = line.span().byte_range().start;
    // Attributes and visibility are repeated as they are written.
    let before = &text[..line.use_token.span().byte_range().start.saturating_sub(start).min(text.len())];
    let lead = if line.leading_colon.is_some() { "::" } else { "" };
    walk(&line.tree, &mut Vec::new(), before.trim(), lead, out);
}

fn walk(tree: &UseTree, path: &mut Vec<String>, before: &str, lead: &str, out: &mut Vec<Import>) {
    let mut add = |path: &[String], end: &str, name: Option<String>| {
        let root = path.first().cloned().unwrap_or_default();
        let space = if before.is_empty() { "" } else { " " };
        out.push(Import { name, line: format!("{before}{space}use {lead}{}{end};", path.join("::")), root });
    };
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            walk(&step.tree, path, before, lead, out);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, path, before, lead, out)),
        UseTree::Glob(_) => add(path, if path.is_empty() { "*" } else { "::*" }, None),
        UseTree::Name(name) if name.ident == "self" => add(path, "", path.last().cloned()),
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            add(path, "", path.last().cloned());
            path.pop();
        }
        UseTree::Rename(rename) => {
            let itself = rename.ident == "self";
            if !itself {
                path.push(rename.ident.to_string());
            }
            let name = rename.rename.to_string();
            add(path, &format!(" as {name}"), (name != "_").then_some(name.clone()));
            if !itself {
                path.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_names_becomes_lines() {
        let text = "use std::{fmt::{self, Display as Show}, io::{Write as _, *}};";
        let mut found = Vec::new();
        imports(&syn::parse_str(text).unwrap(), text, &mut found);
        let lines: Vec<_> =
            found.iter().map(|import| (import.name.as_deref(), import.line.as_str())).collect();
        assert_eq!(
            lines,
            [
                (Some("fmt"), "use std::fmt;"),
                (Some("Show"), "use std::fmt::Display as Show;"),
                (None, "use std::io::Write as _;"),
                (None, "use std::io::*;"),
            ]
        );
    }
}
