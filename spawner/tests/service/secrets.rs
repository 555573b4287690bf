//! One-time codes, and that no secret shows where others look.

use std::path::Path;

use crate::common::{Answer, Setup, TOKEN, World};
use serde_json::{Value, json};

async fn launcher_world(node: &str) -> World {
    World::with(Setup { node: node.to_owned(), is_launcher: true, ..Setup::default() }).await
}

fn assert_refused(answer: &Answer, why: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "refused"), "{}", answer.text);
    assert!(answer.message().contains(why), "{}", answer.message());
    assert!(!answer.text.contains(TOKEN));
}

#[tokio::test]
async fn a_code_is_good_once_and_for_its_job_only() {
    let world = launcher_world("node1").await;
    let id = world.created("alice", "small").await;
    let code = world.code().await;
    let job = world.server(&id).await["job"].as_str().unwrap().to_owned();
    let ask = |code: &str, job: &str| {
        world.launch("exchange", json!({"code": code, "job": job, "host": "127.0.0.1"}))
    };
    assert_refused(&ask(&"0".repeat(64), &job).await, "unknown");
    assert_refused(&ask("", &job).await, "unknown");
    assert_refused(&ask(&code, "99.pbshead").await, "another job");
    assert_refused(&ask(&code, "").await, "another job");
    let granted = ask(&code, &job).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    let grant = granted.json();
    assert_eq!(grant["environment"]["JUPYTERHUB_API_TOKEN"], TOKEN);
    assert_eq!(grant["environment"]["PATH"], "/usr/bin:/bin", "the node's, not the hub's");
    assert_eq!(grant["argv"][0], "python3");
    assert_refused(&ask(&code, &job).await, "used before");

    let ready = |ticket: &Value, host: &str, port: u16| {
        world.launch("ready", json!({"ticket": ticket, "host": host, "port": port}))
    };
    let ticket = &grant["ticket"];
    assert_refused(&ready(&json!(code), "127.0.0.1", 40000).await, "ticket");
    assert_refused(&ready(ticket, "192.0.2.7", 40000).await, "host");
    assert_refused(&ready(ticket, "example.invalid", 40000).await, "host");
    assert_refused(&ready(ticket, "127.0.0.1", 22).await, "1024");
    assert_refused(&ready(ticket, "127.0.0.1", 18001).await, "hub's own");
    let peer = world.nodes.split(':').next().unwrap();
    let (mut answer, mut host) = (ready(ticket, "127.0.0.1", 40000).await, "127.0.0.1");
    if answer.status != 200 {
        // Which of its addresses this machine uses towards itself is its own affair.
        (answer, host) = (ready(ticket, peer, 40000).await, peer);
    }
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(world.server(&id).await["address"], json!({"host": host, "port": 40000}));
    assert_refused(&ready(ticket, host, 40001).await, "not starting");
}

#[tokio::test]
async fn a_code_from_another_node_is_refused() {
    // PBS says that the job runs there, so nobody here is its launcher.
    let world = launcher_world("192.0.2.1").await;
    let id = world.created("alice", "small").await;
    let code = world.code().await;
    let job = world.server(&id).await["job"].as_str().unwrap().to_owned();
    let answer = world.launch("exchange", json!({"code": code, "job": job, "host": "192.0.2.1"})).await;
    assert_refused(&answer, "node on which PBS runs the job");
    assert!(world.log().contains("a launcher was refused"), "{}", world.log());
}

#[tokio::test]
async fn a_code_dies_with_its_server_and_survives_the_service() {
    let mut world = launcher_world("localhost").await;
    let id = world.created("alice", "small").await;
    let code = world.code().await;
    let job = world.server(&id).await["job"].as_str().unwrap().to_owned();
    world.kill("service");
    world.start_service().await;
    let body = json!({"code": code, "job": job, "host": "localhost"});
    let granted = world.launch("exchange", body.clone()).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    assert!(world.log().contains("node=\"localhost\""), "the node was verified: {}", world.log());
    world.kill("service");
    world.start_service().await;
    assert_refused(&world.launch("exchange", body).await, "used before");
    world.delete(&format!("/servers/{id}")).await;
    let late = json!({"ticket": granted.json()["ticket"], "host": "127.0.0.1", "port": 40000});
    assert_refused(&world.launch("ready", late).await, "gone");

    let id = world.created("bob", "small").await;
    let code = world.code().await;
    let job = world.server(&id).await["job"].as_str().unwrap().to_owned();
    world.delete(&format!("/servers/{id}")).await;
    assert_refused(
        &world.launch("exchange", json!({"code": code, "job": job, "host": "x"})).await,
        "unknown",
    );
}

#[tokio::test]
async fn launchers_are_bounded_too() {
    let world = launcher_world("node1").await;
    let huge =
        world.launch_large("exchange", json!({"code": "x".repeat(1 << 20), "job": "1", "host": "x"})).await;
    assert!(huge.is_none_or(|answer| answer.status == 413));
    assert_eq!(world.launch("exchange", json!({"code": 1})).await.code(), "bad_request");
    assert_eq!(world.launch("elsewhere", json!({})).await.status, 404);
    // The hub's side is not on this listener.
    for path in ["/servers", "/auth", "/metrics", "/services/nuna/metrics"] {
        let answer = world.fetch(&format!("http://{}{path}", world.nodes)).await;
        assert!(matches!(answer.status, 401 | 403 | 404), "{path}: {} {}", answer.status, answer.text);
    }
}

/// All bytes of all files in a folder.
fn contents(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(contents(&path));
        } else if let Ok(text) = std::fs::read(&path) {
            bytes.extend(text);
        }
    }
    bytes
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Command lines of all processes of this machine.
fn command_lines() -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        {
            bytes.extend(std::fs::read(path.join("cmdline")).unwrap_or_default());
        }
    }
    bytes
}

#[tokio::test]
async fn no_secret_shows_where_others_look() {
    let world = World::new().await;
    let id = world.created("alice", "small").await;
    let spool = world.path("pbs").join("spool");
    let script = crate::common::until("the job script", async || {
        let entries = std::fs::read_dir(&spool).ok()?.flatten();
        let path =
            entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "SC"))?;
        std::fs::read_to_string(path).ok().filter(|text| text.contains("EOF\n"))
    })
    .await;
    world.until_state(&id, "running").await;
    let code = script.lines().find(|line| line.len() == 64).unwrap();
    let password = world.password("alice");
    let shown = world.pbs("qstat", &["-f", "-F", "json"]).stdout;
    assert!(has(&shown, "nuna-"), "there is a job to look at");
    let places = [
        ("qstat -f", shown, true),
        ("qstat -x -f -F json", serde_json::to_vec(&world.jobs()).unwrap(), true),
        ("the job script", script.clone().into_bytes(), false),
        ("ps", command_lines(), true),
        ("the journal", contents(&world.path("state")), true),
        ("the service's log", world.log().into_bytes(), true),
        ("the batch system's log", std::fs::read(world.path("pbs.log")).unwrap(), true),
        ("the batch system's state", contents(&world.path("pbs")), false),
        ("alice's home", contents(&world.path("homes/alice")), true),
    ];
    for (place, bytes, is_free_of_codes) in places {
        for secret in [TOKEN, &hex::encode(TOKEN), &password, "token-of-the-service", "/of/the/hub"] {
            assert!(!has(&bytes, secret), "{place} shows {secret}");
        }
        assert!(!is_free_of_codes || !has(&bytes, code), "{place} shows the code");
    }
}
