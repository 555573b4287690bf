//! Everything that can go right and wrong, watched: no secret in any answer, and none in the log at its loudest.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use nuna_dashboard::{Dashboard, Settings};
use support::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_answer_and_no_log_line_has_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    // Only our own words: what HTTP libraries say at this level is not switched on in production.
    tracing_subscriber::fmt()
        .with_env_filter("nuna_gateway=trace")
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let world = world().await;
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_recorder, dashboard) =
        Dashboard::start(Settings::new("local-1", bind, CLUSTER_TOKEN)).await.unwrap();
    let server_token = world.hub.add_server_token("alice");
    let wrong_token = "a-wrong-cluster-token-0123456789abcdef";
    let mut answers = vec![
        world.register(&server_token, &dashboard.url(), "").await,
        world.register_as(&server_token, "local-2", &dashboard.url(), wrong_token, "").await,
        world.register(&server_token, "http://127.0.0.1:1", "").await,
        world.register_as(&server_token, "local-3", "http://169.254.169.254:80", wrong_token, "").await,
        world.register("unknown-hub-token-0123456789", &dashboard.url(), "").await,
    ];
    let broken = format!("{{\"name\": \"x\", \"token\": \"{wrong_token}\", \"dashboard\": 5}}");
    let headers = format!("Authorization: token {server_token}\r\n");
    answers.push(world.send("POST", "/services/nuna/api/clusters", &headers, &broken).await);
    let cookie = world.sign_in("alice").await;
    let session = cookie.trim().split_once("session=").unwrap().1.to_owned();
    for path in [
        "",
        "api/clusters",
        "clusters/alice/local-1/",
        "clusters/alice/local-1/api/cluster",
        "clusters/alice/local-1/metrics",
        "clusters/alice/nothing/",
        "clusters/bob/local-1/api/cluster",
    ] {
        answers.push(world.get(&format!("{PREFIX}{path}"), &cookie).await);
    }
    answers.push(world.get(&format!("{PREFIX}oauth_callback?code=code-0&state=stolen"), "").await);
    drop(dashboard);
    answers.push(world.get(&format!("{PREFIX}clusters/alice/local-1/metrics"), &cookie).await);
    answers.push(world.send("DELETE", &format!("{PREFIX}api/clusters/local-1"), &headers, "").await);

    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&422) && statuses.contains(&404), "{statuses:?}");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("registered") && log.contains("signed in") && log.contains("not registered"),
        "{log}"
    );
    let oauth = "oauth-token-1-of-alice";
    assert!(world.hub.0.lock().unwrap().tokens.contains_key(oauth));
    for secret in [
        CLUSTER_TOKEN,
        SERVICE_TOKEN,
        wrong_token,
        oauth,
        &server_token,
        &session,
        "unknown-hub-token-0123456789",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        for answer in &answers {
            assert!(
                !answer.head.contains(secret) && !answer.body.contains(secret),
                "{secret} is in {answer:?}"
            );
        }
    }
}
