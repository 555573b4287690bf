//! Owns reading a cell: which parts of its text are items, `use` lines, macros, statements and a last expression,
//! and which names it binds. Positions stay those of the cell, so that the compiler's spans need no guessing.
//! How an item is read is in `item`, where a loop looks for an interrupt in `loops`.

use std::{collections::BTreeSet, ops::Range};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, Local, Pat, Stmt, parse::Parser, spanned::Spanned, visit::Visit};

use super::{
    item::{self, Part},
    loops, nesting,
    uses::{self, Import},
};

/// A cell taken apart. Ranges are bytes of its text.
#[derive(Debug, Default)]
pub struct Cell {
    /// `#![…]` at the top, which hold for later cells too.
    pub attributes: Vec<Range<usize>>,
    pub items: Vec<Part>,
    pub uses: Vec<Range<usize>>,
    /// Each name that the `use` lines bring, on a line of its own.
    pub imports: Vec<Import>,
    pub macros: Vec<(String, Range<usize>)>,
    pub statements: Vec<Statement>,
    /// Every identifier in the text, strings included, since `println!("{x}")` reads `x`.
    pub mentioned: BTreeSet<String>,
    /// A `return` outside of functions and closures ends the whole cell.
    pub has_return: bool,
    /// Closures and functions are what the workers run, so such a cell is optimised.
    pub has_closures: bool,
    /// Text to put in at these bytes, in ascending order: visibility, where `serde` is found, looks for an interrupt.
    pub insertions: Vec<(usize, &'static str)>,
    /// The last statement is run many times, and how long it takes is the cell's result.
    pub is_timed: bool,
}

/// A statement, or the last expression.
#[derive(Debug)]
pub struct Statement {
    pub range: Range<usize>,
    /// New variables in order.
    pub bound: Vec<Binding>,
    pub mentioned: BTreeSet<String>,
    pub has_await: bool,
    /// It is the last expression, whose value is the cell's result.
    pub is_result: bool,
}

/// A variable that a `let` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub name: String,
    pub is_mutable: bool,
    /// Its type, where the cell wrote one.
    pub ty: Option<String>,
}

impl Cell {
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
            && self.items.is_empty()
            && self.uses.is_empty()
            && self.macros.is_empty()
            && self.statements.is_empty()
    }

    /// Has the last statement timed. False if there is none that makes sense to repeat.
    pub fn time_last_statement(&mut self) -> bool {
        let Some(last) = self.statements.last_mut().filter(|last| last.bound.is_empty() && !last.has_await)
        else {
            return false;
        };
        last.is_result = true;
        self.is_timed = true;
        // Nobody asks how long unoptimised code takes.
        self.has_closures = true;
        !self.has_return
    }

    /// Each new variable, with the number of its statement.
    pub fn bound(&self) -> impl Iterator<Item = (usize, &Binding)> {
        let numbered = self.statements.iter().enumerate();
        numbered.flat_map(|(number, statement)| statement.bound.iter().map(move |binding| (number, binding)))
    }

    /// Whether a statement behind number `statement` mentions variable `name`.
    pub fn uses_behind(&self, statement: usize, name: &str) -> bool {
        self.statements.iter().skip(statement + 1).any(|later| later.mentioned.contains(name))
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
    if let Some(at) = nesting::too_deep(tokens.clone()) {
        let message =
            format!("this is nested more than {} deep, which the compiler does not read", nesting::DEPTH_MAX);
        return Err(SyntaxError { message, line: at.line, column: at.column + 1, at_end: false });
    }
    let mut cell = Cell { mentioned: mentioned(tokens.clone()), ..Cell::default() };
    let whole = |input: syn::parse::ParseStream<'_>| {
        Ok((input.call(syn::Attribute::parse_inner)?, syn::Block::parse_within(input)?))
    };
    let (attributes, statements) = whole.parse2(tokens).map_err(|error| {
        let at = error.span().start();
        let at_end = error.to_string().contains("unexpected end of input");
        SyntaxError { message: error.to_string(), line: at.line, column: at.column + 1, at_end }
    })?;
    // `//!` lines are for whoever reads the cell.
    let attributes = attributes.iter().filter(|attribute| !attribute.path().is_ident("doc"));
    cell.attributes = attributes.map(|attribute| attribute.span().byte_range()).collect();
    let count = statements.len();
    for (index, statement) in statements.iter().enumerate() {
        let range = statement.span().byte_range();
        let mut seen = Seen::default();
        seen.visit_stmt(statement);
        cell.has_closures |= seen.closure;
        cell.has_return |= seen.has_return;
        loops::checks(statement, &mut cell.insertions);
        let mut bound = Vec::new();
        match statement {
            Stmt::Item(Item::Use(line)) => {
                uses::imports(line, &text[range.clone()], &mut cell.imports);
                cell.uses.push(range);
                continue;
            }
            Stmt::Item(Item::Macro(item)) if item.ident.is_some() => {
                let name = item.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                cell.macros.push((name, range));
                continue;
            }
            Stmt::Item(found) => {
                cell.items.push(item::part(found, text, range, &mut cell.insertions));
                continue;
            }
            Stmt::Macro(m) if m.mac.path.is_ident("thread_local") => {
                cell.items.push(item::thread_local(m, range, &mut cell.insertions));
                continue;
            }
            Stmt::Local(local) => bindings(local, text, &mut bound),
            Stmt::Expr(..) | Stmt::Macro(_) => {}
        }
        let is_result = index + 1 == count
            && match statement {
                Stmt::Expr(_, semicolon) => semicolon.is_none(),
                Stmt::Macro(m) => m.semi_token.is_none(),
                _ => false,
            };
        let mentioned = mentioned(statement.to_token_stream());
        cell.statements.push(Statement { range, bound, mentioned, has_await: seen.has_await, is_result });
    }
    cell.has_closures |=
        cell.items.iter().any(|item| !item.names.is_empty() || item.implementation.is_some());
    cell.insertions.sort_by_key(|(at, _)| *at);
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

/// What a statement does itself, not what functions and closures in it do when they are called.
#[derive(Default)]
struct Seen {
    closure: bool,
    has_await: bool,
    has_return: bool,
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {
        self.closure = true;
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.has_await = true;
        syn::visit::visit_expr_await(self, expression);
    }

    fn visit_expr_return(&mut self, _: &'ast syn::ExprReturn) {
        self.has_return = true;
    }

    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}

    fn visit_item(&mut self, _: &'ast Item) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // What a macro makes of its words is not known; taking one too many for an `await` does no harm.
        let words = mentioned(call.tokens.clone());
        self.has_await |= words.contains("await");
        self.has_return |= words.contains("return");
    }
}

fn bindings(local: &Local, text: &str, bound: &mut Vec<Binding>) {
    if let Pat::Type(typed) = &local.pat
        && let Pat::Ident(ident) = &*typed.pat
    {
        let ty = text[typed.ty.span().byte_range()].to_owned();
        bound.push(Binding {
            name: ident.ident.to_string(),
            is_mutable: ident.mutability.is_some(),
            ty: Some(ty),
        });
        return;
    }
    struct Names<'a>(&'a mut Vec<Binding>);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            // The one unit variant that a `let … else` names often; every other name is taken for a binding.
            if pattern.ident != "None" {
                let is_mutable = pattern.mutability.is_some() && pattern.by_ref.is_none();
                self.0.push(Binding { name: pattern.ident.to_string(), is_mutable, ty: None });
            }
            syn::visit::visit_pat_ident(self, pattern);
        }

        fn visit_expr(&mut self, _: &'ast syn::Expr) {}
    }
    let from = bound.len();
    Names(bound).visit_pat(&local.pat);
    // `let (A(x) | B(x)) = …` names a variable twice.
    let mut seen = BTreeSet::new();
    let mut at = 0;
    bound.retain(|binding| {
        at += 1;
        at <= from || seen.insert(binding.name.clone())
    });
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
        let bound: Vec<_> =
            cell.bound().map(|(at, made)| (at, made.name.as_str(), made.is_mutable)).collect();
        assert_eq!(bound, [(0, "a", false), (1, "b", false), (1, "c", true), (2, "d", false)]);
        assert_eq!(cell.statements[2].bound[0].ty.as_deref(), Some("Vec<f64>"));
        assert!(cell.mentioned.contains("e"));
        let last = cell.statements.last().unwrap();
        assert!(last.is_result);
        assert_eq!(&text[last.range.clone()], "a + b");
        assert!(cell.uses_behind(0, "a") && !cell.uses_behind(2, "d"));
    }

    #[test]
    fn inner_attributes_are_no_statements() {
        let text = "//! words\n#![allow(unused)]\nlet a = 1;";
        let cell = split(text).unwrap();
        assert_eq!(cell.attributes.len(), 1);
        assert_eq!(&text[cell.attributes[0].clone()], "#![allow(unused)]");
        assert_eq!(cell.statements.len(), 1);
    }

    #[test]
    fn a_semicolon_shows_nothing() {
        assert!(!split("1 + 1;").unwrap().statements[0].is_result);
    }

    #[test]
    fn what_closures_do_later_is_not_the_cells() {
        let seen = |text: &str| {
            let cell = split(text).unwrap();
            (cell.has_return, cell.statements[0].has_await)
        };
        assert_eq!(seen("if x { return Ok(()) }"), (true, false));
        assert_eq!(seen("let f = || { return 1 };"), (false, false));
        assert_eq!(seen("println!(\"{}\", f().await)"), (false, true));
        assert_eq!(seen("let f = async { g().await };"), (false, false));
    }

    #[test]
    fn an_open_bracket_is_at_its_end() {
        assert!(split("let x = (1 +").unwrap_err().at_end);
        assert!(split("let x =").unwrap_err().at_end);
        assert!(!split("let x = );").unwrap_err().at_end);
    }
}
