//! Reads what a site allows in its queues: `qstat -Q -f -F json`, and the server's default queue.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

/// One queue, as far as somebody who submits to it must know. What the site does not limit is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// Accepts jobs.
    pub enabled: bool,
    /// Starts jobs.
    pub started: bool,
    /// Passes jobs on to others, so that its own limits say little.
    pub routes: bool,
    /// Of one job.
    pub cores_max: Option<u64>,
    pub memory_max_bytes: Option<u64>,
    pub walltime_max: Option<Duration>,
    /// What a job gets that does not say.
    pub walltime_default: Option<Duration>,
    /// Jobs in one array.
    pub array_size_max: Option<u64>,
    /// Jobs in it at once, running ones too; those of an array are counted each.
    pub queued_max: Share,
    /// Jobs that wait in it at once.
    pub waiting_max: Share,
    /// Jobs that run in it at once.
    pub running_max: Share,
    /// Who may use it, if not everybody.
    pub users: Option<Vec<String>>,
    /// Jobs that run in it now, and that wait for their turn; absent where the batch system does not say.
    pub running: Option<u64>,
    pub waiting: Option<u64>,
    /// Of nodes that are up and may run its jobs, shared with other queues; absent where nobody says.
    pub free: Option<Free>,
}

/// What nodes have left at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    pub cores: u64,
    /// On which nothing runs.
    pub nodes: u64,
}

/// A limit of PBS that may differ from person to person: `[u:PBS_GENERIC=10], [u:alice=20], [o:PBS_ALL=100]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// For all together.
    pub all: Option<u64>,
    /// For each person who is not named.
    pub each: Option<u64>,
    pub named: BTreeMap<String, u64>,
}

impl Share {
    /// What `user` may have at most.
    pub fn of(&self, user: &str) -> Option<u64> {
        let own = self.named.get(user).copied().or(self.each);
        own.into_iter().chain(self.all).min()
    }
}

/// The queues of a server, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    pub queues: BTreeMap<String, Queue>,
    /// Where a job goes that names no queue.
    pub default: Option<String>,
    /// Jobs in one array, in any queue.
    pub array_size_max: Option<u64>,
}

impl Queues {
    /// The largest array that `user` may submit to `queue`, or to the default one; nothing if there is no limit.
    pub fn array_size_max(&self, queue: Option<&str>, user: &str) -> Option<u64> {
        let queue = queue.or(self.default.as_deref()).and_then(|name| self.queues.get(name));
        let of_queue = queue.map(|queue| {
            [queue.array_size_max, queue.queued_max.of(user), queue.waiting_max.of(user)]
                .into_iter()
                .flatten()
        });
        of_queue.into_iter().flatten().chain(self.array_size_max).min()
    }
}

/// Queues out of the answer to `qstat -Q -f -F json`.
pub(crate) fn all(answer: &Json) -> BTreeMap<String, Queue> {
    // A server without queues leaves the whole group out.
    let listed = answer["Queue"].as_object();
    listed.into_iter().flatten().map(|(name, about)| (name.clone(), queue(name, about))).collect()
}

fn queue(name: &str, about: &Json) -> Queue {
    let is_on = |key: &str| about[key].as_str() == Some("True") || about[key].as_bool() == Some(true);
    let most = |resource: &str| text(&about["resources_max"][resource]);
    let users = is_on("acl_user_enable").then(|| {
        let listed = text(&about["acl_users"]).unwrap_or_default();
        listed.split(',').map(|user| user.trim().to_owned()).filter(|user| !user.is_empty()).collect()
    });
    Queue {
        name: name.to_owned(),
        enabled: is_on("enabled"),
        started: is_on("started"),
        routes: about["queue_type"].as_str().is_some_and(|kind| kind.starts_with('R')),
        cores_max: most("ncpus").and_then(|text| text.parse().ok()),
        memory_max_bytes: most("mem").and_then(|text| size(&text)),
        walltime_max: most("walltime").and_then(|text| duration(&text)),
        walltime_default: text(&about["resources_default"]["walltime"]).and_then(|text| duration(&text)),
        array_size_max: number(&about["max_array_size"]),
        queued_max: share(&about["max_queued"]),
        waiting_max: share(&about["queued_jobs_threshold"]),
        running_max: share(&about["max_run"]),
        users,
        running: count(&about["state_count"], &["Running", "Exiting", "Begun"]),
        waiting: count(&about["state_count"], &["Queued", "Held", "Waiting"]),
        free: None,
    }
}

/// Jobs in these states, out of `Transit:0 Queued:2 Held:0 Running:1 …`.
fn count(value: &Json, states: &[&str]) -> Option<u64> {
    let counts = text(value)?;
    let mut found = None;
    for (state, number) in counts.split_whitespace().filter_map(|word| word.split_once(':')) {
        if states.contains(&state) {
            found = Some(found.unwrap_or(0_u64).saturating_add(number.parse::<u64>().ok()?));
        }
    }
    found
}

/// Adds what is free to each queue, out of the answer to `pbsnodes -a -F json`. A node that is set aside for a queue counts
/// for that one alone; queues without such nodes share the others.
///
/// # Errors
/// With a sentence, if that is no such answer.
pub(crate) fn add_free(queues: &mut BTreeMap<String, Queue>, answer: &[u8]) -> Result<(), String> {
    let answer: Json =
        serde_json::from_slice(answer).map_err(|error| format!("pbsnodes -a -F json: {error}"))?;
    let nodes = answer["nodes"].as_object().ok_or("pbsnodes -a -F json lists no nodes")?;
    let mut own: BTreeMap<String, Free> = BTreeMap::new();
    let mut shared = Free::default();
    for node in nodes.values() {
        let state = node["state"].as_str().unwrap_or_default();
        let amount = |of: &str| number(&node[of]["ncpus"]).unwrap_or(0);
        let assigned = amount("resources_assigned");
        let is_up = !["down", "offline", "unknown", "stale", "sleep", "provisioning"]
            .iter()
            .any(|bad| state.contains(bad));
        let cores = if is_up { amount("resources_available").saturating_sub(assigned) } else { 0 };
        let whole = u64::from(cores > 0 && assigned == 0);
        let names = text(&node["queue"]).or_else(|| text(&node["resources_available"]["Qlist"]));
        let add = |free: &mut Free| {
            free.cores = free.cores.saturating_add(cores);
            free.nodes += whole;
        };
        match names {
            None => add(&mut shared),
            Some(names) => {
                names.split(',').for_each(|name| add(own.entry(name.trim().to_owned()).or_default()))
            }
        }
    }
    for (name, queue) in queues.iter_mut().filter(|(_, queue)| !queue.routes) {
        queue.free = Some(own.get(name).copied().unwrap_or(shared));
    }
    Ok(())
}

pub(crate) fn number(value: &Json) -> Option<u64> {
    text(value)?.trim().parse().ok()
}

/// Entries for groups and projects are left out: whose they are is not known here.
fn share(value: &Json) -> Share {
    let mut share = Share::default();
    for entry in text(value).unwrap_or_default().split(',') {
        let entry = entry.trim().trim_matches(['[', ']']);
        let Some((kind, (name, most))) =
            entry.split_once(':').and_then(|(kind, rest)| Some((kind, rest.split_once('=')?)))
        else {
            continue;
        };
        let Ok(most) = most.trim().parse::<u64>() else { continue };
        match (kind, name.trim().trim_matches('"')) {
            ("o", _) => share.all = Some(most),
            ("u", "PBS_GENERIC") => share.each = Some(most),
            ("u", user) => {
                share.named.insert(user.to_owned(), most);
            }
            _ => {}
        }
    }
    share
}

/// PBS prints what looks like a number as one.
fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// `2gb`, `1024` (bytes), `100kw` (words of 8 bytes), in bytes.
pub fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = lower[..digits].parse().ok()?;
    let (scale, word) = match &lower[digits..] {
        "" | "b" => (0, 1),
        "w" => (0, 8),
        "k" | "kb" => (10, 1),
        "kw" => (10, 8),
        "m" | "mb" => (20, 1),
        "mw" => (20, 8),
        "g" | "gb" => (30, 1),
        "gw" => (30, 8),
        "t" | "tb" => (40, 1),
        "tw" => (40, 8),
        "p" | "pb" => (50, 1),
        _ => return None,
    };
    number.checked_mul(1 << scale)?.checked_mul(word)
}

/// `SS`, `MM:SS` or `HH:MM:SS`.
fn duration(text: &str) -> Option<Duration> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let parts: Vec<&str> = whole.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    let seconds = parts
        .iter()
        .try_fold(0_u64, |total, part| total.checked_mul(60)?.checked_add(part.parse::<u64>().ok()?))?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> BTreeMap<String, Queue> {
        all(&serde_json::from_slice(text).unwrap())
    }

    #[test]
    fn recorded_queues_are_read() {
        let sample = include_str!("../../embedded-pbs/tests/samples/qstat-Qf.txt");
        let answer = sample.split("--- stdout\n").nth(1).unwrap().split("--- stderr").next().unwrap();
        let queues = parse(answer.as_bytes());
        let short = &queues["short"];
        assert_eq!((short.cores_max, short.memory_max_bytes), (Some(2), Some(2 << 30)));
        assert_eq!(short.walltime_max, Some(Duration::from_secs(3600)));
        assert_eq!(short.walltime_default, Some(Duration::from_secs(1800)));
        assert!(short.enabled && short.started && !short.routes && short.users.is_none());
        assert!(!queues["long"].started && !queues["closed"].enabled);
        assert_eq!(queues["vip"].users.as_deref(), Some(&["bob".to_owned()][..]));
        assert_eq!(queues["workq"].walltime_max, None);
    }

    #[test]
    fn limits_of_a_person_are_told_from_those_of_all() {
        let text = br#"{"Queue": {"a": {"enabled": "True", "max_array_size": 50,
            "max_queued": "[u:PBS_GENERIC=10], [u:alice=20],[g:geo=3],[o:PBS_ALL=15],[u:x=many],]",
            "queued_jobs_threshold": "[u:PBS_GENERIC=8]"}}}"#;
        let queues = Queues { queues: parse(text), default: Some("a".into()), array_size_max: Some(40) };
        let queue = &queues.queues["a"];
        assert_eq!((queue.queued_max.of("alice"), queue.queued_max.of("bob")), (Some(15), Some(10)));
        assert_eq!((queue.waiting_max.of("alice"), Share::default().of("alice")), (Some(8), None));
        assert_eq!(queues.array_size_max(None, "alice"), Some(8));
        assert_eq!(queues.array_size_max(Some("elsewhere"), "alice"), Some(40));
        assert_eq!(queue.array_size_max, Some(50));
    }

    #[test]
    fn what_runs_waits_and_is_free_is_read() {
        let text = br#"{"Queue": {
            "workq": {"state_count": "Transit:0 Queued:2 Held:1 Waiting:0 Running:3 Exiting:1 Begun:0 ", "max_run": "[u:PBS_GENERIC=2]"},
            "omp": {"state_count": "Queued:many"}, "route": {"queue_type": "Route"}}}"#;
        let mut queues = parse(text);
        let workq = &queues["workq"];
        assert_eq!(
            (workq.running, workq.waiting, workq.running_max.of("alice")),
            (Some(4), Some(3), Some(2))
        );
        assert_eq!((queues["omp"].waiting, queues["route"].running), (None, None));
        let nodes = br#"{"nodes": {
            "a": {"state": "free", "resources_available": {"ncpus": 8}, "resources_assigned": {"ncpus": 3}},
            "b": {"state": "free", "resources_available": {"ncpus": "8"}},
            "c": {"state": "down,offline", "resources_available": {"ncpus": 8}},
            "d": {"state": "job-busy", "resources_available": {"ncpus": 8}, "resources_assigned": {"ncpus": 9}},
            "e": {"state": "free", "queue": "omp", "resources_available": {"ncpus": 28}}}}"#;
        add_free(&mut queues, nodes).unwrap();
        assert_eq!(queues["workq"].free, Some(Free { cores: 13, nodes: 1 }));
        assert_eq!((queues["omp"].free, queues["route"].free), (Some(Free { cores: 28, nodes: 1 }), None));
        assert!(add_free(&mut queues, b"[]").is_err() && add_free(&mut queues, b"x").is_err());
    }

    #[test]
    fn no_queues_are_none_and_nonsense_is_no_limit() {
        assert!(parse(b"{\"pbs_server\": \"a\"}").is_empty());
        assert_eq!(size("3parsecs"), None);
        assert_eq!(duration("1:2:3:4"), None);
    }
}
