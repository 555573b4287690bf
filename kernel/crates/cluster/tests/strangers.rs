//! A neighbour on the same node who has no key: refused, counted where the administrator looks,
//! and nobody else notices.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use support::*;

/// Says something, and reads until the other side ends it.
fn knock(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    // It may be closed before all is said.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 1024, "an answer of {} bytes to {bytes:?}", answer.len());
}

fn metrics(dashboard: &str, token: &str) -> String {
    let address = dashboard.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(&address).expect("the dashboard listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn strangers_are_refused_and_counted_while_the_cluster_works() {
    let started = start(1, 1);
    let file = started.cluster.file();
    let before = metrics(&file.dashboard, &file.token);
    assert!(!before.contains("nuna_connections_refused_total{"), "{before}");
    for number in 0..40_u8 {
        let garbage: Vec<u8> = (0..=number).map(|byte| byte.wrapping_mul(37)).collect();
        knock(file.scheduler, if number % 2 == 0 { b"GET / HTTP/1.1\r\n\r\n" } else { &garbage });
    }
    assert_eq!(run(&started.cluster.client(), farm("square", 100)).expect("the cluster works").len(), 100);
    let counted = |text: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with("nuna_connections_refused_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    wait_until("all are counted", || counted(&metrics(&file.dashboard, &file.token)) == 40);
}
