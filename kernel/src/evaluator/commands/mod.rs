//! Owns what is typed into a cell and is not Rust: running a cell's commands and code in order (here), reading them
//! (`script`), and the commands by group: what the session holds (`session`), where it runs (`surroundings`), and what
//! evcxr and other kernels have and this one answers with its own ways (`elsewhere`). Crates are added in `dep`.

mod elsewhere;
mod script;
mod session;
mod surroundings;

use std::sync::Arc;

use anyhow::Result;

use self::script::{Call, Names, Step, Timed};
pub(super) use self::session::described;
pub use self::{script::without_commands, surroundings::Surroundings};
use super::{
    Evaluation,
    direct::{Direct, How},
    failure::Failure,
    known::Known,
    positions::{Place, Source},
    print::Print,
    process::Printed,
    split,
};

pub(crate) const HELP: &str = "\
:vars                    variables and their types
:type EXPRESSION         type of a variable, or of an expression, which is not run; also :t
:doc NAME                documentation of an item, method, variable or keyword, such as :doc Vec::push
:dep NAME = \"1.2\"        add a crate; also NAME alone, or { version, features, path, git, … } as in Cargo.toml
:show_deps               crates that were added
:offline [0|1]           whether :dep stays off the network
:opt [0-3]               optimise every cell this much; without a number, only cells with closures or functions
:timing                  show after each cell how long compiling and running took
:env [NAME[=VALUE]]      show or set environment variables of cells; :env -u NAME removes one
:cd [FOLDER]             change the folder that cells and shell lines run in; :pwd shows it
:clear                   forget all variables, items and `use` lines
:explain [CODE]          what a compiler error means, such as :explain E0382; without a code, the last one
:last_error_json         the last compiler errors as data
:last_compile_dir        folder of the compiled cells
:version                 versions of this kernel and its compiler
:help                    this text
%time CODE               run CODE and say how long it took; %%time at the top is for the whole cell
%timeit CODE             run CODE many times, optimised, and say how long it takes; also %%timeit
!COMMAND                 run COMMAND in a shell; %%bash at the top is for the whole cell
?NAME or NAME?           what NAME is
A line `//! opt = 3` at the top of a cell sets the level for that cell. Commands may stand before, between and behind lines
of Rust.";

fn refused(text: impl Into<String>) -> Evaluation {
    Evaluation { error: Some(Failure::new("Command", text)), shown: None }
}

fn shown(text: impl Into<String>) -> Evaluation {
    Evaluation { shown: Some(vec![("text/plain".to_owned(), text.into())]), error: None }
}

impl Names for Known {
    fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name) || self.item(name).is_some()
    }

    fn can_fail(&self, name: &str) -> bool {
        let ty = self.variables.get(name);
        ty.is_some_and(|ty| {
            ["::Result<", "::Option<"]
                .iter()
                .any(|of| ty.split_once(of).is_some_and(|(before, _)| !before.contains('<')))
        })
    }
}

fn is_dep(step: &Step) -> bool {
    matches!(step, Step::Command(Call::Colon { word, .. }) if word == "dep")
}

impl Direct {
    /// Runs a cell's steps in order, up to the first that fails. What the last one shows is the cell's result.
    pub(super) async fn steps(&mut self, text: &str, number: u32, print: &Print) -> Result<Evaluation> {
        let (text, wished) = script::directives(text);
        let steps = script::steps(&text, &self.known);
        let mut last = Evaluation::default();
        let count = steps.len();
        let mut steps = steps.into_iter().enumerate().peekable();
        while let Some((index, step)) = steps.next() {
            // Crates that are asked for together are chosen and compiled together.
            if let Step::Command(Call::Colon { word, rest }) = &step
                && word == "dep"
            {
                let mut lines = vec![rest.clone()];
                while let Some((_, Step::Command(Call::Colon { rest, .. }))) =
                    steps.next_if(|(_, step)| is_dep(step))
                {
                    lines.push(rest);
                }
                last = self.add_crates(&lines, print).await?;
                if last.error.is_some() {
                    break;
                }
                continue;
            }
            let is_command = matches!(step, Step::Command(_));
            last = match step {
                Step::Command(call) => self.call(call, print).await?,
                Step::Code { text, timed } => self.code(text, timed, wished, number, print).await?,
            };
            if last.error.is_some() {
                break;
            }
            // A cell has one result; what its other commands say is printed.
            let text = last.shown.iter().flatten().find(|(kind, _)| kind == "text/plain");
            if is_command
                && index + 1 < count
                && let Some((_, text)) = text
            {
                let _ = print.send(Printed::Stdout(format!("{text}\n"))).await;
            }
        }
        Ok(last)
    }

    async fn code(
        &mut self,
        text: String,
        timed: Timed,
        wished: Option<u8>,
        number: u32,
        print: &Print,
    ) -> Result<Evaluation> {
        let source = Arc::new(Source { number, text });
        let mut cell = match split::split(&source.text) {
            Ok(cell) => cell,
            Err(error) => {
                let place = Place { source, line: error.line, column: error.column };
                return Ok(Failure::syntax(&error, &place).into());
            }
        };
        if cell.is_empty() {
            return Ok(Evaluation::default());
        }
        if timed == Timed::Often && !cell.time_last_statement() {
            return Ok(refused("%timeit takes an expression or a block of statements"));
        }
        self.run(source, &cell, How { level: wished, is_timed: timed == Timed::Once }, print).await
    }

    async fn call(&mut self, call: Call, print: &Print) -> Result<Evaluation> {
        match call {
            Call::Colon { word, rest } => self.colon(&word, &rest, print).await,
            Call::Line { word, rest } => self.line_magic(&word, &rest, print).await,
            Call::Whole { word, rest, body } => self.cell_magic(&word, &rest, &body, print).await,
            Call::Shell(command) => self.shell(&command, print).await,
            Call::About(name) => Ok(self.about(&name).await),
        }
    }

    async fn colon(&mut self, word: &str, rest: &str, print: &Print) -> Result<Evaluation> {
        Ok(match word {
            "help" => shown(HELP),
            "vars" => self.vars(),
            "type" | "t" => self.type_of(rest).await,
            "doc" => self.doc(rest).await,
            "opt" => self.opt(rest),
            "timing" => self.toggle_timing(),
            "clear" => self.clear().await?,
            "explain" => self.explain(rest).await?,
            "last_error_json" => self.last_error_json(),
            "last_compile_dir" => shown(self.folder.path().display().to_string()),
            "version" => self.version().await?,
            "env" => self.env(rest, print).await?,
            "cd" => self.cd(rest, print).await?,
            "pwd" => self.pwd(print).await?,
            "dep" => self.add_crates(&[rest.to_owned()], print).await?,
            "show_deps" => shown(self.added_crates()),
            "offline" => self.offline(rest),
            word => elsewhere::colon(word, rest),
        })
    }

    async fn line_magic(&mut self, word: &str, rest: &str, print: &Print) -> Result<Evaluation> {
        Ok(match word {
            "cd" => self.cd(rest, print).await?,
            "pwd" => self.pwd(print).await?,
            "env" | "set_env" => {
                // Both `NAME=VALUE` and `NAME VALUE`.
                let pair =
                    rest.split_once(char::is_whitespace).filter(|(name, _)| !name.contains(['=', '-']));
                let rest = pair.map_or(rest.to_owned(), |(name, value)| format!("{name}={}", value.trim()));
                self.env(&rest, print).await?
            }
            "who" | "who_ls" => self.who(),
            "whos" => self.vars(),
            "pinfo" | "pinfo2" => self.about(rest).await,
            "reset" => self.clear().await?,
            "sx" | "system" => self.shell(rest, print).await?,
            "lsmagic" | "magic" | "quickref" => shown(HELP),
            word => elsewhere::magic(word),
        })
    }

    async fn cell_magic(&mut self, word: &str, rest: &str, body: &str, print: &Print) -> Result<Evaluation> {
        let media = |kind: &str| Evaluation {
            shown: Some(vec![(kind.to_owned(), body.to_owned()), ("text/plain".to_owned(), body.to_owned())]),
            error: None,
        };
        Ok(match word {
            "bash" | "sh" => self.script(word, body, print).await?,
            "script" if ["bash", "sh"].contains(&rest) => self.script(rest, body, print).await?,
            "html" | "HTML" => media("text/html"),
            "markdown" => media("text/markdown"),
            "latex" => media("text/latex"),
            "svg" | "SVG" => media("image/svg+xml"),
            word => elsewhere::magic(word),
        })
    }
}
