//! What can go wrong with a command of a batch system, and how PBS's exit codes and words are read.

use std::time::Duration;

/// Longest text of a batch system that is passed on to a person.
const WORDS_LENGTH_MAX: usize = 600;

/// Why a batch system did not take a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    UnknownQueue,
    QueueDisabled,
    /// Not on the queue's list, or no right to do this.
    NotAllowed,
    /// More than the queue, the server or the user's limits allow.
    OverLimit,
    UnknownResource,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// `words` are the batch system's own, fit for a page once escaped.
    #[error("the batch system did not accept the job: {words} (exit code {exit_code})")]
    Rejected { exit_code: i32, words: String, kind: Rejection },
    #[error(
        "the batch system's server cannot be reached: {words}; is it running, and does this machine's configuration (/etc/pbs.conf, slurm.conf) name it?"
    )]
    Unreachable { words: String },
    #[error("submitting did not answer within {} s; the job may have been submitted all the same", limit.as_secs())]
    TimedOut { limit: Duration },
    /// The command, or the helper in front of it, did not run: there is no job.
    #[error("the command that submits jobs could not be run: {message}")]
    NotRun { message: String },
    /// It ran and answered what nobody understands: there may be a job.
    #[error("submitting the job failed: {message}")]
    Failed { message: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    #[error(
        "the batch system's server cannot be reached: {words}; is it running, and does this machine's configuration (/etc/pbs.conf, slurm.conf) name it?"
    )]
    Unreachable { words: String },
    #[error("the list of jobs did not come within {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error("the batch system's answer cannot be read: {message}")]
    Unreadable { message: String },
    #[error("asking the batch system failed: {message}")]
    Failed { message: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    #[error("the batch system did not delete the job: {words} (exit code {exit_code})")]
    Rejected { exit_code: i32, words: String },
    #[error(
        "the batch system's server cannot be reached: {words}; is it running, and does this machine's configuration (/etc/pbs.conf, slurm.conf) name it?"
    )]
    Unreachable { words: String },
    #[error("deleting did not answer within {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error("deleting the job failed: {message}")]
    Failed { message: String },
}

/// Exit codes are the low byte of PBS's error numbers (15001 gives 153).
pub(crate) mod exit {
    /// 15001 unknown job.
    pub(crate) const UNKNOWN_JOB: i32 = 153;
    /// 15139 the job is history already.
    pub(crate) const FINISHED: i32 = 35;
    /// 15158 its history was deleted.
    pub(crate) const HISTORY_DELETED: i32 = 54;
    /// 15159 the job of an array is over already.
    pub(crate) const ARRAY_JOB_OVER: i32 = 55;
    /// Of Torque, 15018: the job is in no state that could be ended.
    pub(crate) const TORQUE_BAD_STATE: i32 = 170;
    /// Of Torque, 15052: the job is exiting already.
    pub(crate) const TORQUE_EXITING: i32 = 204;
    /// 15010, which the commands use when they cannot connect.
    pub(crate) const UNREACHABLE: i32 = 162;
}

impl Rejection {
    pub(crate) fn from_exit_code(code: i32) -> Self {
        match code {
            // 15018 unknown queue, 15037 no default queue.
            170 | 189 => Self::UnknownQueue,
            // 15021.
            173 => Self::QueueDisabled,
            // 15007 permission, 15008 host, 15019 and 15020 credential, 15022 queue access, 15023 bad user.
            159 | 160 | 171 | 172 | 174 | 175 => Self::NotAllowed,
            // 15036 resources, 15046 jobs in the queue, 15048 limit, 15107 size of an array, 15142 and 15143 of user,
            // group or project.
            188 | 198 | 200 | 3 | 38 | 39 => Self::OverLimit,
            // 15035.
            187 => Self::UnknownResource,
            _ => Self::Other,
        }
    }
}

impl Rejection {
    /// By the texts of Torque's `pbs_error_db.h`; its numbers have moved between releases.
    pub(crate) fn from_words_of_torque(stderr: &str) -> Self {
        let holds = |signs: &[&str]| signs.iter().any(|sign| stderr.contains(sign));
        if holds(&["Unknown queue", "No default queue specified"]) {
            Self::UnknownQueue
        } else if holds(&["Queue is not enabled"]) {
            Self::QueueDisabled
        } else if holds(&[
            "Unauthorized Request",
            "Access to queue is denied",
            "Access from host not allowed",
            "Bad UID for job execution",
            "Bad GID for job execution",
            "Invalid credential",
            "Invalid Account",
        ]) {
            Self::NotAllowed
        } else if holds(&[
            "Job exceeds queue resource limits",
            "Maximum number of jobs already in queue",
            "Resource limit exceeds allowable",
        ]) {
            Self::OverLimit
        } else if holds(&["Unknown resource type"]) {
            Self::UnknownResource
        } else {
            Self::Other
        }
    }
}

/// A command's complaint as one line: usage texts, the command's name and control characters removed.
pub fn words(command: &str, stderr: &str) -> String {
    let mut lines = Vec::new();
    for line in stderr.lines() {
        let line: String =
            line.chars().map(|letter| if is_printable(letter) { letter } else { ' ' }).collect();
        let line = line.trim();
        if line.starts_with("usage:") {
            break;
        }
        let line = line.strip_prefix(command).and_then(|rest| rest.strip_prefix(':')).unwrap_or(line).trim();
        if !line.is_empty() {
            lines.push(line.to_owned());
        }
    }
    shortened(&lines.join("; "))
}

/// Without control characters, and without those that turn the direction of writing.
pub fn cleaned(text: &str) -> String {
    let text: String = text.chars().map(|letter| if is_printable(letter) { letter } else { ' ' }).collect();
    shortened(text.trim())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WORDS_LENGTH_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WORDS_LENGTH_MAX - 1).collect();
    short.push('…');
    short
}

fn is_printable(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether the complaint is about the connection rather than the request.
pub(crate) fn is_about_connection(stderr: &str) -> bool {
    [
        "cannot connect to server",
        "Communication failure",
        "Unknown Host",
        "No default server name",
        "server shutting down",
    ]
    .iter()
    .any(|sign| stderr.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_clean_line() {
        let usage = "qsub: illegal -N value\nusage: qsub [-a date_time]\n\t[-C x]\n";
        assert_eq!(words("qsub", usage), "illegal -N value");
        let two = "Connection refused\nqsub: cannot connect to server node1 (errno=15010)\n";
        assert_eq!(words("qsub", two), "Connection refused; cannot connect to server node1 (errno=15010)");
        assert_eq!(words("qsub", "qsub: bad\u{1b}[31m \u{202e}name\r\n"), "bad [31m  name");
        assert_eq!(words("qsub", &"x".repeat(5000)).chars().count(), WORDS_LENGTH_MAX);
    }
}
