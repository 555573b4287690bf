//! Owns what a value of a type can do: its fields and methods, through references and `Deref`, from libraries and cells.

use quote::ToTokens;
use syn::{Type, TypeParamBound};

use super::{
    index::{Docs, Index, Kind, Member},
    libraries::{Entry, Libraries},
    own::{Own, OwnItem, OwnMember},
    unify,
};

use crate::evaluator::naming;

/// The most steps through `Deref`.
const STEPS_MAX: usize = 8;

/// Where documentation is.
#[derive(Clone)]
pub enum Text<'a> {
    Indexed(&'a Index, Docs),
    Written(String),
}

impl Text<'_> {
    pub fn read(&self) -> String {
        match self {
            Self::Indexed(index, docs) => index.docs(*docs),
            Self::Written(text) => text.clone(),
        }
    }
}

/// Why a type has a member, which is also how near it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    Field,
    Inherent,
    Trait,
    /// For every type of some sort, or what operators stand for: `into`, `borrow`, `add`.
    Noise,
    Deprecated,
}

/// A field, method, variant, constant or type that belongs to a type.
#[derive(Clone)]
pub struct Found<'a> {
    pub name: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: Text<'a>,
    /// Its text, if a cell defined it.
    pub source: Option<String>,
    /// Path of the type or trait that it is of.
    pub of: String,
    pub is_trait: bool,
    pub nearness: Nearness,
    pub step: usize,
}

/// Traits whose methods people reach in other ways, or hardly ever.
const NOISE: &[&str] = &[
    "Any",
    "Borrow",
    "BorrowMut",
    "CloneToUninit",
    "From",
    "Into",
    "TryFrom",
    "TryInto",
    "ToOwned",
    "AsRef",
    "AsMut",
    "Add",
    "AddAssign",
    "Sub",
    "SubAssign",
    "Mul",
    "MulAssign",
    "Div",
    "DivAssign",
    "Rem",
    "RemAssign",
    "Neg",
    "Not",
    "BitAnd",
    "BitAndAssign",
    "BitOr",
    "BitOrAssign",
    "BitXor",
    "BitXorAssign",
    "Shl",
    "ShlAssign",
    "Shr",
    "ShrAssign",
    "Index",
    "IndexMut",
    "Deref",
    "DerefMut",
    "Drop",
    "PartialEq",
    "Eq",
    "PartialOrd",
    "Hash",
    "Hasher",
    "Fn",
    "FnMut",
    "FnOnce",
    "Debug",
    "Display",
    "LowerExp",
    "UpperExp",
    "LowerHex",
    "UpperHex",
    "Octal",
    "Binary",
    "Pointer",
    "RangeBounds",
    "SliceIndex",
    "Pattern",
    "Step",
    "Serialize",
    "Deserialize",
    "Serializer",
    "Deserializer",
    "Pointable",
    "Policy",
    "ToCompactString",
    "Conv",
    "Same",
    "Sum",
    "Product",
    "Erased",
    "Downcast",
    "Instrument",
    "WithSubscriber",
    "MaybeSendSync",
    "VZip",
    "IntoParallelIterator",
    "IntoParallelRefIterator",
    "IntoParallelRefMutIterator",
    "Equivalent",
    "Comparable",
    "Tap",
    "Pipe",
    "IntoEither",
    "Paint",
    "ToSmolStr",
    "FromRef",
    "IntoDeserializer",
    "Error",
];

/// What there is to know types by.
#[derive(Clone, Copy)]
pub struct World<'a> {
    pub libraries: &'a Libraries,
    pub own: &'a Own,
    /// The cell, for the bounds of its type parameters.
    pub text: &'a str,
}

/// The item that a path stands for.
#[derive(Clone, Copy)]
pub enum Known<'a> {
    Library(Entry<'a>),
    Own(&'a OwnItem),
}

/// `path` without the crate of a cell in front.
pub fn without_cell(path: &str) -> &str {
    let Some((first, rest)) = path.split_once("::") else { return path };
    let of_cell = ["crate", "self"].contains(&first) || naming::is_cell(first);
    if of_cell { rest } else { path }
}

impl<'a> World<'a> {
    /// The item at a path that begins with a crate, or that a cell or the prelude has.
    pub fn item(&self, path: &str) -> Option<Known<'a>> {
        let path = without_cell(path.trim_start_matches("::"));
        if let Some(own) = self.own.item(path) {
            return Some(Known::Own(own));
        }
        let libraries = self.libraries;
        let found = libraries.item(path).or_else(|| match path.contains("::") {
            true => None,
            false => libraries.item(&format!("{}::{path}", super::libraries::PRELUDE)),
        });
        found.map(Known::Library)
    }

    /// Everything that can stand behind a dot after a value of type `ty`, nearest first; the first of each name counts.
    pub fn of_value(&self, ty: &str) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        let Ok(mut ty) = syn::parse_str::<Type>(&readable(ty)) else { return found };
        for step in 0..STEPS_MAX {
            let bare = unify::bare(&ty).clone();
            self.collect(&bare, step, &mut found);
            let Some(next) = self.target(&bare) else { break };
            ty = self.whole(next);
        }
        found.retain(|found| matches!(found.kind, Kind::Method | Kind::Field));
        first_of_each(found)
    }

    /// Everything that can stand behind `Type::`.
    pub fn of_type(&self, ty: &Type) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        self.collect(unify::bare(ty), 0, &mut found);
        found.retain(|found| found.kind != Kind::Field);
        first_of_each(found)
    }

    /// Members of a trait.
    pub fn of_trait(&self, known: Known<'a>) -> Vec<Found<'a>> {
        let mut found = Vec::new();
        match known {
            Known::Library(entry) => self.trait_members(entry, Nearness::Trait, 0, &mut found),
            Known::Own(item) => {
                found.extend(item.members.iter().map(|member| own_found(member, &item.path, true, 0)));
            }
        }
        found
    }

    /// What `*value` is of, for a value of type `ty`.
    fn target(&self, ty: &Type) -> Option<Type> {
        if let Type::Array(array) = ty {
            let element = &array.elem;
            return syn::parse_str(&format!("[{}]", element.to_token_stream())).ok();
        }
        for own in &self.own.impls {
            if let Some(target) = &own.target
                && let Some(bindings) =
                    unify::header(&own.header).and_then(|block| unify::matches(&block, ty))
            {
                return unify::replaced(target, &bindings);
            }
        }
        let Some(Known::Library(entry)) = self.item(&path_of(ty)?) else { return None };
        entry.item.implemented.iter().find_map(|implemented| {
            let target = implemented.target.as_ref()?;
            let block = unify::header(entry.index.header(implemented.header))?;
            // `&T` derefs too, which is what `bare` saw through.
            if matches!(*block.self_ty, Type::Reference(_)) {
                return None;
            }
            unify::replaced(target, &unify::matches(&block, ty)?)
        })
    }

    /// A library calls its own types by their names alone; such a name is looked up.
    fn whole(&self, ty: Type) -> Type {
        let Type::Path(mut path) = ty else { return ty };
        if let Some(only) = path.path.segments.first().filter(|_| path.path.segments.len() == 1) {
            let name = only.ident.to_string();
            if self.item(&name).is_none()
                && let Some((found, _)) =
                    self.libraries.named(&name).into_iter().find(|(_, entry)| entry.item.kind.is_type())
                && let Ok(mut whole) = syn::parse_str::<syn::Path>(found)
                && let Some(last) = whole.segments.last_mut()
            {
                last.arguments = only.arguments.clone();
                path.path = whole;
            }
        }
        Type::Path(path)
    }

    fn collect(&self, ty: &Type, step: usize, found: &mut Vec<Found<'a>>) {
        if let Type::TraitObject(_) | Type::ImplTrait(_) = ty {
            let bounds = match ty {
                Type::TraitObject(object) => &object.bounds,
                Type::ImplTrait(object) => &object.bounds,
                _ => return,
            };
            for bound in bounds {
                if let TypeParamBound::Trait(bound) = bound {
                    let path: Vec<String> =
                        bound.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                    self.named_trait(&path.join("::"), Nearness::Inherent, step, found);
                }
            }
            return;
        }
        if let Type::Tuple(tuple) = ty {
            for (number, element) in tuple.elems.iter().enumerate() {
                let ty = crate::evaluator::types::shown(&spaced(element));
                found.push(Found {
                    name: number.to_string(),
                    kind: Kind::Field,
                    signature: format!("{number}: {ty}"),
                    docs: Text::Written(String::new()),
                    source: None,
                    of: "tuple".to_owned(),
                    is_trait: false,
                    nearness: Nearness::Field,
                    step,
                });
            }
        }
        for own in &self.own.impls {
            if unify::header(&own.header).and_then(|block| unify::matches(&block, ty)).is_none() {
                continue;
            }
            match &own.of_trait {
                None => {
                    let of = path_of(ty).unwrap_or_default();
                    let of = without_cell(&of);
                    found.extend(own.members.iter().map(|member| own_found(member, of, false, step)));
                }
                Some(name) => {
                    // The block's own words first, where it has documentation; then what the trait provides.
                    self.named_trait(name, Nearness::Trait, step, found);
                }
            }
        }
        let Some(path) = path_of(ty) else { return };
        match self.item(&path) {
            Some(Known::Own(item)) => {
                found.extend(item.members.iter().map(|member| own_found(member, &item.path, false, step)));
                for derived in &item.derives {
                    self.named_trait(derived, Nearness::Trait, step, found);
                }
            }
            Some(Known::Library(entry)) => self.library_members(entry, ty, step, found),
            None if path.contains("::") => {}
            None => {
                for bound in super::scope::bounds(self.text, &path) {
                    self.named_trait(&bound, Nearness::Inherent, step, found);
                }
            }
        }
    }

    fn named_trait(&self, name: &str, nearness: Nearness, step: usize, found: &mut Vec<Found<'a>>) {
        let last = name.rsplit("::").next().unwrap_or(name);
        if let Some(item) = self.own.item(without_cell(name)).filter(|item| item.kind == Kind::Trait) {
            found.extend(item.members.iter().map(|member| own_found(member, &item.path, true, step)));
        } else if let Some(entry) = self.libraries.trait_at(name) {
            let nearness = if NOISE.contains(&last) { Nearness::Noise } else { nearness };
            self.trait_members(entry, nearness, step, found);
        }
    }

    fn library_members(&self, entry: Entry<'a>, ty: &Type, step: usize, found: &mut Vec<Found<'a>>) {
        // Members follow each other by `impl`, so each header is read once.
        let mut last: Option<(u32, bool)> = None;
        for member in &entry.item.members {
            let holds = match last {
                Some((header, holds)) if header == member.header => holds,
                _ => {
                    let text = entry.index.header(member.header);
                    text.is_empty()
                        || unify::header(text).is_none_or(|block| unify::matches(&block, ty).is_some())
                }
            };
            last = Some((member.header, holds));
            if holds {
                let nearness = if member.kind == Kind::Field { Nearness::Field } else { Nearness::Inherent };
                found.push(library_found(entry, member, nearness, step));
            }
        }
        for implemented in &entry.item.implemented {
            let path = entry.index.of_trait(implemented);
            let name = path.rsplit("::").next().unwrap_or(path);
            if !implemented.blanket {
                let block = unify::header(entry.index.header(implemented.header));
                if block.is_some_and(|block| unify::matches(&block, ty).is_none()) {
                    continue;
                }
            }
            if let Some(of) = self.libraries.trait_at(path) {
                let is_noise = NOISE.contains(&name)
                    || (implemented.blanket && !["IntoIterator", "Iterator", "ToString"].contains(&name));
                let nearness = if is_noise { Nearness::Noise } else { Nearness::Trait };
                self.trait_members(of, nearness, step, found);
            }
        }
    }

    fn trait_members(&self, entry: Entry<'a>, nearness: Nearness, step: usize, found: &mut Vec<Found<'a>>) {
        for member in &entry.item.members {
            let mut one = library_found(entry, member, nearness, step);
            one.is_trait = true;
            found.push(one);
        }
    }
}

fn library_found<'a>(entry: Entry<'a>, member: &'a Member, nearness: Nearness, step: usize) -> Found<'a> {
    Found {
        name: member.name.clone(),
        kind: member.kind,
        signature: member.signature.clone(),
        docs: Text::Indexed(entry.index, member.docs),
        source: None,
        of: entry.item.path.clone(),
        is_trait: false,
        nearness: if member.deprecated { Nearness::Deprecated } else { nearness },
        step,
    }
}

fn own_found<'a>(member: &OwnMember, of: &str, is_trait: bool, step: usize) -> Found<'a> {
    let nearness = match (member.kind, is_trait) {
        (Kind::Field | Kind::Variant, _) => Nearness::Field,
        (_, false) => Nearness::Inherent,
        (_, true) => Nearness::Trait,
    };
    Found {
        name: member.name.clone(),
        kind: member.kind,
        signature: member.signature.clone(),
        docs: Text::Written(member.docs.clone()),
        source: Some(member.source.clone()),
        of: of.to_owned(),
        is_trait,
        nearness,
        step,
    }
}

fn first_of_each(found: Vec<Found<'_>>) -> Vec<Found<'_>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut sorted = found;
    // A method of a nearer step wins; within a step, the type's own.
    sorted.sort_by_key(|found| (found.step, found.nearness));
    sorted.retain(|found| seen.insert(found.name.clone()));
    sorted
}

/// The path of a type without its arguments; a primitive's name for what has none.
pub fn path_of(ty: &Type) -> Option<String> {
    Some(match ty {
        Type::Path(path) if path.qself.is_none() => {
            let words: Vec<String> =
                path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            words.join("::")
        }
        Type::Slice(_) => "slice".to_owned(),
        Type::Array(_) => "array".to_owned(),
        Type::Tuple(tuple) if tuple.elems.is_empty() => "unit".to_owned(),
        Type::Tuple(_) => "tuple".to_owned(),
        Type::Ptr(_) => "pointer".to_owned(),
        Type::BareFn(_) => "fn".to_owned(),
        _ => return None,
    })
}

/// What the compiler prints of a type, made readable for `syn`: closures and gaps become `_`.
fn readable(ty: &str) -> String {
    let mut out = crate::evaluator::types::shown(ty);
    // `shown` leaves the crates of cells out, which `without_cell` would do.
    out = out.replace("{closure}", "_");
    while let Some(at) = out.find('{')
        && let Some(end) = out[at..].find('}')
    {
        out.replace_range(at..=at + end, "_");
    }
    out
}

fn spaced(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    let text = text
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace("< ", "<")
        .replace(" >", ">")
        .replace(" ,", ",");
    text.replace("& ", "&")
}
