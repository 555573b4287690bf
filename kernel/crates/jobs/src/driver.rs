//! Owns the task that asks the farm and runs its commands, one at a time: PBS is never asked twice at once by a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nuna_pbs::{BatchSystem, JobId, Rejection, Snapshot, StatusError, SubmitError};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    farm::{Effect, Event, Farm, Refusal, Status},
    settings::Settings,
};

/// For deleting what has not started, when the cluster ends.
const FAREWELL: Duration = Duration::from_secs(20);
/// How often PBS is asked for the jobs of a scheduler that was lost.
const ADOPT_ATTEMPTS: u32 = 10;
const LOG_TAIL_BYTES: u64 = 2048;
const LOG_TAIL_LINES: usize = 8;

/// What the scheduler tells.
#[derive(Clone, Debug)]
pub enum Order {
    Want {
        least: u32,
        most: u32,
    },
    /// Workers by their names.
    Demand {
        workers: u32,
        idle: Vec<String>,
    },
    Joined(String),
    Leaving(String),
    Left(String),
}

/// What the scheduler is told.
#[derive(Clone, Debug)]
pub enum Notice {
    Status(Box<Status>),
    /// The worker of that name is to finish what it does and leave.
    Retire(String),
}

/// Follows the jobs of a cluster until nobody gives orders any more; then deletes those that have not started. `again` if
/// an earlier process did that, and was lost: its jobs are found by their names.
pub async fn run(
    settings: Settings,
    again: bool,
    batch: Arc<dyn BatchSystem>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut notify: impl FnMut(Notice) + Send,
) {
    let mut farm = Farm::new(settings.pace.clone(), settings.least, settings.most, settings.at_once);
    let (sender, mut answers) = mpsc::unbounded_channel::<Event>();
    let (calls, waiting) = mpsc::unbounded_channel::<Call>();
    let caller = tokio::spawn(carry_out(settings.clone(), batch.clone(), waiting, sender));
    if again {
        adopt(&settings, &*batch, &mut farm).await;
    }
    let mut told = Status::default();
    let mut event = Event::Tick;
    loop {
        for effect in farm.handle(Instant::now(), event) {
            let call = match effect {
                Effect::Submit { ticket, count } => Call::Submit { ticket, count },
                Effect::Query => Call::Query(Sought::of(&farm)),
                Effect::Delete { id, .. } => Call::Delete(id),
                Effect::Retire { ticket } => {
                    notify(Notice::Retire(settings.name(ticket)));
                    continue;
                }
            };
            // The caller ends only after this.
            let _ = calls.send(call);
        }
        let status = farm.status();
        if status != told {
            say(&told, &status);
            told = status.clone();
            notify(Notice::Status(Box::new(with_log(&settings, status))));
        }
        let far = Instant::now() + Duration::from_secs(3600);
        let deadline = farm.next_deadline().unwrap_or(far).into();
        event = tokio::select! {
            order = orders.recv() => match order {
                // An order about a worker that is none of ours changes nothing.
                Some(order) => translate(&settings, order).unwrap_or(Event::Tick),
                None => break,
            },
            Some(answer) = answers.recv() => answer,
            () = tokio::time::sleep_until(deadline) => Event::Tick,
        };
    }
    drop(calls);
    let farewell = async {
        // What was being submitted has an id afterwards.
        let _ = caller.await;
        while let Ok(answer) = answers.try_recv() {
            farm.handle(Instant::now(), answer);
        }
        // And what the lost scheduler was submitting is in the list by now.
        if (again || farm.unstarted().iter().any(|(_, id)| id.is_none()))
            && let Ok(snapshot) = list(&settings, &*batch, &Sought::of(&farm)).await
        {
            let names = ours(&settings, &snapshot, &farm.nameless());
            let listed = Event::Listed { names, snapshot: Box::new(snapshot), took: Duration::ZERO };
            farm.handle(Instant::now(), listed);
        }
        let unstarted: Vec<JobId> = farm.unstarted().into_iter().filter_map(|(_, id)| id).collect();
        delete(&settings, &*batch, &unstarted).await;
    };
    if timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!(stem = settings.stem, "not all jobs were deleted in time; look for them with `qstat`");
    }
}

/// Takes over the jobs that PBS has under our names. Nothing is submitted before that is known, or cannot be found out.
/// One that was being submitted when the scheduler was lost may come into the list later: the farm adopts it then.
async fn adopt(settings: &Settings, batch: &dyn BatchSystem, farm: &mut Farm) {
    // Each number that was ever given out has left a log, and is not given out again.
    let logs = std::fs::read_dir(&settings.logs).into_iter().flatten().flatten();
    let names = logs.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()));
    names.filter_map(|name| settings.ticket(&name)).for_each(|ticket| farm.skip(ticket));
    let mut wait = settings.pace.retry;
    for attempt in 1..=ADOPT_ATTEMPTS {
        match list(settings, batch, &Sought::of(farm)).await {
            Ok(snapshot) => {
                let ours = ours(settings, &snapshot, &BTreeSet::new());
                tracing::info!(jobs = ours.len(), "jobs of the lost scheduler are followed further");
                ours.into_iter().for_each(|(ticket, id)| farm.adopt(Instant::now(), ticket, id));
                return;
            }
            Err(error) => tracing::warn!(%error, attempt, "the jobs of the lost scheduler cannot be listed"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(60));
    }
    tracing::error!(
        stem = settings.stem,
        "jobs of the lost scheduler may be left in PBS and are not followed; look for them with `qstat`"
    );
}

fn translate(settings: &Settings, order: Order) -> Option<Event> {
    Some(match order {
        Order::Want { least, most } => Event::Want { least, most },
        Order::Demand { workers, idle } => {
            Event::Demand { workers, idle: idle.iter().filter_map(|name| settings.ticket(name)).collect() }
        }
        Order::Joined(name) => Event::Joined(settings.ticket(&name)?),
        Order::Leaving(name) => Event::Leaving(settings.ticket(&name)?),
        Order::Left(name) => Event::Left(settings.ticket(&name)?),
    })
}

enum Call {
    Submit { ticket: u32, count: u32 },
    Query(Sought),
    Delete(JobId),
}

/// What a list has to tell of.
struct Sought {
    /// Jobs whose ids are not known.
    nameless: BTreeSet<u32>,
    /// Arrays of which jobs are followed.
    arrays: BTreeSet<JobId>,
    /// These, and jobs of no array.
    known: Vec<JobId>,
}

impl Sought {
    fn of(farm: &Farm) -> Self {
        Self { nameless: farm.nameless(), arrays: farm.arrays(), known: farm.known() }
    }
}

/// All jobs that PBS lists, those of this cluster that have ended, and the jobs of its arrays. PBS is asked a second time for
/// those alone of which some job has begun: nobody else's arrays are taken apart for us.
async fn list(
    settings: &Settings,
    batch: &dyn BatchSystem,
    sought: &Sought,
) -> Result<Snapshot, StatusError> {
    let mut snapshot = batch.follow(&sought.known).await?;
    let mut untouched = Vec::new();
    let mut begun = Vec::new();
    for job in snapshot.jobs.values().filter(|job| job.id.is_array() && is_ours(settings, job)) {
        let known = sought.arrays.iter().any(|array| array.is_same_job(&job.id));
        if job.name != settings.stem || job.state.is_over() && !known && sought.nameless.is_empty() {
            continue;
        }
        match job.untouched() {
            Some(jobs) => untouched.extend(jobs),
            None => begun.push(job.id.clone()),
        }
    }
    snapshot.jobs.extend(untouched.into_iter().map(|job| (job.id.clone(), job)));
    if !begun.is_empty() {
        let more = batch.sub_jobs(&begun).await?;
        snapshot.jobs.extend(more.jobs);
        snapshot.complete &= more.complete;
    }
    Ok(snapshot)
}

/// In one `qdel`, as far as they fit into one.
async fn delete(settings: &Settings, batch: &dyn BatchSystem, ids: &[JobId]) {
    // A job that goes on is noticed when it starts.
    if !ids.is_empty()
        && let Err(error) = batch.delete_all(&settings.user, ids).await
    {
        tracing::warn!(jobs = ids.len(), first = %ids[0], %error, "not all of some jobs could be deleted");
    }
}

async fn carry_out(
    settings: Settings,
    batch: Arc<dyn BatchSystem>,
    mut calls: mpsc::UnboundedReceiver<Call>,
    answers: mpsc::UnboundedSender<Event>,
) {
    // What came after the last deletion, and has to wait for it.
    let mut next = None;
    loop {
        let call = match next.take() {
            Some(call) => call,
            None => match calls.recv().await {
                Some(call) => call,
                None => return,
            },
        };
        let answer = match call {
            // The cluster ends: nothing new is begun, and what has not started is deleted afterwards.
            Call::Submit { ticket, .. } if calls.is_closed() => Event::NotSubmitted {
                ticket,
                reason: "the cluster ends".to_owned(),
                refusal: Refusal::Lasting,
            },
            Call::Query(_) | Call::Delete(_) if calls.is_closed() => continue,
            Call::Submit { ticket, count } => submit(&settings, &*batch, ticket, count).await,
            Call::Query(sought) => {
                let start = Instant::now();
                match list(&settings, &*batch, &sought).await {
                    Ok(snapshot) => Event::Listed {
                        names: ours(&settings, &snapshot, &sought.nameless),
                        snapshot: Box::new(snapshot),
                        took: start.elapsed(),
                    },
                    Err(error) => Event::NotListed { reason: error.to_string() },
                }
            }
            Call::Delete(id) => {
                let mut ids = vec![id];
                while let Ok(call) = calls.try_recv() {
                    match call {
                        Call::Delete(id) => ids.push(id),
                        Call::Submit { .. } | Call::Query(_) => {
                            next = Some(call);
                            break;
                        }
                    }
                }
                delete(&settings, &*batch, &ids).await;
                continue;
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

async fn submit(settings: &Settings, batch: &dyn BatchSystem, ticket: u32, count: u32) -> Event {
    // Its log is there before the job is, so that a scheduler that takes the place of this one does not give its number out
    // again, whatever becomes of qsub. Without it jobs are numbered all the same. Of an array, the last number says enough.
    let last = ticket.saturating_add(count.saturating_sub(1));
    let log = settings.log(last);
    if let Err(error) = OpenOptions::new().append(true).create(true).mode(0o600).open(&log) {
        tracing::warn!(log = %log.display(), %error, "a job's log cannot be made");
    }
    match batch.submit(&settings.user, &settings.script(ticket, last)).await {
        Ok(id) if id.is_array() != (last > ticket) => {
            // What a site's hook made of it is not what follows its jobs.
            let reason =
                format!("PBS was given {count} jobs and calls them {id}; delete it with `qdel {id}`");
            Event::NotSubmitted { ticket, reason, refusal: Refusal::Lasting }
        }
        Ok(id) => {
            tracing::info!(job = %id, name = settings.name(ticket), count, "submitted");
            Event::Submitted { ticket, id }
        }
        Err(error) => {
            let refusal = match &error {
                SubmitError::Rejected { kind, .. } => match kind {
                    Rejection::OverLimit => Refusal::Full,
                    Rejection::Other => Refusal::Passing,
                    Rejection::QueueDisabled => Refusal::Closed,
                    Rejection::UnknownQueue | Rejection::NotAllowed | Rejection::UnknownResource => {
                        Refusal::Lasting
                    }
                },
                SubmitError::Unreachable { .. } => Refusal::Away,
                SubmitError::NotRun { .. } => Refusal::Passing,
                SubmitError::TimedOut { .. } | SubmitError::Failed { .. } => Refusal::Unsure,
            };
            Event::NotSubmitted { ticket, reason: error.to_string(), refusal }
        }
    }
}

/// Jobs of this cluster in a list: those that are not over, and those of `nameless` in any case.
fn ours(settings: &Settings, snapshot: &Snapshot, nameless: &BTreeSet<u32>) -> BTreeMap<u32, JobId> {
    let ours = snapshot.jobs.values().filter(|job| is_ours(settings, job)).filter_map(|job| {
        let ticket = match job.id.index() {
            // Jobs of an array have its name.
            Some(index) => (job.name == settings.stem).then_some(index)?,
            None => settings.ticket(&job.name)?,
        };
        (nameless.contains(&ticket) || !job.state.is_over()).then(|| (ticket, job.id.clone()))
    });
    ours.collect()
}

/// Everybody can see our names and use them; PBS keeps some owners to itself, of whose jobs it shows none.
fn is_ours(settings: &Settings, job: &nuna_pbs::Job) -> bool {
    job.owner.is_empty() || job.owner == settings.user.as_str()
}

fn say(before: &Status, now: &Status) {
    if let Some(reason) = now.paused.as_ref().filter(|_| before.paused != now.paused) {
        tracing::error!(reason, "no more jobs are submitted until the cluster is scaled again");
    } else if let Some(trouble) = now.trouble.as_ref().filter(|_| before.trouble != now.trouble) {
        tracing::warn!(trouble, failures = now.failures, "trouble with jobs");
    }
}

/// The end of the log of the job that did not work out belongs to the reason.
fn with_log(settings: &Settings, mut status: Status) -> Status {
    if let (Some(reason), Some(suspect)) = (&mut status.paused, status.suspect) {
        let log = settings.log(suspect);
        match tail(&log) {
            Some(tail) => reason.push_str(&format!("; the end of its log {}:\n{tail}", log.display())),
            None => reason.push_str(&format!("; it has left no log at {}", log.display())),
        }
    }
    status
}

fn tail(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
    (!last.is_empty()).then_some(last)
}
