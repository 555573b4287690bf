//! One job: its state, each with the data it has, and its attributes in PBS's order.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::attributes::Object;
use crate::protocol::Submission;
use crate::resources::{Request, format_duration};

pub(crate) const PROJECT_DEFAULT: &str = "_pbs_project_default";

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
            State::Queued { held: false } if self.waits_until().is_some_and(|start| start > now) => 'W',
            State::Queued { held: false } => 'Q',
            State::Running { .. } => 'R',
            State::Finished { .. } => 'F',
        }
    }

    pub(crate) fn waits_until(&self) -> Option<Timestamp> {
        self.submission.execution_time_s.and_then(|second| Timestamp::from_second(second).ok())
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished { .. })
    }

    /// Where standard output goes: an absolute path on this machine.
    pub(crate) fn output_path(&self) -> String {
        self.stream_path(self.submission.output_path.as_deref(), 'o')
    }

    pub(crate) fn error_path(&self) -> String {
        self.stream_path(self.submission.error_path.as_deref(), 'e')
    }

    fn stream_path(&self, asked: Option<&str>, letter: char) -> String {
        let file = format!("{}.{letter}{}", self.submission.name, self.sequence);
        match asked {
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
        }
    }

    pub(crate) fn object(&self, server: &str, now: Timestamp) -> Object {
        let submission = &self.submission;
        let mut object = Object::new(format!("{}.{server}", self.sequence));
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
        object.text("Submit_arguments", &submission.arguments);
        object.text_if("history_timestamp", ended.map(Timestamp::as_second));
        object.text("project", submission.project.as_deref().unwrap_or(PROJECT_DEFAULT));
        object.text("Submit_Host", &submission.host);
        object
    }

    fn substate(&self, now: Timestamp) -> u32 {
        match &self.state {
            State::Queued { .. } => match self.letter(now) {
                'H' => 20,
                'W' => 30,
                _ => 10,
            },
            State::Running { session: None, .. } => 41,
            State::Running { session: Some(_), .. } => 42,
            State::Finished { substate, .. } => *substate,
        }
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
