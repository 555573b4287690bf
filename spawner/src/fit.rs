//! Whether the batch system has each profile's queue, and would run what the profile asks for.

use std::sync::Arc;
use std::time::Duration;

use nuna_pbs::{Queue, Queues};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::App;
use crate::config::{Config, OptionSettings, ProfileSettings, parse_walltime, walltime_text};
use crate::select::size_bytes;

/// While the batch system does not answer after the service's start.
const AGAIN: Duration = Duration::from_secs(10);

/// A line for an administrator: what people would run into, or what may be so on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Wrong(String),
    Notice(String),
}

pub fn profiles(config: &Config, queues: &Queues) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, profile) in config.profiles.iter().filter(|(_, profile)| !profile.is_abstract) {
        for name in profile.queues() {
            // `queue@server` is another server's, which is not asked.
            if name.contains('@') {
                continue;
            }
            match queues.queues.get(&name) {
                Some(queue) => compare(key, profile, queue, &mut findings),
                None => {
                    let known: Vec<&str> = queues.queues.keys().map(String::as_str).collect();
                    let system = config.batch.system;
                    findings.push(Finding::Wrong(format!(
                        "profiles.{key}.queue: {system} has no {name:?}; it has {}",
                        known.join(", ")
                    )));
                }
            }
        }
    }
    findings
}

fn compare(key: &str, profile: &ProfileSettings, queue: &Queue, findings: &mut Vec<Finding>) {
    if !queue.enabled || !queue.started {
        let what = if queue.enabled { "starts no jobs" } else { "takes no jobs" };
        findings.push(Finding::Notice(format!("profiles.{key}.queue: {} {what} at the moment", queue.name)));
    }
    let longest = profile.options.values().find_map(|option| match option {
        OptionSettings::Walltime { max, for_groups, .. } => {
            std::iter::once(max).chain(for_groups.values()).filter_map(|text| parse_walltime(text)).max()
        }
        OptionSettings::Choice { .. } | OptionSettings::Number { .. } => None,
    });
    if let (Some(asked), Some(limit)) =
        (longest.or_else(|| parse_walltime(&profile.walltime)), queue.walltime_max)
        && asked > limit
    {
        findings.push(Finding::Wrong(format!(
            "profiles.{key}: {} is more than the {} that {} allows",
            walltime_text(asked),
            walltime_text(limit),
            queue.name
        )));
    }
    let most = |name: &str, read: fn(&str) -> Option<u64>| {
        profile.selects().iter().filter_map(|select| total(select, name, read)).max()
    };
    let cores = most("ncpus", |text| text.parse().ok());
    if let (Some(asked), Some(limit)) = (cores, queue.cores_max)
        && asked > limit
    {
        findings.push(Finding::Wrong(format!(
            "profiles.{key}: {asked} cores are more than the {limit} that {} allows for a job",
            queue.name
        )));
    }
    if let (Some(asked), Some(limit)) = (most("mem", size_bytes), queue.memory_max_bytes)
        && asked > limit
    {
        let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        findings.push(Finding::Wrong(format!(
            "profiles.{key}: {:.1} GB of memory are more than the {:.1} GB that {} allows for a job",
            gibibytes(asked),
            gibibytes(limit),
            queue.name
        )));
    }
}

/// What all chunks of a select statement ask for together; nothing if none of them names it.
fn total(select: &str, name: &str, read: fn(&str) -> Option<u64>) -> Option<u64> {
    let mut sum = None;
    for chunk in select.split('+') {
        let count = chunk.split(':').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(1);
        let asked = chunk.split(':').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        if let Some(asked) = asked.and_then(read) {
            sum = Some(asked.saturating_mul(count).saturating_add(sum.unwrap_or(0)));
        }
    }
    sum
}

/// Compares once the batch system answers, and writes what it finds into the log.
pub async fn watch(app: Arc<App>, mut ending: watch::Receiver<bool>) {
    loop {
        if let Some(queues) = app.queues.look().await.queues {
            // One that does not tell is no reason to warn.
            let findings = if queues.queues.is_empty() { Vec::new() } else { profiles(&app.config, &queues) };
            for finding in &findings {
                match finding {
                    Finding::Wrong(line) => warn!("{line}"),
                    Finding::Notice(line) => info!("{line}"),
                }
            }
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_queue_would_run_is_named() {
        let text = r#"
            [a]
            title = "A"
            queue = "omp"
            walltime = "01:00:00"
            [a.options]
            nodes = { kind = "number", title = "Nodes", min = 1, max = 2, default = 1 }
            ncpus = { kind = "number", title = "Cores", min = 1, max = 4, default = 1, for_groups = { ocean = 16 } }
            walltime = { kind = "walltime", title = "Time", max = "02:00:00", for_groups = { ocean = "09:00:00" } }
        "#;
        let profiles: std::collections::BTreeMap<String, ProfileSettings> = toml::from_str(text).unwrap();
        let queue = Queue {
            name: "omp".to_owned(),
            enabled: true,
            cores_max: Some(16),
            walltime_max: Some(Duration::from_secs(8 * 3600)),
            memory_max_bytes: Some(1),
            ..Queue::default()
        };
        let mut findings = Vec::new();
        compare("a", &profiles["a"], &queue, &mut findings);
        let told = format!("{findings:?}");
        assert!(told.contains("09:00:00 is more than the 08:00:00 that omp allows"), "{told}");
        assert!(told.contains("Notice(\"profiles.a.queue: omp starts no jobs"), "{told}");
        assert_eq!(findings.len(), 2, "one option at a time, 16 cores fit: {told}");
        let small = Queue { started: true, cores_max: Some(8), ..queue };
        findings.clear();
        compare("a", &profiles["a"], &small, &mut findings);
        assert!(
            format!("{findings:?}").contains("16 cores are more than the 8 that omp allows"),
            "{findings:?}"
        );
        assert_eq!(total("1:ncpus=4:mem=1gb+2:ncpus=8", "ncpus", |text| text.parse().ok()), Some(20));
        assert_eq!(total("1:ncpus=4", "mem", size_bytes), None);
    }
}
