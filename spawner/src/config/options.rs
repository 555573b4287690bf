//! `[profiles.KEY.options]`: what people may change about a profile, and how far, which may depend on their groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Faults;
use super::profiles::{ProfileSettings, is_word, parse_walltime};

/// What people may change about a profile. `for_groups` has what members of a group of the directory may have
/// besides: more choices, or a larger maximum.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptionSettings {
    Choice {
        title: String,
        choices: Vec<Offer>,
        default: String,
        #[serde(default)]
        for_groups: BTreeMap<String, Vec<Offer>>,
    },
    Number {
        title: String,
        min: i64,
        max: i64,
        default: i64,
        #[serde(default)]
        for_groups: BTreeMap<String, i64>,
    },
    /// Replaces the profile's walltime, up to `max`.
    Walltime {
        title: String,
        max: String,
        #[serde(default)]
        for_groups: BTreeMap<String, String>,
    },
}

/// One of several values, with the words people read for it: `"28"`, or `{ value = "28", title = "A whole node" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "OfferText")]
pub struct Offer {
    pub value: String,
    pub title: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a choice is a text, or { value = \"28\", title = \"A whole node\" }")]
enum OfferText {
    Value(String),
    Titled(TitledOffer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TitledOffer {
    value: String,
    title: String,
}

impl From<OfferText> for Offer {
    fn from(text: OfferText) -> Self {
        match text {
            OfferText::Value(value) => Self { title: value.clone(), value },
            OfferText::Titled(TitledOffer { value, title }) => Self { value, title },
        }
    }
}

impl OptionSettings {
    pub fn title(&self) -> &str {
        match self {
            Self::Choice { title, .. } | Self::Number { title, .. } | Self::Walltime { title, .. } => title,
        }
    }

    /// As those see it who are in these groups. What is meant for others is left out.
    pub(super) fn for_groups(&self, groups: &[String]) -> Self {
        let mut own = self.clone();
        match &mut own {
            Self::Choice { choices, for_groups, .. } => {
                for more in std::mem::take(for_groups).into_iter().filter(|(group, _)| groups.contains(group))
                {
                    for offer in more.1 {
                        if !choices.iter().any(|choice| choice.value == offer.value) {
                            choices.push(offer);
                        }
                    }
                }
            }
            Self::Number { max, for_groups, .. } => {
                let theirs =
                    std::mem::take(for_groups).into_iter().filter(|(group, _)| groups.contains(group));
                *max = theirs.map(|(_, most)| most).fold(*max, i64::max);
            }
            Self::Walltime { max, for_groups, .. } => {
                for (group, most) in std::mem::take(for_groups) {
                    if groups.contains(&group) && parse_walltime(&most) > parse_walltime(max) {
                        *max = most;
                    }
                }
            }
        }
        own
    }

    /// Every group that is named.
    pub(super) fn groups(&self) -> Vec<String> {
        match self {
            Self::Choice { for_groups, .. } => for_groups.keys().cloned().collect(),
            Self::Number { for_groups, .. } => for_groups.keys().cloned().collect(),
            Self::Walltime { for_groups, .. } => for_groups.keys().cloned().collect(),
        }
    }

    /// The default, then others: all choices, the ends of a range. The time is not among them.
    pub(super) fn values(&self) -> Vec<String> {
        match self.for_groups(&self.groups()) {
            Self::Choice { choices, default, .. } => {
                std::iter::once(default).chain(choices.into_iter().map(|offer| offer.value)).collect()
            }
            Self::Number { min, max, default, .. } => {
                [default, min, max].map(|value| value.to_string()).to_vec()
            }
            Self::Walltime { .. } => Vec::new(),
        }
    }

    pub(super) fn check(&self, path: &str, name: &str, profile: &ProfileSettings, faults: &mut Faults) {
        if !is_word(name, "_") || matches!(name, "profile") {
            faults.add(
                path,
                "not a name for an option",
                "use letters, digits and _, and not the word profile",
            );
        }
        if self.title().trim().is_empty() {
            faults.add(format!("{path}.title"), "it is empty", "say in a few words what people choose");
        }
        for group in self.groups().iter().filter(|group| group.trim().is_empty()) {
            let remedy = "write names as the directory has them";
            faults.add(format!("{path}.for_groups"), format!("{group:?} is not a group"), remedy);
        }
        match self {
            Self::Choice { choices, default, for_groups, .. } => {
                if !choices.iter().any(|offer| offer.value == *default) {
                    faults.add(
                        path,
                        format!("the default {default:?} is not among the choices"),
                        "name one of them",
                    );
                }
                let mut all = choices.iter().chain(for_groups.values().flatten());
                if let Some(bad) = all.find(|offer| !is_word(&offer.value, "._-")) {
                    faults.add(
                        path,
                        format!("the choice {:?} does not fit a select statement", bad.value),
                        "use letters, digits, . _ and -; write { value = \"28\", title = \"A whole node\" } for more words",
                    );
                }
            }
            Self::Number { min, max, default, for_groups, .. } => {
                if !(0 <= *min && min <= default && default <= max) {
                    faults.add(
                        path,
                        format!("0 ≤ {min} ≤ {default} ≤ {max} does not hold"),
                        "order min, default and max",
                    );
                }
                for (group, most) in for_groups.iter().filter(|(_, most)| *most < max) {
                    let wrong = format!("{group} may have {most}, which is less than everybody's {max}");
                    faults.add(
                        format!("{path}.for_groups"),
                        wrong,
                        "lower max, and raise it for the other groups",
                    );
                }
            }
            Self::Walltime { max, for_groups, .. } => {
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
                for (group, most) in for_groups {
                    match parse_walltime(most) {
                        None => {
                            let wrong = format!("{group}: {most:?} is not HH:MM:SS");
                            faults.add(format!("{path}.for_groups"), wrong, "such as 08:00:00");
                        }
                        Some(most) if Some(most) < limit => {
                            let wrong = format!("{group} may have less than everybody's {max}");
                            let remedy = "lower max, and raise it for the other groups";
                            faults.add(format!("{path}.for_groups"), wrong, remedy);
                        }
                        Some(_) => {}
                    }
                }
                if name != "walltime" {
                    faults.add(path, "an option of kind walltime has that name", "call it options.walltime");
                }
                return;
            }
        }
        if name == "walltime" {
            faults.add(
                path,
                "it does not change the walltime",
                "set kind = \"walltime\", or call it otherwise",
            );
        } else if !profile.uses(name) {
            let wrong = format!("nothing uses it: {{{name}}} is not in select, queue, account or project");
            let remedy = "put it there, or call the option nodes, ncpus, mem or ngpus and leave select out";
            faults.add(path, wrong, remedy);
        }
    }
}
