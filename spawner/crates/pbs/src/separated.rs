//! Reads `qstat -f -F dsv`, the second choice: one line per job.
//!
//! Some releases print JSON that is none once a job has an unlucky variable. In this format they escape newlines,
//! so a job can garble its own line at most.

use std::collections::BTreeMap;

use crate::Snapshot;
use crate::status::{Fields, collect};

pub(crate) fn parse(stdout: &[u8]) -> Result<Snapshot, String> {
    let text = String::from_utf8_lossy(stdout);
    let mut snapshot = Snapshot { jobs: BTreeMap::new(), server_time: None, complete: true };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some(record) = line.strip_prefix("Job Id: ") else {
            return Err(format!("line {} of qstat -F dsv does not start with a job id", index + 1));
        };
        let mut parts = split(record).into_iter();
        let id = parts.next().unwrap_or_default();
        let mut fields = Fields::default();
        for part in parts {
            if let Some((name, value)) = part.split_once('=') {
                // A variable that imitates an attribute comes later than the attribute.
                fields.set_first(name, value.to_owned());
            }
        }
        collect(&mut snapshot, id.trim(), fields);
    }
    Ok(snapshot)
}

/// At each `|` that has no odd number of backslashes before it; escapes are undone.
fn split(record: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = record.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '|' => parts.push(String::new()),
            '\\' if matches!(letters.peek(), Some('|' | '\\')) => {
                if let (Some(last), Some(next)) = (parts.last_mut(), letters.next()) {
                    last.push(next);
                }
            }
            _ => {
                if let Some(last) = parts.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobState;

    #[test]
    fn one_job_cannot_garble_another() {
        let text = "Job Id: 1.head|Job_Name=a|job_state=R|Variable_List=A=\\|job_state=F\\njob_state=F\\\\\\|\n\
                    Job Id: 2.head|Job_Name=b|job_state=Q|comment=x\n";
        let snapshot = parse(text.as_bytes()).unwrap();
        let states: Vec<_> = snapshot.jobs.values().map(|job| job.state).collect();
        assert_eq!(states, [JobState::Running, JobState::Queued]);
        assert!(snapshot.complete);
    }

    #[test]
    fn a_line_without_a_job_is_no_answer() {
        assert!(parse(b"Job Id: 1.head|job_state=R\nsegmentation fault\n").is_err());
        assert!(!parse(b"Job Id: 1.head|Job_Name=x\n").unwrap().complete, "a job without a state");
    }
}
