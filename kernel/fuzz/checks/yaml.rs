//! Any text as YAML: a value, which is read as the same when it is written as JSON, or an error.

use nuna_labels::fuzzing::yaml;
use serde_json::Value;

/// PyYAML takes `1e5` for a word, and what others do not print is to be escaped.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.to_string().contains('e'),
        Value::String(text) => is_printed(text),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(map) => {
            map.iter().all(|(key, value)| is_printed(key) && key != "<<" && is_plain(value))
        }
        Value::Null | Value::Bool(_) => true,
    }
}

fn is_printed(text: &str) -> bool {
    // A key of one line has at most 1024 characters.
    text.len() < 1000 && text.chars().all(|c| !c.is_control() && c != '\u{feff}' && c < '\u{fffe}')
}

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(value) = yaml(text) else { return };
    let written = value.to_string();
    if is_plain(&value) && written.len() < 1000 {
        assert_eq!(yaml(&written).as_ref(), Ok(&value), "{written}");
    }
}
