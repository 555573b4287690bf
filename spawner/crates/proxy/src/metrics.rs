//! Counters, under the names configurable-http-proxy gives them, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
    requests_proxy: Mutex<BTreeMap<u16, u64>>,
    requests_api: Mutex<BTreeMap<u16, u64>>,
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

fn add(map: &Mutex<BTreeMap<u16, u64>>, status: u16) {
    *map.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(status).or_default() += 1;
}

impl Metrics {
    pub(crate) fn proxied(&self, status: u16) {
        add(&self.requests_proxy, status);
    }

    pub(crate) fn api(&self, status: u16) {
        add(&self.requests_api, status);
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
            for (status, value) in map.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
                let _ = writeln!(out, "{name}{{status=\"{status}\"}} {value}");
            }
        }
        out
    }
}
