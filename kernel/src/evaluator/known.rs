//! Owns what earlier cells left behind, and what a new cell makes of it: which of their items it imports, which it
//! compiles again, and which variables change over to a type that was compiled again. No I/O.
//!
//! A notebook reads as one crate that grows and changes, though every cell is a crate of its own. A type can only get
//! an `impl` in the crate that defines it, and a function keeps calling what it was compiled with; so when a cell
//! defines a name anew, or implements something for it, everything that mentions the name is compiled again in the
//! new cell (docs/decisions/later-impls.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use super::{
    item::{Kind, Part},
    keep::Gone,
    positions::Source,
    split::Cell,
    types,
    uses::Import,
};

/// An item or `impl` block of an earlier cell.
#[derive(Clone, Debug)]
pub struct Definition {
    pub part: Part,
    /// The cell's text, of which `part.range` is this one.
    pub source: Arc<Source>,
    pub insertions: Arc<Vec<(usize, &'static str)>>,
    /// Crate that holds it now.
    pub home: String,
    /// Parts of `part.range` that a later block replaced, as bytes from its beginning.
    pub blanks: Vec<Range<usize>>,
}

impl Definition {
    pub fn text(&self) -> &str {
        &self.source.text[self.part.range.clone()]
    }

    /// How a message calls it.
    pub fn title(&self) -> String {
        match &self.part.implementation {
            Some(block) => match &block.of_trait {
                Some(name) => format!("impl {name} for {}", block.of.as_deref().unwrap_or("…")),
                None => format!("impl {}", block.of.as_deref().unwrap_or("…")),
            },
            None => self.part.names.join(", "),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Macro {
    pub source: Arc<Source>,
    pub range: Range<usize>,
    pub mentioned: BTreeSet<String>,
}

/// What earlier cells left behind.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Type of each variable. Its paths begin with a crate, so it means the same in every cell.
    pub variables: BTreeMap<String, String>,
    /// Variables that there were, or that a cell meant to make.
    pub gone: BTreeMap<String, Gone>,
    /// `#![…]` lines, which hold for every cell behind theirs.
    pub attributes: BTreeSet<String>,
    pub definitions: Vec<Definition>,
    pub uses: Vec<Import>,
    pub macros: BTreeMap<String, Macro>,
    /// Crates of `:dep`.
    pub crates: Crates,
}

/// Crates of `:dep` as cells name them.
#[derive(Clone, Debug, Default)]
pub struct Crates {
    pub names: BTreeSet<String>,
    /// Holds them all; a cell that uses one names it too, so that it takes them from there.
    pub library: Option<String>,
}

/// What does not fit any more, as the compiler found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Of [`Known::definitions`].
    pub definitions: BTreeSet<usize>,
    /// Of [`Known::uses`].
    pub uses: BTreeSet<usize>,
    pub macros: BTreeSet<String>,
    /// Variables that keep their old type.
    pub migrations: BTreeSet<String>,
}

/// What a new cell makes of what is known.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Of the cell's own items, those that are compiled; the others stand in an earlier cell word for word.
    pub fresh: BTreeSet<usize>,
    /// Earlier definitions that are compiled again, with what is left out of them.
    pub again: BTreeMap<usize, Vec<Range<usize>>>,
    /// Earlier definitions that the cell replaces.
    pub replaced: BTreeSet<usize>,
    /// Crate and name.
    pub imports: Vec<(String, String)>,
    /// Of [`Known::uses`].
    pub uses: BTreeSet<usize>,
    /// Variables that change over: name, type before, type after (whose own crate is still to be named).
    pub migrations: Vec<(String, String, String)>,
}

/// Stands for the cell's own crate in a type, inside that crate.
pub const OWN: &str = "crate";

impl Known {
    /// The latest definition of `name`, if it is an item.
    pub fn item(&self, name: &str) -> Option<usize> {
        self.definitions.iter().rposition(|definition| definition.part.names.iter().any(|own| own == name))
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.item(name).map(|index| self.definitions[index].part.kind)
    }

    /// Names of all items.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.definitions.iter().flat_map(|definition| definition.part.names.iter().map(String::as_str))
    }

    pub fn plan(&self, cell: &Cell, text: &str, dropped: &Dropped) -> Plan {
        let mut fresh: BTreeSet<usize> =
            (0..cell.items.len()).filter(|&index| !self.repeats(&cell.items[index], text)).collect();
        loop {
            let changed = self.changed(cell, text, &fresh, dropped);
            let more: Vec<usize> = (0..cell.items.len())
                .filter(|index| !fresh.contains(index))
                .filter(|&index| {
                    let part = &cell.items[index];
                    part.mentioned.iter().any(|name| changed.contains(name))
                })
                .collect();
            if more.is_empty() {
                return self.plan_with(cell, fresh, &changed, dropped);
            }
            fresh.extend(more);
        }
    }

    /// Whether an earlier cell has the very same item, which need not be compiled again. A static begins anew.
    fn repeats(&self, part: &Part, text: &str) -> bool {
        let own = &text[part.range.clone()];
        let same = |definition: &Definition| definition.blanks.is_empty() && definition.text() == own;
        match (&part.implementation, part.names.first()) {
            (Some(_), _) => self.definitions.iter().any(same),
            (None, Some(name)) => {
                part.kind != Kind::Static
                    && self.item(name).is_some_and(|index| same(&self.definitions[index]))
            }
            (None, None) => false,
        }
    }

    /// Names that mean something else from this cell on, so that whatever mentions them is compiled again.
    fn changed(
        &self,
        cell: &Cell,
        text: &str,
        fresh: &BTreeSet<usize>,
        dropped: &Dropped,
    ) -> BTreeSet<String> {
        let parts = || fresh.iter().map(|&index| &cell.items[index]);
        let own: BTreeSet<&String> = parts().flat_map(|part| &part.names).collect();
        let mut changed: BTreeSet<String> =
            own.iter().filter(|name| self.item(name).is_some()).map(|name| (*name).clone()).collect();
        for import in &cell.imports {
            let Some(name) = &import.name else { continue };
            let before = self.uses.iter().find(|known| known.name.as_ref() == Some(name));
            if self.item(name).is_some() || before.is_some_and(|before| before.line != import.line) {
                changed.insert(name.clone());
            }
        }
        for (name, range) in &cell.macros {
            if self
                .macros
                .get(name)
                .is_some_and(|known| known.source.text[known.range.clone()] != text[range.clone()])
            {
                changed.insert(name.clone());
            }
        }
        // Coherence: an `impl` lies with its type or its trait.
        for block in parts().filter_map(|part| part.implementation.as_ref()) {
            let local = |name: &String| own.contains(name) || changed.contains(name);
            let known = |name: &&String| self.item(name).is_some();
            let chosen =
                match &block.of_trait {
                    None => block.of.as_ref().filter(|name| !local(name)),
                    Some(name)
                        if local(name)
                            || block
                                .header_names
                                .iter()
                                .any(|n| local(n) && self.kind(n) != Some(Kind::Trait)) =>
                    {
                        None
                    }
                    Some(name) if self.kind(name) == Some(Kind::Trait) => Some(name),
                    Some(_) => block.of.as_ref().filter(known).or_else(|| {
                        block.header_names.iter().find(|name| self.kind(name) == Some(Kind::Type))
                    }),
                };
            changed.extend(chosen.filter(known).cloned());
        }
        loop {
            let before = changed.len();
            for (index, definition) in self.definitions.iter().enumerate() {
                if dropped.definitions.contains(&index)
                    || !definition.part.mentioned.iter().any(|name| changed.contains(name))
                {
                    continue;
                }
                match &definition.part.implementation {
                    None => changed.extend(definition.part.names.iter().cloned()),
                    Some(block) => {
                        let lies_here = [&block.of, &block.of_trait]
                            .into_iter()
                            .flatten()
                            .any(|name| changed.contains(name));
                        if !lies_here {
                            let with_trait =
                                block.of_trait.as_ref().filter(|name| self.kind(name) == Some(Kind::Trait));
                            changed.extend(
                                with_trait
                                    .or(block.of.as_ref())
                                    .filter(|name| self.item(name).is_some())
                                    .cloned(),
                            );
                        }
                    }
                }
            }
            if changed.len() == before {
                return changed;
            }
        }
    }

    fn plan_with(
        &self,
        cell: &Cell,
        fresh: BTreeSet<usize>,
        changed: &BTreeSet<String>,
        dropped: &Dropped,
    ) -> Plan {
        let mut plan = Plan { fresh, ..Plan::default() };
        let own_names: BTreeSet<&String> =
            plan.fresh.iter().flat_map(|&index| &cell.items[index].names).collect();
        let used_names: BTreeSet<&String> =
            cell.imports.iter().filter_map(|import| import.name.as_ref()).collect();
        for (index, definition) in self.definitions.iter().enumerate() {
            if dropped.definitions.contains(&index) {
                continue;
            }
            let part = &definition.part;
            if !part.names.is_empty()
                && part.names.iter().all(|name| own_names.contains(name) || used_names.contains(name))
            {
                plan.replaced.insert(index);
                continue;
            }
            let affected = part.mentioned.iter().any(|name| changed.contains(name));
            if part.implementation.is_none() {
                if affected {
                    plan.again.insert(index, definition.blanks.clone());
                }
                continue;
            }
            // A block in the new cell for the same type and trait takes the place of what it defines, too.
            let blanks = self.blanks(definition, cell, &plan.fresh);
            let members = part.implementation.as_ref().map_or(0, |block| block.members.len());
            match blanks {
                Some(blanks) if affected && (blanks.len() < members || members == 0) => {
                    drop(plan.again.insert(index, blanks))
                }
                Some(_) if !affected => {}
                _ => drop(plan.replaced.insert(index)),
            }
        }
        self.imports(cell, &mut plan, &own_names, &used_names, dropped);
        plan.migrations = self.migrations(cell, &plan, changed, dropped);
        plan
    }

    /// What is left out of an earlier `impl`; `None` if nothing of it is left.
    fn blanks(
        &self,
        definition: &Definition,
        cell: &Cell,
        fresh: &BTreeSet<usize>,
    ) -> Option<Vec<Range<usize>>> {
        let block = definition.part.implementation.as_ref()?;
        let mut blanks = definition.blanks.clone();
        for new in fresh.iter().filter_map(|&index| cell.items[index].implementation.as_ref()) {
            if new.header != block.header {
                continue;
            }
            if new.of_trait.is_some() {
                return None;
            }
            for (name, range) in &block.members {
                if new.members.iter().any(|(own, _)| own == name) && !blanks.contains(range) {
                    blanks.push(range.clone());
                }
            }
        }
        Some(blanks)
    }

    fn imports(
        &self,
        cell: &Cell,
        plan: &mut Plan,
        own: &BTreeSet<&String>,
        used: &BTreeSet<&String>,
        dropped: &Dropped,
    ) {
        let again_names: BTreeSet<&String> =
            plan.again.keys().flat_map(|&index| &self.definitions[index].part.names).collect();
        plan.uses = (0..self.uses.len())
            .filter(|index| !dropped.uses.contains(index))
            .filter(|&index| match &self.uses[index].name {
                Some(name) => !own.contains(name) && !used.contains(name) && !again_names.contains(name),
                None => !cell.imports.iter().any(|import| import.line == self.uses[index].line),
            })
            .collect();
        let mut needed: BTreeSet<&String> = cell.mentioned.iter().collect();
        needed.extend(plan.again.keys().flat_map(|&index| &self.definitions[index].part.mentioned));
        needed.extend(self.macros.values().flat_map(|known| &known.mentioned));
        needed.extend(plan.uses.iter().map(|&index| &self.uses[index].root));
        for (index, definition) in self.definitions.iter().enumerate() {
            if plan.again.contains_key(&index)
                || plan.replaced.contains(&index)
                || dropped.definitions.contains(&index)
            {
                continue;
            }
            // A trait's methods are called without naming it.
            let by_method = definition.part.kind == Kind::Trait
                && definition.part.methods.iter().any(|method| needed.contains(method));
            for name in &definition.part.names {
                if (by_method || needed.contains(name))
                    && !own.contains(name)
                    && !used.contains(name)
                    && self.item(name) == Some(index)
                {
                    plan.imports.push((definition.home.clone(), name.clone()));
                }
            }
        }
    }

    /// Variables whose type is compiled again without a change to its layout.
    fn migrations(
        &self,
        cell: &Cell,
        plan: &Plan,
        changed: &BTreeSet<String>,
        dropped: &Dropped,
    ) -> Vec<(String, String, String)> {
        let mut moved: BTreeMap<(String, String), bool> = BTreeMap::new();
        for (index, definition) in self.definitions.iter().enumerate() {
            if !plan.again.contains_key(&index) && !plan.replaced.contains(&index) {
                continue;
            }
            for name in &definition.part.names {
                let key = (definition.home.clone(), name.clone());
                let same = self.same(name, cell, plan, changed, &mut BTreeSet::new());
                moved.insert(key, same && self.item(name) == Some(index));
            }
        }
        let mut out = Vec::new();
        for (variable, ty) in &self.variables {
            if dropped.migrations.contains(variable) {
                continue;
            }
            let mut fits = true;
            let after = types::map_paths(ty, |home, name| {
                let same = moved.get(&(home.to_owned(), name.to_owned()))?;
                fits &= same;
                same.then(|| OWN.to_owned())
            });
            if let Some(after) = after
                && fits
                && after != *ty
            {
                out.push((variable.clone(), ty.clone(), after));
            }
        }
        out
    }

    /// Whether `name` means in the new cell what it meant before, down to the layout of what it is made of.
    fn same(
        &self,
        name: &str,
        cell: &Cell,
        plan: &Plan,
        changed: &BTreeSet<String>,
        seen: &mut BTreeSet<String>,
    ) -> bool {
        if !changed.contains(name) || !seen.insert(name.to_owned()) {
            return true;
        }
        if cell.imports.iter().any(|import| import.name.as_deref() == Some(name))
            || cell.macros.iter().any(|(own, _)| own == name)
        {
            return false;
        }
        let Some(index) = self.item(name) else { return false };
        let before = &self.definitions[index].part;
        let own = plan
            .fresh
            .iter()
            .map(|&index| &cell.items[index])
            .find(|part| part.names.iter().any(|own| own == name));
        let after = match own {
            Some(part) => part,
            None if plan.again.contains_key(&index) => before,
            None => return false,
        };
        // A type is its shape. Whatever else a layout names (a length, a trait behind `dyn`) must be the same text.
        before.kind == after.kind
            && before.shape == after.shape
            && !after.depends_on_impls
            && after
                .mentioned
                .iter()
                .filter(|mentioned| *mentioned != name)
                .all(|mentioned| self.same(mentioned, cell, plan, changed, seen))
    }

    /// Takes over what a compiled cell defined. `source` is its text, `home` its crate.
    pub fn learn(&mut self, cell: &Cell, plan: &Plan, dropped: &Dropped, source: &Arc<Source>, home: &str) {
        let mut left = Vec::new();
        let held = std::mem::take(&mut self.definitions);
        for (index, mut definition) in held.into_iter().enumerate() {
            if plan.replaced.contains(&index) || dropped.definitions.contains(&index) {
                continue;
            }
            if let Some(blanks) = plan.again.get(&index) {
                definition.home = home.to_owned();
                definition.blanks.clone_from(blanks);
            }
            left.push(definition);
        }
        let insertions = Arc::new(cell.insertions.clone());
        for &index in &plan.fresh {
            let part = cell.items[index].clone();
            left.push(Definition {
                part,
                source: Arc::clone(source),
                insertions: Arc::clone(&insertions),
                home: home.to_owned(),
                blanks: Vec::new(),
            });
        }
        self.definitions = left;
        let mut uses: Vec<Import> = plan.uses.iter().map(|&index| self.uses[index].clone()).collect();
        uses.extend(cell.imports.iter().cloned());
        self.uses = uses;
        self.attributes.extend(cell.attributes.iter().map(|range| source.text[range.clone()].to_owned()));
        for name in &dropped.macros {
            self.macros.remove(name);
        }
        for (name, range) in &cell.macros {
            let mentioned =
                source.text[range.clone()].parse().map(super::split::mentioned).unwrap_or_default();
            self.macros
                .insert(name.clone(), Macro { source: Arc::clone(source), range: range.clone(), mentioned });
        }
        for (variable, _, after) in &plan.migrations {
            let named = types::map_paths(after, |first, _| (first == OWN).then(|| home.to_owned()));
            if let Some(named) = named {
                self.variables.insert(variable.clone(), named);
            }
        }
    }
}
