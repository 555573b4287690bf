//! What Slurm's commands complain of. Their exit codes say only that something went wrong; the words say what.

use nuna_pbs::Rejection;

/// What a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Nothing reached the controller.
    Connection,
    /// Something may have reached it, and no answer came back.
    Silence,
    /// The controller's own answer.
    Request,
}

/// The connection was refused, the name is unknown, or nobody vouched for who calls.
const CONNECTION: [&str; 8] = [
    "Unable to contact slurm controller",
    "Unable to establish configuration source",
    "Could not establish a configuration source",
    "Connection refused",
    "No route to host",
    "Munge encode failed",
    "Unable to process configuration file",
    "Slurm backup controller in standby mode",
];
/// The request had left.
const SILENCE: [&str; 6] = [
    "Socket timed out on send/recv operation",
    "Zero Bytes were transmitted or received",
    "Transport endpoint is not connected",
    "Communication connection failure",
    "Message receive failure",
    "Unexpected message received",
];

pub(crate) fn about(stderr: &str) -> About {
    let holds = |signs: &[&str]| signs.iter().any(|sign| stderr.contains(sign));
    if holds(&SILENCE) {
        About::Silence
    } else if holds(&CONNECTION) {
        About::Connection
    } else {
        About::Request
    }
}

/// By the texts of `slurm_errno.c`, which have stayed the same since Slurm 14.
pub(crate) fn rejection(stderr: &str) -> Rejection {
    let holds = |signs: &[&str]| signs.iter().any(|sign| stderr.contains(sign));
    if holds(&["Invalid partition name", "invalid partition specified", "No partition specified"]) {
        Rejection::UnknownQueue
    } else if holds(&["Required partition not available", "partition configuration not available now"]) {
        Rejection::QueueDisabled
    } else if holds(&[
        "Access/permission denied",
        "not permitted to use this partition",
        "Invalid account or account/partition",
        "Invalid qos specification",
        "Invalid user id",
        "Job has invalid account",
        "limited to users who have a valid home",
    ]) {
        Rejection::NotAllowed
    } else if holds(&[
        "Requested time limit is invalid",
        "Requested node configuration is not available",
        "Job violates accounting/QOS policy",
        "Memory required by task is not available",
        "Memory specification can not be satisfied",
        "CPU count per node can not be satisfied",
        "More processors requested than permitted",
        "Node count specification invalid",
        "Job size specification",
        "Invalid job array specification",
    ]) {
        Rejection::OverLimit
    } else if holds(&[
        "Invalid generic resource",
        "Invalid feature specification",
        "Invalid Trackable RESource",
    ]) {
        Rejection::UnknownResource
    } else {
        Rejection::Other
    }
}

/// Without what `scancel` says of jobs that are over or unknown: there is nothing left to cancel.
pub(crate) fn of_living_jobs(stderr: &str) -> String {
    const OVER: [&str; 3] = [
        "Invalid job id specified",
        "Job/step already completing or completed",
        "Job not pending nor running",
    ];
    stderr.lines().filter(|line| !OVER.iter().any(|sign| line.contains(sign))).collect::<Vec<_>>().join("\n")
}

/// One clean line: each line's `command: error:` is left out.
pub(crate) fn words(command: &str, stderr: &str) -> String {
    let plain: Vec<&str> = stderr
        .lines()
        .map(|line| {
            let line = line.trim();
            let line =
                line.strip_prefix(command).and_then(|rest| rest.strip_prefix(':')).unwrap_or(line).trim();
            line.strip_prefix("error:").unwrap_or(line).trim()
        })
        .collect();
    nuna_pbs::words("", &plain.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_from_refusal_of_the_connection() {
        for (text, expected) in [
            (
                "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
                About::Silence,
            ),
            (
                "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
                About::Connection,
            ),
            ("sbatch: error: Batch job submission failed: Invalid partition name specified", About::Request),
            ("", About::Request),
        ] {
            assert_eq!(about(text), expected, "{text}");
        }
    }

    #[test]
    fn words_are_slurm_s_own_and_one_line() {
        let text = "sbatch: error: invalid partition specified: nosuch\nsbatch: error: Batch job submission failed: Invalid partition name specified\n";
        assert_eq!(
            words("sbatch", text),
            "invalid partition specified: nosuch; Batch job submission failed: Invalid partition name specified"
        );
        assert_eq!(words("sbatch", "sbatch: error: a\u{1b}[31m\u{202e}b"), "a [31m b");
    }

    #[test]
    fn jobs_that_are_over_need_no_cancelling() {
        let text = "scancel: error: Kill job error on job id 7: Invalid job id specified\n\
                    scancel: error: Kill job error on job id 8: Access/permission denied\n\
                    scancel: error: Kill job error on job id 9: Job/step already completing or completed\n";
        assert_eq!(
            of_living_jobs(text),
            "scancel: error: Kill job error on job id 8: Access/permission denied"
        );
    }
}
