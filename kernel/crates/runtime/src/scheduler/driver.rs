//! Owns the scheduler's loop: messages in, effects out, and what the dashboard is told.

mod clients;
mod workers;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use nuna_dashboard::{Event as Recorded, Recorder};
use nuna_plan::LibraryId;
use nuna_scheduler::{Effect, Event, Note, Outcome, Scheduler, Settings};
use nuna_wire::{
    ClientId, Incoming, Outbox, Payload, WorkerId,
    message::{JobsInfo, Role, ToClient, ToWorker, WorkerHello},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};

use nuna_jobs::driver::{Notice, Order};

use super::{
    jobs::{self, Orders},
    journal::{Before, Journal},
    peers::Input,
};
use crate::{
    HEARTBEAT, SILENCE_MAX,
    lifeline::{Ending, ended},
};

/// Messages handled before anything else gets a turn.
const MESSAGES_AT_ONCE: usize = 256;
/// After a restart so many ids are left out: workers may have had them whose arrival the journal has not seen.
const WORKERS_UNSEEN: u16 = 256;
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
            next_client: next.map_or(1, |next| next.client.saturating_add(clients::CLIENTS_MAX as u32)),
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

    fn beat(&mut self) {
        for peer in self.workers.values() {
            let _ = peer.outbox.send(ToWorker::Heartbeat, Payload::new());
        }
        self.tell_clients();
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
