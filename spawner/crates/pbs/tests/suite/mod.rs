//! One suite that every `BatchSystem` passes. What differs between systems is what a [`World`] says, and nothing else.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::time::{Duration, Instant};

use nuna_pbs::{BatchSystem, Job, JobId, JobState, Presence, UserName};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a script asks for, in the words of its batch system.
#[derive(Clone, Copy)]
pub enum Directive<'a> {
    Name(&'a str),
    Queue(&'a str),
    Array(&'a str),
}

/// How a test lets the world go on, which in the fake does not move by itself.
pub trait World {
    fn batch(&self) -> &dyn BatchSystem;
    /// A script that runs until `let_end`.
    fn script(&self, directives: &str) -> String;
    fn directive(&self, what: Directive<'_>) -> String {
        match what {
            Directive::Name(name) => format!("#PBS -N {name}"),
            Directive::Queue(queue) => format!("#PBS -q {queue}"),
            Directive::Array(indices) => format!("#PBS -J {indices}"),
        }
    }
    /// An id that the system of this job never gave.
    fn stranger(&self, job: &JobId) -> JobId {
        format!("999999.{}", job.as_str().split_once('.').unwrap().1).parse().unwrap()
    }
    /// Whether the list of all jobs has those that have ended, too.
    fn lists_history(&self) -> bool {
        false
    }
    /// Whether the system forgets at once what was deleted of an array before it began.
    fn forgets_jobs_of_arrays(&self) -> bool {
        false
    }
    /// How the comment begins, or what it holds, on a job that `user` deleted while it ran.
    fn deletion_words(&self, user: &str) -> String {
        format!("terminated by {user}@")
    }
    /// Exit statuses of a job that was deleted while it ran.
    fn deletion_statuses(&self) -> &[i32] {
        &[271]
    }
    fn let_start(&self, id: &JobId);
    fn let_end(&self, id: &JobId, exit_status: i32);
    fn node(&self) -> &str {
        "node1"
    }
}

fn script(world: &dyn World, directives: &[Directive<'_>]) -> String {
    let lines: Vec<String> = directives.iter().map(|directive| world.directive(*directive)).collect();
    world.script(&lines.join("\n"))
}

/// Waits for a job that is listed.
pub async fn wait(world: &dyn World, id: &JobId, holds: impl Fn(&Job) -> bool) -> Job {
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

/// One job, and what becomes of it.
pub async fn contract(world: &dyn World) {
    let batch = world.batch();
    let [alice, bob] = ["alice", "bob"].map(|name| name.parse::<UserName>().unwrap());
    let script = |directives: &[Directive<'_>]| script(world, directives);

    // A job of its own accord.
    let id = batch
        .submit(&alice, &script(&[Directive::Name("nuna-one"), Directive::Queue("workq")]))
        .await
        .unwrap();
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
    let id = batch.submit(&bob, &script(&[Directive::Name("nuna-two")])).await.unwrap();
    world.let_start(&id);
    wait(world, &id, |job| job.state == JobState::Running).await;
    assert!(batch.delete(&alice, &id).await.is_err(), "a job of somebody else");
    batch.delete(&bob, &id).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_over()).await;
    assert!(world.deletion_statuses().contains(&job.exit_status.unwrap()), "{job:?}");
    let (comment, words) = (job.comment.unwrap(), world.deletion_words("bob"));
    assert!(comment.contains(&words), "{comment}");

    // A queued job deleted never ran.
    let id = batch.submit(&alice, &script(&[Directive::Queue("stopped")])).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_pending()).await;
    assert_eq!(job.queue, "stopped");
    assert_eq!(batch.jobs().await.unwrap().positions()[&id].ahead, 0);
    batch.delete(&alice, &id).await.unwrap();
    let job = wait(world, &id, |job| job.state.is_over()).await;
    assert_eq!((job.exit_status, job.start_time), (None, None));

    // A job nobody knows.
    let stranger = world.stranger(&id);
    let followed = [stranger.clone(), id.clone()];
    let snapshot = batch.follow(&followed).await.unwrap();
    assert_eq!(snapshot.presence(&stranger), Presence::Absent);
    assert!(matches!(snapshot.presence(&id), Presence::Listed(job) if job.state.is_over()));
    let living = batch.jobs().await.unwrap();
    let is_listed = living.presence(&id) != Presence::Absent;
    assert_eq!(
        is_listed,
        world.lists_history(),
        "history is for those who ask for it by name, unless it is short"
    );
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

/// Waits until an array, or a job of one, is over. Nothing if the system forgot it, which it may only where it says so.
async fn wait_for_end(world: &dyn World, id: &JobId) -> Option<Job> {
    let array = id.array().unwrap_or_else(|| id.clone());
    let started = Instant::now();
    loop {
        let snapshot = world.batch().sub_jobs(std::slice::from_ref(&array)).await.unwrap();
        match snapshot.presence(id) {
            Presence::Listed(job) if job.state.is_over() => return Some(job.clone()),
            Presence::Absent if world.forgets_jobs_of_arrays() => return None,
            presence => assert!(started.elapsed() < PATIENCE, "{id}: {presence:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The jobs of an array, alone and together.
pub async fn contract_of_arrays(world: &dyn World) {
    let batch = world.batch();
    let alice = "alice".parse::<UserName>().unwrap();
    let script = |directives: &[Directive<'_>]| script(world, directives);

    // While none has begun, the array's own record says all.
    let directives = [Directive::Name("nuna-many"), Directive::Array("1-3"), Directive::Queue("stopped")];
    let id = batch.submit(&alice, &script(&directives)).await.unwrap();
    assert!(id.is_array(), "{id}");
    let array = wait(world, &id, |_| true).await;
    assert_eq!((array.name.as_str(), array.state), ("nuna-many", JobState::Queued));
    let waiting: Vec<JobId> = array.untouched().unwrap().into_iter().map(|job| job.id).collect();
    assert_eq!(waiting, [1, 2, 3].map(|index| id.sub_job(index)));
    batch.delete_all(&alice, &waiting).await.unwrap();
    if let Some(array) = wait_for_end(world, &id).await {
        assert!(array.untouched().is_none());
    }
    // It is history now; deleting it is no error, nor is deleting one of its jobs.
    batch.delete(&alice, &id).await.unwrap();
    batch.delete_all(&alice, &waiting).await.unwrap();

    let directives = [Directive::Array("0-4:2"), Directive::Queue("workq")];
    let id = batch.submit(&alice, &script(&directives)).await.unwrap();
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
    let job = wait_in(world, &first, |job| job.state.is_over()).await;
    assert!(world.deletion_statuses().contains(&job.exit_status.unwrap()), "{job:?}");
    if let Some(job) = wait_for_end(world, &third).await {
        assert_eq!((job.exit_status, job.exec_host), (None, None));
    }
    batch.delete(&alice, &third).await.unwrap();
    world.let_end(&second, 4);
    assert_eq!(wait_in(world, &second, |job| job.state.is_over()).await.exit_status, Some(4));
    assert!(wait(world, &id, |array| array.state.is_over()).await.array.is_some());
}
