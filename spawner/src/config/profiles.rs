//! `[profiles.KEY]`: what people can choose. Everything that reaches a job script is checked here, letter by letter.
//!
//! `options` has what people may change, `inherit` what a profile has from another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::launcher::{is_one_line, is_variable};
use super::options::OptionSettings;
use super::{Faults, System};
use crate::select::{Chunk, size_bytes};

/// What a select statement can be told as in words.
pub(super) const WORDS: [&str; 4] = ["nodes", "ncpus", "mem", "ngpus"];

/// What is left out of the file is empty here, and found by [`ProfileSettings::check`] if it is needed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileSettings {
    /// Key of the profile whose settings this one has unless it says otherwise.
    pub inherit: Option<String>,
    /// For others to inherit from; nobody can choose it, and it may lack what they add.
    #[serde(rename = "abstract")]
    pub is_abstract: bool,
    pub title: String,
    pub description: String,
    pub queue: String,
    /// PBS's select statement. `{name}` stands for the option of that name, here and in queue, account and project.
    pub select: Option<String>,
    /// Instead of a select statement: so many nodes, each with so much of the rest. An option of the same name stands
    /// in for it.
    pub nodes: Option<u32>,
    pub ncpus: Option<u32>,
    pub mem: Option<String>,
    pub ngpus: Option<u32>,
    pub place: Option<String>,
    pub walltime: String,
    pub account: Option<String>,
    pub project: Option<String>,
    /// More directives of the batch system, each an option as on its command line.
    pub directives: Vec<String>,
    /// Lines of the job script before the user server is started, in its folder.
    pub prologue: Vec<String>,
    /// Lines of the job script after the user server has ended.
    pub epilogue: Vec<String>,
    /// Added to the user server's environment, after `[launcher]`'s. Not for secrets.
    pub environment: BTreeMap<String, String>,
    /// Where the user server shows files; `{user}` is the user's name.
    pub notebook_dir: Option<String>,
    /// What is opened first, such as `/lab/tree/start.ipynb`.
    pub default_url: Option<String>,
    /// Instead of the hub's `Spawner.cmd`.
    pub command: Vec<String>,
    /// Behind those of the hub's `Spawner.args`.
    pub arguments: Vec<String>,
    /// Members of one of these may use it, and nobody else sees it; everybody if empty.
    pub groups: Vec<String>,
    /// Smaller ones come first on the form; equal ones by key.
    pub order: i64,
    pub options: BTreeMap<String, OptionSettings>,
}

/// `HH:MM:SS`, `MM:SS` or seconds.
pub fn parse_walltime(text: &str) -> Option<Duration> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    let mut seconds: u64 = 0;
    for part in parts {
        if part.is_empty() || part.len() > 7 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

pub fn walltime_text(walltime: Duration) -> String {
    let seconds = walltime.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

pub fn is_profile_key(key: &str) -> bool {
    is_word(key, "-_") && key.len() <= 64
}

pub(super) fn is_word(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter))
}

/// The options that a text names as `{name}`, in its order.
pub(super) fn option_names(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
}

impl ProfileSettings {
    /// The select statement, `{name}` where people choose: as it is written, or put together from the words.
    pub fn select(&self) -> String {
        if let Some(select) = &self.select {
            return select.clone();
        }
        let word = |name: &str, fixed: Option<String>| match self.options.get(name) {
            // A number of an amount of memory needs a unit, and people think in these.
            Some(OptionSettings::Number { .. }) if name == "mem" => Some("{mem}gb".to_owned()),
            Some(_) => Some(format!("{{{name}}}")),
            None => fixed,
        };
        let text = |number: Option<u32>| number.map(|number| number.to_string());
        let mut select = word("nodes", text(self.nodes)).unwrap_or_else(|| "1".to_owned());
        for (name, fixed) in
            [("ncpus", text(self.ncpus)), ("mem", self.mem.clone()), ("ngpus", text(self.ngpus))]
        {
            if let Some(value) = word(name, fixed) {
                select.push_str(&format!(":{name}={value}"));
            }
        }
        select
    }

    /// As those see it who are in these groups: options reach as far as the most generous of them.
    pub fn for_groups(&self, groups: &[String]) -> Self {
        let options = self.options.iter().map(|(name, option)| (name.clone(), option.for_groups(groups)));
        Self { options: options.collect(), ..self.clone() }
    }

    /// What `{name}` may stand in.
    fn texts(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("select", Some(self.select())),
            ("queue", Some(self.queue.clone())),
            ("account", self.account.clone()),
            ("project", self.project.clone()),
        ]
    }

    /// Whether a value of this option goes anywhere.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.texts()
            .iter()
            .any(|(_, text)| text.as_deref().is_some_and(|text| option_names(text).contains(&name)))
    }

    pub(super) fn check(&self, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        if !is_profile_key(key) {
            faults.add(
                format!("profiles.{key:?}"),
                "not a name for a profile",
                "use letters, digits, - and _",
            );
        }
        if self.is_abstract {
            // What lacks is added by those who inherit, and is checked there.
            return;
        }
        if self.title.trim().is_empty() {
            faults.add(path("title"), "it is empty", "say in a few words what people get");
        }
        if !is_word(&self.queue.replace(['{', '}'], ""), "-_.@") {
            faults.add(
                path("queue"),
                format!("{:?} is not a queue's name", self.queue),
                "qstat -Q lists the queues, sinfo the partitions",
            );
        }
        self.check_select(key, faults);
        for (field, text) in self.texts() {
            for name in text.iter().flat_map(|text| option_names(text)) {
                if !self.options.contains_key(name) {
                    let wrong = format!("{{{name}}} has no option of that name");
                    faults.add(path(field), wrong, format!("add [profiles.{key}.options.{name}]"));
                }
            }
        }
        if let Some(place) = &self.place
            && !is_word(place, ":=-_")
        {
            faults.add(path("place"), format!("{place:?} is not a place"), "such as scatter:excl");
        }
        if parse_walltime(&self.walltime).is_none() {
            faults.add(path("walltime"), format!("{:?} is not HH:MM:SS", self.walltime), "such as 02:00:00");
        }
        for (field, value) in [("account", &self.account), ("project", &self.project)] {
            if let Some(value) = value
                && !is_word(&value.replace(['{', '}'], ""), "-_.")
            {
                faults.add(path(field), format!("{value:?} is not a name"), "use letters, digits, - _ and .");
            }
        }
        for directive in &self.directives {
            if !directive.starts_with('-') || !is_one_line(directive) {
                faults.add(
                    path("directives"),
                    format!("{directive:?} is not an option"),
                    "write each as behind #PBS or #SBATCH, such as \"-l place=excl\" or \"--qos=high\"",
                );
            }
        }
        self.check_job(key, faults);
        for group in &self.groups {
            if group.trim().is_empty() || !is_one_line(group) {
                faults.add(
                    path("groups"),
                    format!("{group:?} is not a group"),
                    "write names as the directory has them",
                );
            }
        }
        for (name, option) in &self.options {
            option.check(&path(&format!("options.{name}")), name, self, faults);
        }
    }

    fn check_select(&self, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        let words = [
            ("nodes", self.nodes.is_some()),
            ("ncpus", self.ncpus.is_some()),
            ("mem", self.mem.is_some()),
            ("ngpus", self.ngpus.is_some()),
        ];
        if let Some(select) = &self.select {
            if !is_word(&select.replace(['{', '}'], ""), ":=+._-%/@") {
                let wrong = format!("{select:?} is not a select statement");
                faults.add(
                    path("select"),
                    wrong,
                    "write it as for qsub -l select=, such as 1:ncpus=4:mem=8gb",
                );
            }
            for (word, _) in words.iter().filter(|(_, is_set)| *is_set) {
                faults.add(path(word), "select says that already", "leave one of the two out");
            }
            return;
        }
        if !words.iter().any(|(word, is_set)| *is_set || self.options.contains_key(*word)) {
            let remedy = "write ncpus = 4 and mem = \"8gb\", or select = \"1:ncpus=4:mem=8gb\"";
            faults.add(path("select"), "the profile does not say how much people get", remedy);
        }
        for (word, amount) in [("nodes", self.nodes), ("ncpus", self.ncpus)] {
            if amount == Some(0) {
                faults.add(path(word), "0 of them run nothing", "leave it out, or give 1 or more");
            }
        }
        if let Some(mem) = &self.mem
            && size_bytes(mem).is_none_or(|bytes| bytes == 0)
        {
            faults.add(path("mem"), format!("{mem:?} is not an amount of memory"), "such as \"8gb\"");
        }
        for (word, is_set) in words {
            if is_set && self.options.contains_key(word) {
                let remedy = "leave it out: the option's default is what people get who change nothing";
                faults.add(path(word), "the option of that name stands in for it", remedy);
            }
        }
    }

    /// What the job does besides.
    fn check_job(&self, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        let lists = [
            ("prologue", &self.prologue),
            ("epilogue", &self.epilogue),
            ("command", &self.command),
            ("arguments", &self.arguments),
        ];
        for (field, lines) in lists {
            if let Some(line) = lines.iter().find(|line| !is_one_line(line)) {
                let wrong = format!("{line:?} has a control character");
                faults.add(
                    path(field),
                    wrong,
                    "one line each, without tabs: [\"module load x\", \"ulimit -c 0\"]",
                );
            }
        }
        if self.command.first().is_some_and(String::is_empty) {
            faults.add(path("command"), "it is empty", "such as [\"/opt/venv/bin/jupyterhub-singleuser\"]");
        }
        if let Some(folder) = &self.notebook_dir
            && (!folder.starts_with(['/', '~']) || !is_one_line(folder))
        {
            let wrong = format!("{folder:?} is not an absolute path");
            faults.add(path("notebook_dir"), wrong, "such as /scratch/{user}, or ~/notebooks");
        }
        if let Some(url) = &self.default_url
            && (!url.starts_with('/') || !is_one_line(url))
        {
            faults.add(
                path("default_url"),
                format!("{url:?} does not begin with /"),
                "such as /lab/tree/start.ipynb",
            );
        }
        for (name, value) in &self.environment {
            let key = path(&format!("environment.{name}"));
            if !is_variable(name) {
                faults.add(key, "not a variable's name", "use letters, digits and _");
            } else if name.starts_with("JUPYTERHUB_") {
                faults.add(
                    key,
                    "that is the hub's to set",
                    "leave it out; notebook_dir and default_url have keys",
                );
            } else if value.contains('\0') {
                faults.add(key, "the value holds a NUL byte", "remove it");
            }
        }
    }

    /// What Slurm or Torque has no word for. The select statement is translated with every value that people can choose.
    pub(super) fn check_for(&self, system: System, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        if self.place.is_some() {
            let option = if system == System::Torque { "-n" } else { "--exclusive" };
            let remedy = format!("leave it out; directives = [{option:?}] is {system}'s place=excl");
            faults.add(path("place"), format!("it means nothing to {system}"), remedy);
        }
        if self.project.is_some() {
            let remedy = match system {
                System::Slurm => {
                    "leave it out; account, or directives = [\"--wckey=NAME\"], may be what is meant"
                }
                System::Pbs | System::Torque => "leave it out; account may be what is meant",
            };
            faults.add(path("project"), format!("{system} has no projects"), remedy);
        }
        if let Some(error) = self.selects().iter().find_map(|select| Chunk::parse(select).err()) {
            let remedy =
                "use nodes, ncpus, mem and ngpus, such as 1:ncpus=4:mem=8gb, and directives for the rest";
            faults.add(path("select"), error.to_string(), remedy);
        }
    }

    /// The select statement with every option at its default, and with each other value of each option.
    pub fn selects(&self) -> Vec<String> {
        self.filled(&self.select())
    }

    /// Every queue that its jobs may go to.
    pub fn queues(&self) -> std::collections::BTreeSet<String> {
        self.filled(&self.queue).into_iter().collect()
    }

    /// A text with every option at its default, and with each other value of each option.
    fn filled(&self, text: &str) -> Vec<String> {
        let filled = |changed: &str, value: &str| {
            self.options.iter().fold(text.to_owned(), |text, (name, option)| {
                let default = option.values().into_iter().next().unwrap_or_default();
                let value = if name == changed { value } else { &default };
                text.replace(&format!("{{{name}}}"), value)
            })
        };
        let others = self
            .options
            .iter()
            .flat_map(|(name, option)| option.values().into_iter().map(move |value| (name, value)));
        std::iter::once(filled("", "")).chain(others.map(|(name, value)| filled(name, &value))).collect()
    }
}
