//! The suite that every `BatchSystem` passes, for those of PBS: the fake, and the real driver against the embedded batch
//! system or a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
mod suite;

use std::time::Duration;

use common::{Embedded, user};
use nuna_pbs::fake::FakeBatch;
use nuna_pbs::{BatchSystem, DeleteError, JobId, JobState, Presence, Rejection, StatusError, SubmitError};
use suite::{World, contract, contract_of_arrays, wait};

struct FakeWorld(FakeBatch);

impl World for FakeWorld {
    fn batch(&self) -> &dyn BatchSystem {
        &self.0
    }

    fn script(&self, directives: &str) -> String {
        format!("#!/bin/sh\n{directives}\n")
    }

    fn let_start(&self, id: &JobId) {
        self.0.start(id, "node1");
    }

    fn let_end(&self, id: &JobId, exit_status: i32) {
        self.0.finish(id, exit_status, "Job run at … and finished");
    }
}

struct EmbeddedWorld {
    batch: Embedded,
    commands: nuna_pbs::Commands,
}

impl World for EmbeddedWorld {
    fn batch(&self) -> &dyn BatchSystem {
        &self.commands
    }

    fn script(&self, directives: &str) -> String {
        let home = self.batch.path("home");
        format!(
            "#!/bin/sh\n{directives}\nend={}/end.$PBS_JOBID\nuntil [ -s $end ]; do sleep 0.02; done\nexit $(cat $end)\n",
            home.display()
        )
    }

    fn let_start(&self, _: &JobId) {}

    fn let_end(&self, id: &JobId, exit_status: i32) {
        let end = self.batch.path(&format!("home/end.{id}"));
        std::fs::write(end, exit_status.to_string()).unwrap();
    }
}

/// A PBS of the machine, with accounts `alice` and `bob`, one node of 2 cores, and the queues of the embedded one (`workq`
/// of an hour at most, `closed`, `stopped`, `vip` for `bob`): `NUNA_TEST_PBS` names the folder of its commands,
/// `NUNA_TEST_PBS_NODE` the node where that is not the server, and `NUNA_TEST_PBS_RUN_AS` the helper.
struct RealWorld {
    commands: nuna_pbs::Commands,
    /// Everybody may read it and only root write.
    folder: tempfile::TempDir,
    node: String,
}

impl World for RealWorld {
    fn batch(&self) -> &dyn BatchSystem {
        &self.commands
    }

    fn script(&self, directives: &str) -> String {
        let folder = self.folder.path().display();
        format!(
            "#!/bin/sh\n{directives}\nend={folder}/end.$PBS_JOBID\nuntil [ -s $end ]; do sleep 0.1; done\nexit $(cat $end)\n"
        )
    }

    fn let_start(&self, _: &JobId) {}

    fn let_end(&self, id: &JobId, exit_status: i32) {
        std::fs::write(self.folder.path().join(format!("end.{id}")), exit_status.to_string()).unwrap();
    }

    /// The second if what the shell runs is killed first, and the shell lives to tell.
    fn deletion_statuses(&self) -> &[i32] {
        &[271, 143]
    }

    fn node(&self) -> &str {
        &self.node
    }
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    contract(&FakeWorld(FakeBatch::new())).await;
    contract_of_arrays(&FakeWorld(FakeBatch::new())).await;
}

#[tokio::test]
async fn the_driver_keeps_the_contract_on_the_embedded_batch_system() {
    let batch = Embedded::start().await;
    let commands = batch.commands();
    let world = EmbeddedWorld { batch, commands };
    contract(&world).await;
    contract_of_arrays(&world).await;
}

impl RealWorld {
    /// What `NUNA_TEST_PBS` names; without it nothing, and a line that says so.
    async fn of_the_environment() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(folder) = variable("NUNA_TEST_PBS").map(std::path::PathBuf::from) else {
            eprintln!("skipped: NUNA_TEST_PBS does not name the folder of a real PBS's commands");
            return None;
        };
        let helper =
            variable("NUNA_TEST_PBS_RUN_AS").unwrap_or_else(|| "sudo -n /usr/libexec/nuna-submit".to_owned());
        let commands = nuna_pbs::Commands {
            qsub: folder.join("qsub"),
            qstat: folder.join("qstat"),
            qdel: folder.join("qdel"),
            run_as: nuna_pbs::RunAs::Helper { argv: helper.split_whitespace().map(str::to_owned).collect() },
            ..nuna_pbs::Commands::default()
        };
        let facts = commands.server().await.unwrap();
        assert!(facts.job_history && facts.query_other_jobs, "{facts:?}");
        let shared = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let node = variable("NUNA_TEST_PBS_NODE").unwrap_or_else(|| facts.name.clone());
        Some(Self { commands, folder: shared, node })
    }

    async fn submit(&self, name: &str, directives: &str) -> Result<JobId, SubmitError> {
        self.commands.submit(&user(name), &self.script(directives)).await
    }
}

#[tokio::test]
async fn the_driver_keeps_the_contract_on_a_real_pbs() {
    let Some(world) = RealWorld::of_the_environment().await else { return };
    contract(&world).await;
    contract_of_arrays(&world).await;
    assert!(world.commands.sees_all_jobs().await.unwrap());
}

#[tokio::test]
async fn a_real_pbs_rejects_as_the_embedded_one_does() {
    let Some(world) = RealWorld::of_the_environment().await else { return };
    for (directive, kind, code) in REJECTIONS {
        match world.submit("alice", &format!("#PBS {directive}")).await.unwrap_err() {
            SubmitError::Rejected { exit_code, kind: found, words } => {
                assert_eq!((exit_code, found), (code, kind), "{directive}: {words}");
            }
            other => panic!("{directive}: {other:?}"),
        }
    }
    let error = world.submit("root", "").await.unwrap_err();
    assert!(matches!(&error, SubmitError::NotRun { message } if message.contains("uid 0")), "{error:?}");
    let queues = world.commands.queues().await.unwrap();
    assert_eq!(queues.default.as_deref(), Some("workq"));
    let (closed, stopped) = (&queues.queues["closed"], &queues.queues["stopped"]);
    assert!(!closed.enabled && closed.started && stopped.enabled && !stopped.started);
    assert_eq!(queues.queues["vip"].users.as_deref(), Some(&["bob".to_owned()][..]));
    assert_eq!(queues.queues["workq"].walltime_max, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_real_pbs_says_why_a_job_waits() {
    let Some(world) = RealWorld::of_the_environment().await else { return };
    let held = world.submit("alice", "#PBS -h").await.unwrap();
    wait(&world, &held, |job| job.state == JobState::Held && !job.never_runs).await;
    let later = world.submit("bob", "#PBS -a 12312359").await.unwrap();
    wait(&world, &later, |job| job.state == JobState::Waiting).await;
    let greedy = world.submit("alice", "#PBS -l select=1:ncpus=64").await.unwrap();
    let job = wait(&world, &greedy, |job| job.never_runs).await;
    assert_eq!(job.state, JobState::Queued, "{job:?}");
    let stopped = world.submit("alice", "#PBS -q stopped").await.unwrap();
    wait(&world, &stopped, |job| job.comment.as_deref().is_some_and(|words| words.contains("not started")))
        .await;
    for (name, id) in [("alice", held), ("bob", later), ("alice", greedy), ("alice", stopped)] {
        world.commands.delete(&user(name), &id).await.unwrap();
        wait(&world, &id, |job| job.state.is_over()).await;
    }
}

/// More jobs at once than one `qdel` or helper takes, deleted while some start.
#[tokio::test]
async fn many_jobs_of_a_real_pbs_are_deleted_while_they_start() {
    let Some(world) = RealWorld::of_the_environment().await else { return };
    let mut ids = Vec::new();
    for _ in 0..70 {
        ids.push(world.submit("alice", "#PBS -l select=1:ncpus=1").await.unwrap());
    }
    world.commands.delete_all(&user("alice"), &ids).await.unwrap();
    for id in &ids {
        wait(&world, id, |job| job.state.is_over()).await;
    }
    world.commands.delete_all(&user("alice"), &ids).await.unwrap();
}

/// `NUNA_TEST_PBS_STOP` ends the server and leaves jobs running (`qterm -t quick`), `NUNA_TEST_PBS_START` starts it.
#[tokio::test]
async fn a_real_pbs_that_is_away_leaves_jobs_unknown_and_they_go_on() {
    let Some(world) = RealWorld::of_the_environment().await else { return };
    let lines = ["NUNA_TEST_PBS_STOP", "NUNA_TEST_PBS_START"].map(std::env::var);
    let [Ok(stop), Ok(start)] = lines else {
        eprintln!(
            "skipped: NUNA_TEST_PBS_STOP and NUNA_TEST_PBS_START do not say how to end and start the server"
        );
        return;
    };
    let tell = |line: &str| {
        let done = std::process::Command::new("sh").args(["-c", line]).status().unwrap();
        assert!(done.success(), "{line}");
    };
    let id = world.submit("alice", "#PBS -N through\n#PBS -r n").await.unwrap();
    wait(&world, &id, |job| job.state == JobState::Running).await;
    // One that the node has not confirmed yet (substate 41) is queued anew by a server that is restarted.
    tokio::time::sleep(Duration::from_secs(8)).await;
    tell(&stop);
    let error = world.commands.jobs().await.unwrap_err();
    assert!(matches!(error, StatusError::Unreachable { .. }), "{error:?}");
    let error = world.submit("alice", "").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unreachable { .. }), "{error:?}");
    let error = world.commands.delete(&user("alice"), &id).await.unwrap_err();
    assert!(matches!(error, DeleteError::Unreachable { .. }), "{error:?}");
    tell(&start);
    let started = std::time::Instant::now();
    while world.commands.jobs().await.is_err() {
        assert!(started.elapsed() < common::PATIENCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Nobody is told of an end that was none, from the first answer on.
    for _ in 0..50 {
        let snapshot = world.commands.follow(std::slice::from_ref(&id)).await.unwrap();
        let presence = snapshot.presence(&id);
        assert!(matches!(presence, Presence::Listed(job) if job.state == JobState::Running), "{presence:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.let_end(&id, 5);
    assert_eq!(wait(&world, &id, |job| job.state.is_over()).await.exit_status, Some(5));
}

/// What no queue of either takes.
const REJECTIONS: [(&str, Rejection, i32); 6] = [
    ("-q nosuch", Rejection::UnknownQueue, 170),
    ("-q closed", Rejection::QueueDisabled, 173),
    ("-q vip", Rejection::NotAllowed, 159),
    ("-l walltime=99:00:00", Rejection::OverLimit, 188),
    ("-l select=1:bogus=1", Rejection::UnknownResource, 187),
    ("-J 1-10001", Rejection::OverLimit, 3),
];

#[tokio::test]
async fn the_embedded_batch_system_rejects_as_pbs_does() {
    let batch = Embedded::start().await;
    let commands = batch.commands();
    for (directive, kind, code) in REJECTIONS {
        let error = commands.submit(&user("alice"), &format!("#PBS {directive}\ntrue\n")).await.unwrap_err();
        match error {
            SubmitError::Rejected { exit_code, kind: found, words } => {
                assert_eq!((exit_code, found), (code, kind), "{directive}: {words}");
            }
            other => panic!("{directive}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dead_server_is_unreachable_not_empty() {
    let mut batch = Embedded::start().await;
    let commands = batch.commands();
    commands.submit(&user("alice"), "sleep 1\n").await.unwrap();
    batch.cut_power();
    assert!(matches!(commands.jobs().await.unwrap_err(), StatusError::Unreachable { .. }));
    let error = commands.submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unreachable { .. }), "{error:?}");
}

/// What the fake offers beyond the contract: trouble on demand.
#[tokio::test]
async fn the_fake_makes_trouble_when_told() {
    let batch = FakeBatch::new();
    batch.refuse_next(SubmitError::Failed { message: "no".to_owned() });
    assert!(batch.submit(&user("alice"), "true").await.is_err());
    let id = batch.submit(&user("alice"), "true").await.unwrap();
    batch.set_deaf(true);
    batch.delete(&user("alice"), &id).await.unwrap();
    assert!(
        matches!(batch.jobs().await.unwrap().presence(&id), Presence::Listed(job) if job.state == JobState::Queued)
    );
    batch.forget(&id);
    batch.set_holes(true);
    assert_eq!(batch.jobs().await.unwrap().presence(&id), Presence::Unknown);
    batch.set_status_trouble(Some(StatusError::TimedOut { limit: Duration::from_secs(1) }));
    assert!(batch.jobs().await.is_err());
    assert_eq!((batch.submissions().len(), batch.deletions().len()), (1, 1));
}
