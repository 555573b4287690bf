//! Names as parts of LDAP names and filters: nothing a person types can change what is asked.

use std::borrow::Cow;

/// Fills `{user}` and `{dn}` in a filter.
pub(super) fn filter(template: &str, user: &str, dn: &str) -> String {
    fill(template, &[("{user}", &ldap3::ldap_escape(user)), ("{dn}", &ldap3::ldap_escape(dn))])
}

/// Fills `{user}` in a distinguished name, or in a name such as `{user}@example.org`.
pub(super) fn bind_name(template: &str, user: &str) -> String {
    let escaped: Cow<'_, str> =
        if crate::config::is_dn(template) { ldap3::dn_escape(user) } else { user.into() };
    fill(template, &[("{user}", &escaped)])
}

/// Each place once, so that a value holding `{dn}` stays what it is.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The value of the first part of a distinguished name: `cn=ocean,ou=groups` gives `ocean`.
pub(super) fn first_value(dn: &str) -> Option<String> {
    let (_, rest) = dn.split_once('=')?;
    let mut value = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'+' => break,
            b'\\' => {
                let next = bytes.next()?;
                match (next as char).to_digit(16) {
                    Some(high) => {
                        let low = (bytes.next()? as char).to_digit(16)?;
                        value.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => value.push(next),
                }
            }
            _ => value.push(byte),
        }
    }
    let value = String::from_utf8(value).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_change_neither_filter_nor_name() {
        assert_eq!(filter("(uid={user})", "a*)(uid=*", ""), "(uid=a\\2a\\29\\28uid=\\2a)");
        assert_eq!(filter("(m={dn})(u={user})", "{dn}", "uid=x\\,y"), "(m=uid=x\\5c,y)(u={dn})");
        let name = bind_name("uid={user},ou=people", "a,ou=admins");
        assert!(!name.contains("a,ou=admins"), "{name}");
        assert_eq!(bind_name("{user}@example.org", "alice"), "alice@example.org");
    }

    #[test]
    fn group_names_are_read_from_distinguished_names() {
        assert_eq!(first_value("cn=ocean,ou=groups,dc=x").unwrap(), "ocean");
        assert_eq!(first_value("CN=a\\, b\\2C c+x=y,dc=x").unwrap(), "a, b, c");
        assert_eq!(first_value("nothing"), None);
        assert_eq!(first_value("cn=,dc=x"), None);
    }
}
