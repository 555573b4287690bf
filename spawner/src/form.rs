//! The form on which people choose a profile: what it says of profiles and queues, what stands in its fields, and what is
//! wrong with what was typed. `templates` draws it.

use std::collections::BTreeMap;
use std::time::Duration;

use nuna_pbs::Queue;
use serde::Serialize;

use crate::config::{Offer, OptionSettings, ProfileSettings, System, parse_walltime, walltime_text};
use crate::lifecycle::View;
use crate::lifecycle::view::{in_words, moment};
use crate::profiles::value;
use crate::queues::Known;

/// Of what was typed, shown again.
const TYPED_LENGTH_MAX: usize = 200;
/// What is said of queues is called old from here on.
const OLD: Duration = Duration::from_secs(120);

/// What somebody has chosen before: on a form that was refused, or for a server that was started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// Fields as they were sent; wins.
    pub filled: Option<&'a BTreeMap<String, Vec<String>>>,
    /// Options as the hub keeps them.
    pub last: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

/// Who looks at the form, and what is known at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub user: &'a str,
    pub system: System,
    pub known: &'a Known,
    /// Their servers that are not gone.
    pub servers: &'a [View],
}

#[derive(Debug, Serialize)]
pub struct Form {
    system: String,
    /// Why what is said of queues is old, or missing.
    stale: Option<String>,
    profiles: Vec<FormProfile>,
    /// Fields with something wrong.
    errors: usize,
    /// Whether the fields hold what somebody chose before.
    is_remembered: bool,
}

#[derive(Debug, Serialize)]
struct FormProfile {
    key: String,
    title: String,
    description: String,
    queue: String,
    /// What everybody gets of it, in words; what can be chosen is not among it.
    amount: String,
    walltime: String,
    is_chosen: bool,
    options: Vec<FormOption>,
    state: Option<QueueState>,
}

#[derive(Debug, Serialize)]
struct FormOption {
    /// Name of the input.
    field: String,
    id: String,
    title: String,
    value: String,
    choices: Vec<Offer>,
    is_number: bool,
    hint: String,
    error: Option<String>,
    /// The first field with something wrong gets the keyboard.
    is_first_error: bool,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct QueueState {
    /// It does not run jobs now, or not everybody's.
    warning: Option<String>,
    facts: Vec<String>,
}

impl Form {
    /// `profiles` in their order, with options as far as this person's groups reach.
    pub fn new(profiles: &[(&str, ProfileSettings)], before: Before<'_>, moment: Moment<'_>) -> Self {
        let is_offered = |key: &str| profiles.iter().any(|(other, _)| *other == key);
        let sent = before.filled.and_then(|form| form.get("profile")).and_then(|values| values.first());
        let last = before.last.and_then(|last| last.get("profile")).and_then(serde_json::Value::as_str);
        let chosen = [sent.map(String::as_str), last].into_iter().flatten().find(|key| is_offered(key));
        let is_remembered = before.filled.is_none() && chosen.is_some();
        let chosen = chosen.or_else(|| profiles.first().map(|(key, _)| *key)).unwrap_or_default();
        let mut errors = 0;
        let profiles = profiles
            .iter()
            .map(|(key, profile)| form_profile(key, profile, *key == chosen, before, moment, &mut errors))
            .collect();
        Self { system: moment.system.to_string(), stale: stale(moment), profiles, errors, is_remembered }
    }
}

fn stale(moment: Moment<'_>) -> Option<String> {
    let Known { queues, age, trouble } = moment.known;
    let (system, old) = (moment.system, in_words(*age));
    match (trouble, queues) {
        (Some(words), Some(_)) => Some(format!(
            "{system} does not answer at the moment ({words}); what is said of queues is {old} old."
        )),
        (Some(words), None) => Some(format!(
            "{system} does not answer at the moment ({words}), so nothing is said of queues. You can choose all the same."
        )),
        (None, None) => {
            Some(format!("{system} has not said anything of its queues yet. You can choose all the same."))
        }
        (None, Some(_)) if *age > OLD => Some(format!("What is said of queues is {old} old.")),
        (None, Some(_)) => None,
    }
}

fn form_profile(
    key: &str,
    profile: &ProfileSettings,
    is_chosen: bool,
    before: Before<'_>,
    moment: Moment<'_>,
    errors: &mut usize,
) -> FormProfile {
    let mut walltime = parse_walltime(&profile.walltime).map(walltime_text).unwrap_or_default();
    let mut options = Vec::new();
    for (name, option) in &profile.options {
        if let OptionSettings::Walltime { max, .. } = option {
            walltime.clone_from(max);
        }
        let field = format!("{key}.{name}");
        let typed = before.filled.and_then(|form| form.get(&field)).and_then(|values| values.first());
        let last = before
            .last
            .filter(|last| last.get("profile").and_then(serde_json::Value::as_str) == Some(key))
            .and_then(|last| last.get(name))
            .and_then(serde_json::Value::as_str)
            // What was allowed then may not be so now.
            .filter(|text| value(profile, option, Some((*text).to_owned())).is_ok());
        let default = value(profile, option, None).unwrap_or_default();
        let error = match typed {
            Some(text) if is_chosen && !text.trim().is_empty() => {
                value(profile, option, Some(text.trim().to_owned())).err().map(|error| error.to_string())
            }
            _ => None,
        };
        *errors += usize::from(error.is_some());
        let (choices, is_number, hint) = match option {
            OptionSettings::Choice { choices, .. } => (choices.clone(), false, String::new()),
            OptionSettings::Number { min, max, .. } => (Vec::new(), true, format!("{min} to {max}")),
            OptionSettings::Walltime { max, .. } => {
                (Vec::new(), false, format!("Hours, minutes and seconds as {default}; at most {max}"))
            }
        };
        let shown = typed.map(String::as_str).or(last).unwrap_or(&default);
        options.push(FormOption {
            id: format!("nuna-{key}-{name}"),
            field,
            title: option.title().to_owned(),
            value: shown.chars().take(TYPED_LENGTH_MAX).collect(),
            choices,
            is_number,
            hint,
            is_first_error: error.is_some() && *errors == 1,
            error,
        });
    }
    let queue = profile.options.iter().fold(profile.queue.clone(), |queue, (name, option)| {
        queue.replace(&format!("{{{name}}}"), &value(profile, option, None).unwrap_or_default())
    });
    FormProfile {
        key: key.to_owned(),
        title: profile.title.clone(),
        description: profile.description.clone(),
        amount: amount(&profile.select()),
        walltime,
        is_chosen,
        options,
        state: queue_state(&queue, moment),
        queue,
    }
}

/// `1:ncpus=4:mem=8gb` as `4 cores, 8 GB`; a statement that says more stays as it is. What people choose is left out.
fn amount(select: &str) -> String {
    let mut words = Vec::new();
    if select.contains('+') {
        return select.to_owned();
    }
    for (index, part) in select.split(':').enumerate() {
        let many = |count: &str, word: &str| format!("{count} {word}{}", if count == "1" { "" } else { "s" });
        match part.split_once('=') {
            _ if part.contains('{') => {}
            None if index == 0 && part == "1" => {}
            None if index == 0 && part.bytes().all(|byte| byte.is_ascii_digit()) => {
                words.push(many(part, "node"))
            }
            Some(("ncpus", count)) => words.push(many(count, "core")),
            Some(("ngpus", "0")) => {}
            Some(("ngpus", count)) => words.push(many(count, "GPU")),
            Some(("mem", size)) => {
                let digits = size.bytes().take_while(u8::is_ascii_digit).count();
                let (number, unit) = size.split_at(digits);
                words.push(format!("{number} {}", unit.to_uppercase()));
            }
            _ => return select.to_owned(),
        }
    }
    if words.first().is_some_and(|first| first.ends_with("nodes")) && words.len() > 1 {
        let first = words.remove(0);
        return format!("{first} with {} each", words.join(", "));
    }
    words.join(", ")
}

fn queue_state(name: &str, now: Moment<'_>) -> Option<QueueState> {
    let queues = &now.known.queues.as_ref()?.queues;
    // Another server's, which is not asked; or a batch system that does not tell.
    if name.contains('@') || queues.is_empty() {
        return None;
    }
    let Some(queue) = queues.get(name) else {
        let warning = Some(format!("{} has no queue {name} at the moment.", now.system));
        return Some(QueueState { warning, facts: Vec::new() });
    };
    let warning = if !queue.enabled {
        Some(format!("Queue {name} takes no jobs at the moment."))
    } else if !queue.started {
        Some(format!("Queue {name} is stopped: jobs wait in it until it is started."))
    } else if queue.users.as_ref().is_some_and(|users| !users.iter().any(|user| user == now.user)) {
        Some(format!("Queue {name} is for certain people, and you are not among them."))
    } else {
        None
    };
    Some(QueueState { warning, facts: facts(queue, now) })
}

fn facts(queue: &Queue, now: Moment<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(free) = queue.free {
        facts.push(match (free.cores, free.nodes) {
            (0, _) => "no core is free".to_owned(),
            (1, _) => "1 core is free".to_owned(),
            (cores, 0) => format!("{cores} cores are free"),
            (cores, 1) => format!("{cores} cores are free, 1 node is empty"),
            (cores, nodes) => format!("{cores} cores are free, {nodes} nodes are empty"),
        });
    }
    if let (Some(running), Some(waiting)) = (queue.running, queue.waiting) {
        let jobs = |count: u64| if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
        facts.push(format!("{} running, {waiting} waiting", jobs(running)));
    }
    let own: Vec<&View> = now.servers.iter().filter(|view| view.queue == queue.name).collect();
    let waiting: Vec<&&View> =
        own.iter().filter(|view| matches!(view.state, "submitting" | "queued")).collect();
    if !own.is_empty() {
        facts.push(format!("of your servers {} run and {} wait", own.len() - waiting.len(), waiting.len()));
    }
    if let Some(start) = waiting.iter().filter_map(|view| view.expected_start).min().and_then(moment) {
        facts.push(format!("yours is expected to start at {start}"));
    }
    if let Some(most) = queue.running_max.of(now.user) {
        facts.push(format!("at most {most} of your jobs run at once"));
    }
    let waiting_max = [queue.queued_max.of(now.user), queue.waiting_max.of(now.user)];
    if let Some(most) = waiting_max.into_iter().flatten().min() {
        facts.push(format!("at most {most} of your jobs may be in it"));
    }
    facts
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
