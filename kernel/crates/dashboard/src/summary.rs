//! What the REST routes answer: the state as JSON, units in the names.

use serde::Serialize;

use crate::event::{SpanKind, TaskSpan};
use crate::protocol::{ComputationState, WorkerState};
use crate::state::{StageInfo, State};

const LATEST_TASKS_MAX: usize = 10_000;

#[derive(Serialize)]
pub(crate) struct Cluster<'a> {
    name: &'a str,
    origin: &'a str,
    started_unix_ms: u64,
    uptime_us: u64,
    threads: u32,
    threads_busy: u32,
    managed_bytes: u64,
    spilled_bytes: u64,
    rss_bytes: u64,
    memory_limit_bytes: u64,
    tasks_done: u64,
    tasks_failed: u64,
    workers: Vec<Worker<'a>>,
    computations: Vec<Computation<'a>>,
}

#[derive(Serialize)]
struct Worker<'a> {
    worker: u32,
    name: &'a str,
    state: &'static str,
    threads: u16,
    threads_busy: u16,
    cpu_permille: u32,
    managed_bytes: u64,
    spilled_bytes: u64,
    rss_bytes: u64,
    memory_limit_bytes: u64,
}

#[derive(Serialize)]
struct Computation<'a> {
    computation: u32,
    label: &'a str,
    state: &'static str,
    started_us: u64,
    finished_us: Option<u64>,
    stages: Vec<Stage<'a>>,
}

#[derive(Serialize)]
struct Stage<'a> {
    stage: u32,
    name: &'a str,
    blocks: u64,
    done: u64,
    failed: u64,
    busy_us: u64,
}

#[derive(Serialize)]
pub(crate) struct Task<'a> {
    stage: u32,
    name: Option<&'a str>,
    label: Option<&'a str>,
    block: u64,
    blocks: Option<u64>,
    worker: u32,
    worker_name: Option<&'a str>,
    thread: u16,
    start_us: u64,
    duration_us: u32,
    kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Failure<'a> {
    at_us: u64,
    stage: u32,
    name: Option<&'a str>,
    block: u64,
    worker: u32,
    message: &'a str,
}

pub(crate) fn cluster<'a>(state: &'a State, origin: &'a str) -> Cluster<'a> {
    let totals = state.current_totals();
    Cluster {
        name: &state.name,
        origin,
        started_unix_ms: state.started_unix_ms,
        uptime_us: state.now_us(),
        threads: state.here().map(|worker| u32::from(worker.threads)).sum(),
        threads_busy: totals.threads_busy,
        managed_bytes: totals.managed_bytes,
        spilled_bytes: totals.spilled_bytes,
        rss_bytes: totals.rss_bytes,
        memory_limit_bytes: totals.limit_bytes,
        tasks_done: state.tasks_done,
        tasks_failed: state.tasks_failed,
        workers: state
            .workers
            .values()
            .map(|worker| Worker {
                worker: worker.worker,
                name: &worker.name,
                state: match worker.state {
                    WorkerState::Here => "here",
                    WorkerState::Left => "left",
                    WorkerState::Lost => "lost",
                },
                threads: worker.threads,
                threads_busy: worker.sample.threads_busy,
                cpu_permille: worker.sample.cpu_permille,
                managed_bytes: worker.sample.managed_bytes,
                spilled_bytes: worker.sample.spilled_bytes,
                rss_bytes: worker.sample.rss_bytes,
                memory_limit_bytes: worker.memory_limit,
            })
            .collect(),
        computations: state
            .computations
            .values()
            .map(|computation| Computation {
                computation: computation.computation,
                label: &computation.label,
                state: match computation.state {
                    ComputationState::Running => "running",
                    ComputationState::Succeeded => "succeeded",
                    ComputationState::Failed => "failed",
                    ComputationState::Cancelled => "cancelled",
                },
                started_us: computation.started_us,
                finished_us: (computation.state != ComputationState::Running)
                    .then_some(computation.finished_us),
                stages: computation.stages.iter().filter_map(|id| state.stages.get(id)).map(stage).collect(),
            })
            .collect(),
    }
}

fn stage(info: &StageInfo) -> Stage<'_> {
    Stage {
        stage: info.stage,
        name: &info.name,
        blocks: info.blocks,
        done: info.progress.done,
        failed: info.progress.failed,
        busy_us: info.progress.busy_us,
    }
}

pub(crate) fn task<'a>(state: &'a State, span: &TaskSpan) -> Task<'a> {
    let stage = state.stages.get(&span.stage);
    let computation = stage.and_then(|stage| state.computations.get(&stage.computation));
    Task {
        stage: span.stage,
        name: stage.map(|stage| stage.name.as_str()),
        label: computation.map(|computation| computation.label.as_str()),
        block: span.block,
        blocks: stage.map(|stage| stage.blocks),
        worker: span.worker,
        worker_name: state.workers.get(&span.worker).map(|worker| worker.name.as_str()),
        thread: span.thread,
        start_us: span.start_us,
        duration_us: span.duration_us,
        kind: match span.kind {
            SpanKind::Compute => "compute",
            SpanKind::Transfer => "transfer",
            SpanKind::Spill => "spill",
            SpanKind::Failed => "failed",
        },
    }
}

pub(crate) fn latest_tasks(state: &State, limit: usize) -> Vec<Task<'_>> {
    state.spans.iter().rev().take(limit.min(LATEST_TASKS_MAX)).map(|span| task(state, span)).collect()
}

pub(crate) fn failures(state: &State) -> Vec<Failure<'_>> {
    state
        .failures
        .iter()
        .map(|failure| Failure {
            at_us: failure.at_us,
            stage: failure.stage,
            name: state.stages.get(&failure.stage).map(|stage| stage.name.as_str()),
            block: failure.block,
            worker: failure.worker,
            message: &failure.message,
        })
        .collect()
}
