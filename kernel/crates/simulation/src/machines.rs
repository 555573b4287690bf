//! Owns what the machines do in a run, each with its worker's state machine: they join, take turns as the worker's driver
//! does, compute, fetch from each other, write to their disks, and end.

use nuna_plan::{Keep, TaskError};
use nuna_scheduler::Event;
use nuna_wire::{
    StageKey, WorkerId,
    message::{FromWorker, Sample, WorkerHello},
};
use nuna_worker::Block;
use rand::Rng;

use crate::{
    agenda::{MILLISECOND, SECOND, Time},
    jobs::{Trouble, named_by},
    machine::{Done, Ended, Machine, Started, completed},
    network::Party,
    world::{HEARTBEAT, SILENCE_MAX, What, World},
};

const FETCH_ITEMS_MAX: usize = 256;
/// How long a fetch over a cut link takes to fail.
const FETCH_PATIENCE: Time = 10 * SECOND;

impl World {
    pub(crate) fn join(&mut self) {
        if self.down {
            return self.agenda.after(50 * MILLISECOND, What::Join);
        }
        self.machines_started += 1;
        let number = self.machines_started;
        let id = WorkerId(u16::try_from(number).expect("fewer workers than there are ids"));
        let threads = self.rng.random_range(self.setup.threads.0..=self.setup.threads.1);
        let memory_bytes = self.setup.memory_bytes;
        self.machines.insert(number, Machine::new(id, threads, memory_bytes, self.agenda.now));
        self.by_id.insert(id, number);
        self.sessions.insert(id, number);
        let hello = WorkerHello {
            name: id.to_string(),
            threads,
            memory_bytes,
            limit_bytes: memory_bytes,
            data_address: "127.0.0.1:1".parse().expect("an address"),
            disks: Vec::new(),
            pid: 1,
            resources: self.setup.resources.clone(),
        };
        self.scheduler_hears(Event::WorkerJoined { worker: id, hello });
        if let Some((lasts, within)) = self.setup.walltime {
            // Jobs seldom begin at once: some end while others go on.
            let lasts = lasts + lasts / 4 * u64::from(number % 4);
            let until = self.agenda.now + lasts;
            self.machines.get_mut(&number).expect("it has just joined").lasts_until = Some(until);
            self.scheduler_hears(Event::WorkerLasts { worker: id, until: self.instant(until) });
            self.agenda.after(lasts, What::Drain(number, within));
        }
        let first = self.rng.random_range(0..HEARTBEAT);
        self.agenda.after(first, What::MachineBeat(number));
    }

    /// A worker's process ends, and takes with it what it has. Another one takes its place, unless it has one.
    pub(crate) fn end_machine(&mut self, number: u32, back: Time) {
        let Some(machine) = self.machines.remove(&number) else { return };
        self.by_id.remove(&machine.id);
        self.workers_lost += 1;
        self.from_machine(number, Event::WorkerLeft(machine.id));
        if !machine.replaced {
            self.agenda.after(back, What::Join);
        }
    }

    /// A worker's job is about to end, so another is started; it is there before that end, or after it.
    pub(crate) fn replace(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.replaced = true;
        self.coming += 1;
        self.say_how_many_come();
        let delay = self.rng.random_range(MILLISECOND..100 * MILLISECOND);
        self.agenda.after(delay, What::Replaces);
    }

    pub(crate) fn replaces(&mut self) {
        if self.down {
            return self.agenda.after(50 * MILLISECOND, What::Replaces);
        }
        self.coming -= 1;
        self.join();
        self.say_how_many_come();
    }

    pub(crate) fn say_how_many_come(&mut self) {
        self.scheduler_hears(Event::Coming { workers: self.coming, trouble: None });
    }

    pub(crate) fn machine_of(&self, worker: WorkerId) -> Option<&Machine> {
        self.machines.get(self.by_id.get(&worker)?)
    }

    pub(crate) fn from_machine(&mut self, number: u32, event: Event) {
        if let Some(machine) = self.machines.get_mut(&number).filter(|machine| machine.away) {
            if matches!(event, Event::Completed { .. } | Event::Failed { .. } | Event::InputMissing { .. }) {
                machine.unsent.push(event);
            }
            return;
        }
        let from = Party::Machine(number);
        let what = What::InFlight(self.connection(from), Box::new(What::ToScheduler(from, event)));
        self.network.send(&mut self.agenda, &mut self.rng, from, Party::Scheduler, what);
    }

    pub(crate) fn machine_beats(&mut self, number: u32) {
        let Some(machine) = self.machines.get(&number) else { return };
        if !machine.away && self.agenda.now - machine.last_heard > SILENCE_MAX {
            return self.end_machine(number, SECOND);
        }
        let usage = machine.core.usage();
        let sample = Sample {
            managed_bytes: usage.memory_bytes,
            spilled_bytes: usage.spilled_bytes,
            ..Sample::default()
        };
        let worker = machine.id;
        self.from_machine(number, Event::Sample { worker, sample });
        if let Some(machine) = self.machines.get_mut(&number).filter(|it| it.disk_fails_permille > 0) {
            machine.arrived.push_back(nuna_worker::Event::SpillAgain);
            self.wake_soon(number);
        }
        self.agenda.after(HEARTBEAT, What::MachineBeat(number));
    }

    pub(crate) fn wake_soon(&mut self, number: u32) {
        if let Some(machine) = self.machines.get_mut(&number)
            && !std::mem::replace(&mut machine.waking, true)
        {
            let delay = self.rng.random_range(1..100);
            self.agenda.after(delay, What::Wake(number));
        }
    }

    /// One turn of the worker's driver: messages before what has arrived, and then what threads have done.
    pub(crate) fn wake(&mut self, number: u32) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        machine.waking = false;
        let mut events = Vec::new();
        if machine.messages.is_empty() {
            events.extend(machine.arrived.drain(..));
        } else {
            for message in std::mem::take(&mut machine.messages) {
                events.extend(machine.receive(message));
            }
        }
        let worker = machine.id;
        let done = std::mem::take(&mut machine.done);
        let again = !machine.arrived.is_empty();
        let mut reports = Vec::new();
        for Done { block: (stage, block), ended } in done {
            let stopped = nuna_worker::Event::Stopped { block: (stage, block) };
            match ended {
                Ended::Value { kept, inline, duration_us } => {
                    let (done, value) = completed(block, inline, duration_us);
                    let bytes = done.bytes;
                    events.push(nuna_worker::Event::Finished {
                        block: (stage, block),
                        bytes,
                        duration_us,
                        kept,
                    });
                    reports.push(Event::Completed { worker, stage, blocks: vec![(done, value)] });
                }
                Ended::Failed(error) => {
                    events.push(stopped);
                    reports.push(Event::Failed { worker, stage, block, error });
                }
                Ended::InputGone((input, input_block)) => {
                    events.push(stopped);
                    reports.push(Event::InputMissing {
                        worker,
                        stage,
                        block,
                        input,
                        input_block,
                        holder: worker,
                    });
                }
                Ended::Skipped => events.push(stopped),
            }
        }
        let effects = machine.core.handle(events);
        if self.events.is_multiple_of(self.setup.check_every) {
            machine.core.assert_consistent();
        }
        machine.assert_within_memory();
        reports.into_iter().for_each(|report| self.from_machine(number, report));
        for effect in effects {
            self.carry_out_at(number, effect);
        }
        self.assign_threads(number);
        if again {
            self.wake_soon(number);
        }
    }

    fn carry_out_at(&mut self, number: u32, effect: nuna_worker::Effect) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let worker = machine.id;
        let disk = machine.disk_factor;
        match effect {
            nuna_worker::Effect::Run { stage, start, end } => machine.pool.push_back((stage, start, end)),
            nuna_worker::Effect::Fetch { holder, blocks } => {
                assert!(machine.peers.contains(&holder), "{worker} was not told where {holder} is");
                for blocks in blocks.chunks(FETCH_ITEMS_MAX) {
                    let delay = self.rng.random_range(100..5_000);
                    let what =
                        What::Fetched { machine: number, holder, blocks: blocks.to_vec(), waited: false };
                    self.agenda.after(delay, what);
                }
            }
            nuna_worker::Effect::Spill(blocks) => {
                let delay = self.rng.random_range(100..9_000) * disk;
                self.agenda.after(delay, What::Spilled(number, blocks));
            }
            nuna_worker::Effect::Load(blocks) => {
                let delay = self.rng.random_range(100..9_000) * disk;
                self.agenda.after(delay, What::Loaded(number, blocks));
            }
            nuna_worker::Effect::NoRoom(block) => panic!("{worker} gives {block:?} up for want of room"),
            nuna_worker::Effect::Discard(blocks) => machine.remove(&blocks),
            nuna_worker::Effect::Close(stage) => {
                machine.definitions.remove(&stage);
                machine.dropped.remove(&stage);
            }
            nuna_worker::Effect::Send(message) => {
                let event = match message {
                    FromWorker::InputMissing { stage, block, input, input_block, worker: holder } => {
                        Event::InputMissing { worker, stage, block, input, input_block, holder }
                    }
                    FromWorker::Reclaimed { stage, runs } => Event::Reclaimed { worker, stage, runs },
                    FromWorker::Draining { .. } => Event::Draining { worker },
                    FromWorker::Adopted { stage, runs } => {
                        self.handed_over += runs.iter().map(|(start, end)| end - start).sum::<u64>();
                        Event::Adopted { worker, stage, runs }
                    }
                    FromWorker::NotAdopted { stage, runs } => Event::NotAdopted { worker, stage, runs },
                    other => panic!("the state machine does not send {other:?}"),
                };
                self.from_machine(number, event);
            }
        }
    }

    fn assign_threads(&mut self, number: u32) {
        while let Some(machine) = self.machines.get_mut(&number)
            && machine.threads_free > 0
            && let Some((stage, start, end)) = machine.pool.pop_front()
        {
            machine.threads_free -= 1;
            self.next_block(number, stage, start, end);
        }
    }

    /// A thread goes on with its group from `at`, until one block takes its time or none is left.
    pub(crate) fn next_block(&mut self, number: u32, stage: StageKey, mut at: u64, end: u64) {
        while at < end {
            let Some(machine) = self.machines.get_mut(&number) else { return };
            match machine.start((stage, at)) {
                Started::Computing(value) => {
                    let definition = &machine.definitions[&stage];
                    machine.running_bytes += definition.stage.bound.output + definition.stage.bound.scratch;
                    let (job, step, number_in_plan) = named_by(&definition.stage.work.payload);
                    let (least, most) = self.jobs[job].steps[step].truths[number_in_plan].duration;
                    let took = self.rng.random_range(least..most);
                    let what = What::Computed { machine: number, block: (stage, at), end, value, took };
                    return self.agenda.after(took, what);
                }
                Started::Over(ended) => {
                    machine.done.push(Done { block: (stage, at), ended });
                    self.wake_soon(number);
                    at += 1;
                }
            }
        }
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.threads_free += 1;
            self.assign_threads(number);
        }
    }

    pub(crate) fn computed(&mut self, number: u32, block: Block, value: u64, took: Time) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let definition = machine.definitions[&block.0].clone();
        self.computed += 1;
        machine.running_bytes -= definition.stage.bound.output + definition.stage.bound.scratch;
        let (job, step, stage) = named_by(&definition.stage.work.payload);
        let truth = &self.jobs[job].steps[step].truths[stage];
        let failure = |text: &str, retryable| Ended::Failed(TaskError { message: text.into(), retryable });
        let failed = match truth.troubles.get(&block.1) {
            Some(Trouble::Crash) => return self.end_machine(number, 20 * MILLISECOND),
            Some(Trouble::Fatal) => Some(failure("it does not work", false)),
            Some(Trouble::Transient(times)) => {
                let attempt = self.attempts.entry(block).or_default();
                *attempt += 1;
                (*attempt <= *times).then(|| failure("it does not work today", true))
            }
            None => None,
        };
        let ended = failed.unwrap_or_else(|| {
            let deliver = matches!(definition.stage.keep, Keep::Deliver);
            let inline = deliver && truth.inline;
            let kept = definition.retain || (deliver && !inline);
            if kept {
                machine.insert(block, value);
            }
            Ended::Value { kept, inline: inline.then_some(value), duration_us: took as u32 }
        });
        machine.done.push(Done { block, ended });
        self.wake_soon(number);
    }

    pub(crate) fn fetched(&mut self, number: u32, holder: WorkerId, blocks: Vec<Block>, waited: bool) {
        let there = self.by_id.get(&holder).copied();
        let reached = there.is_some_and(|there| self.network.peers_reach(number, there));
        if there.is_some() && !reached && !waited {
            let what = What::Fetched { machine: number, holder, blocks, waited: true };
            return self.agenda.after(FETCH_PATIENCE, what);
        }
        let values: Vec<Option<u64>> = match there.filter(|_| reached) {
            Some(there) => blocks.iter().map(|&block| self.machines[&there].get(block)).collect(),
            None => vec![None; blocks.len()],
        };
        let Some(machine) = self.machines.get_mut(&number) else { return };
        for (block, value) in blocks.into_iter().zip(values) {
            let event = match value {
                Some(value) => {
                    machine.insert_fetched(block, value);
                    nuna_worker::Event::Fetched { block, bytes: crate::jobs::VALUE_BYTES }
                }
                None => nuna_worker::Event::FetchFailed { block, holder },
            };
            machine.arrived.push_back(event);
        }
        self.wake_soon(number);
    }

    pub(crate) fn on_disk(
        &mut self,
        number: u32,
        blocks: Vec<Block>,
        act: impl Fn(&mut Machine, Block, bool) -> bool,
        event: impl Fn(Block, bool) -> nuna_worker::Event,
    ) {
        let Some(machine) = self.machines.get_mut(&number) else { return };
        for block in blocks {
            let fails = self.rng.random_ratio(machine.disk_fails_permille, 1_000);
            let done = act(machine, block, fails);
            machine.arrived.push_back(event(block, done));
        }
        self.wake_soon(number);
    }

    /// It begins to leave, and has so long for it.
    pub(crate) fn drain(&mut self, number: u32, within: Time) {
        if let Some(machine) = self.machines.get_mut(&number) {
            machine.arrived.push_back(nuna_worker::Event::Drain { reason: "its time is up".into() });
            self.wake_soon(number);
            self.agenda.after(within, What::TimeUp(number));
        }
    }
}
