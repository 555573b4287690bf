//! Words for the exit statuses of jobs: whether the job ended by itself, was ended, or was never begun.

use crate::config::System;

/// What PBS says of a job that reached its walltime.
pub const WALLTIME: i32 = -29;
/// PBS adds it to the signal that ended a job.
const SIGNAL: i32 = 256;
/// A shell adds it to the signal that ended what it ran.
const SHELL: i32 = 128;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// How a job ended that has this exit status.
pub fn words(system: System, exit: i32) -> String {
    match exit {
        WALLTIME => "it reached its walltime".to_owned(),
        // The second is how a shell tells that what it ran was killed.
        exit if exit == SIGNAL + SIGTERM || exit == SHELL + SIGTERM => {
            "it was deleted, or ended by signal 15 at its walltime".to_owned()
        }
        exit if exit == SIGNAL + SIGKILL => {
            "it was killed by signal 9, perhaps because it used too much memory".to_owned()
        }
        exit if exit > SIGNAL => format!("it was ended by signal {}", exit - SIGNAL),
        exit if exit < 0 => match of_system(system, exit) {
            Some(words) => format!("{words} (status {exit})"),
            None => format!("{system} ended it or could not run it (status {exit})"),
        },
        exit => format!("exit status {exit}"),
    }
}

/// Of the numbers by which the node's daemon says what it did: `JOB_EXEC_…` in OpenPBS's `job.h`. Torque shares the first.
fn of_system(system: System, exit: i32) -> Option<&'static str> {
    let is_known = match system {
        System::Pbs => true,
        System::Torque => exit >= -7,
        System::Slurm => false,
    };
    let words = match exit {
        -1 => "its node could not start it: files or directories of the job could not be prepared",
        -2 => "its node could not start it, although its files were ready",
        -3 => "its node could not start it, and it was to be tried again",
        -4 => "the PBS daemon of its node was restarted, which ended it",
        -5 | -6 => "the PBS daemon of its node was restarted, which ended it with a checkpoint",
        -7 => "it could not be restarted from its checkpoint",
        -10 => "its node does not know its user, or does not let that user run jobs",
        -11 => "it was ended to be queued again",
        -12 => "it was ended with a checkpoint",
        -13 => "its user's password was wrong or missing on its node",
        -14 => "it was to be queued again: another of its nodes did not join or failed",
        -15 => "it was to be queued again and to go on from its checkpoint",
        -16 => "a hook of the site refused to start it for now",
        -17 => "a hook of the site refused to start it and deleted it",
        -18 => "a hook of the site had it queued again",
        -19 => "a hook of the site deleted it",
        -20 => "the connection to the first of its nodes was lost",
        -21 => "its node found files of PBS that others may change, and ran nothing",
        -22 => "a hook of the site failed or took too long",
        -23 => "there were no Kerberos credentials for it",
        -24 => "it used more cores than it asked for, for a while",
        -25 => "it used more cores than it asked for, on the whole",
        -26 => "it used more virtual memory than it asked for",
        -27 => "it used more memory than it asked for",
        -28 => "it used more processor time than it asked for",
        -30 => "another of its nodes could not join it",
        _ => return None,
    };
    is_known.then_some(words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All negative values of `JOB_EXEC_…` in `src/include/job.h` of OpenPBS 23.06.06.
    const JOB_EXEC: [(&str, i32, &str); 28] = [
        ("FAIL1", -1, "could not start"),
        ("FAIL2", -2, "could not start"),
        ("RETRY", -3, "tried again"),
        ("INITABT", -4, "daemon of its node was restarted"),
        ("INITRST", -5, "daemon of its node was restarted"),
        ("INITRMG", -6, "daemon of its node was restarted"),
        ("BADRESRT", -7, "checkpoint"),
        ("FAILUID", -10, "user"),
        ("RERUN", -11, "queued again"),
        ("CHKP", -12, "checkpoint"),
        ("FAIL_PASSWORD", -13, "password"),
        ("RERUN_SIS_FAIL", -14, "nodes"),
        ("QUERST", -15, "checkpoint"),
        ("FAILHOOK_RERUN", -16, "hook"),
        ("FAILHOOK_DELETE", -17, "hook"),
        ("HOOK_RERUN", -18, "hook"),
        ("HOOK_DELETE", -19, "hook"),
        ("RERUN_MS_FAIL", -20, "connection"),
        ("FAIL_SECURITY", -21, "others may change"),
        ("HOOKERROR", -22, "hook"),
        ("FAIL_KRB5", -23, "Kerberos"),
        ("KILL_NCPUS_BURST", -24, "more cores"),
        ("KILL_NCPUS_SUM", -25, "more cores"),
        ("KILL_VMEM", -26, "virtual memory"),
        ("KILL_MEM", -27, "more memory"),
        ("KILL_CPUT", -28, "processor time"),
        ("KILL_WALLTIME", -29, "reached its walltime"),
        ("JOINJOB", -30, "join"),
    ];

    #[test]
    fn each_status_of_pbs_has_its_words() {
        for (name, exit, wanted) in JOB_EXEC {
            let said = words(System::Pbs, exit);
            assert!(said.contains(wanted) && !said.contains("or could not run it"), "{name}: {said}");
        }
        let listed: BTreeSet<i32> = JOB_EXEC.iter().map(|(_, exit, _)| *exit).collect();
        for exit in (-40..0).filter(|exit| !listed.contains(exit)) {
            assert_eq!(words(System::Pbs, exit), format!("PBS ended it or could not run it (status {exit})"));
        }
    }

    #[test]
    fn other_systems_say_what_is_known_of_them() {
        assert!(words(System::Torque, -4).contains("restarted"));
        assert!(words(System::Torque, -10).contains("or could not run it"), "there it is about memory");
        assert!(words(System::Slurm, -4).contains("Slurm ended it or could not run it"));
        assert!(words(System::Slurm, WALLTIME).contains("walltime"));
    }

    #[test]
    fn signals_are_named() {
        for (exit, wanted) in [
            (271, "deleted"),
            (143, "deleted"),
            (265, "too much memory"),
            (267, "signal 11"),
            (256, "exit status 256"),
            (3, "exit status 3"),
            (0, "exit status 0"),
        ] {
            assert!(words(System::Pbs, exit).contains(wanted), "{exit}");
        }
    }
}
