//! Fields of heads as bytes: what a name means to a proxy, and writing them.

use crate::headers::Peer;

/// What a field is to a proxy, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between client and target; the proxy has no part in it.
    Theirs,
    Host,
    Length,
    Connection,
    /// How the body is framed, or the protocol changed.
    Framing,
    /// Any other that is for one connection (RFC 9110, 7.6.1).
    OneHop,
    /// Who the client is, as proxies tell each other.
    Forwarded,
}

pub(super) fn kind(name: &str) -> Kind {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let found = match name.len() {
        2 if is("te") => Some(Kind::OneHop),
        4 if is("host") => Some(Kind::Host),
        6 if is("expect") => Some(Kind::OneHop),
        7 if is("upgrade") => Some(Kind::Framing),
        7 if is("trailer") => Some(Kind::OneHop),
        10 if is("connection") => Some(Kind::Connection),
        10 if is("keep-alive") => Some(Kind::OneHop),
        14 if is("content-length") => Some(Kind::Length),
        14 if is("http2-settings") => Some(Kind::OneHop),
        16 if is("proxy-connection") => Some(Kind::OneHop),
        17 if is("transfer-encoding") => Some(Kind::Framing),
        18 if is("proxy-authenticate") => Some(Kind::OneHop),
        19 if is("proxy-authorization") => Some(Kind::OneHop),
        _ => None,
    };
    found.unwrap_or(if crate::headers::tells_who_the_client_is(name) {
        Kind::Forwarded
    } else {
        Kind::Theirs
    })
}

/// Whether a name with its port means the same to everybody.
pub(super) fn is_plain_host(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
        })
}

pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Those of `X-Forwarded-*` to which every proxy appends.
const APPENDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"];

pub(super) fn is_appended_to(name: &str) -> bool {
    APPENDED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// As `headers::add_forwarded`; `earlier` are the fields that other proxies may have said it in, and what `is_set` is
/// not written.
pub(super) fn write_forwarded(
    out: &mut Vec<u8>,
    peer: &Peer,
    host: &[u8],
    earlier: &[httparse::Header<'_>],
    is_set: impl Fn(&str) -> bool,
) {
    let text = std::str::from_utf8(host).unwrap_or_default();
    let port = crate::headers::port_of(text).unwrap_or(if peer.is_tls { "443" } else { "80" });
    let proto = if peer.is_tls { "https" } else { "http" };
    let values = [peer.address.as_bytes(), port.as_bytes(), proto.as_bytes()];
    for (name, value) in APPENDED.into_iter().zip(values) {
        if is_set(name) {
            continue;
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        for header in earlier {
            if header.name.eq_ignore_ascii_case(name) && !header.value.is_empty() {
                out.extend_from_slice(header.value);
                out.push(b',');
            }
        }
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    let name = "x-forwarded-host";
    if !is_set(name) && !earlier.iter().any(|header| header.name.eq_ignore_ascii_case(name)) {
        write(out, name, host);
    }
}
