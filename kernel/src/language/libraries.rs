//! Owns several indexes seen as one: where a path leads, also by the names that the compiler and `rustdoc` have for it.

use super::index::{Docs, Index, Item, Kind};

/// An item with the index that its documentation is in.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub index: &'a Index,
    pub item: &'a Item,
}

impl Entry<'_> {
    pub fn docs(&self, docs: Docs) -> String {
        self.index.docs(docs)
    }
}

#[derive(Default)]
pub struct Libraries {
    indexes: Vec<Index>,
}

/// Names that every module has.
pub const PRELUDE: &str = "std::prelude::rust_2024";

impl Libraries {
    pub fn new(indexes: Vec<Index>) -> Self {
        Self { indexes }
    }

    /// How many indexes there are.
    pub fn count(&self) -> usize {
        self.indexes.len()
    }

    /// The item at a path that begins with a crate, or a primitive type.
    pub fn item(&self, path: &str) -> Option<Entry<'_>> {
        let path = path.trim_start_matches("::");
        let path = match path.split_once("::") {
            Some(("core" | "alloc", rest)) => format!("std::{rest}"),
            _ => path.to_owned(),
        };
        self.indexes.iter().find_map(|index| Some(Entry { index, item: index.item(&path)? }))
    }

    /// Everything at a path: a module, a macro and a function may share it.
    pub fn all(&self, path: &str) -> Vec<Entry<'_>> {
        let path = path.trim_start_matches("::");
        let of = |index| {
            let index: &Index = index;
            index.all(path).into_iter().map(move |item| Entry { index, item })
        };
        self.indexes.iter().flat_map(of).collect()
    }

    /// The trait at a path as `rustdoc` writes it for another crate: through private modules, such as
    /// `core::iter::traits::iterator::Iterator`.
    pub fn trait_at(&self, path: &str) -> Option<Entry<'_>> {
        if let Some(found) = self.item(path).filter(|entry| entry.item.kind == Kind::Trait) {
            return Some(found);
        }
        let name = path.rsplit("::").next()?;
        let module = path.split("::").nth(1).unwrap_or_default();
        let mut best = None;
        for index in &self.indexes {
            for (at, item) in index.named(name).into_iter().filter(|(_, item)| item.kind == Kind::Trait) {
                if at.split("::").nth(1) == Some(module) {
                    return Some(Entry { index, item });
                }
                best = best.or(Some(Entry { index, item }));
            }
        }
        best
    }

    /// What module `path` holds; the crates for an empty one.
    pub fn inside(&self, path: &str) -> Vec<(&str, Entry<'_>)> {
        let path = match path.split_once("::") {
            Some(("core" | "alloc", rest)) => format!("std::{rest}"),
            _ if path == "core" || path == "alloc" => "std".to_owned(),
            _ => path.to_owned(),
        };
        let inside = |index| {
            let index: &Index = index;
            index.inside(&path).into_iter().map(move |(name, item)| (name, Entry { index, item }))
        };
        self.indexes.iter().flat_map(inside).collect()
    }

    /// Items of this name wherever they are, the shortest path first.
    pub fn named(&self, name: &str) -> Vec<(&str, Entry<'_>)> {
        let of = |index| {
            let index: &Index = index;
            index.named(name).into_iter().map(move |(path, item)| (path, Entry { index, item }))
        };
        let mut found: Vec<(&str, Entry<'_>)> = self.indexes.iter().flat_map(of).collect();
        found.sort_by_key(|(path, _)| path.matches("::").count());
        found
    }

    pub fn primitives(&self) -> Vec<Entry<'_>> {
        let of = |index| {
            let index: &Index = index;
            index
                .items()
                .iter()
                .filter(|item| item.kind == Kind::Primitive)
                .map(move |item| Entry { index, item })
        };
        self.indexes.iter().flat_map(of).collect()
    }
}
