//! Distinguished names, compared as a directory compares them: case and spaces do not count (RFC 4514).

use anyhow::{Context, bail, ensure};

/// A longer name is an attack or a mistake.
const LENGTH_MAX: usize = 4096;

/// Normalised: lower case, spaces collapsed, most specific part first, the parts of a multi-valued one sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Dn {
    parts: Vec<Vec<(String, String)>>,
}

impl Dn {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= LENGTH_MAX, "a distinguished name of {} bytes is too long", text.len());
        let mut parts = Vec::new();
        if text.trim().is_empty() {
            return Ok(Self { parts });
        }
        for part in split(text, &[',', ';']) {
            let mut values = Vec::new();
            for value in split(part, &['+']) {
                let (name, value) = value.split_once('=').with_context(|| format!("{value:?} has no `=`"))?;
                let name = name.trim();
                let is_name = !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
                ensure!(is_name, "{name:?} is not an attribute's name");
                values.push((name.to_ascii_lowercase(), normal(&unescape(value)?)));
            }
            values.sort();
            parts.push(values);
        }
        Ok(Self { parts })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        (!self.parts.is_empty()).then(|| Self { parts: self.parts[1..].to_vec() })
    }

    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.parts.len() > other.parts.len() && self.parts.ends_with(&other.parts)
    }
}

/// Lower case, one space between words.
pub(crate) fn normal(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// A value written so that it can stand in a distinguished name.
pub(crate) fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (index, letter) in value.chars().enumerate() {
        let special = ",+\"\\<>;=".contains(letter)
            || (letter == ' ' && (index == 0 || index == last))
            || (letter == '#' && index == 0);
        if special {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let (mut from, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if letter == '\\' {
            escaped = true;
        } else if separators.contains(&letter) {
            found.push(&text[from..at]);
            from = at + letter.len_utf8();
        }
    }
    found.push(&text[from..]);
    found
}

fn unescape(text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (hex, bytes.get(at + 1)) {
            (Some(byte), _) => {
                out.push(byte);
                at += 3;
            }
            (None, Some(byte)) => {
                out.push(*byte);
                at += 2;
            }
            (None, None) => bail!("{text:?} ends with a backslash"),
        }
    }
    String::from_utf8(out).context("a value is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_spaces_and_escapes_do_not_matter() {
        let one = Dn::parse("UID=Alice, ou=People,dc=x").unwrap();
        assert_eq!(one, Dn::parse("uid=al\\69ce,OU=people , DC=X").unwrap());
        assert!(one.is_below(&Dn::parse("dc=x").unwrap()));
        assert!(!one.is_below(&one));
        assert_eq!(one.parent(), Some(Dn::parse("ou=people,dc=x").unwrap()));
    }

    #[test]
    fn escaped_commas_stay_in_their_value() {
        let dn = Dn::parse(&format!("cn={},dc=x", escape("Doe, Jane"))).unwrap();
        assert_eq!(dn.parent(), Some(Dn::parse("dc=x").unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["alice", "=x", "uid=a,,dc=x", "uid=a\\", "u id=x"] {
            assert!(Dn::parse(text).is_err(), "{text}");
        }
    }
}
