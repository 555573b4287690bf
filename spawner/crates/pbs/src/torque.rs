//! Reads Torque's `qstat`: `-x` for jobs, `-Q -f` and `-B -f` for queues and the server. Torque prints no JSON.
//!
//! What `-x` prints is XML but for its values: it writes `&` as it is, and a control character, 14, for each `<`. A
//! library for XML refuses both. In return nothing that people choose (names, variables, line ends in them) can look like
//! an element, so one job cannot garble another's. Times are seconds since the epoch here, and texts elsewhere.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::Snapshot;
use crate::status::{Fields, collect};

/// What Torque puts in the place of `<`.
const SMALLER: char = '\u{e}';
/// `Data`, `Job`, a table, its member; reports of NUMA nodes go some steps deeper.
const DEPTH_MAX: usize = 16;

/// All jobs of the answer to `qstat -x`, those included that are over and that the server still keeps
/// (`keep_completed`). No jobs are an empty `Data`, and in old releases no output at all.
pub(crate) fn parse(stdout: &[u8]) -> Result<Snapshot, String> {
    let text = String::from_utf8_lossy(stdout);
    let mut snapshot = Snapshot { jobs: BTreeMap::new(), server_time: None, complete: true };
    let mut path: Vec<&str> = Vec::new();
    let (mut id, mut fields) = (None, Fields::default());
    let mut pieces = text.split('<');
    let before = pieces.next().unwrap_or_default();
    if !before.trim().is_empty() {
        return Err("qstat -x does not begin with an element".to_owned());
    }
    for piece in pieces {
        let (tag, value) = piece.split_once('>').ok_or("qstat -x ends within a tag")?;
        if let Some(name) = tag.strip_prefix('/') {
            if path.pop() != Some(name) {
                return Err(format!(
                    "qstat -x closes {:?} where it is not open",
                    name.escape_debug().to_string()
                ));
            }
            if name == "Job" && path.len() == 1 {
                let id: Option<String> = id.take();
                collect(&mut snapshot, id.unwrap_or_default().trim(), std::mem::take(&mut fields));
            }
            continue;
        }
        if tag.starts_with('?') || tag.ends_with('/') {
            continue;
        }
        path.push(tag.split_whitespace().next().unwrap_or_default());
        if path.len() > DEPTH_MAX {
            return Err("qstat -x nests elements too deep".to_owned());
        }
        let value = || value.replace(SMALLER, "<");
        match path.as_slice() {
            ["Data", "Job", "Job_Id"] => id = Some(value()),
            ["Data", "Job", name] => set(&mut fields, name, value()),
            ["Data", "Job", table, name] => set(&mut fields, &format!("{table}.{name}"), value()),
            _ => {}
        }
    }
    if path.is_empty() { Ok(snapshot) } else { Err("qstat -x ends before its elements do".to_owned()) }
}

/// Under PBS's names.
fn set(fields: &mut Fields, name: &str, value: String) {
    match (name, value.trim()) {
        // Kept for a while after it ended.
        ("job_state", "C") => fields.set(name, "F".to_owned()),
        ("exit_status", _) => fields.set("Exit_status", value.trim().to_owned()),
        ("start_time", _) => fields.set("stime", value.trim().to_owned()),
        _ => fields.set(name, value.trim().to_owned()),
    }
}

/// The groups of `qstat -Q -f` (`kind` is `Queue`) or `qstat -B -f` (`Server`), in the shape of PBS's JSON.
pub(crate) fn details(kind: &str, stdout: &[u8]) -> Json {
    let text = String::from_utf8_lossy(stdout);
    // A long value goes on in the next line, behind a tab.
    let text = text.replace("\n\t", "");
    let mut groups = Map::new();
    let mut current: Option<&mut Map<String, Json>> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")) {
            let group = groups.entry(name.trim()).or_insert_with(|| Json::Object(Map::new()));
            current = group.as_object_mut();
        } else if let (Some(group), Some((name, value))) = (current.as_deref_mut(), line.split_once(" = ")) {
            let value = Json::String(value.trim().to_owned());
            match name.trim().split_once('.') {
                None => {
                    group.insert(name.trim().to_owned(), value);
                }
                Some((table, member)) => {
                    let table = group.entry(table).or_insert_with(|| Json::Object(Map::new()));
                    if let Some(table) = table.as_object_mut() {
                        table.insert(member.to_owned(), value);
                    }
                }
            }
        }
    }
    let mut answer = Map::new();
    answer.insert(kind.to_owned(), Json::Object(groups));
    Json::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobState;

    #[test]
    fn nothing_in_a_value_closes_an_element() {
        let text = "<?xml version=\"1.0\"?>\n<Data><Job><Job_Id>1.head</Job_Id><Job_Name>a\u{e}/Job> & b > c</Job_Name>\
                    <job_state>R</job_state><Variable_List>X=1\n<X/></Variable_List></Job></Data>\n";
        let snapshot = parse(text.as_bytes()).unwrap();
        let job = snapshot.jobs.values().next().unwrap();
        assert_eq!((job.name.as_str(), job.state), ("a</Job> & b > c", JobState::Running));
    }

    #[test]
    fn what_is_cut_off_or_no_answer_is_an_error() {
        for text in [
            "qstat: trouble",
            "<Data><Job><Job_Id>1.head</Job_Id>",
            "<Data><Job></Data></Job>",
            "<Data",
            &"<a>".repeat(100),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(!parse(b"<Data><Job><job_state>R</job_state></Job></Data>").unwrap().complete);
        for text in ["", "<?xml version=\"1.0\"?>\n<Data></Data>\n", "<Data/>"] {
            let snapshot = parse(text.as_bytes()).unwrap();
            assert!(snapshot.complete && snapshot.jobs.is_empty(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_read_or_refused(text in "(<(/)?(Data|Job|Job_Id|job_state|x)>|[a-z0-9.\\[\\]<>&= \n]){0,40}") {
            let _ = parse(text.as_bytes());
            let _ = details("Queue", text.as_bytes());
        }
    }
}
