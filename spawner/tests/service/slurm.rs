//! The same service on Slurm: the packages' own controller and daemon, jobs in people's names, real launchers.

use std::process::Command;

use serde_json::json;

use crate::common::{Setup, TOKEN, World, launcher_for_everybody, program};
use crate::room::Slurm;

/// Nothing where the machine can have no Slurm; the reason is printed.
async fn world() -> Option<(World, Slurm)> {
    let room = Slurm::start().await?;
    let launcher = launcher_for_everybody(room.folder.path());
    let submit = "sbatch = '/usr/bin/sbatch'\nscancel = '/usr/bin/scancel'\n";
    std::fs::write(room.path("etc/nuna/submit.toml"), submit).unwrap();
    let mut helper = room.entrance();
    helper.push(program("nuna-submit", "nuna-submit").display().to_string());
    let bin = room.path("bin");
    let bin = bin.display();
    let batch = format!(
        "[batch]\nsystem = \"slurm\"\nsbatch = \"{bin}/sbatch\"\nsqueue = \"{bin}/squeue\"\n\
         scancel = \"{bin}/scancel\"\nscontrol = \"{bin}/scontrol\"\nrun_as = {helper:?}\ninterval_seconds = 0.2\n\
         [launcher]\nprogram = \"{}\"\npath = \"/usr/bin:/bin\"\n",
        launcher.display()
    );
    Some((World::with(Setup { batch: Some(batch), ..Setup::default() }).await, room))
}

/// Jobs that are not over, as `OWNER STATE PARTITION`.
fn living(room: &Slurm) -> Vec<String> {
    let output = room.run(&["squeue", "--all", "--noheader", "-o", "%u %T %P"]);
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_server_on_slurm_runs_survives_service_and_controller_and_stops() {
    let Some((mut world, mut room)) = world().await else { return };
    let running = world.created("alice", "small").await;
    let before = world.until_state(&running, "running").await;
    let (host, port) = (before["address"]["host"].as_str().unwrap(), &before["address"]["port"]);
    assert_eq!(world.fetch(&format!("http://{host}:{port}/")).await.text, TOKEN, "it got its environment");
    let queued = world.created("bob", "stuck").await;
    let view = world.until(&queued, |view| view["message"].as_str().unwrap().contains("Slurm: ")).await;
    assert_eq!(view["state"], "queued", "{view}");
    assert!(view["message"].as_str().unwrap().contains("PartitionDown"), "{view}");
    assert_eq!(living(&room), ["alice RUNNING workq", "bob PENDING stuck"]);

    world.kill("service");
    world.start_service().await;
    let view = world.until(&running, |view| view["poll"] == "alive").await;
    for key in ["state", "job", "address"] {
        assert_eq!(view[key], before[key], "{key}");
    }

    room.tell("stop");
    let view = world.until(&running, |view| view["poll"] == "unknown").await;
    assert_eq!(view["state"], "running", "{view}");
    assert!(view["message"].as_str().unwrap().starts_with("Slurm does not answer"), "{view}");
    world.sign_in("carol").await;
    let answer = world.create("carol", "small").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "pbs_unreachable"), "{}", answer.text);
    room.tell("start");
    for id in [&running, &queued] {
        world.until(id, |view| view["poll"] == "alive").await;
    }
    assert_eq!(living(&room), ["alice RUNNING workq", "bob PENDING stuck"]);
    assert_eq!(world.fetch(&format!("http://{host}:{port}/")).await.text, TOKEN);

    for id in [&queued, &running] {
        assert_eq!(world.delete(&format!("/servers/{id}")).await.status, 204);
        let view = world.server(id).await;
        assert_eq!((&view["state"], &view["failed"]), (&json!("gone"), &json!(false)), "{view}");
    }
    assert_eq!(living(&room), [""; 0]);
    // What the launcher printed is the person's own, in their home.
    let home = std::fs::read_dir(room.path("homes/alice")).unwrap();
    let names: Vec<String> =
        home.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with("nuna-") && name.contains(".o")), "{names:?}");
}

#[tokio::test]
async fn slurm_s_own_words_and_ends_reach_who_asked() {
    let Some((world, room)) = world().await else { return };
    world.sign_in("alice").await;
    for (profile, words) in [
        ("greedy", "Invalid partition name"),
        ("closed", "Required partition not available"),
        ("vip", "not permitted to use this partition"),
    ] {
        let answer = world.create("alice", profile).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "pbs_rejected"),
            "{profile}: {}",
            answer.text
        );
        assert!(answer.message().contains(words), "{profile}: {}", answer.message());
        assert!(!answer.message().contains("PBS"), "{profile}: {}", answer.message());
    }
    let id = world.created("alice", "small").await;
    let view = world.until_state(&id, "running").await;
    assert!(room.run(&["scancel", view["job"].as_str().unwrap()]).status.success());
    let view = world.until_state(&id, "gone").await;
    assert_eq!((&view["failed"], &view["failure"]), (&json!(true), &json!("job_ended")));
    assert!(view["message"].as_str().unwrap().contains("Slurm: CANCELLED"), "{view}");

    let mut request = World::request("alice", json!({"profile": "small"}));
    request["argv"] =
        json!(["python3", "-c", "import sys\nprint('no module named x', file=sys.stderr)\nsys.exit(3)"]);
    let answer = world.post("/servers", request).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let view = world.until_state(&id, "gone").await;
    assert_eq!(view["failure"], json!("launch_failed"), "{view}");
    assert!(view["detail"].as_str().unwrap().contains("no module named x"), "{view}");
}

#[tokio::test]
async fn check_proves_a_configuration_against_slurm() {
    let Some((world, _room)) = world().await else { return };
    let check = |name: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_nuna-spawner"))
            .args(["check", "--config", world.path(name).to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_good, text) = check("spawner.toml");
    for line in [
        "good   batch: Slurm's cluster nuna answers",
        "good   batch.run_as: this account may call the helper, nuna-submit",
        "good   batch.squeue: Slurm lists",
        "notice batch: Slurm takes jobs that a partition never runs",
        "notice profiles.closed.queue: closed takes no jobs at the moment",
        "WRONG  profiles.greedy.queue: Slurm has no \"tiny\"; it has closed, ",
        "WRONG  profiles.small: 02:00:00 is more than the 01:00:00 that workq allows",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!is_good && !text.contains("batch.qstat"), "{text}");

    let config = std::fs::read_to_string(world.path("spawner.toml")).unwrap();
    for (from, to, words) in [
        (
            "interval_seconds",
            "qsub = \"/usr/bin/qsub\"\ninterval_seconds",
            "batch.qsub: Slurm has no such command",
        ),
        ("walltime = \"01:00:00\"", "walltime = \"01:00:00\"\nplace = \"excl\"", "profiles.small.place"),
        ("walltime = \"01:00:00\"", "walltime = \"01:00:00\"\nproject = \"p\"", "Slurm has no projects"),
        ("select = \"1:ncpus=1:mem=1gb\"", "select = \"1:ncpus=1+1:ncpus=2\"", "joins different chunks"),
    ] {
        std::fs::write(world.path("faulty.toml"), config.replace(from, to)).unwrap();
        let (is_good, text) = check("faulty.toml");
        assert!(!is_good && text.contains(words), "{words} in {text}");
    }
}
