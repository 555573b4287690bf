//! The few pages of our own, without script or style, and escaping for what is not ours.

use std::sync::PoisonError;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::origin::Kind;
use crate::registry::Cluster;
use crate::{Shared, signin};

pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// The clusters of who is signed in, with links. It is also where a sign-in ends that began nowhere, such as the
/// one in JupyterLab's hidden frame.
pub(crate) async fn home(State(gateway): State<Shared>, headers: HeaderMap) -> Response {
    let caller = match gateway.caller(&headers, Kind::Page).await {
        Ok(caller) => caller,
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => {
            return signin::redirect(&format!("{}login", gateway.settings.public_prefix));
        }
        Err(error) => return error.as_page().into_response(),
    };
    let clusters =
        gateway.registry.lock().unwrap_or_else(PoisonError::into_inner).list(Instant::now(), &caller.user);
    let items: String = clusters
        .iter()
        .map(|cluster| {
            let url = cluster_path(&gateway.settings.public_prefix, cluster);
            format!(
                "<li><a href=\"{}\">{}</a>, since {}</li>\n",
                escape(&url),
                escape(&cluster.name),
                escape(&cluster.started)
            )
        })
        .collect();
    let list = if items.is_empty() {
        "<p>No cluster of yours is running. Start one from a notebook.</p>".to_owned()
    } else {
        format!("<ul>\n{items}</ul>")
    };
    let body = format!("<h1>Clusters of {}</h1>\n{list}\n", escape(&caller.user));
    ([(header::CONTENT_TYPE, HTML)], page("Clusters", &body)).into_response()
}

pub(crate) fn trouble(message: &str, request: &str) -> String {
    page(
        "Nuna",
        &format!(
            "<h1>That did not work</h1>\n<p>{}</p>\n<p>Request {}.</p>\n",
            escape(message),
            escape(request)
        ),
    )
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// Path of a cluster's dashboard on the public host.
pub(crate) fn cluster_path(prefix: &str, cluster: &Cluster) -> String {
    format!("{prefix}clusters/{}/{}/", encode(&cluster.user), encode(&cluster.name))
}

/// For one segment of a path or one value of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_stays_text() {
        let page = trouble("<script>alert('x')</script> & \"y\"", "ab");
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
        assert_eq!(encode("a b/ü@x"), "a%20b%2F%C3%BC%40x");
    }
}
