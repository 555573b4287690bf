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
use crate::{Job, JobId, JobState, Snapshot};

/// What is kept of one job's attributes, as text.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    values: BTreeMap<&'static str, String>,
}

/// Attributes that are read; `name.resource` for those in a table.
const WANTED: [&str; 13] = [
    "Exit_status",
    "Job_Name",
    "Job_Owner",
    "Resource_List.walltime",
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

    /// Nothing if not even the state is there.
    pub(crate) fn job(mut self, id: JobId) -> Option<Job> {
        let mut take = |name: &str| self.values.remove(name);
        let state = JobState::from_letter(take("job_state")?.chars().next()?);
        let owner = take("Job_Owner").unwrap_or_default();
        Some(Job {
            state,
            name: cleaned(&take("Job_Name").unwrap_or_default()),
            owner: owner.split('@').next().unwrap_or_default().to_owned(),
            queue: cleaned(&take("queue").unwrap_or_default()),
            comment: take("comment").map(|text| cleaned(&text)).filter(|text| !text.is_empty()),
            exec_host: take("exec_host").and_then(|text| first_host(&text)),
            exit_status: take("Exit_status").and_then(|text| text.parse().ok()),
            estimated_start: take("estimated.start_time").and_then(|text| seconds(&text)),
            start_time: take("stime").and_then(|text| seconds(&text)),
            walltime: take("Resource_List.walltime").and_then(|text| duration(&text)),
            walltime_used: take("resources_used.walltime").and_then(|text| duration(&text)),
            queued_at: take("qtime").and_then(|text| seconds(&text)),
            eligible_since: take("etime").and_then(|text| seconds(&text)),
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
