//! Owns a client's process as the simulation has it: it submits its jobs, takes and checks what comes back, and says so
//! to the scheduler, as `client` does.

use std::collections::{BTreeMap, BTreeSet};

use nuna_plan::HeldId;
use nuna_scheduler::Event;
use nuna_wire::{ClientId, WorkerId, message::ToClient};
use rand::Rng;

use crate::{
    agenda::{MILLISECOND, SECOND, Time},
    jobs::{Expect, Job},
    network::Party,
    world::{What, World},
};

/// As `client` and `runtime` have them.
const HEARTBEAT: Time = 2 * SECOND;
const SILENCE_MAX: Time = 30 * SECOND;

/// A value that waits at a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    submission: u32,
    stage: u32,
    key: nuna_wire::StageKey,
    block: u64,
    worker: WorkerId,
}

pub(crate) struct Running {
    job: usize,
    step: usize,
    pub(crate) results: BTreeMap<(u32, u64), u64>,
    /// It was submitted to a second scheduler, which did not know it.
    again: bool,
}

pub(crate) struct Client {
    jobs: Vec<usize>,
    pub(crate) running: BTreeMap<u32, Running>,
    next_submission: u32,
    pub(crate) last_heard: Time,
    pub(crate) held: BTreeSet<HeldId>,
    /// Its scheduler is lost, and it is not back at another.
    pub(crate) away: bool,
    /// It was back when nobody waited for it any more: what it held is gone.
    pub(crate) late: bool,
    /// It takes nothing before this.
    pub(crate) slow_until: Time,
}

impl World {
    pub(crate) fn start_client(&mut self, jobs: Vec<usize>) {
        let jobs: Vec<usize> = jobs.into_iter().filter(|&job| !self.over[job]).collect();
        if jobs.is_empty() {
            return;
        }
        if self.down {
            return self.agenda.after(50 * MILLISECOND, What::StartClient(jobs));
        }
        self.clients_started += 1;
        let number = self.clients_started;
        self.scheduler_hears(Event::ClientJoined(ClientId(number)));
        self.client_sessions.insert(number);
        for &job in &jobs {
            let delay = self.rng.random_range(0..20 * MILLISECOND);
            self.agenda.after(delay, What::Submit { client: number, job, step: 0 });
        }
        let client = Client {
            jobs,
            running: BTreeMap::new(),
            next_submission: 1,
            last_heard: self.agenda.now,
            held: BTreeSet::new(),
            away: false,
            late: false,
            slow_until: 0,
        };
        self.clients.insert(number, client);
        self.agenda.after(HEARTBEAT, What::ClientBeat(number));
    }

    /// The process ends; another one begins its work again.
    pub(crate) fn end_client(&mut self, number: u32, back: Time) {
        let Some(client) = self.clients.remove(&number) else { return };
        self.from_client(number, Event::ClientLeft(ClientId(number)));
        self.agenda.after(back, What::StartClient(client.jobs));
    }

    pub(crate) fn from_client(&mut self, number: u32, event: Event) {
        // All that it would say then it tells when it is back.
        if self.clients.get(&number).is_some_and(|client| client.away) {
            return;
        }
        let from = Party::Client(number);
        let what = What::InFlight(self.connection(from), Box::new(What::ToScheduler(from, event)));
        self.network.send(&mut self.agenda, &mut self.rng, from, Party::Scheduler, what);
    }

    pub(crate) fn client_beats(&mut self, number: u32) {
        let Some(client) = self.clients.get(&number) else { return };
        if !client.away && self.agenda.now - client.last_heard > SILENCE_MAX {
            return self.end_client(number, 5 * SECOND);
        }
        self.from_client(number, Event::ClientHeard(ClientId(number)));
        self.agenda.after(HEARTBEAT, What::ClientBeat(number));
    }

    fn held_id(number: u32, job: usize) -> HeldId {
        HeldId(u64::from(number) << 32 | (job as u64 + 1))
    }

    pub(crate) fn submit(&mut self, number: u32, job: usize, step: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let submission = client.next_submission;
        client.next_submission += 1;
        client.running.insert(submission, Running { job, step, results: BTreeMap::new(), again: false });
        if step == 0 && self.jobs[job].steps.len() > 1 {
            client.held.insert(Self::held_id(number, job));
        }
        self.say_submit(number, submission);
        if let Expect::Cancelled(after) = self.jobs[job].expect
            && step == 0
        {
            self.agenda.after(after, What::CancelJob { client: number, job });
        }
    }

    fn say_submit(&mut self, number: u32, submission: u32) {
        let Some(running) = self.clients[&number].running.get(&submission) else { return };
        let (job, step) = (running.job, running.step);
        let plan = Box::new(self.jobs[job].steps[step].plan_for(job, step, Self::held_id(number, job)));
        self.from_client(number, Event::Submit { client: ClientId(number), submission, plan });
    }

    pub(crate) fn cancel_job(&mut self, number: u32, job: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if self.over[job] {
            return;
        }
        let submission =
            client.running.iter().find(|(_, running)| running.job == job).map(|(&submission, _)| submission);
        if let Some(submission) = submission {
            client.running.remove(&submission);
            self.from_client(number, Event::Cancel { client: ClientId(number), submission });
        }
        self.job_over(number, job);
    }

    fn job_over(&mut self, number: u32, job: usize) {
        self.over[job] = true;
        if self.jobs[job].steps.len() > 1 {
            let (client, held) = (ClientId(number), Self::held_id(number, job));
            if let Some(client) = self.clients.get_mut(&number) {
                client.held.remove(&held);
            }
            self.from_client(number, Event::Release { client, held });
        }
        if self.delivered_at_first_end.is_empty() {
            self.delivered_at_first_end = self.delivered.clone();
        }
    }

    pub(crate) fn client_hears(&mut self, number: u32, message: ToClient) {
        let now = self.agenda.now;
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.last_heard = now;
        match message {
            ToClient::Available { submission, stage, key, block, worker, .. } => {
                let wait = client.slow_until.saturating_sub(now);
                let delay = wait + self.rng.random_range(100..5_000);
                let offer = Offer { submission, stage, key, block, worker };
                self.agenda.after(delay, What::ClientFetches(number, offer));
            }
            ToClient::Finished { submission, .. } => self.plan_finished(number, submission),
            ToClient::Returned { unknown } => {
                for submission in &unknown {
                    if let Some(running) = client.running.get_mut(submission) {
                        running.again = true;
                    }
                }
                unknown.into_iter().for_each(|submission| self.say_submit(number, submission));
            }
            ToClient::Failed { submission, error } => {
                let Some(running) = client.running.remove(&submission) else { return };
                let error = error.to_string();
                // What it held is gone if it came back too late, and the error says what to do. Otherwise it was told that
                // this is there, and it must be.
                let lost = client.late && running.step > 0 && error.contains("persist it again");
                match &self.jobs[running.job].expect {
                    _ if lost => {}
                    Expect::Error(text) | Expect::ResultsOrError(text) if error.contains(text.as_str()) => {}
                    Expect::Cancelled(_) => panic!("nothing was to fail, and nobody cancelled: {error}"),
                    expected => panic!("job {} failed with `{error}`, not {expected:?}", running.job),
                }
                self.job_over(number, running.job);
            }
            ToClient::Delivered { .. }
            | ToClient::Told { .. }
            | ToClient::Progress { .. }
            | ToClient::Cluster(_)
            | ToClient::Heartbeat => {}
        }
    }

    fn plan_finished(&mut self, number: u32, submission: u32) {
        let client = self.clients.get_mut(&number).expect("it has just heard");
        let Some(Running { job, step, results, .. }) = client.running.remove(&submission) else { return };
        let Job { steps, expect } = &self.jobs[job];
        assert!(results == steps[step].expected, "job {job} step {step} gave other results than expected");
        if step + 1 < steps.len() {
            return self.submit(number, job, step + 1);
        }
        match expect {
            Expect::Results | Expect::ResultsOrError(_) | Expect::Cancelled(_) => {}
            Expect::Error(text) => panic!("job {job} has results, but should have failed with `{text}`"),
        }
        self.job_over(number, job);
    }

    /// Values that came along with a message.
    pub(crate) fn client_receives(
        &mut self,
        number: u32,
        submission: u32,
        stage: u32,
        values: Vec<(u64, u64)>,
    ) {
        let now = self.agenda.now;
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.last_heard = now;
        let bytes = 8 * values.len() as u64;
        let mut wait = 0;
        if let Some(running) = client.running.get_mut(&submission) {
            self.delivered[running.job] += values.len() as u64;
            for (block, value) in values {
                let before = running.results.insert((stage, block), value);
                assert!(
                    before.is_none() || (running.again && before == Some(value)),
                    "submission {submission} stage {stage} block {block} came twice"
                );
            }
            wait = client.slow_until.saturating_sub(now);
        }
        self.agenda.after(wait + self.rng.random_range(1..1_000), What::ClientConsumes(number, bytes));
    }

    pub(crate) fn client_consumes(&mut self, number: u32, bytes: u64) {
        if self.clients.contains_key(&number) {
            self.from_client(number, Event::Consumed { client: ClientId(number), bytes });
        }
    }

    pub(crate) fn client_fetches(&mut self, number: u32, offer: Offer) {
        let Offer { submission, stage, key, block, worker } = offer;
        let value = self.machine_of(worker).and_then(|machine| machine.get((key, block)));
        let Some(client) = self.clients.get_mut(&number) else { return };
        let id = ClientId(number);
        let event = match value {
            Some(value) => {
                if let Some(running) = client.running.get_mut(&submission) {
                    self.delivered[running.job] += 1;
                    // Offered again because its worker was lost before the scheduler heard that it is here: the client
                    // passes on the first one.
                    let before = running.results.insert((stage, block), value);
                    assert!(
                        before.is_none_or(|before| before == value),
                        "stage {stage} block {block} has two values"
                    );
                }
                Event::Received { client: id, submission, stage, blocks: vec![block] }
            }
            None => Event::Missing { client: id, submission, stage, block, worker },
        };
        self.from_client(number, event);
    }
}
