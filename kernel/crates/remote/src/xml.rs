//! Owns the little that is read of S3's XML: the texts of elements of one name, wherever they are.

/// What is in all elements `name`, in order, as it is written. What is cut off is left out.
pub fn sections<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = document;
    let mut found = Vec::new();
    while let Some(at) = rest.find(&open) {
        rest = &rest[at + open.len()..];
        let Some(end) = rest.find(&close) else { break };
        found.push(&rest[..end]);
        rest = &rest[end + close.len()..];
    }
    found
}

/// The text of the first element `name`.
pub fn text(document: &str, name: &str) -> Option<String> {
    sections(document, name).first().map(|text| unescaped(text))
}

/// Bytes of a longest entity, such as `&#x10ffff;`.
const ENTITY_MAX: usize = 12;

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // No entity is longer: what follows is not searched for its end again and again.
        let end = rest.bytes().take(ENTITY_MAX).position(|byte| byte == b';').unwrap_or(0);
        let entity = rest.get(1..end).unwrap_or_default();
        let number = entity.strip_prefix("#x").map(|digits| u32::from_str_radix(digits, 16).ok());
        let number = number.or_else(|| entity.strip_prefix('#').map(|digits| digits.parse().ok()));
        let meant = match entity {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => number.flatten().and_then(char::from_u32),
        };
        match meant {
            Some(c) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_unescaped() {
        let document =
            "<R><P><Prefix>a&amp;b/</Prefix></P><P><Prefix>&#x20;&lt;&unknown; &</Prefix></P><P>cut";
        let texts: Vec<_> = sections(document, "P").into_iter().map(|part| text(part, "Prefix")).collect();
        assert_eq!(texts, [Some("a&b/".to_owned()), Some(" <&unknown; &".to_owned())]);
        assert_eq!(text(document, "Code"), None);
    }

    #[test]
    fn text_that_begins_entities_and_ends_none_is_read_in_one_go() {
        let many = "&".repeat(1 << 20);
        let begun = std::time::Instant::now();
        assert_eq!(unescaped(&many), many);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}
