//! The suite of every `BatchSystem`, for Slurm: the controller and node daemon of the distribution's packages, and jobs in
//! the names of two people through `nuna-submit`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "../../pbs/tests/suite/mod.rs"]
mod suite;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{PATIENCE, Slurm};
use nuna_pbs::{
    BatchSystem, Caller, DeleteError, JobId, JobState, Presence, Rejection, RunAs, StatusError, SubmitError,
    UserName,
};
use nuna_slurm::Commands;
use suite::{Directive, World, contract, contract_of_arrays, wait};

struct SlurmWorld {
    slurm: Slurm,
    commands: Commands,
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// In `NUNA_BIN_DIR`, else where this test's own profile puts programs.
fn submit_program() -> PathBuf {
    let folder = std::env::var_os("NUNA_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    });
    let path = folder.join("nuna-submit");
    assert!(path.exists(), "{} is missing: run `cargo build -p nuna-submit` first", path.display());
    path
}

impl SlurmWorld {
    async fn start(enforces_limits: bool) -> Option<Self> {
        let slurm = Slurm::with(enforces_limits).await?;
        std::fs::write(
            slurm.path("etc/nuna/submit.toml"),
            "sbatch = '/usr/bin/sbatch'\nscancel = '/usr/bin/scancel'\n",
        )
        .unwrap();
        std::fs::create_dir(slurm.path("ends")).unwrap();
        let mut argv = slurm.entrance();
        argv.push(submit_program().display().to_string());
        let bin = slurm.path("bin");
        let commands = Commands {
            sbatch: bin.join("sbatch"),
            squeue: bin.join("squeue"),
            scancel: bin.join("scancel"),
            scontrol: bin.join("scontrol"),
            caller: Caller {
                run_as: RunAs::Helper { argv },
                environment: std::collections::BTreeMap::new(),
                timeout: PATIENCE,
            },
        };
        Some(Self { slurm, commands })
    }

    async fn submit(&self, name: &str, directives: &str) -> Result<JobId, SubmitError> {
        self.commands.submit(&user(name), &self.script(directives)).await
    }
}

impl World for SlurmWorld {
    fn batch(&self) -> &dyn BatchSystem {
        &self.commands
    }

    fn script(&self, directives: &str) -> String {
        let ends = self.slurm.path("ends");
        format!(
            "#!/bin/sh\n{directives}\n#SBATCH --output=/dev/null\nid=$SLURM_JOB_ID\n\
             [ -z \"$SLURM_ARRAY_TASK_ID\" ] || id=\"${{SLURM_ARRAY_JOB_ID}}[$SLURM_ARRAY_TASK_ID]\"\n\
             end=\"{}/end.$id\"\nuntil [ -s \"$end\" ]; do sleep 0.05; done\nexit $(cat \"$end\")\n",
            ends.display()
        )
    }

    fn directive(&self, what: Directive<'_>) -> String {
        match what {
            Directive::Name(name) => format!("#SBATCH --job-name={name}"),
            Directive::Queue(queue) => format!("#SBATCH --partition={queue}"),
            Directive::Array(indices) => format!("#SBATCH --array={indices}"),
        }
    }

    fn stranger(&self, _: &JobId) -> JobId {
        "999999".parse().unwrap()
    }

    fn lists_history(&self) -> bool {
        true
    }

    fn forgets_jobs_of_arrays(&self) -> bool {
        true
    }

    fn deletion_words(&self, _: &str) -> String {
        "CANCELLED".to_owned()
    }

    fn let_start(&self, _: &JobId) {}

    fn let_end(&self, id: &JobId, exit_status: i32) {
        let path = self.slurm.path("ends").join(format!("end.{id}"));
        std::fs::write(path, exit_status.to_string()).unwrap();
    }
}

#[tokio::test]
async fn the_driver_keeps_the_contract_on_slurm() {
    let Some(world) = SlurmWorld::start(false).await else { return };
    contract(&world).await;
    contract_of_arrays(&world).await;
    assert!(world.commands.sees_all_jobs().await.unwrap());
}

#[tokio::test]
async fn slurm_rejects_in_its_own_words_and_the_seam_s_kinds() {
    let Some(world) = SlurmWorld::start(true).await else { return };
    for (directive, kind, words) in [
        ("--partition=nosuch", Rejection::UnknownQueue, "Invalid partition name"),
        ("--partition=closed", Rejection::QueueDisabled, "Required partition not available"),
        ("--partition=vip", Rejection::NotAllowed, "group not permitted to use this partition"),
        ("--time=99:00:00", Rejection::OverLimit, "Requested time limit is invalid"),
        ("--mem=99G", Rejection::OverLimit, "Requested node configuration is not available"),
        ("--cpus-per-task=99", Rejection::OverLimit, ""),
        ("--gres=gpu:1", Rejection::UnknownResource, "Invalid generic resource"),
        ("--constraint=nosuch", Rejection::UnknownResource, "Invalid feature"),
        ("--array=1-5000", Rejection::OverLimit, "Invalid job array"),
        ("--nonsense", Rejection::Other, "unrecognized option"),
    ] {
        let error = world.submit("alice", &format!("#SBATCH {directive}")).await.unwrap_err();
        match error {
            SubmitError::Rejected { kind: found, words: told, .. } => {
                assert_eq!(found, kind, "{directive}: {told}");
                assert!(told.contains(words), "{directive}: {told}");
            }
            other => panic!("{directive}: {other:?}"),
        }
    }
    let error = world.commands.submit(&user("alice"), "no script\n").await.unwrap_err();
    assert!(matches!(&error, SubmitError::Rejected { words, .. } if words.contains("#!")), "{error:?}");
    // The helper's own refusals are the site's, not Slurm's.
    let error = world.submit("root", "").await.unwrap_err();
    assert!(matches!(&error, SubmitError::NotRun { message } if message.contains("uid 0")), "{error:?}");
    // Slurm may keep a record of what it refused, which never ran.
    let snapshot = world.commands.jobs().await.unwrap();
    assert!(
        snapshot.jobs.values().all(|job| job.state.is_over() && job.exit_status.is_none()),
        "{snapshot:?}"
    );
}

#[tokio::test]
async fn a_job_that_can_never_run_says_so_while_it_waits() {
    let Some(world) = SlurmWorld::start(false).await else { return };
    let id = world.submit("alice", "#SBATCH --time=99:00:00").await.unwrap();
    let job = wait(&world, &id, |job| job.never_runs).await;
    assert_eq!((job.state, job.comment.as_deref()), (JobState::Queued, Some("PartitionTimeLimit")));
    let held = world.submit("alice", "#SBATCH --hold").await.unwrap();
    wait(&world, &held, |job| job.state == JobState::Held && !job.never_runs).await;
    let later = world.submit("bob", "#SBATCH --begin=now+1hour").await.unwrap();
    let job = wait(&world, &later, |job| job.state == JobState::Waiting).await;
    assert!(job.estimated_start.is_some_and(|start| start > job.queued_at.unwrap() + 3000), "{job:?}");
}

#[tokio::test]
async fn what_people_call_their_jobs_hides_nobody_s() {
    let Some(world) = SlurmWorld::start(false).await else { return };
    let id = world.submit("alice", "#SBATCH --job-name=mine").await.unwrap();
    wait(&world, &id, |job| job.state == JobState::Running).await;
    let forged = format!("x\n{id} {id} N/A alice COMPLETED None workq node1 0 1 1 1 1:00 1:00 mine");
    let submitted = std::process::Command::new(&world.commands.sbatch)
        .args(["--parsable", "--partition=stopped", "--uid=bob", "--job-name", &forged, "--wrap=true"])
        .output()
        .unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    let snapshot = world.commands.jobs().await.unwrap();
    assert!(snapshot.complete && snapshot.jobs.len() == 2);
    assert!(
        matches!(snapshot.presence(&id), Presence::Listed(job) if job.state == JobState::Running && job.name == "mine")
    );
    let odd = snapshot.jobs.values().find(|job| job.id != id).unwrap();
    assert!(odd.name.starts_with("x ") && odd.name.contains("COMPLETED"), "{odd:?}");
}

#[tokio::test]
async fn a_controller_that_is_away_leaves_jobs_unknown_and_they_go_on() {
    let Some(mut world) = SlurmWorld::start(false).await else { return };
    let id = world.submit("alice", "#SBATCH --job-name=through").await.unwrap();
    wait(&world, &id, |job| job.state == JobState::Running).await;

    world.slurm.tell("stop");
    let begun = Instant::now();
    let error = world.commands.jobs().await.unwrap_err();
    assert!(matches!(error, StatusError::Unreachable { .. }), "{error:?}");
    let error = world.submit("alice", "").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unreachable { .. }), "{error:?}");
    let error = world.commands.delete(&user("alice"), &id).await.unwrap_err();
    assert!(matches!(error, DeleteError::Unreachable { .. }), "{error:?}");
    assert!(begun.elapsed() < 3 * PATIENCE, "{:?}", begun.elapsed());
    world.slurm.tell("start");
    let again = async || loop {
        match world.commands.jobs().await {
            Ok(snapshot) => break snapshot,
            Err(StatusError::Unreachable { .. }) if begun.elapsed() < 2 * PATIENCE => {}
            Err(error) => panic!("{error:?}"),
        }
    };
    let snapshot = again().await;
    let presence = snapshot.presence(&id);
    assert!(matches!(presence, Presence::Listed(job) if job.state == JobState::Running), "{presence:?}");
    assert!(snapshot.complete);

    // One that is only slow has taken the job that it did not confirm, so nobody may say there is none.
    world.slurm.tell("pause");
    let error = world.submit("alice", "#SBATCH --job-name=unsure").await.unwrap_err();
    assert!(matches!(error, SubmitError::Failed { .. } | SubmitError::TimedOut { .. }), "{error:?}");
    assert!(matches!(world.commands.jobs().await, Err(StatusError::Unreachable { .. })));
    world.slurm.tell("resume");
    let started = Instant::now();
    loop {
        let snapshot = again().await;
        if snapshot.jobs.values().any(|job| job.name == "unsure") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{snapshot:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.let_end(&id, 0);
    assert_eq!(wait(&world, &id, |job| job.state.is_over()).await.exit_status, Some(0));
}

#[tokio::test]
async fn cluster_and_partitions_are_told() {
    let Some(world) = SlurmWorld::start(true).await else { return };
    let facts = world.commands.cluster().await.unwrap();
    assert_eq!((facts.name.as_str(), facts.slurm_user.as_str()), ("nuna", "root"));
    assert!(facts.enforces_limits && !facts.jobs_are_private && facts.memory >= Duration::from_secs(60));
    assert!(facts.version.split('.').count() >= 3, "{}", facts.version);
    let queues = world.commands.queues().await.unwrap();
    let flags = |name: &str| (queues.queues[name].enabled, queues.queues[name].started);
    assert_eq!(queues.default.as_deref(), Some("workq"));
    assert_eq!(
        (flags("workq"), flags("closed"), flags("stopped")),
        ((true, true), (false, true), (true, false))
    );
    let workq = &queues.queues["workq"];
    assert_eq!(workq.walltime_max, Some(Duration::from_secs(3600)));
    assert_eq!(workq.walltime_default, Some(Duration::from_secs(1800)));
    assert_eq!((queues.queues["vip"].walltime_max, queues.array_size_max), (None, Some(1000)));
}
