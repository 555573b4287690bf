//! Owns reading a cell: which parts of its text are items, `use` lines, macros, statements and a last expression,
//! and which names it binds. Positions stay those of the cell, so that the compiler's spans need no guessing.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Fields, ImplItem, Item, Local, Pat, Stmt, Visibility, parse::Parser, spanned::Spanned, visit::Visit};

/// A cell taken apart. Ranges are bytes of its text.
#[derive(Debug, Default)]
pub struct Cell {
    pub items: Vec<ItemPart>,
    /// Repeated in every later cell.
    pub uses: Vec<String>,
    pub macros: Vec<(String, String)>,
    pub statements: Vec<std::ops::Range<usize>>,
    pub last: Option<std::ops::Range<usize>>,
    /// New variables in order; a type where the cell wrote one.
    pub bound: Vec<(String, Option<String>)>,
    /// Every identifier in the text, strings included, since `println!("{x}")` reads `x`.
    pub mentioned: BTreeSet<String>,
    pub has_await: bool,
    /// Closures and functions are what the workers run, so such a cell is optimised.
    pub has_closures: bool,
}

#[derive(Debug)]
pub struct ItemPart {
    pub range: std::ops::Range<usize>,
    /// Name to import in later cells; none for `impl` blocks.
    pub name: Option<String>,
    /// Text to put in at these bytes: visibility, and where `serde` is found.
    pub insertions: Vec<(usize, &'static str)>,
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
        let message = if error.to_string().contains("cannot parse") { "this is not Rust: a quote or bracket has no partner".to_owned() } else { error.to_string() };
        SyntaxError { message, line: at.line, column: at.column + 1, at_end: unbalanced(text) }
    })?;
    let mut cell = Cell::default();
    mention(tokens.clone(), &mut cell.mentioned);
    let statements = syn::Block::parse_within.parse2(tokens).map_err(|error| {
        let at = error.span().start();
        let at_end = error.to_string().contains("unexpected end of input");
        SyntaxError { message: error.to_string(), line: at.line, column: at.column + 1, at_end }
    })?;
    let count = statements.len();
    for (index, statement) in statements.iter().enumerate() {
        let range = statement.span().byte_range();
        Closures(&mut cell.has_closures, &mut cell.has_await).visit_stmt(statement);
        match statement {
            Stmt::Item(Item::Use(_)) => cell.uses.push(text[range].to_owned()),
            Stmt::Item(Item::Macro(item)) if item.ident.is_some() => {
                let name = item.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                cell.macros.push((name, text[range].to_owned()));
            }
            Stmt::Item(item) => cell.items.push(item_part(item, range)),
            Stmt::Local(local) => {
                bindings(local, text, &mut cell.bound);
                cell.statements.push(range);
            }
            Stmt::Expr(_, None) if index + 1 == count => cell.last = Some(range),
            Stmt::Macro(m) if m.semi_token.is_none() && index + 1 == count => cell.last = Some(range),
            Stmt::Expr(..) | Stmt::Macro(_) => cell.statements.push(range),
        }
    }
    cell.has_closures |= cell.items.iter().any(|item| item.name.is_some());
    // A later binding of a name wins.
    let mut seen = BTreeSet::new();
    let mut bound: Vec<_> = cell.bound.drain(..).rev().filter(|(name, _)| seen.insert(name.clone())).collect();
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
        let ty = &text[typed.ty.span().byte_range()];
        let is_whole = !ty.contains('_') && !ty.contains("impl ") && !ty.contains('&');
        bound.push((ident.ident.to_string(), is_whole.then(|| ty.to_owned())));
        return;
    }
    struct Names<'a>(&'a mut Vec<(String, Option<String>)>);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            // An upper-case name in a pattern is a constant or a unit variant.
            let name = pattern.ident.to_string();
            if name.starts_with(|c: char| c.is_lowercase() || c == '_') {
                self.0.push((name, None));
            }
            syn::visit::visit_pat_ident(self, pattern);
        }

        fn visit_expr(&mut self, _: &'ast syn::Expr) {}
    }
    Names(bound).visit_pat(&local.pat);
}

fn item_part(item: &Item, range: std::ops::Range<usize>) -> ItemPart {
    let mut insertions = Vec::new();
    let public = |vis: &Visibility, at: usize, insertions: &mut Vec<(usize, &'static str)>| {
        if matches!(vis, Visibility::Inherited) {
            insertions.push((at, "pub "));
        }
    };
    let start = |spanned: &dyn Fn() -> proc_macro2::Span| spanned().byte_range().start;
    let name = match item {
        Item::Fn(f) => {
            public(&f.vis, start(&|| f.sig.span()), &mut insertions);
            Some(f.sig.ident.to_string())
        }
        Item::Struct(s) => {
            serde_path(&s.attrs, s.vis.span().byte_range().start.min(s.struct_token.span().byte_range().start), &s.vis, s.struct_token.span().byte_range().start, &mut insertions);
            public(&s.vis, start(&|| s.struct_token.span()), &mut insertions);
            fields(&s.fields, &mut insertions);
            Some(s.ident.to_string())
        }
        Item::Enum(e) => {
            serde_path(&e.attrs, e.vis.span().byte_range().start, &e.vis, e.enum_token.span().byte_range().start, &mut insertions);
            public(&e.vis, start(&|| e.enum_token.span()), &mut insertions);
            Some(e.ident.to_string())
        }
        Item::Trait(t) => {
            let at = t.unsafety.map_or(t.trait_token.span(), |token| token.span()).byte_range().start;
            public(&t.vis, at, &mut insertions);
            Some(t.ident.to_string())
        }
        Item::Const(c) => {
            public(&c.vis, start(&|| c.const_token.span()), &mut insertions);
            Some(c.ident.to_string())
        }
        Item::Static(s) => {
            public(&s.vis, start(&|| s.static_token.span()), &mut insertions);
            Some(s.ident.to_string())
        }
        Item::Type(t) => {
            public(&t.vis, start(&|| t.type_token.span()), &mut insertions);
            Some(t.ident.to_string())
        }
        Item::Mod(m) => {
            public(&m.vis, start(&|| m.mod_token.span()), &mut insertions);
            Some(m.ident.to_string())
        }
        Item::Union(u) => {
            public(&u.vis, start(&|| u.union_token.span()), &mut insertions);
            Some(u.ident.to_string())
        }
        Item::Impl(block) => {
            if block.trait_.is_none() {
                for part in &block.items {
                    match part {
                        ImplItem::Fn(f) => public(&f.vis, start(&|| f.sig.span()), &mut insertions),
                        ImplItem::Const(c) => public(&c.vis, start(&|| c.const_token.span()), &mut insertions),
                        _ => {}
                    }
                }
            }
            None
        }
        _ => None,
    };
    insertions.sort_by_key(|(at, _)| *at);
    ItemPart { range, name, insertions }
}

fn fields(fields: &Fields, insertions: &mut Vec<(usize, &'static str)>) {
    for field in fields {
        if matches!(field.vis, Visibility::Inherited) {
            let at = field.ident.as_ref().map_or_else(|| field.ty.span(), |ident| ident.span());
            insertions.push((at.byte_range().start, "pub "));
        }
    }
}

/// Derives of serde look for a crate `serde`, which a cell does not have; the façade re-exports it.
fn serde_path(attributes: &[syn::Attribute], at_visibility: usize, vis: &Visibility, at_keyword: usize, insertions: &mut Vec<(usize, &'static str)>) {
    let derives = attributes.iter().any(|attribute| {
        attribute.path().is_ident("derive")
            && attribute.meta.require_list().is_ok_and(|list| {
                let text = list.tokens.to_string();
                text.contains("Serialize") || text.contains("Deserialize")
            })
    });
    let names_crate = attributes.iter().any(|attribute| {
        attribute.path().is_ident("serde") && attribute.meta.require_list().is_ok_and(|l| l.tokens.to_string().contains("crate"))
    });
    if derives && !names_crate {
        let at = if matches!(vis, Visibility::Inherited) { at_keyword } else { at_visibility };
        insertions.push((at, "#[serde(crate = \"nuna::serde\")] "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_comes_apart() {
        let text = "use std::fmt;\nfn f(x: i32) -> i32 { x }\nlet a = 1; let (b, mut c) = (2, 3);\nlet d: Vec<f64> = vec![];\nprintln!(\"{e}\");\na + b";
        let cell = split(text).unwrap();
        assert_eq!(cell.uses, ["use std::fmt;"]);
        assert_eq!(cell.items[0].name.as_deref(), Some("f"));
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

    #[test]
    fn items_become_public_with_their_fields() {
        let text = "#[derive(Serialize)]\nstruct P { a: f64, pub b: i32 }";
        let part = &split(text).unwrap().items[0];
        let put: Vec<_> = part.insertions.iter().map(|(at, what)| (&text[*at..*at + 1], *what)).collect();
        assert_eq!(put, [("s", "#[serde(crate = \"nuna::serde\")] "), ("s", "pub "), ("a", "pub ")]);
    }
}
