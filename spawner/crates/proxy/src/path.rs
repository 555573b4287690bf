//! The path a request is routed by: dot segments resolved as a browser resolves them, then decoded.
//!
//! Routes are stored decoded (`/user/ä b`), as in configurable-http-proxy; what is forwarded stays as it came.

use std::borrow::Cow;

/// `None` if the path is not properly encoded UTF-8.
pub(crate) fn routing_path(raw: &str) -> Option<Cow<'_, str>> {
    // Nearly all paths have nothing to resolve, and every request asks.
    let is_plain = raw.starts_with('/')
        && !raw.starts_with("//")
        && !raw.contains("/.")
        && !raw.bytes().any(|byte| byte == b'%' || byte == b'\\');
    if is_plain {
        return Some(Cow::Borrowed(raw));
    }
    resolved(raw).map(Cow::Owned)
}

fn resolved(raw: &str) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    // Browsers and Node read a backslash as a slash.
    let raw = raw.replace('\\', "/");
    let mut parts = raw.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let dots = part.to_ascii_lowercase().replace("%2e", ".");
        match dots.as_str() {
            "." | ".." => {
                if dots == ".." {
                    kept.pop();
                }
                if parts.peek().is_none() {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    decode(&format!("/{}", kept.join("/")))
}

/// Percent-decoding; a lone `%` or bytes that are not UTF-8 give `None`.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = text.get(at + 1..at + 3)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            out.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Everything but letters, digits and `-._~` encoded, for a query value.
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_and_dotted_paths_are_seen_through() {
        for (raw, path) in [
            ("/user/%C3%A4%20b/lab", "/user/ä b/lab"),
            ("/user/a%2Fb", "/user/a/b"),
            ("/user/alice/../bob/x", "/user/bob/x"),
            ("/user/alice/%2e%2E/bob", "/user/bob"),
            ("/../../x", "/x"),
            ("/a/./b/.", "/a/b/"),
            ("/a\\..\\b", "/b"),
            ("/user/a@b.c/~x", "/user/a@b.c/~x"),
            ("//user//a/", "/user//a/"),
            ("/.hidden/a.b..", "/.hidden/a.b.."),
            ("/", "/"),
        ] {
            assert_eq!(routing_path(raw).as_deref(), Some(path), "{raw}");
            assert_eq!(resolved(raw).as_deref(), Some(path), "{raw}");
        }
    }

    #[test]
    fn broken_encoding_is_noticed() {
        for raw in ["/100%", "/%zz", "/%ff", "/%+1"] {
            assert_eq!(routing_path(raw), None, "{raw}");
        }
    }

    #[test]
    fn encoding_round_trips() {
        let text = "/user/ä b?c=d&e#f";
        assert_eq!(decode(&encode(text)).as_deref(), Some(text));
    }
}
