//! Owns the scheduler's loop: messages in, effects out, and what the dashboard is told.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use nuna_dashboard::{Event as Recorded, Recorder, SpanKind, TaskSpan};
use nuna_plan::LibraryId;
use nuna_scheduler::{Effect, Event, Note, Outcome, Scheduler, Settings, journal::Record};
use nuna_wire::{
    ClientId, Incoming, Outbox, Payload, WorkerId,
    frame::unpack,
    message::{
        ClusterInfo, FromClient, FromWorker, JobsInfo, RETURN_RUNS_MAX, Role, RoleAnswer, ToClient, ToWorker,
        WorkerHello, WorkerInfo,
    },
    outbox,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};

use nuna_jobs::driver::{Notice, Order};

use super::{
    jobs::{self, Orders},
    journal::{Before, Journal},
    peers::{Input, converse},
};
use crate::{
    HEARTBEAT, OUTBOX_BYTES_MAX, SILENCE_MAX,
    lifeline::{Ending, ended},
};

/// Libraries kept for workers that have yet to come.
const LIBRARIES_BYTES_MAX: u64 = 4 << 30;
/// Messages handled before anything else gets a turn.
const MESSAGES_AT_ONCE: usize = 256;
const CLIENTS_MAX: usize = 1024;
const WORKERS_MAX: usize = 60_000;
/// After a restart so many ids are left out: workers may have had them whose arrival the journal has not seen.
const WORKERS_UNSEEN: u16 = 256;
/// What the journal must have before clients hear of it waits no longer than this for a disk that does not answer.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);
/// What may take so long at the end: telling workers and clients.
const FAREWELL: Duration = Duration::from_secs(1);

struct WorkerPeer {
    name: String,
    outbox: Outbox<ToWorker>,
    libraries: HashSet<LibraryId>,
}

/// Who else the cluster depends on.
pub(crate) struct Company {
    /// Those who follow the workers' jobs.
    pub(crate) jobs: Option<Orders>,
    /// How long it goes on without clients.
    pub(crate) linger: Option<Duration>,
    /// What there is once for all workers.
    pub(crate) shared: BTreeMap<String, u32>,
}

/// What others may know of the cluster.
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) dashboard: String,
    /// The zero of all task times.
    pub(crate) epoch: Instant,
}

pub(crate) struct Driver {
    about: About,
    scheduler: Scheduler,
    recorder: Recorder,
    journal: Journal,
    /// For clients, in order, once the journal stands: what they are told must be true of whoever takes this one's place.
    held_back: VecDeque<(ClientId, ToClient, Payload)>,
    held_back_since: Option<Instant>,
    restarts: u32,
    inbox: mpsc::Sender<Input>,
    /// Back at this scheduler, which took the place of theirs, and have yet to say what they have.
    workers_returning: HashMap<WorkerId, WorkerHello>,
    clients_returning: HashSet<ClientId>,
    workers: BTreeMap<WorkerId, WorkerPeer>,
    clients: HashMap<ClientId, Outbox<ToClient>>,
    libraries: HashMap<LibraryId, Bytes>,
    next_worker: u16,
    next_client: u32,
    /// Whether clients have yet to hear that workers came or went.
    changed: bool,
    ended: bool,
    company: Company,
    jobs: Option<JobsInfo>,
    /// Since when nobody has used the cluster.
    lonely_since: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        about: About,
        recorder: Recorder,
        inbox: mpsc::Sender<Input>,
        company: Company,
        journal: Journal,
        before: Option<Before>,
    ) -> Self {
        let settings =
            Settings { silence_max: SILENCE_MAX, shared: company.shared.clone(), ..Settings::default() };
        let next = before.as_ref().map(|before| before.image.next);
        Self {
            about,
            scheduler: match before {
                Some(before) => Scheduler::restore(settings, Instant::now(), before.image),
                None => Scheduler::new(settings),
            },
            recorder,
            journal,
            held_back: VecDeque::new(),
            held_back_since: None,
            restarts: next.map_or(0, |next| next.restarts),
            inbox,
            workers_returning: HashMap::new(),
            clients_returning: HashSet::new(),
            workers: BTreeMap::new(),
            clients: HashMap::new(),
            libraries: HashMap::new(),
            next_worker: next
                .and_then(|next| next.worker)
                .map_or(0, |next| next.wrapping_add(WORKERS_UNSEEN)),
            // As with workers: no more clients were there than could be.
            next_client: next.map_or(1, |next| next.client.saturating_add(CLIENTS_MAX as u32)),
            changed: false,
            ended: false,
            company,
            jobs: None,
            lonely_since: None,
        }
    }

    /// Runs until the cluster ends; gives the journal back, which nobody needs any more then.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Input>, mut ending: Ending) -> Journal {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut terminated = Box::pin(termination());
        let written = self.journal.written();
        while !self.ended {
            let deadline = self.scheduler.next_deadline().map(tokio::time::Instant::from_std);
            let far = tokio::time::Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = ended(&mut ending) => break,
                () = &mut terminated => break,
                input = inbox.recv() => {
                    let Some(input) = input else { break };
                    self.receive(input);
                    for _ in 0..MESSAGES_AT_ONCE {
                        let Ok(input) = inbox.try_recv() else { break };
                        self.receive(input);
                    }
                }
                () = written.news.notified() => {}
                () = tokio::time::sleep_until(deadline.unwrap_or(far)) => self.handle(Event::Tick),
                _ = heartbeat.tick() => {
                    self.beat();
                    self.look_around();
                }
            }
            self.tell_held_back();
            if std::mem::take(&mut self.changed) {
                self.tell_clients();
            }
        }
        for worker in self.workers.values() {
            let _ = worker.outbox.send(ToWorker::ShutDown, Payload::new());
        }
        // Writers close their connections once their outboxes are gone and empty. When the last of them has ended,
        // nobody can send to the inbox any more.
        let Self { journal, .. } = self;
        let farewell = async { while inbox.recv().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        journal
    }

    fn receive(&mut self, input: Input) {
        match input {
            Input::Arrived(incoming, place) => self.arrived(*incoming, place),
            Input::Worker(worker, message, payload) => self.from_worker(worker, message, &payload),
            Input::Client(client, message, payload) => self.from_client(client, message, payload),
            Input::WorkerGone(worker, reason) => self.worker_gone(worker, &reason),
            Input::Jobs(notice) => self.from_jobs(notice),
            Input::ClientGone(client, reason) => {
                self.clients_returning.remove(&client);
                if self.clients.remove(&client).is_some() {
                    tracing::info!(client = client.0, reason, "a client has left");
                    self.handle(Event::ClientLeft(client));
                }
            }
        }
    }

    fn from_jobs(&mut self, notice: Notice) {
        match notice {
            Notice::Status(status) => {
                let trouble = status.paused.clone().or_else(|| status.trouble.clone());
                let workers = status.coming();
                self.jobs = Some(jobs::info(&status));
                self.changed = true;
                self.handle(Event::Coming { workers, trouble });
            }
            Notice::Retire(name) => {
                match self.workers.iter().find(|(_, peer)| peer.name == name).map(|(&worker, _)| worker) {
                    Some(worker) => self.handle(Event::Retire { worker }),
                    None => self.order(Order::Left(name)),
                }
            }
        }
    }

    fn order(&self, order: Order) {
        if let Some(jobs) = &self.company.jobs {
            // They end after this.
            let _ = jobs.send(order);
        }
    }

    /// What nobody announces: how much work there is, and that nobody is there any more.
    fn look_around(&mut self) {
        // How much there is to do is known once everybody is back.
        if self.scheduler.awaits_return() {
            return;
        }
        if self.company.jobs.is_some() {
            let demand = self.scheduler.demand();
            let workers = jobs::wanted(&demand);
            self.order(Order::Demand { workers, idle: demand.idle });
        }
        let lonely = self.clients.is_empty() && self.scheduler.totals().computations_running == 0;
        if !lonely {
            self.lonely_since = None;
        } else if let Some(linger) = self.company.linger {
            let since = *self.lonely_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= linger {
                tracing::info!(
                    seconds = linger.as_secs(),
                    "nobody has used the cluster for so long; it ends"
                );
                self.ended = true;
            }
        }
    }

    fn arrived(&mut self, incoming: Incoming, place: OwnedSemaphorePermit) {
        match incoming.role.clone() {
            Role::Client { name } => {
                let client = ClientId(self.next_client);
                if self.welcome_client(incoming, place, client, &name) {
                    self.next_client += 1;
                    self.handle(Event::ClientJoined(client));
                }
            }
            Role::ClientAgain { name, id } => {
                let client = ClientId(id);
                if self.clients.contains_key(&client) {
                    return refuse(incoming, format!("client {id} is there already"));
                }
                if self.welcome_client(incoming, place, client, &name) {
                    self.next_client = self.next_client.max(id.saturating_add(1));
                    self.clients_returning.insert(client);
                }
            }
            Role::Worker(hello) => {
                while self.workers.contains_key(&WorkerId(self.next_worker)) {
                    self.next_worker = self.next_worker.wrapping_add(1);
                }
                let worker = WorkerId(self.next_worker);
                if self.welcome_worker(incoming, place, worker, &hello) {
                    self.next_worker = self.next_worker.wrapping_add(1);
                    self.handle(Event::WorkerJoined { worker, hello });
                }
            }
            Role::WorkerAgain { hello, id } => {
                if !self.scheduler.awaits_return() || self.workers.contains_key(&id) {
                    return refuse(incoming, format!("the cluster has gone on without {id}, {}", hello.name));
                }
                if self.welcome_worker(incoming, place, id, &hello) {
                    self.workers_returning.insert(id, hello);
                }
            }
            Role::Reader => refuse(incoming, "this is a scheduler; values are with the workers".into()),
        }
    }

    fn welcome_client(
        &mut self,
        incoming: Incoming,
        place: OwnedSemaphorePermit,
        client: ClientId,
        name: &str,
    ) -> bool {
        if self.clients.len() >= CLIENTS_MAX {
            refuse(incoming, format!("the cluster has {CLIENTS_MAX} clients already"));
            return false;
        }
        let (outbox, outgoing) = outbox(OUTBOX_BYTES_MAX);
        let answer = RoleAnswer::Client { id: client.0, cluster: self.info() };
        converse(
            incoming,
            place,
            answer,
            outgoing,
            self.inbox.clone(),
            move |message, payload| Input::Client(client, message, payload),
            move |reason| Input::ClientGone(client, reason),
        );
        tracing::info!(client = client.0, name, "a client has joined");
        self.clients.insert(client, outbox);
        true
    }

    fn welcome_worker(
        &mut self,
        incoming: Incoming,
        place: OwnedSemaphorePermit,
        worker: WorkerId,
        hello: &WorkerHello,
    ) -> bool {
        if self.workers.len() >= WORKERS_MAX {
            refuse(incoming, format!("the cluster has {WORKERS_MAX} workers already"));
            return false;
        }
        let (outbox, outgoing) = outbox(OUTBOX_BYTES_MAX);
        let elapsed_us = self.about.epoch.elapsed().as_micros() as u64;
        converse(
            incoming,
            place,
            RoleAnswer::Worker { id: worker, elapsed_us },
            outgoing,
            self.inbox.clone(),
            move |message, payload| Input::Worker(worker, message, payload),
            move |reason| Input::WorkerGone(worker, reason),
        );
        tracing::info!(%worker, name = hello.name, address = %hello.data_address, "a worker has joined");
        self.recorder.record(Recorded::WorkerJoined {
            worker: u32::from(worker.0),
            name: hello.name.clone(),
            threads: hello.threads,
            memory_limit: hello.limit_bytes,
        });
        let name = hello.name.clone();
        self.order(Order::Joined(name.clone()));
        self.workers.insert(worker, WorkerPeer { name, outbox, libraries: HashSet::new() });
        self.changed = true;
        true
    }

    fn worker_gone(&mut self, worker: WorkerId, reason: &str) {
        self.workers_returning.remove(&worker);
        if let Some(peer) = self.workers.remove(&worker) {
            self.order(Order::Left(peer.name));
            tracing::warn!(%worker, reason, "a worker is gone; what only it had will be computed again");
            self.recorder.record(Recorded::WorkerLeft { worker: u32::from(worker.0), lost: true });
            self.changed = true;
            self.handle(Event::WorkerLeft(worker));
        }
    }

    fn from_worker(&mut self, worker: WorkerId, message: FromWorker, payload: &Bytes) {
        // Messages that were on their way when it was given up.
        if !self.workers.contains_key(&worker) {
            return;
        }
        let number = u32::from(worker.0);
        let message = match (self.workers_returning.remove(&worker), message) {
            (None, message) => message,
            (Some(hello), FromWorker::Return(state)) => {
                let runs = state.stages.len() + state.copies.len() + state.stored.len() + state.leased.len();
                if runs > RETURN_RUNS_MAX {
                    return self.cut_off_worker(worker, "it returns with more than anybody could keep");
                }
                return self.handle(Event::WorkerReturned { worker, hello, state });
            }
            (Some(_), _) => return self.cut_off_worker(worker, "it has not said what it returns with"),
        };
        match message {
            // It is said once.
            FromWorker::Return(_) => {}
            FromWorker::Completed(stages) => {
                let shapes: Vec<_> = stages
                    .iter()
                    .flat_map(|(_, blocks)| blocks.iter().filter_map(|block| block.inline))
                    .collect();
                let mut values = match unpack(payload, shapes) {
                    Ok(values) => values.into_iter(),
                    Err(error) => return self.cut_off_worker(worker, &error.to_string()),
                };
                let mut spans = Vec::with_capacity(stages.iter().map(|(_, blocks)| blocks.len()).sum());
                for (stage, blocks) in stages {
                    spans.extend(blocks.iter().map(|block| TaskSpan {
                        stage: stage.0,
                        block: block.block,
                        worker: number,
                        thread: block.thread,
                        start_us: block.start_us,
                        duration_us: block.duration_us,
                        kind: SpanKind::Compute,
                    }));
                    let blocks = blocks
                        .into_iter()
                        .map(|block| {
                            let value = if block.inline.is_some() { values.next() } else { None };
                            (block, value)
                        })
                        .collect();
                    self.handle(Event::Completed { worker, stage, blocks });
                }
                self.recorder.record(Recorded::Tasks(spans));
            }
            FromWorker::Failed { stage, block, error } => {
                self.handle(Event::Failed { worker, stage, block, error })
            }
            FromWorker::InputMissing { stage, block, input, input_block, worker: holder } => {
                self.handle(Event::InputMissing { worker, stage, block, input, input_block, holder });
            }
            FromWorker::Unreachable { worker: holder, error } => {
                self.handle(Event::Unreachable { worker, holder, error });
            }
            FromWorker::Reclaimed { stage, runs } => self.handle(Event::Reclaimed { worker, stage, runs }),
            FromWorker::Spans(spans) => {
                use nuna_wire::message::SpanKind as Kind;
                let spans = spans.into_iter().map(|span| TaskSpan {
                    stage: span.stage.0,
                    block: span.block,
                    worker: number,
                    thread: 0,
                    start_us: span.start_us,
                    duration_us: span.duration_us,
                    kind: match span.kind {
                        Kind::Transfer => SpanKind::Transfer,
                        Kind::Spill => SpanKind::Spill,
                    },
                });
                self.recorder.record(Recorded::Tasks(spans.collect()));
            }
            FromWorker::Sample(sample) => {
                self.recorder.record(Recorded::WorkerSample {
                    worker: number,
                    managed_bytes: sample.managed_bytes,
                    spilled_bytes: sample.spilled_bytes,
                    rss_bytes: sample.rss_bytes,
                    cpu_permille: sample.cpu_permille,
                    threads_busy: sample.threads_busy,
                });
                self.handle(Event::Sample { worker, sample });
            }
            FromWorker::Lasts { ms } => {
                // Longer than anybody waits is for ever.
                if let Some(until) = Instant::now().checked_add(Duration::from_millis(ms)) {
                    self.handle(Event::WorkerLasts { worker, until });
                }
            }
            FromWorker::Draining { reason } => {
                tracing::info!(%worker, reason, "a worker is about to leave");
                if let Some(peer) = self.workers.get(&worker) {
                    self.order(Order::Leaving(peer.name.clone()));
                }
                self.handle(Event::Draining { worker });
            }
            FromWorker::Leaving { reason } => self.worker_gone(worker, &reason),
        }
    }

    fn from_client(&mut self, client: ClientId, message: FromClient, payload: Bytes) {
        if !self.clients.contains_key(&client) {
            return;
        }
        let message = match (self.clients_returning.remove(&client), message) {
            (false, message) => message,
            (true, FromClient::Return(state)) => {
                let runs = state.submissions.iter().flat_map(|of| &of.received).map(|(_, runs)| runs.len());
                if runs.sum::<usize>() + state.held.len() > RETURN_RUNS_MAX {
                    return self.cut_off_client(client, "it returns with more than anybody could keep");
                }
                return self.handle(Event::ClientReturned { client, state });
            }
            (true, _) => return self.cut_off_client(client, "it has not said what it returns with"),
        };
        match message {
            // It is said once.
            FromClient::Return(_) => {}
            FromClient::Library(id) => {
                let total: u64 = self.libraries.values().map(|library| library.len() as u64).sum();
                if total + payload.len() as u64 > LIBRARIES_BYTES_MAX {
                    tracing::error!(library = ?id, "not kept: more than {LIBRARIES_BYTES_MAX} bytes of libraries");
                } else {
                    self.journal.library(id, payload.clone());
                    self.libraries.insert(id, payload);
                }
                self.handle(Event::ClientHeard(client));
            }
            FromClient::Submit { submission, plan } => {
                self.handle(Event::Submit { client, submission, plan })
            }
            FromClient::Cancel { submission } => self.handle(Event::Cancel { client, submission }),
            FromClient::Release(held) => self.handle(Event::Release { client, held }),
            FromClient::Ask { request, ask } => self.handle(Event::Ask { client, request, ask }),
            FromClient::Received { submission, stage, blocks } => {
                self.handle(Event::Received { client, submission, stage, blocks });
            }
            FromClient::Missing { submission, stage, block, worker } => {
                self.handle(Event::Missing { client, submission, stage, block, worker });
            }
            FromClient::Consumed { bytes } => self.handle(Event::Consumed { client, bytes }),
            FromClient::Scale { least, most } => {
                tracing::info!(client = client.0, least, most, "a client scales the cluster");
                self.journal.record(Record::Scaled { least, most });
                self.order(Order::Want { least, most });
            }
            FromClient::Heartbeat => self.handle(Event::ClientHeard(client)),
            FromClient::ShutDown => {
                tracing::info!(client = client.0, "a client ends the cluster");
                self.ended = true;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let effects = self.scheduler.handle(Instant::now(), event);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::ToWorker { worker, message } => {
                if let ToWorker::Define(definition) = &message {
                    self.send_libraries(worker, &definition.stage.work.libraries);
                }
                self.to_worker(worker, message, Payload::new());
            }
            Effect::ToClient { client, message } => self.to_client(client, message, Payload::new()),
            Effect::Deliver { client, submission, stage, values } => {
                let mut payload = Payload::new();
                let shapes = values.iter().map(|(_, value)| payload.push(value)).collect();
                let blocks = values.iter().map(|&(block, _)| block).collect();
                self.to_client(client, ToClient::Delivered { submission, stage, blocks, shapes }, payload);
            }
            Effect::DisconnectWorker { worker, reason } => {
                tracing::warn!(%worker, reason, "a worker is given up");
                if let Some(peer) = self.workers.remove(&worker) {
                    self.order(Order::Left(peer.name));
                    self.recorder.record(Recorded::WorkerLeft { worker: u32::from(worker.0), lost: true });
                    self.changed = true;
                }
            }
            Effect::Dismiss { worker } => {
                if let Some(peer) = self.workers.remove(&worker) {
                    tracing::info!(%worker, "a worker has done all it had, and leaves");
                    self.order(Order::Leaving(peer.name.clone()));
                    let _ = peer.outbox.send(ToWorker::ShutDown, Payload::new());
                    self.recorder.record(Recorded::WorkerLeft { worker: u32::from(worker.0), lost: false });
                    self.changed = true;
                }
            }
            Effect::DisconnectClient { client, reason } => {
                tracing::warn!(client = client.0, reason, "a client is given up");
                self.clients.remove(&client);
            }
            Effect::Note(note) => self.record(note),
            Effect::Journal(record) => self.journal.record(record),
        }
    }

    fn record(&self, note: Note) {
        self.recorder.record(match note {
            Note::ComputationStarted { computation, label } => {
                Recorded::ComputationStarted { computation, label }
            }
            Note::StageStarted { computation, stage, name, blocks } => {
                Recorded::StageStarted { computation, stage: stage.0, name, blocks }
            }
            Note::ComputationFinished { computation, outcome } => Recorded::ComputationFinished {
                computation,
                outcome: match outcome {
                    Outcome::Done => nuna_dashboard::Outcome::Succeeded,
                    Outcome::Failed => nuna_dashboard::Outcome::Failed,
                    Outcome::Cancelled => nuna_dashboard::Outcome::Cancelled,
                },
            },
            Note::Dismissed { worker, reason } => {
                return tracing::warn!(%worker, reason, "a worker is sent away");
            }
            Note::Failure { stage, block, worker, message } => {
                Recorded::Failure { stage: stage.0, block, worker: u32::from(worker.0), message }
            }
        });
    }

    /// Libraries a stage needs, in its order, once per worker.
    fn send_libraries(&mut self, worker: WorkerId, libraries: &[LibraryId]) {
        for id in libraries {
            let Some(peer) = self.workers.get_mut(&worker) else { return };
            if peer.libraries.contains(id) {
                continue;
            }
            if !self.libraries.contains_key(id)
                && self.restarts > 0
                && let Some(found) = self.journal.find_library(*id)
            {
                self.libraries.insert(*id, found);
            }
            let Some(peer) = self.workers.get_mut(&worker) else { return };
            // One that never came is reported by the worker, with the stage that wanted it.
            if let Some(bytes) = self.libraries.get(id) {
                peer.libraries.insert(*id);
                let payload = Payload::raw(bytes.clone());
                self.to_worker(worker, ToWorker::Library(*id), payload);
            }
        }
    }

    fn to_worker(&mut self, worker: WorkerId, message: ToWorker, payload: Payload) {
        let sent = self.workers.get(&worker).map(|peer| peer.outbox.send(message, payload));
        if let Some(Err(error)) = sent {
            self.cut_off_worker(worker, &error.to_string());
        }
    }

    /// The connection is closed; what follows from that comes through the inbox, so that effects keep their order.
    fn cut_off_worker(&self, worker: WorkerId, reason: &str) {
        tracing::warn!(%worker, reason, "the connection to a worker is cut");
        let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
        tokio::spawn(async move {
            let _ = inbox.send(Input::WorkerGone(worker, reason)).await;
        });
    }

    fn to_client(&mut self, client: ClientId, message: ToClient, payload: Payload) {
        if self.held_back.is_empty() && self.journal.stands() {
            return self.to_client_now(client, message, payload);
        }
        self.held_back_since.get_or_insert_with(Instant::now);
        self.held_back.push_back((client, message, payload));
    }

    /// Tells clients what waited for the journal, if that stands.
    fn tell_held_back(&mut self) {
        let Some(since) = self.held_back_since else { return };
        if !self.journal.stands() {
            if since.elapsed() < JOURNAL_PATIENCE {
                return;
            }
            tracing::error!(
                seconds = JOURNAL_PATIENCE.as_secs(),
                "the journal's file system does not answer: clients are told what may be lost with this process"
            );
        }
        self.held_back_since = None;
        for (client, message, payload) in std::mem::take(&mut self.held_back) {
            self.to_client_now(client, message, payload);
        }
    }

    fn to_client_now(&self, client: ClientId, message: ToClient, payload: Payload) {
        if let Some(Err(error)) = self.clients.get(&client).map(|outbox| outbox.send(message, payload)) {
            self.cut_off_client(client, &error.to_string());
        }
    }

    fn cut_off_client(&self, client: ClientId, reason: &str) {
        tracing::warn!(client = client.0, reason, "the connection to a client is cut");
        let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
        tokio::spawn(async move {
            let _ = inbox.send(Input::ClientGone(client, reason)).await;
        });
    }

    fn beat(&mut self) {
        for peer in self.workers.values() {
            let _ = peer.outbox.send(ToWorker::Heartbeat, Payload::new());
        }
        self.tell_clients();
    }

    /// Also shows clients that the scheduler is alive.
    fn tell_clients(&self) {
        if self.clients.is_empty() {
            return;
        }
        let info = self.info();
        for outbox in self.clients.values() {
            let _ = outbox.send(ToClient::Cluster(info.clone()), Payload::new());
        }
    }

    fn info(&self) -> ClusterInfo {
        let workers = self.scheduler.samples().map(|(id, hello, sample)| WorkerInfo {
            id,
            name: hello.name.clone(),
            pid: hello.pid,
            threads: hello.threads,
            memory_bytes: hello.limit_bytes,
            used_bytes: sample.managed_bytes,
            disk: hello.disk,
        });
        ClusterInfo {
            name: self.about.name.clone(),
            dashboard: self.about.dashboard.clone(),
            workers: workers.collect(),
            jobs: self.jobs.clone(),
            restarts: self.restarts,
        }
    }
}

fn refuse(incoming: Incoming, reason: String) {
    tracing::warn!(address = %incoming.address, reason, "refused");
    tokio::spawn(incoming.refuse(reason));
}

/// Ends with the first signal that asks a process to end.
async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
