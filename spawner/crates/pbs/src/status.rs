//! Reads `qstat -f -F json`.
//!
//! PBS prints a value as a string, or, if the value itself reads as JSON, as whatever that is: a job named `12` has
//! a number for a name, and a variable can be an object nested as deep as its owner likes. So each value is taken
//! as loose text, and what is not needed is skipped without recursion. Every job of the server passes through here:
//! nothing one user writes may hide another's job, and a job that cannot be read makes the list incomplete.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::cleaned;
use crate::{Array, Indices, Job, JobId, JobState, Snapshot};

/// A larger array is nonsense: sites allow some thousand jobs in one.
const ARRAY_SIZE_MAX: u64 = 1_000_000;

/// How the scheduler begins its comment on a job that no machine it has could run.
const HOPELESS: &str = "Can Never Run";

/// What is kept of one job's attributes, as text.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    values: BTreeMap<&'static str, String>,
}

/// Attributes that are read; `name.resource` for those in a table.
const WANTED: [&str; 16] = [
    "Exit_status",
    "Job_Name",
    "Job_Owner",
    "Resource_List.walltime",
    "array_index",
    "array_indices_remaining",
    "array_indices_submitted",
    "comment",
    "estimated.start_time",
    "etime",
    "exec_host",
    "job_state",
    "qtime",
    "queue",
    "resources_used.walltime",
    "stime",
];

impl Fields {
    /// Keeps `value` if it is wanted. PBS may print a table twice; the last value counts.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        if let Some(wanted) = WANTED.iter().find(|wanted| **wanted == name) {
            self.values.insert(wanted, value);
        }
    }

    /// As [`Fields::set`], but the first value counts.
    pub(crate) fn set_first(&mut self, name: &str, value: String) {
        if !self.values.contains_key(name) {
            self.set(name, value);
        }
    }

    fn is_table(name: &str) -> bool {
        matches!(name, "Resource_List" | "resources_used" | "estimated")
    }

    /// Nothing if not even the state is there, or if an array's indices are none.
    pub(crate) fn job(mut self, id: JobId) -> Option<Job> {
        let mut take = |name: &str| self.values.remove(name);
        let state = JobState::from_letter(take("job_state")?.chars().next()?);
        // Jobs of an array may repeat what their array says.
        let indices = ["array_indices_submitted", "array_indices_remaining"].map(&mut take);
        let array = match indices {
            [Some(submitted), Some(waiting)] if id.is_array() => {
                let (submitted, waiting) = (submitted.parse::<Indices>().ok()?, waiting.parse().ok()?);
                (submitted.count() <= ARRAY_SIZE_MAX).then_some(())?;
                Some(Array { submitted, waiting })
            }
            [_, _] => None,
        };
        // What a job of an array says that never ran is copied from its array, the exit status of another job included.
        let is_copy = id.index().is_some() && take("array_index").is_none();
        let exit_status = take("Exit_status").filter(|_| !is_copy);
        let owner = take("Job_Owner").unwrap_or_default();
        let comment = take("comment").map(|text| cleaned(&text)).filter(|text| !text.is_empty());
        Some(Job {
            state,
            name: cleaned(&take("Job_Name").unwrap_or_default()),
            owner: owner.split('@').next().unwrap_or_default().to_owned(),
            queue: cleaned(&take("queue").unwrap_or_default()),
            never_runs: comment.as_deref().is_some_and(|comment| comment.starts_with(HOPELESS)),
            comment,
            exec_host: take("exec_host").and_then(|text| first_host(&text)),
            exit_status: exit_status.and_then(|text| text.parse().ok()),
            estimated_start: take("estimated.start_time").and_then(|text| seconds(&text)),
            start_time: take("stime").and_then(|text| seconds(&text)),
            walltime: take("Resource_List.walltime").and_then(|text| duration(&text)),
            walltime_used: take("resources_used.walltime").and_then(|text| duration(&text)),
            queued_at: take("qtime").and_then(|text| seconds(&text)),
            eligible_since: take("etime").and_then(|text| seconds(&text)),
            array,
            ..Job::new(id, state)
        })
    }
}

/// `node1/0*2+node2/0` names `node1`.
fn first_host(text: &str) -> Option<String> {
    let host = text.split('+').next()?.split(['/', ':']).next()?.trim_start_matches('(');
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_name)).then(|| host.to_owned())
}

/// C's `ctime` in UTC (the command runs with `TZ=UTC`), or seconds since the epoch.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let broken = jiff::fmt::strtime::parse("%a %b %e %H:%M:%S %Y", text).ok()?;
    Some(broken.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// `HH:MM:SS`, `MM:SS` or seconds.
fn duration(text: &str) -> Option<Duration> {
    let whole = text.split('.').next()?;
    let mut total: u64 = 0;
    for part in whole.split(':') {
        total = total.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    Some(Duration::from_secs(total))
}

/// Reads the whole answer, or says where it stops being JSON.
pub(crate) fn parse(stdout: &[u8]) -> Result<Snapshot, String> {
    let text = String::from_utf8_lossy(stdout);
    let answer: Answer = serde_json::from_str(&text).map_err(|error| {
        // serde_json names line and column; the text itself may hold other users' variables.
        error.to_string()
    })?;
    let mut snapshot = Snapshot { jobs: BTreeMap::new(), server_time: answer.timestamp, complete: true };
    for (name, fields) in answer.jobs {
        collect(&mut snapshot, &name, fields);
    }
    Ok(snapshot)
}

pub(crate) fn collect(snapshot: &mut Snapshot, name: &str, fields: Fields) {
    let job = name.parse::<JobId>().ok().and_then(|id| fields.job(id));
    match job {
        Some(job) => {
            snapshot.jobs.insert(job.id.clone(), job);
        }
        None => snapshot.complete = false,
    }
}

#[derive(Default)]
struct Answer {
    timestamp: Option<i64>,
    jobs: Vec<(String, Fields)>,
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnswerVisitor;
        impl<'de> Visitor<'de> for AnswerVisitor {
            type Value = Answer;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the object qstat prints")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
                let mut answer = Answer::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "timestamp" => {
                            answer.timestamp =
                                map.next_value::<Loose>()?.0.and_then(|text| text.parse().ok());
                        }
                        "Jobs" => answer.jobs.extend(map.next_value::<Jobs>()?.0),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(answer)
            }
        }
        deserializer.deserialize_map(AnswerVisitor)
    }
}

struct Jobs(Vec<(String, Fields)>);

impl<'de> Deserialize<'de> for Jobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JobsVisitor;
        impl<'de> Visitor<'de> for JobsVisitor {
            type Value = Jobs;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of jobs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Jobs, A::Error> {
                let mut jobs = Vec::new();
                while let Some(id) = map.next_key::<String>()? {
                    jobs.push((id, map.next_value::<Fields>()?));
                }
                Ok(Jobs(jobs))
            }
        }
        deserializer.deserialize_map(JobsVisitor)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<String>()? {
                    if Fields::is_table(&name) {
                        for (resource, value) in map.next_value::<Table>()?.0 {
                            fields.set(&format!("{name}.{resource}"), value);
                        }
                    } else if WANTED.contains(&name.as_str()) {
                        if let Loose(Some(value)) = map.next_value()? {
                            fields.set(&name, value);
                        }
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The members of an object as text; anything but an object has none.
struct Table(Vec<(String, String)>);

/// A scalar as text; nothing for `null`, objects and arrays.
struct Loose(Option<String>);

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = (Option<String>, Vec<(String, String)>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok((Some(value.to_owned()), Vec::new()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok((Some(value.to_string()), Vec::new()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok((Some(value.to_string()), Vec::new()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok((Some(value.to_string()), Vec::new()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok((Some(value.to_string()), Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((None, Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok((None, Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "walltime" || name == "start_time" {
                if let Loose(Some(value)) = map.next_value()? {
                    members.push((name, value));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((None, members))
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_any(LooseVisitor)?.0))
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(deserializer.deserialize_any(LooseVisitor)?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array of which one job runs, one is over and two wait, as `qstat -t -f -F json` prints it.
    const ARRAY: &str = r#"{"timestamp": 1795218817, "pbs_version": "23.06.06", "pbs_server": "head", "Jobs": {
        "7[].head": {"Job_Name": "many", "Job_Owner": "alice@head", "job_state": "B", "queue": "workq",
            "array": "True", "array_state_count": "Queued:2 Running:1 Exiting:0 Expired:1 ",
            "array_indices_submitted": "0-6:2", "array_indices_remaining": "4,6"},
        "7[0].head": {"Job_Name": "many", "Job_Owner": "alice@head", "job_state": "X", "queue": "workq",
            "comment": "Subjob finished", "Exit_status": 1, "array_id": "7[].head", "array_index": 0},
        "7[2].head": {"Job_Name": "many", "Job_Owner": "alice@head", "job_state": "R", "queue": "workq",
            "exec_host": "node1/0", "array_id": "7[].head", "array_index": 2},
        "7[4].head": {"Job_Name": "many", "Job_Owner": "alice@head", "job_state": "Q", "queue": "workq",
            "Exit_status": 1},
        "7[6].head": {"Job_Name": "many", "Job_Owner": "alice@head", "job_state": "Q", "queue": "workq"}}}"#;

    #[test]
    fn an_array_and_its_jobs_are_read() {
        let snapshot = parse(ARRAY.as_bytes()).unwrap();
        assert!(snapshot.complete);
        let states: Vec<_> = snapshot.jobs.iter().map(|(id, job)| (id.as_str(), job.state)).collect();
        use JobState::{Begun, Expired, Queued, Running};
        let expected = [
            ("7[].head", Begun),
            ("7[0].head", Expired),
            ("7[2].head", Running),
            ("7[4].head", Queued),
            ("7[6].head", Queued),
        ];
        assert_eq!(states, expected);
        let jobs: Vec<&Job> = snapshot.jobs.values().collect();
        let array = jobs[0].array.as_ref().unwrap();
        assert_eq!((array.submitted.to_string(), array.waiting.to_string()), ("0-6:2".into(), "4,6".into()));
        assert_eq!(jobs[0].untouched(), None, "PBS has to be asked for its jobs");
        assert_eq!((jobs[1].exit_status, jobs[1].state.is_over()), (Some(1), true));
        assert_eq!(jobs[3].exit_status, None, "that is its array's");
        assert_eq!(jobs[2].exec_host.as_deref(), Some("node1"));
        assert!(jobs[1..].iter().all(|job| job.array.is_none()));
    }

    #[test]
    fn jobs_of_an_array_that_has_not_begun_need_no_other_question() {
        let text =
            ARRAY.replace("\"job_state\": \"B\"", "\"job_state\": \"Q\"").replace("\"4,6\"", "\"0-6:2\"");
        let snapshot = parse(text.as_bytes()).unwrap();
        let jobs = snapshot.jobs.values().next().unwrap().untouched().unwrap();
        let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
        assert_eq!(ids, ["7[0].head", "7[2].head", "7[4].head", "7[6].head"]);
        assert!(
            jobs.iter()
                .all(|job| job.state == JobState::Queued && job.owner == "alice" && job.array.is_none())
        );
    }

    #[test]
    fn an_array_of_nonsense_leaves_a_hole_and_one_index_may_be_a_number() {
        let with = |submitted: &str, left: &str| {
            let text = ARRAY.replace("\"0-6:2\"", submitted).replace("\"4,6\"", left);
            parse(text.as_bytes()).unwrap()
        };
        for nonsense in ["\"6-0\"", "\"0-999999999\"", "\"a\""] {
            let snapshot = with(nonsense, "\"4\"");
            assert!(!snapshot.complete && snapshot.jobs.len() == 4, "{nonsense}");
        }
        assert!(!with("\"0-6:2\"", "\"4-\"").complete);
        for (left, waiting) in [("6", "6"), ("\"-\"", "-"), ("\"\"", "-")] {
            let snapshot = with("\"0-6:2\"", left);
            let array = snapshot.jobs.values().next().unwrap().array.clone().unwrap();
            assert_eq!((array.waiting.to_string().as_str(), snapshot.complete), (waiting, true), "{left}");
        }
    }

    /// Beside what serde_json takes for the same text. `cargo test -p nuna-pbs --lib -- --ignored --nocapture cost`
    #[test]
    #[ignore = "prints times"]
    fn cost_of_a_list_of_two_thousand_jobs() {
        let job = |number: usize| {
            let state = if number < 1200 { "R" } else { "Q" };
            let variables: String =
                (0..12).map(|at| format!(r#""PBS_O_V{at}": "/some/value/of/it", "#)).collect();
            format!(
                r#""{number}.head": {{"Job_Name": "nuna-ab12{number:06x}", "Job_Owner": "u{number:04}@head", "job_state": "{state}",
                    "resources_used": {{"cput": "00:00:01", "mem": "3200kb", "ncpus": 1, "walltime": "00:01:00"}},
                    "queue": "workq", "server": "head", "Checkpoint": "u", "ctime": "Sun Nov 22 20:00:00 2026",
                    "Error_Path": "head:/home/u/x.e", "Output_Path": "head:/home/u/x.o", "exec_host": "node1/0",
                    "exec_vnode": "(node1:ncpus=1:mem=1048576kb)", "qtime": "Sun Nov 22 20:00:00 2026",
                    "etime": "Sun Nov 22 20:00:00 2026", "stime": "Sun Nov 22 20:00:01 2026", "Priority": 0,
                    "Resource_List": {{"mem": "1gb", "ncpus": 1, "select": "1:ncpus=1:mem=1gb", "walltime": "01:00:00"}},
                    "Variable_List": {{{variables}"PBS_O_HOST": "head"}},
                    "comment": "Job run at Sun Nov 22 at 20:00 on (node1:ncpus=1:mem=1048576kb)", "project": "none"}}"#
            )
        };
        let jobs: Vec<String> = (0..2000).map(job).collect();
        let text = format!(r#"{{"timestamp": 1795218817, "Jobs": {{{}}}}}"#, jobs.join(","));
        let milliseconds = |what: &dyn Fn()| {
            let times = (0..9).map(|_| {
                let begun = std::time::Instant::now();
                what();
                begun.elapsed().as_secs_f64() * 1e3
            });
            let mut times: Vec<f64> = times.collect();
            times.sort_by(f64::total_cmp);
            times[4]
        };
        let snapshot = parse(text.as_bytes()).unwrap();
        assert_eq!(snapshot.jobs.len(), 2000);
        let ours = milliseconds(&|| assert!(parse(text.as_bytes()).is_ok()));
        let skipped = milliseconds(&|| assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok()));
        let whole = milliseconds(&|| assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok()));
        let positions = milliseconds(&|| assert_eq!(snapshot.positions().len(), 800));
        eprintln!(
            "{:.1} MB: read in {ours:.1} ms; serde_json skips it in {skipped:.1} ms, keeps it in {whole:.1} ms; positions \
             {positions:.2} ms",
            text.len() as f64 / 1e6
        );
    }
}
