//! Reads what `squeue` prints: fields that end with a mark nobody can know beforehand.
//!
//! People name their jobs as they like, with line ends and separators too, and a name must not be able to make a job
//! look gone. So every field of every query ends with a mark made for that query alone.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use nuna_pbs::{Array, Indices, Job, JobId, JobState, Snapshot, cleaned};

use crate::states;

/// In this order. Names of `squeue -O`, the same since Slurm 17.
const FIELDS: [&str; 15] = [
    "JobID",
    "ArrayJobID",
    "ArrayTaskID",
    "UserName",
    "State",
    "Reason",
    "Partition",
    "BatchHost",
    "exit_code",
    "StartTime",
    "EligibleTime",
    "SubmitTime",
    "TimeLimit",
    "TimeUsed",
    "Name",
];
const MARK_BYTES: usize = 12;
/// A site's `MaxArraySize` is at most this; a larger answer is none.
const ARRAY_SIZE_MAX: u64 = 4_000_001;

/// Jobs of arrays that one answer tells of one by one; the rest is not known then.
const SUB_JOBS_MAX: usize = 50_000;

/// Ends every field of one query's answer.
#[derive(Clone, Debug)]
pub(crate) struct Mark(String);

impl Mark {
    /// A fresh one.
    ///
    /// # Errors
    /// With a sentence, if the system has no randomness.
    pub(crate) fn fresh() -> Result<Self, String> {
        let mut bytes = [0_u8; MARK_BYTES];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
        Ok(Self::of(&bytes))
    }

    /// Letters only: digits and signs have meanings in a format.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let letters =
            bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(b'a' + half));
        Self(format!("~{}~", letters.collect::<String>()))
    }

    /// The argument of `squeue -O`.
    pub(crate) fn format(&self) -> String {
        FIELDS.map(|field| format!("{field}:{}", self.0)).join(",")
    }
}

/// One record: a job, one job of an array, or those of an array that wait together.
#[derive(Clone, Debug)]
struct Record {
    /// As if it were a job of its own.
    job: Job,
    /// The array's number, and which of its jobs this is about.
    array: Option<(JobId, Indices)>,
}

/// All jobs: an array is one of them and its jobs are not.
///
/// # Errors
/// With a sentence, if that is no answer to a query with this mark.
pub(crate) fn jobs(stdout: &[u8], mark: &Mark) -> Result<Snapshot, String> {
    let (records, complete) = read(stdout, mark)?;
    let mut arrays: BTreeMap<JobId, Vec<(Job, Indices)>> = BTreeMap::new();
    let mut jobs = BTreeMap::new();
    for record in records {
        match record.array {
            Some((id, indices)) => arrays.entry(id).or_default().push((record.job, indices)),
            None => {
                jobs.insert(record.job.id.clone(), record.job);
            }
        }
    }
    for (id, parts) in arrays {
        jobs.extend(array(&id, &parts).map(|job| (id, job)));
    }
    Ok(Snapshot { jobs, server_time: None, complete })
}

/// These arrays and each of their jobs.
///
/// # Errors
/// As [`jobs`].
pub(crate) fn sub_jobs(stdout: &[u8], mark: &Mark, arrays: &[JobId]) -> Result<Snapshot, String> {
    let (records, mut complete) = read(stdout, mark)?;
    let mut wanted: BTreeMap<JobId, Vec<(Job, Indices)>> = BTreeMap::new();
    for record in records {
        let Some((id, indices)) = record.array else { continue };
        if arrays.iter().any(|array| array.is_same_job(&id)) {
            wanted.entry(id).or_default().push((record.job, indices));
        }
    }
    let mut jobs = BTreeMap::new();
    let mut left = SUB_JOBS_MAX;
    for (id, parts) in wanted {
        for (job, indices) in &parts {
            let fitting = usize::try_from(indices.count()).unwrap_or(usize::MAX).min(left);
            complete &= fitting as u64 == indices.count();
            left -= fitting;
            for index in indices.iter().take(fitting) {
                let one = id.sub_job(index);
                jobs.insert(one.clone(), Job { id: one, ..job.clone() });
            }
        }
        jobs.extend(array(&id, &parts).map(|job| (id, job)));
    }
    Ok(Snapshot { jobs, server_time: None, complete })
}

/// An array as its parts make it. Slurm keeps no record of an array as such, and forgets its jobs one by one.
fn array(id: &JobId, parts: &[(Job, Indices)]) -> Option<Job> {
    let indices = |wanted: fn(&Job) -> bool| {
        Indices::union(parts.iter().filter(|(job, _)| wanted(job)).map(|(_, indices)| indices))
    };
    let of = Array { submitted: indices(|_| true), waiting: indices(|job| job.state.is_pending()) };
    let lives = |job: &Job| !job.state.is_over();
    // What waits says best what the array waits for.
    let (speaker, _) = parts
        .iter()
        .find(|(job, _)| job.state.is_pending())
        .or_else(|| parts.iter().find(|(job, _)| lives(job)))
        .or_else(|| parts.first())?;
    let state = if !parts.iter().any(|(job, _)| lives(job)) {
        JobState::Finished
    } else if of.waiting.count() == of.submitted.count() {
        speaker.state
    } else {
        JobState::Begun
    };
    let exit_status = None;
    Some(Job { id: id.clone(), state, exit_status, exec_host: None, array: Some(of), ..speaker.clone() })
}

/// The records, and whether all of them could be read.
fn read(stdout: &[u8], mark: &Mark) -> Result<(Vec<Record>, bool), String> {
    let text = String::from_utf8_lossy(stdout);
    let mut fields: Vec<&str> = text.split(mark.0.as_str()).collect();
    let rest = fields.pop().unwrap_or_default();
    if !rest.trim().is_empty() || !fields.len().is_multiple_of(FIELDS.len()) {
        let start: String = text.chars().take(80).collect();
        return Err(format!("it does not have the fields asked for; it begins {:?}", cleaned(&start)));
    }
    let mut complete = true;
    let mut records = Vec::new();
    for fields in fields.chunks_exact(FIELDS.len()) {
        match record(fields) {
            Some(record) => records.push(record),
            None => complete = false,
        }
    }
    Ok((records, complete))
}

fn record(fields: &[&str]) -> Option<Record> {
    let [
        number,
        array,
        index,
        owner,
        word,
        reason,
        partition,
        host,
        status,
        start,
        eligible,
        submitted,
        limit,
        used,
        name,
    ] = fields
    else {
        return None;
    };
    let number = number.trim();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let id = number.parse::<JobId>().ok().filter(|_| is_number(number))?;
    let state = states::state(word, reason);
    let exec_host = Some(host.trim()).filter(|host| is_host(host)).map(str::to_owned);
    let began = exec_host.is_some();
    // The list of partitions of a job that waits may name several.
    let queue = if began { partition } else { partition.split(',').next().unwrap_or_default() };
    let start = seconds(start);
    let job = Job {
        name: cleaned(name),
        owner: cleaned(owner),
        queue: cleaned(queue),
        comment: states::comment(word, reason, state).map(|text| cleaned(&text)),
        never_runs: states::never_runs(state, reason),
        exit_status: state.is_over().then(|| states::exit_status(word, status, began)).flatten(),
        estimated_start: start.filter(|_| state.is_pending()),
        // Of a job that was cancelled while it waited, this is when it was.
        start_time: start.filter(|_| began && !state.is_pending()),
        walltime: duration(limit),
        walltime_used: duration(used).filter(|_| began),
        queued_at: seconds(submitted),
        eligible_since: seconds(eligible),
        exec_host,
        ..Job::new(id, state)
    };
    let array = match *index {
        "N/A" | "" => None,
        indices => {
            let id = array.parse::<JobId>().ok().filter(|_| is_number(array))?.sub_job(0).array()?;
            // After % stands how many run at once.
            let indices: Indices = indices.split('%').next()?.parse().ok()?;
            (indices.count() <= ARRAY_SIZE_MAX).then_some(())?;
            Some((id, indices))
        }
    };
    Some(Record { job, array })
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text != "n/a"
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Seconds since the epoch (`SLURM_TIME_FORMAT=%s`); `N/A` where there is none.
fn seconds(text: &str) -> Option<i64> {
    text.trim().parse().ok().filter(|seconds| *seconds > 0)
}

/// `D-HH:MM:SS`, `HH:MM:SS`, `MM:SS`; `UNLIMITED`, `NOT_SET` and `INVALID` are none.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (days, clock) = match text.trim().split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text.trim()),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    let clock = parts
        .iter()
        .try_fold(0_u64, |total, part| total.checked_mul(60)?.checked_add(part.parse::<u64>().ok()?))?;
    Some(Duration::from_secs(days.checked_mul(86_400)?.checked_add(clock)?))
}

#[cfg(test)]
mod tests {
    use nuna_pbs::Presence;
    use proptest::prelude::*;

    use super::*;

    fn mark() -> Mark {
        Mark::of(&[7; MARK_BYTES])
    }

    fn line(fields: [&str; 15]) -> String {
        let mark = mark();
        fields.map(|field| format!("{field}{}", mark.0)).concat() + "\n"
    }

    fn running(number: &str, name: &str) -> String {
        line([
            number,
            number,
            "N/A",
            "alice",
            "RUNNING",
            "None",
            "workq",
            "node1",
            "0",
            "1795364415",
            "1795364414",
            "1795364414",
            "10:00",
            "0:43",
            name,
        ])
    }

    fn task(number: &str, array: &str, index: &str, word: &str) -> String {
        let host = if word == "PENDING" { "n/a" } else { "node1" };
        line([
            number,
            array,
            index,
            "alice",
            word,
            "None",
            "workq",
            host,
            "768",
            "1795364415",
            "1795364414",
            "1795364414",
            "1-00:10:00",
            "0:43",
            "many",
        ])
    }

    fn id(text: &str) -> JobId {
        text.parse().unwrap()
    }

    #[test]
    fn a_running_job_is_read() {
        let snapshot = jobs(running("12", "one").as_bytes(), &mark()).unwrap();
        let job = &snapshot.jobs[&id("12")];
        assert_eq!((job.name.as_str(), job.owner.as_str(), job.queue.as_str()), ("one", "alice", "workq"));
        assert_eq!((job.state, job.exec_host.as_deref()), (JobState::Running, Some("node1")));
        assert_eq!((job.start_time, job.estimated_start), (Some(1_795_364_415), None));
        assert_eq!(job.walltime_used, Some(Duration::from_secs(43)));
        assert_eq!((job.exit_status, snapshot.complete), (None, true));
    }

    #[test]
    fn an_empty_list_is_complete_and_nonsense_is_no_list() {
        let snapshot = jobs(b"", &mark()).unwrap();
        assert!(snapshot.jobs.is_empty() && snapshot.complete);
        assert!(jobs(b"slurm is resting", &mark()).unwrap_err().contains("slurm is resting"));
        let text = running("12", "one");
        assert!(jobs(&text.as_bytes()[..text.len() - 40], &mark()).is_err(), "cut off");
        let odd = jobs((running("x", "one") + &running("13", "two")).as_bytes(), &mark()).unwrap();
        assert!(!odd.complete && odd.jobs.contains_key(&id("13")));
        assert_eq!(odd.presence(&id("12")), Presence::Unknown);
    }

    #[test]
    fn marks_are_not_repeated_and_fit_a_format() {
        let (one, two) = (Mark::fresh().unwrap(), Mark::fresh().unwrap());
        assert_ne!(one.0, two.0);
        assert!(one.0.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'~'), "{}", one.0);
        assert!(one.format().starts_with("JobID:~"));
    }

    #[test]
    fn an_array_is_one_job_until_its_jobs_are_asked_for() {
        let text = [
            task("20", "20", "3-5%2", "PENDING"),
            task("21", "20", "1", "RUNNING"),
            task("22", "20", "2", "FAILED"),
            running("30", "alone"),
        ]
        .concat();
        let all = jobs(text.as_bytes(), &mark()).unwrap();
        assert_eq!(all.jobs.keys().map(JobId::as_str).collect::<Vec<_>>(), ["20[]", "30"]);
        let array = &all.jobs[&id("20[]")];
        let of = array.array.clone().unwrap();
        assert_eq!((array.state, array.exit_status), (JobState::Begun, None));
        assert_eq!((of.submitted.to_string().as_str(), of.waiting.to_string().as_str()), ("1-5", "3-5"));

        let some = sub_jobs(text.as_bytes(), &mark(), &[id("20[]")]).unwrap();
        let states: Vec<_> = some.jobs.iter().map(|(id, job)| (id.as_str(), job.state)).collect();
        use JobState::{Begun, Finished, Queued, Running};
        let expected = [
            ("20[]", Begun),
            ("20[1]", Running),
            ("20[2]", Finished),
            ("20[3]", Queued),
            ("20[4]", Queued),
            ("20[5]", Queued),
        ];
        assert_eq!(states, expected);
        assert_eq!(some.jobs[&id("20[2]")].exit_status, Some(3));
        assert_eq!(some.jobs[&id("20[1]")].walltime, Some(Duration::from_secs(87_000)));
    }

    #[test]
    fn an_array_of_nonsense_leaves_a_hole() {
        for indices in ["5-1", "0-99999999", "a", "1,..."] {
            let snapshot = jobs(task("20", "20", indices, "PENDING").as_bytes(), &mark()).unwrap();
            assert!(!snapshot.complete && snapshot.jobs.is_empty(), "{indices}");
        }
    }

    #[test]
    fn one_line_of_a_huge_array_is_neither_walked_through_nor_kept_whole() {
        let line = task("20", "20", "2-902112", "PENDING");
        // A thousand such lines, walked through, would take an hour.
        let text: String =
            (0..1000).map(|number| task("20", &(20 + number).to_string(), "2-902112", "PENDING")).collect();
        let all = jobs(text.as_bytes(), &mark()).unwrap();
        assert_eq!((all.jobs.len(), all.complete), (1000, true));
        let of = all.jobs[&id("20[]")].array.clone().unwrap();
        assert_eq!((of.waiting.count(), of.submitted.to_string().as_str()), (902_111, "2-902112"));

        let some = sub_jobs(line.as_bytes(), &mark(), &[id("20[]")]).unwrap();
        assert_eq!((some.jobs.len(), some.complete), (SUB_JOBS_MAX + 1, false));
        assert_eq!(some.presence(&id("20[902112]")), Presence::Unknown);

        let odd =
            [task("20", "20", "1-900001:2", "PENDING"), task("20", "20", "2-900000:2", "RUNNING")].concat();
        let all = jobs(odd.as_bytes(), &mark()).unwrap();
        // Nobody's array keeps others' jobs from being known.
        assert_eq!((all.jobs.len(), all.complete), (1, true));
        assert_eq!(all.jobs[&id("20[]")].array.clone().unwrap().submitted.to_string(), "1-900001");
    }

    #[test]
    fn times_are_read_as_slurm_prints_them() {
        for (text, expected) in [
            ("0:05", Some(5)),
            ("10:00", Some(600)),
            ("1:00:00", Some(3600)),
            ("2-01:00:00", Some(176_400)),
            ("UNLIMITED", None),
            ("NOT_SET", None),
            ("7", None),
            ("999999999999999999999-00:00:00", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_secs), "{text}");
        }
    }

    proptest! {
        /// Whatever people call their jobs, and whoever they say they are, other jobs are listed as they are.
        #[test]
        fn no_name_changes_what_is_said_of_other_jobs(name in "(\\PC|[\\n\\r\t\\x00-\\x1f~|,:]){0,80}") {
            let text = running("11", &name) + &running("12", "mine");
            let snapshot = jobs(text.as_bytes(), &mark()).unwrap();
            prop_assert!(snapshot.complete);
            prop_assert_eq!(snapshot.jobs.len(), 2);
            prop_assert_eq!(snapshot.jobs[&id("12")].state, JobState::Running);
            prop_assert!(snapshot.jobs[&id("11")].name.chars().all(|letter| !letter.is_control()));
        }

        #[test]
        fn any_answer_is_read_or_refused(text in "[0-9N/A:~a-p,%\\-\\n]{0,400}", index in "[0-9,%:\\-]{0,12}") {
            let _ = jobs(text.as_bytes(), &mark());
            let odd = task("20", "20", &index, "PENDING");
            let snapshot = sub_jobs(odd.as_bytes(), &mark(), &[id("20[]")]);
            prop_assert!(snapshot.is_ok());
        }
    }
}
