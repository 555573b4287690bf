//! The driver against what Torque prints by its manual pages and sources (`qstat.c`, `qsub_functions.c`, `qdel.c`,
//! `pbs_error_db.h`); nobody has run it on a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::time::Duration;

use common::{Scripted, user};
use nuna_pbs::{
    BatchSystem, Commands, DeleteError, Dialect, JobId, JobState, Presence, Rejection, StatusError,
    SubmitError,
};

const JOBS: &str = r#"<?xml version="1.0"?>
<Data><Job><Job_Id>41.head.example.org</Job_Id><Job_Name>nuna-one</Job_Name><Job_Owner>alice@login.example.org</Job_Owner><resources_used><cput>00:00:03</cput><mem>5120kb</mem><walltime>00:01:05</walltime></resources_used><job_state>R</job_state><queue>batch</queue><server>head</server><ctime>1795218700</ctime><exec_host>node7/0-3+node8/0-3</exec_host><qtime>1795218701</qtime><Resource_List><mem>8192mb</mem><nodes>2:ppn=4</nodes><walltime>01:00:00</walltime></Resource_List><Variable_List>PBS_O_HOME=/home/alice,A=1 & 2,B=x>y</Variable_List><etime>1795218701</etime><start_time>1795218710</start_time><Walltime><Remaining>3535</Remaining></Walltime></Job><Job><Job_Id>42.head.example.org</Job_Id><Job_Name>wait</Job_Name><Job_Owner>bob@login</Job_Owner><job_state>Q</job_state><queue>batch</queue><qtime>1795218702</qtime><Resource_List><walltime>100:00:00</walltime></Resource_List><etime>1795218702</etime></Job><Job><Job_Id>40.head.example.org</Job_Id><Job_Name>over</Job_Name><Job_Owner>bob@login</Job_Owner><job_state>C</job_state><queue>batch</queue><exec_host>node7/0</exec_host><exit_status>271</exit_status><comp_time>1795218600</comp_time></Job></Data>
"#;

const SERVER: &str = "Server: head.example.org\n    server_state = Active\n    scheduling = True\n    \
    default_queue = batch\n    query_other_jobs = True\n    keep_completed = 300\n    pbs_version = 6.1.2\n    \
    submit_hosts = login1,login2,\n\tlogin3\n\n";

const QUEUES: &str = "Queue: batch\n    queue_type = Execution\n    total_jobs = 2\n    \
    state_count = Transit:0 Queued:1 Held:0 Waiting:0 Running:1 Exiting:0 Complete:1 \n    \
    resources_max.ncpus = 8\n    resources_max.mem = 16gb\n    resources_max.walltime = 24:00:00\n    \
    resources_default.walltime = 01:00:00\n    enabled = True\n    started = True\n\n\
    Queue: vip\n    queue_type = Execution\n    acl_user_enable = True\n    acl_users = carol,dave\n    \
    enabled = False\n    started = True\n\n";

fn torque(pbs: &Scripted) -> Commands {
    Commands { dialect: Dialect::Torque, ..pbs.commands() }
}

/// `name` prints `stdout` and `stderr`, writes its arguments down, and ends with `code`.
fn answer(pbs: &Scripted, name: &str, stdout: &str, stderr: &str, code: i32) {
    let folder = pbs.folder.path().display();
    std::fs::write(pbs.path("out"), stdout).unwrap();
    std::fs::write(pbs.path("err"), stderr).unwrap();
    let body = format!(
        "cat >/dev/null </dev/null; echo \"$*\" > '{folder}/arguments'; cat '{folder}/out'; cat '{folder}/err' >&2; exit {code}"
    );
    pbs.script(name, &body);
}

#[tokio::test]
async fn jobs_are_read_with_those_that_are_over() {
    let pbs = Scripted::new();
    answer(&pbs, "qstat", JOBS, "", 0);
    let commands = torque(&pbs);
    let [running, waiting, over]: [JobId; 3] =
        ["41.head.example.org", "42.head", "40.head"].map(|id| id.parse().unwrap());
    let gone: JobId = "39.head".parse().unwrap();
    let snapshot = commands.follow(&[running.clone(), over.clone(), gone.clone()]).await.unwrap();
    assert_eq!(std::fs::read_to_string(pbs.path("arguments")).unwrap(), "-x\n", "one question for all");
    assert!(snapshot.complete && snapshot.jobs.len() == 3);
    let Presence::Listed(job) = snapshot.presence(&running) else { panic!("{snapshot:?}") };
    assert_eq!((job.name.as_str(), job.owner.as_str(), job.queue.as_str()), ("nuna-one", "alice", "batch"));
    assert_eq!((job.state, job.exec_host.as_deref()), (JobState::Running, Some("node7")));
    assert_eq!((job.start_time, job.queued_at), (Some(1_795_218_710), Some(1_795_218_701)));
    assert_eq!(job.walltime, Some(Duration::from_secs(3600)));
    assert_eq!(job.walltime_used, Some(Duration::from_secs(65)));
    let Presence::Listed(job) = snapshot.presence(&over) else { panic!("{snapshot:?}") };
    assert_eq!((job.state, job.exit_status), (JobState::Finished, Some(271)));
    let Presence::Listed(job) = snapshot.presence(&waiting) else { panic!("{snapshot:?}") };
    assert_eq!(snapshot.positions()[&job.id].ahead, 0);
    assert_eq!(snapshot.presence(&gone), Presence::Absent);
    assert!(commands.sub_jobs(&[running]).await.is_err(), "arrays are not read");
}

#[tokio::test]
async fn a_list_with_a_complaint_says_nothing_of_who_is_missing() {
    let pbs = Scripted::new();
    answer(&pbs, "qstat", JOBS, "qstat: Error (15012 - System error) \n", 172);
    let snapshot = torque(&pbs).jobs().await.unwrap();
    assert_eq!(snapshot.presence(&"39.head".parse().unwrap()), Presence::Unknown);
    answer(&pbs, "qstat", "", "qstat: cannot connect to server head (errno=111) Connection refused\n", 111);
    assert!(matches!(torque(&pbs).jobs().await, Err(StatusError::Unreachable { .. })));
    answer(&pbs, "qstat", "", "qstat: Error (15007 - Unauthorized Request )\n", 159);
    assert!(matches!(torque(&pbs).jobs().await, Err(StatusError::Failed { .. })));
    answer(&pbs, "qstat", "", "", 0);
    assert!(matches!(torque(&pbs).jobs().await, Err(StatusError::Unreadable { .. })), "silence is no list");
    // Old releases say nothing where there are no jobs.
    for (total, is_list) in [("0", true), ("3", false)] {
        let server = SERVER.replace("    scheduling", &format!("    total_jobs = {total}\n    scheduling"));
        std::fs::write(pbs.path("server"), server).unwrap();
        let folder = pbs.folder.path().display();
        pbs.script("qstat", &format!("[ \"$1\" = -x ] || cat '{folder}/server'"));
        let jobs = torque(&pbs).jobs().await;
        assert_eq!(jobs.is_ok_and(|jobs| jobs.complete && jobs.jobs.is_empty()), is_list, "{total}");
    }
    answer(&pbs, "qstat", &JOBS[..400], "", 0);
    assert!(matches!(torque(&pbs).jobs().await, Err(StatusError::Unreadable { .. })));
}

#[tokio::test]
async fn rejections_are_known_by_their_words() {
    let pbs = Scripted::new();
    answer(&pbs, "qsub", "43.head.example.org\n", "", 0);
    assert_eq!(
        torque(&pbs).submit(&user("alice"), "true\n").await.unwrap().to_string(),
        "43.head.example.org"
    );
    assert_eq!(
        std::fs::read_to_string(pbs.path("arguments")).unwrap(),
        "\n",
        "-f means something else there"
    );
    for (words, code, kind) in [
        ("Unknown queue MSG=requested queue not found", 172, Rejection::UnknownQueue),
        ("Queue is not enabled", 175, Rejection::QueueDisabled),
        ("Unauthorized Request  MSG=user has no access", 159, Rejection::NotAllowed),
        (
            "Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement",
            188,
            Rejection::OverLimit,
        ),
        ("Unknown resource type  REJHOST=head MSG=bogus", 187, Rejection::UnknownResource),
        ("Access from host not allowed, or unknown host MSG=bad host", 162, Rejection::NotAllowed),
        ("Job rejected by all possible destinations", 193, Rejection::Other),
    ] {
        answer(&pbs, "qsub", "", &format!("qsub: submit error ({words})\n"), code);
        let error = torque(&pbs).submit(&user("alice"), "true\n").await.unwrap_err();
        assert!(
            matches!(&error, SubmitError::Rejected { kind: found, exit_code, .. } if (*found, *exit_code) == (kind, code)),
            "{words}: {error:?}"
        );
    }
    answer(
        &pbs,
        "qsub",
        "",
        "qsub: cannot connect to server head (errno=15137) could not connect to trqauthd\n",
        33,
    );
    let error = torque(&pbs).submit(&user("alice"), "true\n").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_job_that_is_over_counts_as_deleted() {
    let pbs = Scripted::new();
    let job: JobId = "41.head".parse().unwrap();
    for (words, code) in [
        ("", 0),
        ("qdel: nonexistent job id: 41.head", 153),
        ("qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 41.head", 170),
        ("qdel: Job already in exit state 41.head", 204),
    ] {
        answer(&pbs, "qdel", "", words, code);
        torque(&pbs).delete(&user("alice"), &job).await.unwrap();
    }
    for code in [159, 35] {
        answer(&pbs, "qdel", "", "qdel: Unauthorized Request  41.head", code);
        let error = torque(&pbs).delete(&user("alice"), &job).await.unwrap_err();
        assert!(matches!(error, DeleteError::Rejected { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn server_and_queues_are_told() {
    let pbs = Scripted::new();
    std::fs::write(pbs.path("server"), SERVER).unwrap();
    std::fs::write(pbs.path("queues"), QUEUES).unwrap();
    let folder = pbs.folder.path().display();
    pbs.script("qstat", &format!("case \"$*\" in '-B -f') cat '{folder}/server';; '-Q -f') cat '{folder}/queues';; *) exit 2;; esac"));
    let facts = torque(&pbs).server().await.unwrap();
    assert_eq!((facts.name.as_str(), facts.version.as_str()), ("head.example.org", "6.1.2"));
    assert!(facts.query_other_jobs && facts.job_history);
    let queues = torque(&pbs).queues().await.unwrap();
    assert_eq!(queues.default.as_deref(), Some("batch"));
    let batch = &queues.queues["batch"];
    assert!(batch.enabled && batch.started && !batch.routes && batch.users.is_none());
    assert_eq!((batch.cores_max, batch.memory_max_bytes), (Some(8), Some(16 << 30)));
    assert_eq!(batch.walltime_max, Some(Duration::from_secs(86_400)));
    let vip = &queues.queues["vip"];
    assert!(!vip.enabled && vip.users.as_deref().is_some_and(|users| users.len() == 2));
}
