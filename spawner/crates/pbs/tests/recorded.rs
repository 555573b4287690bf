//! The driver against what OpenPBS 23.06 really printed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::time::Duration;

use common::{Sample, Scripted, sample, user};
use nuna_pbs::{
    BatchSystem, DeleteError, Job, JobState, Presence, Rejection, Snapshot, StatusError, SubmitError,
};

async fn listed(name: &str) -> Snapshot {
    let pbs = Scripted::new();
    pbs.answer("qstat", &sample(name));
    pbs.commands().jobs().await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn job(name: &str) -> Job {
    let snapshot = listed(name).await;
    assert_eq!(snapshot.jobs.len(), 1, "{name}");
    assert!(snapshot.complete, "{name}");
    snapshot.jobs.into_values().next().unwrap()
}

#[tokio::test]
async fn every_state_is_read() {
    for (name, state, comment) in [
        (
            "qstat-json-Q-limit",
            JobState::Queued,
            "Not Running: User has reached queue short running job limit.",
        ),
        ("qstat-json-Q-queue-not-started", JobState::Queued, "Not Running: Queue not started."),
        (
            "qstat-json-Q-never",
            JobState::Queued,
            "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2 T: 2)",
        ),
        ("qstat-json-R", JobState::Running, "Job run at Fri Nov 20 at 23:53 on (node1:ncpus=1:mem=262144kb)"),
        ("qstat-json-E", JobState::Exiting, "Job run at"),
        (
            "qstat-json-F-exit3",
            JobState::Finished,
            "Job run at Fri Nov 20 at 23:54 on (node1:ncpus=1) and failed",
        ),
        ("qstat-json-H", JobState::Held, ""),
        ("qstat-json-W", JobState::Waiting, ""),
    ] {
        let job = job(name).await;
        assert_eq!(job.state, state, "{name}");
        assert!(job.comment.clone().unwrap_or_default().starts_with(comment), "{name}: {:?}", job.comment);
        assert_eq!(job.owner, "alice", "{name}");
        assert_eq!(job.never_runs, name.ends_with("never"), "{name}");
    }
}

#[tokio::test]
async fn ends_are_told_apart() {
    for (name, status) in [
        ("qstat-json-F-exit3", 3),
        ("qstat-json-F-badshebang", 127),
        ("qstat-json-F-sigkill", 137),
        ("qstat-json-F-qdel", 271),
        ("qstat-json-F-walltime", -29),
    ] {
        assert_eq!(job(name).await.exit_status, Some(status), "{name}");
    }
}

#[tokio::test]
async fn a_running_job_has_host_times_and_limits() {
    let snapshot = listed("qstat-json-R").await;
    assert_eq!(snapshot.server_time, Some(1_795_218_817));
    let job = snapshot.jobs.values().next().unwrap();
    // Fri Nov 20 23:53:37 2026, as the sample says, in UTC.
    assert_eq!(job.start_time, Some(1_795_218_817));
    assert_eq!((job.queued_at, job.eligible_since), (job.start_time, job.start_time));
    assert_eq!(job.walltime, Some(Duration::from_secs(300)));
    assert_eq!(job.exec_host.as_deref(), Some("node1"));
    assert_eq!((job.name.as_str(), job.queue.as_str()), ("jup-alice", "short"));
    assert_eq!(job.id.to_string(), "20.pbshead");
    let finished = listed("qstat-json-F-qdel").await.jobs.into_values().next().unwrap();
    assert_eq!(finished.walltime_used, Some(Duration::from_secs(11)));
}

/// stdout is read even though the exit status is 153; what is not listed stays open.
#[tokio::test]
async fn a_failed_query_still_tells_of_the_jobs_it_lists() {
    let snapshot = listed("qstat-mixed-known-unknown").await;
    assert!(matches!(snapshot.presence(&"21.pbshead".parse().unwrap()), Presence::Listed(_)));
    assert_eq!(snapshot.presence(&"20.pbshead".parse().unwrap()), Presence::Unknown);
}

#[tokio::test]
async fn separated_output_says_the_same_as_json() {
    let pbs = Scripted::new();
    pbs.answer("qstat.dsv", &sample("qstat-dsv-R"));
    let folder = pbs.folder.path().display();
    pbs.script(
        "qstat",
        &format!("case \"$*\" in *dsv*) exec '{folder}/qstat.dsv';; *) echo '{{\"Jobs\": {{';; esac"),
    );
    let snapshot = pbs.commands().jobs().await.unwrap();
    let json = job("qstat-json-R").await;
    assert_eq!(snapshot.jobs.into_values().next().unwrap(), json);
}

#[tokio::test]
async fn trouble_is_never_an_empty_list() {
    let pbs = Scripted::new();
    pbs.answer("qstat", &sample("qstat-unreachable-server"));
    let error = pbs.commands().jobs().await.unwrap_err();
    assert_eq!(
        error,
        StatusError::Unreachable {
            words: "Connection refused; cannot connect to server node1 (errno=15010)".to_owned()
        }
    );
    // In JSON it has a head all the same.
    pbs.answer("qstat", &sample("qstat-json-unreachable-server"));
    assert_eq!(pbs.commands().jobs().await.unwrap_err(), error);
    assert_eq!(pbs.commands().server().await.unwrap_err(), error);
    assert_eq!(pbs.commands().queues().await.unwrap_err(), error);
    // An answer without jobs is one only if the command calls it a success.
    pbs.answer("qstat", &sample("qstat-unknown"));
    assert!(
        matches!(pbs.commands().jobs().await.unwrap_err(), StatusError::Failed { message } if message.contains("153"))
    );
    let nothing = Sample { code: 0, ..sample("qstat-unknown") };
    pbs.answer("qstat", &Sample { stderr: String::new(), ..nothing });
    let snapshot = pbs.commands().jobs().await.unwrap();
    assert!(snapshot.complete && snapshot.jobs.is_empty());
    // Nor is one with a complaint, whatever the exit code.
    let complaint = "qstat: something new\n".to_owned();
    pbs.answer("qstat", &Sample { code: 0, stderr: complaint.clone(), ..sample("qstat-unknown") });
    assert!(
        matches!(pbs.commands().jobs().await.unwrap_err(), StatusError::Failed { message } if message.contains("something new"))
    );
    pbs.answer("qstat", &Sample { code: 0, stderr: complaint, ..sample("qstat-json-all") });
    let snapshot = pbs.commands().jobs().await.unwrap();
    assert!(
        !snapshot.complete && snapshot.jobs.len() == 1,
        "what it names is believed, what it leaves out is not"
    );
    // Cut off in the middle, in both formats.
    let whole = sample("qstat-json-all");
    let half = whole.stdout[..whole.stdout.len() / 2].to_owned();
    pbs.answer("qstat", &Sample { stdout: half, ..whole });
    assert!(matches!(pbs.commands().jobs().await.unwrap_err(), StatusError::Unreadable { .. }));
}

/// Without a `-x` and ids it answers as one sample says, with them as another.
fn with_history(now: &Sample, history: &Sample) -> Scripted {
    let pbs = Scripted::new();
    pbs.answer("qstat.now", now).answer("qstat.history", history);
    let folder = pbs.folder.path().display();
    pbs.script(
        "qstat",
        &format!(
            "echo \"$*\" >> '{folder}/asked'\n\
             case \"$1\" in -x) exec '{folder}/qstat.history';; *) exec '{folder}/qstat.now';; esac"
        ),
    );
    pbs
}

fn asked(pbs: &Scripted) -> Vec<String> {
    let text = std::fs::read_to_string(pbs.folder.path().join("asked")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn history_is_asked_for_by_name_and_only_of_jobs_that_are_missed() {
    let all = sample("qstat-json-all");
    let pbs = with_history(&all, &sample("qstat-json-F-exit3"));
    let there = listed("qstat-json-all").await.jobs.into_keys().next().unwrap();
    let ended = job("qstat-json-F-exit3").await.id;
    let snapshot = pbs.commands().follow(std::slice::from_ref(&there)).await.unwrap();
    assert!(snapshot.complete && snapshot.jobs.len() == 1);
    let snapshot = pbs.commands().follow(&[there.clone(), ended.clone()]).await.unwrap();
    assert!(snapshot.complete && snapshot.jobs.len() == 2);
    assert!(matches!(snapshot.presence(&ended), Presence::Listed(job) if job.exit_status == Some(3)));
    assert_eq!(
        asked(&pbs),
        ["-f -F json".to_owned(), "-f -F json".to_owned(), format!("-x -f -F json {ended}")]
    );
}

#[tokio::test]
async fn a_job_that_not_even_the_history_knows_is_absent_and_trouble_is_not_that() {
    let followed = ["999999.pbshead".parse().unwrap()];
    let pbs = with_history(&sample("qstat-json-all"), &sample("qstat-x-unknown"));
    let snapshot = pbs.commands().follow(&followed).await.unwrap();
    assert_eq!(snapshot.presence(&followed[0]), Presence::Absent);
    let unknown = sample("qstat-x-unknown");
    for (code, complaint) in
        [(153, "qstat: something new\n"), (0, "qstat: something new\n"), (153, ""), (1, "")]
    {
        let trouble = Sample { code, stderr: complaint.to_owned(), ..sample("qstat-x-unknown") };
        let pbs = with_history(&sample("qstat-json-all"), &trouble);
        assert!(pbs.commands().follow(&followed).await.is_err(), "{code} {complaint}");
    }
    let both = format!("{}qstat: something new\n", unknown.stderr);
    let pbs = with_history(&sample("qstat-json-all"), &Sample { stderr: both, ..unknown });
    assert!(pbs.commands().follow(&followed).await.is_err());
}

#[tokio::test]
async fn a_server_without_history_is_asked_for_what_it_has() {
    let pbs = with_history(&sample("qstat-x-unknown"), &sample("qstat-no-history"));
    let followed = ["999999.pbshead".parse().unwrap()];
    let all = sample("qstat-json-all");
    let folder = pbs.folder.path().display().to_string();
    pbs.answer("qstat.all", &all);
    // Living jobs when nothing is named; a job that is not there when it is.
    pbs.script(
        "qstat",
        &format!(
            "case \"$*\" in -x*) exec '{folder}/qstat.history';; *999999*) exec '{folder}/qstat.now';; \
             *) exec '{folder}/qstat.all';; esac"
        ),
    );
    let snapshot = pbs.commands().follow(&followed).await.unwrap();
    assert!(snapshot.complete && snapshot.jobs.len() == 1);
    assert_eq!(snapshot.presence(&followed[0]), Presence::Absent);
}

/// PBS prints a value that reads as JSON as that JSON, so any user can write such things.
#[tokio::test]
async fn no_job_can_hide_another() {
    let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
    let jobs = format!(
        r#"{{"timestamp": 5, "Jobs": {{
            "1.head": {{"Job_Name": 12, "Job_Owner": "eve@x", "job_state": "R", "queue": 7, "comment": {{"a": 1}},
                        "Variable_List": {{"A": {deep}, "B": null, "C": 1e999, "Jobs": {{"2.head": {{"job_state": "F"}}}}}},
                        "Account_Name": {deep}}},
            "2.head": {{"Job_Name": null, "Job_Owner": "alice@x", "job_state": "Q", "queue": "short",
                        "Resource_List": {{"walltime": 90}}, "job_state": "R",
                        "Resource_List": {{"ncpus": 1}}, "estimated": {{"start_time": "UNKNOWN"}}}},
            "oops": {{"job_state": "R"}}
        }}}}"#
    );
    let pbs = Scripted::new();
    pbs.answer("qstat", &Sample { code: 0, stdout: jobs, stderr: String::new() });
    let snapshot = pbs.commands().jobs().await.unwrap();
    let one = &snapshot.jobs[&"1.head".parse().unwrap()];
    assert_eq!((one.name.as_str(), one.queue.as_str(), one.comment.as_deref()), ("12", "7", None));
    let two = &snapshot.jobs[&"2.head".parse().unwrap()];
    assert_eq!((two.state, two.estimated_start), (JobState::Running, None));
    assert_eq!(two.walltime, Some(Duration::from_secs(90)));
    assert!(!snapshot.complete, "one entry could not be read");
}

#[tokio::test]
async fn bytes_that_are_no_text_do_not_end_the_list() {
    let pbs = Scripted::new();
    pbs.script("qstat", r#"printf '{"Jobs":{"1.head":{"job_state":"R","Job_Name":"a\377","Variable_List":{"A":"\377\200"}}}}'"#);
    let snapshot = pbs.commands().jobs().await.unwrap();
    assert_eq!(snapshot.jobs.len(), 1);
}

#[tokio::test]
async fn rejections_keep_the_words_of_pbs() {
    for (name, kind, words) in [
        ("qsub-bad-queue", Rejection::UnknownQueue, "Unknown queue"),
        ("qsub-queue-disabled", Rejection::QueueDisabled, "Queue is not enabled"),
        ("qsub-queue-acl", Rejection::NotAllowed, "Unauthorized Request"),
        ("qsub-walltime-over", Rejection::OverLimit, "Job violates queue and/or server resource limits"),
        ("qsub-ncpus-over", Rejection::OverLimit, "Job violates queue and/or server resource limits"),
        ("qsub-bad-resource", Rejection::UnknownResource, "Unknown resource: bogus"),
        ("qsub-bad-walltime", Rejection::Other, "Illegal attribute or resource value Resource_List.walltime"),
        ("qsub-bad-name", Rejection::Other, "illegal -N value"),
    ] {
        let pbs = Scripted::new();
        let recorded = sample(name);
        pbs.answer("qsub", &recorded);
        let error = pbs.commands().submit(&user("alice"), "true\n").await.unwrap_err();
        let expected = SubmitError::Rejected { exit_code: recorded.code, words: words.to_owned(), kind };
        assert_eq!(error, expected, "{name}");
    }
    let pbs = Scripted::new();
    pbs.answer("qsub", &sample("qsub-unreachable-server"));
    let error = pbs.commands().submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unreachable { .. }), "{error:?}");
    pbs.answer("qsub", &sample("qsub-ok"));
    assert_eq!(pbs.commands().submit(&user("alice"), "true\n").await.unwrap().to_string(), "19.pbshead");
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds() {
    for name in ["qdel-ok", "qdel-finished", "qdel-unknown", "qdel-queued"] {
        let pbs = Scripted::new();
        pbs.answer("qdel", &sample(name));
        pbs.commands().delete(&user("alice"), &"20.pbshead".parse().unwrap()).await.unwrap();
    }
    let pbs = Scripted::new();
    let other = Sample {
        code: 159,
        stdout: String::new(),
        stderr: "qdel: Unauthorized Request  38.pbshead\n".to_owned(),
    };
    pbs.answer("qdel", &other);
    let error = pbs.commands().delete(&user("bob"), &"38.pbshead".parse().unwrap()).await.unwrap_err();
    let words = "Unauthorized Request  38.pbshead".to_owned();
    assert_eq!(error, DeleteError::Rejected { exit_code: 159, words });
}

#[tokio::test]
async fn the_server_tells_what_it_shows_and_remembers() {
    let pbs = Scripted::new();
    pbs.answer("qstat", &sample("qstat-Bf"));
    let facts = pbs.commands().server().await.unwrap();
    assert_eq!((facts.name.as_str(), facts.version.as_str()), ("pbshead", "23.06.06"));
    assert!(facts.query_other_jobs && facts.job_history);
}
