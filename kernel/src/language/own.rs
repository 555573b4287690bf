//! Owns what cells define: their types with fields and methods, functions, traits and modules, read from the cells' own
//! text. Also reads cells that are still being typed, as far as their items are whole.

use proc_macro2::Span;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, Signature, TraitItem, spanned::Spanned};

use super::index::Kind;

#[derive(Clone, Debug)]
pub struct OwnItem {
    /// Without a crate: `P`, or `geometry::P` within a module.
    pub path: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: String,
    pub source: String,
    pub members: Vec<OwnMember>,
    /// Names of derived traits.
    pub derives: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct OwnMember {
    pub name: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: String,
    pub source: String,
}

/// An `impl` block.
#[derive(Clone, Debug)]
pub struct OwnImpl {
    /// Up to its brace.
    pub header: String,
    /// Last word of the trait's path.
    pub of_trait: Option<String>,
    pub members: Vec<OwnMember>,
    /// For `Deref`.
    pub target: Option<String>,
}

/// Items of all cells, the latest last.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pub items: Vec<OwnItem>,
    pub impls: Vec<OwnImpl>,
}

impl Own {
    /// The latest item at `path`.
    pub fn item(&self, path: &str) -> Option<&OwnItem> {
        self.items.iter().rev().find(|item| item.path == path)
    }

    /// What module `path` holds; the items of the notebook for an empty one.
    pub fn inside(&self, path: &str) -> Vec<(&str, &OwnItem)> {
        let start = if path.is_empty() { String::new() } else { format!("{path}::") };
        let mut found: Vec<(&str, &OwnItem)> = Vec::new();
        for item in self.items.iter().rev() {
            if let Some(name) = item.path.strip_prefix(&start)
                && !name.contains("::")
                && !found.iter().any(|(own, _)| *own == name)
            {
                found.push((name, item));
            }
        }
        found
    }

    /// Reads the items and `impl` blocks of `text`, which is a whole item or a whole cell; what is not Rust has none.
    pub fn read(&mut self, text: &str) {
        let Ok(block) = syn::parse::Parser::parse_str(syn::Block::parse_within, text) else { return };
        for statement in &block {
            if let syn::Stmt::Item(item) = statement {
                self.item_of(item, text, "");
            }
        }
    }

    fn item_of(&mut self, item: &Item, text: &str, module: &str) {
        let of = |span: Span| text.get(span.byte_range()).unwrap_or_default().to_owned();
        let path = |name: &syn::Ident| {
            if module.is_empty() { name.to_string() } else { format!("{module}::{name}") }
        };
        let source = of(item.span());
        let mut make = |name: &syn::Ident, kind, signature: String, attributes: &[Attribute], members| {
            self.items.push(OwnItem {
                path: path(name),
                kind,
                signature,
                docs: docs(attributes),
                source: source.clone(),
                members,
                derives: derives(attributes),
            });
        };
        match item {
            Item::Fn(f) => make(&f.sig.ident, Kind::Function, signature(&f.sig, text), &f.attrs, Vec::new()),
            Item::Struct(s) => {
                let bare = bare(item, text);
                make(&s.ident, Kind::Struct, bare, &s.attrs, fields(&s.fields, text));
            }
            Item::Union(u) => {
                let fields = Fields::Named(u.fields.clone());
                make(&u.ident, Kind::Union, bare(item, text), &u.attrs, fields_of(&fields, text));
            }
            Item::Enum(e) => {
                let variants = e.variants.iter().map(|variant| OwnMember {
                    name: variant.ident.to_string(),
                    kind: Kind::Variant,
                    signature: without_attributes(&of(variant.span()), &variant.attrs, text),
                    docs: docs(&variant.attrs),
                    source: of(variant.span()),
                });
                make(&e.ident, Kind::Enum, bare(item, text), &e.attrs, variants.collect());
            }
            Item::Trait(t) => {
                let members = t.items.iter().filter_map(|member| trait_member(member, text)).collect();
                make(&t.ident, Kind::Trait, bare(item, text), &t.attrs, members);
            }
            Item::Type(t) => make(&t.ident, Kind::TypeAlias, bare(item, text), &t.attrs, Vec::new()),
            Item::Const(c) => make(&c.ident, Kind::Constant, bare(item, text), &c.attrs, Vec::new()),
            Item::Static(s) => make(&s.ident, Kind::Static, bare(item, text), &s.attrs, Vec::new()),
            Item::Macro(m) => {
                if let Some(name) = &m.ident {
                    make(name, Kind::Macro, format!("macro_rules! {name}"), &m.attrs, Vec::new());
                }
            }
            Item::Mod(m) => {
                make(&m.ident, Kind::Module, format!("mod {}", m.ident), &m.attrs, Vec::new());
                let inner = path(&m.ident);
                for item in m.content.iter().flat_map(|(_, items)| items) {
                    self.item_of(item, text, &inner);
                }
            }
            Item::Impl(block) => self.impls.push(implementation(block, text)),
            _ => {}
        }
    }
}

fn implementation(block: &ItemImpl, text: &str) -> OwnImpl {
    let of = |span: Span| text.get(span.byte_range()).unwrap_or_default().to_owned();
    let start = block.impl_token.span().byte_range().start;
    let end = block.brace_token.span.open().byte_range().start;
    let mut target = None;
    let members = block.items.iter().filter_map(|member| match member {
        ImplItem::Fn(f) => Some(OwnMember {
            name: f.sig.ident.to_string(),
            kind: function_kind(&f.sig),
            signature: signature(&f.sig, text),
            docs: docs(&f.attrs),
            source: of(f.span()),
        }),
        ImplItem::Const(c) => Some(OwnMember {
            name: c.ident.to_string(),
            kind: Kind::AssociatedConstant,
            signature: format!("const {}: {}", c.ident, of(c.ty.span())),
            docs: docs(&c.attrs),
            source: of(c.span()),
        }),
        ImplItem::Type(t) => {
            if t.ident == "Target" {
                target = Some(of(t.ty.span()));
            }
            Some(OwnMember {
                name: t.ident.to_string(),
                kind: Kind::AssociatedType,
                signature: format!("type {} = {}", t.ident, of(t.ty.span())),
                docs: docs(&t.attrs),
                source: of(t.span()),
            })
        }
        _ => None,
    });
    let members = members.collect();
    OwnImpl {
        header: text.get(start..end).unwrap_or_default().trim().to_owned(),
        of_trait: block
            .trait_
            .as_ref()
            .and_then(|(_, path, _)| path.segments.last().map(|segment| segment.ident.to_string())),
        members,
        target,
    }
}

fn trait_member(member: &TraitItem, text: &str) -> Option<OwnMember> {
    let source = text.get(member.span().byte_range()).unwrap_or_default().to_owned();
    let (name, kind, signature, attributes) = match member {
        TraitItem::Fn(f) => (&f.sig.ident, function_kind(&f.sig), signature(&f.sig, text), &f.attrs),
        TraitItem::Const(c) => (&c.ident, Kind::AssociatedConstant, format!("const {}", c.ident), &c.attrs),
        TraitItem::Type(t) => (&t.ident, Kind::AssociatedType, format!("type {}", t.ident), &t.attrs),
        _ => return None,
    };
    Some(OwnMember { name: name.to_string(), kind, signature, docs: docs(attributes), source })
}

fn function_kind(signature: &Signature) -> Kind {
    if signature.receiver().is_some() { Kind::Method } else { Kind::AssociatedFunction }
}

fn fields(fields: &Fields, text: &str) -> Vec<OwnMember> {
    fields_of(fields, text)
}

fn fields_of(fields: &Fields, text: &str) -> Vec<OwnMember> {
    let numbered = fields.iter().enumerate();
    numbered
        .map(|(number, field)| {
            let name = field.ident.as_ref().map_or(number.to_string(), ToString::to_string);
            let ty = text.get(field.ty.span().byte_range()).unwrap_or_default();
            OwnMember {
                kind: Kind::Field,
                signature: format!("{name}: {ty}"),
                docs: docs(&field.attrs),
                source: text.get(field.span().byte_range()).unwrap_or_default().to_owned(),
                name,
            }
        })
        .collect()
}

/// A function without its body, in one line.
fn signature(signature: &Signature, text: &str) -> String {
    let written = text.get(signature.span().byte_range()).unwrap_or_default();
    written.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace(", )", ")")
}

/// An item without its attributes and what is documented within; as it was written.
fn bare(item: &Item, text: &str) -> String {
    let range = item.span().byte_range();
    let written = text.get(range).unwrap_or_default();
    let lines = written.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("///") && !line.starts_with("#[") && !line.starts_with("//")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn without_attributes(written: &str, attributes: &[Attribute], text: &str) -> String {
    let mut rest = written;
    for attribute in attributes {
        let own = text.get(attribute.span().byte_range()).unwrap_or_default();
        rest = rest.trim_start().strip_prefix(own).unwrap_or(rest);
    }
    rest.trim().to_owned()
}

fn docs(attributes: &[Attribute]) -> String {
    let mut out = String::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &pair.value
        {
            let line = line.value();
            out.push_str(line.strip_prefix(' ').unwrap_or(&line));
            out.push('\n');
        }
    }
    out.trim_end().to_owned()
}

fn derives(attributes: &[Attribute]) -> Vec<String> {
    let mut out = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        // A derive that cannot be read derives nothing that is known.
        let _ = attribute.parse_nested_meta(|meta| {
            out.extend(meta.path.segments.last().map(|segment| segment.ident.to_string()));
            Ok(())
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_with_their_members() {
        let mut own = Own::default();
        own.read(
            "/// A place.\n#[derive(Clone, Debug)]\nstruct P {\n    /// Metres.\n    x: f64,\n    pub name: String,\n}\n\
             impl P {\n    /// Twice as far.\n    fn twice(&self, by: f64) -> f64 { self.x * 2.0 }\n    fn new() -> P { todo() }\n}\n\
             impl std::ops::Deref for P { type Target = f64; fn deref(&self) -> &f64 { &self.x } }\n\
             mod geometry { pub struct Q; pub fn area() -> f64 { 1.0 } }\nlet p = 1;",
        );
        let p = own.item("P").unwrap();
        assert_eq!((p.docs.as_str(), p.derives.len(), p.members.len()), ("A place.", 2, 2));
        assert_eq!((p.members[0].signature.as_str(), p.members[0].docs.as_str()), ("x: f64", "Metres."));
        assert!(!p.signature.contains("derive"));
        let twice = &own.impls[0].members[0];
        assert_eq!((twice.signature.as_str(), twice.kind), ("fn twice(&self, by: f64) -> f64", Kind::Method));
        assert_eq!(own.impls[0].members[1].kind, Kind::AssociatedFunction);
        assert_eq!(own.impls[1].target.as_deref(), Some("f64"));
        assert_eq!(own.impls[0].header, "impl P");
        let inside: Vec<&str> = own.inside("geometry").into_iter().map(|(name, _)| name).collect();
        assert_eq!(inside, ["area", "Q"]);
    }
}
