//! The job script and the form, from tera templates: the built-in ones, or a site's own.
//!
//! Nothing can add a line to a script: every value is refused if it holds a control character, and what reaches
//! the shell goes through `quote`. The form escapes by itself.

use std::collections::{BTreeSet, HashMap};

use nuna_pbs::UserName;
use serde::Serialize;
use tera::{Tera, Value};

use crate::config::{Fault, LauncherSettings, ProfileSettings, System, TemplateSettings, is_one_line};
use crate::form::{Before, Form, Moment};
use crate::profiles::Resources;
use crate::queues::Known;
use crate::secret::Code;
use crate::select::{Chunk, ChunkError};

const JOB: &str = "job.sh";
const FORM: &str = "form.html";
/// What a job does, below the directives of each system.
const BODY: &str = "job-body.sh";
const JOB_TEXT: &str = include_str!("../templates/job.sh.tera");
const JOB_TORQUE_TEXT: &str = include_str!("../templates/job-torque.sh.tera");
const JOB_SLURM_TEXT: &str = include_str!("../templates/job-slurm.sh.tera");
const BODY_TEXT: &str = include_str!("../templates/job-body.sh.tera");
const FORM_TEXT: &str = include_str!("../templates/form.html.tera");

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the value of {name} holds a control character, which could add lines to the job script")]
    ControlCharacter { name: String },
    #[error("the job script does not hand the one-time code to the launcher's standard input")]
    NoCode,
    #[error("the line {line:?} of the job script comes after its first command, where {system} ignores it")]
    LateDirective { line: String, system: System },
    #[error("the profile's select statement cannot be told to this batch system: {0}")]
    Select(#[from] ChunkError),
    #[error("the template {name} cannot be filled in: {message}")]
    Render { name: &'static str, message: String },
}

pub struct Templates {
    tera: Tera,
    system: System,
}

/// What a job script is made of.
#[derive(Serialize)]
pub struct JobContext<'a> {
    #[serde(flatten)]
    resources: &'a Resources,
    /// The select statement taken apart, where it is as simple as that.
    #[serde(flatten)]
    chunk: Option<Chunk>,
    tag: &'a str,
    user: &'a str,
    home: Option<String>,
    path: Option<&'a str>,
    program: String,
    arguments: &'a [String],
    service_url: &'a str,
    code: &'a str,
}

impl<'a> JobContext<'a> {
    pub fn new(
        resources: &'a Resources,
        launcher: &'a LauncherSettings,
        service_url: &'a str,
        user: &'a UserName,
        tag: &'a str,
        code: &'a Code,
    ) -> Self {
        Self {
            resources,
            chunk: Chunk::parse(&resources.select).ok(),
            tag,
            user: user.as_str(),
            home: launcher.home.as_ref().map(|home| home.replace("{user}", user.as_str())),
            path: launcher.path.as_deref(),
            program: launcher.program.display().to_string(),
            arguments: &launcher.arguments,
            service_url,
            code: code.reveal(),
        }
    }
}

impl Templates {
    pub fn new(settings: &TemplateSettings, system: System) -> Result<Self, Vec<Fault>> {
        let mut tera = Tera::default();
        tera.autoescape_on(vec![".html"]);
        tera.register_filter("quote", quote);
        let mut faults = Vec::new();
        let job = match system {
            System::Pbs => JOB_TEXT,
            System::Torque => JOB_TORQUE_TEXT,
            System::Slurm => JOB_SLURM_TEXT,
        };
        for (name, key, own, text) in [
            // First, since a template that includes another is refused while that is missing.
            (BODY, "templates", &None, BODY_TEXT),
            (JOB, "templates.job", &settings.job, job),
            (FORM, "templates.form", &settings.form, FORM_TEXT),
        ] {
            let outcome = match own {
                None => tera.add_raw_template(name, text).map_err(|error| whole(&error)),
                Some(path) => std::fs::read_to_string(path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))
                    .and_then(|text| tera.add_raw_template(name, &text).map_err(|error| whole(&error))),
            };
            if let Err(wrong) = outcome {
                let remedy = "mend the template, or leave the key out for the built-in one";
                faults.push(Fault { key: key.to_owned(), wrong, remedy: remedy.to_owned() });
            }
        }
        if faults.is_empty() { Ok(Self { tera, system }) } else { Err(faults) }
    }

    pub fn job(&self, context: &JobContext<'_>) -> Result<String, TemplateError> {
        let render = |message: String| TemplateError::Render { name: JOB, message };
        if self.system != System::Pbs {
            Chunk::parse(&context.resources.select)?;
        }
        let value = serde_json::to_value(context).map_err(|error| render(error.to_string()))?;
        check_lines("", &value)?;
        let filled = tera::Context::from_value(value).map_err(|error| render(whole(&error)))?;
        let script = self.tera.render(JOB, &filled).map_err(|error| render(whole(&error)))?;
        check_script(&script, context.code, self.system)?;
        Ok(script)
    }

    pub fn form(&self, form: &Form) -> Result<String, TemplateError> {
        let render = |error: tera::Error| TemplateError::Render { name: FORM, message: whole(&error) };
        let context = tera::Context::from_serialize(form).map_err(render)?;
        self.tera.render(FORM, &context).map_err(render)
    }
}

/// tera tells the place in one error and the reason in the next.
fn whole(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn check_lines(name: &str, value: &Value) -> Result<(), TemplateError> {
    match value {
        Value::String(text) if !is_one_line(text) => {
            Err(TemplateError::ControlCharacter { name: name.to_owned() })
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_lines(name, item)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| check_lines(name, value)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// What holds for every script, whoever wrote its template.
fn check_script(script: &str, code: &str, system: System) -> Result<(), TemplateError> {
    if script.lines().filter(|line| *line == code).count() != 1 || script.matches(code).count() != 1 {
        return Err(TemplateError::NoCode);
    }
    let mut has_begun = false;
    for line in script.lines() {
        if line.trim_start().starts_with(system.directive()) {
            if has_begun {
                return Err(TemplateError::LateDirective { line: line.to_owned(), system });
            }
        } else {
            has_begun |= !line.trim().is_empty() && !line.starts_with('#');
        }
    }
    Ok(())
}

/// For the shell: one word, whatever it holds.
fn quote(value: &Value, _: &HashMap<String, Value>) -> tera::Result<Value> {
    let text = value.as_str().ok_or_else(|| tera::Error::msg("quote: the value is not a text"))?;
    if !is_one_line(text) {
        return Err(tera::Error::msg("quote: the value holds a control character"));
    }
    Ok(Value::String(format!("'{}'", text.replace('\'', "'\\''"))))
}

/// Tries every profile with its default options, so that a faulty template is found before a user finds it.
pub fn check_all(
    templates: &Templates,
    profiles: &crate::profiles::Profiles,
    settings: &std::collections::BTreeMap<String, ProfileSettings>,
    launcher: &LauncherSettings,
    service_url: &str,
) -> Vec<Fault> {
    let mut faults = BTreeSet::new();
    let user: UserName = "someone".parse().expect("the literal is a user name");
    let code = Code::from_text("0".repeat(64));
    for (key, profile) in settings.iter().filter(|(_, profile)| !profile.is_abstract) {
        let mut options = serde_json::Map::new();
        options.insert("profile".to_owned(), key.clone().into());
        let rendered = profiles
            .choose_from_json("someone", &profile.groups, &options)
            .map_err(|error| error.to_string())
            .and_then(|choice| profiles.resources(&choice).ok_or_else(|| "the profile is gone".to_owned()))
            .and_then(|resources| {
                let context =
                    JobContext::new(&resources, launcher, service_url, &user, "nuna-0000000000", &code);
                templates.job(&context).map_err(|error| error.to_string())
            });
        if let Err(error) = rendered {
            faults.insert(("templates.job".to_owned(), error));
        }
        let moment =
            Moment { user: "someone", system: templates.system, known: &Known::default(), servers: &[] };
        let form = Form::new(&[(key.as_str(), profile.clone())], Before::default(), moment);
        if let Err(error) = templates.form(&form) {
            faults.insert(("templates.form".to_owned(), error.to_string()));
        }
    }
    let remedy = "mend the template, or leave the key out for the built-in one";
    faults.into_iter().map(|(key, wrong)| Fault { key, wrong, remedy: remedy.to_owned() }).collect()
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
