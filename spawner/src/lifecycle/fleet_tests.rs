//! One fact about the fleet per test; `simulation_tests` has the long, random stories.

use std::time::Duration;

use nuna_pbs::JobState;

use super::launchers::proven_host;
use super::*;
use crate::lifecycle::state::{Address, Failure, Reason};
use crate::lifecycle::view::Poll;
use crate::secret::Code;

pub(super) const PREFIX: &str = "nuna-abcd";
pub(super) const LIMITS: Limits = Limits {
    queue_wait: Duration::from_secs(600),
    start: Duration::from_secs(60),
    lost: Duration::from_secs(70),
    remember: Duration::from_secs(300),
    unclaimed: Duration::from_secs(600),
    servers_max: 3,
    servers_per_user_max: 2,
};
pub(super) const NODE: &str = "node7";
pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
pub(super) const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 66));

fn at(seconds: u64) -> Millis {
    Millis(1_000_000_000 + seconds * 1000)
}

pub(super) fn new_fleet(now: Millis, records: Vec<(Spec, State)>) -> Fleet {
    let plan = PollPlan::new(Duration::from_secs(5));
    Fleet::restored(now, PREFIX.to_owned(), Owners::Users, plan, LIMITS, records)
}

pub(super) fn spec(number: u64, user: &str, name: &str, code: &Code) -> Spec {
    let id = format!("{number:06x}{:026x}", 0);
    Spec {
        tag: format!("{PREFIX}{}", &id[..6]),
        id: ServerId::parse(&id).unwrap(),
        user: user.parse().unwrap(),
        server_name: name.to_owned(),
        profile: "small".to_owned(),
        queue: "workq".to_owned(),
        walltime_seconds: 3600,
        requested: at(0),
        code: code.digest(),
        environment: Some(code.seal(b"{}").unwrap()),
        ticket: None,
        asked_every: Some(Duration::from_secs(10)),
    }
}

/// A fleet, what the test knows about it, and the words of the scenarios.
struct Scene {
    fleet: Fleet,
    code: Code,
    id: ServerId,
    tag: String,
}

impl Scene {
    /// Alice asked for a server.
    fn requested() -> Self {
        let mut fleet = new_fleet(at(0), Vec::new());
        let code = Code::generate().unwrap();
        let spec = spec(1, "alice", "", &code);
        let (id, tag) = (spec.id.clone(), spec.tag.clone());
        let outcome = fleet.handle(at(0), Event::Request(Box::new(spec)));
        assert_eq!(outcome.answer, Some(Answer::Accepted));
        let effects = outcome.effects;
        let saved = effects.iter().position(|effect| *effect == Effect::Save(id.clone()));
        let submitted = effects.iter().position(|effect| *effect == Effect::Submit(id.clone()));
        assert!(saved.unwrap() < submitted.unwrap(), "saved before it is submitted");
        Self { fleet, code, id, tag }
    }

    /// … and PBS took the job at second 1.
    fn queued() -> Self {
        let mut scene = Self::requested();
        scene.tell(1, server::Event::Submitted { job: job_id() });
        scene
    }

    /// … and runs it since second 10.
    fn started() -> Self {
        let mut scene = Self::queued();
        scene.list(10, &[scene.job(JobState::Running)]);
        scene
    }

    /// … and its server answers since second 13.
    fn running() -> Self {
        let mut scene = Self::started();
        assert!(matches!(scene.exchange(12, "7.head", PEER, NODE), Some(Answer::Granted { .. })));
        assert_eq!(scene.ready(13, "10.0.0.7", 40000, PEER), Some(Answer::Done(scene.id.clone())));
        scene
    }

    fn tell(&mut self, second: u64, event: server::Event) -> Vec<Effect> {
        self.handle(second, Event::Server(self.id.clone(), event)).effects
    }

    fn handle(&mut self, second: u64, event: Event) -> Outcome {
        let outcome = self.fleet.handle(at(second), event);
        self.fleet.assert_consistent();
        for effect in &outcome.effects {
            assert!(!matches!(effect, Effect::Log(Note::Impossible(_))), "{effect:?}");
        }
        outcome
    }

    fn job(&self, state: JobState) -> Job {
        Job {
            name: self.tag.clone(),
            owner: "alice".to_owned(),
            exec_host: (!state.is_pending()).then(|| NODE.to_owned()),
            ..Job::new(job_id(), state)
        }
    }

    /// A complete list, asked for and answered at once.
    fn list(&mut self, second: u64, jobs: &[Job]) -> Vec<Effect> {
        self.fleet.plan.begin(at(second));
        self.handle(second, listed(jobs, true)).effects
    }

    fn silence(&mut self, second: u64) -> Vec<Effect> {
        self.handle(second, Event::ListFailed { words: "Connection refused".to_owned() }).effects
    }

    fn exchange(&mut self, second: u64, job: &str, peer: IpAddr, resolved: &str) -> Option<Answer> {
        let addresses = if resolved == NODE { vec![PEER] } else { Vec::new() };
        let event = Event::Exchange {
            code: self.code.digest(),
            job: job.to_owned(),
            ticket: Digest::of("ticket", "t"),
            peer,
            resolved: (!resolved.is_empty()).then(|| Resolved { host: resolved.to_owned(), addresses }),
        };
        self.handle(second, event).answer
    }

    fn ready(&mut self, second: u64, host: &str, port: u16, peer: IpAddr) -> Option<Answer> {
        let ticket = Digest::of("ticket", "t");
        let resolved = Some(Resolved { host: host.to_owned(), addresses: vec![PEER] });
        let event = Event::Ready { ticket, host: host.to_owned(), port, peer, resolved };
        self.handle(second, event).answer
    }

    fn state(&self) -> &State {
        &self.fleet.server(&self.id).unwrap().state
    }

    fn view(&self) -> View {
        self.fleet.view(&self.id).unwrap()
    }

    /// What a journal gives back after a crash at this moment.
    fn restarted(&self, second: u64) -> Self {
        let server = self.fleet.server(&self.id).unwrap();
        let text = serde_json::to_string(&(&server.spec, &server.state)).unwrap();
        let record = serde_json::from_str(&text).unwrap();
        let fleet = new_fleet(at(second), vec![record]);
        Self { fleet, code: self.code.clone(), id: self.id.clone(), tag: self.tag.clone() }
    }
}

fn job_id() -> JobId {
    "7.head".parse().unwrap()
}

fn listed(jobs: &[Job], complete: bool) -> Event {
    let jobs = jobs.iter().map(|job| (job.id.clone(), job.clone())).collect();
    Event::Listed(Box::new(Snapshot { jobs, server_time: None, complete }))
}

fn deletes(effects: &[Effect]) -> Vec<String> {
    let ids = effects.iter().filter_map(|effect| match effect {
        Effect::Delete { job, user, .. } => Some(format!("{user} {job}")),
        Effect::Save(_)
        | Effect::Forget(_)
        | Effect::Submit(_)
        | Effect::List
        | Effect::Publish(_)
        | Effect::Log(_) => None,
    });
    ids.collect()
}

#[test]
fn a_server_goes_from_requested_to_running_to_gone() {
    let mut scene = Scene::running();
    let address = Address { host: "10.0.0.7".to_owned(), port: 40000 };
    assert_eq!((scene.view().state, scene.view().address), ("running", Some(address)));
    assert_eq!(deletes(&scene.tell(20, server::Event::Stop)), ["alice 7.head"]);
    assert_eq!(scene.view().state, "stopping");
    scene.tell(21, server::Event::Deleted);
    scene.list(22, &[Job { exit_status: Some(271), ..scene.job(JobState::Finished) }]);
    let view = scene.view();
    assert_eq!((view.state, view.poll, view.failed, view.exit), ("gone", Poll::Gone, false, Some(271)));
    // Remembered for a while, then forgotten.
    assert!(scene.handle(321, Event::Tick).effects.is_empty());
    assert!(scene.handle(322, Event::Tick).effects.contains(&Effect::Forget(scene.id.clone())));
    assert!(scene.fleet.view(&scene.id).is_none());
}

#[test]
fn the_same_server_is_not_started_twice() {
    let mut scene = Scene::running();
    let again = |number, user: &str, name: &str| {
        Event::Request(Box::new(spec(number, user, name, &Code::generate().unwrap())))
    };
    let already = Some(Answer::AlreadyRunning(scene.id.clone()));
    assert_eq!(scene.handle(20, again(2, "alice", "")).answer, already);
    scene.tell(21, server::Event::Stop);
    assert_eq!(scene.handle(22, again(2, "alice", "")).answer, already, "not before the job is gone");
    assert_eq!(scene.handle(22, again(2, "alice", "second")).answer, Some(Answer::Accepted));
    let names = vec![String::new(), "second".to_owned()];
    assert_eq!(
        scene.handle(22, again(3, "alice", "third")).answer,
        Some(Answer::TooManyOfUser { limit: 2, names })
    );
    assert_eq!(scene.handle(22, again(2, "bob", "")).answer, Some(Answer::TagTaken));
    assert_eq!(scene.handle(22, again(3, "bob", "")).answer, Some(Answer::Accepted));
    assert_eq!(scene.handle(22, again(4, "carol", "")).answer, Some(Answer::TooMany { limit: 3 }));
}

#[test]
fn a_server_s_end_is_known_while_its_job_runs() {
    let mut scene = Scene::queued();
    let waiting = Job {
        comment: Some("Not Running: no cores".to_owned()),
        estimated_start: Some(2_000_000),
        ..scene.job(JobState::Queued)
    };
    scene.list(5, &[waiting]);
    let view = scene.view();
    assert_eq!((view.expected_start, view.ends_at, view.started_at), (Some(2_000_000), None, None));
    assert_eq!((view.comment.as_deref(), view.ahead, view.waiting), (Some("no cores"), Some(0), Some(1)));
    assert_eq!(
        (view.requested_at, view.profile.as_str(), view.queue.as_str()),
        (1_000_000, "small", "workq")
    );
    let job = Job { start_time: Some(1_000_010), ..scene.job(JobState::Running) };
    scene.list(10, std::slice::from_ref(&job));
    assert_eq!(scene.view().ends_at, Some(1_003_610), "as asked for");
    scene.list(20, &[Job { walltime: Some(Duration::from_secs(60)), ..job }]);
    let view = scene.view();
    assert_eq!((view.ends_at, view.started_at), (Some(1_000_070), Some(1_000_010)), "as PBS gave it");
    assert_eq!((view.comment, view.expected_start), (None, None));
}

#[test]
fn silence_of_pbs_ends_nothing_and_no_limit_runs_out() {
    for mut scene in [Scene::queued(), Scene::started(), Scene::running()] {
        let before = scene.view().state;
        for second in (20..100_000).step_by(500) {
            assert_eq!(deletes(&scene.silence(second)), [""; 0]);
            assert_eq!(deletes(&scene.handle(second + 1, Event::Tick).effects), [""; 0]);
        }
        let view = scene.view();
        assert_eq!((view.state, view.poll), (before, Poll::Unknown));
        assert!(view.message.contains("Connection refused"), "{}", view.message);
        // It was only away.
        let state = if before == "queued" { JobState::Queued } else { JobState::Running };
        assert_eq!(deletes(&scene.list(100_001, &[scene.job(state)])), [""; 0]);
        assert_eq!(
            (scene.view().state, scene.view().poll),
            (before, Poll::Alive),
            "and what it was counts no limit"
        );
    }
}

/// `qstat` has a limit of its own, which is longer than a person wants to wait for a word.
#[test]
fn a_query_without_an_answer_is_told_before_it_is_given_up() {
    let mut scene = Scene::queued();
    scene.list(10, &[scene.job(JobState::Queued)]);
    scene.fleet.plan.begin(at(20));
    assert_eq!(scene.fleet.next_deadline(), Some(at(25)));
    // The loop looks again at the latest then.
    scene.handle(24, Event::Tick);
    assert_eq!(scene.view().poll, Poll::Alive);
    scene.handle(25, Event::Tick);
    let view = scene.view();
    assert_eq!((view.state, view.poll), ("queued", Poll::Unknown));
    assert!(view.message.contains("does not answer at the moment (no answer for 5 s)"), "{}", view.message);
    scene.handle(28, listed(&[scene.job(JobState::Queued)], true));
    assert_eq!(scene.view().poll, Poll::Alive, "it was slow, and not away");
}

#[test]
fn a_job_is_gone_when_two_whole_lists_in_a_row_do_not_name_it() {
    let mut scene = Scene::running();
    for second in 20..40 {
        scene.fleet.plan.begin(at(second));
        scene.handle(second, listed(&[], false));
    }
    assert_eq!(scene.view().state, "running", "a list with holes says nothing");
    for second in (40..60).step_by(2) {
        scene.list(second, &[]);
        assert_eq!(scene.view().state, "running");
        scene.list(second + 1, &[scene.job(JobState::Running)]);
    }
    scene.list(60, &[]);
    scene.list(61, &[]);
    let view = scene.view();
    assert_eq!((view.state, view.failure), ("gone", Some(Failure::JobEnded)));
}

/// A list that was asked for before `qsub` answered cannot name the job.
#[test]
fn an_old_list_does_not_end_a_new_job() {
    let mut scene = Scene::requested();
    scene.fleet.plan.begin(at(0));
    scene.tell(1, server::Event::Submitted { job: job_id() });
    scene.handle(2, listed(&[], true));
    scene.fleet.plan.begin(at(1));
    scene.handle(3, listed(&[], true));
    assert_eq!(scene.view().state, "queued");
}

#[test]
fn a_recycled_job_number_is_somebody_else_s() {
    let mut scene = Scene::running();
    let others = Job { owner: "mallory".to_owned(), name: "x".to_owned(), ..scene.job(JobState::Running) };
    scene.list(20, std::slice::from_ref(&others));
    scene.list(21, &[others]);
    assert_eq!(scene.view().state, "gone");
}

/// `run_as = "myself"`: PBS calls the service's account the owner of all jobs.
#[test]
fn jobs_under_one_account_are_told_by_name() {
    let mut scene = Scene::queued();
    scene.fleet.owners = Owners::Service;
    let job = |scene: &Scene| Job { owner: "nuna".to_owned(), ..scene.job(JobState::Running) };
    for second in 10..20 {
        scene.list(second, &[job(&scene)]);
    }
    assert_eq!(scene.view().state, "starting");
    for second in 20..22 {
        scene.list(second, &[Job { name: "nuna-abcd999999".to_owned(), ..job(&scene) }]);
    }
    assert_eq!(scene.view().state, "gone", "a recycled number");
    let mut lost = Scene::requested();
    lost.fleet.owners = Owners::Service;
    lost.tell(1, server::Event::SubmitUnsure { words: "no answer".to_owned() });
    assert_eq!(deletes(&lost.list(2, &[job(&lost)])), ["alice 7.head"]);
}

#[test]
fn a_job_that_is_queued_again_before_its_code_was_used_waits_anew() {
    let mut scene = Scene::started();
    let effects = scene.list(30, &[scene.job(JobState::Queued)]);
    assert_eq!((scene.view().state, deletes(&effects).len()), ("queued", 0));
    assert!(matches!(scene.state(), State::Queued { since, .. } if *since == at(30)));
    assert_eq!(scene.exchange(31, "7.head", PEER, NODE), Some(Answer::NotYet), "it is said to run nowhere");
    // Longer than a start may last.
    let mut scene = scene.restarted(200);
    scene.list(201, &[scene.job(JobState::Queued)]);
    scene.list(205, &[scene.job(JobState::Running)]);
    assert!(matches!(scene.exchange(206, "7.head", PEER, NODE), Some(Answer::Granted { .. })));
    assert_eq!(scene.ready(207, "10.0.0.7", 40000, PEER), Some(Answer::Done(scene.id.clone())));
}

#[test]
fn a_job_that_is_queued_again_after_its_code_was_used_is_removed() {
    for is_ready in [false, true] {
        let mut scene = Scene::started();
        // Asked before the launcher spoke, answered after.
        scene.fleet.plan.begin(at(11));
        assert!(matches!(scene.exchange(12, "7.head", PEER, NODE), Some(Answer::Granted { .. })));
        scene.handle(13, listed(&[scene.job(JobState::Queued)], true));
        assert_eq!(scene.view().state, "starting", "an old list");
        if is_ready {
            assert_eq!(scene.ready(14, "10.0.0.7", 40000, PEER), Some(Answer::Done(scene.id.clone())));
        }
        scene.list(20, &[scene.job(JobState::Queued)]);
        scene.list(21, &[scene.job(JobState::Running)]);
        scene.list(22, &[scene.job(JobState::Held)]);
        assert_eq!(scene.view().poll, Poll::Alive, "once may be a moment's word");
        let effects = scene.list(23, &[scene.job(JobState::Queued)]);
        assert_eq!(deletes(&effects), ["alice 7.head"]);
        assert_eq!((scene.view().state, scene.view().address), ("stopping", None));
        let mut scene = scene.restarted(24);
        scene.list(25, &[scene.job(JobState::Queued)]);
        scene.list(26, &[Job { exit_status: Some(271), ..scene.job(JobState::Finished) }]);
        let view = scene.view();
        assert_eq!((view.state, view.failure), ("gone", Some(Failure::JobEnded)));
        assert!(view.message.contains("PBS ended the job and queued it again"), "{}", view.message);
    }
}

#[test]
fn a_code_is_worth_one_environment() {
    let mut scene = Scene::started();
    assert_eq!(scene.exchange(11, "7.head", PEER, ""), Some(Answer::Resolve(NODE.to_owned())));
    let granted = scene.exchange(11, "7.head.example.org", PEER, NODE);
    assert!(
        matches!(&granted, Some(Answer::Granted { node: Some(node), .. }) if node == NODE),
        "short and long names are one job: {granted:?}"
    );
    assert!(matches!(scene.exchange(11, "7.head", PEER, NODE), Some(Answer::Refused(_))));
    // Nor after a restart, which has the journal to go by.
    assert!(matches!(scene.restarted(12).exchange(12, "7.head", PEER, NODE), Some(Answer::Refused(_))));
}

#[test]
fn a_code_is_worth_nothing_elsewhere() {
    let mut scene = Scene::started();
    for job in ["8.head", "7[1].head", "", "7.head\n"] {
        assert!(matches!(scene.exchange(11, job, PEER, NODE), Some(Answer::Refused(_))), "{job:?}");
    }
    assert!(matches!(scene.exchange(11, "7.head", STRANGER, NODE), Some(Answer::Refused(_))), "another node");
    // A claim about another name does not count: only what PBS says.
    let answer = scene.exchange(11, "7.head", STRANGER, "elsewhere");
    assert_eq!(answer, Some(Answer::Resolve(NODE.to_owned())));
    assert!(
        matches!(scene.exchange(11, "7.head", PEER, NODE), Some(Answer::Granted { .. })),
        "the right one still may"
    );
}

#[test]
fn before_anybody_is_believed_pbs_says_where_the_job_runs() {
    let mut scene = Scene::queued();
    assert_eq!(scene.exchange(2, "7.head", PEER, ""), Some(Answer::NotYet));
    scene.list(3, &[scene.job(JobState::Queued)]);
    assert_eq!(scene.exchange(4, "7.head", STRANGER, NODE), Some(Answer::NotYet));
    scene.list(5, &[scene.job(JobState::Running)]);
    assert!(matches!(scene.exchange(6, "7.head", STRANGER, NODE), Some(Answer::Refused(_))));
    assert!(matches!(scene.exchange(6, "7.head", PEER, NODE), Some(Answer::Granted { .. })));
    // A PBS that went away meanwhile cannot say, and must not end what it started.
    let mut scene = Scene::queued();
    scene.silence(3);
    assert!(matches!(scene.exchange(6, "7.head", PEER, ""), Some(Answer::Granted { node: None, .. })));
}

#[test]
fn codes_of_servers_that_stop_are_void() {
    let mut early = Scene::requested();
    assert_eq!(early.exchange(1, "7.head", PEER, NODE), Some(Answer::NotYet));
    let mut stopped = Scene::started();
    stopped.tell(11, server::Event::Stop);
    let mut unsure = Scene::requested();
    unsure.tell(1, server::Event::SubmitUnsure { words: "no answer".to_owned() });
    let mut gone = Scene::started();
    gone.list(11, &[gone.job(JobState::Finished)]);
    for mut scene in [stopped, unsure, gone] {
        assert!(
            matches!(scene.exchange(12, "7.head", PEER, NODE), Some(Answer::Refused(_))),
            "{:?}",
            scene.state()
        );
    }
}

#[test]
fn a_ticket_cannot_point_the_proxy_elsewhere() {
    let begun = || {
        let mut scene = Scene::started();
        assert!(matches!(scene.exchange(11, "7.head", PEER, NODE), Some(Answer::Granted { .. })));
        scene
    };
    for (host, port) in [("10.0.0.66", 40000), ("127.0.0.1", 8081), ("10.0.0.7", 22), ("[::1]", 40000)] {
        let answer = begun().ready(12, host, port, PEER);
        assert!(matches!(answer, Some(Answer::Refused(_))), "{host}:{port} {answer:?}");
    }
    // A name is replaced by the address it stands for now.
    let mut scene = begun();
    assert_eq!(scene.ready(12, "node7.example.org", 40000, PEER), Some(Answer::Done(scene.id.clone())));
    assert_eq!(scene.view().address.unwrap().host, "10.0.0.7");
    assert_eq!(
        scene.ready(13, "node7.example.org", 40000, PEER),
        Some(Answer::Done(scene.id.clone())),
        "said twice"
    );
    assert!(
        matches!(scene.ready(13, "10.0.0.7", 40001, PEER), Some(Answer::Refused(_))),
        "and then elsewhere"
    );
    let mut unknown = begun();
    let wrong = Event::Ready {
        ticket: Digest::of("ticket", "guess"),
        host: "10.0.0.7".to_owned(),
        port: 40000,
        peer: PEER,
        resolved: None,
    };
    assert!(matches!(unknown.handle(12, wrong).answer, Some(Answer::Refused(_))));
}

#[test]
fn queue_and_start_have_limits_of_their_own() {
    let mut scene = Scene::queued();
    scene.list(
        10,
        &[Job { comment: Some("Not Running: no nodes".to_owned()), ..scene.job(JobState::Queued) }],
    );
    assert_eq!(deletes(&scene.handle(600, Event::Tick).effects), [""; 0]);
    assert_eq!(deletes(&scene.handle(601, Event::Tick).effects), ["alice 7.head"]);
    let view = scene.view();
    assert_eq!(view.failure, Some(Failure::QueueWait));
    assert!(view.message.contains("no nodes"), "{}", view.message);

    let mut scene = Scene::started();
    assert_eq!(deletes(&scene.handle(69, Event::Tick).effects), [""; 0]);
    assert_eq!(deletes(&scene.handle(70, Event::Tick).effects), ["alice 7.head"]);
    assert_eq!(scene.view().failure, Some(Failure::StartLimit));
}

/// Recorded on OpenPBS 23.06: qsub takes such a job, and it would wait for ever.
#[test]
fn a_job_that_can_never_run_is_not_waited_for() {
    let mut scene = Scene::queued();
    let comment = "Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 8 T: 8)".to_owned();
    let jobs = [Job { comment: Some(comment.clone()), never_runs: true, ..scene.job(JobState::Queued) }];
    scene.list(10, &jobs);
    assert!(scene.view().message.contains(&comment), "told at once: {}", scene.view().message);
    // It was a node that came back.
    scene.list(60, &[scene.job(JobState::Queued)]);
    scene.list(65, &jobs);
    assert_eq!(deletes(&scene.list(124, &jobs)), [""; 0]);
    assert_eq!(deletes(&scene.list(125, &jobs)), ["alice 7.head"]);
    let view = scene.view();
    assert_eq!(view.failure, Some(Failure::PbsRejected));
    assert!(view.message.contains(&comment), "{}", view.message);
}

/// Its hub lost its database, or was killed before it had written the id down.
#[test]
fn what_the_hub_has_forgotten_is_removed() {
    for (mut scene, word) in [(Scene::queued(), "7.head"), (Scene::running(), "7.head")] {
        let (id, limit) = scene.fleet.claimable().next().unwrap();
        assert_eq!((id, limit), (&scene.id, Duration::from_secs(600)));
        assert_eq!(deletes(&scene.tell(20, server::Event::Unclaimed)), [format!("alice {word}")]);
        assert_eq!(scene.fleet.claimable().count(), 0, "once");
        assert!(scene.view().message.contains("did not ask"), "{}", scene.view().message);
    }
    assert_eq!(Scene::requested().fleet.claimable().count(), 0, "nobody can ask before the id is told");
}

/// The launcher heard SIGTERM; PBS knows why.
#[test]
fn a_walltime_that_ends_a_start_is_called_so() {
    let minute = Some(Duration::from_secs(60));
    // As PBS says it, and if our `qdel` reached the job first.
    for (exit, used) in [(-29, None), (271, minute)] {
        let mut scene = Scene::started();
        scene.exchange(11, "7.head", PEER, NODE);
        let report =
            LaunchReport { message: "the job was ended".to_owned(), exit: None, tail: "tail".to_owned() };
        scene.handle(12, Event::LaunchFailed { ticket: Digest::of("ticket", "t"), report });
        let job = scene.job(JobState::Finished);
        scene.list(13, &[Job { exit_status: Some(exit), walltime: minute, walltime_used: used, ..job }]);
        let view = scene.view();
        assert!(view.message.contains("walltime"), "{}", view.message);
        assert_eq!((view.failure, view.detail.as_deref()), (Some(Failure::LaunchFailed), Some("tail")));
    }
}

#[test]
fn a_job_that_does_not_go_is_deleted_again_ever_less_often() {
    let mut scene = Scene::running();
    let mut sent: Vec<u64> = Vec::new();
    for second in 20..400 {
        let event =
            if second == 20 { server::Event::Stop } else { server::Event::Tick { pbs_answers: true } };
        if !deletes(&scene.tell(second, event)).is_empty() {
            sent.push(second);
            scene.tell(second, server::Event::DeleteFailed { words: "busy".to_owned() });
        }
    }
    assert_eq!(sent, [20, 25, 35, 55, 95, 155, 215, 275, 335, 395]);
    assert!(scene.view().message.contains("busy"), "{}", scene.view().message);
}

#[test]
fn one_deletion_at_a_time_however_often_a_stop_is_asked_for() {
    let mut scene = Scene::running();
    assert_eq!(deletes(&scene.tell(20, server::Event::Stop)).len(), 1);
    assert_eq!(deletes(&scene.tell(21, server::Event::Stop)), [""; 0], "the first one has not answered");
    scene.tell(22, server::Event::Deleted);
    assert_eq!(deletes(&scene.tell(22, server::Event::Stop)).len(), 1);
}

#[test]
fn a_launcher_s_report_is_told_and_its_job_removed() {
    let mut scene = Scene::started();
    scene.exchange(11, "7.head", PEER, NODE);
    let report = LaunchReport {
        message: "no jupyterhub-singleuser".to_owned(),
        exit: Some(127),
        tail: "tail".to_owned(),
    };
    let event = Event::LaunchFailed { ticket: Digest::of("ticket", "t"), report };
    assert_eq!(deletes(&scene.handle(12, event).effects), [""; 0], "it ends by itself");
    let view = scene.view();
    assert_eq!((view.failure, view.detail.as_deref()), (Some(Failure::LaunchFailed), Some("tail")));
    assert_eq!(deletes(&scene.handle(17, Event::Tick).effects), ["alice 7.head"], "or not");
}

#[test]
fn a_stop_before_the_id_is_known_removes_the_job_when_it_is() {
    let mut scene = Scene::requested();
    assert_eq!(deletes(&scene.tell(1, server::Event::Stop)), [""; 0]);
    assert_eq!(deletes(&scene.tell(2, server::Event::Submitted { job: job_id() })), ["alice 7.head"]);
}

#[test]
fn a_job_whose_qsub_gave_no_answer_is_found_by_name_and_removed() {
    let mut scene = Scene::requested();
    scene.tell(1, server::Event::SubmitUnsure { words: "no answer within 20 s".to_owned() });
    scene.list(2, &[]);
    assert_eq!(scene.view().state, "stopping", "it may come yet");
    let others = Job { owner: "mallory".to_owned(), ..scene.job(JobState::Queued) };
    assert!(!deletes(&scene.list(3, &[others])).contains(&"alice 7.head".to_owned()), "not by name alone");
    assert_eq!(deletes(&scene.list(4, &[scene.job(JobState::Queued)])), ["alice 7.head"]);
    // One that never comes is given up, not before its time.
    let mut scene = Scene::requested();
    scene.tell(1, server::Event::SubmitUnsure { words: "no answer within 20 s".to_owned() });
    scene.list(70, &[]);
    assert_eq!(scene.view().state, "stopping");
    scene.list(71, &[]);
    assert_eq!((scene.view().state, scene.view().failure), ("gone", Some(Failure::PbsUnreachable)));
}

#[test]
fn a_restart_keeps_what_lives() {
    let mut queued = Scene::queued().restarted(100);
    assert_eq!((queued.view().state, queued.view().poll), ("queued", Poll::Unknown));
    queued.list(101, &[queued.job(JobState::Running)]);
    assert!(
        matches!(queued.exchange(102, "7.head", PEER, NODE), Some(Answer::Granted { .. })),
        "its code still counts"
    );

    let mut starting = Scene::started();
    starting.exchange(11, "7.head", PEER, NODE);
    let mut starting = starting.restarted(5000);
    assert_eq!(
        deletes(&starting.list(5001, &[starting.job(JobState::Running)])),
        [""; 0],
        "its limit starts anew"
    );
    assert_eq!(starting.ready(5002, "10.0.0.7", 40000, PEER), Some(Answer::Done(starting.id.clone())));

    let running = Scene::running();
    let mut again = running.restarted(100_000);
    assert_eq!(again.view().address, running.view().address);
    again.list(100_001, &[again.job(JobState::Running)]);
    assert_eq!((again.view().state, again.view().poll), ("running", Poll::Alive));

    let mut stopping = Scene::running();
    stopping.tell(20, server::Event::Stop);
    assert_eq!(deletes(&stopping.restarted(30).handle(30, Event::Tick).effects), ["alice 7.head"]);
}

/// The hub hung up when the service died, so nobody knows the id of what is submitted.
#[test]
fn a_restart_during_qsub_removes_the_job_if_there_is_one() {
    let mut scene = Scene::requested().restarted(10);
    assert!(matches!(scene.state(), State::Lost { reason: Reason::Restarted, .. }));
    assert_eq!(deletes(&scene.list(11, &[scene.job(JobState::Queued)])), ["alice 7.head"]);
}

#[test]
fn jobs_of_ours_that_nobody_owns_are_removed_and_others_left() {
    let mut scene = Scene::running();
    let job = |id: &str, name: &str, owner: &str, state| Job {
        name: name.to_owned(),
        owner: owner.to_owned(),
        ..Job::new(id.parse().unwrap(), state)
    };
    let jobs = [
        scene.job(JobState::Running),
        job("8.head", "nuna-abcd00000f", "bob", JobState::Running),
        job("9.head", "nuna-abcd00000f", "bob", JobState::Finished),
        job("10.head", "nuna-9999000001", "bob", JobState::Running),
        job("11.head", "simulation", "bob", JobState::Running),
        job("12.head", "nuna-abcd00000e", "Robert'); --", JobState::Running),
    ];
    assert_eq!(deletes(&scene.list(20, &jobs)), ["bob 8.head"]);
    assert_eq!(deletes(&scene.list(25, &jobs)), [""; 0], "not at once again");
    assert_eq!(deletes(&scene.list(50, &jobs)), ["bob 8.head"], "but after a while");
}

#[test]
fn a_refused_job_is_gone_at_once_with_pbs_s_words() {
    let mut scene = Scene::requested();
    let message = "PBS did not accept the job: Unknown queue".to_owned();
    scene.tell(1, server::Event::SubmitFailed { failure: Failure::PbsRejected, message: message.clone() });
    let view = scene.view();
    assert_eq!((view.state, view.message, view.failure), ("gone", message, Some(Failure::PbsRejected)));
    let again = Event::Request(Box::new(spec(2, "alice", "", &Code::generate().unwrap())));
    assert_eq!(scene.handle(2, again).answer, Some(Answer::Accepted));
}

#[test]
fn hosts_are_proven_by_where_a_request_comes_from_or_by_pbs() {
    let local: IpAddr = [127, 0, 0, 1].into();
    let mapped: IpAddr = "::ffff:10.0.0.7".parse().unwrap();
    let six: IpAddr = "2001:db8::7".parse().unwrap();
    let proven = |host: &str, peer, resolved: &[IpAddr]| proven_host(host, peer, resolved, Some("node7"));
    assert_eq!(proven("10.0.0.7", PEER, &[]).as_deref(), Some("10.0.0.7"));
    assert_eq!(proven("10.0.0.7", mapped, &[]).as_deref(), Some("10.0.0.7"));
    assert_eq!(proven("[2001:db8::7]", six, &[]).as_deref(), Some("2001:db8::7"));
    assert_eq!(proven("10.0.0.8", PEER, &[]), None);
    assert_eq!(proven("node8", PEER, &[STRANGER]), None, "the name of another machine");
    assert_eq!(proven("NODE7", PEER, &[STRANGER]).as_deref(), Some("10.0.0.66"), "PBS vouches for its nodes");
    assert_eq!(proven("node7", PEER, &[local]), None, "a node called localhost is not the hub");
    assert_eq!(
        proven("node7", local, &[local]).as_deref(),
        Some("127.0.0.1"),
        "but a demo on one machine is"
    );
}

#[test]
fn nothing_secret_shows_in_debug_or_journal() {
    let code = Code::generate().unwrap();
    let environment = br#"{"JUPYTERHUB_API_TOKEN":"t0ken"}"#;
    let mut spec = spec(1, "alice", "", &code);
    spec.environment = Some(code.seal(environment).unwrap());
    let kept = serde_json::to_string(&(&spec, State::Submitting { stop: None })).unwrap();
    let mut fleet = new_fleet(at(0), Vec::new());
    fleet.handle(at(0), Event::Request(Box::new(spec)));
    for text in [kept, format!("{fleet:?}")] {
        assert!(!text.contains("t0ken") && !text.contains(&hex::encode("t0ken")), "{text}");
        assert!(!text.contains(code.reveal()), "{text}");
    }
}
