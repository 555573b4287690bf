//! Owns what completes entries of catalogues: parameters with their types and bounds, and Python's formats for them.

use serde_json::Value;

/// What completes an entry, such as a year that is a part of its files' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub description: String,
    /// `str`, `int`, `float`, `bool`…
    pub kind: String,
    /// The default, or what [`CatalogEntry::with`] has set.
    pub value: Value,
    /// If there are any, it is one of these.
    pub allowed: Vec<Value>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Parameter {
    pub(super) fn new(name: &str, about: &Value) -> Result<Self, String> {
        let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
        let kind = Some(text("type")).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "str".to_owned());
        let allowed = about["allowed"].as_array().cloned().unwrap_or_default();
        let mut parameter = Self {
            name: name.to_owned(),
            description: text("description"),
            kind,
            value: Value::Null,
            allowed,
            min: about["min"].as_f64(),
            max: about["max"].as_f64(),
        };
        match &about["default"] {
            Value::Null => {}
            Value::String(text) if text.contains("{{") => parameter.value = text.clone().into(),
            default => parameter.set(default.clone())?,
        }
        Ok(parameter)
    }

    pub(super) fn set(&mut self, value: Value) -> Result<(), String> {
        let Self { name, kind, allowed, .. } = self;
        let wrong = |why: &str| format!("the parameter `{name}` cannot be {value}: {why}");
        let text = value.as_str().map(str::trim);
        let number = || value.as_f64().or_else(|| text?.parse().ok());
        let value = match kind.as_str() {
            "int" => value
                .as_i64()
                .or_else(|| text?.parse().ok())
                .map(Value::from)
                .ok_or_else(|| wrong("it is a whole number"))?,
            "float" => number().map(Value::from).ok_or_else(|| wrong("it is a number"))?,
            "bool" if !value.is_boolean() => return Err(wrong("it is true or false")),
            "str" | "datetime" | "unicode" => match &value {
                Value::String(_) => value.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string().into(),
                _ => return Err(wrong("it is a text")),
            },
            _ => value.clone(),
        };
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !allowed.is_empty() && !allowed.iter().any(|known| as_text(known) == as_text(&value)) {
            let known: Vec<String> = allowed.iter().map(as_text).collect();
            return Err(wrong(&format!("it is one of {}", known.join(", "))));
        }
        let number = value.as_f64();
        if let (Some(number), Some(min)) = (number, self.min)
            && number < min
        {
            return Err(wrong(&format!("it is {min} at least")));
        }
        if let (Some(number), Some(max)) = (number, self.max)
            && number > max
        {
            return Err(wrong(&format!("it is {max} at most")));
        }
        self.value = value;
        Ok(())
    }
}

/// Python's `'%02d' % value`, with one place for the value.
pub(super) fn formatted(format: &str, value: &Value) -> Result<String, String> {
    let unknown = || format!("the format `{format}` is not understood; %s, %d and %02d are");
    let (before, rest) = format.split_once('%').ok_or_else(unknown)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(unknown)?;
    let (flags, rest) = rest.split_at(end);
    let mut rest = rest.chars();
    let kind = rest.next().ok_or_else(unknown)?;
    let after = rest.as_str();
    let width: usize = if flags.is_empty() { 0 } else { flags.parse().map_err(|_| unknown())? };
    if after.contains('%') || width > 1000 {
        return Err(unknown());
    }
    let text = match (kind, value) {
        ('s', Value::String(text)) => format!("{text:>width$}"),
        ('s', value) => format!("{:>width$}", value.to_string()),
        ('d', value) => {
            let number =
                value.as_i64().ok_or_else(|| format!("`{format}` wants a whole number, not {value}"))?;
            if flags.starts_with('0') { format!("{number:0width$}") } else { format!("{number:width$}") }
        }
        _ => return Err(unknown()),
    };
    Ok(format!("{before}{text}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_python_s() {
        for (format, value, expected) in [
            ("%02d", json!(7), "07"),
            ("%d", json!(-7), "-7"),
            ("m%3d.nc", json!(7), "m  7.nc"),
            ("%s", json!("a"), "a"),
            ("%s", json!(1.5), "1.5"),
        ] {
            assert_eq!(formatted(format, &value).unwrap(), expected);
        }
        for (format, value) in
            [("%x", json!(1)), ("%d%d", json!(1)), ("d", json!(1)), ("%d", json!("a")), ("%", json!(1))]
        {
            assert!(formatted(format, &value).is_err(), "{format}");
        }
        assert!(formatted("%99999999999999999999d", &json!(1)).is_err());
        assert!(formatted("%99999999d", &json!(1)).is_err());
    }
}
