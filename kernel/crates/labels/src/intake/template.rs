//! Owns filling in the templates of an entry's arguments. They are not Jinja: a name of a parameter, `CATALOG_DIR`, `env(NAME)` and
//! `'%02d' % name` are known, all else is an error.

use std::cell::Cell;

use nuna_storage::Attributes;
use serde_json::{Map, Value};

use super::{CatalogEntry, parameter::formatted};
use crate::Result;

/// What the templates of an entry are filled in with. Defaults that name each other twice over, ten deep, would fill the memory.
const TEMPLATE_BYTES_MAX: usize = 4 << 20;

/// How deep templates are within templates, and the bytes that may still be filled in.
#[derive(Clone, Copy)]
struct Filling<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Filling<'_> {
    fn take(self, bytes: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or("its templates stand for more than 4 MiB")?);
        Ok(())
    }
}

impl CatalogEntry {
    /// Its arguments with templates filled in.
    ///
    /// # Errors
    /// If one cannot be: it is no template that is understood, or a parameter has no value.
    pub fn arguments(&self) -> Result<Attributes> {
        let args = Value::Object(self.args.clone());
        match self
            .fill(&args, Filling { depth: 0, left: &Cell::new(TEMPLATE_BYTES_MAX) })
            .map_err(|message| self.wrong(message))?
        {
            Value::Object(args) => Ok(args),
            _ => Ok(Map::new()),
        }
    }

    fn fill(&self, value: &Value, filling: Filling<'_>) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.rendered(text, filling)?.into(),
            Value::Array(values) => {
                values.iter().map(|value| self.fill(value, filling)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Object(map) => {
                let filled = map.iter().map(|(key, value)| Ok((key.clone(), self.fill(value, filling)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    /// A text with what stands between its braces filled in.
    fn rendered(&self, text: &str, filling: Filling<'_>) -> Result<String, String> {
        if text.contains("{%") {
            return Err(format!("the template `{text}` has statements, which are not supported"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, behind) =
                after.split_once("}}").ok_or_else(|| format!("the template `{text}` has no end"))?;
            out.push_str(before);
            let filled = self.expression(inside.trim(), filling)?;
            filling.take(inside.len() + filled.len())?;
            out.push_str(&filled);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn expression(&self, text: &str, filling: Filling<'_>) -> Result<String, String> {
        let unquoted = |text: &str| -> Option<String> {
            let text = text.trim();
            let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
            let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then(|| inner.to_owned())
        };
        if let Some(name) = text.strip_prefix("env(").and_then(|rest| rest.strip_suffix(')')) {
            let name = unquoted(name).unwrap_or_else(|| name.trim().to_owned());
            if nuna_storage::is_address(&self.file) {
                return Err(format!(
                    "it asks for the variable `{name}` of the environment, which catalogues from afar are not told; copy the catalogue if you trust it"
                ));
            }
            return std::env::var(&name)
                .map_err(|_| format!("the variable `{name}` of the environment is not set"));
        }
        if let Some((format, name)) = text.split_once('%').and_then(|_| text.rsplit_once('%'))
            && let Some(format) = unquoted(format)
        {
            return formatted(&format, &self.value(name.trim(), filling)?);
        }
        Ok(match self.value(text, filling)? {
            Value::String(text) => text,
            value => value.to_string(),
        })
    }

    /// What a name stands for.
    fn value(&self, name: &str, filling: Filling<'_>) -> Result<Value, String> {
        if name == "CATALOG_DIR" {
            let mut file = self.file.to_string_lossy().into_owned();
            if nuna_storage::is_address(&self.file)
                && let Some(query) = file.find('?')
            {
                file.truncate(query);
            }
            return Ok(file.rsplit_once('/').map_or(".", |(folder, _)| folder).into());
        }
        let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == name) else {
            return Err(format!(
                "`{{{{ {name} }}}}` is not understood; names of parameters, CATALOG_DIR, env(NAME) and '%02d' % name are"
            ));
        };
        match &parameter.value {
            Value::Null => {
                Err(format!("the parameter `{name}` has no default; set it using `with(\"{name}\", …)`"))
            }
            // Defaults may be templates.
            Value::String(text) if text.contains("{{") => {
                if filling.depth > 10 {
                    return Err(format!("the parameter `{name}` is made of itself"));
                }
                self.rendered(text, Filling { depth: filling.depth + 1, ..filling }).map(Value::from)
            }
            value => Ok(value.clone()),
        }
    }
}
