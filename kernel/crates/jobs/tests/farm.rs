//! Stories of jobs, without a batch system: what is submitted, what is given up, and when it stops.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nuna_jobs::{Effect, Event, Farm, Pace, Refusal};
use nuna_pbs::{Job, JobId, JobState, Snapshot};

struct Story {
    farm: Farm,
    now: Instant,
    /// As PBS has them.
    jobs: BTreeMap<u32, Job>,
    submitted: Vec<u32>,
    deleted: Vec<u32>,
    retired: Vec<u32>,
    queries: usize,
    ticks: usize,
    /// What becomes of the next submissions.
    refusals: Vec<(&'static str, Refusal)>,
    /// How many jobs each submission was of.
    counts: Vec<u32>,
}

fn id(ticket: u32) -> JobId {
    format!("{ticket}.head").parse().unwrap()
}

fn array(first: u32) -> JobId {
    format!("{}[].head", 1000 + first).parse().unwrap()
}

fn story(least: u32, most: u32) -> Story {
    story_of_arrays(least, most, 1)
}

fn story_of_arrays(least: u32, most: u32, at_once: u32) -> Story {
    let mut story = Story {
        farm: Farm::new(Pace::default(), least, most, at_once),
        counts: Vec::new(),
        now: Instant::now(),
        jobs: BTreeMap::new(),
        submitted: Vec::new(),
        deleted: Vec::new(),
        retired: Vec::new(),
        queries: 0,
        ticks: 0,
        refusals: Vec::new(),
    };
    story.tell(Event::Tick);
    story
}

impl Story {
    fn tell(&mut self, event: Event) {
        let mut effects = self.farm.handle(self.now, event);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                effects.extend(self.answer(effect));
            }
        }
    }

    fn answer(&mut self, effect: Effect) -> Vec<Effect> {
        let event = match effect {
            Effect::Submit { ticket, count } => {
                self.submitted.extend(ticket..ticket + count);
                self.counts.push(count);
                if self.refusals.is_empty() {
                    let submitted = if count == 1 { id(ticket) } else { array(ticket) };
                    for one in ticket..ticket + count {
                        let id = if count == 1 { id(one) } else { submitted.sub_job(one) };
                        self.jobs.insert(one, Job::new(id, JobState::Queued));
                    }
                    Event::Submitted { ticket, id: submitted }
                } else {
                    let (reason, refusal) = self.refusals.remove(0);
                    Event::NotSubmitted { ticket, reason: reason.to_owned(), refusal }
                }
            }
            Effect::Query => {
                self.queries += 1;
                let jobs = self.jobs.values().map(|job| (job.id.clone(), job.clone())).collect();
                let snapshot = Box::new(Snapshot { jobs, server_time: None, complete: true });
                Event::Listed { snapshot, names: BTreeMap::new(), took: Duration::from_millis(20) }
            }
            Effect::Delete { ticket, id } => {
                assert_eq!(id, self.jobs[&ticket].id);
                self.deleted.push(ticket);
                self.jobs.get_mut(&ticket).unwrap().state = JobState::Finished;
                return Vec::new();
            }
            Effect::Retire { ticket } => {
                self.retired.push(ticket);
                return Vec::new();
            }
        };
        self.farm.handle(self.now, event)
    }

    /// Time goes on, deadline by deadline.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.farm.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(1);
            self.ticks += 1;
            self.tell(Event::Tick);
        }
        self.now = until;
    }

    fn start(&mut self, ticket: u32) {
        self.jobs.get_mut(&ticket).unwrap().state = JobState::Running;
        self.tell(Event::Joined(ticket));
    }

    fn end(&mut self, ticket: u32) {
        self.jobs.get_mut(&ticket).unwrap().state = JobState::Finished;
    }

    fn demand(&mut self, workers: u32, idle: &[u32]) {
        self.tell(Event::Demand { workers, idle: idle.iter().copied().collect::<BTreeSet<u32>>() });
    }
}

#[test]
fn jobs_that_wait_count_as_coming_and_are_asked_after_together() {
    let mut story = story(4, 4);
    story.demand(100, &[]);
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.submitted, [1, 2, 3, 4]);
    assert_eq!(story.farm.status().coming(), 4);
    // One query for all of them, every ten seconds.
    assert!((350..=361).contains(&story.queries), "{}", story.queries);
    (1..=4).for_each(|ticket| story.start(ticket));
    story.queries = 0;
    story.pass(Duration::from_secs(3600));
    assert!((55..=61).contains(&story.queries), "{}", story.queries);
}

#[test]
fn a_job_that_ends_at_its_walltime_is_replaced_while_work_is_left() {
    let mut story = story(2, 2);
    story.demand(50, &[]);
    (1..=2).for_each(|ticket| story.start(ticket));
    story.tell(Event::Leaving(1));
    assert_eq!(story.submitted, [1, 2, 3], "as soon as the worker drains");
    story.tell(Event::Left(1));
    story.end(1);
    story.start(3);
    story.pass(Duration::from_secs(600));
    // Nothing is left to do: nothing is submitted either.
    story.demand(0, &[2, 3]);
    for ticket in [2, 3] {
        story.tell(Event::Leaving(ticket));
        story.tell(Event::Left(ticket));
        story.end(ticket);
    }
    story.pass(Duration::from_secs(3600));
    assert_eq!(story.submitted, [1, 2, 3]);
    story.demand(1, &[]);
    assert_eq!(story.submitted, [1, 2, 3, 4, 5], "there is work again");
    assert_eq!(story.farm.status().failures, 0);
}

#[test]
fn an_adaptive_cluster_grows_at_once_and_shrinks_after_a_while() {
    let mut story = story(0, 10);
    assert!(story.submitted.is_empty());
    story.demand(3, &[]);
    assert_eq!(story.submitted, [1, 2, 3]);
    (1..=2).for_each(|ticket| story.start(ticket));
    story.demand(0, &[1, 2]);
    story.pass(Duration::from_secs(50));
    assert!(story.deleted.is_empty() && story.retired.is_empty(), "within the grace period");
    story.demand(1, &[2]);
    story.pass(Duration::from_secs(30));
    assert_eq!((&story.deleted[..], &story.retired[..]), (&[3][..], &[2][..]));
    story.demand(0, &[]);
    story.pass(Duration::from_secs(600));
    assert_eq!(story.retired, [2], "a worker that holds something stays");
    assert!(story.ticks < 200, "{} wake-ups in eleven minutes", story.ticks);
}

#[test]
fn a_wish_for_fewer_is_followed_at_once() {
    let mut story = story(5, 5);
    story.demand(50, &[]);
    (1..=3).for_each(|ticket| story.start(ticket));
    story.tell(Event::Want { least: 1, most: 1 });
    assert_eq!(story.deleted, [5, 4]);
    assert_eq!(story.retired, [3, 2], "busy ones too, once they have finished");
}

#[test]
fn nothing_more_is_submitted_after_failures_in_a_row() {
    let mut story = story(1, 3);
    story.refusals = vec![("too many jobs", Refusal::Passing); 10];
    story.demand(9, &[]);
    story.pass(Duration::from_secs(86_400));
    // The first was submitted before PBS began to refuse.
    assert_eq!(story.submitted.len(), 1 + 3);
    assert_eq!(story.farm.status().paused.as_deref(), Some("too many jobs"));
    story.refusals.clear();
    story.tell(Event::Want { least: 3, most: 3 });
    assert_eq!(story.farm.status().paused, None);
    assert_eq!(story.farm.status().coming(), 3);
}

#[test]
fn what_will_never_be_accepted_is_tried_once() {
    let mut story = story(0, 3);
    story.refusals = vec![("unknown queue", Refusal::Lasting)];
    story.demand(9, &[]);
    story.pass(Duration::from_secs(86_400));
    assert_eq!(story.submitted, [1]);
    assert_eq!(story.farm.status().paused.as_deref(), Some("unknown queue"));
}

#[test]
fn jobs_that_end_before_their_worker_is_of_use_are_not_submitted_for_ever() {
    let mut story = story(2, 2);
    story.demand(9, &[]);
    for _ in 0..100 {
        let waiting: Vec<u32> = story.jobs.keys().copied().collect();
        waiting.into_iter().for_each(|ticket| story.end(ticket));
        story.pass(Duration::from_secs(60));
    }
    let status = story.farm.status();
    assert!(status.paused.unwrap().contains("ended before its worker had joined"));
    assert!(status.submissions <= 5, "{}", status.submissions);
    assert!(status.suspect.is_some());
}

#[test]
fn workers_that_are_lost_at_once_each_time_are_a_failure_too() {
    let mut story = story(1, 1);
    story.demand(9, &[]);
    for ticket in 1..=10 {
        if story.jobs.contains_key(&ticket) {
            story.start(ticket);
            story.pass(Duration::from_secs(2));
            story.tell(Event::Left(ticket));
            story.end(ticket);
            story.pass(Duration::from_secs(120));
        }
    }
    assert_eq!(story.submitted.len(), 3);
    assert!(story.farm.status().paused.unwrap().contains("was lost 2 s after it had joined"));
}

#[test]
fn a_submission_without_an_answer_is_looked_for_and_not_repeated() {
    let mut farm = Farm::new(Pace::default(), 1, 1, 1);
    let mut now = Instant::now();
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Submit { ticket: 1, count: 1 }]);
    let reason = "qsub did not answer".to_owned();
    let failed = Event::NotSubmitted { ticket: 1, reason, refusal: Refusal::Unsure };
    assert_eq!(farm.handle(now, failed), []);
    now = farm.next_deadline().unwrap() + Duration::from_secs(20);
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Query]);
    let jobs = [(id(1), Job::new(id(1), JobState::Queued))].into();
    let snapshot = Box::new(Snapshot { jobs, server_time: None, complete: true });
    let names = BTreeMap::from([(1, id(1))]);
    assert_eq!(farm.handle(now, Event::Listed { snapshot, names, took: Duration::ZERO }), []);
    assert_eq!((farm.status().coming(), farm.status().submissions), (1, 1));
    assert_eq!(farm.unstarted(), [(1, Some(id(1)))]);
}

#[test]
fn silence_of_pbs_changes_nothing() {
    let mut story = story(2, 2);
    story.demand(9, &[]);
    story.tell(Event::NotListed { reason: "qstat did not answer".into() });
    assert_eq!(story.farm.status().trouble.as_deref(), Some("qstat did not answer"));
    assert_eq!(story.farm.status().coming(), 2);
    story.pass(Duration::from_secs(120));
    assert_eq!(story.farm.status().trouble, None, "it answers again");
    assert_eq!(story.submitted, [1, 2]);
}

#[test]
fn jobs_of_an_earlier_farm_are_followed_and_not_submitted_again() {
    let mut story = story(0, 3);
    for ticket in [4, 6] {
        story.jobs.insert(ticket, Job::new(id(ticket), JobState::Queued));
        story.farm.adopt(story.now, ticket, id(ticket));
    }
    story.start(4);
    story.demand(9, &[]);
    assert_eq!(story.submitted, [7], "one more, under a number of its own");
    story.pass(Duration::from_secs(600));
    assert_eq!((story.submitted.len(), story.farm.status().coming()), (1, 2));
    story.tell(Event::Leaving(4));
    story.end(4);
    story.pass(Duration::from_secs(600));
    assert_eq!(story.submitted, [7, 8], "whoever leaves is replaced, as always");
    assert_eq!(story.farm.status().failures, 0);
}

#[test]
fn a_job_that_was_being_submitted_when_its_farm_was_lost_is_adopted_when_it_is_listed() {
    let mut farm = Farm::new(Pace::default(), 1, 1, 1);
    let mut now = Instant::now();
    // The first number was given out; what became of it nobody knows.
    farm.skip(1);
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Submit { ticket: 2, count: 1 }]);
    assert_eq!(farm.handle(now, Event::Submitted { ticket: 2, id: id(2) }), []);
    now += Duration::from_secs(20);
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Query]);
    let jobs: BTreeMap<JobId, Job> =
        [1, 2].map(|ticket| (id(ticket), Job::new(id(ticket), JobState::Queued))).into();
    let snapshot = Box::new(Snapshot { jobs, server_time: None, complete: true });
    let names = BTreeMap::from([(1, id(1)), (2, id(2))]);
    farm.handle(now, Event::Listed { snapshot, names, took: Duration::ZERO });
    assert_eq!(farm.unstarted(), [(1, Some(id(1))), (2, Some(id(2)))]);
    // One is enough.
    now += Duration::from_secs(61);
    let effects = farm.handle(now, Event::Tick);
    let deleted = |effect: &Effect| matches!(effect, Effect::Delete { ticket: 2, .. });
    assert!(effects.iter().any(deleted), "{effects:?}");
}

#[test]
fn a_worker_that_is_there_counts_though_pbs_did_not_tell_of_its_job() {
    let mut story = story(0, 2);
    story.tell(Event::Joined(5));
    story.demand(9, &[]);
    assert_eq!(story.submitted, [6]);
    assert_eq!(story.farm.nameless(), [5].into());
    story.tell(Event::Leaving(5));
    story.pass(Duration::from_secs(120));
    assert!(story.farm.nameless().is_empty(), "and is forgotten once it has left and PBS does not have it");
}

#[test]
fn what_is_missing_is_submitted_as_one_array_and_a_single_job_as_itself() {
    let mut story = story_of_arrays(40, 100, 30);
    assert_eq!(story.counts, [30, 10], "no array is larger than it may be");
    assert_eq!((story.farm.status().submissions, story.farm.status().accepted), (2, 2));
    assert_eq!(story.farm.arrays().into_iter().collect::<Vec<_>>(), [array(1), array(31)]);
    (1..=40).for_each(|ticket| story.start(ticket));
    story.demand(41, &[]);
    assert_eq!(story.counts, [30, 10, 1]);
    story.demand(50, &[]);
    assert_eq!(story.counts, [30, 10, 1, 9], "a growing cluster submits a further array");
    assert_eq!(story.farm.status().coming(), 10);
    // It shrinks: those that wait first, each by its own id.
    story.tell(Event::Want { least: 0, most: 38 });
    let mut deleted = story.deleted.clone();
    deleted.sort_unstable();
    assert_eq!(deleted, (41..=50).collect::<Vec<_>>());
    assert_eq!(story.retired, [40, 39]);
}

#[test]
fn workers_of_an_array_that_leave_before_their_walltime_are_replaced_together() {
    let mut story = story_of_arrays(10, 10, 100);
    story.demand(1000, &[]);
    (1..=10).for_each(|ticket| story.start(ticket));
    story.pass(Duration::from_secs(3000));
    // The first to leave is replaced at once: who knows whether others follow.
    story.tell(Event::Leaving(1));
    assert_eq!(story.counts, [10, 1]);
    for ticket in 2..=10 {
        story.tell(Event::Leaving(ticket));
    }
    assert_eq!(story.submitted.len(), 20);
    (1..=10).for_each(|ticket| story.tell(Event::Left(ticket)));
    (1..=10).for_each(|ticket| story.end(ticket));
    (11..=20).for_each(|ticket| story.start(ticket));
    story.pass(Duration::from_secs(60));
    let status = story.farm.status();
    assert_eq!((status.joined, status.leaving, status.failures), (10, 0, 0));
    assert_eq!(story.farm.arrays().len(), 0, "nothing of the first array is followed any more");
}

#[test]
fn all_that_go_while_qsub_is_busy_are_replaced_by_one_array() {
    let mut farm = Farm::new(Pace::default(), 10, 10, 100);
    let now = Instant::now();
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Submit { ticket: 1, count: 10 }]);
    farm.handle(now, Event::Submitted { ticket: 1, id: array(1) });
    farm.handle(now, Event::Demand { workers: 99, idle: BTreeSet::new() });
    (1..=10).for_each(|ticket| drop(farm.handle(now, Event::Joined(ticket))));
    assert_eq!(farm.handle(now, Event::Leaving(1)), [Effect::Submit { ticket: 11, count: 1 }]);
    for ticket in 2..=10 {
        assert_eq!(farm.handle(now, Event::Leaving(ticket)), [], "one submission at a time");
    }
    let effects = farm.handle(now, Event::Submitted { ticket: 11, id: id(11) });
    assert_eq!(effects, [Effect::Submit { ticket: 12, count: 9 }]);
}

#[test]
fn jobs_of_an_array_that_break_are_counted_each_towards_the_pause() {
    let mut story = story_of_arrays(5, 5, 100);
    for ticket in 1..=3 {
        story.end(ticket);
        story.jobs.get_mut(&ticket).unwrap().exit_status = Some(3);
    }
    story.pass(Duration::from_secs(11));
    let status = story.farm.status();
    assert_eq!(status.failures, 3);
    assert!(
        status.paused.as_ref().is_some_and(|reason| reason.contains("1001[3].head ended before its worker")),
        "{status:?}"
    );
    assert_eq!(story.counts, [5], "nothing more is submitted");
    story.tell(Event::Want { least: 5, most: 5 });
    assert_eq!(story.counts, [5, 3], "until somebody scales again");
}

#[test]
fn an_array_that_is_refused_leaves_nothing_and_one_without_an_answer_is_looked_for() {
    let mut story = story_of_arrays(0, 9, 100);
    story.refusals = vec![("qsub: Array job exceeds server or queue size limit", Refusal::Lasting)];
    story.demand(4, &[]);
    let status = story.farm.status();
    assert_eq!((status.queued, status.failures), (0, 1));
    assert!(status.paused.is_some_and(|reason| reason.contains("size limit")));

    let mut farm = Farm::new(Pace::default(), 3, 3, 100);
    let now = Instant::now();
    assert_eq!(farm.handle(now, Event::Tick), [Effect::Submit { ticket: 1, count: 3 }]);
    let event = Event::NotSubmitted { ticket: 1, reason: "late".into(), refusal: Refusal::Unsure };
    farm.handle(now, event);
    assert_eq!(farm.nameless(), [1, 2, 3].into());
    let found = |ticket| (ticket, array(1).sub_job(ticket));
    let jobs = (1..=3).map(found).map(|(_, id)| (id.clone(), Job::new(id, JobState::Queued))).collect();
    let snapshot = Box::new(Snapshot { jobs, server_time: None, complete: true });
    farm.handle(now, Event::Listed { snapshot, names: (1..=3).map(found).collect(), took: Duration::ZERO });
    assert_eq!((farm.nameless().len(), farm.status().queued), (0, 3));
    assert_eq!(farm.arrays(), [array(1)].into());
}

#[test]
fn an_array_that_is_too_large_for_the_queue_is_tried_at_half_its_size() {
    let mut story = story_of_arrays(0, 40, 100);
    let full = ("would exceed queue short's per-user limit", Refusal::Full);
    story.refusals = vec![full, full];
    story.demand(40, &[]);
    story.pass(Duration::from_secs(20));
    assert_eq!(story.counts, [40, 20, 10, 20, 10], "and at twice what was taken");
    let status = story.farm.status();
    assert_eq!((status.queued, status.failures, status.trouble), (40, 0, None));
}

#[test]
fn a_full_queue_is_waited_for_by_a_cluster_that_has_jobs_there_and_said_to_one_that_has_none() {
    let mut story = story(0, 4);
    story.demand(2, &[]);
    story.refusals = vec![("would exceed queue short's per-user limit", Refusal::Full); 20];
    story.demand(3, &[]);
    story.pass(Duration::from_secs(3600));
    let status = story.farm.status();
    assert_eq!((status.queued, status.failures, status.paused), (2, 0, None));
    assert!(status.trouble.is_some_and(|trouble| trouble.contains("per-user limit")));
    assert!((10..=20).contains(&story.counts.len()), "it asks less and less often: {}", story.counts.len());
    story.refusals.clear();
    story.pass(Duration::from_secs(300));
    assert_eq!((story.farm.status().queued, story.farm.status().trouble), (3, None));

    let mut story = story_of_arrays(0, 4, 100);
    story.refusals = vec![("Job violates queue and/or server resource limits", Refusal::Full); 20];
    story.demand(4, &[]);
    story.pass(Duration::from_secs(60));
    assert_eq!(story.counts, [4, 2, 1, 1, 1]);
    assert!(story.farm.status().paused.is_some_and(|reason| reason.contains("resource limits")));
}

#[test]
fn a_cluster_waits_for_pbs_to_come_back_and_for_its_queue_to_open_again() {
    for (reason, refusal) in
        [("the PBS server cannot be reached", Refusal::Away), ("Queue is not enabled", Refusal::Closed)]
    {
        let mut story = story(0, 4);
        story.demand(1, &[]);
        story.start(1);
        story.refusals = vec![(reason, refusal); 20];
        story.demand(2, &[]);
        // Nothing of ours is left there by now.
        story.tell(Event::Leaving(1));
        story.tell(Event::Left(1));
        story.end(1);
        story.pass(Duration::from_secs(3600));
        let status = story.farm.status();
        assert_eq!((status.failures, &status.paused, status.coming()), (0, &None, 0), "{reason}");
        assert!(status.trouble.is_some_and(|trouble| trouble.contains(reason)));
        assert!((10..=20).contains(&story.counts.len()), "{reason}: {} calls in an hour", story.counts.len());
        story.refusals.clear();
        story.pass(Duration::from_secs(300));
        assert_eq!((story.farm.status().coming(), story.farm.status().trouble), (2, None), "{reason}");
    }
    // A queue that was never open is said at once.
    let mut farm = Farm::new(Pace::default(), 1, 1, 1);
    let now = Instant::now();
    farm.handle(now, Event::Tick);
    let event = Event::NotSubmitted { ticket: 1, reason: "not enabled".into(), refusal: Refusal::Closed };
    farm.handle(now, event);
    assert_eq!(farm.status().paused.as_deref(), Some("not enabled"));
}
