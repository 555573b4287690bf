//! Owns the function that a cell becomes: where its variables come from, how its statements run, and which variables
//! are kept, also when one of the statements fails.

use super::{
    glue::{Origin, Purpose, Writer, Writing},
    split::Statement,
};

const SHOW: &str =
    "{ use nuna::cell::{ShowRich as _, ShowDebug as _, ShowType as _}; (&&&&nuna::cell::Shown(&(";
const SHOWN: &str = "))).show(); }";

/// Where the compiler cannot choose, because it knows the value's type only at the end.
const SHOW_PLAINLY: &str = "{ nuna::cell::ShowDebug::show(&&&nuna::cell::Shown(&(";
const SHOWN_PLAINLY: &str = "))); }";

/// To learn the types of variables, it does not matter how the value is shown.
const SHOW_NOT: &str = "{ let _ = &(";
const SHOWN_NOT: &str = "); }";

/// The same for a value whose type may have a method `evcxr_display`.
const SHOW_EVCXR: &str =
    "{ use nuna::cell::{EvcxrDisplay as _, ShowRich as _, ShowDebug as _, ShowType as _}; match &(";
const SHOWN_EVCXR: &str = ") { __nuna_shown => if nuna::cell::is_unshown(&__nuna_shown.evcxr_display()) { \
                           (&&&&nuna::cell::Shown(__nuna_shown)).show(); } } }";

/// Why a variable is in scope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// An earlier cell made it.
    Earlier,
    New,
    /// New, and not to be kept.
    Local,
}

impl Writer {
    pub(super) fn body(&mut self, writing: &Writing<'_>) {
        let Writing { cell, known, plan, .. } = *writing;
        self.add("#[unsafe(no_mangle)]");
        self.add(&format!("pub fn {}() -> nuna::cell::Ended {{", writing.symbol));
        for (name, before, after) in &plan.migrations {
            self.add_as(
                Origin::Migration(name.clone()),
                &format!("unsafe {{ nuna::cell::migrate::<{before}, {after}>({name:?}) }};"),
            );
        }
        for (name, ty) in &known.variables {
            if cell.mentioned.contains(name) {
                let migrated = plan.migrations.iter().find(|(migrated, ..)| migrated == name);
                let ty = migrated.map_or(ty, |(.., after)| after);
                self.add(&format!(
                    "#[allow(unused_variables)] let mut {name}: {ty} = nuna::cell::take({name:?});"
                ));
                self.glue.taken.push(name.clone());
            }
        }
        match writing.purpose {
            Purpose::Steps => self.steps(writing),
            Purpose::Probe | Purpose::Block => self.block(writing),
        }
        self.add("}");
    }

    /// Each statement is a closure of its own; the variables that it makes come out of it and live on in the function.
    fn steps(&mut self, writing: &Writing<'_>) {
        let Writing { cell, skips, .. } = *writing;
        let mut scope: Vec<(String, Held)> =
            self.glue.taken.iter().map(|name| (name.clone(), Held::Earlier)).collect();
        for (number, statement) in cell.statements.iter().enumerate() {
            let tuple = |mutable: bool| -> String {
                let word = |is_mutable: bool| if mutable && is_mutable { "mut " } else { "" };
                statement
                    .bound
                    .iter()
                    .map(|made| format!("{}{},", word(made.is_mutable), made.name))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let (wait, waited) =
                if statement.has_await { (" nuna::cell::block_on(async {", "})") } else { ("", "") };
            self.add_as(
                Origin::Frame(Some(number)),
                &format!("let ({}) = match nuna::cell::step(|| {{{wait}", tuple(true)),
            );
            self.statement(writing, statement);
            self.add_as(
                Origin::Frame(Some(number)),
                &format!(
                    "#[allow(unreachable_code)] Ok::<_, nuna::cell::Error>(({})){waited} }}) {{",
                    tuple(false)
                ),
            );
            self.add("Ok(__nuna_made) => __nuna_made,");
            self.add(&format!("Err(__nuna_failed) => {{ nuna::cell::completed({number});"));
            self.keep(&scope, Some(number), &skips.origins);
            self.add("return Err(__nuna_failed); } };");
            for made in &statement.bound {
                scope.retain(|(name, _)| *name != made.name);
                let is_local = skips.locals.contains_key(&made.name);
                scope.push((made.name.clone(), if is_local { Held::Local } else { Held::New }));
            }
        }
        self.keep(&scope, None, &skips.origins);
        self.add(&format!("nuna::cell::completed({}); Ok(())", cell.statements.len()));
    }

    fn keep(&mut self, scope: &[(String, Held)], failing: Option<usize>, skipped: &[Origin]) {
        // What borrows ends before what it borrows from is moved.
        for (name, _) in scope.iter().rev().filter(|(_, held)| *held == Held::Local) {
            let origin = Origin::Store { failing, name: name.clone() };
            if !skipped.contains(&origin) {
                self.add_as(origin, &format!("drop({name});"));
            }
        }
        for (name, held) in scope.iter().filter(|(_, held)| *held != Held::Local) {
            let name = name.clone();
            let line = format!("nuna::cell::put({name:?}, {name});");
            let is_earlier = *held == Held::Earlier;
            let origin =
                if is_earlier { Origin::Return { failing, name } } else { Origin::Store { failing, name } };
            if !skipped.contains(&origin) {
                self.add_as(origin, &line);
            }
        }
    }

    /// All statements are one closure, which stores the new variables at its end.
    fn block(&mut self, writing: &Writing<'_>) {
        let Writing { cell, skips, purpose, .. } = *writing;
        let has_await = cell.statements.iter().any(|statement| statement.has_await);
        let (wait, waited) = if has_await { (" nuna::cell::block_on(async {", "})") } else { ("", "") };
        self.add_as(Origin::Frame(None), &format!("let __nuna_ended = nuna::cell::step(|| {{{wait}"));
        let mut scope: Vec<(usize, String)> = Vec::new();
        for (number, statement) in cell.statements.iter().enumerate() {
            self.statement(writing, statement);
            scope.extend(statement.bound.iter().map(|made| (number, made.name.clone())));
            if purpose == Purpose::Probe {
                // As late as can be, when most is known of the type.
                let next = cell.statements.get(number + 1).map_or(&[][..], |next| &next.bound);
                let is_last = number + 1 == cell.statements.len();
                for (statement, name) in
                    scope.extract_if(.., |(_, name)| is_last || next.iter().any(|made| made.name == *name))
                {
                    self.add_as(
                        Origin::Probe { statement, name: name.clone() },
                        &format!("nuna::cell::reveal(&{name});"),
                    );
                }
            }
        }
        if purpose != Purpose::Probe {
            let mut names: Vec<(String, Held)> = Vec::new();
            for (_, name) in scope {
                names.retain(|(earlier, _)| *earlier != name);
                let held = if skips.locals.contains_key(&name) { Held::Local } else { Held::New };
                names.push((name, held));
            }
            self.keep(&names, None, &skips.origins);
        }
        self.add_as(
            Origin::Frame(None),
            &format!("#[allow(unreachable_code)] Ok::<_, nuna::cell::Error>(()){waited} }});"),
        );
        for name in self.glue.taken.clone() {
            let origin = Origin::Return { failing: None, name: name.clone() };
            if !skips.origins.contains(&origin) {
                self.add_as(origin, &format!("nuna::cell::put_back({name:?}, {name});"));
            }
        }
        self.add(&format!("if __nuna_ended.is_ok() {{ nuna::cell::completed({}); }}", cell.statements.len()));
        self.add("__nuna_ended");
    }

    fn statement(&mut self, writing: &Writing<'_>, statement: &Statement) {
        let (show, shown) = match writing.purpose {
            Purpose::Probe => (SHOW_NOT, SHOWN_NOT),
            _ if writing.skips.shows_plainly => (SHOW_PLAINLY, SHOWN_PLAINLY),
            _ if may_have_evcxr_display(writing) => (SHOW_EVCXR, SHOWN_EVCXR),
            Purpose::Steps | Purpose::Block => (SHOW, SHOWN),
        };
        if statement.is_result {
            self.add(show);
        }
        let is_timed = statement.is_result && writing.cell.is_timed;
        if is_timed {
            self.add("nuna::cell::time_it(&mut || {");
        }
        self.copy(writing.source, statement.range.clone(), &writing.cell.insertions, &[]);
        if is_timed {
            self.add("})");
        }
        if statement.is_result {
            self.add(shown);
        }
    }
}

/// Whether there can be such a method at all; looking for it takes the compiler time.
fn may_have_evcxr_display(writing: &Writing<'_>) -> bool {
    let Writing { cell, known, .. } = *writing;
    let named = |words: &std::collections::BTreeSet<String>| words.contains("evcxr_display");
    !known.crates.names.is_empty()
        || named(&cell.mentioned)
        || known.definitions.iter().any(|definition| named(&definition.part.mentioned))
}
