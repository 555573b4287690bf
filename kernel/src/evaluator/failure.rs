//! Owns what a person reads when a cell fails.

use super::{
    captures,
    compile::Diagnostic,
    glue::Glue,
    known::Known,
    naming,
    positions::Place,
    process::Kept,
    render,
    split::{Cell, SyntaxError},
    types,
};

/// As an `error` message wants it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub name: String,
    pub value: String,
    pub traceback: Vec<String>,
}

impl Failure {
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self {
            name: name.to_owned(),
            traceback: vec![format!("\u{1b}[1;31m{name}\u{1b}[0m: {value}")],
            value,
        }
    }

    /// Adds the place where it happened.
    pub fn at(mut self, place: &Place) -> Self {
        self.traceback.extend(render::point(place).lines().map(str::to_owned));
        self
    }

    pub fn syntax(error: &SyntaxError, place: &Place) -> Self {
        Self::new("SyntaxError", error.message.clone()).at(place)
    }

    /// The cell was interrupted and its process lives on.
    pub fn interrupted(what: &str) -> Self {
        Self::new("Interrupted", format!("{what}; every variable is kept"))
    }

    pub fn unnameable(variable: &str, ty: &str) -> Self {
        let shown = types::shown(ty);
        Self::new(
            "UnnameableType",
            format!(
                "variable `{variable}` has a type that cannot be written ({shown}), so it cannot be kept for later cells; {}, \
                 or use it in this cell only",
                remedy(variable, ty)
            ),
        )
    }

    pub fn borrowing(variable: &str) -> Self {
        Self::new(
            "BorrowedVariable",
            format!(
                "variable `{variable}` borrows from another one, so it cannot be kept for later cells; keep a copy \
                 (`.clone()`, `.to_owned()`), or use it in this cell only"
            ),
        )
    }

    /// evcxr itself was ended, with whatever it knew.
    pub fn evcxr_killed(names: &[String]) -> Self {
        let lost = if names.is_empty() {
            "nothing was lost".to_owned()
        } else {
            format!("lost: {}", names.join(", "))
        };
        Self::new(
            "Interrupted",
            format!(
                "interrupted a second time, so evcxr was ended with all that earlier cells defined; {lost}"
            ),
        )
    }

    /// The compiler does not know the whole type of a variable.
    pub fn open_type(variable: &str, ty: &str) -> Self {
        let ty = types::shown(ty).replace("std::vec::", "");
        Self::new(
            "CompileError",
            format!(
                "the type of `{variable}` is not known beyond `{ty}`; write it out: `let {variable}: {}`",
                ty.replace('_', "f64")
            ),
        )
    }
}

/// What to do about a variable whose type cannot be written.
pub fn remedy(variable: &str, ty: &str) -> String {
    if ty.contains("Iterator") || ty.contains("iter::") {
        "collect it, as with `.collect::<Vec<_>>()`".to_owned()
    } else if ty.contains("closure@") {
        format!("write a function, or box it: `let {variable}: Box<dyn Fn(f64) -> f64> = Box::new(…)`")
    } else {
        format!("box it: `let {variable}: Box<dyn …> = Box::new(…)`")
    }
}

/// What the compiler said of a cell, in the order of its lines. `notes` are about earlier cells.
pub fn compile_failure(
    errors: &[Diagnostic],
    glue: &Glue,
    cell: &Cell,
    known: &Known,
    notes: &[String],
) -> Failure {
    let worth_reading = |d: &&Diagnostic| {
        !d.message.starts_with("aborting due to") && !d.message.starts_with("Some errors have detailed")
    };
    let mut own: Vec<Diagnostic> = errors.iter().filter(|d| !d.spans.is_empty()).cloned().collect();
    if own.is_empty() {
        own = errors.iter().filter(worth_reading).cloned().collect();
    }
    let own = captures::in_words(own);
    let first = own.first().map_or("the compiler refused the cell", |d| d.message.as_str());
    let mut failure = Failure::new("CompileError", types::without_places(first));
    failure.traceback.clear();
    for diagnostic in &own {
        failure.traceback.extend(render::render(diagnostic, &glue.positions));
        if diagnostic.message.starts_with("`?` couldn't convert the error") {
            failure.traceback.push(
                "     = help: `?` takes text and whatever implements `std::error::Error`; for another type write \
                 `.map_err(|error| format!(\"{error:?}\"))?`"
                    .to_owned(),
            );
        }
        if diagnostic.message.starts_with("linker `") {
            failure.traceback.push(
                "     = help: cells need a C compiler to link; on Debian: apt-get install gcc libc6-dev"
                    .to_owned(),
            );
        }
        failure.traceback.push(String::new());
    }
    let mentioned = known.variables.iter().filter(|(name, _)| cell.mentioned.contains(*name));
    for (variable, old) in mentioned.filter_map(|(name, ty)| Some((name, outdated(ty, known)?))) {
        let number = known.item(&old).map_or(0, |index| known.definitions[index].source.number);
        failure.traceback.push(format!(
            "note: `{variable}` was made before In [{number}] defined `{old}` anew; make it again"
        ));
    }
    let unknown = own
        .iter()
        .filter(|diagnostic| diagnostic.code() == "E0425")
        .filter_map(|d| d.message.split('`').nth(1));
    let unknown: std::collections::BTreeSet<&str> = unknown.collect();
    for (name, gone) in unknown.into_iter().filter_map(|name| known.gone.get_key_value(name)) {
        failure.traceback.push(format!("note: {}", gone.explain(name)));
    }
    failure.traceback.extend(notes.iter().map(|note| format!("note: {note}")));
    failure
}

/// The name in `ty` that means another type by now.
pub fn outdated(ty: &str, known: &Known) -> Option<String> {
    let mut old = None;
    types::map_paths(ty, |home, name| {
        let index = known.item(name)?;
        if naming::is_cell(home) && known.definitions[index].home != home {
            old = Some(name.to_owned());
        }
        None
    });
    old
}

/// Why an evaluator process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The person interrupted a second time.
    Interrupted,
    /// The person interrupted, and the evaluator has no other way to stop a cell.
    InterruptedAtOnce,
    /// A stack was full.
    Overflow,
    /// As the operating system puts it.
    Other(String),
}

/// What to tell of an evaluator process that ended; `kept` are the clusters that outlived it.
pub fn ended(end: &End, variables: &[String], kept: &[Kept]) -> Failure {
    let lost = match variables {
        [] => "no variable was lost".to_owned(),
        names => format!("lost variables: {}", names.join(", ")),
    };
    let (name, what) = match end {
        End::Interrupted => {
            ("Interrupted", "interrupted a second time, so the process that runs cells was ended".to_owned())
        }
        End::InterruptedAtOnce => (
            "Interrupted",
            "interrupted; evcxr can stop a cell only by ending the process that runs cells".to_owned(),
        ),
        End::Overflow => (
            "StackOverflow",
            "a function of the cell called itself too deeply, which ended the process that runs cells"
                .to_owned(),
        ),
        End::Other(how) if how.contains("SIGKILL") => (
            "EvaluatorEnded",
            format!(
                "the process that runs cells was killed ({how}), as the system does when memory runs out"
            ),
        ),
        End::Other(how) => ("EvaluatorEnded", format!("the process that runs cells ended ({how})")),
    };
    let clusters: String = kept.iter().map(|kept| format!(". {}", still_there(kept))).collect();
    Failure::new(
        name,
        format!(
            "{what}; {lost}. Functions and types of earlier cells are kept, and a new process has been started{clusters}"
        ),
    )
}

/// What is left of a cluster, and how to go on with it.
fn still_there(kept: &Kept) -> String {
    let Kept { name, workers, holds, trouble } = kept;
    let workers = if *workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
    match (trouble, holds.as_slice()) {
        (Some(trouble), _) => {
            format!("Cluster {name} is still there, but {trouble}; `nuna cluster stop {name}` ends it")
        }
        (None, []) => format!(
            "Cluster {name} still runs with {workers}, and the next cells compute on it; `let cluster = \
             Cluster::attach(\"{name}\")?;` gets its handle back"
        ),
        (None, [(first, kind), ..]) => format!(
            "Cluster {name} still runs with {workers} and holds {}, and the next cells compute on it; `let cluster = \
             Cluster::attach(\"{name}\")?;` gets its handle back, then `let data: {} = cluster.get(\"{first}\")?;` what it holds",
            holds.iter().map(|(name, what)| format!("{name} ({what})")).collect::<Vec<_>>().join(", "),
            kind.split(' ').next().unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_names_the_clusters_that_go_on() {
        let holds = vec![("sst".to_owned(), "DataArray float64 (x: 2)".to_owned())];
        let kept = Kept { name: "a".into(), workers: 2, holds, trouble: None };
        let told = ended(&End::Overflow, &["x".into()], &[kept]).value;
        assert!(told.contains("lost variables: x"), "{told}");
        assert!(
            told.contains("Cluster a still runs with 2 workers and holds sst (DataArray float64 (x: 2)),"),
            "{told}"
        );
        assert!(told.contains("`let cluster = Cluster::attach(\"a\")?;`"), "{told}");
        assert!(told.contains("`let data: DataArray = cluster.get(\"sst\")?;`"), "{told}");
    }
}
