//! Owns how the façade's own types show themselves; arrays and datasets bring their views along.

use std::fmt;

use crate::{display::Display, tasks::Tasks};

impl<T> fmt::Debug for Tasks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(self))
    }
}

impl<T> Display for Tasks<T> {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        let text = describe(self);
        let html = format!(
            "<div>{} <progress value=\"{}\" max=\"{}\" aria-label=\"{}\"></progress></div>",
            escape(&text),
            self.done(),
            self.len().max(1),
            escape(&self.label())
        );
        vec![("text/plain".to_owned(), text), ("text/html".to_owned(), html)]
    }
}

macro_rules! show_as_labels_do {
    ($($view:ty),*) => {$(
        impl Display for $view {
            fn mime_bundle(&self) -> Vec<(String, String)> {
                <$view>::mime_bundle(self).into_iter().map(|(kind, data)| (kind.to_owned(), data)).collect()
            }
        }
    )*};
}

show_as_labels_do!(crate::DataArray, crate::Dataset, crate::Plot, crate::DataTable, crate::Frame);

/// What is shown as text alone.
macro_rules! show_as_text {
    ($($view:ty),*) => {$(
        impl Display for $view {
            fn mime_bundle(&self) -> Vec<(String, String)> {
                vec![("text/plain".to_owned(), self.to_string())]
            }
        }
    )*};
}

show_as_text!(crate::Items, crate::Catalog, crate::CatalogEntry);

impl Display for crate::Cluster {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        vec![("text/plain".to_owned(), self.to_string()), ("text/html".to_owned(), self.html())]
    }
}

fn describe<T>(tasks: &Tasks<T>) -> String {
    match tasks.failure() {
        Some(error) => format!("tasks `{}`: {error}", tasks.label()),
        None if tasks.is_started() => {
            format!("tasks `{}`: {} of {} done", tasks.label(), tasks.done(), tasks.len())
        }
        None => {
            format!("tasks `{}`: {} to do; they start when results are asked for", tasks.label(), tasks.len())
        }
    }
}

/// Text as it may stand in HTML, in attributes too.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(super::escape("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
    }
}
