//! `nuna-spawner check` against the real things, and what a client on the network cannot do to the listeners.

use std::io::{Read, Write};
use std::process::{Command, Output};
use std::time::Duration;

use crate::common::World;

fn check(world: &World, config: &str) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nuna-spawner"))
        .args(["check", "--config", world.path(config).to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[tokio::test]
async fn check_names_what_is_wrong_and_what_to_do() {
    let mut world = World::new().await;
    // Without the one that PBS itself is to refuse.
    let config = std::fs::read_to_string(world.path("spawner.toml")).unwrap();
    std::fs::write(world.path("good.toml"), config.replace("1:ncpus=4", "1:ncpus=2")).unwrap();
    let (output, text) = check(&world, "spawner.toml");
    assert!(text.contains("WRONG  profiles.greedy: 4 cores are more than the 2 that tiny allows"), "{text}");
    assert!(!output.status.success());
    let (output, text) = check(&world, "good.toml");
    assert!(output.status.success(), "{text}");
    for line in
        ["directory.servers: ldap://127.0.0.1:", "batch: PBS server pbshead answers", "profiles.ocean"]
    {
        assert!(text.contains(line), "{text}");
    }
    world.kill("directory");
    world.kill("pbs");
    std::fs::remove_file(world.path("bin/qdel")).unwrap();
    let (output, text) = check(&world, "spawner.toml");
    assert!(!output.status.success());
    let wrong: Vec<&str> = text.lines().filter(|line| line.starts_with("WRONG")).collect();
    for key in ["directory.servers", "batch.qdel", "batch.qstat"] {
        assert!(wrong.iter().any(|line| line.contains(key)), "{key} in {wrong:#?}");
    }

    let config = std::fs::read_to_string(world.path("spawner.toml")).unwrap();
    std::fs::write(world.path("typo.toml"), config.replace("interval_seconds", "intervall_seconds")).unwrap();
    let (output, text) = check(&world, "typo.toml");
    assert!(!output.status.success() && text.contains("intervall_seconds"), "{text}");
    let limits = config.replace("max = 2, default = 1, for", "max = 20, default = 1, for");
    let limits = limits
        .replace("abstract = true\nqueue = \"workq\"", "abstract = true\nqueue = \"tiny\"")
        .replace("ocean = 4", "ocean = 40");
    std::fs::write(world.path("limits.toml"), limits.replace("inherit = \"base\"", "inherit = \"bsae\""))
        .unwrap();
    let (output, text) = check(&world, "limits.toml");
    assert!(
        !output.status.success() && text.contains("there is no profile \"bsae\"; did you mean \"base\"?"),
        "{text}"
    );
    std::fs::write(world.path("limits.toml"), limits).unwrap();
    world.start_pbs().await;
    let (output, text) = check(&world, "limits.toml");
    assert!(
        !output.status.success()
            && text.contains("profiles.rich: 40 cores are more than the 2 that tiny allows"),
        "{text}"
    );
    let faulty = config.replace("select = \"1:ncpus=1:mem=1gb\"", "select = \"1:ncpus=1 -q vip\"");
    std::fs::write(world.path("faulty.toml"), faulty).unwrap();
    let (output, text) = check(&world, "faulty.toml");
    assert!(!output.status.success() && text.contains("profiles.small.select"), "{text}");
}

#[tokio::test]
async fn check_tries_the_helper() {
    let world = World::new().await;
    let config = std::fs::read_to_string(world.path("spawner.toml")).unwrap();
    for (helper, words) in
        [("/nonexistent/helper", "cannot run /nonexistent/helper"), ("/bin/false", "--version` failed")]
    {
        let line = format!("run_as = [\"{helper}\"]");
        std::fs::write(world.path("helper.toml"), config.replace("run_as = \"label\"", &line)).unwrap();
        let (output, text) = check(&world, "helper.toml");
        assert!(
            !output.status.success() && text.contains("WRONG  batch.run_as") && text.contains(words),
            "{text}"
        );
    }
}

/// Connections that say nothing, begin something and never end it, or send too much are closed.
#[tokio::test]
async fn idle_and_endless_connections_are_closed() {
    let mut world = World::new().await;
    let path = world.path("spawner.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("[hub]", "header_seconds = 0.3\n[hub]")).unwrap();
    world.kill("service");
    world.start_service().await;
    let nodes = world.nodes.clone();
    let talk = move |text: &[u8]| {
        let mut stream = std::net::TcpStream::connect(&nodes).unwrap();
        stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        // It may be closed before all is sent.
        let _ = stream.write_all(text);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not closed"),
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2000));
    tokio::task::spawn_blocking(move || {
        for begun in
            ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /services/nuna/x HTTP/1.1\r\nHost: x\r\n"]
        {
            let answer = talk(begun.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{begun:?}: {answer}");
        }
        for endless in [long, many] {
            let answer = talk(endless.as_bytes());
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    })
    .await
    .unwrap();
    assert_eq!(world.get("/health").await.status, 200);
    assert!(
        world.log().contains("a connection was closed that brought no proper request in time"),
        "{}",
        world.log()
    );
}
