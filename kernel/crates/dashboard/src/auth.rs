//! Who may look: the cluster's token as a bearer, or as a cookie got for it once; the page's origin; identity.
//!
//! A bearer token is not sent by a browser on its own, so only requests that rely on the cookie have their
//! Origin checked. A proxy that adds the bearer (the hub's service, the Jupyter server part) checks it itself.

use axum::http::{HeaderMap, header};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Nonces of `/api/identity`: long enough to be fresh, short enough to be no burden. In bytes, before hex.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

#[derive(Clone)]
pub(crate) struct Gate {
    token: String,
    /// What the cookie holds: derived, since cookies are shared by every port of a host.
    session: String,
    pub(crate) cookie_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// No or wrong credentials.
    Unknown,
    /// Good cookie, but the request was made by a page of another site.
    ForeignOrigin,
}

impl Gate {
    pub(crate) fn new(token: String, cluster: &str) -> Self {
        let session = hmac_hex(&token, b"nuna dashboard session");
        let cookie_name = format!("nuna-dashboard-{}", &hmac_hex(&token, cluster.as_bytes())[..12]);
        Self { token, session, cookie_name }
    }

    pub(crate) fn check(&self, headers: &HeaderMap) -> Verdict {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let bearer = value.to_str().ok().and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
            });
            return match bearer {
                Some(token) if self.is_token(token) => Verdict::Allowed,
                _ => Verdict::Unknown,
            };
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let known = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| name == self.cookie_name && same(value, &self.session));
        match (known, same_origin(headers)) {
            (true, true) => Verdict::Allowed,
            (true, false) => Verdict::ForeignOrigin,
            (false, _) => Verdict::Unknown,
        }
    }

    pub(crate) fn is_token(&self, token: &str) -> bool {
        same(token, &self.token)
    }

    pub(crate) fn set_cookie(&self) -> String {
        format!("{}={}; Path=/; HttpOnly; SameSite=Lax", self.cookie_name, self.session)
    }

    /// Proves knowledge of the token without giving it: hex HMAC-SHA256 of the nonce's bytes.
    pub(crate) fn identity(&self, nonce: &str) -> Option<String> {
        let bytes = hex::decode(nonce).ok().filter(|bytes| NONCE_BYTES.contains(&bytes.len()))?;
        Some(hmac_hex(&self.token, &bytes))
    }
}

/// True without an Origin (not a cross-site browser request), or with the one the request was sent to.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, rest)| rest);
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn hmac_hex(key: &str, message: &[u8]) -> String {
    let mut mac =
        <Hmac<Sha256> as Mac>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// Compares in time that depends on the lengths only.
fn same(given: &str, secret: &str) -> bool {
    given.len() == secret.len()
        && given.bytes().zip(secret.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_right_token_or_its_cookie_is_let_in() {
        let gate = Gate::new("s3cret".into(), "local-1");
        let cookie = format!("a=b; {}={}", gate.cookie_name, gate.session);
        assert_eq!(gate.check(&headers(&[])), Verdict::Unknown);
        assert_eq!(gate.check(&headers(&[(header::AUTHORIZATION, "Bearer s3cret")])), Verdict::Allowed);
        assert_eq!(gate.check(&headers(&[(header::AUTHORIZATION, "bearer s3cres")])), Verdict::Unknown);
        assert_eq!(gate.check(&headers(&[(header::AUTHORIZATION, "s3cret")])), Verdict::Unknown);
        assert_eq!(gate.check(&headers(&[(header::COOKIE, &cookie)])), Verdict::Allowed);
        // A wrong bearer is not made good by a cookie, and the token itself is no cookie.
        let both = headers(&[(header::COOKIE, &cookie), (header::AUTHORIZATION, "Bearer no")]);
        assert_eq!(gate.check(&both), Verdict::Unknown);
        let raw = format!("{}=s3cret", gate.cookie_name);
        assert_eq!(gate.check(&headers(&[(header::COOKIE, &raw)])), Verdict::Unknown);
    }

    #[test]
    fn a_cookie_sent_by_another_sites_page_is_refused() {
        let gate = Gate::new("t".into(), "c");
        let cookie = format!("{}={}", gate.cookie_name, gate.session);
        for (origin, verdict) in [
            ("http://127.0.0.1:8787", Verdict::Allowed),
            ("http://127.0.0.1:9999", Verdict::ForeignOrigin),
            ("https://evil.example", Verdict::ForeignOrigin),
            ("null", Verdict::ForeignOrigin),
        ] {
            let sent = headers(&[
                (header::COOKIE, &cookie),
                (header::HOST, "127.0.0.1:8787"),
                (header::ORIGIN, origin),
            ]);
            assert_eq!(gate.check(&sent), verdict, "{origin}");
        }
    }

    #[test]
    fn identity_is_the_hmac_of_the_nonce_and_nothing_for_a_bad_one() {
        let gate = Gate::new("key".into(), "c");
        // The widely published test vector for HMAC-SHA256.
        let nonce = hex::encode("The quick brown fox jumps over the lazy dog");
        assert_eq!(
            gate.identity(&nonce).as_deref(),
            Some("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8")
        );
        assert_eq!(gate.identity("abcd"), None);
        assert_eq!(gate.identity("zz".repeat(20).as_str()), None);
    }
}
