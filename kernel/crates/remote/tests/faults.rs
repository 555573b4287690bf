//! A client against a server on loopback that is slow, fails, lies and redirects: what comes is right, or an error says what
//! happened, in time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::time::{Duration, Instant};

use nuna_remote::{Client, Location, Part, RemoteError, Settings};
use nuna_testing::{WebReply, WebRequest, WebServer};

const VALUE: &[u8] = b"0123456789abcdefghij";
const MAX: u64 = 1 << 20;

fn client() -> Client {
    Client::new(Settings {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(400),
        total: Duration::from_secs(20),
        attempts: 3,
        pause: Duration::from_millis(5),
        pause_max: Duration::from_millis(50),
        ..Settings::default()
    })
    .unwrap()
}

fn server(answer: impl Fn(&WebRequest) -> WebReply + Send + Sync + 'static) -> WebServer {
    WebServer::start(answer)
}

fn at(server: &WebServer, path: &str) -> Location {
    Location::parse(&server.url(path)).unwrap()
}

fn get(server: &WebServer, part: Part) -> Result<Option<Vec<u8>>, RemoteError> {
    Ok(client().get(&at(server, "/a?token=secret"), part, MAX)?.map(|bytes| bytes.to_vec()))
}

#[track_caller]
fn refused(server: &WebServer, part: Part, said: &str) -> RemoteError {
    let error = get(server, part).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(said), "{message}");
    assert!(message.contains("127.0.0.1") && !message.contains("secret"), "{message}");
    error
}

#[test]
fn parts_are_what_was_asked_for() {
    // The second one knows no ranges.
    for whole in [false, true] {
        let server = server(move |request| match whole {
            true => WebReply::new(200, VALUE),
            false => WebReply::of(request, VALUE),
        });
        let range = |start, length| get(&server, Part::Range { start, length }).unwrap().unwrap();
        assert_eq!(get(&server, Part::All).unwrap().unwrap(), VALUE);
        assert_eq!(range(0, 20), VALUE);
        assert_eq!(range(3, 4), b"3456");
        assert_eq!(range(19, 1), b"j");
        assert_eq!(get(&server, Part::Last(3)).unwrap().unwrap(), b"hij");
        assert_eq!(get(&server, Part::Last(99)).unwrap().unwrap(), VALUE);
        assert_eq!(client().size(&at(&server, "/a")).unwrap(), Some(20));
        for (start, length) in [(18, 3), (20, 1), (1000, 5)] {
            refused(&server, Part::Range { start, length }, "bytes");
        }
        refused(&server, Part::Range { start: u64::MAX, length: 2 }, "no range");
    }
}

#[test]
fn what_is_not_there_is_none() {
    let server = server(|_| WebReply::new(404, "no"));
    assert_eq!(get(&server, Part::All).unwrap(), None);
    assert_eq!(get(&server, Part::Last(5)).unwrap(), None);
    assert_eq!(client().size(&at(&server, "/a")).unwrap(), None);
    assert_eq!(server.requests().len(), 3, "asked once each");
}

#[test]
fn failures_that_pass_are_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let server = server(move |request| match request.number {
            0 | 1 => WebReply::new(status, "later").with("retry-after", "0"),
            _ => WebReply::of(request, VALUE),
        });
        assert_eq!(get(&server, Part::Range { start: 1, length: 2 }).unwrap().unwrap(), b"12", "{status}");
        assert_eq!(server.requests().len(), 3);
    }
    let server = server(|_| WebReply::new(503, "later"));
    let error = refused(&server, Part::All, "after 3 attempts: status 503");
    assert!(error.is_transient());
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn answers_that_break_off_are_tried_again() {
    let broken: [fn() -> WebReply; 3] = [
        || WebReply { cut: Some(7), ..WebReply::new(200, VALUE) },
        || WebReply { says: Some(30), ..WebReply::new(200, VALUE) },
        || WebReply { wait: Duration::from_millis(900), ..WebReply::new(200, VALUE) },
    ];
    for (kind, reply) in broken.into_iter().enumerate() {
        let once = server(move |request| match request.number {
            0 => reply(),
            _ => WebReply::of(request, VALUE),
        });
        assert_eq!(get(&once, Part::All).unwrap().unwrap(), VALUE, "{kind}");
        let always = server(move |_| reply());
        let error = refused(&always, Part::All, "after 3 attempts");
        assert!(error.is_transient(), "{kind}: {error}");
    }
}

#[test]
fn nobody_is_waited_for_without_end() {
    let slow = server(|_| WebReply { wait: Duration::from_secs(60), ..WebReply::new(200, VALUE) });
    let settings = Settings {
        total: Duration::from_millis(600),
        silence: Duration::from_secs(30),
        side_by_side: 1,
        ..Settings::default()
    };
    let client = Client::new(settings).unwrap();
    let begun = Instant::now();
    // The second one does not even get a place.
    let first = client.start(&at(&slow, "/a"), Part::All, MAX).unwrap();
    let second = client.start(&at(&slow, "/a"), Part::All, MAX).unwrap();
    assert!(matches!(first.wait(), Err(RemoteError::Late { .. })));
    assert!(matches!(second.wait(), Err(RemoteError::Late { .. })));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn nobody_there_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/a", listener.local_addr().unwrap());
    drop(listener);
    let error = client().get(&Location::parse(&address).unwrap(), Part::All, MAX).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("refused"), "{error}");
}

#[test]
fn refusals_are_not_tried_again() {
    for status in [400, 401, 403, 405, 501] {
        let server = server(move |_| WebReply::new(status, "<html>no"));
        let error = refused(&server, Part::All, &format!("status {status}"));
        assert!(!error.is_transient());
        assert_eq!(error.is_denied(), matches!(status, 401 | 403));
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn another_part_than_was_asked_for_is_an_error() {
    let wrong: [(&str, &str); 4] = [
        ("bytes 4-7/20", "bytes 4 to 8"),
        ("bytes 3-5/6", "bytes 3 to 6 of 6"),
        ("pages 3-6/20", "does not say which"),
        ("bytes 3-18446744073709551615/20", "bytes 3 to"),
    ];
    for (range, said) in wrong {
        let server = server(move |_| WebReply::new(206, &VALUE[3..7]).with("content-range", range));
        refused(&server, Part::Range { start: 3, length: 4 }, said);
    }
    let unasked = server(|_| WebReply::new(206, VALUE).with("content-range", "bytes 0-19/20"));
    refused(&unasked, Part::All, "all are wanted");
    let short = server(|_| WebReply::new(206, &VALUE[3..5]).with("content-range", "bytes 3-6/20"));
    refused(&short, Part::Range { start: 3, length: 4 }, "ends after 2 of the 4");
    let zipped = server(|_| WebReply::new(200, VALUE).with("content-encoding", "gzip"));
    refused(&zipped, Part::All, "compressed on the way");
}

#[test]
fn what_is_too_long_is_not_kept() {
    let server = server(|_| WebReply::new(200, vec![0; 3000]));
    let error = client().get(&at(&server, "/a"), Part::All, 2000).unwrap_err();
    assert!(error.to_string().contains("longer than 2000 bytes"), "{error}");
    let lying = self::server(|_| WebReply { says: Some(usize::MAX >> 1), ..WebReply::new(200, VALUE) });
    assert!(client().get(&at(&lying, "/a"), Part::All, u64::MAX).is_err(), "nothing is reserved for a lie");
}

#[test]
fn redirects_are_followed_within_bounds() {
    let target = server(|request| match request.path() {
        "/b" => WebReply::of(request, VALUE),
        _ => WebReply::new(404, ""),
    });
    let to = target.url("/b?signed=1");
    let other = server(move |_| WebReply::new(302, "").with("location", &to));
    assert_eq!(get(&other, Part::Range { start: 2, length: 3 }).unwrap().unwrap(), b"234");
    let seen = target.requests();
    assert_eq!(seen[0].header("range"), Some("bytes=2-4"));
    assert!(!format!("{seen:?}").contains("secret"), "the first address's token stays with its host");

    let circle = server(|_| WebReply::new(307, "").with("location", "/a"));
    refused(&circle, Part::All, "more than 5 times");
    let nowhere = server(|_| WebReply::new(301, ""));
    refused(&nowhere, Part::All, "does not say where to");
    let file = server(|_| WebReply::new(301, "").with("location", "file:///etc/passwd"));
    refused(&file, Part::All, "not followed from http");
}

#[test]
fn connections_are_kept_and_requests_run_side_by_side() {
    let server =
        server(|request| WebReply { wait: Duration::from_millis(50), ..WebReply::of(request, VALUE) });
    let client = client();
    let begun = Instant::now();
    let pending: Vec<_> =
        (0..16).map(|_| client.start(&at(&server, "/a"), Part::All, MAX).unwrap()).collect();
    for one in pending {
        assert_eq!(one.wait().unwrap().unwrap(), VALUE);
    }
    assert!(begun.elapsed() < Duration::from_millis(16 * 50), "one after the other");
    let connections = server.connections();
    for _ in 0..8 {
        client.get(&at(&server, "/a"), Part::All, MAX).unwrap();
    }
    assert_eq!(server.connections(), connections, "eight more requests need no more connections");
}
