//! Attributes of a job, queue, server or node, in PBS's order. How they look is `render`'s business.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    Text(String),
    /// Printed `Name.resource = value`.
    Resources(Vec<(String, String)>),
    /// Printed `Name = A=x,B=y`.
    Variables(Vec<(String, String)>),
}

/// One object and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, Value)>,
}

impl Object {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new() }
    }

    pub(crate) fn text(&mut self, name: &str, value: impl ToString) {
        self.attributes.push((name.to_owned(), Value::Text(value.to_string())));
    }

    pub(crate) fn text_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Another text for the attribute of that name, which is added if there is none.
    pub(crate) fn replace(&mut self, name: &str, text: String) {
        match self.attributes.iter_mut().find(|(other, _)| other == name) {
            Some((_, value)) => *value = Value::Text(text),
            None => self.text(name, text),
        }
    }

    /// Without the attribute of that name and all after it.
    pub(crate) fn cut_from(&mut self, name: &str) {
        if let Some(at) = self.attributes.iter().position(|(other, _)| other == name) {
            self.attributes.truncate(at);
        }
    }

    pub(crate) fn resources(&mut self, name: &str, values: Vec<(String, String)>) {
        self.attributes.push((name.to_owned(), Value::Resources(values)));
    }

    pub(crate) fn variables(&mut self, name: &str, values: Vec<(String, String)>) {
        self.attributes.push((name.to_owned(), Value::Variables(values)));
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes
            .iter()
            .find_map(|(key, value)| match value {
                Value::Text(text) if key == name => Some(text.as_str()),
                Value::Text(_) | Value::Resources(_) | Value::Variables(_) => None,
            })
            .unwrap_or_default()
    }

    pub(crate) fn resource(&self, name: &str, resource: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(key, value)| match value {
            Value::Resources(values) if key == name => {
                values.iter().find(|(key, _)| key == resource).map(|(_, value)| value.as_str())
            }
            Value::Text(_) | Value::Resources(_) | Value::Variables(_) => None,
        })
    }
}
