//! Owns reading a cell: which parts of its text are items, `use` lines, macros, statements and a last expression,
//! and which names it binds. Positions stay those of the cell, so that the compiler's spans need no guessing.
//! How an item is read is in `item`, where a loop looks for an interrupt in `loops`.

use std::{collections::BTreeSet, ops::Range};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Item, Local, Pat, Stmt, parse::Parser, spanned::Spanned, visit::Visit};

use super::{
    item::{self, Part},
    loops,
    uses::{self, Import},
};

/// A cell taken apart. Ranges are bytes of its text.
#[derive(Debug, Default)]
pub struct Cell {
    pub items: Vec<Part>,
    pub uses: Vec<Range<usize>>,
    /// Each name that the `use` lines bring, on a line of its own.
    pub imports: Vec<Import>,
    pub macros: Vec<(String, Range<usize>)>,
    pub statements: Vec<Range<usize>>,
    pub last: Option<Range<usize>>,
    /// New variables in order; a type where the cell wrote one.
    pub bound: Vec<(String, Option<String>)>,
    /// Every identifier in the text, strings included, since `println!("{x}")` reads `x`.
    pub mentioned: BTreeSet<String>,
    pub has_await: bool,
    /// Closures and functions are what the workers run, so such a cell is optimised.
    pub has_closures: bool,
    /// Text to put in at these bytes, in ascending order: visibility, where `serde` is found, looks for an interrupt.
    pub insertions: Vec<(usize, &'static str)>,
}

impl Cell {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
            && self.uses.is_empty()
            && self.macros.is_empty()
            && self.statements.is_empty()
            && self.last.is_none()
    }
}

/// Where a cell stops being Rust: line and column count from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub message: String,
    pub line: usize,
    pub column: usize,
    /// The text ended where more was expected.
    pub at_end: bool,
}

/// Reads a cell.
///
/// # Errors
/// If it is not a sequence of items and statements.
pub fn split(text: &str) -> Result<Cell, SyntaxError> {
    let tokens: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
        let at = error.span().start();
        let message = if error.to_string().contains("cannot parse") {
            "this is not Rust: a quote or bracket has no partner".to_owned()
        } else {
            error.to_string()
        };
        SyntaxError { message, line: at.line, column: at.column + 1, at_end: unbalanced(text) }
    })?;
    let mut cell = Cell { mentioned: mentioned(tokens.clone()), ..Cell::default() };
    let statements = syn::Block::parse_within.parse2(tokens).map_err(|error| {
        let at = error.span().start();
        let at_end = error.to_string().contains("unexpected end of input");
        SyntaxError { message: error.to_string(), line: at.line, column: at.column + 1, at_end }
    })?;
    let count = statements.len();
    for (index, statement) in statements.iter().enumerate() {
        let range = statement.span().byte_range();
        Closures(&mut cell.has_closures, &mut cell.has_await).visit_stmt(statement);
        loops::checks(statement, &mut cell.insertions);
        match statement {
            Stmt::Item(Item::Use(line)) => {
                uses::imports(line, &text[range.clone()], &mut cell.imports);
                cell.uses.push(range);
            }
            Stmt::Item(Item::Macro(item)) if item.ident.is_some() => {
                let name = item.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                cell.macros.push((name, range));
            }
            Stmt::Item(found) => cell.items.push(item::part(found, text, range, &mut cell.insertions)),
            Stmt::Macro(m) if m.mac.path.is_ident("thread_local") => {
                cell.items.push(item::thread_local(m, text, range, &mut cell.insertions));
            }
            Stmt::Local(local) => {
                bindings(local, text, &mut cell.bound);
                cell.statements.push(range);
            }
            Stmt::Expr(_, None) if index + 1 == count => cell.last = Some(range),
            Stmt::Macro(m) if m.semi_token.is_none() && index + 1 == count => cell.last = Some(range),
            Stmt::Expr(..) | Stmt::Macro(_) => cell.statements.push(range),
        }
    }
    cell.has_closures |=
        cell.items.iter().any(|item| !item.names.is_empty() || item.implementation.is_some());
    cell.insertions.sort_by_key(|(at, _)| *at);
    // A later binding of a name wins.
    let mut seen = BTreeSet::new();
    let mut bound: Vec<_> =
        cell.bound.drain(..).rev().filter(|(name, _)| seen.insert(name.clone())).collect();
    bound.reverse();
    cell.bound = bound;
    Ok(cell)
}

/// Whether brackets or quotes are still open at the end of `text`, as far as a scan can tell.
fn unbalanced(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0i64, false, false);
    for line in text.lines() {
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                _ if in_string => {}
                '/' if characters.peek() == Some(&'/') => break,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
    }
    depth > 0 || in_string
}

/// Every identifier in `tokens`, and every word in a string that may be formatted.
pub fn mentioned(tokens: TokenStream) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    mention(tokens, &mut names);
    names
}

fn mention(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
            }
            TokenTree::Group(group) => mention(group.stream(), names),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.contains('{') {
                    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                    names.extend(words.filter(|w| !w.is_empty()).map(str::to_owned));
                }
            }
            TokenTree::Punct(_) => {}
        }
    }
}

struct Closures<'a>(&'a mut bool, &'a mut bool);

impl<'ast> Visit<'ast> for Closures<'_> {
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {
        *self.0 = true;
    }

    fn visit_expr_await(&mut self, _: &'ast syn::ExprAwait) {
        *self.1 = true;
    }

    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}

    fn visit_item(&mut self, _: &'ast Item) {}
}

fn bindings(local: &Local, text: &str, bound: &mut Vec<(String, Option<String>)>) {
    if let Pat::Type(typed) = &local.pat
        && let Pat::Ident(ident) = &*typed.pat
    {
        bound.push((ident.ident.to_string(), Some(text[typed.ty.span().byte_range()].to_owned())));
        return;
    }
    struct Names<'a>(&'a mut Vec<(String, Option<String>)>);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            // The one unit variant that a `let … else` names often; every other name is taken for a binding.
            if pattern.ident != "None" {
                self.0.push((pattern.ident.to_string(), None));
            }
            syn::visit::visit_pat_ident(self, pattern);
        }

        fn visit_expr(&mut self, _: &'ast syn::Expr) {}
    }
    Names(bound).visit_pat(&local.pat);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_comes_apart() {
        let text = "use std::fmt;\nfn f(x: i32) -> i32 { x }\nlet a = 1; let (b, mut c) = (2, 3);\nlet d: Vec<f64> = vec![];\nprintln!(\"{e}\");\na + b";
        let cell = split(text).unwrap();
        assert_eq!(&text[cell.uses[0].clone()], "use std::fmt;");
        assert_eq!(cell.items[0].names, ["f"]);
        let names: Vec<_> = cell.bound.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert_eq!(cell.bound[3].1.as_deref(), Some("Vec<f64>"));
        assert!(cell.mentioned.contains("e"));
        assert_eq!(&text[cell.last.unwrap()], "a + b");
    }

    #[test]
    fn a_semicolon_shows_nothing() {
        assert!(split("1 + 1;").unwrap().last.is_none());
    }

    #[test]
    fn an_open_bracket_is_at_its_end() {
        assert!(split("let x = (1 +").unwrap_err().at_end);
        assert!(split("let x =").unwrap_err().at_end);
        assert!(!split("let x = );").unwrap_err().at_end);
    }
}
