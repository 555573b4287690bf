//! Whether a request that relies on a cookie was made by a page of ours. Requests with a token need no such check,
//! since no browser adds one on its own.

use axum::http::{HeaderMap, header};

/// What kind of request it is decides what a browser tells about its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// May be the target of a link on another site's page.
    Page,
    /// Made by a script.
    Api,
    /// Browsers always name the Origin, and no other rule stops another site's page.
    WebSocket,
}

pub(crate) fn is_ours(headers: &HeaderMap, kind: Kind, public_origin: Option<&str>) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin_is_ours = match (text(header::ORIGIN), public_origin) {
        (None, _) => kind != Kind::WebSocket,
        (Some(origin), Some(ours)) => origin.eq_ignore_ascii_case(ours),
        (Some(origin), None) => {
            let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            matches!((authority, text(header::HOST)), (Some(a), Some(host)) if a.eq_ignore_ascii_case(host))
        }
    };
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    let site_is_ours = match (kind, site) {
        (Kind::Page, _) | (_, None | Some("same-origin" | "none")) => true,
        (Kind::Api | Kind::WebSocket, Some(_)) => false,
    };
    origin_is_ours && site_is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn another_sites_page_is_told_from_ours() {
        let host = ("host", "hub.example.org:8000");
        for (origin, expected) in [
            ("https://hub.example.org:8000", true),
            ("http://HUB.example.org:8000", true),
            ("http://hub.example.org", false),
            ("http://hub.example.org:8000.evil.example", false),
            ("https://evil.example", false),
            ("null", false),
            ("hub.example.org:8000", false),
            ("file://hub.example.org:8000", false),
        ] {
            for kind in [Kind::Page, Kind::Api, Kind::WebSocket] {
                assert_eq!(
                    is_ours(&headers(&[host, ("origin", origin)]), kind, None),
                    expected,
                    "{origin} {kind:?}"
                );
            }
        }
    }

    #[test]
    fn a_configured_origin_is_the_only_one_whatever_the_host_header_says() {
        let ours = Some("https://hub.example.org");
        let sent = |origin| headers(&[("host", "evil.example"), ("origin", origin)]);
        assert!(is_ours(&sent("https://hub.example.org"), Kind::WebSocket, ours));
        assert!(!is_ours(&sent("http://hub.example.org"), Kind::WebSocket, ours));
        assert!(!is_ours(&sent("https://evil.example"), Kind::WebSocket, ours));
    }

    #[test]
    fn no_origin_is_enough_for_pages_and_reads_and_not_for_streams() {
        let plain = headers(&[("host", "hub")]);
        assert!(is_ours(&plain, Kind::Page, None) && is_ours(&plain, Kind::Api, None));
        assert!(!is_ours(&plain, Kind::WebSocket, None));
        // A read by a script of another site has no Origin if it asks for no answer, but says where it is from.
        for site in ["cross-site", "same-site"] {
            let sent = headers(&[("host", "hub"), ("sec-fetch-site", site)]);
            assert!(!is_ours(&sent, Kind::Api, None), "{site}");
            assert!(is_ours(&sent, Kind::Page, None), "a link from elsewhere may be followed");
        }
    }
}
