//! Who may use which profile, and what a choice on the form means. Choices are checked when they are made and
//! again when the server is asked for: what comes back from the hub is never trusted to be what was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::config::{OptionSettings, ProfileSettings, parse_walltime, walltime_text};
use crate::select::size_bytes;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("{user} is in no group that may use a profile")]
    NoProfile { user: String },
    #[error("the profile {title} is for members of {}", groups.join(", "))]
    NotInGroup { title: String, groups: Vec<String> },
    #[error("{message}")]
    BadOption { message: String },
}

/// Characters of what was given that a complaint repeats.
const TOLD_LENGTH_MAX: usize = 80;

fn bad(message: impl Into<String>) -> ChoiceError {
    ChoiceError::BadOption { message: message.into() }
}

/// What was given, as it is told to who gave it: a page and a log have no room for all that may be typed.
fn told(given: &str) -> String {
    let mut short: String = given.chars().take(TOLD_LENGTH_MAX).collect();
    if short.len() < given.len() {
        short.push('…');
    }
    short
}

/// What a job script needs, all of it checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    pub profile: String,
    pub walltime_seconds: u64,
    pub prologue: Vec<String>,
    pub epilogue: Vec<String>,
    pub queue: String,
    pub select: String,
    pub place: Option<String>,
    pub walltime: String,
    pub account: Option<String>,
    pub project: Option<String>,
    pub directives: Vec<String>,
}

impl Resources {
    /// What the first chunk, on whose node the user server runs, may use, under the names by which JupyterHub's own
    /// spawners tell it: `CPU_LIMIT` in cores, `MEM_LIMIT` in bytes. One that the select statement leaves to the
    /// queue is absent.
    pub fn limits(&self) -> BTreeMap<String, String> {
        let first = self.select.split('+').next().unwrap_or_default();
        let asked = |name: &str| first.split(':').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let cores = asked("ncpus").and_then(|text| text.parse::<u32>().ok()).map(|cores| cores.to_string());
        let memory = asked("mem").and_then(size_bytes).map(|bytes| bytes.to_string());
        let named = [("CPU_LIMIT", cores), ("MEM_LIMIT", memory)];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Values of one profile's options, each with a value that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub profile: String,
    pub values: BTreeMap<String, String>,
}

impl Choice {
    /// The options JupyterHub keeps for this server: `{"profile": "small", "walltime": "01:00:00"}`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("profile".to_owned(), self.profile.clone().into());
        for (name, value) in &self.values {
            object.insert(name.clone(), value.clone().into());
        }
        object.into()
    }
}

#[derive(Clone, Debug)]
pub struct Profiles(BTreeMap<String, ProfileSettings>);

impl Profiles {
    pub fn new(profiles: BTreeMap<String, ProfileSettings>) -> Self {
        Self(profiles)
    }

    /// In the order of the form, with the options as far as these groups reach.
    pub fn allowed(&self, groups: &[String]) -> Vec<(&str, ProfileSettings)> {
        let mut allowed: Vec<(&str, ProfileSettings)> = self
            .0
            .iter()
            .filter(|(_, profile)| may_use(profile, groups))
            .map(|(key, profile)| (key.as_str(), profile.for_groups(groups)))
            .collect();
        allowed.sort_by_key(|(key, profile)| (profile.order, *key));
        allowed
    }

    pub fn get(&self, key: &str) -> Option<&ProfileSettings> {
        self.0.get(key).filter(|profile| !profile.is_abstract)
    }

    /// From the fields of the form: `profile`, and `KEY.option` for each option.
    pub fn choose_from_form(
        &self,
        user: &str,
        groups: &[String],
        form: &BTreeMap<String, Vec<String>>,
    ) -> Result<Choice, ChoiceError> {
        let first = |name: &str| form.get(name).and_then(|values| values.first()).map(String::as_str);
        self.choose(user, groups, first("profile"), |key, name| {
            first(&format!("{key}.{name}"))
                .map(str::trim)
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
        })
    }

    /// From the object that `to_json` gave, or that somebody wrote who asked the hub's API for a server.
    pub fn choose_from_json(
        &self,
        user: &str,
        groups: &[String],
        options: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Choice, ChoiceError> {
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        };
        let key = match options.get("profile") {
            None | Some(serde_json::Value::Null) => None,
            Some(value) => Some(text(value).ok_or_else(|| bad("the option `profile` is not a text"))?),
        };
        let choice = self.choose(user, groups, key.as_deref(), |_, name| options.get(name).and_then(text))?;
        for (name, value) in options {
            if name == "profile" || value.is_null() {
                continue;
            }
            if !choice.values.contains_key(name) {
                return Err(bad(format!("the profile {} has no option {:?}", choice.profile, told(name))));
            }
            // The default would be another choice than was made.
            if text(value).is_none() {
                return Err(bad(format!("the option {name} is neither a text nor a number")));
            }
        }
        Ok(choice)
    }

    fn choose(
        &self,
        user: &str,
        groups: &[String],
        key: Option<&str>,
        given: impl Fn(&str, &str) -> Option<String>,
    ) -> Result<Choice, ChoiceError> {
        let allowed = self.allowed(groups);
        let key = match (key, allowed.as_slice()) {
            (_, []) => return Err(ChoiceError::NoProfile { user: user.to_owned() }),
            (Some(key), _) => key,
            (None, [(key, _)]) => key,
            (None, [..]) => {
                let keys: Vec<&str> = allowed.iter().map(|(key, _)| *key).collect();
                return Err(bad(format!("choose a profile: {}", keys.join(", "))));
            }
        };
        let profile = self.get(key).ok_or_else(|| bad(format!("there is no profile {:?}", told(key))))?;
        if !may_use(profile, groups) {
            return Err(ChoiceError::NotInGroup {
                title: profile.title.clone(),
                groups: profile.groups.clone(),
            });
        }
        let profile = &profile.for_groups(groups);
        let mut values = BTreeMap::new();
        for (name, option) in &profile.options {
            values.insert(name.clone(), value(profile, option, given(key, name))?);
        }
        Ok(Choice { profile: key.to_owned(), values })
    }

    /// None if the profile has gone since the choice was made.
    pub fn resources(&self, choice: &Choice) -> Option<Resources> {
        let profile = self.get(&choice.profile)?;
        let filled = |text: &str| {
            choice
                .values
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
        };
        let own = parse_walltime(&profile.walltime).unwrap_or(Duration::from_secs(3600));
        let walltime = choice.values.get("walltime").and_then(|text| parse_walltime(text)).unwrap_or(own);
        Some(Resources {
            profile: choice.profile.clone(),
            walltime_seconds: walltime.as_secs(),
            prologue: profile.prologue.clone(),
            epilogue: profile.epilogue.clone(),
            queue: filled(&profile.queue),
            select: filled(&profile.select()),
            place: profile.place.clone(),
            walltime: walltime_text(walltime),
            account: profile.account.as_deref().map(filled),
            project: profile.project.as_deref().map(filled),
            directives: profile.directives.clone(),
        })
    }
}

fn may_use(profile: &ProfileSettings, groups: &[String]) -> bool {
    !profile.is_abstract
        && (profile.groups.is_empty() || profile.groups.iter().any(|group| groups.contains(group)))
}

/// A value of an option: the one given if it is allowed, else the default if none is given.
pub(crate) fn value(
    profile: &ProfileSettings,
    option: &OptionSettings,
    given: Option<String>,
) -> Result<String, ChoiceError> {
    match option {
        OptionSettings::Choice { title, choices, default, .. } => match given {
            None => Ok(default.clone()),
            Some(given) if choices.iter().any(|offer| offer.value == given) => Ok(given),
            Some(given) => {
                let values: Vec<&str> = choices.iter().map(|offer| offer.value.as_str()).collect();
                Err(bad(format!("{title}: {:?} is not one of {}", told(&given), values.join(", "))))
            }
        },
        OptionSettings::Number { title, min, max, default, .. } => match given {
            None => Ok(default.to_string()),
            Some(given) => match given.parse::<i64>() {
                Ok(number) if (*min..=*max).contains(&number) => Ok(number.to_string()),
                Ok(_) | Err(_) => {
                    Err(bad(format!("{title}: {:?} is not a number from {min} to {max}", told(&given))))
                }
            },
        },
        OptionSettings::Walltime { title, max, .. } => {
            let own = parse_walltime(&profile.walltime).unwrap_or(Duration::from_secs(3600));
            let limit = parse_walltime(max).unwrap_or(own);
            match given {
                None => Ok(walltime_text(own)),
                Some(given) => match parse_walltime(&given) {
                    Some(walltime) if walltime <= limit => Ok(walltime_text(walltime)),
                    Some(_) => Err(bad(format!("{title}: {} is more than {max}", told(&given)))),
                    None => Err(bad(format!("{title}: {:?} is not a time such as 01:30:00", told(&given)))),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [small]
        title = "Small"
        queue = "workq"
        select = "1:ncpus=1:mem=1gb"
        walltime = "02:00:00"
        [ocean]
        title = "Ocean"
        queue = "omp"
        select = "{nodes}:ncpus={cores}:mem=4gb"
        walltime = "01:00:00"
        groups = ["ocean"]
        order = -1
        [ocean.options]
        nodes = { kind = "number", title = "Nodes", min = 1, max = 4, default = 1 }
        cores = { kind = "choice", title = "Cores", choices = ["4", "28"], default = "4" }
        walltime = { kind = "walltime", title = "Time", max = "08:00:00" }
    "#;

    fn profiles() -> Profiles {
        Profiles::new(toml::from_str(TEXT).unwrap())
    }

    fn form(fields: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
    }

    fn ocean() -> Vec<String> {
        vec!["ocean".to_owned(), "users".to_owned()]
    }

    #[test]
    fn profiles_follow_groups_and_order() {
        let profiles = profiles();
        let keys =
            |groups: &[String]| profiles.allowed(groups).iter().map(|(key, _)| *key).collect::<Vec<_>>();
        assert_eq!(keys(&[]), ["small"]);
        assert_eq!(keys(&ocean()), ["ocean", "small"]);
    }

    #[test]
    fn choice_becomes_resources_and_survives_the_way_through_the_hub() {
        let profiles = profiles();
        let fields = form(&[
            ("profile", "ocean"),
            ("ocean.nodes", "2"),
            ("ocean.cores", "28"),
            ("ocean.walltime", "90:00"),
        ]);
        let choice = profiles.choose_from_form("alice", &ocean(), &fields).unwrap();
        let resources = profiles.resources(&choice).unwrap();
        assert_eq!(
            (resources.select.as_str(), resources.walltime.as_str()),
            ("2:ncpus=28:mem=4gb", "01:30:00")
        );
        assert_eq!(resources.limits(), form_of(&[("CPU_LIMIT", "28"), ("MEM_LIMIT", "4294967296")]));
        let json = choice.to_json();
        assert_eq!(profiles.choose_from_json("alice", &ocean(), json.as_object().unwrap()).unwrap(), choice);
    }

    fn form_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn groups_reach_further_than_others() {
        let text = r#"
            [base]
            abstract = true
            title = "Base"
            queue = "workq"
            walltime = "01:00:00"
            [work]
            title = "Work"
            queue = "{queue}"
            account = "a-{queue}"
            walltime = "01:00:00"
            [work.options]
            ncpus = { kind = "number", title = "Cores", min = 1, max = 4, default = 2, for_groups = { ocean = 16, ice = 8 } }
            mem = { kind = "number", title = "Memory", min = 1, max = 8, default = 2 }
            walltime = { kind = "walltime", title = "Time", max = "02:00:00", for_groups = { ocean = "08:00:00" } }
            [work.options.queue]
            kind = "choice"
            title = "Queue"
            choices = [{ value = "workq", title = "The usual one" }]
            default = "workq"
            for_groups = { ocean = ["omp"] }
        "#;
        let profiles = Profiles::new(toml::from_str(text).unwrap());
        let ask = |groups: &[String], options: serde_json::Value| {
            let choice = profiles.choose_from_json("alice", groups, options.as_object().unwrap())?;
            Ok::<Resources, ChoiceError>(profiles.resources(&choice).unwrap())
        };
        let most = serde_json::json!({"ncpus": 16, "walltime": "08:00:00", "queue": "omp"});
        let resources = ask(&ocean(), most.clone()).unwrap();
        assert_eq!(resources.select, "1:ncpus=16:mem=2gb");
        assert_eq!((resources.queue.as_str(), resources.account.as_deref()), ("omp", Some("a-omp")));
        assert_eq!((resources.walltime.as_str(), resources.walltime_seconds), ("08:00:00", 8 * 3600));
        let refused = |groups: &[String], options| ask(groups, options).unwrap_err().to_string();
        assert!(refused(&ocean(), serde_json::json!({"ncpus": 17})).contains("from 1 to 16"));
        for (options, words) in [
            (serde_json::json!({"ncpus": 16}), "from 1 to 4"),
            (serde_json::json!({"walltime": "03:00:00"}), "more than 02:00:00"),
            (serde_json::json!({"queue": "omp"}), "is not one of workq"),
            (serde_json::json!({"profile": "base"}), "there is no profile"),
        ] {
            assert!(
                refused(&[], options.clone()).contains(words),
                "{options}: {}",
                refused(&[], options.clone())
            );
        }
        let ice = ["ice".to_owned()];
        assert!(refused(&ice, serde_json::json!({"ncpus": 9})).contains("from 1 to 8"));
        assert_eq!(ask(&[], serde_json::json!({})).unwrap().select, "1:ncpus=2:mem=2gb");
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let profiles = profiles();
        let choose = |groups: &[String], fields: &[(&str, &str)]| {
            profiles.choose_from_form("bob", groups, &form(fields))
        };
        assert!(matches!(choose(&[], &[("profile", "ocean")]), Err(ChoiceError::NotInGroup { .. })));
        for fields in [
            &[("profile", "huge")][..],
            &[],
            &[("profile", "ocean"), ("ocean.nodes", "5")],
            &[("profile", "ocean"), ("ocean.nodes", "1\n#PBS -q vip")],
            &[("profile", "ocean"), ("ocean.cores", "5")],
            &[("profile", "ocean"), ("ocean.walltime", "09:00:00")],
            &[("profile", "ocean"), ("ocean.walltime", "-1")],
        ] {
            assert!(matches!(choose(&ocean(), fields), Err(ChoiceError::BadOption { .. })), "{fields:?}");
        }
        let extra = serde_json::json!({"profile": "small", "queue": "vip"});
        let extra = profiles.choose_from_json("bob", &[], extra.as_object().unwrap());
        assert!(matches!(extra, Err(ChoiceError::BadOption { .. })));
    }

    #[test]
    fn only_profile_needs_no_choice() {
        let choice = profiles().choose_from_json("bob", &[], &serde_json::Map::new()).unwrap();
        assert_eq!(choice.profile, "small");
        let none = Profiles::new(BTreeMap::new());
        let refused = none.choose_from_json("bob", &[], &serde_json::Map::new());
        assert_eq!(refused, Err(ChoiceError::NoProfile { user: "bob".to_owned() }));
    }

    #[test]
    fn what_is_refused_is_told_in_short_and_no_default_stands_in_for_it() {
        let refused = |options: serde_json::Value| {
            let options = options.as_object().unwrap().clone();
            let error = profiles().choose_from_json("alice", &ocean(), &options).unwrap_err();
            assert!(matches!(error, ChoiceError::BadOption { .. }), "{error}");
            error.to_string()
        };
        let long = "9".repeat(5000);
        for (name, value) in
            [("nodes", &long), ("cores", &long), ("walltime", &long), ("profile", &long), (&*long, &long)]
        {
            let mut options = serde_json::Map::new();
            options.insert("profile".to_owned(), "ocean".into());
            options.insert(name.to_owned(), value.as_str().into());
            let told = refused(options.into());
            assert!(told.chars().count() < 200 && told.contains("999…"), "{told}");
        }
        for value in [serde_json::json!([2]), serde_json::json!({"nodes": 2}), serde_json::json!(true)] {
            let told = refused(serde_json::json!({"profile": "ocean", "nodes": value}));
            assert_eq!(told, "the option nodes is neither a text nor a number");
        }
    }
}
