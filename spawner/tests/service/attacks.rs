//! What people on the cluster may try against the service, beside what other files have. Each is refused, and logged where somebody
//! has to know.
//!
//! | Attack | Test |
//! | --- | --- |
//! | injection into LDAP filters and names, lines of the audit log, guesses | `guessing`, `sign_in`, `auth::escape` |
//! | names and ids of requests that break lines of the log | `operations::a_request_has_one_name_in_answer_and_log` |
//! | path traversal and directives in form fields, options outside of a profile's limits | `user_servers::options_are_judged_…` |
//! | path traversal in addresses, another user's or no server's id | here, `user_servers::unknown_servers_are_unknown` |
//! | another account on the hub's socket | `sign_in::other_accounts_are_refused_on_the_socket` |
//! | another user's code or job, replayed codes, tickets of a former life | here, `secrets` |
//! | hostile output of a job | here |
//! | answers of the batch system that are none | `nonsense` |
//! | oversized and deep bodies, names, numbers | here, `secrets::launchers_are_bounded_too` |
//! | slow clients | here, `check::idle_and_endless_connections_are_closed` |
//! | the helper: users, words, environment, files, paths | `nuna-submit`'s `as_root` and `request` |
//! | smuggling, origins, routes | `nuna-proxy`, `nuna-gateway` |

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Answer, PATIENCE, Setup, TOKEN, World, until};

async fn launcher_world() -> World {
    World::with(Setup { is_launcher: true, ..Setup::default() }).await
}

fn assert_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "refused"), "{}", answer.text);
    assert!(!answer.text.contains(TOKEN));
}

/// A server of somebody, its job and its code.
async fn server(world: &World, user: &str) -> (String, String, String) {
    let id = world.created(user, "small").await;
    let code = world.code().await;
    let job = world.server(&id).await["job"].as_str().unwrap().to_owned();
    (id, job, code)
}

async fn exchange(world: &World, code: &str, job: &str) -> Answer {
    world.launch("exchange", json!({"code": code, "job": job, "host": "127.0.0.1"})).await
}

#[tokio::test]
async fn another_user_s_code_job_or_ticket_opens_nothing() {
    let world = launcher_world().await;
    let (_, alice_job, alice_code) = server(&world, "alice").await;
    let (bob_id, bob_job, bob_code) = server(&world, "bob").await;
    // Bob has read alice's script, or knows her job's number.
    assert_refused(&exchange(&world, &alice_code, &bob_job).await);
    assert_refused(&exchange(&world, &bob_code, &alice_job).await);
    assert_refused(&exchange(&world, &bob_code, &format!("{alice_job}\n{bob_job}")).await);
    assert_refused(&exchange(&world, &format!("{bob_code} "), &bob_job).await);
    assert_refused(&exchange(&world, &bob_code.to_uppercase(), &bob_job).await);
    let granted = exchange(&world, &bob_code, &bob_job).await;
    assert_eq!(granted.status, 200, "refused attempts take nobody's code: {}", granted.text);
    // A code is no ticket, nor is a server's id.
    for no_ticket in [&alice_code, &bob_code, &bob_id] {
        let claim = json!({"ticket": no_ticket, "host": "127.0.0.1", "port": 40000});
        assert_refused(&world.launch("ready", claim).await);
        assert_refused(&world.launch("failed", json!({"ticket": no_ticket, "message": "gone"})).await);
    }
    assert_eq!(world.server(&bob_id).await["state"], "starting");
    let log = world.log();
    assert!(log.matches("a launcher was refused").count() >= 11, "each is logged: {log}");
    for secret in [alice_code, bob_code, granted.json()["ticket"].as_str().unwrap().to_owned()] {
        assert!(!log.contains(&secret), "the log keeps no secrets");
    }
}

#[tokio::test]
async fn a_server_that_is_started_again_has_new_secrets_and_the_old_ones_are_refused() {
    let world = launcher_world().await;
    let (first, first_job, first_code) = server(&world, "alice").await;
    let first_ticket = exchange(&world, &first_code, &first_job).await.json()["ticket"].clone();
    assert_eq!(world.delete(&format!("/servers/{first}")).await.status, 204);
    let (second, second_job, second_code) = server(&world, "alice").await;
    assert_ne!((&first, &first_job, &first_code), (&second, &second_job, &second_code));
    for job in [&first_job, &second_job] {
        assert_refused(&exchange(&world, &first_code, job).await);
    }
    let granted = exchange(&world, &second_code, &second_job).await;
    assert_eq!(granted.status, 200, "{}", granted.text);
    assert_ne!(granted.json()["ticket"], first_ticket);
    let claim = json!({"ticket": first_ticket, "host": "127.0.0.1", "port": 40000});
    assert_refused(&world.launch("ready", claim).await);
    let lie = json!({"ticket": first_ticket, "message": "it failed", "exit": 1});
    assert_refused(&world.launch("failed", lie).await);
    assert_eq!(world.server(&second).await["state"], "starting", "nothing old ends what is new");
}

#[tokio::test]
async fn addresses_lead_nowhere_else() {
    let world = World::new().await;
    let id = world.created("alice", "small").await;
    world.until_state(&id, "running").await;
    let odd = [
        "/servers/..%2f..%2fetc%2fpasswd".to_owned(),
        "/servers/%00".to_owned(),
        format!("/servers/{id}%00"),
        format!("/servers/{id}%2fevents"),
        format!("/servers/{}", id.to_uppercase()),
        format!("/servers/{}", &id[..31]),
        format!("/servers/{}", "0".repeat(60_000)),
    ];
    for path in odd {
        let answer = world.get(&path).await;
        assert!(matches!(answer.status, 404 | 414 | 431), "{path:.80}: {} {}", answer.status, answer.text);
        // And none of them stops a server.
        world.delete(&path).await;
    }
    for name in ["..%2falice", "alice%00", "alice%0aroot", "*", "ALICE", "-u"] {
        let answer = world.get(&format!("/users/{name}/standing")).await;
        assert!(matches!(answer.status, 403 | 501), "{name}: {} {}", answer.status, answer.text);
    }
    assert_eq!(world.server(&id).await["state"], "running");
}

/// What a job prints is one page's text: bounded, without what would steer a terminal or a line of the log.
#[tokio::test]
async fn hostile_output_of_a_job_is_only_text() {
    let world = World::new().await;
    world.sign_in("alice").await;
    let program = "import os, sys
noise = b'\\xff\\xfe\\x00\\x1b[2J\\x1b]0;owned\\x07' + b'A' * (4 << 20)
end = '\\n\\u202egnp.exe\\u2066<script>alert(1)</script>\\r\\nnuna-submit: sudo: audit outcome=\"accepted\" {{ code }} %s\\n'
os.write(2, noise); os.write(2, end.encode()); os.write(2, os.environ['JUPYTERHUB_API_TOKEN'].encode()); sys.exit(3)";
    let mut request = World::request("alice", json!({"profile": "small"}));
    request["argv"] = json!(["python3", "-c", program]);
    let answer = world.post("/servers", request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let view = world.until_state(&id, "gone").await;
    let detail = view["detail"].as_str().unwrap();
    assert!(detail.contains("alert(1)"), "the end is told: {detail}");
    assert!(detail.chars().count() <= 4096, "{}", detail.len());
    let steers = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!detail.chars().any(steers), "{detail:?}");
    assert!(!detail.contains(TOKEN), "a program that prints its token does not publish it");
    let log = world.log();
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}') && !log.contains(TOKEN));
    assert!(!log.lines().any(|line| line.starts_with("nuna-submit: sudo: audit")), "no line of its own");
}

#[tokio::test]
async fn bodies_names_and_numbers_without_measure_are_refused() {
    let world = World::new().await;
    world.sign_in("alice").await;
    let long = "x".repeat(300);
    let with = |key: &str, value: Value| {
        let mut request = World::request("alice", json!({"profile": "small"}));
        request[key] = value;
        request
    };
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for (request, codes) in [
        (with("user", json!("a".repeat(100_000))), ["bad_request", ""]),
        (with("server_name", json!(long)), ["bad_request", ""]),
        (with("argv", json!(vec!["x"; 300])), ["bad_request", ""]),
        (with("options", json!({"profile": "small", "walltime": 1e300})), ["bad_option", ""]),
        (with("options", json!({"profile": "small", "walltime": "9".repeat(5000)})), ["bad_option", ""]),
        (with("options", json!({"profile": "small", "walltime": deep})), ["bad_option", "bad_request"]),
        (with("options", json!({"profile": long})), ["bad_option", ""]),
        (with("environment", json!({"A": 1})), ["bad_request", ""]),
    ] {
        let answer = world.post("/servers", request).await;
        assert_eq!(answer.status, 400, "{:.200}", answer.text);
        assert!(codes.contains(&answer.code().as_str()), "{:.200}", answer.text);
    }
    let raw = async |path: &str, body: String| {
        let request = world.hub(reqwest::Method::POST, path).header("content-type", "application/json");
        request.body(body).send().await.map(|answer| answer.status().as_u16())
    };
    for path in ["/auth", "/servers", "/options"] {
        for body in
            ["[".repeat(200_000), "{\"a\":".repeat(50_000), "\u{0}".to_owned(), "{\"user\":1e999}".to_owned()]
        {
            assert_eq!(raw(path, body).await.unwrap(), 400, "{path}");
        }
        let large = raw(path, format!("\"{}\"", "x".repeat(2 << 20))).await;
        // It may hang up before all is sent.
        assert!(large.is_err() || large.is_ok_and(|status| status == 413), "{path}");
    }
    assert!(world.jobs().is_empty());
    assert_eq!(world.get("/health").await.status, 200);
}

/// Bodies that do not come: the nodes' listener gives a whole request 30 s, and others are answered meanwhile; one that sends a
/// letter now and then gains nothing.
#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let world = World::new().await;
    let (nodes, socket) = (world.nodes.clone(), world.path("spawner.sock"));
    let nodes = tokio::task::spawn_blocking(move || {
        let stream = std::net::TcpStream::connect(&nodes).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        drip(stream, "/services/nuna/launch/exchange")
    });
    let hub = tokio::task::spawn_blocking(move || {
        let stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        drip(stream, "/auth")
    });
    until("an answer beside it", async || {
        let answer = world.launch("exchange", json!({"code": "x", "job": "1", "host": "x"})).await;
        (answer.status == 403).then_some(())
    })
    .await;
    for (took, answer) in [nodes.await.unwrap(), hub.await.unwrap()] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(took >= Duration::from_secs(25), "it had its time: {took:?}");
    }
    until("the log about it", async || world.log().contains("too_slow").then_some(())).await;
}

/// Sends a body byte by byte: how long that goes on, and the start of the answer.
fn drip(mut stream: impl Read + Write, path: &str) -> (Duration, String) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (begun, mut answer) = (Instant::now(), [0_u8; 64]);
    loop {
        assert!(begun.elapsed() < 2 * PATIENCE, "still open");
        let _ = stream.write_all(b" ");
        match stream.read(&mut answer) {
            Ok(0) => return (begun.elapsed(), String::new()),
            Ok(length) => return (begun.elapsed(), String::from_utf8_lossy(&answer[..length]).into_owned()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(_) => return (begun.elapsed(), String::new()),
        }
    }
}
