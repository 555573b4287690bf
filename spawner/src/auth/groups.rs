//! Groups of a person, and groups that these are members of, to a depth and a number that are limited.

use std::collections::{BTreeSet, HashSet};

use ldap3::{Scope, SearchEntry};
use nuna_pbs::UserName;

use super::connection::{Connection, Trouble, misconfigured, values};
use super::escape;
use crate::config::DirectorySettings;

/// Groups of one person, those of groups included.
const GROUPS_MAX: usize = 2000;
/// Groups whose own groups are asked for in one search.
const AT_ONCE: usize = 16;
/// JupyterHub's database keeps so many letters.
const NAME_MAX: usize = 255;

/// Groups found so far. Each is followed once, so that groups in a circle end.
#[derive(Default)]
struct Found {
    names: BTreeSet<String>,
    seen: HashSet<String>,
    /// Found in the last step, to be followed in the next.
    new: Vec<String>,
}

impl Found {
    fn add(&mut self, dn: &str, names: impl IntoIterator<Item = String>) -> Result<(), Trouble> {
        if !self.seen.insert(dn.to_lowercase()) {
            return Ok(());
        }
        if self.seen.len() > GROUPS_MAX {
            return Err(misconfigured(format!(
                "somebody is in more than {GROUPS_MAX} groups; narrow directory.group_filter or group_base, or lower \
                 nested_groups"
            )));
        }
        self.names.extend(names.into_iter().filter(|name| name.len() <= NAME_MAX));
        self.new.push(dn.to_owned());
        Ok(())
    }
}

/// Names of the groups, sorted.
pub(super) async fn of(
    connection: &mut Connection,
    settings: &DirectorySettings,
    user: &UserName,
    entry: &SearchEntry,
) -> Result<Vec<String>, Trouble> {
    let found = match (&settings.group_base, &settings.member_of) {
        (Some(base), _) => searched(connection, settings, base, user, &entry.dn).await?,
        (None, Some(attribute)) => listed(connection, settings, attribute, entry).await?,
        (None, None) => Found::default(),
    };
    Ok(found.names.into_iter().collect())
}

/// Groups that name the person, then those that name these groups.
async fn searched(
    connection: &mut Connection,
    settings: &DirectorySettings,
    base: &str,
    user: &UserName,
    dn: &str,
) -> Result<Found, Trouble> {
    let attribute = settings.group_attribute.as_str();
    let mut found = Found::default();
    let mut filters = vec![escape::filter(&settings.group_filter, user.as_str(), dn)];
    for depth in 0..=settings.nested_groups {
        for filter in std::mem::take(&mut filters) {
            for entry in connection.search(base, Scope::Subtree, &filter, vec![attribute]).await? {
                found.add(&entry.dn, values(&entry, attribute).iter().cloned())?;
            }
        }
        let new = std::mem::take(&mut found.new);
        if depth == settings.nested_groups || new.is_empty() {
            break;
        }
        filters = new
            .chunks(AT_ONCE)
            .map(|names| {
                let each = names.iter().map(|dn| escape::filter(&settings.nested_group_filter, "", dn));
                format!("(|{})", each.collect::<String>())
            })
            .collect();
    }
    Ok(found)
}

/// Groups that the person's entry lists, then those that the groups' entries list.
async fn listed(
    connection: &mut Connection,
    settings: &DirectorySettings,
    attribute: &str,
    entry: &SearchEntry,
) -> Result<Found, Trouble> {
    let mut found = Found::default();
    for dn in whole(entry, attribute)? {
        found.add(dn, escape::first_value(dn))?;
    }
    for _ in 0..settings.nested_groups {
        for group in std::mem::take(&mut found.new) {
            // A group that was removed may still be listed.
            let Some(entry) = connection.read(&group, "(objectClass=*)", vec![attribute]).await? else {
                continue;
            };
            for dn in whole(&entry, attribute)? {
                found.add(dn, escape::first_value(dn))?;
            }
        }
    }
    Ok(found)
}

/// All values of an attribute. Active Directory gives the first 1500 of many, under another name: a person with a part of
/// their groups would be refused, or served, for no reason that anybody sees.
fn whole<'a>(entry: &'a SearchEntry, attribute: &str) -> Result<&'a [String], Trouble> {
    let is_part = |name: &String| {
        let (base, option) = name.split_once(';').unwrap_or((name, ""));
        base.eq_ignore_ascii_case(attribute) && option.to_ascii_lowercase().starts_with("range=")
    };
    if entry.attrs.keys().any(is_part) {
        return Err(misconfigured(format!(
            "{} has more values of {attribute} than the directory gives at once; search groups instead, with \
             directory.group_base and group_filter",
            entry.dn
        )));
    }
    Ok(values(entry, attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, values: &[&str]) -> SearchEntry {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        SearchEntry {
            dn: "cn=a,dc=x".to_owned(),
            attrs: [(name.to_owned(), values)].into(),
            bin_attrs: [].into(),
        }
    }

    #[test]
    fn a_part_of_the_groups_is_an_error_and_not_all_of_them() {
        assert_eq!(whole(&entry("memberof", &["cn=g,dc=x"]), "memberOf").unwrap(), ["cn=g,dc=x"]);
        assert!(whole(&entry("other;range=0-1499", &["x"]), "memberOf").unwrap().is_empty());
        for name in ["memberOf;range=0-1499", "memberof;Range=0-1499"] {
            assert!(whole(&entry(name, &["cn=g,dc=x"]), "memberOf").is_err(), "{name}");
        }
    }
}
