//! From the form to a running server and its end, with a real batch system and real launchers.

use crate::common::{Setup, TOKEN, World, until};
use serde_json::{Value, json};

#[tokio::test]
async fn the_form_shows_the_profiles_of_ones_groups() {
    let world = World::on_any_pbs(Setup::default()).await;
    let nobody = world.get("/form?user=stranger").await;
    assert_eq!(nobody.status, 200, "some profiles are for everybody");
    assert!(!nobody.text.contains("value=\"ocean\""));
    world.sign_in("alice").await;
    world.sign_in("bob").await;
    let alice = world.get("/form?user=alice").await.text;
    assert!(alice.contains("value=\"ocean\"") && alice.contains("name=\"ocean.nodes\""), "{alice}");
    let bob = world.get("/form?user=bob").await.text;
    assert!(bob.contains("value=\"small\"") && !bob.contains("ocean"), "{bob}");
}

#[tokio::test]
async fn options_are_judged_when_chosen_and_again_when_used() {
    let world = World::on_any_pbs(Setup::default()).await;
    world.sign_in("alice").await;
    world.sign_in("bob").await;
    let choose =
        async |user: &str, form: Value| world.post("/options", json!({"user": user, "form": form})).await;
    let chosen = choose("alice", json!({"profile": ["ocean"], "ocean.nodes": ["2"]})).await;
    assert_eq!((chosen.status, chosen.json()), (200, json!({"profile": "ocean", "nodes": "2"})));
    for (user, form, status, code) in [
        ("bob", json!({"profile": ["ocean"]}), 403, "not_in_group"),
        ("alice", json!({"profile": ["ocean"], "ocean.nodes": ["3"]}), 400, "bad_option"),
        ("alice", json!({"profile": ["ocean"], "ocean.nodes": ["1\n#PBS -q vip"]}), 400, "bad_option"),
        ("alice", json!({"profile": ["small"], "small.walltime": ["99:00:00"]}), 400, "bad_option"),
        ("alice", json!({"profile": ["../small"]}), 400, "bad_option"),
        ("alice", json!({}), 400, "bad_option"),
    ] {
        let answer = choose(user, form.clone()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{user} {form}");
    }
    for (user, options, status, code) in [
        ("bob", json!({"profile": "ocean"}), 403, "not_in_group"),
        ("alice", json!({"profile": "ocean", "nodes": 99}), 400, "bad_option"),
        ("alice", json!({"profile": "small", "queue": "vip"}), 400, "bad_option"),
    ] {
        let answer = world.post("/servers", World::request(user, options.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{user} {options}");
    }
    for (key, value) in [
        ("user", json!("root; rm")),
        ("user", json!("../alice")),
        ("argv", json!([])),
        ("argv", json!(["a\0b"])),
        ("environment", json!({"A=B": "x"})),
        ("environment", json!({"A\nB": "x"})),
    ] {
        let mut request = World::request("alice", json!({"profile": "small"}));
        request[key] = value.clone();
        let answer = world.post("/servers", request).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{key} {value}");
    }
    assert!(world.jobs().is_empty());
}

#[tokio::test]
async fn a_server_is_submitted_runs_and_stops() {
    let world = World::on_any_pbs(Setup::default()).await;
    let id = world.created("alice", "small").await;
    let again = world.create("alice", "small").await;
    assert_eq!((again.status, again.code().as_str()), (409, "already_running"));
    assert_eq!(again.json()["id"], json!(id));

    let events = world.get(&format!("/servers/{id}/events")).await.text;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["state"], &last["progress"], &last["failed"]),
        (&json!("running"), &json!(100), &json!(false))
    );
    let progress: Vec<i64> = events.iter().map(|event| event["progress"].as_i64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");

    let view = world.server(&id).await;
    assert_eq!((&view["state"], &view["poll"]), (&json!("running"), &json!("alive")));
    let (host, port) = (view["address"]["host"].as_str().unwrap(), &view["address"]["port"]);
    assert_eq!(world.fetch(&format!("http://{host}:{port}/")).await.text, TOKEN, "it got its environment");
    let job = view["job"].as_str().unwrap().to_owned();
    assert_eq!(world.jobs()[&job]["job_state"], "R");
    assert_eq!(world.jobs()[&job]["Job_Owner"].as_str().unwrap().split('@').next(), Some("alice"));

    assert_eq!(world.delete(&format!("/servers/{id}")).await.status, 204);
    assert_eq!(world.jobs()[&job]["job_state"], "F");
    let view = world.server(&id).await;
    assert_eq!(
        (&view["state"], &view["poll"], &view["failed"]),
        (&json!("gone"), &json!("gone"), &json!(false))
    );
    assert_eq!(world.delete(&format!("/servers/{id}")).await.status, 204, "as often as one likes");
    // And once more.
    let answer = world.create("alice", "small").await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    world.until_state(&id, "running").await;
}

/// What a profile says of the job arrives in it, and what it inherits too.
#[tokio::test]
async fn a_profile_with_everything_is_what_the_job_gets() {
    let world = World::on_any_pbs(Setup::default()).await;
    world.sign_in("alice").await;
    let mut request = World::request("alice", json!({"profile": "rich", "ncpus": 3}));
    let notes = format!(
        "import os, json, sys; os.umask(0o22); json.dump({{**os.environ, 'argv': sys.argv, 'flags': sys.flags.dont_write_bytecode}}, open('{}', 'w'))\n",
        world.shared("seen").display()
    );
    request["argv"] = json!([
        "of-the-hub",
        "-m-of-the-hub",
        "-c",
        format!("{notes}{}", request["argv"][2].as_str().unwrap())
    ]);
    request["command_words"] = json!(2);
    let answer = world.post("/servers", request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let view = world.until(&id, |view| view["state"] == "running" && view["ends_at"].is_i64()).await;
    assert_eq!(view["ends_at"].as_i64().unwrap() - view["started_at"].as_i64().unwrap(), 1800);
    let seen = std::fs::read_to_string(world.shared("seen")).unwrap();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    for (name, value) in [
        ("FROM_PROLOGUE", "yes"),
        ("RICH", "it's \"rich\""),
        ("JUPYTERHUB_ROOT_DIR", "/scratch/alice"),
        ("CPU_LIMIT", "3"),
        ("JUPYTERHUB_API_TOKEN", TOKEN),
    ] {
        assert_eq!(seen[name], value, "{name}");
    }
    assert_eq!((&seen["argv"], &seen["flags"]), (&json!(["-c", "of the profile"]), &json!(1)));
    let end: i64 = seen["NUNA_WALLTIME_END"].as_str().unwrap().parse().unwrap();
    assert!((end - view["ends_at"].as_i64().unwrap()).abs() <= 5, "{end} {view}");
    // A job that is deleted may not live to its epilogue: mom kills what is left once the shell around it has gone.
    world.end_user_server(&view).await;
    world.until(&id, |view| view["state"] == "gone").await;
    let epilogue = std::fs::read_to_string(world.shared("epilogue")).unwrap();
    assert!(epilogue.starts_with("ended with "), "{epilogue}");

    // Groups, and bases, count here too.
    world.sign_in("bob").await;
    for (user, options) in [
        ("bob", json!({"profile": "rich", "ncpus": 3})),
        ("alice", json!({"profile": "rich", "ncpus": 5})),
        ("alice", json!({"profile": "base"})),
    ] {
        let answer = world.post("/servers", World::request(user, options.clone())).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_option"), "{user} {options}");
    }
}

#[tokio::test]
async fn one_person_has_so_many_servers_and_no_more() {
    let world =
        World::on_any_pbs(Setup { limits: "servers_per_user_max = 2".to_owned(), ..Setup::default() }).await;
    world.sign_in("alice").await;
    let ask = async |name: &str| {
        let mut request = World::request("alice", json!({"profile": "small"}));
        request["server_name"] = json!(name);
        world.post("/servers", request).await
    };
    assert_eq!((ask("").await.status, ask("second").await.status), (202, 202));
    let refused = ask("third").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "too_many_of_yours"));
    assert_eq!(
        refused.message(),
        "You may have 2 servers at once, and have: the default one, second. Stop one of them first."
    );
}

async fn look(world: &World, body: Value) -> String {
    world.post("/form", body).await.text
}

async fn queue_queries(world: &World) -> u64 {
    let metrics = world.get("/metrics").await.text;
    let start = "nuna_queue_queries_total{outcome=\"succeeded\"}";
    let line = metrics.lines().find(|line| line.starts_with(start));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// The form says what the queues are like, for one query however many look; without the batch system it is there, too.
#[tokio::test]
async fn the_form_shows_queues_and_survives_their_silence() {
    let mut world = World::on_any_pbs(Setup::default()).await;
    // The embedded one has it only where it is wanted.
    let nodes = world.path("bin/pbsnodes");
    std::os::unix::fs::symlink(world.path("bin/qsub").canonicalize().unwrap(), nodes).unwrap();
    world.sign_in("alice").await;
    let plain = json!({"user": "alice"});
    let text = until("free cores", async || {
        Some(look(&world, plain.clone()).await)
            .filter(|text| text.contains("8 cores are free, 1 node is empty"))
    })
    .await;
    assert!(text.contains("Queue closed takes no jobs") && text.contains("Queue stuck is stopped"), "{text}");
    assert!(text.contains("Queue vip is for certain people"), "{text}");
    let typed = json!({"user": "alice", "form": {"profile": ["rich"], "rich.ncpus": ["9"]}});
    let text = look(&world, typed).await;
    assert!(text.contains("is not a number from 1 to 4") && text.contains(r#"value="9""#), "{text}");
    let (begun, before) = (std::time::Instant::now(), queue_queries(&world).await);
    for _ in 0..200 {
        look(&world, plain.clone()).await;
    }
    let intervals = begun.elapsed().as_secs_f64() / 0.6;
    assert!((queue_queries(&world).await - before) as f64 <= intervals + 1.0, "one query in three intervals");
    if world.leave_without_pbs().await.is_none() {
        return;
    }
    let text = until("the words about silence", async || {
        Some(look(&world, plain.clone()).await)
            .filter(|text| text.contains("PBS does not answer at the moment"))
    })
    .await;
    assert!(text.contains("value=\"small\"") && text.contains("old."), "{text}");
    world.kill("service");
    world.start_service().await;
    assert!(look(&world, plain).await.contains("value=\"small\""), "a start without the batch system");
    world.bring_pbs_back().await;
}

#[tokio::test]
async fn pbs_s_own_words_reach_who_asked() {
    let world = World::on_any_pbs(Setup::default()).await;
    world.sign_in("alice").await;
    for (profile, words) in [
        ("greedy", "Job violates queue and/or server resource limits"),
        ("closed", "Queue is not enabled"),
        ("vip", "Unauthorized Request"),
    ] {
        let answer = world.create("alice", profile).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "pbs_rejected"),
            "{profile}: {}",
            answer.text
        );
        assert!(answer.message().contains(words), "{profile}: {}", answer.message());
    }
    assert!(world.jobs().is_empty());
}

#[tokio::test]
async fn a_batch_system_that_is_down_says_so_and_loses_nothing() {
    let mut world = World::on_any_pbs(Setup::default()).await;
    let id = world.created("alice", "small").await;
    world.until_state(&id, "running").await;
    if world.leave_without_pbs().await.is_none() {
        return;
    }
    let view = world.until(&id, |view| view["poll"] == "unknown").await;
    assert_eq!(view["state"], "running", "{view}");
    let answer = world.post("/servers", {
        let mut request = World::request("alice", json!({"profile": "small"}));
        request["server_name"] = json!("second");
        request
    });
    let answer = answer.await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "pbs_unreachable"), "{}", answer.text);
    world.bring_pbs_back().await;
    let view = world.until(&id, |view| view["poll"] == "alive").await;
    assert_eq!(view["state"], "running");
    assert_eq!(world.living_jobs(), [view["job"].as_str().unwrap()]);
    world.kill("service");
}

#[tokio::test]
async fn a_service_that_is_killed_finds_its_servers_again() {
    let mut world = World::on_any_pbs(Setup::default()).await;
    let running = world.created("alice", "small").await;
    let before = world.until_state(&running, "running").await;
    let queued = world.created("bob", "stuck").await;
    for _ in 0..2 {
        world.kill("service");
        world.start_service().await;
        let view = world.until(&running, |view| view["poll"] == "alive").await;
        for key in ["state", "job", "address"] {
            assert_eq!(view[key], before[key], "{key}");
        }
        let view = world.until(&queued, |view| view["poll"] == "alive").await;
        assert_eq!(view["state"], "queued");
        assert_eq!(world.living_jobs().len(), 2);
    }
    // SIGTERM drains, and jobs go on too.
    assert_eq!(world.end("service"), Some(0));
    assert!(!world.path("spawner.sock").exists());
    world.start_service().await;
    assert_eq!(world.delete(&format!("/servers/{queued}")).await.status, 204);
    assert_eq!(world.delete(&format!("/servers/{running}")).await.status, 204);
    assert_eq!(world.living_jobs(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_others_delete_is_noticed() {
    let world = World::on_any_pbs(Setup::default()).await;
    let id = world.created("alice", "small").await;
    let view = world.until_state(&id, "running").await;
    world.delete_job("alice", view["job"].as_str().unwrap());
    let view = world.until_state(&id, "gone").await;
    assert_eq!((&view["failed"], &view["failure"]), (&json!(true), &json!("job_ended")));

    let id = world.created("bob", "stuck").await;
    let view = world.until_state(&id, "queued").await;
    world.delete_job("bob", view["job"].as_str().unwrap());
    world.until_state(&id, "gone").await;
}

#[tokio::test]
async fn a_server_that_does_not_come_up_says_why_within_seconds() {
    let world = World::on_any_pbs(Setup::default()).await;
    world.sign_in("alice").await;
    let ask = async |argv: Value| {
        let mut request = World::request("alice", json!({"profile": "small"}));
        request["argv"] = argv;
        let answer = world.post("/servers", request).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        world.until_state(&id, "gone").await
    };
    let program = "import os,sys\nprint('no module named x\\033[31m', os.environ['JUPYTERHUB_API_TOKEN'], file=sys.stderr)\nsys.exit(3)";
    let view = ask(json!(["python3", "-c", program])).await;
    assert_eq!((&view["failure"], &view["failed"]), (&json!("launch_failed"), &json!(true)), "{view}");
    let detail = view["detail"].as_str().unwrap();
    assert!(
        detail.contains("no module named x") && !detail.contains('\u{1b}') && !detail.contains(TOKEN),
        "{detail}"
    );
    let view = ask(json!(["no-such-program"])).await;
    assert!(view["detail"].as_str().unwrap().contains("cannot run no-such-program"), "{view}");

    let id = world.create("alice", "brief").await.json()["id"].as_str().unwrap().to_owned();
    let view = world.until_state(&id, "gone").await;
    assert!(view["message"].as_str().unwrap().contains("walltime") || view["failed"] == false, "{view}");
}

#[tokio::test]
async fn unknown_servers_are_unknown() {
    let world = World::on_any_pbs(Setup::default()).await;
    let id = "0".repeat(32);
    for path in [format!("/servers/{id}"), format!("/servers/{id}/events"), "/servers/..%2fx".to_owned()] {
        let answer = world.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "no_such_server"), "{path}");
        assert_eq!(world.delete(&format!("/servers/{id}")).await.status, 204);
    }
    let answer = world.get("/elsewhere").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    assert_eq!(world.post("/health", json!({})).await.code(), "wrong_method");
    let metrics = world.get("/metrics").await.text;
    assert!(metrics.contains("nuna_http_requests_total{listener=\"hub\",status=\"404\"}"), "{metrics}");
}
