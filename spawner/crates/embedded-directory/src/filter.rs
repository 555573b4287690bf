//! Search filters, with LDAP's three truth values (RFC 4511, 4.5.1.7): what cannot be decided is undefined,
//! and the negation of undefined is undefined, not true.

use ldap3_proto::proto::{LdapFilter, LdapSubstringFilter};

use crate::dn::normal;
use crate::tree::{Entry, Syntax, attribute, comparable};

/// Filters nested deeper than this are not evaluated.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Undefined,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

pub(crate) fn matches(filter: &LdapFilter, entry: &Entry) -> bool {
    evaluate(filter, entry, 0) == Truth::True
}

fn evaluate(filter: &LdapFilter, entry: &Entry, depth: usize) -> Truth {
    if depth > DEPTH_MAX {
        return Truth::Undefined;
    }
    let each = |filters: &[LdapFilter], decisive: Truth, otherwise: Truth| {
        let mut result = otherwise;
        for filter in filters {
            match evaluate(filter, entry, depth + 1) {
                truth if truth == decisive => return decisive,
                Truth::Undefined => result = Truth::Undefined,
                Truth::True | Truth::False => {}
            }
        }
        result
    };
    match filter {
        LdapFilter::And(filters) => each(filters, Truth::False, Truth::True),
        LdapFilter::Or(filters) => each(filters, Truth::True, Truth::False),
        LdapFilter::Not(filter) => match evaluate(filter, entry, depth + 1) {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Undefined => Truth::Undefined,
        },
        LdapFilter::Present(name) => match attribute(name) {
            Some((name, _, _)) => (!entry.values(name).is_empty()).into(),
            None => Truth::False,
        },
        LdapFilter::Equality(name, value) | LdapFilter::Approx(name, value) => equals(entry, name, value),
        LdapFilter::GreaterOrEqual(name, value) => ordered(entry, name, value, |have, asked| have >= asked),
        LdapFilter::LessOrEqual(name, value) => ordered(entry, name, value, |have, asked| have <= asked),
        LdapFilter::Substring(name, parts) => substring(entry, name, parts),
        LdapFilter::Extensible(_) => Truth::Undefined,
    }
}

pub(crate) fn equals(entry: &Entry, name: &str, value: &str) -> Truth {
    let Some((name, syntax, _)) = attribute(name) else { return Truth::Undefined };
    let Some(wanted) = comparable(syntax, value) else { return Truth::Undefined };
    entry.values(name).iter().any(|have| comparable(syntax, have).as_ref() == Some(&wanted)).into()
}

fn ordered(entry: &Entry, name: &str, value: &str, holds: impl Fn(i64, i64) -> bool) -> Truth {
    match (attribute(name), value.trim().parse::<i64>()) {
        (Some((name, Syntax::Number, _)), Ok(asked)) => entry
            .values(name)
            .iter()
            .filter_map(|have| have.parse().ok())
            .any(|have| holds(have, asked))
            .into(),
        _ => Truth::Undefined,
    }
}

fn substring(entry: &Entry, name: &str, parts: &LdapSubstringFilter) -> Truth {
    let Some((name, syntax, _)) = attribute(name) else { return Truth::Undefined };
    let fold: fn(&str) -> String = match syntax {
        Syntax::Text => |text| text.to_lowercase(),
        Syntax::ExactText => str::to_owned,
        Syntax::Number | Syntax::Name => return Truth::Undefined,
    };
    entry
        .values(name)
        .iter()
        .any(|have| {
            let have = if syntax == Syntax::Text { normal(have) } else { have.clone() };
            let mut rest = have.as_str();
            if let Some(initial) = &parts.initial {
                match rest.strip_prefix(&fold(initial)) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            for any in &parts.any {
                let any = fold(any);
                match rest.find(&any) {
                    Some(at) => rest = &rest[at + any.len()..],
                    None => return false,
                }
            }
            parts.final_.as_ref().is_none_or(|end| rest.ends_with(&fold(end)))
        })
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ldap3_proto::parse_ldap_filter_str;

    use super::*;
    use crate::settings::{DEMO, Settings};
    use crate::tree::Tree;

    fn found(filter: &str) -> Vec<String> {
        found_by(&parse_ldap_filter_str(filter).unwrap())
    }

    /// For values that the crate's text form cannot hold (`=`, runs of spaces).
    fn found_equal(name: &str, value: &str) -> Vec<String> {
        found_by(&LdapFilter::Equality(name.to_owned(), value.to_owned()))
    }

    fn found_by(filter: &LdapFilter) -> Vec<String> {
        let settings: Settings = toml::from_str(DEMO).unwrap();
        let tree = Tree::build(&settings, &BTreeMap::new()).unwrap();
        tree.entries()
            .filter(|entry| matches(filter, entry))
            .map(|entry| entry.dn.split(',').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn equality_ignores_case_where_the_syntax_does() {
        assert_eq!(found("(uid=ALICE)"), ["uid=alice"]);
        assert_eq!(found_equal("cn", "alice   liddell"), ["uid=alice"]);
        assert_eq!(found("(homeDirectory=/HOME/alice)"), [""; 0]);
        assert_eq!(found("(uidNumber=02001)"), ["uid=alice"]);
    }

    #[test]
    fn combinations_and_substrings() {
        assert_eq!(
            found("(&(objectClass=posixAccount)(|(uid=bob)(mail=car*@*local)))"),
            ["uid=bob", "uid=carol"]
        );
        assert_eq!(found("(&(uid=*)(!(uid=alice)))"), ["uid=bob", "uid=carol"]);
        assert_eq!(found("(uidNumber>=2003)"), ["uid=carol"]);
        assert_eq!(found_equal("member", "UID=bob, OU=people,dc=nuna,dc=local"), ["cn=users"]);
        assert_eq!(
            found_equal("memberOf", "cn=ocean,ou=groups,dc=nuna,dc=local"),
            ["uid=alice", "uid=carol"]
        );
    }

    #[test]
    fn undefined_stays_undefined_when_negated() {
        assert_eq!(found("(!(userPassword=x))"), [""; 0]);
        assert_eq!(found("(!(noSuchAttribute=x))"), [""; 0]);
    }
}
