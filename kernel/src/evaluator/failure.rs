//! Owns what a person reads when a cell fails.

use super::{
    compile::Diagnostic,
    glue::{Glue, Origin, Place},
    known::Known,
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
        let ty = types::shown(ty);
        Self::new(
            "UnnameableType",
            format!(
                "variable `{variable}` has a type that cannot be written ({ty}), so it cannot be kept for later cells; \
                 write a function, box it (`let {variable}: Box<dyn Fn(f64) -> f64> = Box::new(…)`), or wrap the cell in `{{ … }}`"
            ),
        )
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
    let mut own: Vec<&Diagnostic> = errors.iter().filter(|d| !d.spans.is_empty()).collect();
    if own.is_empty() {
        own = errors.iter().filter(worth_reading).collect();
    }
    let first = own.first().map_or("the compiler refused the cell", |d| d.message.as_str());
    let mut failure = Failure::new("CompileError", first);
    failure.traceback.clear();
    for diagnostic in own {
        if let Some(Origin::Store(variable) | Origin::Return(variable)) =
            diagnostic.primary().and_then(|span| glue.origin(span.line_start))
        {
            failure.traceback.push(format!(
                "variable `{variable}` cannot be kept for later cells: {}. A variable that borrows from another lives only inside one block `{{ … }}`.",
                diagnostic.message
            ));
        }
        failure.traceback.extend(render::render(diagnostic, &glue.positions));
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
    failure.traceback.extend(notes.iter().map(|note| format!("note: {note}")));
    failure
}

/// The name in `ty` that means another type by now.
pub fn outdated(ty: &str, known: &Known) -> Option<String> {
    let mut old = None;
    types::map_paths(ty, |home, name| {
        let index = known.item(name)?;
        if home.starts_with("cell_") && known.definitions[index].home != home {
            old = Some(name.to_owned());
        }
        None
    });
    old
}

/// How an evaluator process that ended says so.
pub fn ended(how: &str, variables: &[String], overflowed: bool) -> Failure {
    let lost = match variables {
        [] => "no variable was lost".to_owned(),
        names => format!("lost variables: {}", names.join(", ")),
    };
    let (name, what) = if overflowed {
        (
            "StackOverflow",
            "a function of the cell called itself too deeply, which ended the process that runs cells"
                .to_owned(),
        )
    } else {
        ("EvaluatorEnded", format!("the process that runs cells ended ({how})"))
    };
    Failure::new(
        name,
        format!(
            "{what}; {lost}. Functions and types of earlier cells are kept, and a new process has been started"
        ),
    )
}
