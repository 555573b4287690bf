use super::*;
use crate::job::Counts;
use crate::protocol::Filter;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_218_817 + second).unwrap()
}

fn batch(toml: &str) -> Batch {
    let mut settings: Settings = toml::from_str(toml).unwrap();
    settings.queue_delay_seconds = 0.0;
    settings.fill_nodes(1, 2, "4gb");
    settings.check().unwrap();
    Batch::new("head".to_owned(), settings, "root".to_owned(), Memory::default(), at(0))
}

fn ask(resources: &[(&str, &str)]) -> Submission {
    Submission {
        name: "STDIN".to_owned(),
        resources: resources.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        host: "head".to_owned(),
        folder: "/home/alice".to_owned(),
        ..Submission::default()
    }
}

fn key(id: &str) -> Key {
    let id = id.split('.').next().unwrap();
    id.strip_suffix("[]").unwrap_or(id).parse().unwrap()
}

fn comment<'batch>(batch: &'batch Batch, id: &str) -> &'batch str {
    batch.job(key(id)).unwrap().comment.as_deref().unwrap_or_default()
}

#[test]
fn jobs_run_until_cores_are_gone_and_the_rest_say_why() {
    let mut batch = batch("");
    let first = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=2")])).unwrap();
    let second = batch.submit(at(0), "alice", ask(&[])).unwrap();
    assert_eq!(batch.tick(at(0)), [Effect::Start { key: key(&first) }]);
    assert_eq!(
        comment(&batch, &second),
        "Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 2)"
    );
    batch.exited(at(1), key(&first), 0, None);
    assert_eq!(batch.tick(at(1)), [Effect::Start { key: key(&second) }]);
    assert!(comment(&batch, &first).ends_with(" and finished"));
}

#[test]
fn job_larger_than_the_machine_can_never_run() {
    let mut batch = batch("");
    let id = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=64")])).unwrap();
    assert!(batch.tick(at(0)).is_empty());
    assert_eq!(
        comment(&batch, &id),
        "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2 T: 2)"
    );
}

#[test]
fn memory_is_counted_too() {
    let mut batch = batch("");
    let first = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=1:mem=3gb")])).unwrap();
    let second = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=1:mem=3gb")])).unwrap();
    assert_eq!(batch.tick(at(0)), [Effect::Start { key: key(&first) }]);
    assert!(comment(&batch, &second).starts_with("Not Running: Insufficient amount of resource: mem (R: "));
}

#[test]
fn walltime_stops_a_job_once_and_gives_its_own_exit_status() {
    let mut batch = batch("");
    let id = batch.submit(at(0), "alice", ask(&[("walltime", "5")])).unwrap();
    batch.tick(at(0));
    assert_eq!(batch.next_deadline(at(0)), Some(at(5)));
    assert_eq!(batch.tick(at(5)), [Effect::Stop { key: key(&id), kill: Kill::Gently }]);
    assert!(batch.tick(at(6)).is_empty());
    // Somebody deletes it while it ends.
    batch.delete(at(6), "alice", &id, false, false).unwrap();
    batch.exited(at(7), key(&id), 271, None);
    let object = batch.job(key(&id)).unwrap().object("head", at(7), &Counts::default());
    assert_eq!(object.get("Exit_status"), "-29");
    assert!(object.get("comment").ends_with("and exceeded resource walltime"));
}

#[test]
fn only_owner_and_manager_delete() {
    let mut batch = batch("");
    let id = batch.submit(at(0), "alice", ask(&[])).unwrap();
    assert_eq!(batch.delete(at(0), "bob", &id, false, false).unwrap_err().exit_code(), 159);
    assert!(batch.delete(at(0), "root", &id, false, false).is_ok());
    assert_eq!(batch.delete(at(0), "alice", &id, false, false).unwrap_err().exit_code(), 35);
}

#[test]
fn user_limit_holds_the_second_job() {
    let mut batch = batch("[[queues]]\nname='workq'\nmax_run_per_user=1");
    batch.submit(at(0), "alice", ask(&[])).unwrap();
    let second = batch.submit(at(0), "alice", ask(&[])).unwrap();
    let other = batch.submit(at(0), "bob", ask(&[])).unwrap();
    assert_eq!(batch.tick(at(0)).len(), 2);
    assert_eq!(comment(&batch, &second), "Not Running: User has reached queue workq running job limit.");
    assert_eq!(batch.job(key(&other)).unwrap().letter(at(0)), 'R');
}

#[test]
fn held_and_waiting_jobs_stay_until_their_time() {
    let mut batch = batch("");
    let held = batch.submit(at(0), "alice", Submission { hold: true, ..ask(&[]) }).unwrap();
    let later = Submission { execution_time_s: Some(at(60).as_second()), ..ask(&[]) };
    let waiting = batch.submit(at(0), "alice", later).unwrap();
    assert!(batch.tick(at(0)).is_empty());
    assert_eq!(batch.next_deadline(at(0)), Some(at(60)));
    assert_eq!(batch.tick(at(60)), [Effect::Start { key: key(&waiting) }]);
    batch.set_held(at(61), "alice", &held, false).unwrap();
    assert_eq!(batch.tick(at(61)), [Effect::Start { key: key(&held) }]);
}

#[test]
fn restart_ends_running_jobs_and_keeps_queued_ones() {
    let mut before = batch("");
    let running = before.submit(at(0), "alice", ask(&[("select", "1:ncpus=2")])).unwrap();
    let queued = before.submit(at(0), "alice", ask(&[("select", "1:ncpus=2")])).unwrap();
    before.tick(at(0));
    let text = serde_json::to_string(before.memory()).unwrap();
    let memory = serde_json::from_str(&text).unwrap();
    let mut after = Batch::new("head".to_owned(), before.settings, "root".to_owned(), memory, at(9));
    assert_eq!(after.job(key(&running)).unwrap().letter(at(9)), 'F');
    assert_eq!(after.tick(at(9)), [Effect::Start { key: key(&queued) }]);
    assert_eq!(after.submit(at(9), "alice", ask(&[])).unwrap(), "2.head");
}

fn array(indices: &str, running_max: Option<u32>) -> Submission {
    Submission { array: Some((indices.to_owned(), running_max)), ..ask(&[]) }
}

/// What `qstat -t` shows: ids and letters.
fn listed(batch: &Batch, now: Timestamp) -> String {
    let filter = Filter { expand: true, history: true, ..Filter::default() };
    let (objects, refusals) = batch.status(now, &[], &filter);
    assert!(refusals.is_empty());
    let lines: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", object.name.split('.').next().unwrap(), object.get("job_state")))
        .collect();
    lines.join(" ")
}

fn started(effects: &[Effect]) -> Vec<String> {
    let key = |effect: &Effect| match effect {
        Effect::Start { key } => key.to_string(),
        other => panic!("{other:?}"),
    };
    effects.iter().map(key).collect()
}

#[test]
fn jobs_of_an_array_run_as_cores_allow_and_the_array_ends_with_the_last() {
    let mut batch = batch("");
    let id = batch.submit(at(0), "alice", array("1-5:2", None)).unwrap();
    assert_eq!(id, "0[].head");
    assert_eq!(listed(&batch, at(0)), "0[] Q 0[1] Q 0[3] Q 0[5] Q");
    // Two cores.
    assert_eq!(started(&batch.tick(at(0))), ["0[1]", "0[3]"]);
    assert_eq!(listed(&batch, at(0)), "0[] B 0[1] R 0[3] R 0[5] Q");
    assert_eq!(batch.exited(at(1), key("0[1]"), 3, None), [Effect::Forget { key: key("0[1]") }]);
    assert_eq!(listed(&batch, at(1)), "0[] B 0[1] X 0[3] R 0[5] Q");
    let (shown, _) = batch.status(at(1), &["0[]".to_owned()], &Filter::default());
    assert_eq!(shown[0].get("array_state_count"), "Queued:1 Running:1 Exiting:0 Expired:1 ");
    assert_eq!(shown[0].get("array_indices_remaining"), "5");
    assert_eq!(started(&batch.tick(at(1))), ["0[5]"]);
    batch.exited(at(2), key("0[5]"), 0, None);
    let effects = batch.exited(at(2), key("0[3]"), 0, None);
    assert_eq!(
        effects,
        [Effect::Forget { key: key("0[3]") }, Effect::Forget { key: key("0") }],
        "the script may go"
    );
    assert_eq!(listed(&batch, at(2)), "0[] F 0[1] F 0[3] F 0[5] F");
    assert!(
        comment(&batch, "0").starts_with("Job Array Began at ")
            && comment(&batch, "0").ends_with(" and finished")
    );
    let (shown, _) =
        batch.status(at(2), &["0[1]".to_owned()], &Filter { history: true, ..Filter::default() });
    assert_eq!((shown[0].get("Exit_status"), shown[0].get("array_id")), ("3", "0[].head"));
    // Its history goes with it.
    batch.tick(at(2 + 24 * 3600));
    assert_eq!(listed(&batch, at(2 + 24 * 3600)), "");
}

#[test]
fn no_more_jobs_of_an_array_run_at_once_than_it_says() {
    let mut batch = batch("");
    batch.submit(at(0), "alice", array("0-2", Some(1))).unwrap();
    assert_eq!(started(&batch.tick(at(0))), ["0[0]"]);
    assert!(batch.tick(at(1)).is_empty());
    batch.exited(at(1), key("0[0]"), 0, None);
    assert_eq!(started(&batch.tick(at(1))), ["0[1]"]);
}

#[test]
fn one_some_or_all_jobs_of_an_array_are_deleted() {
    let mut batch = batch("");
    batch.submit(at(0), "alice", array("1-8", None)).unwrap();
    batch.tick(at(0));
    let mut delete = |id: &str| batch.delete(at(1), "alice", id, false, false);
    assert_eq!(delete("0").unwrap_err().exit_code(), 153, "an array is not called by its number alone");
    for unknown in ["0[9]", "0[x]", "0[", "0[0-3]", "7[]", "0[].elsewhere"] {
        assert_eq!(delete(unknown).unwrap_err().exit_code(), 153, "{unknown}");
    }
    assert_eq!(delete("0[4]"), Ok(vec![]), "it has not begun");
    assert_eq!(delete("0[4]").unwrap_err().exit_code(), 55, "and now it is over");
    let stop = |index| Effect::Stop { key: Key { sequence: 0, index: Some(index) }, kill: Kill::Gently };
    assert_eq!(delete("0[2-5,7].head"), Ok(vec![stop(2)]), "two run");
    assert_eq!(batch.delete(at(1), "bob", "0[1]", false, false).unwrap_err().exit_code(), 159);
    assert_eq!(listed(&batch, at(1)), "0[] B 0[1] R 0[2] R 0[3] X 0[4] X 0[5] X 0[6] Q 0[7] X 0[8] Q");
    batch.exited(at(2), key("0[2]"), 271, None);
    assert_eq!(batch.delete(at(2), "alice", "0[]", false, false), Ok(vec![stop(1)]));
    assert!(batch.tick(at(2)).is_empty(), "none begins any more");
    batch.exited(at(3), key("0[1]"), 271, None);
    assert!(comment(&batch, "0").contains(" and terminated by alice@head"));
    assert_eq!(batch.delete(at(3), "alice", "0[]", false, false).unwrap_err().exit_code(), 35);
    assert_eq!(batch.delete(at(3), "alice", "0[1]", false, false).unwrap_err().exit_code(), 35);
    assert_eq!(batch.delete(at(3), "alice", "0[]", false, true), Ok(vec![]), "its history");
    assert_eq!(listed(&batch, at(3)), "");
}

#[test]
fn an_array_deleted_before_it_began_is_over_at_once() {
    let mut batch = batch("");
    batch.submit(at(0), "alice", array("1-2", None)).unwrap();
    assert_eq!(batch.delete(at(0), "alice", "0[]", false, false), Ok(vec![Effect::Forget { key: key("0") }]));
    assert_eq!(listed(&batch, at(0)), "0[] F 0[1] F 0[2] F");
    batch.submit(at(0), "alice", array("1-2", None)).unwrap();
    batch.delete(at(0), "alice", "1[1]", false, false).unwrap();
    assert_eq!(
        batch.delete(at(0), "alice", "1[2]", false, false),
        Ok(vec![Effect::Forget { key: key("1") }])
    );
}

#[test]
fn limits_of_server_and_queue_hold_for_arrays() {
    let mut batch = batch(
        "max_array_size=6\njobs_max=12\n[[queues]]\nname='workq'\nmax_array_size=4\nmax_queued_per_user=5\n[[queues]]\nname='wide'",
    );
    let to =
        |queue: &str, indices: &str| Submission { queue: Some(queue.to_owned()), ..array(indices, None) };
    let mut code =
        |user: &str, submission| batch.submit(at(0), user, submission).map_err(|refusal| refusal.exit_code());
    assert_eq!(code("alice", to("workq", "1-5")), Err(3));
    assert_eq!(code("alice", to("wide", "1-7")), Err(3));
    assert_eq!(code("alice", to("workq", "1-4")), Ok("0[].head".to_owned()));
    assert_eq!(code("alice", to("workq", "1-2")), Err(39));
    assert_eq!(code("alice", ask(&[])), Ok("1.head".to_owned()));
    assert_eq!(code("alice", ask(&[])), Err(39), "jobs of an array are counted each");
    assert_eq!(code("bob", to("wide", "0-5")), Ok("2[].head".to_owned()));
    assert_eq!(code("bob", to("wide", "0-5")), Err(198));
}

#[test]
fn restart_ends_an_array_s_running_jobs_and_keeps_those_that_wait() {
    let mut before = batch("");
    before.submit(at(0), "alice", array("1-4", None)).unwrap();
    before.tick(at(0));
    before.delete(at(0), "alice", "0[4]", false, false).unwrap();
    let memory = serde_json::from_str(&serde_json::to_string(before.memory()).unwrap()).unwrap();
    let mut after = Batch::new("head".to_owned(), before.settings, "root".to_owned(), memory, at(9));
    assert_eq!(listed(&after, at(9)), "0[] B 0[1] X 0[2] X 0[3] Q 0[4] X");
    assert_eq!(started(&after.tick(at(9))), ["0[3]"]);
    after.exited(at(10), key("0[3]"), 0, None);
    assert_eq!(listed(&after, at(10)), "0[] F 0[1] F 0[2] F 0[3] F 0[4] F");
}

#[test]
fn jobs_written_by_an_older_server_are_read() {
    let mut old = batch("");
    old.submit(at(0), "alice", ask(&[])).unwrap();
    let mut text: serde_json::Value = serde_json::to_value(old.memory()).unwrap();
    let job = text["jobs"]["0"].as_object_mut().unwrap();
    ["index", "array", "expired"].iter().for_each(|name| drop(job.remove(*name)));
    job["submission"].as_object_mut().unwrap().remove("array");
    let memory = serde_json::from_value(text).unwrap();
    let after = Batch::new("head".to_owned(), old.settings, "root".to_owned(), memory, at(9));
    assert_eq!(listed(&after, at(9)), "0 Q");
}

#[test]
fn a_held_array_waits_as_a_whole() {
    let mut batch = batch("");
    batch.submit(at(0), "alice", array("1-2", None)).unwrap();
    assert_eq!(batch.set_held(at(0), "alice", "0[1]", true).unwrap_err().exit_code(), 15004 & 0xff);
    batch.set_held(at(0), "alice", "0[]", true).unwrap();
    assert!(batch.tick(at(0)).is_empty());
    assert_eq!(listed(&batch, at(0)), "0[] H 0[1] H 0[2] H");
    batch.set_held(at(0), "alice", "0[]", false).unwrap();
    assert_eq!(started(&batch.tick(at(0))), ["0[1]", "0[2]"]);
}
