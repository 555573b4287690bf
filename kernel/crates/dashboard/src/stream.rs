//! The aggregating task: takes events, ticks the state, and feeds the viewers.
//!
//! Each viewer has a bounded queue. One that does not read fast enough is skipped, and gets a fresh
//! snapshot once its queue is empty: it costs a bounded amount of memory and delays nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::event::Recordings;
use crate::state::{News, State, Topic, Topics};

/// News is sent this often: two or three animation frames of a browser.
const TICK: Duration = Duration::from_millis(80);
/// Messages waiting for one viewer. At 20,000 tasks/s a tick is about 20 kB.
const QUEUE_MESSAGES_MAX: usize = 64;
pub(crate) const VIEWERS_MAX: usize = 64;
/// Events applied at once before the state is let go, so that a request never waits for a long burst.
const BURST_MAX: usize = 256;

pub(crate) enum Command {
    Join { queue: mpsc::Sender<Bytes>, reply: tokio::sync::oneshot::Sender<Option<u64>> },
    Subscribe { viewer: u64, topics: Topics },
    Leave { viewer: u64 },
}

struct Viewer {
    queue: mpsc::Sender<Bytes>,
    topics: Topics,
    /// Set while the viewer is behind: spans it has missed so far.
    behind: Option<u64>,
}

/// What the request handlers share with the aggregating task.
pub(crate) struct Shared {
    state: Mutex<State>,
    started: Instant,
    counters: Mutex<StreamCounters>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) viewers: usize,
    pub(crate) snapshots_forced: u64,
    pub(crate) spans_dropped: u64,
    pub(crate) sent_bytes: u64,
}

impl Shared {
    pub(crate) fn new(state: State, started: Instant) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), started, counters: Mutex::default() })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while applying one event leaves counts a little off, not memory unsafe: keep showing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counters(&self) -> StreamCounters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.us_at(Instant::now())
    }

    fn us_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Runs until every command sender is gone. Recorders may go earlier: viewers still see the past.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut recordings: Recordings,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut viewers = BTreeMap::<u64, Viewer>::new();
    let mut next_viewer = 0;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = recordings.many() => apply_waiting(&shared, &mut recordings),
            command = commands.recv() => match command {
                Some(Command::Join { queue, reply }) => {
                    let id = (viewers.len() < VIEWERS_MAX).then(|| {
                        next_viewer += 1;
                        viewers.insert(next_viewer, Viewer { queue, topics: Topics::default(), behind: Some(0) });
                        next_viewer
                    });
                    if let (Err(_), Some(id)) = (reply.send(id), id) {
                        viewers.remove(&id);
                    }
                }
                Some(Command::Subscribe { viewer, topics }) => {
                    if let Some(viewer) = viewers.get_mut(&viewer) {
                        subscribe(&shared, viewer, topics);
                    }
                }
                Some(Command::Leave { viewer }) => {
                    viewers.remove(&viewer);
                }
                None => return,
            },
            _ = ticks.tick() => {
                apply_waiting(&shared, &mut recordings);
                tick(&shared, &mut viewers, recordings.spans_dropped());
            }
        }
    }
}

fn apply_waiting(shared: &Shared, recordings: &mut Recordings) {
    // What comes meanwhile waits for the next time, or viewers would wait for a busy scheduler.
    let until = Instant::now();
    loop {
        let mut state = shared.state();
        for _ in 0..BURST_MAX {
            let Some((at, recorded)) = recordings.try_next() else { return };
            state.apply(shared.us_at(at), recorded);
            if at > until {
                return;
            }
        }
    }
}

fn subscribe(shared: &Shared, viewer: &mut Viewer, topics: Topics) {
    let added = topics.without(viewer.topics);
    viewer.topics = topics;
    if viewer.behind.is_some() || added.is_empty() {
        return; // The snapshot that is due brings what was added.
    }
    let mut history = Vec::new();
    shared.state().encode_history(&mut history, added);
    if !history.is_empty() && viewer.queue.try_send(history.into()).is_err() {
        viewer.behind = Some(1);
    }
}

fn tick(shared: &Shared, viewers: &mut BTreeMap<u64, Viewer>, spans_dropped: u64) {
    let mut state = shared.state();
    let News { common, topics } = state.tick(shared.now_us(), spans_dropped);
    let common = Bytes::from(common);
    let spans = (topics[Topic::Tasks as usize].len() / crate::protocol::TASK_BYTES) as u64;
    let topics = topics.map(Bytes::from);
    let mut sent_bytes = 0;
    let mut snapshots_forced = 0;
    viewers.retain(|_, viewer| {
        if viewer.queue.is_closed() {
            return false;
        }
        if let Some(missed) = viewer.behind {
            // Only an empty queue shows that it reads again.
            if viewer.queue.capacity() == QUEUE_MESSAGES_MAX {
                let snapshot = Bytes::from(state.snapshot(viewer.topics, missed, spans_dropped));
                sent_bytes += snapshot.len() as u64;
                snapshots_forced += u64::from(missed > 0);
                viewer.behind = viewer.queue.try_send(snapshot).is_err().then_some(missed);
            } else {
                viewer.behind = Some(missed + spans);
            }
            return true;
        }
        let wanted = Topic::ALL.into_iter().filter(|topic| viewer.topics.contains(*topic));
        let messages = std::iter::once(&common)
            .chain(wanted.map(|topic| &topics[topic as usize]).filter(|message| !message.is_empty()));
        for message in messages {
            if viewer.queue.try_send(message.clone()).is_err() {
                viewer.behind = Some(spans.max(1));
                break;
            }
            sent_bytes += message.len() as u64;
        }
        true
    });
    drop(state);
    let mut counters = shared.counters.lock().unwrap_or_else(PoisonError::into_inner);
    counters.viewers = viewers.len();
    counters.spans_dropped = spans_dropped;
    counters.sent_bytes += sent_bytes;
    counters.snapshots_forced += snapshots_forced;
}

pub(crate) fn viewer_queue() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(QUEUE_MESSAGES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Recorded, Recorder, SpanKind, TaskSpan};
    use crate::protocol::Record;

    fn shared() -> Shared {
        let state = State::new("test".into(), 0);
        Shared { state: Mutex::new(state), started: Instant::now(), counters: Mutex::default() }
    }

    fn kinds(message: &Bytes) -> Vec<Record> {
        Record::decode_all(message).unwrap()
    }

    #[test]
    fn a_viewer_that_does_not_read_is_skipped_and_then_starts_over() {
        let shared = shared();
        let (queue, mut messages) = viewer_queue();
        let mut viewers = BTreeMap::new();
        viewers.insert(1, Viewer { queue, topics: Topics::default().with(Topic::Tasks), behind: Some(0) });
        let joined = Event::WorkerJoined { worker: 1, name: "w".into(), threads: 1, memory_limit: 1 };
        shared.state().apply(0, Recorded::Event(joined));
        for block in 0..3 * QUEUE_MESSAGES_MAX as u64 {
            let span = TaskSpan {
                stage: 1,
                block,
                worker: 1,
                thread: 0,
                start_us: block,
                duration_us: 1,
                kind: SpanKind::Compute,
            };
            shared.state().apply(0, Recorded::Event(Event::Tasks(vec![span])));
            tick(&shared, &mut viewers, 0);
        }
        assert!(viewers[&1].behind.is_some_and(|missed| missed > 0));
        let mut waiting = 0;
        while messages.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, QUEUE_MESSAGES_MAX, "the queue is what bounds a slow viewer");
        tick(&shared, &mut viewers, 0);
        let records = kinds(&messages.try_recv().unwrap());
        assert!(matches!(records[1], Record::Reset { spans_skipped } if spans_skipped > 0), "{records:?}");
        let spans: usize =
            records.iter().map(|r| if let Record::Tasks { spans, .. } = r { spans.len() } else { 0 }).sum();
        assert_eq!(spans, 3 * QUEUE_MESSAGES_MAX, "the snapshot brings what was missed");
        assert_eq!(shared.counters().snapshots_forced, 1);
    }

    #[test]
    fn subscribing_brings_the_history_of_that_topic_only() {
        let shared = shared();
        let (queue, mut messages) = viewer_queue();
        let mut viewer = Viewer { queue, topics: Topics::default(), behind: None };
        let started = Event::StageStarted { computation: 1, stage: 1, name: "sum".into(), blocks: 2 };
        shared.state().apply(0, Recorded::Event(started));
        subscribe(&shared, &mut viewer, Topics::default().with(Topic::Progress));
        assert!(matches!(kinds(&messages.try_recv().unwrap())[..], [Record::Progress(_)]));
        subscribe(&shared, &mut viewer, Topics::default().with(Topic::Progress));
        assert!(messages.try_recv().is_err(), "nothing was added");
    }

    #[tokio::test]
    async fn the_task_outlives_its_recorders_and_ends_with_its_commands() {
        let (recorder, recordings) = Recorder::channel();
        let (commands, receiver) = mpsc::channel(1);
        let task = tokio::spawn(run(Arc::new(shared()), recordings, receiver));
        drop(recorder);
        let (queue, mut messages) = viewer_queue();
        let (reply, joined) = tokio::sync::oneshot::channel();
        commands.send(Command::Join { queue, reply }).await.ok();
        assert!(joined.await.unwrap().is_some());
        assert!(matches!(kinds(&messages.recv().await.unwrap())[0], Record::Hello { .. }));
        drop(commands);
        tokio::time::timeout(Duration::from_secs(5), task).await.expect("the task ends").unwrap();
    }
}
