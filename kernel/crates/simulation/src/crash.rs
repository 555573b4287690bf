//! Owns the loss of the scheduler: everything on its connections is gone, and of its journal what was not yet written.
//! Another takes its place; machines and clients come back to it in their own time, some of them too late.

use nuna_scheduler::{Event, Scheduler, journal::Image};
use nuna_wire::ClientId;
use nuna_wire::message::{Blocks, ClientReturn, ReturningSubmission, WorkerHello};
use rand::Rng;

use crate::{
    agenda::{MILLISECOND, SECOND, Time},
    network::Party,
    world::{Recorded, What, World},
};

/// How soon one looks again that cannot reach the scheduler.
const RETRY: Time = 100 * MILLISECOND;

impl World {
    /// The process ends; what was recorded in the last `unwritten` microseconds is lost with it, but for what a client
    /// may have been told of, and what was recorded before that.
    pub(crate) fn crash_scheduler(&mut self, unwritten: Time, back: Time) {
        if self.down {
            return;
        }
        self.down = true;
        self.crashes += 1;
        // What is on its way to or from it never arrives.
        self.incarnation += 1;
        let now = self.agenda.now;
        let old = |recorded: &Recorded| recorded.at + unwritten <= now;
        let stands = |recorded: &Recorded| recorded.written.is_some_and(|written| written <= now);
        let last = self.journal.iter().rposition(|recorded| old(recorded) || stands(recorded));
        self.journal.truncate(last.map_or(0, |last| last + 1));
        self.sessions.clear();
        self.client_sessions.clear();
        self.machines.values_mut().for_each(|machine| machine.away = true);
        self.clients.values_mut().for_each(|client| client.away = true);
        self.agenda.after(back, What::SchedulerBack);
    }

    pub(crate) fn scheduler_back(&mut self) {
        self.down = false;
        let (image, unfit) = Image::of(self.journal.drain(..).map(|recorded| recorded.record));
        assert_eq!(unfit, 0, "the journal told of something that fits to nothing");
        let (at, written) = (self.agenda.now, Some(self.agenda.now));
        self.journal = image.records().map(|record| Recorded { at, written, record }).collect();
        let now = self.instant(self.agenda.now);
        self.scheduler = Scheduler::restore(self.setup.settings.clone(), now, image);
        self.ledger.scheduler_lost();
        let machines: Vec<u32> = self.machines.keys().copied().collect();
        for machine in machines {
            let delay = self.return_delay();
            self.agenda.after(delay, What::MachineReturns(machine));
        }
        let clients: Vec<u32> = self.clients.keys().copied().collect();
        for client in clients {
            let delay = self.return_delay();
            self.agenda.after(delay, What::ClientReturns(client));
        }
        self.scheduler_hears(Event::Tick);
        self.say_how_many_come();
    }

    /// Most are back at once; some when nobody waits any more.
    fn return_delay(&mut self) -> Time {
        match self.rng.random_range(0..20) {
            0 => self.rng.random_range(5 * SECOND..25 * SECOND),
            1..5 => self.rng.random_range(0..3 * SECOND),
            _ => self.rng.random_range(0..100 * MILLISECOND),
        }
    }

    pub(crate) fn machine_returns(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        // It was lost once more: they are told when the next is there.
        if self.down || !machine.away {
            return;
        }
        let party = Party::Machine(number);
        if self.network.is_cut(party) {
            return self.agenda.after(RETRY, What::MachineReturns(number));
        }
        if !self.scheduler.awaits_return() || self.sessions.contains_key(&machine.id) {
            return self.end_machine(number, 50 * MILLISECOND);
        }
        self.network.join(party);
        machine.away = false;
        machine.last_heard = self.agenda.now;
        let worker = machine.id;
        let mut state = machine.core.inventory();
        let unsent = std::mem::take(&mut machine.unsent);
        state.leased.extend(unsent.iter().filter_map(|event| {
            let (stage, block) = match event {
                Event::Completed { stage, blocks, .. } => (*stage, blocks.first()?.0.block),
                Event::Failed { stage, block, .. } | Event::InputMissing { stage, block, .. } => {
                    (*stage, *block)
                }
                _ => return None,
            };
            Some(Blocks { stage, start: block, end: block + 1 })
        }));
        let hello = WorkerHello {
            name: worker.to_string(),
            threads: machine.threads,
            memory_bytes: machine.memory_bytes,
            limit_bytes: machine.memory_bytes,
            data_address: "127.0.0.1:1".parse().expect("an address"),
            disks: Vec::new(),
            pid: 1,
            resources: self.setup.resources.clone(),
        };
        let (drains, lasts_until) = (machine.core.is_draining(), machine.lasts_until);
        self.sessions.insert(worker, number);
        self.ledger.returns(worker, &state.leased);
        self.from_machine(number, Event::WorkerReturned { worker, hello, state });
        unsent.into_iter().for_each(|event| self.from_machine(number, event));
        if let Some(until) = lasts_until {
            let until = self.instant(until);
            self.from_machine(number, Event::WorkerLasts { worker, until });
        }
        if drains {
            self.from_machine(number, Event::Draining { worker });
        }
    }

    pub(crate) fn client_returns(&mut self, number: u32) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if self.down || !client.away {
            return;
        }
        // A client whose connection broke waits until the scheduler knows.
        if self.network.is_cut(Party::Client(number)) || self.client_sessions.contains(&number) {
            return self.agenda.after(RETRY, What::ClientReturns(number));
        }
        self.network.join(Party::Client(number));
        client.away = false;
        client.late |= !self.scheduler.awaits_return();
        client.last_heard = self.agenda.now;
        let submissions = client.running.iter().map(|(&submission, running)| {
            let mut received: Vec<(u32, Vec<(u64, u64)>)> = Vec::new();
            for &(stage, block) in running.results.keys() {
                match received.last_mut() {
                    Some((of, runs)) if *of == stage => runs.push((block, block + 1)),
                    Some(_) | None => received.push((stage, vec![(block, block + 1)])),
                }
            }
            ReturningSubmission { submission, received }
        });
        let state = ClientReturn {
            submissions: submissions.collect(),
            held: client.held.iter().map(|&held| (held, 1)).collect(),
        };
        self.client_sessions.insert(number);
        self.from_client(number, Event::ClientReturned { client: ClientId(number), state });
    }
}
