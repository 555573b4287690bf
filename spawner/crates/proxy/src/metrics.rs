//! Counters, under the names configurable-http-proxy gives them, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts by status code. Every request counts, so nothing is locked.
struct ByStatus([AtomicU64; STATUS_MAX + 1]);

/// What HTTP's three digits allow; a target's code above is counted as this one.
const STATUS_MAX: usize = 999;

impl Default for ByStatus {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; STATUS_MAX + 1])
    }
}

impl ByStatus {
    fn add(&self, status: u16) {
        if let Some(counter) = self.0.get(usize::from(status).min(STATUS_MAX)) {
            count(counter);
        }
    }
}

#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) requests_web: AtomicU64,
    pub(crate) requests_ws: AtomicU64,
    pub(crate) api_route_get: AtomicU64,
    pub(crate) api_route_add: AtomicU64,
    pub(crate) api_route_delete: AtomicU64,
    /// Open client connections and tunnels.
    pub(crate) connections: AtomicU64,
    pub(crate) tunnels: AtomicU64,
    requests_proxy: ByStatus,
    requests_api: ByStatus,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts up now and down when dropped.
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(crate) fn enter(gauge: &'a AtomicU64) -> Self {
        count(gauge);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn proxied(&self, status: u16) {
        self.requests_proxy.add(status);
    }

    pub(crate) fn api(&self, status: u16) {
        self.requests_api.add(status);
    }

    pub(crate) fn render(&self, routes: usize) -> String {
        let mut out = String::new();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("requests_web", "counter", "Count of web requests", read(&self.requests_web)),
            ("requests_ws", "counter", "Count of websocket requests", read(&self.requests_ws)),
            ("api_route_get", "counter", "Count of API route get requests", read(&self.api_route_get)),
            ("api_route_add", "counter", "Count of API route add requests", read(&self.api_route_add)),
            (
                "api_route_delete",
                "counter",
                "Count of API route delete requests",
                read(&self.api_route_delete),
            ),
            ("connections", "gauge", "Open client connections", read(&self.connections)),
            ("tunnels", "gauge", "Open websocket tunnels", read(&self.tunnels)),
            ("routes", "gauge", "Routes in the table", routes as u64),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        for (name, help, map) in [
            ("requests_proxy", "Count of proxied requests by status", &self.requests_proxy),
            ("requests_api", "Count of API requests by status", &self.requests_api),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (status, counter) in map.0.iter().enumerate() {
                let value = read(counter);
                if value > 0 {
                    let _ = writeln!(out, "{name}{{status=\"{status}\"}} {value}");
                }
            }
        }
        out
    }
}
