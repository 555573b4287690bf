//! One suite that every `BatchSystem` passes: the fake, and the real driver against the embedded batch system.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Embedded, PATIENCE, user};
use nuna_pbs::fake::FakeBatch;
use nuna_pbs::{BatchSystem, Job, JobId, JobState, Presence, Rejection, StatusError, SubmitError};

/// How a test lets the world go on, which in the fake does not move by itself.
trait World {
    fn batch(&self) -> &dyn BatchSystem;
    /// A script that runs until `let_end`.
    fn script(&self, directives: &str) -> String;
    fn let_start(&self, id: &JobId);
    fn let_end(&self, id: &JobId, exit_status: i32);
    fn node(&self) -> &str {
        "node1"
    }
}

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

/// A PBS of the machine, with accounts `alice` and `bob`, one node, the queue `workq` and one called `stopped` that
/// starts nothing.
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

    fn node(&self) -> &str {
        &self.node
    }
}

async fn wait(world: &dyn World, id: &JobId, holds: impl Fn(&Job) -> bool) -> Job {
    let started = Instant::now();
    loop {
        let snapshot = world.batch().follow(std::slice::from_ref(id)).await.unwrap();
        if let Presence::Listed(job) = snapshot.presence(id)
            && holds(job)
        {
            return job.clone();
        }
        assert!(started.elapsed() < PATIENCE, "{id}: {:?}", snapshot.presence(id));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn contract(world: &dyn World) {
    let batch = world.batch();
    let [alice, bob] = ["alice", "bob"].map(user);

    // A job of its own accord.
    let id = batch.submit(&alice, &world.script("#PBS -N nuna-one\n#PBS -q workq")).await.unwrap();
    let job = wait(world, &id, |_| true).await;
    assert_eq!((job.name.as_str(), job.owner.as_str(), job.queue.as_str()), ("nuna-one", "alice", "workq"));
    world.let_start(&id);
    let job = wait(world, &id, |job| job.state == JobState::Running).await;
    assert_eq!(job.exec_host.as_deref(), Some(world.node()));
    assert!(job.start_time.is_some() && job.exit_status.is_none() && job.comment.is_some());
    world.let_end(&id, 3);
    let job = wait(world, &id, |job| job.state.is_over()).await;
    assert_eq!((job.exit_status, job.exec_host.as_deref()), (Some(3), Some(world.node())));
    // It is history now; deleting it is no error, twice.
    batch.delete(&alice, &id).await.unwrap();
    batch.delete(&alice, &id).await.unwrap();

    // A running job deleted.
    let id = batch.submit(&bob, &world.script("#PBS -N nuna-two")).await.unwrap();
    world.let_start(&id);
    wait(world, &id, |job| job.state == JobState::Running).await;
    assert!(batch.delete(&alice, &id).await.is_err(), "a job of somebody else");
    batch.delete(&bob, &id).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_over()).await;
    assert_eq!(job.exit_status, Some(271));
    assert!(job.comment.unwrap().contains("terminated by bob@"));

    // A queued job deleted never ran.
    let id = batch.submit(&alice, &world.script("#PBS -q stopped")).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_pending()).await;
    assert_eq!(job.queue, "stopped");
    assert_eq!(batch.jobs().await.unwrap().position(&id).unwrap().ahead, 0);
    batch.delete(&alice, &id).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_over()).await;
    assert_eq!((job.exit_status, job.start_time), (None, None));

    // A job nobody knows.
    let stranger: JobId = format!("999999.{}", id.as_str().split_once('.').unwrap().1).parse().unwrap();
    let followed = [stranger.clone(), id.clone()];
    let snapshot = batch.follow(&followed).await.unwrap();
    assert_eq!(snapshot.presence(&stranger), Presence::Absent);
    assert!(matches!(snapshot.presence(&id), Presence::Listed(job) if job.state.is_over()));
    let living = batch.jobs().await.unwrap();
    assert_eq!(living.presence(&id), Presence::Absent, "history is for those who ask for it by name");
    batch.delete(&alice, &stranger).await.unwrap();
}

/// Waits for a job of an array.
async fn wait_in(world: &dyn World, id: &JobId, holds: impl Fn(&Job) -> bool) -> Job {
    let array = id.array().unwrap();
    let started = Instant::now();
    loop {
        let snapshot = world.batch().sub_jobs(std::slice::from_ref(&array)).await.unwrap();
        assert!(snapshot.complete && matches!(snapshot.presence(&array), Presence::Listed(_)));
        if let Presence::Listed(job) = snapshot.presence(id)
            && holds(job)
        {
            return job.clone();
        }
        assert!(started.elapsed() < PATIENCE, "{id}: {:?}", snapshot.presence(id));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn contract_of_arrays(world: &dyn World) {
    let batch = world.batch();
    let alice = user("alice");

    // While none has begun, the array's own record says all.
    let id =
        batch.submit(&alice, &world.script("#PBS -N nuna-many\n#PBS -J 1-3\n#PBS -q stopped")).await.unwrap();
    assert!(id.is_array(), "{id}");
    let array = wait(world, &id, |_| true).await;
    assert_eq!((array.name.as_str(), array.state), ("nuna-many", JobState::Queued));
    let waiting: Vec<JobId> = array.untouched().unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(waiting, [1, 2, 3].map(|index| id.sub_job(index)));
    batch.delete_all(&alice, &waiting).await.unwrap();
    assert!(wait(world, &id, |array| array.state.is_over()).await.untouched().is_none());
    // It is history now; deleting it is no error, nor is deleting one of its jobs.
    batch.delete(&alice, &id).await.unwrap();
    batch.delete_all(&alice, &waiting).await.unwrap();

    let id = batch.submit(&alice, &world.script("#PBS -J 0-4:2\n#PBS -q workq")).await.unwrap();
    let [first, second, third] = [0, 2, 4].map(|index| id.sub_job(index));
    [&first, &second].into_iter().for_each(|id| world.let_start(id));
    wait_in(world, &second, |job| job.state == JobState::Running).await;
    let job = wait_in(world, &first, |job| job.state == JobState::Running).await;
    assert_eq!((job.owner.as_str(), job.exec_host.as_deref()), ("alice", Some(world.node())));
    let snapshot = batch.jobs().await.unwrap();
    let Presence::Listed(array) = snapshot.presence(&id) else { panic!("the array is not listed") };
    assert_eq!((array.state, array.untouched()), (JobState::Begun, None));
    assert!(snapshot.jobs.keys().all(|id| id.index().is_none()), "jobs of arrays are for those who ask");
    // One that waits is over at once, one that runs ends, the third goes its way.
    batch.delete_all(&alice, &[third.clone(), first.clone()]).await.unwrap();
    assert_eq!(wait_in(world, &first, |job| job.state.is_over()).await.exit_status, Some(271));
    let job = wait_in(world, &third, |job| job.state.is_over()).await;
    assert_eq!((job.exit_status, job.exec_host), (None, None));
    batch.delete(&alice, &third).await.unwrap();
    world.let_end(&second, 4);
    assert_eq!(wait_in(world, &second, |job| job.state.is_over()).await.exit_status, Some(4));
    assert!(wait(world, &id, |array| array.state.is_over()).await.array.is_some());
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

/// As root, after `nuna-submit` was set up for this PBS; see the environment variables.
#[tokio::test]
#[ignore = "needs a PBS: NUNA_PBS_BIN (folder of its commands), NUNA_PBS_NODE (its node), NUNA_SUBMIT (the helper)"]
async fn the_driver_keeps_the_contract_on_a_real_pbs() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let folder = std::path::PathBuf::from(variable("NUNA_PBS_BIN"));
    let commands = nuna_pbs::Commands {
        qsub: folder.join("qsub"),
        qstat: folder.join("qstat"),
        qdel: folder.join("qdel"),
        run_as: nuna_pbs::RunAs::Helper { argv: vec![variable("NUNA_SUBMIT")] },
        ..nuna_pbs::Commands::default()
    };
    let facts = commands.server().await.unwrap();
    assert!(facts.job_history && facts.query_other_jobs, "{facts:?}");
    let shared = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap();
    let world = RealWorld { commands, folder: shared, node: variable("NUNA_PBS_NODE") };
    contract(&world).await;
    contract_of_arrays(&world).await;
}

#[tokio::test]
async fn the_embedded_batch_system_rejects_as_pbs_does() {
    let batch = Embedded::start().await;
    let commands = batch.commands();
    for (directive, kind, code) in [
        ("-q nosuch", Rejection::UnknownQueue, 170),
        ("-q closed", Rejection::QueueDisabled, 173),
        ("-q vip", Rejection::NotAllowed, 159),
        ("-l walltime=99:00:00", Rejection::OverLimit, 188),
        ("-l select=1:bogus=1", Rejection::UnknownResource, 187),
        ("-J 1-10001", Rejection::OverLimit, 3),
    ] {
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
