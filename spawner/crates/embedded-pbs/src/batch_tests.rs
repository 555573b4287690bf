use super::*;

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

fn comment(batch: &Batch, sequence: u64) -> &str {
    batch.job(sequence).unwrap().comment.as_deref().unwrap_or_default()
}

#[test]
fn jobs_run_until_cores_are_gone_and_the_rest_say_why() {
    let mut batch = batch("");
    let first = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=2")])).unwrap();
    let second = batch.submit(at(0), "alice", ask(&[])).unwrap();
    assert_eq!(batch.tick(at(0)), [Effect::Start { sequence: first }]);
    assert_eq!(
        comment(&batch, second),
        "Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 2)"
    );
    batch.exited(at(1), first, 0, None);
    assert_eq!(batch.tick(at(1)), [Effect::Start { sequence: second }]);
    assert!(comment(&batch, first).ends_with(" and finished"));
}

#[test]
fn job_larger_than_the_machine_can_never_run() {
    let mut batch = batch("");
    let sequence = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=64")])).unwrap();
    assert!(batch.tick(at(0)).is_empty());
    assert_eq!(
        comment(&batch, sequence),
        "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 2 T: 2)"
    );
}

#[test]
fn memory_is_counted_too() {
    let mut batch = batch("");
    let first = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=1:mem=3gb")])).unwrap();
    let second = batch.submit(at(0), "alice", ask(&[("select", "1:ncpus=1:mem=3gb")])).unwrap();
    assert_eq!(batch.tick(at(0)), [Effect::Start { sequence: first }]);
    assert!(comment(&batch, second).starts_with("Not Running: Insufficient amount of resource: mem (R: "));
}

#[test]
fn walltime_stops_a_job_once_and_gives_its_own_exit_status() {
    let mut batch = batch("");
    let sequence = batch.submit(at(0), "alice", ask(&[("walltime", "5")])).unwrap();
    batch.tick(at(0));
    assert_eq!(batch.next_deadline(at(0)), Some(at(5)));
    assert_eq!(batch.tick(at(5)), [Effect::Stop { sequence, kill: Kill::Gently }]);
    assert!(batch.tick(at(6)).is_empty());
    batch.exited(at(7), sequence, 271, None);
    let object = batch.job(sequence).unwrap().object("head", at(7));
    assert_eq!(object.get("Exit_status"), "-29");
    assert!(object.get("comment").ends_with("and exceeded resource walltime"));
}

#[test]
fn only_owner_and_manager_delete() {
    let mut batch = batch("");
    let id = batch.submit(at(0), "alice", ask(&[])).unwrap().to_string();
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
    assert_eq!(comment(&batch, second), "Not Running: User has reached queue workq running job limit.");
    assert_eq!(batch.job(other).unwrap().letter(at(0)), 'R');
}

#[test]
fn held_and_waiting_jobs_stay_until_their_time() {
    let mut batch = batch("");
    let held = batch.submit(at(0), "alice", Submission { hold: true, ..ask(&[]) }).unwrap();
    let later = Submission { execution_time_s: Some(at(60).as_second()), ..ask(&[]) };
    let waiting = batch.submit(at(0), "alice", later).unwrap();
    assert!(batch.tick(at(0)).is_empty());
    assert_eq!(batch.next_deadline(at(0)), Some(at(60)));
    assert_eq!(batch.tick(at(60)), [Effect::Start { sequence: waiting }]);
    batch.set_held(at(61), "alice", &held.to_string(), false).unwrap();
    assert_eq!(batch.tick(at(61)), [Effect::Start { sequence: held }]);
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
    assert_eq!(after.job(running).unwrap().letter(at(9)), 'F');
    assert_eq!(after.tick(at(9)), [Effect::Start { sequence: queued }]);
    assert_eq!(after.submit(at(9), "alice", ask(&[])).unwrap(), queued + 1);
}
