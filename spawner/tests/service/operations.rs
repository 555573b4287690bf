//! What an administrator and systemd see of the service: ready, alive, stopping, sockets that are passed, parts that are
//! well or not, names of requests, and counters.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nuna_testing::{Systemd, inheritable};
use serde_json::{Value, json};

use crate::common::{PATIENCE, World, until};

/// A watchdog that is watched closely.
const WATCHDOG: Duration = Duration::from_millis(400);

fn start(systemd: &Systemd, world: &mut World, sockets: &[&dyn AsRawFd]) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(world.path("service.log")).unwrap();
    let sockets: Vec<(&str, &dyn AsRawFd)> = sockets.iter().map(|&socket| ("a.socket", socket)).collect();
    let child = systemd
        .command(Path::new(env!("CARGO_BIN_EXE_nuna-spawner")), &sockets, WATCHDOG)
        .args(["serve", "--die-with-parent", "--config", world.path("spawner.toml").to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    world.adopt("service", child);
}

// Requests go on while the test waits for a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_passes_sockets_and_hears_of_each_state() {
    let mut world = World::new().await;
    assert_eq!(world.end("service"), Some(0));
    let hub = UnixListener::bind(world.path("spawner.sock")).unwrap();
    let nodes = std::net::TcpListener::bind(&world.nodes).unwrap();
    inheritable(&hub);
    inheritable(&nodes);
    let systemd = Systemd::new(world.path("notify"));
    // Asked before the service is there, and answered once it is.
    let early = world.hub(reqwest::Method::GET, "/health").send();
    let early = tokio::spawn(early);
    start(&systemd, &mut world, &[&hub, &nodes]);
    let word = systemd.told();
    assert!(word.starts_with("READY=1\nSTATUS=serving on /"), "{word}");
    assert_eq!(early.await.unwrap().unwrap().status(), 200);
    let answer = world.launch("exchange", json!({"code": "x", "job": "1", "host": "x"})).await;
    assert_eq!(answer.code(), "refused", "the nodes' socket serves launchers");

    // Programs of the batch system do not get the sockets.
    let id = world.created("alice", "small").await;
    world.until_state(&id, "running").await;
    for _ in 0..3 {
        systemd.beat();
    }
    // A service that hangs does not beat.
    world.pause("service", true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    while systemd.heard().is_some() {}
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(systemd.heard(), None);
    world.pause("service", false);
    systemd.beat();

    assert_eq!(world.end("service"), Some(0));
    assert!(systemd.told().starts_with("STOPPING=1\nSTATUS="));
    assert!(world.path("spawner.sock").exists(), "the socket is systemd's and stays");
    // Its next life takes them again, and nobody was refused.
    let between = tokio::spawn(world.hub(reqwest::Method::GET, "/health").send());
    start(&systemd, &mut world, &[&hub, &nodes]);
    assert_eq!(between.await.unwrap().unwrap().status(), 200);
    world.until(&id, |view| view["poll"] == "alive" && view["state"] == "running").await;
}

#[tokio::test]
async fn sockets_that_are_not_those_of_the_configuration_are_refused() {
    let mut world = World::new().await;
    assert_eq!(world.end("service"), Some(0));
    let systemd = Systemd::new(world.path("notify"));
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(world.path("other.sock")).unwrap();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    inheritable(&other);
    inheritable(&unix);
    inheritable(&datagram);
    let cases: [(Vec<&dyn AsRawFd>, &str); 4] = [
        (vec![&other], "make ListenStream= of the socket unit the same"),
        (vec![&unix], "systemd passes a socket at"),
        (vec![&other, &other], "\"a.socket\" is too many"),
        (vec![&datagram], "neither a listening unix nor TCP socket"),
    ];
    for (sockets, words) in cases {
        start(&systemd, &mut world, &sockets);
        let code = async |world: &mut World| {
            let begun = std::time::Instant::now();
            loop {
                if let Some(code) = world.exit_code("service") {
                    return code;
                }
                assert!(begun.elapsed() < PATIENCE, "{words}: it runs");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert_eq!(code(&mut world).await, 1);
        assert!(world.log().contains(words), "{words} in {}", world.log());
        world.end("service");
    }
}

#[tokio::test]
async fn readiness_names_each_part() {
    let mut world = World::new().await;
    let ready = async |world: &World| {
        until("readiness", async || {
            let answer = world.get("/ready").await;
            (answer.status == 200).then(|| answer.json())
        })
        .await
    };
    let answer = ready(&world).await;
    let ok = |answer: &Value, part: &str| answer["parts"][part]["ok"].clone();
    for part in ["journal", "batch", "directory"] {
        assert_eq!(ok(&answer, part), json!(true), "{answer}");
    }
    assert!(answer["parts"]["journal"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(answer["parts"]["batch"]["system"], "PBS");
    let server = &answer["parts"]["directory"]["servers"][0];
    assert!(server["url"].as_str().unwrap().starts_with("ldap://127.0.0.1:"), "{server}");
    assert_eq!(server["state"], "answers");

    // Both away: told, and the service stays.
    let password = world.password("alice");
    world.kill("directory");
    world.kill("service");
    world.kill("pbs");
    world.start_service().await;
    assert_eq!(world.post("/auth", json!({"username": "alice", "password": password})).await.status, 503);
    let answer = ready(&world).await;
    assert_eq!((ok(&answer, "journal"), ok(&answer, "batch")), (json!(true), json!(false)), "{answer}");
    assert_eq!(answer["parts"]["batch"]["asked"], true);
    assert_eq!(ok(&answer, "directory"), json!(false));
    assert_eq!(answer["parts"]["directory"]["servers"][0]["state"], "silent");
    assert_eq!(world.get("/health").await.json()["status"], "serving");
}

#[tokio::test]
async fn a_request_has_one_name_in_answer_and_log() {
    let mut world = World::new().await;
    assert_eq!(world.end("service"), Some(0));
    world.start_service_with(&["--log", "json"]).await;
    let name = |answer: &reqwest::Response| answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let asked = |id: &'static str| world.hub(reqwest::Method::POST, "/auth").header("x-request-id", id);
    let body = json!({"username": "alice", "password": "not hers"});
    let answer = asked("hub-7f.3_A").json(&body).send().await.unwrap();
    assert_eq!(name(&answer), "hub-7f.3_A");
    let refusal: Value = answer.json().await.unwrap();
    assert_eq!(refusal["error"]["request"], "hub-7f.3_A");
    for odd in ["two words", "a=\"b\"", "%0aadmin", ""] {
        let answer = asked(odd).json(&body).send().await.unwrap();
        let given = name(&answer);
        assert!(given.len() == 8 && given.bytes().all(|byte| byte.is_ascii_hexdigit()), "{odd}: {given}");
    }
    let log = world.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_request: Vec<&Value> = lines.iter().filter(|line| line["span"]["id"] == "hub-7f.3_A").collect();
    let refused = |line: &&&Value| line["target"] == "audit" && line["fields"]["outcome"] == "wrong_password";
    assert_eq!(of_request.iter().filter(refused).count(), 1, "{log}");
    assert_eq!(of_request[0]["fields"]["user"], "alice");
    assert!(!log.contains("two words") && !log.contains("%0aadmin"));

    // The proxy of this machine names requests of browsers.
    let url = format!("http://{}/services/nuna/launch/exchange", world.nodes);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"code": "x", "job": "1", "host": "x"});
    let answer = client.post(url).header("x-request-id", "proxy-1").json(&body).send().await.unwrap();
    assert_eq!(name(&answer), "proxy-1");
}

#[tokio::test]
async fn metrics_say_how_starts_sign_ins_and_servers_do() {
    let world = World::new().await;
    let id = world.created("alice", "small").await;
    world.until_state(&id, "running").await;
    let waiting = world.created("bob", "stuck").await;
    world.until_state(&waiting, "queued").await;
    assert_eq!(world.delete(&format!("/servers/{waiting}")).await.status, 204);
    let wrong = json!({"username": "carol", "password": "wrong"});
    assert_eq!(world.post("/auth", wrong).await.status, 401);
    let text = world.get("/metrics").await.text;
    for line in [
        "nuna_starts_total{outcome=\"running\"} 1",
        "nuna_starts_total{outcome=\"cancelled\"} 1",
        "nuna_queue_wait_seconds_count 1",
        "nuna_start_seconds_count 1",
        "nuna_sign_ins_total{outcome=\"accepted\"} 2",
        "nuna_sign_ins_total{outcome=\"wrong_password\"} 1",
        "nuna_user_servers{state=\"running\"} 1",
        "nuna_orphans_total 0",
        "nuna_pbs_answers 1",
        "nuna_journal_takes_changes 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let value = |name: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("nuna_directory_seconds_count{server=\"ldap://127.0.0.1:"), 3.0, "{text}");
    assert!(value("nuna_journal_bytes") > 0.0 && value("nuna_job_list_seconds_count") >= 1.0);
    assert!(
        value("nuna_job_list_seconds_bucket{le=\"+Inf\"}") >= value("nuna_job_list_seconds_bucket{le=\"1\"}")
    );
    assert!(text.contains("nuna_build_info{version=\""), "{text}");
    // Each line is one that Prometheus reads.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name} is told twice");
    }
}
