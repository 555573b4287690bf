//! What a person's entry says about the account: its one name, and whether it is locked or has expired.

use ldap3::SearchEntry;
use nuna_pbs::UserName;

use super::connection::{Trouble, misconfigured, values};
use super::escape;

/// Read with every entry. Directories leave out what they do not have.
pub(super) const STATE: [&str; 6] = [
    "pwdAccountLockedTime",
    "shadowExpire",
    "userAccountControl",
    "accountExpires",
    "nsAccountLock",
    "loginDisabled",
];
/// Of a lock that an administrator has set (draft-behera-ldap-password-policy, 5.3.3).
const LOCKED_FOR_GOOD: &str = "000001010000Z";
/// `ACCOUNTDISABLE`
const DISABLED: u32 = 0x2;
const SECONDS_A_DAY: i64 = 86_400;
/// From 1601 to 1970.
const WINDOWS_EPOCH_SECONDS: i64 = 11_644_473_600;
const WINDOWS_TICKS: i64 = 10_000_000;

/// Why nobody may use the account at the moment, `seconds` after 1970.
///
/// The time of a lock that the directory set after wrong passwords does not count: it ends by itself, the
/// directory refuses passwords meanwhile, and anybody could end somebody else's session with guesses.
pub(super) fn locked(entry: &SearchEntry, seconds: i64) -> Option<String> {
    let one = |name: &str| values(entry, name).first().map(String::as_str);
    let is_true = |name: &str| one(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if one("pwdAccountLockedTime") == Some(LOCKED_FOR_GOOD) {
        return Some("locked by an administrator (pwdAccountLockedTime)".to_owned());
    }
    for name in ["nsAccountLock", "loginDisabled"] {
        if is_true(name) {
            return Some(format!("locked ({name})"));
        }
    }
    let number = |name: &str| one(name).and_then(|value| value.trim().parse::<i64>().ok());
    // As login programs read it: from that day on. A day below 0 is none.
    if number("shadowExpire").is_some_and(|day| day >= 0 && seconds.div_euclid(SECONDS_A_DAY) >= day) {
        return Some("expired (shadowExpire)".to_owned());
    }
    // It is 32 bits with a sign.
    if number("userAccountControl").is_some_and(|bits| (bits as u32) & DISABLED != 0) {
        return Some("disabled (userAccountControl)".to_owned());
    }
    // 0 and the largest number stand for never.
    let ends = number("accountExpires").filter(|ticks| *ticks > 0 && *ticks < i64::MAX);
    if ends.is_some_and(|ticks| ticks / WINDOWS_TICKS - WINDOWS_EPOCH_SECONDS <= seconds) {
        return Some("expired (accountExpires)".to_owned());
    }
    None
}

/// The name of the account, whatever was typed to find it: one person is one user, and never another's account.
pub(super) fn name(entry: &SearchEntry, attribute: &str) -> Result<UserName, Trouble> {
    let found = values(entry, attribute);
    let name = match found {
        [] => {
            return Err(misconfigured(format!(
                "{} shows no {attribute}, which names the account; let the account that searches read it, or set \
                 directory.user_name_attribute",
                entry.dn
            )));
        }
        [name] => name.clone(),
        // The one that the entry is named by.
        [..] => escape::first_part(&entry.dn)
            .filter(|(name, value)| name.eq_ignore_ascii_case(attribute) && found.contains(value))
            .map(|(_, value)| value)
            .ok_or_else(|| {
                misconfigured(format!(
                    "{} has several values of {attribute}, and nobody can say which names the account; set \
                     directory.user_name_attribute to one that has a single value",
                    entry.dn
                ))
            })?,
    };
    name.to_lowercase()
        .parse()
        .map_err(|error| misconfigured(format!("{attribute} of {} names no account: {error}", entry.dn)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// 2026-01-01T00:00:00Z, 20 454 days after 1970.
    const NOW: i64 = 1_767_225_600;

    fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> SearchEntry {
        let attrs = attributes.iter().map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
        });
        SearchEntry { dn: dn.to_owned(), attrs: attrs.collect(), bin_attrs: HashMap::new() }
    }

    #[test]
    fn locks_and_ends_are_read_as_each_directory_writes_them() {
        for (attribute, value, is_locked) in [
            ("pwdAccountLockedTime", "000001010000Z", true),
            ("pwdaccountlockedtime", "000001010000Z", true),
            ("pwdAccountLockedTime", "20251231235900Z", false),
            ("shadowExpire", "20453", true),
            ("shadowExpire", "20454", true),
            ("shadowExpire", "20455", false),
            ("shadowExpire", "0", true),
            ("shadowExpire", "-1", false),
            ("shadowExpire", "", false),
            ("userAccountControl", "512", false),
            ("userAccountControl", "514", true),
            ("userAccountControl", "66050", true),
            ("userAccountControl", "-2147483646", true),
            ("userAccountControl", "2x", false),
            ("accountExpires", "0", false),
            ("accountExpires", "9223372036854775807", false),
            // 1601 + 2026-01-01, and a second later.
            ("accountExpires", "134116992000000000", true),
            ("accountExpires", "134116992010000000", false),
            ("nsAccountLock", "TRUE", true),
            ("nsAccountLock", "FALSE", false),
            ("loginDisabled", "true", true),
            ("description", "locked", false),
        ] {
            let entry = entry("uid=a,dc=x", &[(attribute, &[value])]);
            assert_eq!(locked(&entry, NOW).is_some(), is_locked, "{attribute}: {value}");
        }
        assert_eq!(locked(&entry("uid=a,dc=x", &[]), NOW), None);
    }

    #[test]
    fn an_account_has_one_name() {
        let named = |dn: &str, values: &[&str]| name(&entry(dn, &[("UID", values)]), "uid");
        assert_eq!(named("cn=Alice,dc=x", &["Alice"]).unwrap().as_str(), "alice");
        assert_eq!(named("uid=alice,dc=x", &["al", "alice"]).unwrap().as_str(), "alice");
        assert!(named("cn=Alice,dc=x", &["al", "alice"]).is_err());
        assert!(named("uid=other,dc=x", &["al", "alice"]).is_err());
        assert!(named("uid=alice,dc=x", &[]).is_err());
        assert!(named("uid=x,dc=x", &["alice smith"]).is_err());
    }
}
