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
    first_part(dn).map(|(_, value)| value)
}

/// Name and value of the first part of a distinguished name.
pub(super) fn first_part(dn: &str) -> Option<(String, String)> {
    let (name, rest) = dn.split_once('=')?;
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
    (!value.is_empty()).then(|| (name.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// A filter as the server reads it.
    fn parsed(filter: &str) -> String {
        format!("{:?}", ldap3::parse_filter(filter).unwrap())
    }

    /// Splits where a distinguished name has its parts (RFC 4514).
    fn parts(dn: &str) -> Vec<&str> {
        let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
        for (at, letter) in dn.char_indices() {
            if letter == ',' && !is_escaped {
                parts.push(&dn[start..at]);
                start = at + 1;
            }
            is_escaped = letter == '\\' && !is_escaped;
        }
        parts.push(&dn[start..]);
        parts
    }

    /// Letters that mean something to filters and names, among others.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{0,24}", "[*()\\\\,=+<>#;\"a\u{0}é\n{}dnuser ]{0,24}", any::<String>()]
    }

    proptest! {
        /// Whatever is typed is one value that is compared, and the filter is otherwise as the administrator wrote it.
        #[test]
        fn a_name_is_one_value_in_a_filter(user in name(), dn in name()) {
            let templates = [
                "(uid={user})",
                "(&(objectClass=person)(|(uid={user})(mail={user}@x)))",
                "(|(member={dn})(uniqueMember={dn})(memberUid={user}))",
                "(member:1.2.840.113556.1.4.1941:={dn})",
            ];
            for template in templates {
                // Two letters that nothing else in the templates is.
                let plain = parsed(&filter(template, "U", "D"));
                let bytes = |text: &str, more: &str| {
                    let bytes = [text.as_bytes(), more.as_bytes()].concat();
                    format!("inner: {bytes:?}")
                };
                let expected = plain
                    .replace(&bytes("U", "@x"), "\u{1}")
                    .replace(&bytes("U", ""), "\u{2}")
                    .replace(&bytes("D", ""), "\u{3}")
                    .replace('\u{1}', &bytes(&user, "@x"))
                    .replace('\u{2}', &bytes(&user, ""))
                    .replace('\u{3}', &bytes(&dn, ""));
                prop_assert_eq!(parsed(&filter(template, &user, &dn)), expected);
            }
        }

        /// And one value in the first part of a distinguished name.
        #[test]
        fn a_name_is_one_value_in_a_distinguished_name(user in name()) {
            let dn = bind_name("uid={user},ou=people,dc=x", &user);
            let parts = parts(&dn);
            prop_assert_eq!(&parts[1..], ["ou=people", "dc=x"]);
            let expected = Some(("uid".to_owned(), user.trim().to_owned())).filter(|(_, value)| !value.is_empty());
            prop_assert_eq!(first_part(&dn), expected);
        }

        /// What a directory says is read without a fault.
        #[test]
        fn any_distinguished_name_is_read(dn in any::<String>()) {
            let _ = first_part(&dn);
        }
    }
}
