//! The state as Prometheus text. Names are stable: dashboards of the site are built on them.

use std::fmt::Write;

use crate::protocol::ComputationState;
use crate::state::State;
use crate::stream::StreamCounters;

pub(crate) fn render(state: &State, stream: StreamCounters) -> String {
    let totals = state.current_totals();
    let running =
        state.computations.values().filter(|info| info.state == ComputationState::Running).count() as f64;
    let mut text = Text { cluster: escape(&state.name), out: String::new() };
    text.one("nuna_workers", "gauge", "Workers that are connected.", state.here().count() as f64);
    text.one("nuna_workers_lost_total", "counter", "Workers that vanished.", state.workers_lost as f64);
    text.one(
        "nuna_threads",
        "gauge",
        "Compute threads of the connected workers.",
        state.here().map(|worker| f64::from(worker.threads)).sum(),
    );
    text.one("nuna_threads_busy", "gauge", "Compute threads at work.", f64::from(totals.threads_busy));
    text.one("nuna_cpu_cores", "gauge", "Cores in use by workers.", f64::from(totals.cpu_permille) / 1000.0);
    text.one("nuna_tasks_total", "counter", "Blocks computed.", state.tasks_done as f64);
    text.one("nuna_tasks_failed_total", "counter", "Attempts that failed.", state.tasks_failed as f64);
    text.one("nuna_task_seconds_total", "counter", "Thread time in tasks.", state.busy_us as f64 / 1e6);
    text.one("nuna_computations_running", "gauge", "Computations under way.", running);
    text.one("nuna_uptime_seconds", "gauge", "Since the cluster started.", state.now_us() as f64 / 1e6);
    text.one("nuna_dashboard_viewers", "gauge", "Open views.", stream.viewers as f64);
    text.one("nuna_dashboard_sent_bytes_total", "counter", "Sent to views.", stream.sent_bytes as f64);
    text.one(
        "nuna_dashboard_snapshots_forced_total",
        "counter",
        "Times a slow view had to start over.",
        stream.snapshots_forced as f64,
    );
    text.one(
        "nuna_dashboard_spans_dropped_total",
        "counter",
        "Task spans counted but not shown, because the dashboard was behind.",
        stream.spans_dropped as f64,
    );
    text.head(
        "nuna_connections_refused_total",
        "counter",
        "Connections to the scheduler that were refused, by reason.",
    );
    for (reason, &connections) in &state.refused {
        text.line("nuna_connections_refused_total", &format!(",reason=\"{reason}\""), connections as f64);
    }
    text.head("nuna_worker_memory_bytes", "gauge", "Memory of a worker, by use.");
    for worker in state.here() {
        for (kind, bytes) in [
            ("managed", worker.sample.managed_bytes),
            ("spilled", worker.sample.spilled_bytes),
            ("resident", worker.sample.rss_bytes),
            ("limit", worker.memory_limit),
        ] {
            let name = escape(&worker.name);
            text.line(
                "nuna_worker_memory_bytes",
                &format!(",worker=\"{name}\",kind=\"{kind}\""),
                bytes as f64,
            );
        }
    }
    text.out
}

struct Text {
    cluster: String,
    out: String,
}

impl Text {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.line(name, "", value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes all text");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        writeln!(self.out, "{name}{{cluster=\"{}\"{labels}}} {value}", self.cluster)
            .expect("a String takes all text");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Recorded};

    #[test]
    fn names_with_quotes_stay_one_label() {
        let mut state = State::new("a\"b".into(), 0);
        let joined = Event::WorkerJoined { worker: 1, name: "n\\1".into(), threads: 4, memory_limit: 8 };
        state.apply(2_000_000, Recorded::Event(joined));
        state.apply(2_000_000, Recorded::Event(Event::Refused { reason: "untrusted", connections: 3 }));
        let text = render(&state, StreamCounters::default());
        assert!(
            text.contains("nuna_connections_refused_total{cluster=\"a\\\"b\",reason=\"untrusted\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("nuna_threads{cluster=\"a\\\"b\"} 4\n"), "{text}");
        assert!(
            text.contains(
                "nuna_worker_memory_bytes{cluster=\"a\\\"b\",worker=\"n\\\\1\",kind=\"limit\"} 8\n"
            )
        );
        assert!(text.contains("nuna_uptime_seconds{cluster=\"a\\\"b\"} 2\n"));
        for line in text.lines() {
            assert!(line.starts_with("# ") || line.starts_with("nuna_"), "{line}");
        }
    }
}
