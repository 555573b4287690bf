//! The heads of requests that are plain enough to be carried without hyper, and what the target is asked in their place.
//!
//! This decides nothing in doubt: only what every reader of HTTP understands alike is plain (RFC 9112, with one `Host`,
//! at most one `Content-Length`, no transfer coding, no upgrade, no folded or nameless lines, a path of letters that
//! URLs are made of). All else is handed to hyper from its first byte, and refused or served there.

use std::mem::MaybeUninit;
use std::sync::Arc;

use http::Method;
use httparse::Status;

use crate::forward::Visit;
use crate::path::routing_path;
use crate::plain::fields::{self, Kind};
use crate::routes::Route;

/// What hyper takes as well.
pub(super) const HEADERS_MAX: usize = 100;
/// A head that is longer is hyper's: reading on and on from the start would cost too much.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// A body of at most this length is waited for and sent with its head; longer ones are hyper's, which passes them on
/// as they come.
const BODY_BYTES_MAX: usize = 16 << 10;

pub(super) enum Seen {
    /// Too little to tell.
    Partial,
    Unusual,
    Plain(Plain),
}

/// A request with all of its body, and the route it goes.
pub(super) struct Plain {
    pub(super) route: Arc<Route>,
    /// What the target is sent.
    pub(super) outgoing: Vec<u8>,
    pub(super) method: Method,
    /// As the client gave it, with the query.
    pub(super) path: String,
    /// Whether the client wants the connection closed after the answer.
    pub(super) closes: bool,
    pub(super) has_body: bool,
    /// Bytes of the client that belong to this request.
    pub(super) length: usize,
}

impl Plain {
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether it may be sent again although the target may have seen it (RFC 9110, 9.2.1).
    pub(super) fn is_safe(&self) -> bool {
        !self.has_body && (self.method == Method::GET || self.method == Method::HEAD)
    }
}

/// Whether a byte of a path and its query means the same to everybody.
const fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'?'
                | b'%'
        )
}

const OF_URL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_of_url(byte as u8);
        byte += 1;
    }
    table
};

/// What is asked of the fields, gathered while they are gone through once.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: usize,
    has_length: bool,
    closes: bool,
    has_forwarded: bool,
}

impl<'a> Fields<'a> {
    /// `None` if the request is not plain.
    fn of(found: &[httparse::Header<'a>]) -> Option<Self> {
        let mut fields = Self::default();
        for header in found {
            match fields::kind(header.name) {
                Kind::Theirs => {}
                Kind::Host => {
                    if fields.host.replace(header.value).is_some() || !fields::is_plain_host(header.value) {
                        return None;
                    }
                }
                Kind::Length => {
                    let digits = header.value;
                    if fields.has_length
                        || digits.is_empty()
                        || digits.len() > 9
                        || !digits.iter().all(u8::is_ascii_digit)
                    {
                        return None;
                    }
                    fields.has_length = true;
                    fields.length =
                        digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
                    if fields.length > BODY_BYTES_MAX {
                        return None;
                    }
                }
                Kind::Connection => {
                    if header.value.eq_ignore_ascii_case(b"close") {
                        fields.closes = true;
                    } else if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                        return None;
                    }
                }
                Kind::Forwarded => fields.has_forwarded = true,
                Kind::Framing | Kind::OneHop => return None,
            }
        }
        fields.host.is_some().then_some(fields)
    }
}

/// Looks at what a client has sent so far.
pub(super) fn read(bytes: &[u8], visit: &Visit) -> Seen {
    let mut place = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let head = match request.parse_with_uninit_headers(bytes, &mut place) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Seen::Partial,
        Ok(Status::Partial) | Err(_) => return Seen::Unusual,
    };
    let (Some(1), Some(method), Some(path)) = (request.version, request.method, request.path) else {
        return Seen::Unusual;
    };
    let Some(fields) = Fields::of(request.headers) else { return Seen::Unusual };
    let is_plain_path = path.starts_with('/') && path.bytes().all(|byte| OF_URL[usize::from(byte)]);
    let length = head + fields.length;
    if !is_plain_path || head > HEAD_BYTES_MAX {
        return Seen::Unusual;
    }
    let Some(body) = bytes.get(head..length) else { return Seen::Partial };
    let (Ok(method), Some(route)) =
        (Method::from_bytes(method.as_bytes()), route(visit, path, fields.host.unwrap_or_default()))
    else {
        return Seen::Unusual;
    };
    // What has a meaning for connections, or is sent to no target of ours; and targets that are not plain TCP.
    if method == Method::CONNECT || path == crate::forward::HEALTH_PATH || !route.target.is_plain() {
        return Seen::Unusual;
    }
    let outgoing = outgoing(visit, &route, method.as_str(), path, &fields, request.headers, body);
    Seen::Plain(Plain {
        route,
        outgoing,
        method,
        path: path.to_owned(),
        closes: fields.closes,
        has_body: !body.is_empty(),
        length,
    })
}

fn route(visit: &Visit, path: &str, host: &[u8]) -> Option<Arc<Route>> {
    let path = path.split('?').next().unwrap_or_default();
    let decoded = routing_path(path)?;
    visit.proxy.find(&decoded, std::str::from_utf8(host).ok())
}

fn outgoing(
    visit: &Visit,
    route: &Route,
    method: &str,
    path: &str,
    fields: &Fields<'_>,
    found: &[httparse::Header<'_>],
    body: &[u8],
) -> Vec<u8> {
    let options = &visit.proxy.options;
    let base = if options.prepend_path { route.target.base() } else { "" };
    let room: usize = found.iter().map(|header| header.name.len() + header.value.len() + 4).sum();
    let mut out = Vec::with_capacity(room + base.len() + path.len() + body.len() + 256);
    for piece in [method, " ", base, path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let host = fields.host.unwrap_or_default();
    for header in found {
        let passes = match fields::kind(header.name) {
            Kind::Theirs | Kind::Length => true,
            Kind::Host => !options.change_origin,
            // Said below, or not to be believed.
            Kind::Forwarded => {
                visit.peer.is_trusted && !(options.x_forward && fields::is_appended_to(header.name))
            }
            Kind::Connection | Kind::Framing | Kind::OneHop => false,
        };
        if passes && !options.sets(header.name) {
            fields::write(&mut out, header.name, header.value);
        }
    }
    if options.change_origin && !options.sets("host") {
        fields::write(&mut out, "host", route.target.host().as_bytes());
    }
    if options.x_forward {
        let earlier = (fields.has_forwarded && visit.peer.is_trusted).then_some(found);
        fields::write_forwarded(&mut out, &visit.peer, host, earlier.unwrap_or_default(), |name| {
            options.sets(name)
        });
    }
    for (name, value) in &options.custom_headers {
        fields::write(&mut out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}
