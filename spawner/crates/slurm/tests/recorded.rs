//! What a real Slurm printed (22.05.8 of Debian 12), read by the driver through commands that print it again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nuna_pbs::{
    BatchSystem, Caller, DeleteError, JobId, JobState, Presence, Rejection, RunAs, StatusError, SubmitError,
    UserName,
};
use nuna_slurm::Commands;

/// Commands that answer as the samples say; `@MARK@` becomes the mark of the query.
struct Recorded {
    folder: tempfile::TempDir,
}

impl Recorded {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn answer(&self, command: &str, sample: &str) -> &Self {
        let path = format!("{}/tests/samples/{sample}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (_, rest) = text.split_once("\n--- exit ").unwrap();
        let (code, rest) = rest.split_once("\n--- stdout\n").unwrap();
        let (stdout, stderr) = rest.split_once("--- stderr\n").unwrap();
        self.script(command, stdout, stderr, code)
    }

    fn script(&self, command: &str, stdout: &str, stderr: &str, code: &str) -> &Self {
        let [out, err] = [("out", stdout), ("err", stderr)].map(|(kind, text)| {
            let path = self.path(&format!("{command}.{kind}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        });
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\nmark=$(printf %s \"$last\" | sed 's/,.*//; s/^JobID://')\n\
             sed \"s/@MARK@/$mark/g\" '{out}'\ncat '{err}' >&2\nexit {code}\n"
        );
        // Written elsewhere first: a file open for writing cannot be executed, and tests fork all the time.
        let fresh = self.path("fresh");
        std::fs::write(&fresh, script).unwrap();
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(fresh, self.path(command)).unwrap();
        self
    }

    fn commands(&self) -> Commands {
        Commands {
            sbatch: self.path("sbatch"),
            squeue: self.path("squeue"),
            scancel: self.path("scancel"),
            scontrol: self.path("scontrol"),
            caller: Caller {
                run_as: RunAs::Myself,
                environment: std::collections::BTreeMap::new(),
                timeout: Duration::from_secs(60),
            },
        }
    }
}

fn alice() -> UserName {
    "alice".parse().unwrap()
}

fn id(text: &str) -> JobId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_list_of_everything_is_read() {
    let recorded = Recorded::new();
    let commands = recorded.answer("squeue", "squeue-all").commands();
    let snapshot = commands.jobs().await.unwrap();
    assert!(snapshot.complete);
    use JobState::{Begun, Finished, Held, Queued, Suspended, Waiting};
    for (number, state, exit_status, comment) in [
        ("24", Queued, None, "PartitionTimeLimit"),
        ("25", Finished, Some(-29), "TIMEOUT (TimeLimit)"),
        ("27", Finished, Some(3), "FAILED (NonZeroExitCode)"),
        ("28", Finished, Some(265), "FAILED (JobLaunchFailure)"),
        ("29", Finished, Some(0), "COMPLETED"),
        ("30", Finished, Some(271), "CANCELLED"),
        ("31", Suspended, None, "SUSPENDED"),
        ("32", Waiting, None, "BeginTime"),
        ("33", Held, None, "JobHeldUser"),
        ("34[]", Begun, None, "JobArrayTaskLimit"),
        ("35", Queued, None, "PartitionDown"),
    ] {
        let Presence::Listed(job) = snapshot.presence(&id(number)) else { panic!("{number} is not listed") };
        assert_eq!((job.state, job.exit_status), (state, exit_status), "{number}");
        assert_eq!(job.comment.as_deref(), Some(comment), "{number}");
        assert_eq!(job.never_runs, number == "24", "{number}");
    }
    assert_eq!(snapshot.jobs.len(), 11, "jobs of the array are for those who ask, and nobody forged one");
    assert_eq!(snapshot.presence(&id("5")), Presence::Absent);
    assert_eq!(snapshot.jobs[&id("35")].name, "evil 5|x|COMPLETED");
    let later = &snapshot.jobs[&id("32")];
    assert_eq!((later.estimated_start, later.start_time), (Some(1_795_370_013), None));
    assert_eq!(snapshot.jobs[&id("24")].walltime, Some(Duration::from_secs(4 * 86_400 + 3 * 3600)));

    let jobs = commands.sub_jobs(&[id("34[]")]).await.unwrap().jobs;
    let states: Vec<_> = jobs.iter().map(|(id, job)| (id.as_str(), job.state.is_pending())).collect();
    let expected = [("34[]", false), ("34[1]", false), ("34[3]", false), ("34[5]", true), ("34[7]", true)];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn refusals_have_kinds_and_keep_slurm_s_words() {
    for (sample, kind, words) in [
        ("sbatch-bad-partition", Rejection::UnknownQueue, "invalid partition specified: nosuch"),
        ("sbatch-drained", Rejection::QueueDisabled, "Required partition not available (inactive or drain)"),
        ("sbatch-group", Rejection::NotAllowed, "User's group not permitted to use this partition"),
        ("sbatch-feature", Rejection::UnknownResource, "Invalid feature specification"),
        ("sbatch-no-script", Rejection::Other, "This does not look like a batch script"),
    ] {
        let recorded = Recorded::new();
        let commands = recorded.answer("sbatch", sample).commands();
        match commands.submit(&alice(), "#!/bin/sh\n").await.unwrap_err() {
            SubmitError::Rejected { exit_code: 1, words: told, kind: found } => {
                assert_eq!(found, kind, "{sample}");
                assert!(told.contains(words) && !told.contains("sbatch: error"), "{sample}: {told}");
            }
            other => panic!("{sample}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn silence_is_never_taken_for_a_refusal_or_an_empty_list() {
    let recorded = Recorded::new();
    recorded.answer("sbatch", "sbatch-unreachable").answer("squeue", "squeue-unreachable");
    let commands = recorded.answer("scancel", "scancel-unreachable").commands();
    assert!(matches!(commands.submit(&alice(), "").await, Err(SubmitError::Unreachable { .. })));
    assert!(matches!(commands.jobs().await, Err(StatusError::Unreachable { .. })));
    assert!(matches!(commands.delete(&alice(), &id("1")).await, Err(DeleteError::Unreachable { .. })));
    recorded.answer("sbatch", "sbatch-silent");
    let error = commands.submit(&alice(), "").await.unwrap_err();
    assert!(matches!(&error, SubmitError::Failed { message } if message.contains("timed out")), "{error:?}");
    // A list that comes with a complaint may lack anything.
    recorded.script("squeue", "", "squeue: error: something is odd\n", "0");
    assert_eq!(commands.jobs().await.unwrap().presence(&id("1")), Presence::Unknown);
    recorded.script("squeue", "", "", "1");
    assert!(matches!(commands.jobs().await, Err(StatusError::Failed { .. })));
}

#[tokio::test]
async fn answers_of_sbatch_and_scancel_are_read() {
    let recorded = Recorded::new();
    let commands = recorded.answer("sbatch", "sbatch-ok").answer("scancel", "scancel-denied").commands();
    let job = commands.submit(&alice(), "#!/bin/sh\ntrue\n").await.unwrap();
    assert!(job.sequence() > 0 && !job.is_array());
    assert!(commands.submit(&alice(), "#!/bin/sh\n#SBATCH --array=1-3\n").await.unwrap().is_array());
    let error = commands.delete(&alice(), &job).await.unwrap_err();
    assert!(
        matches!(&error, DeleteError::Rejected { words, .. } if words.contains("Access/permission denied")),
        "{error:?}"
    );
    // With several clusters, the cluster's name follows.
    recorded.script("sbatch", "hello from the site\n77;east\n", "", "0");
    assert_eq!(commands.submit(&alice(), "").await.unwrap(), id("77"));
    recorded.script("sbatch", "no number\n", "", "0");
    assert!(matches!(commands.submit(&alice(), "").await, Err(SubmitError::Failed { .. })));
    let over = "scancel: error: Kill job error on job id 7: Invalid job id specified\n";
    recorded.script("scancel", "", over, "1");
    assert_eq!(commands.delete_all(&alice(), &[id("7"), id("8")]).await, Ok(()));
    recorded.script("scancel", "", "", "1");
    assert!(commands.delete(&alice(), &id("7")).await.is_err(), "it failed and does not say why");
}

#[tokio::test]
async fn settings_of_cluster_and_partitions_are_read() {
    let recorded = Recorded::new();
    let commands = recorded.answer("scontrol", "scontrol-config").commands();
    let facts = commands.cluster().await.unwrap();
    assert_eq!((facts.name.as_str(), facts.version.as_str()), ("nuna", "22.05.8"));
    assert_eq!((facts.memory, facts.enforces_limits), (Duration::from_secs(300), false));
    assert!(!facts.jobs_are_private && facts.array_size_max == Some(1000));
    recorded.script(
        "scontrol",
        "ClusterName = x\nPrivateData = accounts,jobs\nSlurmUser = slurm(64030)\n",
        "",
        "0",
    );
    let facts = commands.cluster().await.unwrap();
    assert!(facts.jobs_are_private && facts.slurm_user == "slurm");
    recorded.script("scontrol", "nothing\n", "", "0");
    assert!(matches!(commands.cluster().await, Err(StatusError::Unreadable { .. })));
}
