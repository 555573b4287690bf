//! The fleet through random lives: jobs start, end and vanish, PBS goes away and lies about deletions, commands
//! answer late or never, launchers come twice and from the wrong node, and the service is killed at any moment.
//!
//! After every step: no user server has two living jobs, and none that lives is forgotten or called gone. At the
//! end all comes to rest. `NUNA_SIMULATE_SEED=n` replays one run and prints its story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::executor::block_on;
use nuna_pbs::fake::FakeBatch;
use nuna_pbs::{BatchSystem, DeleteError, JobState, Rejection, StatusError, SubmitError};

use super::tests::{LIMITS, NODE, PEER, PREFIX, STRANGER, new_fleet, spec};
use super::*;
use crate::lifecycle::driver::submit_failed;
use crate::secret::Code;

const RUNS: u64 = 200;
const STEPS: u64 = 700;
/// A late `qsub` still reaches PBS within this; the service waits for longer before it calls such a job lost.
const LATE_MAX: u64 = 40_000;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let index = self.below(items.len().max(1) as u64);
        items.get(usize::try_from(index).unwrap()).cloned()
    }
}

#[derive(Clone, Debug)]
enum Asked {
    Submit(ServerId),
    Delete { id: Option<ServerId>, user: UserName, job: JobId },
    List,
}

/// A command that runs: it reaches PBS at one moment and answers at another, perhaps before that.
struct Command {
    asked: Asked,
    reaches: Option<u64>,
    answers: Option<u64>,
    answer: Option<Event>,
    life: u64,
}

/// What happened, so that a run in which nothing did is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requested: u64,
    running: u64,
    lost: u64,
    restarts: u64,
    /// Jobs that had begun, and were queued again after their code was used.
    returned: u64,
}

struct World {
    counts: Counts,
    random: Random,
    now: u64,
    life: u64,
    fleet: Fleet,
    batch: FakeBatch,
    is_down: bool,
    commands: Vec<Command>,
    /// What the disk has: text, as a journal would.
    journal: BTreeMap<ServerId, String>,
    /// Codes as the job scripts have them.
    codes: BTreeMap<ServerId, Code>,
    granted: BTreeSet<ServerId>,
    tickets: BTreeMap<ServerId, Digest>,
    story: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            counts: Counts::default(),
            random: Random(seed),
            now: 1_000_000,
            life: 0,
            fleet: new_fleet(Millis(1_000_000), Vec::new()),
            batch: FakeBatch::new(),
            is_down: false,
            commands: Vec::new(),
            journal: BTreeMap::new(),
            codes: BTreeMap::new(),
            granted: BTreeSet::new(),
            tickets: BTreeMap::new(),
            story: Vec::new(),
        }
    }

    fn note(&mut self, line: String) {
        self.story.push(format!("{:>9} {line}", self.now));
    }

    fn handle(&mut self, event: Event) -> Option<Answer> {
        let outcome = self.fleet.handle(Millis(self.now), event);
        self.fleet.assert_consistent();
        for effect in &outcome.effects {
            match effect {
                Effect::Save(id) => {
                    let server = self.fleet.server(id).unwrap();
                    let text = serde_json::to_string(&(&server.spec, &server.state)).unwrap();
                    self.journal.insert(id.clone(), text);
                }
                Effect::Forget(id) => {
                    self.journal.remove(id);
                }
                Effect::Log(Note::Impossible(story)) => panic!("impossible: {story}"),
                Effect::Log(Note::Orphan { job, name, .. }) => panic!("{job} {name} belongs to nobody"),
                Effect::Submit(_)
                | Effect::Delete { .. }
                | Effect::List
                | Effect::Publish(_)
                | Effect::Log(_) => {}
            }
        }
        // Killed after the commit, before anything else of what was decided.
        if self.random.one_in(300) {
            self.restart();
            return None;
        }
        for effect in outcome.effects {
            match effect {
                Effect::Submit(id) => self.command(Asked::Submit(id)),
                Effect::Delete { id, user, job } => self.command(Asked::Delete { id, user, job }),
                Effect::List => self.command(Asked::List),
                Effect::Save(_) | Effect::Forget(_) | Effect::Publish(_) | Effect::Log(_) => {}
            }
        }
        outcome.answer
    }

    fn command(&mut self, asked: Asked) {
        let mine = self.commands.iter().filter(|other| other.life == self.life && other.answers.is_some());
        let same = mine.filter(|other| match (&asked, &other.asked) {
            (Asked::List, Asked::List) => true,
            (Asked::Delete { job: one, .. }, Asked::Delete { job: two, .. }) => one == two,
            (Asked::Submit(one), Asked::Submit(two)) => one == two,
            (Asked::List | Asked::Delete { .. } | Asked::Submit(_), _) => false,
        });
        assert_eq!(same.count(), 0, "{asked:?} runs already");
        self.note(format!("asks {asked:?}"));
        let reaches = self.now + self.random.below(3000);
        let answers = reaches + self.random.below(3000);
        self.commands.push(Command {
            asked,
            reaches: Some(reaches),
            answers: Some(answers),
            answer: None,
            life: self.life,
        });
    }

    /// What PBS does when a command reaches it.
    fn reach(&mut self, index: usize) {
        let asked = self.commands[index].asked.clone();
        self.commands[index].reaches = None;
        let event = match asked {
            Asked::Submit(id) => {
                let refusal = SubmitError::Rejected {
                    exit_code: 188,
                    words: "no".to_owned(),
                    kind: Rejection::OverLimit,
                };
                let down = SubmitError::Unreachable { words: "down".to_owned() };
                if self.is_down {
                    self.batch.refuse_next(down);
                } else if self.random.one_in(10) {
                    self.batch.refuse_next(refusal);
                }
                let (spec, _): (Spec, State) = serde_json::from_str(&self.journal[&id]).unwrap();
                let script = format!("#PBS -N {}\n", spec.tag);
                let event = match block_on(self.batch.submit(&spec.user, &script)) {
                    Ok(job) => server::Event::Submitted { job },
                    Err(error) => submit_failed(System::Pbs, error),
                };
                Event::Server(id, event)
            }
            Asked::Delete { id, user, job } => {
                let event = match block_on(self.batch.delete(&user, &job)) {
                    Ok(()) => server::Event::Deleted,
                    Err(error) => server::Event::DeleteFailed { words: error.to_string() },
                };
                Event::Server(id.expect("no orphans here"), event)
            }
            Asked::List => match block_on(self.batch.jobs()) {
                Ok(snapshot) => Event::Listed(Box::new(snapshot)),
                Err(error) => Event::ListFailed { words: error.to_string() },
            },
        };
        self.note(format!("PBS does, {event:?}"));
        self.commands[index].answer.get_or_insert(event);
    }

    fn answer(&mut self, index: usize) {
        let command = &mut self.commands[index];
        command.answers = None;
        let Some(event) = command.answer.take() else { return };
        if command.life == self.life {
            self.handle(event);
        }
    }

    /// `qsub` hangs: the service hears of a timeout, PBS of the job later, or never.
    fn delay_a_submission(&mut self) {
        let is_early =
            |command: &Command| matches!(command.asked, Asked::Submit(_)) && command.reaches.is_some();
        let Some(index) = self.commands.iter().position(is_early) else { return };
        let Asked::Submit(id) = self.commands[index].asked.clone() else { return };
        let late = self.now + self.random.below(LATE_MAX);
        let reaches = (!self.random.one_in(3)).then_some(late);
        let event = submit_failed(System::Pbs, SubmitError::TimedOut { limit: Duration::from_secs(20) });
        self.counts.lost += 1;
        self.note(format!("qsub of {id} hangs, reaches {reaches:?}"));
        let command = &mut self.commands[index];
        command.reaches = reaches;
        command.answer.get_or_insert(Event::Server(id, event));
    }

    fn restart(&mut self) {
        self.note("the service is killed and starts again".to_owned());
        self.life += 1;
        self.counts.restarts += 1;
        // Some of what it had begun dies with it.
        for command in &mut self.commands {
            if self.random.one_in(2) {
                command.reaches = None;
            }
        }
        let records = self.journal.values().map(|text| serde_json::from_str(text).unwrap()).collect();
        self.now += self.random.below(20_000);
        self.fleet = new_fleet(Millis(self.now), records);
        self.fleet.assert_consistent();
    }

    fn advance(&mut self, by: u64) {
        let end = self.now + by;
        loop {
            let moments =
                self.commands.iter().flat_map(|command| [command.reaches, command.answers]).flatten();
            let deadline = self.fleet.next_deadline().map(|due| due.0.max(self.now));
            let next = moments.chain(deadline).min().unwrap_or(u64::MAX);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            // In this order a command that reaches and answers at once does both.
            if let Some(index) =
                self.commands.iter().position(|command| command.reaches.is_some_and(|at| at <= self.now))
            {
                self.reach(index);
            } else if let Some(index) =
                self.commands.iter().position(|command| command.answers.is_some_and(|at| at <= self.now))
            {
                self.answer(index);
            } else {
                self.handle(Event::Tick);
            }
            self.commands.retain(|command| command.reaches.is_some() || command.answers.is_some());
            self.check();
        }
        self.now = self.now.max(end);
        self.check();
    }

    fn jobs(&self, wanted: impl Fn(JobState) -> bool) -> Vec<Job> {
        let trouble = self.is_down.then(|| StatusError::Unreachable { words: "down".to_owned() });
        self.batch.set_status_trouble(None);
        let snapshot = block_on(self.batch.jobs()).unwrap();
        self.batch.set_status_trouble(trouble);
        snapshot.jobs.into_values().filter(|job| wanted(job.state)).collect()
    }

    /// The promises.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        for job in self.jobs(|state| !state.is_over()) {
            let server = self.fleet.servers.values().find(|server| server.spec.tag == job.name);
            let server = server.unwrap_or_else(|| panic!("the living job {} is forgotten", job.id));
            assert!(
                !server.state.is_gone(),
                "{} is called gone, and its job {} lives",
                server.spec.id,
                job.id
            );
            if let Some(known) = server.state.job() {
                assert_eq!(*known, job.id, "{} has another job", server.spec.id);
            }
            let whose = (server.spec.user.clone(), server.spec.server_name.clone());
            assert!(seen.insert(whose.clone()), "two living jobs for {whose:?}");
        }
        for (id, server) in &self.fleet.servers {
            let view = self.fleet.view(id).unwrap();
            assert_eq!(view.address.is_some(), view.state == "running");
            assert!(!view.message.is_empty());
            assert!(self.journal.contains_key(id), "{id} is not in the journal");
            let is_bound = matches!(server.state, State::Starting { .. } | State::Running { .. });
            assert!(
                is_bound || server.spec.ticket.is_none() || matches!(server.state, State::Stopping { .. }),
                "{id}"
            );
        }
    }

    fn act(&mut self) {
        match self.random.below(25) {
            0..=3 => self.request(),
            4 => {
                let ids: Vec<ServerId> = self.fleet.servers.keys().cloned().collect();
                if let Some(id) = self.random.pick(&ids) {
                    self.note(format!("the hub stops {id}"));
                    self.handle(Event::Server(id, server::Event::Stop));
                }
            }
            5..=7 => {
                if let Some(job) = self.random.pick(&self.jobs(JobState::is_pending)) {
                    self.note(format!("PBS starts {}", job.id));
                    self.batch.start(&job.id, NODE);
                }
            }
            8 => {
                if let Some(job) = self.random.pick(&self.jobs(|state| !state.is_over())) {
                    self.note(format!("{} ends", job.id));
                    self.batch.finish(&job.id, 1, "ended");
                }
            }
            9 => {
                let is_over = self.random.one_in(2);
                if let Some(job) = self.random.pick(&self.jobs(|state| !is_over || state.is_over())) {
                    self.note(format!("PBS forgets {}", job.id));
                    self.batch.forget(&job.id);
                }
            }
            10 => {
                self.is_down = !self.is_down;
                self.note(format!("PBS down: {}", self.is_down));
                let down = || "down".to_owned();
                self.batch
                    .set_status_trouble(self.is_down.then(|| StatusError::Unreachable { words: down() }));
                self.batch
                    .set_delete_trouble(self.is_down.then(|| DeleteError::Unreachable { words: down() }));
            }
            11 => {
                let (is_deaf, has_holes) = (self.random.one_in(3), self.random.one_in(3));
                self.batch.set_deaf(is_deaf);
                self.batch.set_holes(has_holes);
            }
            12..=13 => self.delay_a_submission(),
            14..=21 => self.launch(),
            22 => {
                if let Some(job) = self.random.pick(&self.jobs(|state| state == JobState::Running)) {
                    let used = |server: &UserServer| {
                        server.spec.tag == job.name && self.granted.contains(&server.spec.id)
                    };
                    self.counts.returned += u64::from(self.fleet.servers.values().any(used));
                    self.note(format!("PBS queues {} again", job.id));
                    self.batch.queue_again(&job.id);
                }
            }
            23 if self.random.one_in(4) => self.restart(),
            _ => self.advance_by_random(100_000),
        }
    }

    fn advance_by_random(&mut self, max: u64) {
        let by = self.random.below(max);
        self.advance(by);
    }

    fn request(&mut self) {
        let user = self.random.pick(&["alice", "bob", "carol"]).unwrap();
        let name = self.random.pick(&["", "second"]).unwrap();
        let code = Code::from_text(format!("{:064x}", self.random.next()));
        let spec = spec(self.codes.len() as u64, user, name, &code);
        let id = spec.id.clone();
        let living = self.fleet.servers.values().any(|server| {
            !server.state.is_gone()
                && server.spec.user == spec.user
                && server.spec.server_name == spec.server_name
        });
        self.codes.insert(id, code);
        let answer = self.handle(Event::Request(Box::new(spec)));
        self.note(format!("the hub wants {user}/{name}: {answer:?}"));
        match answer {
            Some(Answer::Accepted) => {
                assert!(!living);
                self.counts.requested += 1;
            }
            Some(Answer::AlreadyRunning(_)) => assert!(living),
            Some(Answer::TooMany { .. }) | None => {}
            other => panic!("{other:?}"),
        }
    }

    /// Some running job's launcher does some step, right or wrong.
    fn launch(&mut self) {
        let Some(job) = self.random.pick(&self.jobs(|state| state == JobState::Running)) else { return };
        let Some(server) = self.fleet.servers.values().find(|server| server.spec.tag == job.name) else {
            return;
        };
        let id = server.spec.id.clone();
        let peer = if self.random.one_in(5) { STRANGER } else { PEER };
        let Some(ticket) = self.tickets.get(&id).cloned().filter(|_| !self.random.one_in(4)) else {
            let ticket = Digest::of("ticket", &format!("{:x}", self.random.next()));
            let resolved = Some(Resolved { host: NODE.to_owned(), addresses: vec![PEER] });
            let code = self.codes[&id].digest();
            let event =
                Event::Exchange { code, job: job.id.to_string(), ticket: ticket.clone(), peer, resolved };
            let is_silent = matches!(self.fleet.pbs, PbsHealth::Silent { .. });
            if let Some(Answer::Granted { id: whose, .. }) = self.handle(event) {
                assert!(peer == PEER || is_silent, "a stranger got the environment of {id}");
                assert_eq!(whose, id);
                assert!(self.granted.insert(id.clone()), "{id} was granted twice");
                self.tickets.insert(id, ticket);
            }
            return;
        };
        if self.random.one_in(8) {
            let report = LaunchReport { message: "no".to_owned(), exit: Some(1), tail: String::new() };
            self.handle(Event::LaunchFailed { ticket, report });
        } else {
            let event = Event::Ready { ticket, host: PEER.to_string(), port: 40000, peer, resolved: None };
            if let Some(Answer::Done(_)) = self.handle(event) {
                self.counts.running += 1;
                self.note(format!("{id} is ready"));
            }
        }
    }

    fn settle(&mut self) {
        self.note("all is well again, and the hub stops everything".to_owned());
        self.is_down = false;
        self.batch.set_status_trouble(None);
        self.batch.set_delete_trouble(None);
        self.batch.set_deaf(false);
        self.batch.set_holes(false);
        self.advance(60_000);
        for job in self.jobs(JobState::is_pending) {
            let server = self.fleet.servers.values().find(|server| server.spec.tag == job.name).unwrap();
            assert!(
                server.awaits_launcher() || server.state.word() == "stopping",
                "{} can never start",
                job.id
            );
        }
        let ids: Vec<ServerId> = self.fleet.servers.keys().cloned().collect();
        for id in ids {
            self.handle(Event::Server(id, server::Event::Stop));
        }
        self.advance(250_000);
        for server in self.fleet.servers.values() {
            assert!(server.state.is_gone(), "{} does not come to rest: {:?}", server.spec.id, server.state);
        }
        assert_eq!(self.jobs(|state| !state.is_over()), []);
        self.advance(2 * LIMITS.remember.as_millis() as u64);
        assert_eq!(self.journal, BTreeMap::new(), "forgotten in the end");
        assert!(self.codes.keys().all(|id| id.as_str().len() == 32) && PREFIX.starts_with("nuna-"));
    }
}

fn run(seed: u64, is_told: bool) -> Counts {
    let mut world = World::new(seed);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            world.act();
            world.advance_by_random(1500);
        }
        world.settle();
    }));
    if told.is_err() || is_told {
        let from = if is_told { 0 } else { world.story.len().saturating_sub(60) };
        eprintln!("{}", world.story[from..].join("\n"));
    }
    if let Err(panic) = told {
        eprintln!(
            "seed {seed}; replay: NUNA_SIMULATE_SEED={seed} cargo nextest run -p nuna-spawner simulation --no-capture"
        );
        std::panic::resume_unwind(panic);
    }
    world.counts
}

#[test]
fn no_story_forgets_a_job_or_ends_a_living_one() {
    if let Ok(seed) = std::env::var("NUNA_SIMULATE_SEED") {
        run(seed.parse().expect("NUNA_SIMULATE_SEED is a number"), true);
        return;
    }
    let mut all = Counts::default();
    for seed in 0..RUNS {
        let counts = run(seed, false);
        all.requested += counts.requested;
        all.running += counts.running;
        all.lost += counts.lost;
        all.restarts += counts.restarts;
        all.returned += counts.returned;
    }
    // Or nothing much was tried.
    assert!(
        all.requested > RUNS * 10
            && all.running > RUNS
            && all.lost > RUNS
            && all.restarts > RUNS
            && all.returned > RUNS,
        "{all:?}"
    );
}
