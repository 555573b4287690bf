//! The head of a target's answer: how its body is framed, and what the client is sent in its place.
//!
//! Targets are other people's programs. One whose answer can be read in two ways gets its connection closed, and the
//! client a page of ours: a browser has other requests on the same connection.

use std::mem::MaybeUninit;

use httparse::Status;

use super::chunks::Chunks;
use super::fields::{self, Kind};
use super::request::HEADERS_MAX;

const HEAD_BYTES_MAX: usize = 64 << 10;

pub(super) enum Seen {
    Partial,
    /// 100 to 199, of so many bytes: the answer comes after it.
    Interim(usize),
    Complete(Head),
    Refused(&'static str),
}

pub(super) struct Head {
    pub(super) status: u16,
    /// Bytes of it.
    pub(super) length: usize,
    pub(super) body: Framing,
    /// Whether the target keeps the connection.
    pub(super) keeps: bool,
}

/// How the end of a body is found.
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    /// All until the connection closes; sent to the client in chunks.
    UntilClose,
}

/// What of the request the answer depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    /// The client's connection is closed after it.
    pub(super) closes: bool,
}

/// Reads a head and appends what the client is sent to `out`.
pub(super) fn read(bytes: &[u8], asked: Asked, out: &mut Vec<u8>) -> Seen {
    let mut place = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut place,
    );
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Seen::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Seen::Refused("its answer's head is too long");
        }
        Err(_) => return Seen::Refused("its answer is not HTTP"),
    };
    let (Some(version), Some(status)) = (response.version, response.code) else {
        return Seen::Refused("its answer is not HTTP");
    };
    match status {
        101 => return Seen::Refused("it switched protocols without being asked"),
        100..200 => return Seen::Interim(length),
        200..1000 => {}
        _ => return Seen::Refused("its answer has no status"),
    }
    let mut facts = Facts::default();
    for header in &*response.headers {
        if let Err(reason) = facts.note(header) {
            return Seen::Refused(reason);
        }
    }
    let is_empty = asked.is_head || matches!(status, 204 | 304);
    let body = match (facts.is_chunked, facts.length) {
        // Which of them counts is what readers differ in.
        (true, Some(_)) => return Seen::Refused("its answer has two lengths"),
        (true, None) if version == 0 => return Seen::Refused("it sent chunks in HTTP/1.0"),
        _ if is_empty => Framing::Length(0),
        (true, None) => Framing::Chunked(Chunks::new()),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    let keeps = if version == 0 { facts.keeps } else { !facts.closes };
    let keeps = keeps && !matches!(body, Framing::UntilClose);
    write(out, &response, status, &facts, &body, asked);
    Seen::Complete(Head { status, length, body, keeps })
}

#[derive(Default)]
struct Facts {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    has_date: bool,
    /// Names that the target's `Connection` lists: they are for this proxy alone.
    named: Vec<String>,
}

impl Facts {
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), &'static str> {
        match fields::kind(header.name) {
            Kind::Length => {
                let length = std::str::from_utf8(header.value)
                    .ok()
                    .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok())
                    .ok_or("its answer's length is no number")?;
                if self.length.replace(length).is_some_and(|other| other != length) {
                    return Err("its answer has two lengths");
                }
            }
            Kind::Framing if header.name.len() == "transfer-encoding".len() => {
                if self.is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err("its answer has a transfer coding other than chunked");
                }
                self.is_chunked = true;
            }
            Kind::Connection => {
                for token in String::from_utf8_lossy(header.value).split(',').map(str::trim) {
                    if token.eq_ignore_ascii_case("close") {
                        self.closes = true;
                    } else if token.eq_ignore_ascii_case("keep-alive") {
                        self.keeps = true;
                    } else {
                        self.named.push(token.to_owned());
                    }
                }
            }
            Kind::Theirs if header.name.eq_ignore_ascii_case("date") => self.has_date = true,
            Kind::Theirs | Kind::Host | Kind::Forwarded | Kind::Framing | Kind::OneHop => {}
        }
        Ok(())
    }
}

fn write(
    out: &mut Vec<u8>,
    response: &httparse::Response<'_, '_>,
    status: u16,
    facts: &Facts,
    body: &Framing,
    asked: Asked,
) {
    begin(out, status, response.reason.unwrap_or_default());
    let mut has_length = false;
    for header in &*response.headers {
        let passes = match fields::kind(header.name) {
            Kind::Theirs | Kind::Host | Kind::Forwarded => {
                !facts.named.iter().any(|name| header.name.eq_ignore_ascii_case(name))
            }
            // Once, and not where there must be none (RFC 9110, 8.6).
            Kind::Length => status != 204 && !std::mem::replace(&mut has_length, true),
            Kind::Connection | Kind::Framing | Kind::OneHop => false,
        };
        if passes {
            fields::write(out, header.name, header.value);
        }
    }
    if !facts.has_date {
        fields::write(out, "date", date().as_bytes());
    }
    if matches!(body, Framing::Chunked(_) | Framing::UntilClose) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    end(out, asked.closes);
}

/// The first line of an answer.
pub(super) fn begin(out: &mut Vec<u8>, status: u16, reason: &str) {
    let digits = [100, 10, 1].map(|unit| b'0' + u8::try_from(status / unit % 10).unwrap_or_default());
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits);
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The end of a head. Node says of every connection whether it is kept.
pub(super) fn end(out: &mut Vec<u8>, closes: bool) {
    let last: &[u8] = if closes { b"connection: close\r\n\r\n" } else { b"connection: keep-alive\r\n\r\n" };
    out.extend_from_slice(last);
}

/// Now, as HTTP says it.
pub(super) fn date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Asked = Asked { is_head: false, closes: false };

    fn sent(text: &str, asked: Asked) -> Result<(Head, String), &'static str> {
        let mut out = Vec::new();
        match read(text.as_bytes(), asked, &mut out) {
            Seen::Complete(head) => Ok((head, String::from_utf8(out).unwrap())),
            Seen::Refused(reason) => Err(reason),
            Seen::Partial | Seen::Interim(_) => Err("not yet"),
        }
    }

    #[test]
    fn the_client_gets_what_is_meant_for_it() {
        let (head, text) = sent(
            "HTTP/1.1 404 Nope\r\nDate: D\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\nUpgrade: h2c\r\n\r\nabc",
            KEPT,
        )
        .unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 404 Nope\r\nDate: D\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\nconnection: keep-alive\r\n\r\n"
        );
        assert!(!head.keeps && head.status == 404 && matches!(head.body, Framing::Length(3)));
        let (_, text) = sent("HTTP/1.1 200\r\n\r\n", Asked { closes: true, ..KEPT }).unwrap();
        assert!(text.contains("transfer-encoding: chunked\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("\r\ndate: ") && text.contains(" GMT\r\n"), "{text}");
    }

    #[test]
    fn bodies_are_framed_as_the_rules_say() {
        let framing = |text: &str, asked| sent(text, asked).map(|(head, _)| (head.body, head.keeps));
        let head = Asked { is_head: true, ..KEPT };
        assert!(matches!(
            framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", KEPT),
            Ok((Framing::Chunked(_), true))
        ));
        assert!(matches!(framing("HTTP/1.0 200 OK\r\n\r\n", KEPT), Ok((Framing::UntilClose, false))));
        assert!(matches!(
            framing("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", KEPT),
            Ok((Framing::Length(0), true))
        ));
        assert!(matches!(
            framing("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n", head),
            Ok((Framing::Length(0), true))
        ));
        assert!(matches!(
            framing("HTTP/1.0 200 X\r\nContent-Length: 9\r\n\r\n", KEPT),
            Ok((Framing::Length(9), false))
        ));
        let (_, text) = sent("HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n", KEPT).unwrap();
        assert!(!text.to_ascii_lowercase().contains("content-length"), "{text}");
        let (_, text) =
            sent("HTTP/1.1 200 X\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\n", KEPT).unwrap();
        assert_eq!(text.matches("Content-Length").count(), 1);
    }

    #[test]
    fn answers_that_can_be_read_in_two_ways_are_refused() {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\nContent-Length: 4\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X : 1\r\n",
            "X: 1\r\n folded\r\n",
            "X: a\0b\r\n",
            "X: a\rb\r\n",
        ] {
            assert!(sent(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), KEPT).is_err(), "{fields:?}");
        }
        assert!(sent("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", KEPT).is_err());
        assert!(sent("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", KEPT).is_err());
        assert!(sent("SSH-2.0-OpenSSH\r\n", KEPT).is_err());
        let mut out = Vec::new();
        assert!(matches!(
            read(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP", KEPT, &mut out),
            Seen::Interim(31)
        ));
        assert!(matches!(read(b"HTTP/1.1 200 OK\r\nX: ", KEPT, &mut out), Seen::Partial));
        assert!(out.is_empty());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert!(matches!(read(long.as_bytes(), KEPT, &mut out), Seen::Refused(_)));
    }
}
