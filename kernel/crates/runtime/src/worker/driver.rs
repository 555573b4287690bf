//! Owns the worker's loop: messages and results in, effects out.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use nuna_plan::{LibraryId, TaskError, Value};
use nuna_wire::{
    Fetcher, Outbox, Payload, StageKey, WorkerId,
    message::{Completed, FromWorker, Sample, Span, SpanKind, ToWorker},
};
use nuna_worker::{Block, Effect, Event, Settings, Worker};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    compute::{Done, Ended, Pool, StageRun},
    leave::{Leave, Turn},
    link::{Link, News},
    sample::Sampler,
    store::Store,
};
use crate::{
    HEARTBEAT, SILENCE_MAX,
    lifeline::{Ending, ended},
};

/// Values asked for in one message.
const FETCH_ITEMS_MAX: usize = 256;
/// Values of completed blocks in one message.
const REPORT_BYTES_MAX: u64 = 8 << 20;
const REPORT_BLOCKS_MAX: usize = 16_384;

pub(crate) struct Driver {
    worker: Worker,
    id: WorkerId,
    threads: usize,
    pool: Arc<Pool>,
    store: Arc<Store>,
    fetcher: Arc<Fetcher>,
    /// Where values travel and files are written; the driver's own thread does neither.
    data: Handle,
    epoch: Instant,
    stages: HashMap<StageKey, Arc<StageRun>>,
    addresses: HashMap<WorkerId, SocketAddr>,
    /// Libraries that could not be loaded, and why.
    broken: HashMap<LibraryId, String>,
    /// What transfers and files have led to.
    events: mpsc::UnboundedSender<Event>,
    arrived: mpsc::UnboundedReceiver<Event>,
    spans: Vec<Span>,
    span_sender: mpsc::UnboundedSender<Span>,
    span_receiver: mpsc::UnboundedReceiver<Span>,
}

impl Driver {
    pub(crate) fn new(
        settings: Settings,
        pool: Arc<Pool>,
        store: Arc<Store>,
        fetcher: Fetcher,
        data: Handle,
        epoch: Instant,
    ) -> Self {
        let (events, arrived) = mpsc::unbounded_channel();
        let (span_sender, span_receiver) = mpsc::unbounded_channel();
        Self {
            id: settings.id,
            threads: usize::from(settings.threads.max(1)),
            worker: Worker::new(settings),
            pool,
            store,
            fetcher: Arc::new(fetcher),
            data,
            epoch,
            stages: HashMap::new(),
            addresses: HashMap::new(),
            broken: HashMap::new(),
            events,
            arrived,
            spans: Vec::new(),
            span_sender,
            span_receiver,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut link: Link,
        mut ending: Ending,
        mut leave: Leave,
    ) -> anyhow::Result<()> {
        say_how_long(&mut link, &leave);
        let mut samples = interval(HEARTBEAT);
        samples.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sampler = Sampler::new();
        let mut last_heard = Instant::now();
        let pool = self.pool.clone();
        let result = loop {
            let mut events = Vec::new();
            tokio::select! {
                biased;
                () = ended(&mut ending) => break Ok(()),
                turn = leave.next() => match turn {
                    Turn::Drain(reason) => {
                        tracing::info!(reason, "draining: what has not begun goes back");
                        events.push(Event::Drain { reason });
                    }
                    Turn::Go(reason) => {
                        tracing::info!(reason, "leaving");
                        link.send(FromWorker::Leaving { reason }, Payload::new());
                        break Ok(());
                    }
                },
                news = link.next() => {
                    last_heard = Instant::now();
                    let mut news = Some(news);
                    let mut outcome = None;
                    while let Some(now) = news {
                        match now {
                            News::Message(ToWorker::ShutDown, _) => outcome = Some(Ok(())),
                            News::Message(ToWorker::Drain, _) => {
                                leave.asked();
                                let reason = "the cluster needs fewer workers".to_owned();
                                tracing::info!(reason, "draining: what has not begun goes back");
                                events.push(Event::Drain { reason });
                            }
                            News::Message(message, payload) => events.extend(self.receive(message, payload)),
                            News::Lost(reason) => {
                                tracing::warn!(reason, "the scheduler is lost; what runs goes on, and another is waited for");
                            }
                            News::Back => self.say_what_is_here(&mut link, &leave),
                            News::Gone(reason) => outcome = Some(Err(anyhow::anyhow!(reason))),
                        }
                        news = if outcome.is_none() { link.try_next() } else { None };
                    }
                    if let Some(outcome) = outcome {
                        break outcome;
                    }
                }
                () = pool.news.notified() => {}
                Some(event) = self.arrived.recv() => {
                    events.push(event);
                    while let Ok(event) = self.arrived.try_recv() {
                        events.push(event);
                    }
                }
                _ = samples.tick() => {
                    if link.is_there() && last_heard.elapsed() > SILENCE_MAX {
                        tracing::warn!("the scheduler has not been heard of for {} s", SILENCE_MAX.as_secs());
                        link.lose();
                    }
                    if nuna_ship::runaways() >= self.threads && !leave.is_asked() {
                        leave.asked();
                        let reason = "as many calls that were given up as it has threads still run".to_owned();
                        tracing::warn!(reason, "draining, so that another worker takes its place");
                        events.push(Event::Drain { reason });
                    }
                    events.push(Event::SpillAgain);
                    let message = FromWorker::Sample(self.sample(&mut sampler));
                    link.send(message, Payload::new());
                }
            }
            let done = self.pool.take_done();
            self.report(done, &mut events, &mut link);
            let effects = self.worker.handle(events);
            self.carry_out(effects, &mut link);
        };
        link.close().await;
        result
    }

    /// To a scheduler that took the place of a lost one.
    fn say_what_is_here(&self, link: &mut Link, leave: &Leave) {
        let mut state = self.worker.inventory();
        state.leased.extend(link.unreported());
        tracing::info!(
            stages = state.stages.len(),
            values = state.stored.len(),
            leased = state.leased.len(),
            "a scheduler is there again; it is told what is here"
        );
        link.send(FromWorker::Return(state), Payload::new());
        link.send_unsent();
        say_how_long(link, leave);
        if self.worker.is_draining() {
            let reason = "it was leaving when the scheduler was lost".to_owned();
            link.send(FromWorker::Draining { reason }, Payload::new());
        }
    }

    fn receive(&mut self, message: ToWorker, payload: Bytes) -> Option<Event> {
        match message {
            ToWorker::Library(id) => {
                if let Err(error) = nuna_ship::libraries::insert(id, payload) {
                    tracing::error!(%error, library = ?id, "a library cannot be used");
                    self.broken.insert(id, error.to_string());
                } else {
                    self.broken.remove(&id);
                }
                None
            }
            ToWorker::Peers(peers) => {
                self.addresses.extend(peers);
                None
            }
            ToWorker::Define(mut definition) => {
                let broken =
                    definition.stage.work.libraries.iter().find_map(|id| self.broken.get(id).cloned());
                // Who decides when blocks run need not know what they do, which may be a scattered value of 200 MB.
                let payload = std::mem::take(&mut definition.stage.work.payload);
                let run = StageRun::new((*definition).clone(), payload, broken);
                self.stages.insert(definition.key, Arc::new(run));
                Some(Event::Define(definition))
            }
            ToWorker::Lease { blocks, inputs } => Some(Event::Lease { blocks, inputs }),
            ToWorker::Adopt { blocks, from, bytes } => Some(Event::Adopt { blocks, from, bytes }),
            ToWorker::Forget(runs) => Some(Event::Forget(runs)),
            ToWorker::Drop(stages) => {
                for key in &stages {
                    if let Some(stage) = self.stages.get(key) {
                        stage.dropped.store(true, Ordering::Relaxed);
                    }
                }
                Some(Event::Drop(stages))
            }
            ToWorker::Reclaim { stage, count } => Some(Event::Reclaim { stage, count }),
            ToWorker::Heartbeat | ToWorker::Drain | ToWorker::ShutDown => None,
        }
    }

    /// Tells the scheduler what has been done, and the state machine.
    fn report(&mut self, done: Vec<Done>, events: &mut Vec<Event>, link: &mut Link) {
        let mut batch = Batch::default();
        for Done { block, thread, start_us, duration_us, read_bytes, ended } in done {
            let (key, number) = block;
            match ended {
                Ended::Value { bytes, kept, inline } => {
                    events.push(Event::Finished { block, bytes, duration_us, kept });
                    batch.add(key, inline, |inline| Completed {
                        block: number,
                        bytes,
                        start_us,
                        duration_us,
                        thread,
                        read_bytes,
                        inline,
                    });
                    if batch.is_full() {
                        batch.send(link);
                    }
                }
                Ended::Failed(error) => {
                    events.push(Event::Stopped { block });
                    batch.send(link);
                    link.send(FromWorker::Failed { stage: key, block: number, error }, Payload::new());
                }
                Ended::InputGone((input, input_block)) => {
                    events.push(Event::Stopped { block });
                    batch.send(link);
                    let worker = self.id;
                    let message =
                        FromWorker::InputMissing { stage: key, block: number, input, input_block, worker };
                    link.send(message, Payload::new());
                }
                Ended::Skipped => events.push(Event::Stopped { block }),
            }
        }
        batch.send(link);
    }

    fn carry_out(&mut self, effects: Vec<Effect>, link: &mut Link) {
        for effect in effects {
            match effect {
                Effect::Run { stage, start, end } => {
                    let stage = self.stages.get(&stage).expect("stages are defined before they run").clone();
                    self.pool.push(stage, start, end);
                }
                Effect::Fetch { holder, blocks } => {
                    let address = self.addresses.get(&holder).copied();
                    for items in blocks.chunks(FETCH_ITEMS_MAX) {
                        self.fetch(holder, address, items.to_vec(), link.outbox());
                    }
                }
                Effect::Spill(blocks) => {
                    self.on_disk(blocks, SpanKind::Spill, Store::spill, |block, done| Event::Spilled {
                        block,
                        done,
                    })
                }
                Effect::Load(blocks) => self.on_disk(blocks, SpanKind::Spill, Store::load, |block, done| {
                    Event::Loaded { block, done }
                }),
                Effect::NoRoom((stage, block)) => {
                    let reason = self.store.refused().unwrap_or_else(|| "values fill its memory".to_owned());
                    let usage = self.worker.usage();
                    let error = TaskError::fatal(format!(
                        "worker {} has no room: it holds {} MB of values in memory and {} MB on disk, and {reason}; \
                         give workers more memory or room (`spill` of the cluster's builder), use more workers, or keep fewer results",
                        self.id,
                        usage.memory_bytes / 1_000_000,
                        usage.spilled_bytes / 1_000_000,
                    ));
                    link.send(FromWorker::Failed { stage, block, error }, Payload::new());
                }
                Effect::Discard(blocks) => self.store.remove(&blocks),
                Effect::Close(stage) => {
                    self.stages.remove(&stage);
                }
                Effect::Send(message) => link.send(message, Payload::new()),
            }
        }
        while let Ok(span) = self.span_receiver.try_recv() {
            self.spans.push(span);
        }
        if !self.spans.is_empty() {
            link.send(FromWorker::Spans(std::mem::take(&mut self.spans)), Payload::new());
        }
    }

    fn fetch(
        &self,
        holder: WorkerId,
        address: Option<SocketAddr>,
        items: Vec<Block>,
        outbox: Option<Outbox<FromWorker>>,
    ) {
        let (fetcher, store, events, spans) =
            (self.fetcher.clone(), self.store.clone(), self.events.clone(), self.span_sender.clone());
        let epoch = self.epoch;
        self.data.spawn(async move {
            let start = Instant::now();
            let values = match address {
                Some(address) => {
                    fetcher.fetch(address, items.clone()).await.map_err(|error| error.to_string())
                }
                None => Err("its address is not known".to_owned()),
            };
            let values: Vec<Option<Value>> = values.unwrap_or_else(|error| {
                tracing::warn!(%error, %holder, values = items.len(), "cannot fetch");
                // Where the scheduler is gone nobody has to know.
                if let Some(outbox) = &outbox {
                    let _ = outbox.send(FromWorker::Unreachable { worker: holder, error }, Payload::new());
                }
                vec![None; items.len()]
            });
            if let Some(&(stage, block)) = items.first() {
                let _ = spans.send(span(epoch, start, stage, block, SpanKind::Transfer));
            }
            for (block, value) in items.into_iter().zip(values) {
                let event = match value {
                    Some(value) => {
                        let bytes = value.byte_count();
                        store.insert_fetched(block, value);
                        Event::Fetched { block, bytes }
                    }
                    None => Event::FetchFailed { block, holder },
                };
                let _ = events.send(event);
            }
        });
    }

    fn on_disk(
        &self,
        blocks: Vec<Block>,
        kind: SpanKind,
        act: impl Fn(&Store, Block) -> bool + Send + 'static,
        event: impl Fn(Block, bool) -> Event + Send + 'static,
    ) {
        let (store, events, spans, epoch) =
            (self.store.clone(), self.events.clone(), self.span_sender.clone(), self.epoch);
        self.data.spawn_blocking(move || {
            for block in blocks {
                let start = Instant::now();
                let done = act(&store, block);
                let _ = spans.send(span(epoch, start, block.0, block.1, kind));
                let _ = events.send(event(block, done));
            }
        });
    }

    fn sample(&self, sampler: &mut Sampler) -> Sample {
        let usage = self.worker.usage();
        let (rss_bytes, cpu_permille) = sampler.take();
        Sample {
            managed_bytes: usage.memory_bytes,
            spilled_bytes: usage.spilled_bytes,
            rss_bytes,
            cpu_permille,
            threads_busy: self.pool.busy.load(Ordering::Relaxed),
        }
    }
}

fn say_how_long(link: &mut Link, leave: &Leave) {
    if let Some(lasts) = leave.lasts() {
        let ms = lasts.as_millis().try_into().unwrap_or(u64::MAX);
        link.send(FromWorker::Lasts { ms }, Payload::new());
    }
}

fn span(epoch: Instant, start: Instant, stage: StageKey, block: u64, kind: SpanKind) -> Span {
    let since = start.saturating_duration_since(epoch).as_micros() as u64;
    let duration_us = start.elapsed().as_micros().min(u128::from(u32::MAX)) as u32;
    Span { stage, block, start_us: since, duration_us, kind }
}

/// Completed blocks on their way into one message.
#[derive(Default)]
struct Batch {
    stages: BTreeMap<StageKey, Vec<(Completed, Option<Value>)>>,
    blocks: usize,
    bytes: u64,
}

impl Batch {
    fn add(
        &mut self,
        stage: StageKey,
        inline: Option<Value>,
        completed: impl FnOnce(Option<nuna_wire::ValueShape>) -> Completed,
    ) {
        let shape = inline.as_ref().map(nuna_wire::ValueShape::of);
        self.bytes += inline.as_ref().map_or(0, Value::byte_count);
        self.blocks += 1;
        self.stages.entry(stage).or_default().push((completed(shape), inline));
    }

    fn is_full(&self) -> bool {
        self.blocks >= REPORT_BLOCKS_MAX || self.bytes >= REPORT_BYTES_MAX
    }

    fn send(&mut self, link: &mut Link) {
        if self.blocks == 0 {
            return;
        }
        let mut payload = Payload::new();
        let stages = std::mem::take(&mut self.stages)
            .into_iter()
            .map(|(stage, blocks)| {
                let blocks = blocks.into_iter().map(|(completed, value)| {
                    if let Some(value) = &value {
                        payload.push(value);
                    }
                    completed
                });
                (stage, blocks.collect())
            })
            .collect();
        *self = Self::default();
        link.send(FromWorker::Completed(stages), payload);
    }
}
