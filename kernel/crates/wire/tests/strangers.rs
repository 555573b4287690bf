//! What a neighbour without the key can do to a scheduler or worker: be counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nuna_wire::{
    Acceptor, Authority, Connector, Credentials, Door, Limits, Party, RefusalCounts, Refusals,
    message::{Role, RoleAnswer},
};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A door that welcomes whoever may enter.
async fn open(
    authority: &Authority,
    deadline: Duration,
    connections_max: usize,
) -> (SocketAddr, Arc<Refusals>) {
    let credentials = authority.issue(Party::Scheduler).unwrap();
    let acceptor = Acceptor::new(&credentials, "b1").unwrap().deadline(deadline);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door::new(acceptor, connections_max);
    let refusals = door.refusals();
    let enter = |incoming: nuna_wire::Incoming, place| {
        tokio::spawn(async move {
            let mut connection = incoming.welcome(RoleAnswer::Reader).await.unwrap();
            let _ = connection.reader.read::<u32>().await;
            drop(place);
        });
    };
    tokio::spawn(door.open(listener, enter, |_, _, _| {}));
    (address, refusals)
}

async fn connect(credentials: &Credentials, address: SocketAddr) -> Result<nuna_wire::Connection, String> {
    let connector = Connector::new(credentials, "b1").unwrap();
    let role = Role::Client { name: "test".into() };
    match connector.connect(address, Party::Scheduler, role).await {
        Ok((connection, _)) => Ok(connection),
        Err(error) => Err(error.to_string()),
    }
}

async fn wait_until(refusals: &Refusals, what: &str, condition: impl Fn(RefusalCounts) -> bool) {
    let waiting = async {
        while !condition(refusals.counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let result = timeout(PATIENCE, waiting).await;
    assert!(result.is_ok(), "{what}: {:?}", refusals.counts());
}

/// This process's resident memory, which both sides of these tests share.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Bytes that begin like what somebody might speak.
fn garbage(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let length = 1 + (number * 37 % 3_000) as usize;
    let mut bytes = match number % 6 {
        0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        1 => b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        // The beginning of a TLS record that promises more than comes.
        2 => vec![0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc],
        3 => b"nuna\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        4 => Vec::new(),
        _ => vec![0; 64],
    };
    bytes.extend((0..length).map(|_| noise()));
    bytes
}

#[tokio::test]
async fn a_port_scans_worth_of_garbage_is_counted_and_takes_up_no_memory() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = open(&authority, PATIENCE, 16).await;
    let client = authority.issue(Party::Client).unwrap();
    let scan = async |from: u64, to: u64| {
        for number in from..to {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&garbage(number)).await;
            let _ = stream.shutdown().await;
            let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
        }
    };
    scan(0, 500).await;
    let before = resident_bytes();
    scan(500, 3_000).await;
    wait_until(&refusals, "each is counted", |counts| counts.total() == 3_000).await;
    assert_eq!(refusals.counts().untrusted, 3_000);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "2,500 strangers took up {grown} bytes");
    connect(&client, address).await.unwrap();
}

#[tokio::test]
async fn whoever_says_nothing_keeps_nobody_out() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = open(&authority, PATIENCE, 16).await;
    let client = authority.issue(Party::Client).unwrap();
    // Some say nothing, some a byte now and then.
    let mut strangers = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x16]).await.unwrap();
        }
        strangers.push(stream);
    }
    // Long before the deadline of those who wait.
    let friend = timeout(Duration::from_secs(30), connect(&client, address)).await.unwrap();
    assert!(friend.is_ok(), "{:?}", friend.err());
    wait_until(&refusals, "the oldest made room", |counts| counts.crowded_out >= 300 - 64).await;
}

#[tokio::test]
async fn whoever_is_slow_has_one_deadline_for_everything() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = open(&authority, Duration::from_millis(300), 16).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let drip = async {
        // A byte at a time of a record that never ends, until the other side has had enough.
        while stream.write_all(&[0x16]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(PATIENCE, drip).await;
    wait_until(&refusals, "it is refused", |counts| counts.total() == 1).await;
}

#[tokio::test]
async fn certificates_of_other_clusters_and_none_are_untrusted() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let (address, refusals) = open(&ours, PATIENCE, 16).await;
    for _ in 0..20 {
        connect(&theirs.issue(Party::Client).unwrap(), address).await.err().unwrap();
    }
    // Trusts the cluster, and shows nothing of itself.
    for _ in 0..20 {
        assert!(nobody(&ours, address).await.is_err());
    }
    wait_until(&refusals, "all are counted", |counts| counts.untrusted == 40).await;
    assert!(connect(&ours.issue(Party::Client).unwrap(), address).await.is_ok());
}

/// A TLS client without a certificate.
async fn nobody(authority: &Authority, address: SocketAddr) -> std::io::Result<()> {
    let mut config = (*authority.issue(Party::Client).unwrap().client_config().unwrap()).clone();
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(Party::Scheduler.dns_name()).unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"nuna").await?;
    let mut answer = [0; 1];
    // With TLS 1.3 the refusal comes after the handshake.
    stream.read_exact(&mut answer).await.map(|_| ())
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A connection with a good certificate, over which anything can be sent.
async fn raw(credentials: &Credentials, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(Party::Scheduler.dns_name()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(credentials.client_config().unwrap());
    connector.connect(name, stream).await.unwrap()
}

fn frame(header_bytes: u32, payload_bytes: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"nuna".to_vec();
    bytes.extend(header_bytes.to_le_bytes());
    bytes.extend(payload_bytes.to_le_bytes());
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn malformed_frames_are_refused_by_their_first_bytes() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = open(&authority, PATIENCE, 16).await;
    let client = authority.issue(Party::Client).unwrap();
    let limit = Limits::GREETING.header_bytes_max;
    let malformed = [
        frame(limit + 1, 0, b""),
        frame(u32::MAX, u64::MAX, b""),
        frame(4, 1, b"abcd"),
        frame(100, 0, b"cut off"),
        frame(3, 0, &[0xff; 3]),
        b"anun".repeat(8),
        b"nuna".to_vec(),
        Vec::new(),
    ];
    let count = malformed.len() as u64;
    for bytes in malformed {
        let mut stream = raw(&client, address).await;
        stream.write_all(&bytes).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    wait_until(&refusals, "all are counted", |counts| counts.malformed == count).await;
}

#[tokio::test]
async fn another_build_and_too_many_friends_are_told_so() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = open(&authority, PATIENCE, 2).await;
    let client = authority.issue(Party::Client).unwrap();
    let other = Connector::new(&client, "b2").unwrap();
    let error = other.connect(address, Party::Scheduler, Role::Reader).await.err().unwrap().to_string();
    assert!(error.contains("build b2"), "{error}");
    wait_until(&refusals, "it is counted", |counts| counts.mismatched == 1).await;
    let (_first, _second) =
        (connect(&client, address).await.unwrap(), connect(&client, address).await.unwrap());
    let error = connect(&client, address).await.err().unwrap();
    assert!(error.contains("too many connections"), "{error}");
    drop(_first);
    let again = async {
        while connect(&client, address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place is free again");
}
