//! The suite that every `BatchSystem` passes, for those of PBS: the fake, and the real driver against the embedded batch
//! system or a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
mod suite;

use std::time::Duration;

use common::{Embedded, user};
use nuna_pbs::fake::FakeBatch;
use nuna_pbs::{BatchSystem, JobId, JobState, Presence, Rejection, StatusError, SubmitError};
use suite::{World, contract, contract_of_arrays};

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
