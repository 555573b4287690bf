//! What touches the world for the fleet: PBS commands, the journal, and those who wait for a user server.
//!
//! One task owns the fleet. It takes events in batches, journals what changed with one commit, and only then
//! answers, submits or deletes: nothing is promised that a restart would forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuna_pbs::{BatchSystem, DeleteError, JobId, StatusError, SubmitError, UserName};
use nuna_systemd::Heart;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use super::contact::Contact;
use super::fleet::{Answer, Effect, Event, Fleet, Note};
use super::server;
use super::state::{Failure, ServerId, Spec, State};
use super::view::{PbsHealth, View};
use crate::clock::{Clock, Millis};
use crate::config::System;
use crate::journal::{Changes, Journal};
use crate::metrics::Metrics;

const INBOX_MAX: usize = 1024;
/// Events handled with one journal commit.
const BATCH_MAX: usize = 128;
/// `qsub` and `qdel` at the same time.
const COMMANDS_MAX: usize = 8;
/// How often it is looked for servers that the hub has forgotten.
const CLAIMS_INTERVAL: Duration = Duration::from_secs(20);
/// Sleep when nothing at all is due.
const IDLE: Duration = Duration::from_secs(60);

struct Message {
    event: Event,
    script: Option<String>,
    answer: Option<oneshot::Sender<Answer>>,
}

type Views = Arc<Mutex<BTreeMap<ServerId, watch::Sender<View>>>>;

/// A handle to the task that owns the fleet.
#[derive(Clone)]
pub struct Keeper {
    inbox: mpsc::Sender<Message>,
    views: Views,
    pbs: watch::Receiver<PbsHealth>,
    contact: Arc<Mutex<Contact>>,
    clock: Clock,
}

/// The driver and what it needs.
pub struct Driver {
    pub fleet: Fleet,
    pub batch: Arc<dyn BatchSystem>,
    pub journal: Arc<Journal>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// Longest that one PBS command may take; the commands have their own, shorter limit.
    pub command_max: Duration,
    /// Beats each time round: without this loop the service is of no use.
    pub heart: Heart,
}

impl Driver {
    /// Starts the task. It ends after `ending` turns true and the commands under way have answered.
    pub fn start(self, ending: watch::Receiver<bool>) -> (Keeper, tokio::task::JoinHandle<()>) {
        let (inbox, messages) = mpsc::channel(INBOX_MAX);
        let views = Views::default();
        for id in self.fleet.ids() {
            if let Some(view) = self.fleet.view(id) {
                lock(&views).insert(id.clone(), watch::Sender::new(view));
            }
        }
        let (pbs, health) = watch::channel(self.fleet.pbs().clone());
        let (contact, clock) = (Arc::<Mutex<Contact>>::default(), self.clock);
        let keeper = Keeper {
            inbox: inbox.clone(),
            views: views.clone(),
            pbs: health,
            contact: contact.clone(),
            clock,
        };
        let running = Running {
            driver: self,
            inbox,
            views,
            pbs,
            contact,
            claims_looked: clock.now(),
            commands: Arc::new(Semaphore::new(COMMANDS_MAX)),
            scripts: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            in_flight: Arc::new(()),
            is_blind: Arc::default(),
        };
        (keeper, tokio::spawn(running.run(messages, ending)))
    }
}

struct Running {
    driver: Driver,
    inbox: mpsc::Sender<Message>,
    views: Views,
    pbs: watch::Sender<PbsHealth>,
    contact: Arc<Mutex<Contact>>,
    claims_looked: Millis,
    commands: Arc<Semaphore>,
    /// Held from the request to its `qsub`, never longer: they contain codes.
    scripts: BTreeMap<ServerId, String>,
    /// What a failed commit left.
    unsaved: BTreeSet<ServerId>,
    forgotten: BTreeSet<ServerId>,
    /// Cloned into every command that runs.
    in_flight: Arc<()>,
    /// PBS keeps jobs back from us, and the log says so.
    is_blind: Arc<AtomicBool>,
}

impl Running {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut ending: watch::Receiver<bool>) {
        let mut batch = vec![Message { event: Event::Tick, script: None, answer: None }];
        loop {
            batch.extend(self.unclaimed());
            self.handle(batch).await;
            self.driver.heart.beat();
            if *ending.borrow() && Arc::strong_count(&self.in_flight) == 1 && messages.is_empty() {
                return;
            }
            let now = self.driver.clock.now();
            let wait = self.driver.fleet.next_deadline().map_or(IDLE, |due| due.since(now).min(IDLE));
            let wait = self.driver.heart.every().map_or(wait, |every| wait.min(every));
            batch = Vec::new();
            tokio::select! {
                count = messages.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                () = tokio::time::sleep(wait) => batch.push(Message { event: Event::Tick, script: None, answer: None }),
                changed = ending.changed(), if !*ending.borrow() => {
                    if changed.is_err() { return }
                    batch.push(Message { event: Event::Tick, script: None, answer: None });
                }
            }
        }
    }

    /// Servers that the hub has forgotten: nobody else would ever end their jobs.
    fn unclaimed(&mut self) -> Vec<Message> {
        let now = self.driver.clock.now();
        if now.since(self.claims_looked) < CLAIMS_INTERVAL {
            return Vec::new();
        }
        self.claims_looked = now;
        let contact = lock(&self.contact);
        let forgotten = self.driver.fleet.claimable().filter(|(id, limit)| contact.silence(id) > *limit);
        let message = |(id, limit): (&ServerId, Duration)| {
            warn!(
                target: "audit", server = id.as_str(),
                "the hub has not asked about this server for {} s and asks about others; its job is removed",
                limit.as_secs()
            );
            let event = Event::Server(id.clone(), server::Event::Unclaimed);
            Message { event, script: None, answer: None }
        };
        forgotten.map(message).collect()
    }

    async fn handle(&mut self, batch: Vec<Message>) {
        let now = self.driver.clock.now();
        let mut effects = Vec::new();
        let mut answers = Vec::new();
        for Message { event, script, answer } in batch {
            if let (Event::Request(spec), Some(script)) = (&event, script) {
                self.scripts.insert(spec.id.clone(), script);
            }
            let outcome = self.driver.fleet.handle(now, event);
            effects.extend(outcome.effects);
            if let (Some(sender), Some(answer)) = (answer, outcome.answer) {
                answers.push((sender, answer));
            }
        }
        let saved = self.save(&effects).await;
        for effect in effects {
            self.perform(effect, saved);
        }
        // Last: whoever is told of a user server looks at it next, on another thread.
        for (sender, answer) in answers {
            // Who asked may have gone.
            let _ = sender.send(answer);
        }
        let submitting: BTreeSet<ServerId> = self
            .scripts
            .keys()
            .filter(|id| {
                self.driver
                    .fleet
                    .server(id)
                    .is_some_and(|server| matches!(server.state(), State::Submitting { .. }))
            })
            .cloned()
            .collect();
        self.scripts.retain(|id, _| submitting.contains(id));
        self.driver.metrics.set_servers(self.driver.fleet.count_by_state());
        let pbs = self.driver.fleet.pbs();
        self.driver.metrics.set_pbs(pbs);
        self.pbs.send_if_modified(|old| {
            let is_new = old != pbs;
            old.clone_from(pbs);
            is_new
        });
    }

    /// One commit for everything that changed. False if the journal did not take it; it is tried again with
    /// the next change.
    async fn save(&mut self, effects: &[Effect]) -> bool {
        for effect in effects {
            match effect {
                Effect::Save(id) => {
                    self.unsaved.insert(id.clone());
                }
                Effect::Forget(id) => {
                    self.unsaved.remove(id);
                    self.forgotten.insert(id.clone());
                }
                Effect::Submit(_)
                | Effect::Delete { .. }
                | Effect::List
                | Effect::Publish(_)
                | Effect::Log(_) => {}
            }
        }
        if self.unsaved.is_empty() && self.forgotten.is_empty() {
            return true;
        }
        let fleet = &self.driver.fleet;
        let records: Vec<(Spec, State)> = self
            .unsaved
            .iter()
            .filter_map(|id| fleet.server(id))
            .map(|server| (server.spec().clone(), server.state().clone()))
            .collect();
        let forgotten = self.forgotten.iter().cloned().collect();
        match self.driver.journal.apply(Changes { records, forgotten, ..Changes::default() }).await {
            Ok(()) => {
                self.unsaved.clear();
                self.forgotten.clear();
                self.driver.metrics.journal_took();
                true
            }
            Err(error) => {
                error!(
                    "the journal did not take a change: {error}; new user servers are refused until it does"
                );
                self.driver.metrics.journal_failed();
                false
            }
        }
    }

    fn perform(&mut self, effect: Effect, saved: bool) {
        match effect {
            Effect::Save(_) => {}
            Effect::Forget(id) => {
                lock(&self.views).remove(&id);
                lock(&self.contact).forget(&id);
            }
            Effect::Submit(id) => self.submit(id, saved),
            Effect::Delete { id, user, job } => self.delete(id, user, job),
            Effect::List => self.list(),
            Effect::Publish(id) => self.publish(&id),
            Effect::Log(note) => {
                if matches!(note, Note::Orphan { .. }) {
                    self.driver.metrics.orphan_found();
                }
                log(self.driver.fleet.system(), &note);
            }
        }
    }

    /// Runs a PBS command beside the loop; what it says comes back as an event.
    fn spawn(&self, command: impl Future<Output = Option<Event>> + Send + 'static) {
        let (inbox, commands, in_flight) =
            (self.inbox.clone(), self.commands.clone(), self.in_flight.clone());
        tokio::spawn(async move {
            let permit = commands.acquire_owned().await;
            let event = command.await;
            drop(permit);
            if let Some(event) = event {
                // Fails only once the loop has ended, when nobody wants to know.
                let _ = inbox.send(Message { event, script: None, answer: None }).await;
            }
            drop(in_flight);
        });
    }

    fn submit(&mut self, id: ServerId, saved: bool) {
        let Some(spec) = self.driver.fleet.server(&id).map(|server| server.spec().clone()) else { return };
        let script = self.scripts.remove(&id).filter(|_| saved);
        let system = self.driver.fleet.system();
        let (batch, metrics, limit) =
            (self.driver.batch.clone(), self.driver.metrics.clone(), self.driver.command_max);
        self.spawn(async move {
            let Some(script) = script else {
                let message = "The service cannot write its journal, so no job was submitted; the administrator \
                               finds the reason in the service's log."
                    .to_owned();
                let event = server::Event::SubmitFailed { failure: Failure::Internal, message };
                return Some(Event::Server(id, event));
            };
            let begun = std::time::Instant::now();
            let answer = tokio::time::timeout(limit, batch.submit(&spec.user, &script)).await;
            let outcome = answer.unwrap_or(Err(SubmitError::TimedOut { limit }));
            metrics.submitted(&outcome, begun.elapsed());
            let event = match outcome {
                Ok(job) => {
                    info!(target: "audit", user = %spec.user, server = id.as_str(), %job, profile = spec.profile, "submitted");
                    server::Event::Submitted { job }
                }
                Err(error) => {
                    warn!(user = %spec.user, server = id.as_str(), "{error}");
                    submit_failed(system, error)
                }
            };
            Some(Event::Server(id, event))
        });
    }

    fn delete(&self, id: Option<ServerId>, user: UserName, job: JobId) {
        let (batch, metrics, limit) =
            (self.driver.batch.clone(), self.driver.metrics.clone(), self.driver.command_max);
        self.spawn(async move {
            info!(target: "audit", %user, %job, server = id.as_ref().map(ServerId::as_str), "deleting a job");
            let answer = tokio::time::timeout(limit, batch.delete(&user, &job)).await;
            let outcome = answer.unwrap_or(Err(DeleteError::TimedOut { limit }));
            metrics.deleted(outcome.is_ok());
            let event = match outcome {
                Ok(()) => server::Event::Deleted,
                Err(error) => {
                    warn!(%user, %job, "{error}");
                    server::Event::DeleteFailed { words: error.to_string() }
                }
            };
            id.map(|id| Event::Server(id, event))
        });
    }

    fn list(&self) {
        let (batch, metrics, limit) =
            (self.driver.batch.clone(), self.driver.metrics.clone(), self.driver.command_max);
        let (inbox, in_flight, is_blind) =
            (self.inbox.clone(), self.in_flight.clone(), self.is_blind.clone());
        let (clock, budget) = (self.driver.clock, self.driver.fleet.budget().clone());
        let awaited = self.driver.fleet.awaited();
        // Not behind `qsub` and `qdel`: the plan lets one query run at a time.
        tokio::spawn(async move {
            let begun = std::time::Instant::now();
            // Two commands where jobs that were followed have ended.
            let answer = tokio::time::timeout(2 * limit, batch.follow_counted(awaited.jobs())).await;
            let outcome = answer.unwrap_or(Err(StatusError::TimedOut { limit }));
            metrics.listed(outcome.is_ok(), begun.elapsed());
            let event = match outcome {
                Ok((mut snapshot, queries)) => {
                    // The first was paid for when it was planned.
                    budget.spend(clock.now(), queries - 1);
                    // A job that PBS keeps back is not gone.
                    if snapshot.complete && awaited.misses_any(&snapshot) {
                        budget.spend(clock.now(), 1);
                        snapshot.complete = sees_all_jobs(&*batch, &is_blind, limit).await;
                    }
                    debug!(jobs = snapshot.jobs.len(), complete = snapshot.complete, "the jobs are listed");
                    Event::Listed(Box::new(snapshot))
                }
                Err(error) => Event::ListFailed { words: list_words(error) },
            };
            let _ = inbox.send(Message { event, script: None, answer: None }).await;
            drop(in_flight);
        });
    }

    fn publish(&self, id: &ServerId) {
        let Some(view) = self.driver.fleet.view(id) else { return };
        let mut views = lock(&self.views);
        let Some(sender) = views.get(id) else {
            views.insert(id.clone(), watch::Sender::new(view));
            return;
        };
        sender.send_if_modified(|old| {
            if old.state != view.state {
                info!(
                    target: "audit", user = view.user, server = id.as_str(), state = view.state,
                    job = view.job.as_ref().map(JobId::as_str), failed = view.failed, "{}", view.message
                );
                let requested = self.driver.fleet.server(id).map(|server| server.spec().requested);
                let since = requested.map(|requested| self.driver.clock.now().since(requested));
                self.driver.metrics.moved(old.state, view.state, view.failure, since.unwrap_or_default());
            }
            let is_new = *old != view;
            *old = view;
            is_new
        });
    }
}

/// False also if PBS does not say.
async fn sees_all_jobs(batch: &dyn BatchSystem, is_blind: &AtomicBool, limit: Duration) -> bool {
    let answer = tokio::time::timeout(limit, batch.sees_all_jobs()).await;
    match answer.unwrap_or(Err(StatusError::TimedOut { limit })) {
        Ok(true) => {
            is_blind.store(false, Ordering::Relaxed);
            true
        }
        Ok(false) => {
            if !is_blind.swap(true, Ordering::Relaxed) {
                error!(
                    "the batch system does not show other users' jobs to this account, so nobody can tell a job that is gone \
                     from one that is hidden; `nuna-spawner check` says what to set"
                );
            }
            false
        }
        Err(error) => {
            debug!("the batch system did not say whether it shows all jobs: {error}");
            false
        }
    }
}

pub(super) fn submit_failed(system: System, error: SubmitError) -> server::Event {
    match error {
        SubmitError::Rejected { words, .. } => {
            let message = format!("{system} did not accept the job: {words}");
            server::Event::SubmitFailed { failure: Failure::PbsRejected, message }
        }
        SubmitError::Unreachable { words } => {
            let message = format!(
                "The {system} server cannot be reached ({words}). Nothing was submitted; try again later."
            );
            server::Event::SubmitFailed { failure: Failure::PbsUnreachable, message }
        }
        SubmitError::TimedOut { limit } => {
            server::Event::SubmitUnsure { words: format!("no answer within {} s", limit.as_secs()) }
        }
        SubmitError::NotRun { message } => {
            let message = format!(
                "The service cannot submit jobs: {message}. Nothing was submitted; an administrator has to mend this."
            );
            server::Event::SubmitFailed { failure: Failure::Internal, message }
        }
        // The command may have run and said something odd: if there is a job, its name tells.
        SubmitError::Failed { message } => server::Event::SubmitUnsure { words: message },
    }
}

fn list_words(error: StatusError) -> String {
    match error {
        StatusError::Unreachable { words } => words,
        StatusError::TimedOut { limit } => format!("no answer within {} s", limit.as_secs()),
        StatusError::Unreadable { message } | StatusError::Failed { message } => message,
    }
}

fn log(system: System, note: &Note) {
    match note {
        Note::Impossible(story) => error!("{story}"),
        Note::Orphan { user, job, name } => {
            warn!(target: "audit", %user, %job, name, "a job of ours belongs to no user server; it is deleted");
        }
        Note::PbsSilent { words } => {
            warn!("{system} does not answer: {words}; user servers count as unknown, not as gone")
        }
        Note::PbsAnswersAgain => info!("{system} answers again"),
    }
}

impl Keeper {
    async fn send(&self, event: Event, script: Option<String>) -> Option<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.inbox.send(Message { event, script, answer: Some(sender) }).await.ok()?;
        receiver.await.ok()
    }

    /// Records the request; `script` is submitted right after. [`Keeper::watch`] tells how it goes on.
    pub async fn request(&self, spec: Spec, script: String) -> Option<Answer> {
        self.send(Event::Request(Box::new(spec)), Some(script)).await
    }

    /// For events that are answered.
    pub async fn ask(&self, event: Event) -> Option<Answer> {
        self.send(event, None).await
    }

    /// The hub asks for something, perhaps about a server.
    pub fn hear(&self, about: Option<&ServerId>) {
        lock(&self.contact).hear(self.clock.now(), about);
    }

    /// What the batch system said last.
    pub fn pbs(&self) -> PbsHealth {
        self.pbs.borrow().clone()
    }

    pub fn view(&self, id: &ServerId) -> Option<View> {
        lock(&self.views).get(id).map(|sender| sender.borrow().clone())
    }

    /// Those of one person that are not gone.
    pub fn of_user(&self, user: &str) -> Vec<View> {
        let views = lock(&self.views);
        let all = views.values().map(|sender| sender.borrow());
        all.filter(|view| view.user == user && !view.is_gone()).map(|view| view.clone()).collect()
    }

    pub fn watch(&self, id: &ServerId) -> Option<watch::Receiver<View>> {
        lock(&self.views).get(id).map(watch::Sender::subscribe)
    }

    pub async fn stop(&self, id: &ServerId) {
        let event = Event::Server(id.clone(), server::Event::Stop);
        let _ = self.inbox.send(Message { event, script: None, answer: None }).await;
    }

    /// From code that cannot wait. False if the inbox is full.
    pub fn stop_now(&self, id: &ServerId) -> bool {
        let event = Event::Server(id.clone(), server::Event::Stop);
        self.inbox.try_send(Message { event, script: None, answer: None }).is_ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
