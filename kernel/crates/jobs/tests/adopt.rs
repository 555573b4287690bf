//! A cluster whose scheduler was lost, and another took its place: whose jobs are found again, and whose are not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{path::Path, sync::Arc, time::Duration};

use nuna_jobs::{
    Pace, PbsCommands, Request, Settings,
    driver::{self, Notice, Order},
};
use nuna_pbs::{Job, JobId, JobState, Rejection, SubmitError, fake::FakeBatch};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

fn settings(folder: &Path, least: u32) -> Settings {
    Settings {
        request: Request {
            queue: None,
            select: None,
            cores: 1,
            memory_bytes: 1 << 30,
            walltime: Duration::from_secs(3600),
            account: None,
            project: None,
            directives: Vec::new(),
            set_up: Vec::new(),
        },
        stem: "nuna-ab12".into(),
        user: "alice".parse().unwrap(),
        pbs: PbsCommands { folder: folder.to_owned(), environment: Default::default() },
        program: folder.join("nuna"),
        worker_options: folder.join("worker.json"),
        logs: folder.to_owned(),
        at_once: 1,
        least,
        most: least,
        pace: Pace { poll: Duration::from_millis(20), ..Pace::default() },
    }
}

fn job(number: u32, name: &str, owner: &str, state: JobState) -> Job {
    let id: JobId = format!("{number}.fake").parse().unwrap();
    Job { name: name.into(), owner: owner.into(), ..Job::new(id, state) }
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_new_scheduler_follows_its_own_persons_jobs_of_that_name_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    // Two jobs are over, and have left their logs; PBS has forgotten one of them.
    for number in [4, 7] {
        std::fs::write(folder.path().join(format!("nuna-ab12-{number}.log")), "").unwrap();
    }
    let batch = Arc::new(FakeBatch::new());
    for job in [
        job(101, "nuna-ab12-3", "alice", JobState::Queued),
        job(102, "nuna-ab12-4", "alice", JobState::Finished),
        job(103, "nuna-ab12-5", "mallory", JobState::Queued),
        job(104, "nuna-ab123-6", "alice", JobState::Queued),
        job(105, "nuna-ab12-x", "alice", JobState::Running),
    ] {
        batch.insert(job);
    }
    let (orders, taken) = mpsc::unbounded_channel();
    let (notices, mut told) = mpsc::unbounded_channel();
    let notify = move |notice| drop(notices.send(notice));
    let running = tokio::spawn(driver::run(settings(folder.path(), 2), true, batch.clone(), taken, notify));
    wait_until("a second job is submitted", || batch.submissions().len() == 1).await;
    let (_, own, script) = batch.submissions().pop().unwrap();
    assert!(script.contains("-N nuna-ab12-8\n"), "a number that nobody had: {script}");
    assert!(folder.path().join("nuna-ab12-8.log").exists(), "and that nobody will have after another loss");
    // What was being submitted when the first was lost comes into the list late; it is one too many.
    batch.insert(job(106, "nuna-ab12-2", "alice", JobState::Queued));
    let mut queued = || {
        let statuses = std::iter::from_fn(|| told.try_recv().ok());
        let queued = statuses.filter_map(|notice| match notice {
            Notice::Status(status) => Some(status.queued),
            Notice::Retire(_) => None,
        });
        queued.last()
    };
    wait_until("it is followed too", || queued() == Some(3)).await;
    // Nobody wants it any more.
    orders.send(Order::Want { least: 1, most: 1 }).unwrap();
    wait_until("two are given up", || batch.deletions().len() == 2).await;
    drop(orders);
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    let mut deleted: Vec<String> = batch.deletions().into_iter().map(|(_, id)| id.to_string()).collect();
    deleted.sort();
    // Whoever ends says it again to jobs that have not ended yet.
    deleted.dedup();
    let mut expected = vec![own.to_string(), "101.fake".to_owned(), "106.fake".to_owned()];
    expected.sort();
    assert_eq!(deleted, expected, "all of its own, and no other's");
    assert_eq!(batch.submissions().len(), 1);
}

#[tokio::test]
async fn a_job_that_is_submitted_while_its_cluster_ends_is_deleted_by_the_next_scheduler_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let batch = Arc::new(FakeBatch::new());
    let (orders, taken) = mpsc::unbounded_channel();
    let running = tokio::spawn(driver::run(settings(folder.path(), 0), true, batch.clone(), taken, |_| {}));
    wait_until("it has looked for jobs", || batch.queries() == 1).await;
    // Without jobs PBS is not asked again.
    batch.insert(job(7, "nuna-ab12-1", "alice", JobState::Queued));
    drop(orders);
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    let deleted: Vec<String> = batch.deletions().into_iter().map(|(_, id)| id.to_string()).collect();
    assert_eq!(deleted, ["7.fake"]);
}

#[tokio::test]
async fn jobs_of_an_array_are_submitted_followed_adopted_and_deleted_together() {
    let folder = tempfile::tempdir().unwrap();
    let batch = Arc::new(FakeBatch::new());
    let at_once = |least| Settings { at_once: 3, ..settings(folder.path(), least) };
    let id = |text: &str| text.parse::<JobId>().unwrap();
    let (orders, taken) = mpsc::unbounded_channel();
    let running = tokio::spawn(driver::run(at_once(4), false, batch.clone(), taken, |_| {}));
    wait_until("an array and a job", || batch.submissions().len() == 2).await;
    let scripts: Vec<String> = batch.submissions().into_iter().map(|(_, _, script)| script).collect();
    assert!(scripts[0].contains("#PBS -N nuna-ab12\n#PBS -J 1-3\n"), "{}", scripts[0]);
    assert!(scripts[1].contains("#PBS -N nuna-ab12-4\n"), "the one that is left is no array: {}", scripts[1]);
    assert!(folder.path().join("nuna-ab12-3.log").exists(), "the last number is given out");
    // One runs, one is over, one waits; the scheduler is lost, and with it who follows them.
    batch.start(&id("1[2].fake"), "node1");
    batch.finish(&id("1[1].fake"), 0, "");
    running.abort();
    drop(orders);
    // Somebody else's array of that name, and one of another.
    batch.insert(Job {
        name: "nuna-ab12".into(),
        owner: "mallory".into(),
        ..Job::new(id("7[].fake"), JobState::Queued)
    });
    batch.insert(Job {
        name: "nuna-ab12".into(),
        owner: "mallory".into(),
        ..Job::new(id("7[9].fake"), JobState::Queued)
    });
    let (orders, taken) = mpsc::unbounded_channel();
    let (notices, mut told) = mpsc::unbounded_channel();
    let notify = move |notice| drop(notices.send(notice));
    let running = tokio::spawn(driver::run(at_once(3), true, batch.clone(), taken, notify));
    let mut last = None;
    wait_until("three are followed", || {
        while let Ok(notice) = told.try_recv() {
            if let Notice::Status(status) = notice {
                last = Some((status.queued, status.starting));
            }
        }
        last == Some((2, 1))
    })
    .await;
    assert_eq!(batch.submissions().len(), 2, "nothing is missing");
    drop(orders);
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    let mut deleted: Vec<JobId> = batch.deletions().into_iter().map(|(_, id)| id).collect();
    deleted.sort();
    assert_eq!(
        deleted,
        [id("1[2].fake"), id("1[3].fake"), id("2.fake")],
        "those that are its own and not over"
    );
}

#[tokio::test]
async fn what_pbs_answers_decides_whether_it_is_asked_again() {
    let away = || SubmitError::Unreachable { words: "Connection refused".into() };
    let rejected = |kind| SubmitError::Rejected { exit_code: 1, words: format!("no, for {kind:?}"), kind };
    // In order: nobody to ask, for longer than three failures would be borne; then a refusal at the first job.
    for (refusals, paused) in [
        (vec![away(), away(), away(), away(), away()], None),
        (vec![rejected(Rejection::UnknownQueue)], Some("UnknownQueue")),
        (vec![rejected(Rejection::NotAllowed)], Some("NotAllowed")),
        (vec![rejected(Rejection::QueueDisabled)], Some("QueueDisabled")),
        (vec![rejected(Rejection::OverLimit); 3], Some("OverLimit")),
        (vec![rejected(Rejection::Other); 3], Some("Other")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let batch = Arc::new(FakeBatch::new());
        refusals.into_iter().for_each(|refusal| batch.refuse_next(refusal));
        let pace =
            Pace { poll: Duration::from_millis(20), retry: Duration::from_millis(1), ..Pace::default() };
        let settings = Settings { pace, ..settings(folder.path(), 1) };
        let (_orders, taken) = mpsc::unbounded_channel();
        let (notices, mut told) = mpsc::unbounded_channel();
        let notify = move |notice| drop(notices.send(notice));
        let running = tokio::spawn(driver::run(settings, false, batch.clone(), taken, notify));
        let mut last = None;
        wait_until("it is submitted, or given up with the reason", || {
            while let Ok(notice) = told.try_recv() {
                if let Notice::Status(status) = notice {
                    last = status.paused;
                }
            }
            match paused {
                Some(reason) => last.as_ref().is_some_and(|paused| paused.contains(reason)),
                None => batch.submissions().len() == 1 && last.is_none(),
            }
        })
        .await;
        assert_eq!(batch.submissions().len(), usize::from(paused.is_none()));
        running.abort();
    }
}
