//! Requests to S3-compatible stores: their signatures are botocore's, credentials stay with their host, and what a store
//! says is followed or told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{process::Command, time::Duration};

use nuna_remote::{Aws, Client, Credentials, Location, Part, Settings};
use nuna_testing::{Bucket, WebReply, WebRequest, WebServer, python};
use serde_json::json;

const VALUE: &[u8] = b"0123456789";
const MAX: u64 = 1 << 20;

fn client(server: &WebServer, signed: bool) -> Client {
    let credentials = signed.then(|| Credentials {
        access_key: "AKID".to_owned(),
        secret_key: "very/secret+key".to_owned(),
        session_token: Some("to/ken==".to_owned()),
    });
    let endpoint = Some(server.url("/"));
    let aws = Some(Aws { credentials, region: "eu-north-1".to_owned(), endpoint });
    Client::new(Settings { attempts: 2, pause: Duration::from_millis(5), aws, ..Settings::default() })
        .unwrap()
}

fn at(text: &str) -> Location {
    Location::parse(text).unwrap()
}

/// For each request as it came, what botocore signs it with.
const SIGN: &str = r"
import hashlib, json, sys
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
credentials = Credentials('AKID', 'very/secret+key', 'to/ken==')
for given in json.load(sys.stdin):
    sent = dict(given['headers'])
    names = sent['authorization'].split('SignedHeaders=')[1].split(',')[0].split(';')
    body = bytes(given['body'])
    assert hashlib.sha256(body).hexdigest() == sent['x-amz-content-sha256']
    request = AWSRequest(given['method'], given['url'], headers={n: sent[n] for n in names}, data=body)
    request.context.update(timestamp=sent['x-amz-date'], payload_signing_enabled=True)
    auth = S3SigV4Auth(credentials, 's3', 'eu-north-1')
    canonical = auth.canonical_request(request)
    print(auth.signature(auth.string_to_sign(request, canonical), request))
";

#[test]
fn signatures_are_those_of_botocore() {
    let listing = "<ListBucketResult></ListBucketResult>";
    let server = WebServer::start(move |request| match request.target.contains("list-type") {
        true => WebReply::new(200, listing),
        false if request.method == "GET" => WebReply::of(request, VALUE),
        false => WebReply::new(if request.method == "PUT" { 200 } else { 204 }, ""),
    });
    let client = client(&server, true);
    for key in ["a/zarr.json", "a b/c+d/e=f&g/#h?i/%25/~j-k_l.m", "ü/日本/(x)*'!", ".zmetadata"] {
        let location = at(&format!("s3://my-bucket/{key}"));
        assert_eq!(client.get(&location, Part::Range { start: 2, length: 3 }, MAX).unwrap().unwrap(), "234");
        assert_eq!(client.get(&location, Part::All, MAX).unwrap().unwrap(), VALUE);
        for body in [&b""[..], b"some bytes"] {
            assert!(client.put(&location, body.into()).unwrap().wait().unwrap().is_some());
        }
        client.delete(&location).unwrap().wait().unwrap();
    }
    assert_eq!(client.below(&at("s3://my-bucket/a b/c+d")).unwrap(), Some(Vec::new()));
    assert_eq!(client.folders(&at("s3://my-bucket/a b/c+d")).unwrap(), Some(Vec::new()));
    let requests = server.requests();
    assert_eq!(requests.len(), 22);
    let given: Vec<_> = requests
        .iter()
        .map(|request| json!({"method": request.method, "url": server.url(&request.target), "headers": request.headers, "body": request.body}))
        .collect();
    let mut command = Command::new(python());
    let input = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&input, &given).unwrap();
    let output =
        command.args(["-c", SIGN]).stdin(std::fs::File::open(input.path()).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<_> = expected.lines().collect();
    assert_eq!(expected.len(), requests.len());
    for (request, expected) in requests.iter().zip(expected) {
        let authorization = request.header("authorization").unwrap();
        assert!(
            authorization.ends_with(&format!("Signature={expected}")),
            "{}: {authorization}",
            request.target
        );
        assert!(!format!("{request:?}").contains("very/secret"));
    }
}

#[test]
fn without_credentials_nothing_is_signed() {
    let server = WebServer::start(|request| WebReply::of(request, VALUE));
    assert_eq!(client(&server, false).get(&at("s3://b/k"), Part::All, MAX).unwrap().unwrap(), VALUE);
    let request = &server.requests()[0];
    assert_eq!((request.target.as_str(), request.header("authorization")), ("/b/k", None));
}

#[test]
fn credentials_stay_with_their_host() {
    let other = WebServer::start(|request| WebReply::of(request, VALUE));
    let to = other.url("/b/k");
    let server = WebServer::start(move |_| WebReply::new(307, "").with("location", &to));
    let error = client(&server, true).get(&at("s3://b/k"), Part::All, MAX).unwrap_err().to_string();
    assert!(error.contains("s3://b/k") && error.contains("not followed with credentials"), "{error}");
    assert_eq!(other.requests().len(), 0);
    assert_eq!(client(&server, false).get(&at("s3://b/k"), Part::All, MAX).unwrap().unwrap(), VALUE);
}

#[test]
fn a_bucket_that_is_elsewhere_is_asked_there() {
    let server = WebServer::start(|request| {
        let signed_for = request.header("authorization").unwrap_or_default();
        match signed_for.contains("/us-west-2/s3/") {
            true => WebReply::of(request, VALUE),
            false => WebReply::new(301, "").with("x-amz-bucket-region", "us-west-2"),
        }
    });
    let client = client(&server, true);
    for _ in 0..2 {
        assert_eq!(client.get(&at("s3://b/k"), Part::All, MAX).unwrap().unwrap(), VALUE);
    }
    assert_eq!(server.requests().len(), 3, "the region is remembered");
    let circle = WebServer::start(|request| {
        let region = ["us-west-1", "us-west-2"][request.number % 2];
        WebReply::new(400, "").with("x-amz-bucket-region", region)
    });
    let error = self::client(&circle, true).get(&at("s3://b/k"), Part::All, MAX).unwrap_err().to_string();
    assert!(error.contains("from region"), "{error}");
    let evil = WebServer::start(|_| WebReply::new(301, "").with("x-amz-bucket-region", "evil.org/"));
    assert!(self::client(&evil, true).get(&at("s3://b/k"), Part::All, MAX).is_err());
}

#[test]
fn refusals_say_what_the_store_says_and_what_to_do() {
    let answer = |status: u16, code: &'static str| {
        let body = format!("<Error><Code>{code}</Code><Message>It &amp; more</Message></Error>");
        WebServer::start(move |_| WebReply::new(status, body.clone()))
    };
    let denied = answer(403, "AccessDenied");
    for (signed, said) in [(true, "AWS_PROFILE"), (false, "no credentials were found")] {
        let error = client(&denied, signed).get(&at("s3://b/k"), Part::All, MAX).unwrap_err();
        let message = error.to_string();
        assert!(error.is_denied() && message.contains(said), "{message}");
        assert!(message.contains("AccessDenied: It & more") && message.contains("s3://b/k"), "{message}");
        assert!(!message.contains("AKID"), "{message}");
    }
    assert_eq!(denied.requests().len(), 2);
    let missing = answer(404, "NoSuchKey");
    assert_eq!(client(&missing, true).get(&at("s3://b/k"), Part::All, MAX).unwrap(), None);
    let no_bucket = answer(404, "NoSuchBucket");
    let error = client(&no_bucket, true).get(&at("s3://b/k"), Part::All, MAX).unwrap_err();
    assert!(error.to_string().contains("AWS_ENDPOINT_URL"), "{error}");
    let busy = answer(503, "SlowDown");
    let error = client(&busy, true).get(&at("s3://b/k"), Part::All, MAX).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("SlowDown"), "{error}");
}

#[test]
fn a_listing_is_read_page_by_page() {
    let page = |request: &WebRequest| {
        let (names, next) = match request.target.contains("continuation-token=a%2F%2B") {
            false => (["p/x/", "p/y&amp;z/"], "<NextContinuationToken>a/+</NextContinuationToken>"),
            true => (["p/w/", "p//"], ""),
        };
        let names: String =
            names.iter().map(|n| format!("<CommonPrefixes><Prefix>{n}</Prefix></CommonPrefixes>")).collect();
        WebReply::new(200, format!("<ListBucketResult><Prefix>p/</Prefix>{names}{next}</ListBucketResult>"))
    };
    let server = WebServer::start(page);
    let found = client(&server, true).folders(&at("s3://b/p")).unwrap().unwrap();
    assert_eq!(found, ["x", "y&z", "w"]);
    assert!(
        server.requests().iter().all(|r| r.target.starts_with("/b/?") && r.target.contains("prefix=p%2F"))
    );
    let page = WebServer::start(|_| WebReply::new(200, "<html>"));
    assert!(client(&page, true).folders(&at("s3://b/p")).is_err());
    assert_eq!(client(&page, true).folders(&at("https://h/p")).unwrap(), None);
    let endless = WebServer::start(|_| {
        WebReply::new(
            200,
            "<ListBucketResult><NextContinuationToken>a</NextContinuationToken></ListBucketResult>",
        )
    });
    assert!(client(&endless, true).folders(&at("s3://b/p")).unwrap_err().to_string().contains("pages"));
}

#[test]
fn what_is_put_is_there_as_a_whole_and_failures_that_pass_are_tried_again() {
    let bucket = Bucket::default();
    let inner = bucket.clone();
    let server = WebServer::start(move |request| match request.number {
        0 => WebReply::new(503, "<Error><Code>SlowDown</Code><Message>later</Message></Error>"),
        3 => WebReply::new(500, ""),
        _ => inner.answer(request, "b"),
    });
    let client = client(&server, true);
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    client.put(&at("s3://b/x/large"), large.clone().into()).unwrap().wait().unwrap();
    client.put(&at("s3://b/x/y/z"), VALUE.into()).unwrap().wait().unwrap();
    for number in 0..25 {
        client.put(&at(&format!("s3://b/x2/{number}")), VALUE.into()).unwrap().wait().unwrap();
    }
    assert_eq!(bucket.values()["x/large"], large);
    assert_eq!(client.below(&at("s3://b/x")).unwrap().unwrap(), ["large", "y/z"], "and nothing of x2");
    client.delete(&at("s3://b/x/large")).unwrap().wait().unwrap();
    client.delete(&at("s3://b/x/nothing")).unwrap().wait().unwrap();
    assert_eq!(client.below(&at("s3://b/x")).unwrap().unwrap(), ["y/z"]);
    assert_eq!(client.below(&at("s3://b/x2")).unwrap().unwrap().len(), 10, "the first page");
    for (text, said) in [("s3://b", "in a bucket"), ("https://h/x", "in a bucket")] {
        let message = client.put(&at(text), VALUE.into()).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
    let denied = WebServer::start(|_| WebReply::new(403, "<Code>AccessDenied</Code><Message>No</Message>"));
    let client = self::client(&denied, true);
    let message = client.put(&at("s3://b/k"), VALUE.into()).unwrap().wait().unwrap_err().to_string();
    assert!(message.contains("AccessDenied") && message.contains("may write"), "{message}");
}
