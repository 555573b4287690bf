//! One job, one array of jobs, or one job of an array: its state, each with the data it has, and its attributes in PBS's
//! order.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nuna_pbs::Indices;
use serde::{Deserialize, Serialize};

use crate::attributes::Object;
use crate::protocol::Submission;
use crate::resources::{Request, format_duration};

pub(crate) const PROJECT_DEFAULT: &str = "_pbs_project_default";

/// Which job: a number, and which of its array's jobs it is. An array itself has no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Key {
    pub(crate) sequence: u64,
    pub(crate) index: Option<u32>,
}

impl Key {
    pub(crate) fn alone(sequence: u64) -> Self {
        Self { sequence, index: None }
    }

    /// The array of a job of one.
    pub(crate) fn array(self) -> Option<Self> {
        self.index.map(|_| Self::alone(self.sequence))
    }
}

/// `12`, or `12[3]`: also how files of the spool are called.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(formatter, "{}", self.sequence),
            Some(index) => write!(formatter, "{}[{index}]", self.sequence),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} names no job");
        let (sequence, index) = match text.split_once('[') {
            Some((sequence, rest)) => {
                let index = rest.strip_suffix(']').and_then(|index| index.parse().ok());
                (sequence, Some(index.ok_or_else(bad)?))
            }
            None => (text, None),
        };
        Ok(Self { sequence: sequence.parse().map_err(|_| bad())?, index })
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

/// What an array knows of its jobs. Those that have begun are jobs of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Array {
    /// As given to `-J`.
    pub(crate) submitted: String,
    /// Jobs that run at once, if bounded.
    pub(crate) running_max: Option<u32>,
    pub(crate) waiting: BTreeSet<u32>,
    /// At least one job has started.
    pub(crate) begun: bool,
    /// 0 if all ended well, 1 if the last that ended failed, 2 if PBS ended it.
    pub(crate) exit_status: Option<i32>,
    /// Who deleted it while jobs of it ran.
    pub(crate) deleted: Option<String>,
}

impl Array {
    /// `X-Y[:Z]` and how many may run at once; the indices were checked.
    pub(crate) fn new(indices: &Indices, submitted: &str, running_max: Option<u32>) -> Self {
        Self {
            submitted: submitted.to_owned(),
            running_max,
            waiting: indices.iter().collect(),
            begun: false,
            exit_status: None,
            deleted: None,
        }
    }

    /// Whether there is, or was, a job of that index.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.submitted.parse::<Indices>().is_ok_and(|indices| indices.contains(index))
    }

    /// Whether that index lies between the first and the last.
    pub(crate) fn reaches(&self, index: u32) -> bool {
        let indices = self.indices();
        indices.first().is_some_and(|first| index >= *first)
            && indices.last().is_some_and(|last| index <= *last)
    }

    /// Indices in order.
    pub(crate) fn indices(&self) -> Vec<u32> {
        self.submitted.parse::<Indices>().map(|indices| indices.iter().collect()).unwrap_or_default()
    }
}

/// In a path, the index of an array's job.
const INDEX_TAG: &str = "^array_index^";

/// Where a job's chunks were put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) chunks: Vec<PlacedChunk>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlacedChunk {
    pub(crate) node: String,
    /// The index PBS shows after the slash in `exec_host`.
    pub(crate) slot: u32,
    pub(crate) ncpus: u32,
    pub(crate) mem_kb: Option<u64>,
    pub(crate) mpiprocs: u32,
}

impl Placement {
    fn exec_host(&self) -> String {
        let hosts: Vec<String> = self
            .chunks
            .iter()
            .map(|chunk| match chunk.ncpus {
                1 => format!("{}/{}", chunk.node, chunk.slot),
                ncpus => format!("{}/{}*{ncpus}", chunk.node, chunk.slot),
            })
            .collect();
        hosts.join("+")
    }

    pub(crate) fn exec_vnode(&self) -> String {
        let vnodes: Vec<String> = self
            .chunks
            .iter()
            .map(|chunk| {
                let mem = chunk.mem_kb.map(|kb| format!(":mem={kb}kb")).unwrap_or_default();
                format!("({}:ncpus={}{mem})", chunk.node, chunk.ncpus)
            })
            .collect();
        vnodes.join("+")
    }
}

/// What is being done to end a running job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// Nobody asked it to.
    ByItself,
    Deleted {
        by: String,
    },
    Walltime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// In the queue; `held` and a start time in the future make it H and W.
    Queued { held: bool },
    Running {
        placement: Placement,
        #[serde(with = "milliseconds")]
        started: Timestamp,
        session: Option<u32>,
        ending: Ending,
    },
    Finished {
        /// Absent if it never ran.
        ran: Option<Ran>,
        #[serde(with = "milliseconds")]
        ended: Timestamp,
        /// 91 deleted, 92 finished, 93 failed.
        substate: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    pub(crate) placement: Placement,
    #[serde(with = "milliseconds")]
    pub(crate) started: Timestamp,
    pub(crate) session: Option<u32>,
    pub(crate) exit_status: i32,
}

/// What a job has used so far; measured by `usage`, kept after the job's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    pub(crate) cpu_percent: u32,
    pub(crate) cput_s: u64,
    pub(crate) mem_kb: u64,
    pub(crate) vmem_kb: u64,
    pub(crate) walltime_s: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) sequence: u64,
    /// Which job of its array it is.
    #[serde(default)]
    pub(crate) index: Option<u32>,
    /// If it is an array.
    #[serde(default)]
    pub(crate) array: Option<Array>,
    /// A job of an array that is over while others of it are not.
    #[serde(default)]
    pub(crate) expired: bool,
    pub(crate) owner: String,
    pub(crate) queue: String,
    pub(crate) submission: Submission,
    pub(crate) request: Request,
    #[serde(with = "milliseconds")]
    pub(crate) created: Timestamp,
    #[serde(with = "milliseconds")]
    pub(crate) modified: Timestamp,
    pub(crate) state: State,
    pub(crate) comment: Option<String>,
    pub(crate) used: Option<Used>,
}

impl Job {
    pub(crate) fn letter(&self, now: Timestamp) -> char {
        match &self.state {
            State::Queued { held: true } => 'H',
            State::Queued { held: false } if self.array.as_ref().is_some_and(|array| array.begun) => 'B',
            State::Queued { held: false } if self.waits_until().is_some_and(|start| start > now) => 'W',
            State::Queued { held: false } => 'Q',
            State::Running { .. } => 'R',
            State::Finished { .. } if self.expired => 'X',
            State::Finished { .. } => 'F',
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { sequence: self.sequence, index: self.index }
    }

    /// `12.head`, `12[].head` for an array, `12[3].head` for one of its jobs.
    pub(crate) fn id(&self, server: &str) -> String {
        let brackets = if self.array.is_some() { "[]" } else { "" };
        format!("{}{brackets}.{server}", self.key())
    }

    /// A job of this array, as it is before it runs.
    pub(crate) fn sub_job(&self, index: u32) -> Self {
        Self { index: Some(index), array: None, comment: None, used: None, ..self.clone() }
    }

    pub(crate) fn waits_until(&self) -> Option<Timestamp> {
        self.submission.execution_time_s.and_then(|second| Timestamp::from_second(second).ok())
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished { .. })
    }

    /// Only `-x` shows it. A job of an array is shown as long as its array is.
    pub(crate) fn is_history(&self) -> bool {
        self.is_finished() && !self.expired
    }

    /// Where standard output goes: an absolute path on this machine.
    pub(crate) fn output_path(&self) -> String {
        self.stream_path(self.submission.output_path.as_deref(), 'o')
    }

    pub(crate) fn error_path(&self) -> String {
        self.stream_path(self.submission.error_path.as_deref(), 'e')
    }

    fn stream_path(&self, asked: Option<&str>, letter: char) -> String {
        let mut file = format!("{}.{letter}{}", self.submission.name, self.sequence);
        if self.array.is_some() || self.index.is_some() {
            file.push_str(&format!(".{INDEX_TAG}"));
        }
        let path = match asked {
            None => format!("{}/{file}", self.submission.folder.trim_end_matches('/')),
            Some(path) => {
                // `host:path` is PBS's way to name a machine; there is only this one.
                let path = path.split_once(':').map_or(path, |(_, path)| path);
                let path = if path.starts_with('/') {
                    path.to_owned()
                } else {
                    format!("{}/{path}", self.submission.folder.trim_end_matches('/'))
                };
                if path.ends_with('/') { format!("{path}{file}") } else { path }
            }
        };
        match self.index {
            Some(index) => path.replacen(INDEX_TAG, &index.to_string(), 1),
            None => path,
        }
    }

    /// `counts` are an array's.
    pub(crate) fn object(&self, server: &str, now: Timestamp, counts: &Counts) -> Object {
        let submission = &self.submission;
        let mut object = Object::new(self.id(server));
        object.text("Job_Name", &submission.name);
        object.text("Job_Owner", format!("{}@{}", self.owner, submission.host));
        if let Some(used) = &self.used {
            object.resources("resources_used", used.list(self.request.ncpus()));
        }
        object.text("job_state", self.letter(now));
        object.text("queue", &self.queue);
        object.text("server", server);
        object.text_if("Account_Name", submission.account.as_ref());
        object.text("Checkpoint", "u");
        object.text("ctime", calendar(self.created));
        object.text("Error_Path", format!("{}:{}", submission.host, self.error_path()));
        if self.letter(now) == 'W' {
            object.text_if("Execution_Time", self.waits_until().map(calendar));
        }
        let (placement, started, session) = match &self.state {
            State::Queued { .. } => (None, None, None),
            State::Running { placement, started, session, .. } => (Some(placement), Some(*started), *session),
            State::Finished { ran, .. } => match ran {
                Some(ran) => (Some(&ran.placement), Some(ran.started), ran.session),
                None => (None, None, None),
            },
        };
        object.text_if("exec_host", placement.map(Placement::exec_host));
        object.text_if("exec_vnode", placement.map(Placement::exec_vnode));
        object.text("Hold_Types", if matches!(self.state, State::Queued { held: true }) { "u" } else { "n" });
        object.text("Join_Path", &submission.join);
        object.text("Keep_Files", &submission.keep);
        object.text("Mail_Points", &submission.mail_points);
        object.text("mtime", calendar(self.modified));
        object.text("Output_Path", format!("{}:{}", submission.host, self.output_path()));
        object.text("Priority", submission.priority);
        object.text("qtime", calendar(self.created));
        object.text("Rerunable", if submission.rerunable { "True" } else { "False" });
        object.resources("Resource_List", self.request.list());
        object.text_if("stime", started.map(calendar));
        let (ended, ran) = match &self.state {
            State::Finished { ended, ran, .. } => (Some(*ended), ran.as_ref()),
            State::Queued { .. } | State::Running { .. } => (None, None),
        };
        if ran.is_some() {
            object.text_if("obittime", ended.map(calendar));
        }
        object.text_if("Shell_Path_List", submission.shell.as_ref());
        object.text_if("session_id", session);
        if session.is_some() || ran.is_some() {
            object.text("jobdir", &submission.home);
        }
        object.text("substate", self.substate(now));
        let mut variables = submission.variables.clone();
        variables.push(("PBS_O_QUEUE".to_owned(), self.queue.clone()));
        variables.push(("PBS_O_HOST".to_owned(), submission.host.clone()));
        object.variables("Variable_List", variables);
        object.text_if("umask", submission.umask.map(|mask| format!("{mask:o}")));
        object.text_if("comment", self.comment.as_ref());
        if !matches!(self.letter(now), 'H' | 'W') {
            object.text("etime", calendar(self.created));
        }
        if started.is_some() {
            object.text("run_count", 1);
        }
        if let Some(ran) = ran {
            object.text("Stageout_status", 1);
            object.text("Exit_status", ran.exit_status);
        }
        if let Some(status) = self.array.as_ref().and_then(|array| array.exit_status) {
            object.text("Exit_status", status);
        }
        object.text("Submit_arguments", &submission.arguments);
        if let Some(array) = &self.array {
            object.text("array", "True");
            object.text("array_state_count", counts.to_string());
            object.text("array_indices_submitted", &array.submitted);
            object.text("array_indices_remaining", array.waiting.iter().copied().collect::<Indices>());
        } else if let Some(index) = self.index {
            object.text("array_id", format!("{}[].{server}", self.sequence));
            object.text("array_index", index);
        }
        object.text_if("history_timestamp", ended.map(Timestamp::as_second));
        object.text("project", submission.project.as_deref().unwrap_or(PROJECT_DEFAULT));
        object.text("Submit_Host", &submission.host);
        object.text_if("max_run_subjobs", self.array.as_ref().and_then(|array| array.running_max));
        object
    }

    /// What PBS shows of a job of this array that is no job of its own (yet, or any more): what its array has, up to what
    /// only arrays have.
    pub(crate) fn object_of_absent(&self, server: &str, index: u32, now: Timestamp) -> Object {
        let waits = self.array.as_ref().is_some_and(|array| array.waiting.contains(&index));
        let letter = match self.letter(now) {
            'B' if waits => 'Q',
            other if waits => other,
            'F' => 'F',
            _ => 'X',
        };
        let mut object = self.object(server, now, &Counts::default());
        object.name = format!("{}[{index}].{server}", self.sequence);
        object.cut_from("array");
        object.replace("job_state", letter.to_string());
        object.replace("substate", if waits { "10" } else { "92" }.to_owned());
        if !waits {
            object.replace("comment", "Subjob finished".to_owned());
        }
        object
    }

    fn substate(&self, now: Timestamp) -> u32 {
        match &self.state {
            State::Queued { .. } => match self.letter(now) {
                'H' => 20,
                'W' => 30,
                'B' => 43,
                _ => 10,
            },
            State::Running { session: None, .. } => 41,
            State::Running { session: Some(_), .. } => 42,
            State::Finished { substate, .. } => *substate,
        }
    }
}

/// How many jobs of an array are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) expired: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Queued:{} Running:{} Exiting:0 Expired:{} ",
            self.queued, self.running, self.expired
        )
    }
}

impl Used {
    fn list(&self, ncpus: u32) -> Vec<(String, String)> {
        [
            ("cpupercent", self.cpu_percent.to_string()),
            ("cput", format_duration(self.cput_s)),
            ("mem", format!("{}kb", self.mem_kb)),
            ("ncpus", ncpus.to_string()),
            ("vmem", format!("{}kb", self.vmem_kb)),
            ("walltime", format_duration(self.walltime_s)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// As C's `ctime`: `Fri Nov  6 23:53:37 2026`, in this machine's time zone.
fn calendar(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// As in `Job run at Fri Nov 20 at 23:53 on …`.
pub(crate) fn run_comment(at: Timestamp, placement: &Placement) -> String {
    let when = at.to_zoned(TimeZone::system()).strftime("%a %b %d at %H:%M").to_string();
    format!("Job run at {when} on {}", placement.exec_vnode())
}

/// As in `Job Array Began at Fri Nov 20 at 23:53`.
pub(crate) fn begun_comment(at: Timestamp) -> String {
    let when = at.to_zoned(TimeZone::system()).strftime("%a %b %d at %H:%M").to_string();
    format!("Job Array Began at {when}")
}

/// Times in the state file.
mod milliseconds {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_millisecond())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_millisecond(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
