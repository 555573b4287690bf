//! A batch system whose answers are no answers: nobody's server is taken for gone, and what is printed harms nobody.

use std::time::{Duration, Instant};

use crate::common::{World, until};

/// Prints what its file `mood` says instead of what PBS says; without it, asks PBS.
const QSTAT: &str = r#"#!/bin/sh
case "$(cat 'FOLDER/mood' 2>/dev/null)" in
noise) head -c 300000 /dev/urandom ;;
half) 'FOLDER/bin/real/qstat' "$@" | head -c 150 ;;
nothing) : ;;
deep) head -c 2000000 /dev/zero | tr '\0' '[' ;;
list) printf '[{"Jobs": 1}, null, "%s"]' "$*" ;;
numbers) printf '{"timestamp": 1e999, "pbs_version": {}, "Jobs": {"1": 2, "0.pbshead": []}}' ;;
escapes) printf '\033]0;owned\007\033[2J{"Jobs": \342\200\256}'; printf '\033[31mqstat: \r\nnuna-submit: sudo: audit\n' >&2; exit 3 ;;
flood) head -c 50000000 /dev/zero | tr '\0' 'x' ;;
words) yes 'qstat: cannot connect to server' | head -c 20000000 >&2; exit 1 ;;
endless) exec cat /dev/zero ;;
silence) exec sleep 1000 ;;
*) exec 'FOLDER/bin/real/qstat' "$@" ;;
esac
"#;

const MOODS: [&str; 11] = [
    "noise", "half", "nothing", "deep", "list", "numbers", "escapes", "flood", "words", "endless", "silence",
];

#[tokio::test]
async fn answers_that_are_none_cost_nobody_a_server() {
    let world = World::new().await;
    let (qstat, real) = (world.path("bin/qstat"), world.path("bin/real/qstat"));
    std::fs::rename(&qstat, &real).unwrap();
    let script = QSTAT.replace("FOLDER", world.folder.path().to_str().unwrap());
    std::fs::write(&qstat, script).unwrap();
    std::fs::set_permissions(&qstat, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let running = world.created("alice", "small").await;
    let before = world.until_state(&running, "running").await;
    let queued = world.created("bob", "stuck").await;
    world.until_state(&queued, "queued").await;
    for mood in MOODS {
        eprintln!("qstat: {mood}");
        std::fs::write(world.path("mood"), mood).unwrap();
        for id in [&running, &queued] {
            let view = world.until(id, |view| view["poll"] == "unknown").await;
            assert!(["running", "queued"].contains(&view["state"].as_str().unwrap()), "{mood}: {view}");
            let message = view["message"].as_str().unwrap();
            assert!(message.len() < 1000 && !message.contains(char::is_control), "{mood}: {message:?}");
        }
        // Meanwhile the service is there for everybody.
        let begun = Instant::now();
        for path in ["/health", "/form?user=alice", "/metrics"] {
            assert_eq!(world.get(path).await.status, 200, "{mood}: {path}");
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{mood}: {:?}", begun.elapsed());
        std::fs::remove_file(world.path("mood")).unwrap();
        for id in [&running, &queued] {
            world.until(id, |view| view["poll"] == "alive").await;
        }
    }
    let view = world.server(&running).await;
    for key in ["state", "job", "address"] {
        assert_eq!(view[key], before[key], "{key}");
    }
    assert_eq!(world.living_jobs().len(), 2);
    let log = world.log();
    assert!(log.len() < 1 << 20, "{} bytes of log", log.len());
    assert!(!log.contains(['\u{1b}', '\u{7}', '\u{202e}']), "what steers a terminal is not logged");
    assert!(!log.lines().any(|line| line.starts_with("nuna-submit: sudo: audit")), "no line of its own");
    for id in [&running, &queued] {
        assert_eq!(world.delete(&format!("/servers/{id}")).await.status, 204);
    }
    until("all jobs are gone", async || world.living_jobs().is_empty().then_some(())).await;
}
