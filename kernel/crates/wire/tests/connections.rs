//! Who is let in: real sockets, real certificates, and everything a stranger might try.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{net::SocketAddr, time::Duration};

use nuna_wire::{
    Acceptor, Authority, ConnectError, Connector, Incoming, Party,
    message::{Role, RoleAnswer, ToClient},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Accepts for ever; who came in, or why not, goes to the channel.
async fn listen(
    authority: &Authority,
    build: &str,
) -> (SocketAddr, mpsc::UnboundedReceiver<Result<Incoming, ConnectError>>) {
    let acceptor = Acceptor::new(&authority.issue(Party::Scheduler).unwrap(), build).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move { sender.send(acceptor.accept(stream, from).await) });
        }
    });
    (address, receiver)
}

fn connector(authority: &Authority, build: &str) -> Connector {
    Connector::new(&authority.issue(Party::Client).unwrap(), build).unwrap()
}

fn role() -> Role {
    Role::Client { name: "test".into() }
}

#[tokio::test]
async fn parties_of_one_cluster_reach_each_other() {
    let authority = Authority::new("one").unwrap();
    let (address, mut incoming) = listen(&authority, "b1").await;
    let connector = connector(&authority, "b1");
    let connecting = tokio::spawn(async move { connector.connect(address, Party::Scheduler, role()).await });
    let incoming = incoming.recv().await.unwrap().unwrap();
    assert_eq!(incoming.role, role());
    let mut server = incoming.welcome(RoleAnswer::Reader).await.unwrap();
    let (mut client, answer) = connecting.await.unwrap().unwrap();
    assert_eq!(answer, RoleAnswer::Reader);
    server.writer.write(&ToClient::Heartbeat, nuna_wire::Payload::new()).await.unwrap();
    server.writer.flush().await.unwrap();
    assert_eq!(client.reader.read::<ToClient>().await.unwrap().unwrap().0, ToClient::Heartbeat);
}

#[tokio::test]
async fn another_build_is_refused_and_both_are_named_on_both_sides() {
    let authority = Authority::new("one").unwrap();
    let (address, mut incoming) = listen(&authority, "build-of-scheduler").await;
    let connector = connector(&authority, "build-of-client");
    let error = connector.connect(address, Party::Scheduler, role()).await.err().unwrap().to_string();
    assert!(error.contains("build-of-scheduler") && error.contains("build-of-client"), "{error}");
    let error = incoming.recv().await.unwrap().err().unwrap().to_string();
    assert!(error.contains("build-of-scheduler") && error.contains("build-of-client"), "{error}");
}

#[tokio::test]
async fn certificates_of_another_cluster_are_refused_by_both_sides() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let (address, mut incoming) = listen(&ours, "b1").await;
    let error = connector(&theirs, "b1").connect(address, Party::Scheduler, role()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    let error = incoming.recv().await.unwrap().err().unwrap();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn a_worker_cannot_pose_as_the_scheduler() {
    let authority = Authority::new("one").unwrap();
    let (address, _incoming) = listen(&authority, "b1").await;
    let error = connector(&authority, "b1").connect(address, Party::Worker, role()).await.err().unwrap();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "the certificate names another party: {error}");
}

#[tokio::test]
async fn garbage_is_refused_and_others_are_served() {
    let authority = Authority::new("one").unwrap();
    let (address, mut incoming) = listen(&authority, "b1").await;
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 4096], vec![0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let error = incoming.recv().await.unwrap().err().unwrap();
        assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    }
    let connector = connector(&authority, "b1");
    let connecting = tokio::spawn(async move { connector.connect(address, Party::Scheduler, role()).await });
    incoming.recv().await.unwrap().unwrap().refuse("enough clients".into()).await;
    let error = connecting.await.unwrap().err().unwrap().to_string();
    assert!(error.contains("enough clients"), "{error}");
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let authority = Authority::new("one").unwrap();
    let acceptor = Acceptor::new(&authority.issue(Party::Scheduler).unwrap(), "b1").unwrap();
    let acceptor = acceptor.deadline(Duration::from_millis(50));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, from) = listener.accept().await.unwrap();
    let error = acceptor.accept(stream, from).await.err().unwrap();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
}
