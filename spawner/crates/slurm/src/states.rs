//! Slurm's states, reasons and wait statuses in the seam's words.

use nuna_pbs::JobState;

/// As the seam counts: 256 and the number of the signal.
const EXIT_SIGNAL: i32 = 256;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// The seam's number for a job that ran out of time.
const EXIT_WALLTIME: i32 = -29;

/// Reasons for which a job waits that only somebody's decision ends.
const HELD: [&str; 3] = ["JobHeldUser", "JobHeldAdmin", "JobArrayTaskHeld"];
/// Reasons that are not about resources: a moment, or other jobs.
const WAITING: [&str; 2] = ["BeginTime", "Dependency"];
/// Reasons that no waiting mends, as long as job and cluster stay as they are. A partition or node that is down comes
/// back, and limits of people and accounts free themselves, so those are not here.
const NEVER: [&str; 10] = [
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSNotAllowed",
    "AssocMaxWallDurationPerJobLimit",
    "QOSMaxWallDurationPerJobLimit",
];

/// The state that Slurm's long word (`squeue -O State`) and, while it waits, its reason make.
///
/// A word of a newer Slurm gives `Other('?')`: neither pending nor over.
pub(crate) fn state(word: &str, reason: &str) -> JobState {
    match word {
        "PENDING" if HELD.contains(&reason) => JobState::Held,
        "PENDING" if WAITING.contains(&reason) => JobState::Waiting,
        "PENDING" | "REQUEUED" | "REQUEUE_FED" => JobState::Queued,
        "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => JobState::Held,
        // It has nodes, which are being switched on; its script has not begun.
        "CONFIGURING" | "POWER_UP_NODE" => JobState::Waiting,
        "RUNNING" | "RESIZING" | "SIGNALING" => JobState::Running,
        // Stopped jobs keep their cores, suspended ones do not; to a person both stand still.
        "SUSPENDED" | "STOPPED" => JobState::Suspended,
        "COMPLETING" | "STAGE_OUT" => JobState::Exiting,
        "COMPLETED" | "FAILED" | "TIMEOUT" | "CANCELLED" | "NODE_FAIL" | "BOOT_FAIL" | "DEADLINE"
        | "OUT_OF_MEMORY" | "PREEMPTED" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => JobState::Finished,
        // A sibling of a federation runs it.
        "REVOKED" => JobState::Moved,
        _ => JobState::Other('?'),
    }
}

/// Whether a job that waits for `reason` waits in vain.
pub(crate) fn never_runs(state: JobState, reason: &str) -> bool {
    state.is_pending() && NEVER.contains(&reason)
}

/// How a job that is over ended, as the seam counts; nothing if it never began or if the way it ended has no number.
///
/// `status` is a wait status (`squeue -O exit_code`), or `EXIT:SIGNAL` as newer versions may print.
pub(crate) fn exit_status(word: &str, status: &str, began: bool) -> Option<i32> {
    if !began {
        return None;
    }
    match word {
        "TIMEOUT" => Some(EXIT_WALLTIME),
        "OUT_OF_MEMORY" => Some(EXIT_SIGNAL + SIGKILL),
        // A script that ends in peace when it is told to is cancelled all the same.
        "CANCELLED" => Some(EXIT_SIGNAL + SIGTERM),
        "COMPLETED" | "FAILED" | "LAUNCH_FAILED" => {
            let (code, signal) = match status.split_once(':') {
                Some((code, signal)) => (code.parse().ok()?, signal.parse().ok()?),
                None => {
                    let status: i32 = status.parse().ok()?;
                    (status >> 8 & 0xff, status & 0x7f)
                }
            };
            let ended = if signal == 0 { code } else { EXIT_SIGNAL + signal };
            // Whatever failed without an exit code of its own did not end well.
            (ended != 0 || word == "COMPLETED").then_some(ended)
        }
        // Its node or the scheduler ended it: the number says nothing, and may be 0.
        _ => None,
    }
}

/// What a person reads: why it waits, or how it ended.
pub(crate) fn comment(word: &str, reason: &str, state: JobState) -> Option<String> {
    let reason = Some(reason).filter(|reason| !matches!(*reason, "" | "None" | "(null)" | "N/A"));
    match reason {
        Some(reason) if word == "PENDING" => Some(reason.to_owned()),
        // The reason why it waited stays in the record of a job that was cancelled while it did.
        Some(reason) if !matches!(state, JobState::Running | JobState::Exiting) && word != "CANCELLED" => {
            Some(format!("{word} ({reason})"))
        }
        Some(_) | None => Some(word.to_owned()).filter(|word| word != "PENDING"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_slurm_has_one_meaning() {
        use JobState::{Exiting, Finished, Held, Moved, Other, Queued, Running, Suspended, Waiting};
        for (word, reason, expected) in [
            ("PENDING", "Resources", Queued),
            ("PENDING", "JobHeldUser", Held),
            ("PENDING", "BeginTime", Waiting),
            ("PENDING", "Dependency", Waiting),
            ("REQUEUED", "None", Queued),
            ("SPECIAL_EXIT", "None", Held),
            ("CONFIGURING", "None", Waiting),
            ("RUNNING", "None", Running),
            ("SUSPENDED", "None", Suspended),
            ("STOPPED", "None", Suspended),
            ("COMPLETING", "NonZeroExitCode", Exiting),
            ("COMPLETED", "None", Finished),
            ("PREEMPTED", "None", Finished),
            ("REVOKED", "None", Moved),
            ("QUANTUM", "None", Other('?')),
            ("", "", Other('?')),
        ] {
            assert_eq!(state(word, reason), expected, "{word} {reason}");
        }
    }

    #[test]
    fn nothing_that_failed_counts_as_a_good_end() {
        for (word, status, expected) in [
            ("COMPLETED", "0", Some(0)),
            ("FAILED", "768", Some(3)),
            ("FAILED", "9", Some(265)),
            ("FAILED", "0:15", Some(271)),
            ("FAILED", "3:0", Some(3)),
            ("FAILED", "0", None),
            ("FAILED", "nonsense", None),
            ("CANCELLED", "0", Some(271)),
            ("TIMEOUT", "0", Some(-29)),
            ("OUT_OF_MEMORY", "0", Some(265)),
            ("NODE_FAIL", "0", None),
            ("PREEMPTED", "0", None),
            ("BOOT_FAIL", "256", None),
        ] {
            assert_eq!(exit_status(word, status, true), expected, "{word} {status}");
            assert_eq!(exit_status(word, status, false), None, "{word} never began");
        }
    }

    #[test]
    fn a_job_that_waits_in_vain_is_told_from_one_that_waits() {
        assert!(never_runs(JobState::Queued, "PartitionTimeLimit"));
        assert!(never_runs(JobState::Waiting, "DependencyNeverSatisfied"));
        for reason in ["Resources", "Priority", "PartitionDown", "ReqNodeNotAvail", "AssocGrpCpuLimit", ""] {
            assert!(!never_runs(JobState::Queued, reason), "{reason}");
        }
        assert!(!never_runs(JobState::Finished, "PartitionTimeLimit"));
    }

    #[test]
    fn comments_are_slurm_s_own_words() {
        for (word, reason, expected) in [
            ("PENDING", "Resources", Some("Resources")),
            ("PENDING", "None", None),
            ("RUNNING", "None", Some("RUNNING")),
            ("FAILED", "NonZeroExitCode", Some("FAILED (NonZeroExitCode)")),
            ("CANCELLED", "PartitionDown", Some("CANCELLED")),
            ("CONFIGURING", "None", Some("CONFIGURING")),
        ] {
            assert_eq!(comment(word, reason, state(word, reason)).as_deref(), expected, "{word} {reason}");
        }
    }
}
