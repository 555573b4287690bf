//! `[profiles.KEY]`: what people can choose. Everything that reaches a job script is checked here, letter by letter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::Faults;
use super::launcher::is_one_line;
use crate::select::Chunk;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub queue: String,
    /// PBS's select statement. `{name}` stands for the option of that name.
    pub select: String,
    pub place: Option<String>,
    pub walltime: String,
    pub account: Option<String>,
    pub project: Option<String>,
    /// More directives of the batch system, each an option as on its command line.
    #[serde(default)]
    pub directives: Vec<String>,
    /// Members of one of these may use it; everybody if empty.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Smaller ones come first on the form; equal ones by key.
    #[serde(default)]
    pub order: i64,
    #[serde(default)]
    pub options: BTreeMap<String, OptionSettings>,
}

/// What people may change about a profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptionSettings {
    Choice {
        title: String,
        choices: Vec<String>,
        default: String,
    },
    Number {
        title: String,
        min: i64,
        max: i64,
        default: i64,
    },
    /// Replaces the profile's walltime, up to `max`.
    Walltime {
        title: String,
        max: String,
    },
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

fn is_word(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || also.contains(letter))
}

/// The options that a select statement names as `{name}`, in its order.
pub(super) fn option_names(select: &str) -> Vec<&str> {
    select.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
}

impl ProfileSettings {
    pub(super) fn check(&self, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        if !is_profile_key(key) {
            faults.add(
                format!("profiles.{key:?}"),
                "not a name for a profile",
                "use letters, digits, - and _",
            );
        }
        if self.title.trim().is_empty() {
            faults.add(path("title"), "it is empty", "say in a few words what people get");
        }
        if !is_word(&self.queue, "-_.@") {
            faults.add(
                path("queue"),
                format!("{:?} is not a queue's name", self.queue),
                "qstat -Q lists the queues, sinfo the partitions",
            );
        }
        let plain = self.select.replace(['{', '}'], "");
        if !is_word(&plain, ":=+._-%/@") {
            let wrong = format!("{:?} is not a select statement", self.select);
            faults.add(path("select"), wrong, "write it as for qsub -l select=, such as 1:ncpus=4:mem=8gb");
        }
        for name in option_names(&self.select) {
            if !self.options.contains_key(name) {
                let wrong = format!("{{{name}}} has no option of that name");
                faults.add(path("select"), wrong, format!("add [profiles.{key}.options.{name}]"));
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
                && !is_word(value, "-_.")
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

    /// What Slurm has no word for. The select statement is translated with every value that people can choose.
    pub(super) fn check_for_slurm(&self, key: &str, faults: &mut Faults) {
        let path = |field: &str| format!("profiles.{key}.{field}");
        if self.place.is_some() {
            let remedy = "leave it out; directives = [\"--exclusive\"] is Slurm's place=excl";
            faults.add(path("place"), "it means nothing to Slurm", remedy);
        }
        if self.project.is_some() {
            let remedy = "leave it out; account, or directives = [\"--wckey=NAME\"], may be what is meant";
            faults.add(path("project"), "Slurm has no projects", remedy);
        }
        if let Some(error) = self.selects().iter().find_map(|select| Chunk::parse(select).err()) {
            let remedy =
                "use nodes, ncpus, mem and ngpus, such as 1:ncpus=4:mem=8gb, and directives for the rest";
            faults.add(path("select"), error.to_string(), remedy);
        }
    }

    /// The select statement with every option at its default, and with each other value of each option.
    fn selects(&self) -> Vec<String> {
        let filled = |changed: &str, value: &str| {
            self.options.iter().fold(self.select.clone(), |select, (name, option)| {
                let default = option.values().into_iter().next().unwrap_or_default();
                let value = if name == changed { value } else { &default };
                select.replace(&format!("{{{name}}}"), value)
            })
        };
        let others = self
            .options
            .iter()
            .flat_map(|(name, option)| option.values().into_iter().map(move |value| (name, value)));
        std::iter::once(filled("", "")).chain(others.map(|(name, value)| filled(name, &value))).collect()
    }
}

impl OptionSettings {
    /// The default, then others: all choices, the ends of a range.
    fn values(&self) -> Vec<String> {
        match self {
            Self::Choice { choices, default, .. } => {
                std::iter::once(default).chain(choices).cloned().collect()
            }
            Self::Number { min, max, default, .. } => [default, min, max].map(i64::to_string).to_vec(),
            Self::Walltime { .. } => Vec::new(),
        }
    }

    fn check(&self, path: &str, name: &str, profile: &ProfileSettings, faults: &mut Faults) {
        if !is_word(name, "_") || matches!(name, "profile") {
            faults.add(
                path,
                "not a name for an option",
                "use letters, digits and _, and not the word profile",
            );
        }
        let is_used = option_names(&profile.select).contains(&name);
        match self {
            Self::Choice { choices, default, .. } => {
                if !choices.contains(default) {
                    faults.add(
                        path,
                        format!("the default {default:?} is not among the choices"),
                        "name one of them",
                    );
                }
                if let Some(bad) = choices.iter().find(|choice| !is_word(choice, "._-")) {
                    faults.add(
                        path,
                        format!("the choice {bad:?} does not fit a select statement"),
                        "use letters, digits, . _ and -",
                    );
                }
            }
            Self::Number { min, max, default, .. } => {
                if !(0 <= *min && min <= default && default <= max) {
                    faults.add(
                        path,
                        format!("0 ≤ {min} ≤ {default} ≤ {max} does not hold"),
                        "order min, default and max",
                    );
                }
            }
            Self::Walltime { max, .. } => {
                let (own, limit) = (parse_walltime(&profile.walltime), parse_walltime(max));
                match (own, limit) {
                    (_, None) => {
                        faults.add(path, format!("max = {max:?} is not HH:MM:SS"), "such as 08:00:00")
                    }
                    (Some(own), Some(limit)) if own > limit => {
                        faults.add(
                            path,
                            "max is less than the profile's walltime",
                            "raise max, or lower walltime",
                        );
                    }
                    (_, Some(_)) => {}
                }
                if name != "walltime" {
                    faults.add(path, "an option of kind walltime has that name", "call it options.walltime");
                }
                return;
            }
        }
        if !is_used {
            let wrong = format!("nothing uses it: {{{name}}} is not in select");
            faults.add(path, wrong, "put it into select, or remove the option");
        }
    }
}
