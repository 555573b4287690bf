//! Owns what a cluster looks like at the end of a cell: a line of text, or a small table.

use std::fmt;

use nuna_wire::message::JobsInfo;

use crate::{cluster::Cluster, memory::show_bytes};

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.client().is_lost() {
            return write!(f, "Cluster {}: ended or out of reach", self.name());
        }
        let info = self.info();
        let threads: u32 = info.workers.iter().map(|worker| u32::from(worker.threads)).sum();
        let memory: u64 = info.workers.iter().map(|worker| worker.memory_bytes).sum();
        write!(
            f,
            "Cluster {}: {} {}, {threads} {}, {}, dashboard {}",
            self.name(),
            info.workers.len(),
            if info.workers.len() == 1 { "worker" } else { "workers" },
            if threads == 1 { "thread" } else { "threads" },
            show_bytes(memory),
            self.dashboard_url()
        )?;
        if let Some(jobs) = &info.jobs {
            write!(f, "; {}", jobs_line(jobs))?;
        }
        if let Some(line) = scheduler_line(self.client().is_away(), info.restarts) {
            write!(f, "; {line}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Cluster {
    /// The cluster as a small table, for a notebook.
    pub fn html(&self) -> String {
        if self.client().is_lost() {
            return format!(
                "<div class=\"nuna-cluster\"><p><strong>Cluster {}</strong>: ended or out of reach</p></div>",
                escape(self.name())
            );
        }
        let info = self.info();
        let mut rows = String::new();
        for worker in &info.workers {
            rows.push_str(&format!(
                "<tr><td style=\"text-align:left\">{}</td><td>{}</td><td>{} of {}</td></tr>",
                escape(&worker.name),
                worker.threads,
                show_bytes(worker.used_bytes),
                show_bytes(worker.memory_bytes)
            ));
        }
        format!(
            "<div class=\"nuna-cluster\"><p><strong>Cluster {}</strong>: {} workers, dashboard at <code>{}</code></p>\
             <table><thead><tr><th style=\"text-align:left\">Worker</th><th>Threads</th><th>Memory</th></tr></thead>\
             <tbody>{rows}</tbody></table>{}{}</div>",
            escape(self.name()),
            info.workers.len(),
            escape(&self.dashboard_url()),
            info.jobs
                .as_ref()
                .map_or_else(String::new, |jobs| format!("<p>{}</p>", escape(&jobs_line(jobs)))),
            scheduler_line(self.client().is_away(), info.restarts)
                .map_or_else(String::new, |line| format!("<p>{line}</p>"))
        )
    }
}

/// What became of the scheduler, if it is not the first.
fn scheduler_line(away: bool, restarts: u32) -> Option<String> {
    match (away, restarts) {
        (true, _) => Some("its scheduler was lost, and is waited for".to_owned()),
        (false, 0) => None,
        (false, 1) => Some("its scheduler was restarted once".to_owned()),
        (false, times) => Some(format!("its scheduler was restarted {times} times")),
    }
}

/// `2 to 4 workers wanted, 1 job queued, 3 submitted so far`.
fn jobs_line(jobs: &JobsInfo) -> String {
    let count = |count: u32, noun: &str| {
        if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
    };
    let mut parts = vec![if jobs.least == jobs.most {
        format!("{} wanted", count(jobs.most, "worker"))
    } else {
        format!("{} to {} wanted", jobs.least, count(jobs.most, "worker"))
    }];
    for (number, state) in [(jobs.queued, "queued"), (jobs.starting, "starting"), (jobs.leaving, "leaving")] {
        if number > 0 {
            parts.push(format!("{} {state}", count(number, "job")));
        }
    }
    parts.push(format!("{} submitted so far", jobs.submissions));
    if let Some(reason) = &jobs.paused {
        parts.push(format!("no more are submitted until the cluster is scaled again: {reason}"));
    } else if let Some(trouble) = &jobs.trouble {
        parts.push(format!("trouble: {trouble}"));
    }
    parts.join(", ")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_bring_markup() {
        assert_eq!(escape("<b title='x'>&"), "&lt;b title=&#39;x&#39;&gt;&amp;");
    }
}
