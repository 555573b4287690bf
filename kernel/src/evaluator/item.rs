//! Owns reading one item of a cell: what it defines, what later cells need to know of it, and where it is made public.

use std::{collections::BTreeSet, ops::Range};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Fields, ForeignItem, ImplItem, Item, ItemImpl, StmtMacro, TraitItem, Type, Visibility, spanned::Spanned,
};

use super::split::mentioned;

/// What kind of thing a name stands for, as far as later cells treat it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Type,
    Trait,
    /// Has a value of its own, which begins anew when the item is compiled again.
    Static,
    /// Functions, constants, modules: only their text matters.
    Other,
}

/// An `impl` block.
#[derive(Clone, Debug)]
pub struct Implementation {
    /// The name of the type it is for, if that is a path.
    pub of: Option<String>,
    /// The last word of the trait's path.
    pub of_trait: Option<String>,
    /// Every other name in the header.
    pub header_names: BTreeSet<String>,
    /// The header without its spaces, to tell whether another block is for the same.
    pub header: String,
    /// What it defines, with the bytes of it in the part's own text.
    pub members: Vec<(String, Range<usize>)>,
}

/// An item as a cell wrote it.
#[derive(Clone, Debug)]
pub struct Part {
    pub range: Range<usize>,
    pub names: Vec<String>,
    pub kind: Kind,
    pub implementation: Option<Implementation>,
    /// Names of a trait's methods, which are used without naming the trait.
    pub methods: Vec<String>,
    /// Every identifier in it.
    pub mentioned: BTreeSet<String>,
    /// Its tokens without documentation and derives: equal shapes of types have equal layouts.
    pub shape: String,
    /// Its layout may depend on more than the definitions it names.
    pub depends_on_impls: bool,
}

/// Reads `item`, which stands at `range` of `text`.
pub fn part(
    item: &Item,
    text: &str,
    range: Range<usize>,
    insertions: &mut Vec<(usize, &'static str)>,
) -> Part {
    publish(item, insertions);
    let (mut names, kind) = names_and_kind(item);
    let mut bare = item.clone();
    if attributes(&mut bare).is_some_and(|attributes| attributes.iter().any(is_for_tests)) {
        names.clear();
    }
    if let Some(attributes) = attributes(&mut bare) {
        attributes.retain(|attribute| {
            !["doc", "derive", "allow", "serde"].iter().any(|name| attribute.path().is_ident(name))
        });
    }
    let tokens = item.to_token_stream();
    Part {
        names,
        kind,
        implementation: match item {
            Item::Impl(block) => Some(implementation(block, text, range.start)),
            _ => None,
        },
        methods: match item {
            Item::Trait(t) => t.items.iter().filter_map(method_name).collect(),
            _ => Vec::new(),
        },
        depends_on_impls: kind == Kind::Type && depends_on_impls(tokens.clone()),
        mentioned: mentioned(tokens),
        shape: bare.to_token_stream().to_string(),
        range,
    }
}

/// Reads a `thread_local!` block: its variables are items, though it is written as a statement.
pub fn thread_local(
    statement: &StmtMacro,
    range: Range<usize>,
    insertions: &mut Vec<(usize, &'static str)>,
) -> Part {
    let mut names = Vec::new();
    let mut before: Option<TokenTree> = None;
    let mut tokens = statement.mac.tokens.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        if let TokenTree::Ident(word) = &token
            && word == "static"
            && let Some(TokenTree::Ident(name)) = tokens.peek()
        {
            names.push(name.to_string());
            let public = matches!(&before, Some(TokenTree::Ident(word)) if word == "pub");
            if !public {
                insertions.push((word.span().byte_range().start, "pub "));
            }
        }
        before = Some(token);
    }
    let tokens = statement.to_token_stream();
    Part {
        range,
        names,
        kind: Kind::Static,
        implementation: None,
        methods: Vec::new(),
        shape: tokens.to_string(),
        mentioned: mentioned(tokens),
        depends_on_impls: false,
    }
}

fn method_name(item: &TraitItem) -> Option<String> {
    match item {
        TraitItem::Fn(f) => Some(f.sig.ident.to_string()),
        TraitItem::Const(c) => Some(c.ident.to_string()),
        TraitItem::Type(t) => Some(t.ident.to_string()),
        _ => None,
    }
}

fn names_and_kind(item: &Item) -> (Vec<String>, Kind) {
    let (name, kind) = match item {
        Item::Fn(f) => (&f.sig.ident, Kind::Other),
        Item::Struct(s) => (&s.ident, Kind::Type),
        Item::Enum(e) => (&e.ident, Kind::Type),
        Item::Union(u) => (&u.ident, Kind::Type),
        Item::Type(t) => (&t.ident, Kind::Type),
        Item::Trait(t) => (&t.ident, Kind::Trait),
        Item::Static(s) => (&s.ident, Kind::Static),
        Item::Const(c) if c.ident != "_" => (&c.ident, Kind::Other),
        Item::Mod(m) => (&m.ident, Kind::Other),
        Item::ForeignMod(block) => {
            let names = block.items.iter().filter_map(|item| match item {
                ForeignItem::Fn(f) => Some(f.sig.ident.to_string()),
                ForeignItem::Static(s) => Some(s.ident.to_string()),
                _ => None,
            });
            return (names.collect(), Kind::Other);
        }
        _ => return (Vec::new(), Kind::Other),
    };
    (vec![name.to_string()], kind)
}

fn implementation(block: &ItemImpl, text: &str, start: usize) -> Implementation {
    let mut header_names = mentioned(block.self_ty.to_token_stream());
    let mut header = format!("{}{}", block.generics.to_token_stream(), block.self_ty.to_token_stream());
    if let Some(bounds) = &block.generics.where_clause {
        header.push_str(&bounds.to_token_stream().to_string());
    }
    let mut of_trait = None;
    if let Some((_, path, _)) = &block.trait_ {
        of_trait = path.segments.last().map(|segment| segment.ident.to_string());
        header_names.extend(mentioned(path.to_token_stream()));
        // `fmt::Display` and `Display` are the same in all likelihood.
        let last =
            path.segments.last().map(|segment| segment.to_token_stream().to_string()).unwrap_or_default();
        header = format!("{last} for {header}");
    }
    let members = block
        .items
        .iter()
        .filter_map(|member| {
            let name = match member {
                ImplItem::Fn(f) => f.sig.ident.to_string(),
                ImplItem::Const(c) => c.ident.to_string(),
                ImplItem::Type(t) => t.ident.to_string(),
                _ => return None,
            };
            let range = member.span().byte_range();
            debug_assert!(range.end <= text.len());
            Some((name, range.start - start..range.end - start))
        })
        .collect();
    let of = match &*block.self_ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::TraitObject(object) => {
            mentioned(object.to_token_stream()).into_iter().find(|word| word != "dyn")
        }
        _ => None,
    };
    Implementation { of, of_trait, header_names, header: header.replace(' ', ""), members }
}

/// Whether a type's layout may follow from an `impl`: a projection such as `T::Item`, or a computed array length.
fn depends_on_impls(tokens: TokenStream) -> bool {
    let mut before: Option<TokenTree> = None;
    for token in tokens {
        match &token {
            TokenTree::Ident(word) if word == "as" => return true,
            // `T::…`: a parameter's own type. Modules, which may stand there too, are written small.
            TokenTree::Punct(colon)
                if colon.as_char() == ':' && colon.spacing() == proc_macro2::Spacing::Joint =>
            {
                if matches!(&before, Some(TokenTree::Ident(word)) if word.to_string().starts_with(char::is_uppercase))
                {
                    return true;
                }
            }
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let length =
                    inner.iter().rposition(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ';'));
                let is_array = group.delimiter() == proc_macro2::Delimiter::Bracket;
                if is_array && length.is_some_and(|at| inner.len() > at + 2)
                    || depends_on_impls(group.stream())
                {
                    return true;
                }
            }
            _ => {}
        }
        before = Some(token);
    }
    false
}

/// `#[cfg(test)]`: the compiler leaves the item out, so no later cell can have it.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
}

fn attributes(item: &mut Item) -> Option<&mut Vec<syn::Attribute>> {
    Some(match item {
        Item::Fn(i) => &mut i.attrs,
        Item::Struct(i) => &mut i.attrs,
        Item::Enum(i) => &mut i.attrs,
        Item::Union(i) => &mut i.attrs,
        Item::Type(i) => &mut i.attrs,
        Item::Trait(i) => &mut i.attrs,
        Item::Const(i) => &mut i.attrs,
        Item::Mod(i) => &mut i.attrs,
        _ => return None,
    })
}

/// Items, fields and methods become public, so that later cells reach them.
fn publish(item: &Item, insertions: &mut Vec<(usize, &'static str)>) {
    let mut public = |vis: &Visibility, span: proc_macro2::Span| {
        if matches!(vis, Visibility::Inherited) {
            insertions.push((span.byte_range().start, "pub "));
        }
    };
    match item {
        Item::Fn(f) => {
            public(&f.vis, f.sig.span());
            // The compiler leaves test functions out of what is not a test; in a notebook they are there to be called.
            for attribute in f.attrs.iter().filter(|attribute| attribute.path().is_ident("test")) {
                let word = attribute.path().span().byte_range();
                insertions.extend([(word.start, "cfg_attr(any(), "), (word.end, ")")]);
            }
        }
        Item::ForeignMod(block) => {
            for part in &block.items {
                match part {
                    ForeignItem::Fn(f) => public(&f.vis, f.sig.span()),
                    ForeignItem::Static(s) => public(&s.vis, s.static_token.span()),
                    _ => {}
                }
            }
        }
        Item::Struct(s) => {
            serde_path(&s.attrs, &s.vis, s.struct_token.span(), insertions);
            fields(&s.fields, insertions);
        }
        Item::Enum(e) => serde_path(&e.attrs, &e.vis, e.enum_token.span(), insertions),
        Item::Trait(t) => public(&t.vis, t.unsafety.map_or(t.trait_token.span(), |token| token.span())),
        Item::Const(c) => public(&c.vis, c.const_token.span()),
        Item::Static(s) => public(&s.vis, s.static_token.span()),
        Item::Type(t) => public(&t.vis, t.type_token.span()),
        Item::Mod(m) => public(&m.vis, m.unsafety.map_or(m.mod_token.span(), |token| token.span())),
        Item::Union(u) => public(&u.vis, u.union_token.span()),
        Item::Impl(block) if block.trait_.is_none() => {
            for part in &block.items {
                match part {
                    ImplItem::Fn(f) => public(&f.vis, f.sig.span()),
                    ImplItem::Const(c) => public(&c.vis, c.const_token.span()),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn fields(fields: &Fields, insertions: &mut Vec<(usize, &'static str)>) {
    for field in fields {
        if matches!(field.vis, Visibility::Inherited) {
            let at = field.ident.as_ref().map_or_else(|| field.ty.span(), |ident| ident.span());
            insertions.push((at.byte_range().start, "pub "));
        }
    }
}

/// Makes a type public. Derives of serde look for a crate `serde`, which a cell does not have; the façade has it.
fn serde_path(
    attributes: &[syn::Attribute],
    vis: &Visibility,
    keyword: proc_macro2::Span,
    insertions: &mut Vec<(usize, &'static str)>,
) {
    let derives = attributes.iter().any(|attribute| {
        attribute.path().is_ident("derive")
            && attribute.meta.require_list().is_ok_and(|list| {
                let text = list.tokens.to_string();
                text.contains("Serialize") || text.contains("Deserialize")
            })
    });
    let names_crate = attributes.iter().any(|attribute| {
        attribute.path().is_ident("serde")
            && attribute.meta.require_list().is_ok_and(|l| l.tokens.to_string().contains("crate"))
    });
    let inherited = matches!(vis, Visibility::Inherited);
    let at = if inherited { keyword } else { vis.span() };
    if derives && !names_crate {
        insertions.push((at.byte_range().start, "#[serde(crate = \"nuna::serde\")] "));
    }
    if inherited {
        insertions.push((keyword.byte_range().start, "pub "));
    }
}

#[cfg(test)]
mod tests {
    use crate::evaluator::{item::Kind, split::split};

    #[test]
    fn items_become_public_with_their_fields() {
        let text = "#[derive(Serialize)]\nstruct P { a: f64, pub b: i32 }";
        let cell = split(text).unwrap();
        let put: Vec<_> = cell.insertions.iter().map(|(at, what)| (&text[*at..*at + 1], *what)).collect();
        assert_eq!(put, [("s", "#[serde(crate = \"nuna::serde\")] "), ("s", "pub "), ("a", "pub ")]);
    }

    #[test]
    fn an_implementation_tells_what_it_is_for() {
        let text = "impl fmt::Display for Grid<f64> { fn fmt(&self) {} }";
        let cell = split(text).unwrap();
        let block = cell.items[0].implementation.as_ref().unwrap();
        assert_eq!((block.of.as_deref(), block.of_trait.as_deref()), (Some("Grid"), Some("Display")));
        assert_eq!(block.header, "DisplayforGrid<f64>");
        assert_eq!(&text[block.members[0].1.clone()], "fn fmt(&self) {}");
    }

    #[test]
    fn shapes_ignore_derives_and_see_fields() {
        let shape = |text: &str| split(text).unwrap().items[0].shape.clone();
        assert_eq!(shape("struct P { a: f64 }"), shape("/// A point.\n#[derive(Debug)] struct P { a: f64 }"));
        assert_ne!(shape("struct P { a: f64 }"), shape("struct P { a: f32 }"));
    }

    #[test]
    fn layouts_that_follow_from_impls_are_seen() {
        let depends = |text: &str| split(text).unwrap().items[0].depends_on_impls;
        assert!(depends("struct W<T: Tr> { x: T::Item }"));
        assert!(depends("struct W { x: <f64 as Tr>::Item }"));
        assert!(depends("struct W { x: [u8; f(3)] }"));
        assert!(!depends("struct W<T> { x: std::vec::Vec<T>, y: [u8; 3] }"));
    }

    #[test]
    fn thread_locals_are_items() {
        let cell = split("thread_local! { static A: u8 = const { 1 }; pub static B: u8 = 2; }").unwrap();
        assert_eq!(
            (cell.items[0].names.clone(), cell.items[0].kind),
            (vec!["A".to_owned(), "B".to_owned()], Kind::Static)
        );
        assert_eq!(cell.insertions.len(), 1);
    }
}
