//! Headers on their way through: what belongs to one hop stays there, `X-Forwarded-*` is added.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::Uri;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// How the client reached this proxy.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its IP address as it is passed on; `unix:` on a unix socket.
    pub(crate) address: HeaderValue,
    pub(crate) is_tls: bool,
    /// Whether what it says about who the client is goes on to the target.
    pub(crate) is_trusted: bool,
}

impl Peer {
    /// `ip` is absent on a unix socket.
    pub(crate) fn new(ip: Option<IpAddr>, is_tls: bool, is_trusted: bool) -> Self {
        let address = ip
            .and_then(|ip| HeaderValue::from_str(&ip.to_canonical().to_string()).ok())
            .unwrap_or(HeaderValue::from_static("unix:"));
        Self { address, is_tls, is_trusted }
    }
}

/// The protocol named in `Upgrade`, if this is a request to change to it. Only WebSockets are: over any other protocol,
/// HTTP/2 above all, a client could send the target requests that nobody here sees.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get(UPGRADE).filter(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"))?;
    tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade")).then(|| asked.clone())
}

/// Whether this can be a host with a port, or nothing (RFC 3986, 3.2.2), and so cannot be read as anything else.
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%:[]".contains(byte))
}

/// Whether the client wants the connection closed after the answer.
pub(crate) fn closes(headers: &HeaderMap) -> bool {
    tokens(headers).any(|token| token.eq_ignore_ascii_case("close"))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Removes what is meant for this connection only (RFC 9110, 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers).filter_map(|token| token.parse().ok()).collect();
        for name in named {
            // Naming these would let a client take away what the proxy or the hub relies on.
            let relied_on = [HOST, CONTENT_LENGTH, AUTHORIZATION, COOKIE, ORIGIN, REFERER];
            if !relied_on.contains(&name) && !tells_who_the_client_is(name.as_str()) {
                headers.remove(name);
            }
        }
    }
    for name in
        [CONNECTION, TRANSFER_ENCODING, TE, TRAILER, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, EXPECT]
    {
        headers.remove(name);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(&HTTP2_SETTINGS);
}

/// Whether a header tells a server who the client is or how it came, as proxies do; a client may say anything.
pub(crate) fn tells_who_the_client_is(name: &str) -> bool {
    const ALONE: [&str; 3] = ["forwarded", "x-real-ip", "x-scheme"];
    let start = "x-forwarded-";
    ALONE.iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// Removes all of those.
pub(crate) fn strip_forwarded(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| tells_who_the_client_is(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Appends to `X-Forwarded-{For,Port,Proto}` and sets `X-Forwarded-Host` if nobody has.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: &Peer, is_websocket: bool) {
    let host = headers.get(HOST).cloned().unwrap_or(HeaderValue::from_static(""));
    let port = host.to_str().ok().and_then(port_of).and_then(|port| HeaderValue::from_str(port).ok());
    let port = port.unwrap_or(HeaderValue::from_static(if peer.is_tls { "443" } else { "80" }));
    let proto = match (is_websocket, peer.is_tls) {
        (true, true) => "wss",
        (true, false) => "ws",
        (false, true) => "https",
        (false, false) => "http",
    };
    append(headers, &X_FORWARDED_FOR, peer.address.clone());
    append(headers, &X_FORWARDED_PORT, port);
    append(headers, &X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.entry(&X_FORWARDED_HOST).or_insert(host);
}

/// Makes one header of those there are and `value`.
fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    let mut joined = String::new();
    for earlier in headers.get_all(name) {
        if let Ok(earlier) = earlier.to_str()
            && !earlier.is_empty()
        {
            joined.push_str(earlier);
            joined.push(',');
        }
    }
    let value = if joined.is_empty() {
        value
    } else {
        joined.push_str(value.to_str().unwrap_or_default());
        HeaderValue::from_str(&joined).unwrap_or(value)
    };
    headers.insert(name.clone(), value);
}

pub(crate) fn port_of(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// `--auto-rewrite` and `--protocol-rewrite`: a redirect to the target itself is turned back to the host the
/// client knows.
pub(crate) fn rewrite_location(
    headers: &mut HeaderMap,
    target_authority: &str,
    client_host: Option<&str>,
    auto_rewrite: bool,
    protocol: Option<&str>,
) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let Ok(uri) = location.parse::<Uri>() else { return };
    if uri.authority().map(http::uri::Authority::as_str) != Some(target_authority) {
        return;
    }
    let host = match client_host {
        Some(host) if auto_rewrite => host,
        Some(_) | None => target_authority,
    };
    let scheme = protocol.or_else(|| uri.scheme_str()).unwrap_or("http");
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    if let Ok(value) = HeaderValue::from_str(&format!("{scheme}://{host}{rest}")) {
        headers.insert(LOCATION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn hop_by_hop_headers_and_those_named_do_not_pass() {
        let mut map = headers(&[
            ("connection", "close, X-Secret, x-forwarded-for, Host"),
            ("x-secret", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "hub"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip"),
            ("proxy-authorization", "x"),
            ("cookie", "c"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "host", "x-forwarded-for"]);
    }

    #[test]
    fn forwarded_headers_append() {
        let mut map = headers(&[
            ("host", "hub.example:8443"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
        ]);
        let peer = Peer::new(Some("::ffff:10.0.0.1".parse().unwrap()), false, true);
        add_forwarded(&mut map, &peer, false);
        assert_eq!(map["x-forwarded-for"], "9.9.9.9,10.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "https,http");
        assert_eq!(map["x-forwarded-port"], "8443");
        assert_eq!(map["x-forwarded-host"], "hub.example:8443");
    }

    #[test]
    fn only_upgrade_with_its_connection_token_counts() {
        assert!(
            upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some()
        );
        assert!(upgrade(&headers(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&headers(&[("connection", "upgrade")])).is_none());
        assert!(upgrade(&headers(&[("connection", "Upgrade"), ("upgrade", "h2c")])).is_none());
    }

    #[test]
    fn redirects_to_the_target_come_back_to_the_client_host() {
        let mut map = headers(&[("location", "http://127.0.0.1:9/x?y")]);
        rewrite_location(&mut map, "127.0.0.1:9", Some("hub"), true, Some("https"));
        assert_eq!(map["location"], "https://hub/x?y");
        let mut map = headers(&[("location", "http://elsewhere/x")]);
        rewrite_location(&mut map, "127.0.0.1:9", Some("hub"), true, None);
        assert_eq!(map["location"], "http://elsewhere/x");
    }
}
