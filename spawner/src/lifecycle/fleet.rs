//! All user servers, the codes that lead to them, and what PBS said last: pure, like each of them.
//!
//! `handle(now, event)` gives effects and perhaps an answer; `driver` carries both out, saving before anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nuna_pbs::{Job, JobId, Presence, Snapshot, UserName};

use super::budget::Budget;
use super::polling::{PollPlan, Urgency};
use super::server::{self, UserServer};
use super::state::{LaunchReport, Limits, ServerId, Spec, State};
use super::view::{PbsHealth, View};
use crate::clock::Millis;
use crate::config::System;
use crate::secret::{Digest, Sealed};

/// A job of ours that belongs to nobody is deleted again if it is still there after this long.
const ORPHAN_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Debug)]
pub enum Event {
    Request(Box<Spec>),
    /// What PBS or the hub said about one user server.
    Server(ServerId, server::Event),
    Exchange {
        code: Digest,
        job: String,
        ticket: Digest,
        peer: IpAddr,
        resolved: Option<Resolved>,
    },
    Ready {
        ticket: Digest,
        host: String,
        port: u16,
        peer: IpAddr,
        resolved: Option<Resolved>,
    },
    LaunchFailed {
        ticket: Digest,
        report: LaunchReport,
    },
    Listed(Box<Snapshot>),
    ListFailed {
        words: String,
    },
    Tick,
}

/// A name that an [`Answer::Resolve`] asked for, and where it leads. Empty if nobody knows the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub host: String,
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Before any later effect.
    Save(ServerId),
    Forget(ServerId),
    Submit(ServerId),
    Delete {
        id: Option<ServerId>,
        user: UserName,
        job: JobId,
    },
    /// Ask PBS for all jobs.
    List,
    /// Its view may have changed.
    Publish(ServerId),
    Log(Note),
}

/// What the log should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Impossible(String),
    Orphan { user: UserName, job: JobId, name: String },
    PbsSilent { words: String },
    PbsAnswersAgain,
}

#[derive(Debug, PartialEq)]
pub enum Answer {
    Accepted,
    AlreadyRunning(ServerId),
    TooMany {
        limit: usize,
    },
    /// One person's servers, by name.
    TooManyOfUser {
        limit: usize,
        names: Vec<String>,
    },
    /// Two ids begin alike; ask again with another.
    TagTaken,
    /// `node` is the host of the job, if the request was seen to come from there.
    Granted {
        id: ServerId,
        user: UserName,
        environment: Sealed,
        node: Option<String>,
    },
    Done(ServerId),
    /// Ask again with the addresses of this host.
    Resolve(String),
    /// The code or ticket is unknown, used, or its time is over; or its job is another one.
    Refused(&'static str),
    /// `qsub` has not said the job's id yet, or PBS not where the job runs: ask again in a moment.
    NotYet,
}

#[derive(Debug, Default)]
pub struct Outcome {
    pub effects: Vec<Effect>,
    pub answer: Option<Answer>,
}

/// Jobs whose absence from a list would end a user server.
#[derive(Debug, Default)]
pub struct Awaited {
    jobs: Vec<JobId>,
    /// A job without an id may be anywhere.
    has_lost: bool,
}

impl Awaited {
    pub fn jobs(&self) -> &[JobId] {
        &self.jobs
    }

    pub fn misses_any(&self, snapshot: &Snapshot) -> bool {
        self.has_lost || self.jobs.iter().any(|job| snapshot.presence(job) == Presence::Absent)
    }
}

/// Whose account jobs run under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Each user's own, so a job of another owner is another job.
    Users,
    /// The service's, for all of them; the job's name tells whose it is.
    Service,
}

#[derive(Debug)]
pub struct Fleet {
    servers: BTreeMap<ServerId, UserServer>,
    codes: BTreeMap<Digest, ServerId>,
    tickets: BTreeMap<Digest, ServerId>,
    limits: Limits,
    /// Every job of this service has a name that begins so, and no job of another service has.
    tag_prefix: String,
    owners: Owners,
    system: System,
    plan: PollPlan,
    pbs: PbsHealth,
    silent_since: Option<Millis>,
    orphans: BTreeMap<JobId, Millis>,
}

impl Fleet {
    pub fn restored(
        now: Millis,
        tag_prefix: String,
        owners: Owners,
        plan: PollPlan,
        limits: Limits,
        records: Vec<(Spec, State)>,
    ) -> Self {
        let mut fleet = Self {
            servers: BTreeMap::new(),
            codes: BTreeMap::new(),
            tickets: BTreeMap::new(),
            limits,
            tag_prefix,
            owners,
            system: System::default(),
            plan,
            pbs: PbsHealth::Unknown,
            silent_since: None,
            orphans: BTreeMap::new(),
        };
        for (spec, state) in records {
            fleet.insert(UserServer::restored(now, spec, state, &limits));
        }
        fleet
    }

    /// The same on a certain batch system: people are told its name.
    pub fn on(mut self, system: System) -> Self {
        self.system = system;
        self.servers.values_mut().for_each(|server| server.system = system);
        self
    }

    pub fn system(&self) -> System {
        self.system
    }

    fn insert(&mut self, mut server: UserServer) {
        server.system = self.system;
        let id = server.spec.id.clone();
        if server.spec.environment.is_some() {
            self.codes.insert(server.spec.code.clone(), id.clone());
        }
        if let Some(ticket) = &server.spec.ticket {
            self.tickets.insert(ticket.clone(), id.clone());
        }
        self.servers.insert(id, server);
    }

    pub fn server(&self, id: &ServerId) -> Option<&UserServer> {
        self.servers.get(id)
    }

    pub fn ids(&self) -> impl Iterator<Item = &ServerId> {
        self.servers.keys()
    }

    /// Those that may be forgotten by the hub, with how long it has to be silent about them.
    pub fn claimable(&self) -> impl Iterator<Item = (&ServerId, std::time::Duration)> {
        let limits = self.limits;
        self.servers.iter().filter_map(move |(id, server)| Some((id, server.unclaimed_after(&limits)?)))
    }

    pub fn view(&self, id: &ServerId) -> Option<View> {
        self.servers.get(id).map(|server| server.view(&self.pbs))
    }

    pub fn pbs(&self) -> &PbsHealth {
        &self.pbs
    }

    pub fn budget(&self) -> &Budget {
        self.plan.budget()
    }

    /// What the next list should name.
    pub fn awaited(&self) -> Awaited {
        let mut awaited = Awaited::default();
        for server in self.servers.values() {
            match &server.state {
                State::Submitting { .. } | State::Gone { .. } => {}
                State::Lost { .. } => awaited.has_lost = true,
                State::Queued { job, .. }
                | State::Starting { job, .. }
                | State::Running { job, .. }
                | State::Stopping { job, .. } => awaited.jobs.push(job.clone()),
            }
        }
        awaited
    }

    pub fn count_by_state(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for server in self.servers.values() {
            *counts.entry(server.state.word()).or_default() += 1;
        }
        counts
    }

    fn pbs_answers(&self) -> bool {
        self.pbs == PbsHealth::Answers
    }

    fn urgency(&self) -> Urgency {
        let urgency = |server: &UserServer| match server.state {
            State::Gone { .. } => Urgency::Idle,
            State::Running { .. } => Urgency::Calm,
            // Nothing to see until `qsub` has said the id.
            State::Submitting { .. } => Urgency::Calm,
            State::Lost { .. } | State::Queued { .. } | State::Starting { .. } | State::Stopping { .. } => {
                Urgency::Brisk
            }
        };
        let servers = self.servers.values().map(urgency).max().unwrap_or(Urgency::Idle);
        if self.orphans.is_empty() { servers } else { servers.max(Urgency::Calm) }
    }

    /// When to call `handle` with `Event::Tick` if nothing else arrives first.
    pub fn next_deadline(&self) -> Option<Millis> {
        let pbs_answers = self.pbs_answers();
        let servers =
            self.servers.values().filter_map(|server| server.next_deadline(&self.limits, pbs_answers)).min();
        [servers, self.plan.due(self.urgency()), self.overdue()].into_iter().flatten().min()
    }

    /// When a query that runs counts as silence. Silence is told once.
    fn overdue(&self) -> Option<Millis> {
        self.plan.overdue().filter(|_| !matches!(self.pbs, PbsHealth::Silent { .. }))
    }

    /// Applies one event. Effects are returned in the order they must be carried out.
    pub fn handle(&mut self, now: Millis, event: Event) -> Outcome {
        let mut outcome = Outcome::default();
        match event {
            Event::Request(spec) => outcome = self.request(now, *spec),
            Event::Server(id, event) => self.tell(now, &id, event, &mut outcome.effects),
            Event::Exchange { code, job, ticket, peer, resolved } => {
                outcome = self.exchange(now, &code, &job, ticket, peer, resolved.as_ref());
            }
            Event::Ready { ticket, host, port, peer, resolved } => {
                outcome = self.ready(now, &ticket, &host, port, peer, resolved.as_ref());
            }
            Event::LaunchFailed { ticket, report } => outcome = self.launch_failed(now, &ticket, report),
            Event::Listed(snapshot) => self.listed(now, &snapshot, &mut outcome.effects),
            Event::ListFailed { words } => self.list_failed(now, words, &mut outcome.effects),
            Event::Tick => self.tick(now, &mut outcome.effects),
        }
        if self.plan.due(self.urgency()).is_some_and(|due| due <= now) {
            self.plan.begin(now);
            outcome.effects.push(Effect::List);
        }
        outcome
    }

    fn tell(&mut self, now: Millis, id: &ServerId, event: server::Event, effects: &mut Vec<Effect>) {
        let Some(server) = self.servers.get_mut(id) else { return };
        for effect in server.handle(now, &self.limits, event) {
            match effect {
                server::Effect::Save => effects.push(Effect::Save(id.clone())),
                server::Effect::Delete(job) => {
                    let user = server.spec.user.clone();
                    effects.push(Effect::Delete { id: Some(id.clone()), user, job });
                }
                server::Effect::PollSoon => self.plan.soon(),
                server::Effect::Impossible(story) => effects.push(Effect::Log(Note::Impossible(story))),
            }
        }
        if server.spec.environment.is_none() {
            self.codes.remove(&server.spec.code);
        }
        if server.state.is_gone() {
            self.tickets.retain(|_, other| other != id);
        }
        effects.push(Effect::Publish(id.clone()));
    }

    fn request(&mut self, now: Millis, spec: Spec) -> Outcome {
        let answer = |answer| Outcome { effects: Vec::new(), answer: Some(answer) };
        let mut living = self.servers.values().filter(|server| !server.state.is_gone());
        let is_same = |server: &&UserServer| {
            server.spec.user == spec.user && server.spec.server_name == spec.server_name
        };
        if let Some(other) = living.clone().find(is_same) {
            return answer(Answer::AlreadyRunning(other.spec.id.clone()));
        }
        let own = living.clone().filter(|server| server.spec.user == spec.user);
        let mut names: Vec<String> = own.map(|server| server.spec.server_name.clone()).collect();
        names.sort();
        if names.len() >= self.limits.servers_per_user_max {
            return answer(Answer::TooManyOfUser { limit: self.limits.servers_per_user_max, names });
        }
        if living.clone().count() >= self.limits.servers_max {
            return answer(Answer::TooMany { limit: self.limits.servers_max });
        }
        if living.any(|server| server.spec.tag == spec.tag) || self.servers.contains_key(&spec.id) {
            return answer(Answer::TagTaken);
        }
        let id = spec.id.clone();
        self.insert(UserServer::requested(now, spec));
        let effects = vec![Effect::Save(id.clone()), Effect::Publish(id.clone()), Effect::Submit(id)];
        Outcome { effects, answer: Some(Answer::Accepted) }
    }

    fn listed(&mut self, now: Millis, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        let asked = self.plan.end(now, true);
        self.change_health(now, PbsHealth::Answers, effects);
        let ids: Vec<ServerId> = self.servers.keys().cloned().collect();
        let positions = snapshot.positions();
        for id in ids {
            let Some(server) = self.servers.get(&id) else { continue };
            let is_its = |job: &Job| self.owners.is_job_of(job, &server.spec);
            let presence = match (&server.state, server.state.job()) {
                (State::Gone { .. } | State::Submitting { .. }, _) => continue,
                (State::Lost { .. }, _) => {
                    let found = snapshot.jobs.values().find(|job| job.name == server.spec.tag && is_its(job));
                    match found {
                        Some(job) => Presence::Listed(job),
                        None if snapshot.complete => Presence::Absent,
                        None => Presence::Unknown,
                    }
                }
                (_, Some(job)) => snapshot.presence(job),
                (_, None) => Presence::Unknown,
            };
            let event = match presence {
                // Numbers start anew when a PBS server is set up again.
                Presence::Listed(job) if !is_its(job) => server::Event::NotSeen { asked },
                Presence::Listed(job) => server::Event::Seen {
                    asked,
                    job: Box::new(job.clone()),
                    position: positions.get(&job.id).copied(),
                },
                Presence::Absent => server::Event::NotSeen { asked },
                Presence::Unknown => continue,
            };
            self.tell(now, &id, event, effects);
        }
        self.remove_orphans(now, snapshot, effects);
        self.tick(now, effects);
    }

    /// Jobs with our tag that no user server owns: left by a crash between `qsub` and its answer.
    fn remove_orphans(&mut self, now: Millis, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        let tags: BTreeSet<&str> = self
            .servers
            .values()
            .filter(|server| !server.state.is_gone())
            .map(|server| server.spec.tag.as_str())
            .collect();
        let mut found = BTreeMap::new();
        for job in snapshot.jobs.values() {
            let is_orphan = job.name.starts_with(&self.tag_prefix)
                && !job.state.is_over()
                && !tags.contains(job.name.as_str());
            let Ok(user) = job.owner.parse::<UserName>() else { continue };
            if !is_orphan {
                continue;
            }
            let next = self.orphans.get(&job.id).copied().unwrap_or_default();
            if next > now {
                found.insert(job.id.clone(), next);
                continue;
            }
            found.insert(job.id.clone(), now.after(ORPHAN_AGAIN));
            let note = Note::Orphan { user: user.clone(), job: job.id.clone(), name: job.name.clone() };
            effects.push(Effect::Log(note));
            effects.push(Effect::Delete { id: None, user, job: job.id.clone() });
        }
        self.orphans = found;
    }

    fn list_failed(&mut self, now: Millis, words: String, effects: &mut Vec<Effect>) {
        self.plan.end(now, false);
        self.change_health(now, PbsHealth::Silent { words }, effects);
    }

    fn change_health(&mut self, now: Millis, health: PbsHealth, effects: &mut Vec<Effect>) {
        match (&self.pbs, &health) {
            (PbsHealth::Silent { .. }, PbsHealth::Answers) => {
                let silence = self.silent_since.take().map(|since| now.since(since)).unwrap_or_default();
                for (id, server) in &mut self.servers {
                    let saves = !server.spare(now, silence).is_empty();
                    effects.extend(saves.then(|| Effect::Save(id.clone())));
                }
                effects.push(Effect::Log(Note::PbsAnswersAgain))
            }
            (PbsHealth::Answers | PbsHealth::Unknown, PbsHealth::Silent { words }) => {
                self.silent_since = Some(self.plan.asked().unwrap_or(now));
                effects.push(Effect::Log(Note::PbsSilent { words: words.clone() }));
            }
            (PbsHealth::Silent { .. }, PbsHealth::Silent { .. } | PbsHealth::Unknown)
            | (PbsHealth::Answers | PbsHealth::Unknown, PbsHealth::Answers | PbsHealth::Unknown) => {}
        }
        if self.pbs != health {
            self.pbs = health;
            effects.extend(self.servers.keys().cloned().map(Effect::Publish));
        }
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if let Some(due) = self.overdue().filter(|due| *due <= now) {
            let asked = self.plan.asked().unwrap_or(due);
            let words = format!("no answer for {} s", now.since(asked).as_secs());
            self.change_health(now, PbsHealth::Silent { words }, effects);
        }
        let pbs_answers = self.pbs_answers();
        let due: Vec<ServerId> = self
            .servers
            .values()
            .filter(|server| server.next_deadline(&self.limits, pbs_answers).is_some_and(|due| due <= now))
            .map(|server| server.spec.id.clone())
            .collect();
        for id in due {
            if self.servers.get(&id).is_some_and(|server| server.state.is_gone()) {
                self.servers.remove(&id);
                effects.push(Effect::Forget(id));
            } else {
                self.tell(now, &id, server::Event::Tick { pbs_answers }, effects);
            }
        }
    }

    /// Panics if the indexes disagree with the servers.
    pub fn assert_consistent(&self) {
        for (code, id) in &self.codes {
            let server = self.servers.get(id).expect("a code leads to a server");
            assert!(
                server.spec.code == *code && server.spec.environment.is_some(),
                "{id}: code of another, or used"
            );
        }
        for (ticket, id) in &self.tickets {
            let server = self.servers.get(id).expect("a ticket leads to a server");
            assert!(server.spec.ticket.as_ref() == Some(ticket), "{id}: ticket of another");
        }
        for server in self.servers.values().filter(|server| server.state.is_gone()) {
            assert!(
                server.spec.environment.is_none() && server.spec.ticket.is_none(),
                "{} is gone",
                server.spec.id
            );
        }
    }
}

impl Owners {
    fn is_job_of(self, job: &Job, spec: &Spec) -> bool {
        match self {
            // PBS may leave the owner out. A user may rename a job.
            Self::Users => job.owner.is_empty() || job.owner == spec.user.as_str(),
            Self::Service => job.name == spec.tag,
        }
    }
}

#[path = "launchers.rs"]
mod launchers;

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation;
