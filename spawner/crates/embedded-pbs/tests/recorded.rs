//! Output of the real commands, recorded on OpenPBS 23.06, against ours: same lines, order, words, exit codes.
//! What differs from one run to the next (times, ids, memory) is blanked on both sides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{Batch, Outcome, RECORDED};

fn sample(name: &str) -> String {
    let path = format!("{}/tests/samples/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A sample's command, exit code, standard output and standard error.
fn recorded(name: &str) -> (String, Outcome) {
    let text = sample(name);
    let (command, rest) = text.split_once("\n--- exit ").unwrap();
    let (code, rest) = rest.split_once("\n--- stdout\n").unwrap();
    let (stdout, stderr) = rest.split_once("--- stderr\n").unwrap_or((rest, ""));
    let outcome =
        Outcome { code: code.trim().parse().unwrap(), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    (command.trim_start_matches("$ ").to_owned(), outcome)
}

/// Keys whose values differ from run to run.
const VOLATILE: [&str; 20] = [
    "timestamp",
    "ctime",
    "mtime",
    "qtime",
    "stime",
    "etime",
    "obittime",
    "history_timestamp",
    "exec_host",
    "PBS_O_PATH",
    "PBS_O_SHELL",
    "PBS_O_HOME",
    "PBS_O_WORKDIR",
    "Error_Path",
    "Output_Path",
    "cpupercent",
    "cput",
    "mem",
    "vmem",
    "last_used_time",
];

/// One line per attribute, blanked; what a job shows only after a moment is left out.
fn normal(text: &str, job: u64) -> Vec<String> {
    let host = host();
    let mut lines = Vec::new();
    let (mut is_used, mut depth_of_used) = (false, String::new());
    for line in text.lines() {
        let indent: String = line.chars().take_while(|letter| *letter == '\t').collect();
        if line.trim() == "\"resources_used\":\t{" {
            (is_used, depth_of_used) = (true, indent);
            continue;
        }
        if is_used {
            is_used = indent != depth_of_used;
            continue;
        }
        let key = line.trim().trim_start_matches('"').split('"').next().unwrap_or_default();
        if ["session_id", "jobdir"].contains(&key) {
            continue;
        }
        let mut line =
            line.replace(&format!("{job}.pbshead"), "ID.pbshead").replace(&format!("@{host}"), "@pbshead");
        if VOLATILE.contains(&key) && indent.len() != 4 || key.starts_with("PBS_O_") && key != "PBS_O_QUEUE" {
            // The kind of value still counts.
            let (head, value) = line.split_once(":\t").unwrap();
            let kind = if value.starts_with('"') { "text" } else { "number" };
            let comma = if value.ends_with(',') { "," } else { "" };
            line = format!("{head}: {kind}{comma}");
        }
        if key == "Submit_Host" {
            line = line.replace(&format!("\"{host}\""), "\"pbshead\"");
        }
        if key == "substate" {
            line = line.replace("41", "42");
        }
        if let Some((head, rest)) = line.clone().split_once(" at ")
            && key == "comment"
        {
            line = format!("{head} at TIME{}", &rest[rest.find(" on ").unwrap()..]);
        }
        lines.push(line);
    }
    lines
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().split('.').next().unwrap().to_owned()
}

fn compare(batch: &Batch, name: &str, command: &str, job: u64) {
    let (line, expected) = recorded(name);
    // The id is in the command, or it is the first object of the answer.
    let in_answer = expected.stdout.split('"').find_map(|word| word.strip_suffix(".pbshead"));
    let recorded_job = line
        .split(' ')
        .rev()
        .find_map(|word| word.split('.').next()?.parse().ok())
        .or_else(|| in_answer?.parse().ok())
        .unwrap_or(u64::MAX);
    let ours = batch.run("alice", command, "");
    assert_eq!(ours.code, expected.code, "{name}: {ours:?}");
    pretty_equal(name, &normal(&expected.stdout, recorded_job), &normal(&ours.stdout, job));
}

fn pretty_equal(name: &str, expected: &[String], ours: &[String]) {
    for (index, (expected, ours)) in expected.iter().zip(ours).enumerate() {
        assert_eq!(ours, expected, "{name}, line {index}");
    }
    assert_eq!(ours.len(), expected.len(), "{name}: lines");
}

#[test]
fn job_states_look_as_recorded() {
    let batch = Batch::start(RECORDED);
    let options = "-N jup-alice -q short -l select=1:ncpus=1:mem=256mb -l walltime=00:05:00 -v 'A_TOKEN=secret,SPACED=a b' -j oe";
    let running = batch.submit(options, "sleep 600");
    batch.wait_for(running, "substate", |state| state == "42");
    compare(&batch, "qstat-json-R", &format!("qstat -f -F json {running}.pbshead"), running);
    compare(&batch, "qstat-json-all", "qstat -f -F json", running);

    let cases = [
        ("qstat-json-Q-limit", "-N q2 -q short -l select=1:ncpus=1", "Q"),
        ("qstat-json-Q-queue-not-started", "-q long", "Q"),
        ("qstat-json-Q-never", "-q workq -l select=1:ncpus=64", "Q"),
        ("qstat-json-H", "-h -q workq", "H"),
        ("qstat-json-W", "-a 203001010000 -q workq", "W"),
    ];
    for (name, options, letter) in cases {
        let job = batch.submit(options, "sleep 600");
        batch.wait_for_state(job, letter);
        if letter == "Q" {
            batch.wait_for(job, "comment", |comment| !comment.is_empty());
        }
        compare(&batch, name, &format!("qstat -f -F json {job}.pbshead"), job);
    }

    assert_eq!(batch.run("alice", &format!("qdel {running}"), "").code, 0);
    batch.wait_for_state(running, "F");
    compare(&batch, "qstat-json-F-qdel", &format!("qstat -x -f -F json {running}.pbshead"), running);
    compare(&batch, "qstat-finished-no-x", &format!("qstat -f -F json {running}.pbshead"), running);
}

#[test]
fn ends_of_jobs_look_as_recorded() {
    let batch = Batch::start(RECORDED);
    let cases = [
        ("qstat-json-F-exit3", "-q workq -l select=1:ncpus=1", "exit 3"),
        ("qstat-json-F-badshebang", "-q workq", "#!/no/such/interpreter\ntrue"),
        ("qstat-json-F-sigkill", "-q workq", "kill -9 $$"),
        ("qstat-json-F-walltime", "-q short -l walltime=00:00:05 -l select=1:ncpus=1", "sleep 600"),
    ];
    let jobs: Vec<_> =
        cases.iter().map(|(name, options, script)| (name, batch.submit(options, script))).collect();
    for (name, job) in jobs {
        batch.wait_for_state(job, "F");
        compare(&batch, name, &format!("qstat -x -f -F json {job}.pbshead"), job);
    }
}

#[test]
fn refusals_are_worded_and_numbered_as_recorded() {
    let batch = Batch::start(RECORDED);
    for name in [
        "qsub-bad-name",
        "qsub-bad-queue",
        "qsub-bad-resource",
        "qsub-bad-walltime",
        "qsub-long-name",
        "qsub-mem-over",
        "qsub-ncpus-over",
        "qsub-queue-acl",
        "qsub-queue-disabled",
        "qsub-script-missing",
        "qsub-walltime-over",
        "qdel-unknown",
        "qstat-unknown",
        "qstat-x-unknown",
        "qstat-badid",
        "version",
    ] {
        let (command, expected) = recorded(name);
        let ours = batch.run("alice", &command, "");
        assert_eq!(ours.code, expected.code, "{name}: {ours:?}");
        assert_eq!(ours.stderr, expected.stderr, "{name}");
        pretty_equal(name, &normal(&expected.stdout, u64::MAX), &normal(&ours.stdout, u64::MAX));
    }
}

#[test]
fn deleting_what_is_finished_or_not_ones_own_fails_as_recorded() {
    let batch = Batch::start(RECORDED);
    let job = batch.submit("-q workq", "true");
    batch.wait_for_state(job, "F");
    let ours = batch.run("alice", &format!("qdel {job}.pbshead"), "");
    let (_, expected) = recorded("qdel-finished");
    assert_eq!((ours.code, ours.stderr), (expected.code, expected.stderr.replace("20.", &format!("{job}."))));
    let job = batch.submit("-q workq -h", "true");
    let ours = batch.run("bob", &format!("qdel {job}.pbshead"), "");
    assert_eq!((ours.code, ours.stderr), (159, format!("qdel: Unauthorized Request  {job}.pbshead\n")));
    let (_, expected) = recorded("qdel-queued");
    let ours = batch.run("alice", &format!("qdel {job}.pbshead"), "");
    assert_eq!((ours.code, ours.stdout, ours.stderr), (expected.code, expected.stdout, expected.stderr));
}

#[test]
fn known_ids_are_answered_beside_unknown_ones() {
    let batch = Batch::start(RECORDED);
    let job = batch.submit("-N q2 -q short -l select=1:ncpus=1", "sleep 600");
    batch.wait_for(job, "substate", |state| state == "42");
    let ours = batch.run("alice", &format!("qstat -f -F json {job}.pbshead 999999"), "");
    let (_, expected) = recorded("qstat-mixed-known-unknown");
    assert_eq!((ours.code, &ours.stderr), (expected.code, &expected.stderr));
    pretty_equal("mixed", &normal(&expected.stdout, 21), &normal(&ours.stdout, job));
}

#[test]
fn unreachable_server_is_reported_as_recorded() {
    let batch = Batch::start(RECORDED);
    let stale = batch.folder.path().join("stale");
    std::fs::create_dir(&stale).unwrap();
    drop(std::os::unix::net::UnixListener::bind(stale.join("socket")).unwrap());
    for name in ["qstat-unreachable-server", "qsub-unreachable-server"] {
        let (command, expected) = recorded(name);
        let ours = batch.run("alice", &format!("export NUNA_PBS_DIR={}; {command}", stale.display()), "");
        assert_eq!((ours.code, ours.stderr), (expected.code, expected.stderr), "{name}");
    }
    for command in ["qstat -f -F json", "qstat -B -f -F json", "qstat -Q -f -F json"] {
        let stale = stale.display();
        let ours =
            batch.run("alice", &format!("export NUNA_PBS_DIR={stale}; PBS_SERVER=node1 {command}"), "");
        let head: serde_json::Value = serde_json::from_str(&ours.stdout).unwrap();
        let keys: Vec<&str> = head.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 3, "{command}: {keys:?}");
        assert_eq!((head["pbs_server"].as_str(), ours.code), (Some("node1"), 255), "{command}");
    }
    let ours = batch.run("alice", "NUNA_PBS_DIR=/nowhere qstat", "");
    assert_eq!(ours.code, 255);
    assert!(ours.stderr.contains("is `nuna-pbs server` running"), "{}", ours.stderr);
}

#[test]
fn tables_have_the_recorded_columns() {
    let batch = Batch::start(RECORDED);
    let job = batch.submit("-N jup-alice -q short", "sleep 600");
    batch.wait_for_state(job, "R");
    let ours = batch.run("alice", "qstat", "").stdout;
    let (_, expected) = recorded("qstat-default");
    assert_eq!(
        ours.replace("00:00:00", "       0"),
        expected.stdout.replace("20.pbshead ", &format!("{:<11}", format!("{job}.pbshead")))
    );
    let ours = batch.run("alice", "pbsnodes -a -F json", "").stdout;
    let keys = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.split_once(":\t")?.0.to_owned())).collect()
    };
    let ours: Vec<String> = keys(&ours).into_iter().filter(|key| !key.contains("\"jobs\"")).collect();
    let expected = keys(&recorded("pbsnodes-json").1.stdout);
    // Our node has something assigned, the recorded one was empty.
    let without_assigned = |keys: &[String]| -> Vec<String> {
        let at = keys.iter().position(|key| key.contains("resources_assigned")).unwrap();
        let rest = keys[at + 1..].iter().skip_while(|key| key.starts_with("\t\t\t\t")).cloned();
        keys[..=at].iter().cloned().chain(rest).collect()
    };
    assert_eq!(without_assigned(&ours), without_assigned(&expected));
}
