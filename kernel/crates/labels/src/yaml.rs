//! Owns YAML as a JSON value, read as PyYAML's `safe_load` reads it: one document, plain words as in YAML 1.1, merged keys (`<<`).
//! What aliases stand for counts as often as it is named, so a few lines cannot fill the memory.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

/// Bytes of text, and 32 for each node, of a whole document with all its aliases.
const WEIGHT_MAX: usize = 64 << 20;
const DEPTH_MAX: usize = 100;

/// Reads a document.
///
/// # Errors
/// What is wrong with it, and in which line.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), line: 0, weight: 0, anchors: HashMap::new() };
    let mut document = None;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(document.unwrap_or(Value::Null)),
            Event::DocumentStart(_) if document.is_some() => {
                return Err(reader.wrong("it has several documents, and one is expected"));
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => document = Some(reader.node(event, 0)?.0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    line: usize,
    weight: usize,
    /// What an alias stands for, and what that weighs.
    anchors: HashMap<usize, (Value, usize)>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        match self.parser.next_event() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(format!("line {}: {}", error.marker().line(), error.info())),
        }
    }

    fn wrong(&self, message: &str) -> String {
        format!("line {}: {message}", self.line)
    }

    fn weigh(&mut self, weight: usize) -> Result<(), String> {
        self.weight = self.weight.saturating_add(weight);
        match self.weight <= WEIGHT_MAX {
            true => Ok(()),
            false => {
                Err(self.wrong("it stands for more than 64 MiB, aliases counted as often as they are named"))
            }
        }
    }

    /// A node that begins with `event`, and its weight.
    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<(Value, usize), String> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deep"));
        }
        let (value, weight, anchor) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let (value, weight) =
                    known.ok_or_else(|| self.wrong("an alias stands for what it is a part of"))?;
                self.weigh(weight)?;
                return Ok((value, weight));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let weight = 32 + text.len();
                self.weigh(weight)?;
                let value = match tag.as_deref() {
                    None if style == ScalarStyle::Plain => plain(&text),
                    None => text.into_owned().into(),
                    Some(tag) => self.tagged(&text, tag)?,
                };
                (value, weight, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check(tag.as_deref(), "seq")?;
                let mut weight = 32;
                self.weigh(weight)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => {
                            let (item, more) = self.node(event, depth + 1)?;
                            items.push(item);
                            weight += more;
                        }
                    }
                }
                (Value::Array(items), weight, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check(tag.as_deref(), "map")?;
                let (map, weight) = self.mapping(depth)?;
                (Value::Object(map), weight, anchor)
            }
            _ => return Err(self.wrong("it ends in the middle")),
        };
        if anchor > 0 {
            // It is kept twice.
            self.weigh(weight)?;
            self.anchors.insert(anchor, (value.clone(), weight));
        }
        Ok((value, weight))
    }

    fn mapping(&mut self, depth: usize) -> Result<(Map<String, Value>, usize), String> {
        let mut weight = 32;
        self.weigh(weight)?;
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let event = match self.next()? {
                Event::MappingEnd => break,
                event => event,
            };
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.node(event, depth + 1)?.0 {
                Value::String(text) => text,
                Value::Array(_) | Value::Object(_) => return Err(self.wrong("a key is no word")),
                word => word.to_string(),
            };
            let event = self.next()?;
            let (value, more) = self.node(event, depth + 1)?;
            weight += 32 + key.len() + more;
            match value {
                Value::Object(other) if is_merge => merged.push(other),
                Value::Array(others) if is_merge => {
                    for other in others {
                        let Value::Object(other) = other else {
                            return Err(self.wrong("`<<` merges no mapping"));
                        };
                        merged.push(other);
                    }
                }
                _ if is_merge => return Err(self.wrong("`<<` merges no mapping")),
                value => {
                    map.insert(key, value);
                }
            }
        }
        for (key, value) in merged.into_iter().flatten() {
            map.entry(key).or_insert(value);
        }
        Ok((map, weight))
    }

    fn tagged(&self, text: &str, tag: &Tag) -> Result<Value, String> {
        match tag.suffix.as_str() {
            "str" if tag.is_yaml_core_schema() => Ok(text.into()),
            "bool" | "int" | "float" | "null" if tag.is_yaml_core_schema() => Ok(plain(text)),
            _ => Err(self.wrong(&format!("the tag `{}{}` is not supported", tag.handle, tag.suffix))),
        }
    }

    fn check(&self, tag: Option<&Tag>, known: &str) -> Result<(), String> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == known) => {
                Err(self.wrong(&format!("the tag `{}{}` is not supported", tag.handle, tag.suffix)))
            }
            _ => Ok(()),
        }
    }
}

/// A word without quotes. Dates stay text, and so do what is infinite or no number.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return false.into(),
        _ => {}
    }
    number(text).unwrap_or_else(|| text.into())
}

/// A number as PyYAML knows them: `012` is octal, `1:30` counts sixties, and `1e5` is a word, since it has neither a point nor a
/// sign. Integers of more than 64 bits stay text.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    let is_digits = |text: &str| text.bytes().all(|b| b == b'_' || b.is_ascii_digit());
    let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && is_digits(text);
    let whole = |digits: &str, radix: u32| {
        let digits = digits.replace('_', "");
        let number = i128::from_str_radix(&digits, radix).ok().filter(|_| !digits.starts_with(['-', '+']))?;
        let number = if is_negative { -number } else { number };
        i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from)).ok()
    };
    // `1:30`, and what each further part may be.
    let sixties = |text: &str| {
        let (first, rest) = text.split_once(':').filter(|(first, _)| begins(first))?;
        rest.split(':').try_fold(first.replace('_', "").parse::<i64>().ok()?, |sum, part| {
            let part = part.parse::<i64>().ok().filter(|n| part.len() <= 2 && is_digits(part) && *n < 60)?;
            sum.checked_mul(60)?.checked_add(part)
        })
    };
    if let Some(digits) = digits.strip_prefix("0x") {
        return whole(digits, 16);
    }
    if let Some(digits) = digits.strip_prefix("0b") {
        return whole(digits, 2);
    }
    if begins(digits) {
        return whole(digits, if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 });
    }
    if !digits.contains('.') {
        return whole(&sixties(digits).filter(|_| !digits.starts_with('0'))?.to_string(), 10);
    }
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let has_sign = |exponent: &str| {
        exponent.strip_prefix(['-', '+']).is_some_and(|rest| begins(rest) && !rest.contains('_'))
    };
    let (before, after) = mantissa.split_once('.')?;
    if !is_digits(after) || !exponent.is_none_or(has_sign) {
        return None;
    }
    let number = if before.contains(':') {
        let fraction = format!("0.{}", after.replace('_', "")).parse::<f64>().ok()?;
        sixties(before).filter(|_| exponent.is_none())? as f64 + fraction
    } else {
        let is_plain = begins(before) || before.is_empty() && begins(after) && digits.len() == text.len();
        digits.replace('_', "").parse::<f64>().ok().filter(|_| is_plain)?
    };
    serde_json::Number::from_f64(if is_negative { -number } else { number }).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_they_mean_in_python() {
        let text = "a: yes\nb: 012\nc: '012'\nd: 1_000\ne: 1.5\nf: ~\ng: 2001-01-01\nh: 0x1f\ni: [1, two]\nj: -3\nk: 1.2.3\n\
                    r: 1e5\ns: 1:30\nt: 1.5e+3\nu: -.5\nv: 18446744073709551615\nw: 18446744073709551616\nx: 1:30.5\ny: 0o7\n\
                    l: |\n  two\n  lines\n2001: m\nn: !!str 5\no: .5\np: v1\nq: -.inf\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({
                "a": true, "b": 10, "c": "012", "d": 1000, "e": 1.5, "f": null, "g": "2001-01-01", "h": 31, "i": [1, "two"],
                "j": -3, "k": "1.2.3", "l": "two\nlines\n", "2001": "m", "n": "5", "o": 0.5, "p": "v1", "q": "-.inf",
                "r": "1e5", "s": 90, "t": 1500.0, "u": "-.5", "v": u64::MAX, "w": "18446744073709551616", "x": 90.5, "y": "0o7",
            })
        );
    }

    #[test]
    fn aliases_and_merged_keys_stand_for_what_they_name() {
        let text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\nd: {<<: [*a, {z: 4}]}\n";
        let found = parse(text).unwrap();
        assert_eq!(found["b"], json!({"x": 1, "y": 3}));
        assert_eq!(found["c"], found["a"]);
        assert_eq!(found["d"], json!({"x": 1, "y": 2, "z": 4}));
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for n in 1..20 {
            let alias = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", vec![alias; 10].join(", "));
        }
        let message = parse(&text).unwrap_err();
        assert!(message.contains("64 MiB"), "{message}");
        // Each is kept by its own name, and within all that are around it.
        let long = "x".repeat(1 << 20);
        let nested: String = (0..80).map(|n| format!("&a{n} [")).collect();
        let message = parse(&format!("{nested}{long}{}", "]".repeat(80))).unwrap_err();
        assert!(message.contains("64 MiB"), "{message}");
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for (text, said) in [
            ("a: 1\nb: [1, 2\n", "line"),
            ("a: !!python/object:os.system x\n", "tag"),
            ("a: &a [*a]\n", "part of"),
            ("a: 1\n---\nb: 2\n", "several"),
            ("? [1]\n: 2\n", "key"),
            ("a: {<<: 1}\n", "merges"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(said) && message.contains("line"), "{text}: {message}");
        }
        assert_eq!(parse("").unwrap(), Value::Null);
    }
}
