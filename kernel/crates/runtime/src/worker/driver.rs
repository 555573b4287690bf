//! Owns the worker's loop: messages and results in, effects out.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use nuna_plan::{LibraryId, Value};
use nuna_wire::{
    Connection, Fetcher, Outbox, Payload, StageKey, WorkerId,
    message::{Completed, FromWorker, Sample, Span, SpanKind, ToWorker},
    outbox,
};
use nuna_worker::{Block, Effect, Event, Settings, Worker};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    compute::{Done, Ended, Pool, StageRun},
    leave::{Leave, Turn},
    sample::Sampler,
    store::Store,
};
use crate::{
    HEARTBEAT, INBOX_MESSAGES, OUTBOX_BYTES_MAX, SILENCE_MAX,
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
        connection: Connection,
        mut ending: Ending,
        mut leave: Leave,
    ) -> anyhow::Result<()> {
        let (outbox, outgoing) = outbox::<FromWorker>(OUTBOX_BYTES_MAX);
        if let Some(lasts) = leave.lasts() {
            let ms = lasts.as_millis().try_into().unwrap_or(u64::MAX);
            outbox.send(FromWorker::Lasts { ms }, Payload::new())?;
        }
        let Connection { mut reader, mut writer } = connection;
        let writing = tokio::spawn(async move { outgoing.write_to(&mut writer).await });
        let (sender, mut messages) = mpsc::channel(INBOX_MESSAGES);
        let reading = tokio::spawn(async move {
            loop {
                let message = reader.read::<ToWorker>().await;
                let last = !matches!(message, Ok(Some(_)));
                if sender.send(message).await.is_err() || last {
                    return;
                }
            }
        });
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
                        let _ = outbox.send(FromWorker::Leaving { reason }, Payload::new());
                        break Ok(());
                    }
                },
                message = messages.recv() => {
                    last_heard = Instant::now();
                    let mut message = message;
                    let outcome = loop {
                        match message {
                            Some(Ok(Some((ToWorker::ShutDown, _)))) => break Some(Ok(())),
                            Some(Ok(Some((ToWorker::Drain, _)))) => {
                                leave.asked();
                                let reason = "the cluster needs fewer workers".to_owned();
                                tracing::info!(reason, "draining: what has not begun goes back");
                                events.push(Event::Drain { reason });
                            }
                            Some(Ok(Some((message, payload)))) => events.extend(self.receive(message, payload)),
                            Some(Ok(None)) | None => break Some(Err(anyhow::anyhow!("the scheduler is gone"))),
                            Some(Err(error)) => break Some(Err(error).context("the connection to the scheduler failed")),
                        }
                        match messages.try_recv() {
                            Ok(next) => message = Some(next),
                            Err(_) => break None,
                        }
                    };
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
                    if last_heard.elapsed() > SILENCE_MAX {
                        bail!("the scheduler has not been heard of for {} s", SILENCE_MAX.as_secs());
                    }
                    if nuna_ship::runaways() >= self.threads && !leave.is_asked() {
                        leave.asked();
                        let reason = "as many calls that were given up as it has threads still run".to_owned();
                        tracing::warn!(reason, "draining, so that another worker takes its place");
                        events.push(Event::Drain { reason });
                    }
                    let message = FromWorker::Sample(self.sample(&mut sampler));
                    if let Err(error) = outbox.send(message, Payload::new()) {
                        break Err(error).context("cannot report to the scheduler");
                    }
                }
            }
            let done = self.pool.take_done();
            if let Err(error) = self.report(done, &mut events, &outbox) {
                break Err(error);
            }
            let effects = self.worker.handle(events);
            if let Err(error) = self.carry_out(effects, &outbox) {
                break Err(error);
            }
        };
        reading.abort();
        drop(outbox);
        // What was reported last should arrive, but nobody waits for it long.
        let _ = tokio::time::timeout(Duration::from_millis(500), writing).await;
        result
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
            ToWorker::Define(definition) => {
                let broken =
                    definition.stage.work.libraries.iter().find_map(|id| self.broken.get(id).cloned());
                self.stages.insert(definition.key, Arc::new(StageRun::new((*definition).clone(), broken)));
                Some(Event::Define(definition))
            }
            ToWorker::Lease { blocks, inputs } => Some(Event::Lease { blocks, inputs }),
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
    fn report(
        &mut self,
        done: Vec<Done>,
        events: &mut Vec<Event>,
        outbox: &Outbox<FromWorker>,
    ) -> anyhow::Result<()> {
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
                        batch.send(outbox)?;
                    }
                }
                Ended::Failed(error) => {
                    events.push(Event::Stopped { block });
                    batch.send(outbox)?;
                    outbox.send(FromWorker::Failed { stage: key, block: number, error }, Payload::new())?;
                }
                Ended::InputGone((input, input_block)) => {
                    events.push(Event::Stopped { block });
                    batch.send(outbox)?;
                    let worker = self.id;
                    let message =
                        FromWorker::InputMissing { stage: key, block: number, input, input_block, worker };
                    outbox.send(message, Payload::new())?;
                }
                Ended::Skipped => events.push(Event::Stopped { block }),
            }
        }
        batch.send(outbox)
    }

    fn carry_out(&mut self, effects: Vec<Effect>, outbox: &Outbox<FromWorker>) -> anyhow::Result<()> {
        for effect in effects {
            match effect {
                Effect::Run { stage, start, end } => {
                    let stage = self.stages.get(&stage).expect("stages are defined before they run").clone();
                    self.pool.push(stage, start, end);
                }
                Effect::Fetch { holder, blocks } => {
                    let address = self.addresses.get(&holder).copied();
                    for items in blocks.chunks(FETCH_ITEMS_MAX) {
                        self.fetch(holder, address, items.to_vec(), outbox.clone());
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
                Effect::Discard(blocks) => self.store.remove(&blocks),
                Effect::Close(stage) => {
                    self.stages.remove(&stage);
                }
                Effect::Send(message) => outbox.send(message, Payload::new())?,
            }
        }
        while let Ok(span) = self.span_receiver.try_recv() {
            self.spans.push(span);
        }
        if !self.spans.is_empty() {
            outbox.send(FromWorker::Spans(std::mem::take(&mut self.spans)), Payload::new())?;
        }
        Ok(())
    }

    fn fetch(
        &self,
        holder: WorkerId,
        address: Option<SocketAddr>,
        items: Vec<Block>,
        outbox: Outbox<FromWorker>,
    ) {
        let (fetcher, store, events, spans) =
            (self.fetcher.clone(), self.store.clone(), self.events.clone(), self.span_sender.clone());
        let epoch = self.epoch;
        tokio::spawn(async move {
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
                let _ = outbox.send(FromWorker::Unreachable { worker: holder, error }, Payload::new());
                vec![None; items.len()]
            });
            if let Some(&(stage, block)) = items.first() {
                let _ = spans.send(span(epoch, start, stage, block, SpanKind::Transfer));
            }
            for (block, value) in items.into_iter().zip(values) {
                let event = match value {
                    Some(value) => {
                        let bytes = value.byte_count();
                        store.insert(block, value);
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
        tokio::task::spawn_blocking(move || {
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

    fn send(&mut self, outbox: &Outbox<FromWorker>) -> anyhow::Result<()> {
        if self.blocks == 0 {
            return Ok(());
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
        outbox.send(FromWorker::Completed(stages), payload)?;
        Ok(())
    }
}
