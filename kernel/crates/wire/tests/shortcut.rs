//! The short way between processes of one user on one host: who may take it, and that all others are kept out of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    io::Read,
    net::SocketAddr,
    os::{linux::net::SocketAddrExt, unix::net},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nix::unistd::{Uid, geteuid, seteuid};
use nuna_plan::Value;
use nuna_wire::{
    Acceptor, Authority, Connector, Door, Fetcher, Incoming, Party, Payload, Refusals, StageKey,
    message::{Fetch, Fetched, RoleAnswer},
};
use tokio::net::TcpListener;

const ANOTHER_USER: Uid = Uid::from_raw(65_533);

fn value() -> Value {
    Value { header: Bytes::from_static(b"header"), body: Bytes::from(vec![7; 300_000]) }
}

/// Has every value, for whoever is let in.
async fn converse(incoming: Incoming) {
    let mut connection = incoming.welcome(RoleAnswer::Reader).await.unwrap();
    while let Ok(Some((request, _))) = connection.reader.read::<Fetch>().await {
        let mut payload = Payload::new();
        let shapes = request.items.iter().map(|_| Some(payload.push(&value()))).collect();
        connection.writer.write(&Fetched { shapes, shared: Vec::new() }, payload).await.unwrap();
        connection.writer.flush().await.unwrap();
    }
}

/// A server that listens at the address only for those who come the short way; the long way ends at a closed port.
async fn serve(authority: &Authority) -> (SocketAddr, Arc<Refusals>) {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let acceptor = Acceptor::new(&authority.issue(Party::Worker).unwrap(), "b1").unwrap();
    let door = Door::new(acceptor.clone(), 8).shortcut(Some(acceptor.open_shortcut(address).unwrap()));
    let refusals = door.refusals();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let enter = |incoming, place| {
        tokio::spawn(async move {
            converse(incoming).await;
            drop(place);
        });
    };
    tokio::spawn(door.open(elsewhere, enter, |_, _, _| ()));
    (address, refusals)
}

async fn fetch(
    authority: &Authority,
    build: &str,
    address: SocketAddr,
) -> Result<Vec<Option<Value>>, String> {
    let connector = Connector::new(&authority.issue(Party::Worker).unwrap(), build).unwrap();
    let items = vec![(StageKey(1), 2), (StageKey(1), 3)];
    Fetcher::new(connector).fetch(address, items).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_process_of_the_same_user_and_cluster_goes_the_short_way() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = serve(&authority).await;
    assert_eq!(fetch(&authority, "b1", address).await, Ok(vec![Some(value()), Some(value())]));
    assert_eq!(refusals.counts().total(), 0);
}

#[tokio::test]
async fn another_cluster_and_another_build_do_not() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = serve(&authority).await;
    let error = fetch(&Authority::new("one").unwrap(), "b1", address).await.unwrap_err();
    assert!(error.contains("cannot reach"), "{error}");
    assert_eq!(refusals.counts().total(), 0, "it does not even know the name");
    let error = fetch(&authority, "b2", address).await.unwrap_err();
    assert!(error.contains("cannot reach"), "the long way was tried instead: {error}");
    assert_eq!(refusals.counts().mismatched, 1);
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_waited_for() {
    let authority = Authority::new("one").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let acceptor = Acceptor::new(&authority.issue(Party::Worker).unwrap(), "b1").unwrap();
    drop(acceptor.open_shortcut(address).unwrap());
    let error = fetch(&authority, "b1", address).await.unwrap_err();
    assert!(error.contains("cannot reach"), "{error}");
    assert!(acceptor.open_shortcut(address).is_ok(), "its name is free again");
}

/// Runs with the effective user of somebody else. Each test is a process of its own.
fn as_another_user<T>(act: impl FnOnce() -> T) -> Option<T> {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return None;
    }
    seteuid(ANOTHER_USER).unwrap();
    let result = act();
    seteuid(Uid::from_raw(0)).unwrap();
    Some(result)
}

#[tokio::test]
async fn a_neighbour_who_took_the_name_gets_no_request() {
    let authority = Authority::new("one").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let acceptor = Acceptor::new(&authority.issue(Party::Worker).unwrap(), "b1").unwrap();
    let Some(listener) = as_another_user(|| acceptor.open_shortcut(address).unwrap()) else { return };
    assert!(acceptor.open_shortcut(address).is_err(), "the name is taken");
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.unwrap();
        bytes
    });
    let error = fetch(&authority, "b1", address).await.unwrap_err();
    assert!(error.contains("cannot reach"), "{error}");
    assert_eq!(heard.await.unwrap(), b"", "nothing was said to the neighbour");
}

#[tokio::test]
async fn a_neighbour_who_comes_the_short_way_is_refused_and_counted() {
    let authority = Authority::new("one").unwrap();
    let (address, refusals) = serve(&authority).await;
    let names = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ending = format!("/{address}");
    let name = names.lines().find_map(|line| line.split(" @").nth(1).filter(|name| name.ends_with(&ending)));
    let name = net::SocketAddr::from_abstract_name(name.unwrap()).unwrap();
    let Some(stream) = as_another_user(|| net::UnixStream::connect_addr(&name).unwrap()) else { return };
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = stream;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert_eq!(answer.await.unwrap().unwrap(), b"", "it is told nothing");
    assert_eq!(refusals.counts().untrusted, 1);
}
