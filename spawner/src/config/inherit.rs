//! `inherit`: a profile has what another has, and changes some of it.
//!
//! Works on the file's own tables, so that what a profile leaves out and what it sets to nothing are told apart.
//! `environment` and `options` are joined name by name; every other key is replaced as a whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::profiles::{ProfileSettings, WORDS, option_names};
use super::{Faults, nearest_of};

/// Longer chains are mistakes.
const DEPTH_MAX: usize = 16;
/// A profile's own: not passed on.
const OWN: [&str; 2] = ["inherit", "abstract"];
const JOINED: [&str; 2] = ["environment", "options"];

/// The profiles of a file with all that they inherit. `tables` is the file's `profiles`, of which every key is known.
pub(super) fn resolve(tables: &Table, faults: &mut Faults) -> BTreeMap<String, ProfileSettings> {
    let mut profiles = BTreeMap::new();
    for key in tables.keys() {
        let Some(table) = whole(tables, key, faults) else { continue };
        match ProfileSettings::deserialize(Value::Table(table)) {
            Ok(profile) => {
                profiles.insert(key.clone(), profile);
            }
            Err(error) => {
                let remedy = "mend it, or what it inherits";
                faults.add(format!("profiles.{key}"), error.message().to_owned(), remedy);
            }
        }
    }
    profiles
}

/// One profile's table, joined with those before it. None if that cannot be, which is a fault already.
fn whole(tables: &Table, key: &str, faults: &mut Faults) -> Option<Table> {
    let mut chain = vec![key.to_owned()];
    let mut layers = vec![tables.get(key)?.as_table()?];
    while let Some(base) = layers.last().and_then(|layer| layer.get("inherit")).and_then(Value::as_str) {
        let path = format!("profiles.{}.inherit", chain.last().map(String::as_str).unwrap_or_default());
        if chain.iter().any(|other| other == base) || chain.len() == DEPTH_MAX {
            chain.push(base.to_owned());
            // Told once, by the profile that comes first.
            if chain.iter().all(|other| key <= other.as_str()) || chain.len() > DEPTH_MAX {
                let wrong = format!("profiles inherit from each other in a circle: {}", chain.join(" → "));
                faults.add(format!("profiles.{key}.inherit"), wrong, "let one of them stand on its own");
            }
            return None;
        }
        let Some(found) = tables.get(base).and_then(Value::as_table) else {
            if chain.len() == 1 {
                let hint = nearest_of(base, tables.keys().map(String::as_str).filter(|other| *other != key));
                let remedy = match hint {
                    Some(word) => format!("did you mean {word:?}?"),
                    None => "name the KEY of a table [profiles.KEY]".to_owned(),
                };
                faults.add(path, format!("there is no profile {base:?}"), remedy);
            }
            return None;
        };
        chain.push(base.to_owned());
        layers.push(found);
    }
    let mut joined = Table::new();
    for layer in layers.iter().rev() {
        OWN.iter().for_each(|own| drop(joined.remove(*own)));
        // Two ways to say one thing: the later one counts.
        if let Some(select) = layer.get("select").and_then(Value::as_str) {
            WORDS.iter().for_each(|word| drop(joined.remove(*word)));
            let used = option_names(select);
            let unused: Vec<&str> = WORDS.iter().copied().filter(|word| !used.contains(word)).collect();
            forget_options(&mut joined, &unused);
        } else {
            let set: Vec<&str> = WORDS.iter().copied().filter(|word| layer.contains_key(*word)).collect();
            let options = layer.get("options").and_then(Value::as_table);
            let offered =
                WORDS.iter().filter(|word| options.is_some_and(|options| options.contains_key(**word)));
            for word in offered {
                joined.remove(*word);
            }
            if !set.is_empty() {
                joined.remove("select");
            }
            forget_options(&mut joined, &set);
        }
        for (name, value) in *layer {
            match (joined.get_mut(name), value) {
                (Some(Value::Table(old)), Value::Table(new)) if JOINED.iter().any(|key| name == key) => {
                    old.extend(new.clone());
                }
                _ => {
                    joined.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Some(joined)
}

/// Options that people had before something was fixed.
fn forget_options(joined: &mut Table, names: &[&str]) {
    if let Some(Value::Table(options)) = joined.get_mut("options") {
        options.retain(|name, _| !names.contains(&name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::System;

    fn resolved(text: &str) -> (BTreeMap<String, ProfileSettings>, String) {
        let tables: Table = toml::from_str(text).unwrap();
        let mut faults = Faults::default();
        let mut profiles = resolve(&tables, &mut faults);
        for (key, profile) in &mut profiles {
            profile.check(key, &mut faults);
        }
        let told = faults.0.iter().map(|fault| format!("{fault}\n")).collect();
        (profiles, told)
    }

    const BASE: &str = r#"
        [base]
        abstract = true
        queue = "workq"
        walltime = "02:00:00"
        mem = "4gb"
        prologue = ["module load a"]
        environment = { A = "1", B = "2" }
        [base.options]
        ncpus = { kind = "number", title = "Cores", min = 1, max = 4, default = 2 }
        walltime = { kind = "walltime", title = "Time", max = "04:00:00" }
    "#;

    #[test]
    fn a_profile_has_what_its_base_has_and_changes_some() {
        let text = r#"
            [small]
            inherit = "base"
            title = "Small"
            environment = { B = "3" }
            [large]
            inherit = "small"
            title = "Large"
            queue = "omp"
            ncpus = 28
            prologue = []
            [odd]
            inherit = "base"
            title = "Odd"
            select = "2:ncpus=1"
        "#;
        let (profiles, told) = resolved(&format!("{BASE}{text}"));
        assert_eq!(told, "");
        let small = &profiles["small"];
        assert_eq!((small.queue.as_str(), small.select().as_str()), ("workq", "1:ncpus={ncpus}:mem=4gb"));
        assert_eq!((small.environment["A"].as_str(), small.environment["B"].as_str()), ("1", "3"));
        assert!(profiles["base"].is_abstract && !small.is_abstract);
        let large = &profiles["large"];
        assert_eq!((large.queue.as_str(), large.select().as_str()), ("omp", "1:ncpus=28:mem=4gb"));
        assert!(large.prologue.is_empty() && small.prologue.len() == 1);
        assert!(!large.options.contains_key("ncpus") && large.options.contains_key("walltime"));
        assert_eq!(profiles["odd"].select(), "2:ncpus=1");
    }

    #[test]
    fn words_are_told_to_every_system_and_only_pbs_has_all_of_them() {
        let (profiles, told) = resolved(&format!(
            "{BASE}[small]\ninherit = \"base\"\ntitle = \"Small\"\nngpus = 1\n[odd]\ninherit = \"small\"\nplace = \"excl\"\n\
             project = \"p\"\n"
        ));
        assert_eq!(told, "");
        for (system, place, project) in [
            (
                System::Torque,
                "means nothing to Torque; leave it out; directives = [\"-n\"]",
                "Torque has no projects",
            ),
            (
                System::Slurm,
                "means nothing to Slurm; leave it out; directives = [\"--exclusive\"]",
                "Slurm has no",
            ),
        ] {
            let mut faults = Faults::default();
            profiles["small"].check_for(system, "small", &mut faults);
            assert_eq!(faults.0.len(), 0, "{:?}", faults.0);
            profiles["odd"].check_for(system, "odd", &mut faults);
            let told: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
            assert!(told.len() == 2 && told[0].contains(place) && told[1].contains(project), "{told:?}");
        }
    }

    #[test]
    fn unknown_names_and_circles_are_told_once_with_the_nearest_name() {
        let (_, told) = resolved(&format!("{BASE}[small]\ninherit = \"bsae\"\n"));
        assert_eq!(told, "profiles.small.inherit: there is no profile \"bsae\"; did you mean \"base\"?\n");
        let (_, told) = resolved(
            "[a]\ninherit = \"b\"\n[b]\ninherit = \"c\"\n[c]\ninherit = \"a\"\n[d]\ninherit = \"a\"",
        );
        assert!(told.contains("in a circle: a → b → c → a") && told.lines().count() == 1, "{told}");
        let (_, told) = resolved("[a]\ninherit = \"a\"");
        assert!(told.contains("in a circle: a → a"), "{told}");
    }

    #[test]
    fn what_is_missing_is_told_where_it_is_needed() {
        let (_, told) = resolved(&format!("{BASE}[small]\ninherit = \"base\"\nqueue = \"\"\n"));
        for words in ["profiles.small.title: it is empty", "profiles.small.queue: \"\" is not a queue's name"]
        {
            assert!(told.contains(words), "{told}");
        }
        assert!(!told.contains("profiles.base"), "{told}");
    }
}
