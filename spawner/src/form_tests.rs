//! What the form says, and keeps.

use std::sync::Arc;

use nuna_pbs::{Free, Queues, Share};
use serde_json::json;

use super::*;
use crate::config::TemplateSettings;
use crate::profiles::Profiles;
use crate::templates::Templates;

const PROFILES: &str = r#"
    [small]
    title = "Small"
    queue = "workq"
    ncpus = 1
    mem = "2gb"
    walltime = "01:00:00"
    [work]
    title = "Work"
    queue = "omp"
    mem = "4gb"
    walltime = "01:00:00"
    [work.options]
    ncpus = { kind = "number", title = "Cores", min = 1, max = 4, default = 2, for_groups = { ocean = 16 } }
    walltime = { kind = "walltime", title = "Time", max = "02:00:00" }
"#;

fn known(queue: Queue) -> Known {
    let queues = Queues { queues: [(queue.name.clone(), queue)].into(), ..Queues::default() };
    Known { queues: Some(Arc::new(queues)), age: Duration::ZERO, trouble: None }
}

fn moment_of(known: &Known) -> Moment<'_> {
    Moment { user: "alice", system: System::Pbs, known, servers: &[] }
}

fn html(groups: &[&str], before: Before<'_>, known: &Known) -> String {
    let profiles = Profiles::new(toml::from_str(PROFILES).unwrap());
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let form = Form::new(&profiles.allowed(&groups), before, moment_of(known));
    Templates::new(&TemplateSettings::default(), System::Pbs).unwrap().form(&form).unwrap()
}

#[test]
fn what_was_typed_is_kept_beside_what_is_wrong_with_it() {
    let odd = "\"><script>alert(1)</script>";
    let filled: BTreeMap<String, Vec<String>> =
        [("profile", "work"), ("work.ncpus", "99"), ("work.walltime", odd), ("small.x", "y")]
            .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
            .into();
    let text = html(&[], Before { filled: Some(&filled), last: None }, &Known::default());
    for part in [
        r#"value="work" checked"#,
        r#"value="99""#,
        "Cores: &quot;99&quot; is not a number from 1 to 4",
        r#"aria-invalid="true""#,
        r#"aria-describedby="nuna-work-ncpus-hint nuna-work-ncpus-error""#,
        "is not a time such as 01:30:00",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(text.matches(" autofocus").count(), 1, "{text}");
    assert!(!text.contains("<script>alert"), "{text}");
}

#[test]
fn the_last_choice_is_there_again_as_far_as_it_is_allowed() {
    let last = json!({"profile": "work", "ncpus": "12", "walltime": "01:30:00"});
    let before = Before { filled: None, last: last.as_object() };
    let text = html(&["ocean"], before, &Known::default());
    for part in [r#"value="work" checked"#, r#"value="12""#, r#"value="01:30:00""#, "1 to 16"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // Not a member any more.
    let text = html(&[], before, &Known::default());
    assert!(
        text.contains(r#"value="01:30:00""#) && text.contains(r#"value="2""#) && !text.contains("\"12\"")
    );
    let gone = json!({"profile": "removed", "ncpus": 3});
    let text = html(&[], Before { filled: None, last: gone.as_object() }, &Known::default());
    assert!(text.contains(r#"value="small" checked"#), "{text}");
}

#[test]
fn the_queue_is_shown_as_it_is() {
    let queue = Queue {
        name: "omp".to_owned(),
        enabled: true,
        started: true,
        running: Some(4),
        waiting: Some(3),
        free: Some(Free { cores: 13, nodes: 1 }),
        running_max: Share { each: Some(2), ..Share::default() },
        ..Queue::default()
    };
    let known_well = known(queue.clone());
    let text = html(&[], Before::default(), &known_well);
    for part in [
        "13 cores are free, 1 node is empty",
        "4 jobs running, 3 waiting",
        "at most 2 of your jobs run at once",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert!(text.contains("PBS has no queue workq"), "{text}");
    let stopped = known(Queue { started: false, ..queue.clone() });
    assert!(html(&[], Before::default(), &stopped).contains("Queue omp is stopped"));
    let closed = known(Queue { users: Some(vec!["bob".to_owned()]), ..queue });
    assert!(html(&[], Before::default(), &closed).contains("for certain people"));
}

#[test]
fn silence_is_said_and_the_form_is_there() {
    let silent = Known { trouble: Some("no <answer>".to_owned()), ..Known::default() };
    let text = html(&[], Before::default(), &silent);
    assert!(text.contains("PBS does not answer at the moment (no &lt;answer&gt;)"), "{text}");
    assert!(text.contains(r#"value="work""#));
    let old = Known {
        trouble: silent.trouble.clone(),
        age: Duration::from_secs(600),
        ..known(Queue { name: "omp".to_owned(), ..Queue::default() })
    };
    assert!(html(&[], Before::default(), &old).contains("10 min old"));
}

#[test]
fn amounts_are_told_in_words() {
    for (select, words) in [
        ("1:ncpus=1:mem=1gb", "1 core, 1 GB"),
        ("2:ncpus=28:mem=100gb:ngpus=1", "2 nodes with 28 cores, 100 GB, 1 GPU each"),
        ("{nodes}:ncpus={cores}:mem=4gb", "4 GB"),
        ("1:ncpus=1+2:ncpus=4", "1:ncpus=1+2:ncpus=4"),
        ("1:ncpus=4:mpiprocs=4", "1:ncpus=4:mpiprocs=4"),
    ] {
        assert_eq!(amount(select), words);
    }
}
