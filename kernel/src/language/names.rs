//! Owns which names a cell sees where no path or dot is in front: its own, those of earlier cells, what `use` lines brought,
//! the prelude, crates, primitive types, macros and keywords; and where a path's first word leads.

use super::{
    Request, cursor,
    index::Kind,
    libraries::PRELUDE,
    members::{Known, World},
    own::Own,
    scope,
};
use crate::evaluator::{
    known,
    types::shown,
    uses::{self, Import},
};

/// Words of the language that may begin something, and what they do.
pub const KEYWORDS: &[(&str, &str)] = &[
    ("as", "Converts between number types, or renames what a `use` line brings: `x as f64`."),
    ("async", "A block or function that gives a future; `.await` waits for it."),
    ("await", "Waits for a future: `future.await`. Works at the top of a cell."),
    ("break", "Leaves a loop, with a value from `loop`: `break value`."),
    ("const", "A value known when the program is compiled: `const N: usize = 4;`."),
    ("continue", "Goes on with a loop's next round."),
    ("crate", "The crate that the path begins in."),
    ("dyn", "A value of any type that implements a trait: `Box<dyn Fn(f64) -> f64>`."),
    ("else", "What is done if the condition of an `if` does not hold."),
    ("enum", "A type that is one of several variants: `enum Shape { Circle(f64), Square(f64) }`."),
    ("false", "The truth value *false*."),
    ("fn", "A function: `fn twice(x: f64) -> f64 { 2.0 * x }`."),
    ("for", "A loop over whatever can be iterated: `for x in &values { … }`."),
    ("if", "Does something on a condition; it has a value: `if a > b { a } else { b }`."),
    (
        "impl",
        "Gives a type methods, or implements a trait for it: `impl Shape { fn area(&self) -> f64 { … } }`.",
    ),
    ("in", "Stands between the pattern and the values of a `for` loop."),
    ("let", "Makes a variable: `let mut x = 1;`. At the top of a cell it lasts for later cells."),
    ("loop", "Repeats until `break`."),
    ("match", "Chooses by pattern: `match x { Some(y) => y, None => 0 }`."),
    ("mod", "A module: `mod geometry { pub fn area() -> f64 { … } }`."),
    ("move", "A closure that takes what it names: `move |x| x * factor`."),
    ("mut", "A variable or reference that may be changed."),
    ("pub", "Makes an item visible outside of its module."),
    ("ref", "Binds a reference in a pattern."),
    ("return", "Leaves a function with a value; at the top of a cell, ends the cell."),
    ("self", "The value that a method is called on, or the module itself in a path."),
    ("Self", "The type that an `impl` or trait is for."),
    ("static", "A value with one place for the whole session."),
    ("struct", "A type made of fields: `struct Point { x: f64, y: f64 }`."),
    ("super", "The module around this one."),
    ("trait", "What several types can do: `trait Area { fn area(&self) -> f64; }`."),
    ("true", "The truth value *true*."),
    ("type", "Another name for a type: `type Grid = Vec<Vec<f64>>;`."),
    ("union", "A type whose fields share their memory; reading one is `unsafe`."),
    ("unsafe", "Code whose safety the compiler cannot check."),
    ("use", "Brings names: `use std::collections::HashMap;`. Lasts for later cells."),
    ("where", "Bounds of type parameters, behind a signature."),
    ("while", "A loop as long as a condition holds."),
];

/// Crates that a path may begin with.
const CRATES: &[&str] = &["std", "nuna"];

/// Variants that the prelude brings; a module's page lists no variants.
const VARIANTS: &[(&str, &str)] = &[
    ("Some", "std::option::Option"),
    ("None", "std::option::Option"),
    ("Ok", "std::result::Result"),
    ("Err", "std::result::Result"),
];

/// How near a name is; the nearest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Near {
    Cell,
    Session,
    Imported,
    Prelude,
    Language,
    Keyword,
}

/// A name with what it stands for.
pub struct Name {
    /// What is to be written: macros have their `!`.
    pub text: String,
    pub kind: Kind,
    /// Type or signature, as far as it is known.
    pub signature: String,
    pub near: Near,
    /// Where it leads, for items of libraries.
    pub path: Option<String>,
}

/// What a cell sees.
pub struct Sight<'a> {
    pub world: World<'a>,
    pub known: &'a known::Known,
    /// What an evaluator knows that knows no more than names.
    pub others: &'a [(String, String)],
    pub text: &'a str,
    pub cursor: usize,
}

impl<'a> Sight<'a> {
    /// What the cell of `request` sees, with what the notebook defines.
    pub fn of(request: &'a Request, own: &'a Own) -> Self {
        Self {
            world: World { libraries: &request.libraries, own, text: &request.text },
            known: &request.snapshot.known,
            others: &request.snapshot.names,
            text: &request.text,
            cursor: request.cursor,
        }
    }

    /// `use` lines of earlier cells and of this one, the latest last.
    pub fn imports(&self) -> Vec<Import> {
        let mut imports = self.known.uses.clone();
        for line in use_lines(self.text) {
            if let Ok(parsed) = syn::parse_str(&line) {
                uses::imports(&parsed, &line, &mut imports);
            }
        }
        imports
    }

    /// Where an `Import` leads.
    pub fn led(import: &Import) -> String {
        let line = import.line.rsplit("use ").next().unwrap_or_default();
        let path = line.trim_end_matches(';').split(" as ").next().unwrap_or_default();
        path.trim().trim_start_matches("::").trim_end_matches("::*").to_owned()
    }

    /// Every name, the nearest first.
    pub fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let name = |text: &str, kind, signature: String, near| Name {
            text: text.to_owned(),
            kind,
            signature,
            near,
            path: None,
        };
        for local in scope::locals(self.text, self.cursor).into_iter().rev() {
            let about = if local.made_by == "parameter" { "parameter" } else { "variable of this cell" };
            names.push(name(&local.name, Kind::Variable, about.to_owned(), Near::Cell));
        }
        for local in scope::items(self.text) {
            let (kind, text) = match local.made_by {
                "fn" => (Kind::Function, local.name.clone()),
                "struct" => (Kind::Struct, local.name.clone()),
                "union" => (Kind::Union, local.name.clone()),
                "enum" => (Kind::Enum, local.name.clone()),
                "trait" => (Kind::Trait, local.name.clone()),
                "type" => (Kind::TypeAlias, local.name.clone()),
                "mod" => (Kind::Module, local.name.clone()),
                "macro" => (Kind::Macro, format!("{}!", local.name)),
                "static" => (Kind::Static, local.name.clone()),
                _ => (Kind::Constant, local.name.clone()),
            };
            let signature = self.world.own.item(&local.name).map(|item| item.signature.clone());
            names.push(name(&text, kind, signature.unwrap_or_default(), Near::Cell));
        }
        for (variable, ty) in &self.known.variables {
            names.push(name(variable, Kind::Variable, shown(ty), Near::Session));
        }
        for (other, about) in self.others {
            names.push(name(other, Kind::Variable, about.clone(), Near::Session));
        }
        for (own, item) in self.world.own.inside("") {
            let text = if item.kind == Kind::Macro { format!("{own}!") } else { own.to_owned() };
            names.push(name(&text, item.kind, item.signature.clone(), Near::Session));
        }
        for import in self.imports() {
            let path = Self::led(&import);
            match &import.name {
                Some(brought) => names.extend(self.library_names(brought, &path, Near::Imported)),
                None if import.line.ends_with("::*;") => {
                    for (inside, item) in self.world.own.inside(&path) {
                        names.push(name(inside, item.kind, item.signature.clone(), Near::Imported));
                    }
                    for (inside, _) in self.world.libraries.inside(&path) {
                        names.extend(self.library_names(
                            inside,
                            &format!("{path}::{inside}"),
                            Near::Imported,
                        ));
                    }
                }
                None => {}
            }
        }
        for (inside, _) in self.world.libraries.inside(PRELUDE) {
            names.extend(self.library_names(inside, &format!("{PRELUDE}::{inside}"), Near::Prelude));
        }
        for (variant, ty) in VARIANTS {
            names.extend(self.library_names(variant, &format!("{ty}::{variant}"), Near::Prelude));
        }
        for primitive in self.world.libraries.primitives() {
            let own = primitive.item.name();
            if !["array", "fn", "pointer", "slice", "tuple", "unit"].contains(&own) {
                let mut found = name(own, Kind::Primitive, String::new(), Near::Language);
                found.path = Some(own.to_owned());
                names.push(found);
            }
        }
        for own in CRATES {
            names.push(name(own, Kind::Module, "crate".to_owned(), Near::Language));
        }
        for added in &self.known.crates.names {
            names.push(name(added, Kind::Module, "crate, by :dep".to_owned(), Near::Imported));
        }
        for (word, _) in KEYWORDS {
            names.push(name(word, Kind::Keyword, String::new(), Near::Keyword));
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.text.clone()));
        names
    }

    /// The names that an item of a library goes by: a function and a macro may share theirs.
    fn library_names(&self, brought: &str, path: &str, near: Near) -> Vec<Name> {
        let mut names = Vec::new();
        for entry in self.world.libraries.all(path) {
            let item = entry.item;
            let text = match item.kind {
                Kind::Macro => format!("{brought}!"),
                Kind::Derive | Kind::Attribute => continue,
                _ => brought.to_owned(),
            };
            let signature = first_line(&item.signature);
            names.push(Name { text, kind: item.kind, signature, near, path: Some(path.to_owned()) });
        }
        // Variants that a `use` line or the prelude brings: `Some`, `Ok`.
        if names.is_empty()
            && let Some((ty, variant)) = path.rsplit_once("::")
            && let Some(signature) = self.variant(ty, variant)
        {
            names.push(Name {
                text: brought.to_owned(),
                kind: Kind::Variant,
                signature,
                near,
                path: Some(path.to_owned()),
            });
        }
        names
    }

    fn variant(&self, ty: &str, variant: &str) -> Option<String> {
        match self.world.item(ty)? {
            Known::Library(entry) => entry
                .item
                .members
                .iter()
                .find(|member| member.name == variant)
                .map(|member| member.signature.clone()),
            Known::Own(item) => item
                .members
                .iter()
                .find(|member| member.name == variant)
                .map(|member| member.signature.clone()),
        }
    }

    /// A path as it is written in the cell, made to begin with a crate; `None` if its first word leads nowhere.
    pub fn resolve(&self, segments: &[String]) -> Option<String> {
        let (first, rest) = segments.split_first()?;
        let joined = |front: &str| [std::slice::from_ref(&front.to_owned()), rest].concat().join("::");
        if self.world.own.item(first).is_some() {
            return Some(segments.join("::"));
        }
        if first == "crate" || first == "self" {
            return Some(rest.join("::"));
        }
        for import in self.imports().iter().rev() {
            let path = Self::led(import);
            if import.name.as_deref() == Some(first) {
                return Some(joined(&path));
            }
            if import.line.ends_with("::*;") {
                let inside = format!("{path}::{first}");
                if self.world.item(&inside).is_some() {
                    return Some(joined(&inside));
                }
            }
        }
        let prelude = format!("{PRELUDE}::{first}");
        if self.world.libraries.item(&prelude).is_some() {
            return Some(joined(&prelude));
        }
        if let Some((variant, ty)) = VARIANTS.iter().find(|(variant, _)| variant == first) {
            return Some(format!("{ty}::{variant}"));
        }
        if let Some(entry) = self.world.libraries.item(&format!("std::{first}"))
            && entry.item.kind == Kind::Macro
        {
            return Some(format!("std::{first}"));
        }
        // A primitive type before the module of its name.
        (self.world.libraries.item(first).is_some() || ["core", "alloc"].contains(&first.as_str()))
            .then(|| segments.join("::"))
    }

    /// Names of traits whose methods can be called without a `use` line.
    pub fn traits(&self) -> std::collections::BTreeSet<String> {
        let mut traits: std::collections::BTreeSet<String> =
            self.world.libraries.inside(PRELUDE).into_iter().map(|(name, _)| name.to_owned()).collect();
        for import in self.imports() {
            if import.line.ends_with("::*;") {
                let path = Self::led(&import);
                traits
                    .extend(self.world.libraries.inside(&path).into_iter().map(|(name, _)| name.to_owned()));
            } else {
                traits.extend(Self::led(&import).rsplit("::").next().map(str::to_owned));
            }
        }
        traits.extend(
            self.world
                .own
                .items
                .iter()
                .map(|item| item.path.rsplit("::").next().unwrap_or_default().to_owned()),
        );
        traits
    }
}

/// The whole `use` lines of a cell that may be unfinished elsewhere.
fn use_lines(text: &str) -> Vec<String> {
    let tokens = cursor::tokens(text);
    let mut lines = Vec::new();
    let mut start = None;
    for token in &tokens {
        let word = &text[token.range.clone()];
        match (word, start) {
            ("use", None) => start = Some(token.range.start),
            (";", Some(from)) => {
                lines.push(text[from..token.range.end].to_owned());
                start = None;
            }
            _ => {}
        }
    }
    lines
}

/// A declaration in one line, without what nobody can reach.
pub fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.replace(" { /* private fields */ }", "").replace("(/* private fields */)", "");
    line.trim_end_matches([' ', '{', ';', '(', ',']).to_owned()
}
