//! Jobs as real processes: environment, output, limits, deletion, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Batch, PATIENCE, RECORDED, find_process, wait_until_gone};

#[test]
fn job_gets_its_environment_folder_and_output_files() {
    let batch = Batch::start(RECORDED);
    std::fs::create_dir(batch.home().join("work")).unwrap();
    let script = "#!/bin/bash\n#PBS -N named -l select=2:ncpus=1:mpiprocs=2\n#PBS -v FROM_SCRIPT=1\npwd; echo $PBS_O_WORKDIR; cat $PBS_NODEFILE; \
                  echo \"$PBS_JOBID $FROM_SCRIPT $GIVEN $PBS_JOBNAME\"; test -d $TMPDIR && echo tmp; echo oops >&2";
    std::fs::write(batch.home().join("work/job.sh"), script).unwrap();
    let outcome = batch.run("alice", "cd work && qsub -v 'GIVEN=a b' job.sh", "");
    let id = outcome.stdout.trim().to_owned();
    let job: u64 = id.split('.').next().unwrap().parse().unwrap();
    batch.wait_for_state(job, "F");
    let home = batch.home().display().to_string();
    let expected = format!("{home}\n{home}/work\nnode1\nnode1\nnode1\nnode1\n{id} 1 a b named\ntmp\n");
    assert_eq!(batch.read(&format!("work/named.o{job}")), expected);
    assert_eq!(batch.read(&format!("work/named.e{job}")), "oops\n");
    let mode =
        std::fs::metadata(batch.home().join(format!("work/named.o{job}"))).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "PBS's default umask is 077");
    assert_eq!(std::fs::read_dir(batch.state().join("spool")).unwrap().count(), 0);
}

#[test]
fn streams_join_and_go_where_asked() {
    let batch = Batch::start(RECORDED);
    std::fs::create_dir(batch.home().join("logs")).unwrap();
    let joined = batch.submit("-j oe -o logs/ -W umask=022", "echo out; echo err >&2");
    let named = batch.submit("-o one.txt -e two.txt", "echo out; echo err >&2");
    let direct = batch.submit("-k oed -o direct.txt", "echo begun; sleep 600");
    batch.wait_for_state(joined, "F");
    batch.wait_for_state(named, "F");
    assert_eq!(batch.read(&format!("logs/STDIN.o{joined}")), "out\nerr\n");
    assert_eq!((batch.read("one.txt"), batch.read("two.txt")), ("out\n".to_owned(), "err\n".to_owned()));
    batch.wait_for_state(direct, "R");
    let started = std::time::Instant::now();
    while !std::fs::read_to_string(batch.home().join("direct.txt")).is_ok_and(|text| text == "begun\n") {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn deleting_a_job_ends_every_process_it_started() {
    let batch = Batch::start(RECORDED);
    let marks = ["7654321.1", "7654321.2", "7654321.3"];
    let script = format!(
        "setsid sh -c 'trap \"\" TERM; while :; do sleep {}; done' &\n(setsid sleep {} &)\ntrap '' TERM\nsleep {} & wait; wait",
        marks[0], marks[1], marks[2]
    );
    let job = batch.submit("", &script);
    let started = std::time::Instant::now();
    while !marks.iter().all(|mark| find_process(&format!("sleep {mark}")).is_some()) {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(batch.run("alice", &format!("qdel {job}"), "").code, 0);
    batch.wait_for_state(job, "F");
    for mark in marks {
        wait_until_gone(mark);
    }
    assert!(batch.attribute(job, "comment").unwrap().contains("terminated by alice@"));
}

#[test]
fn killed_server_leaves_no_process_and_remembers_its_jobs() {
    let mut batch = Batch::start(RECORDED);
    let running = batch.submit("-l select=1:ncpus=2", "sleep 8765432.1");
    batch.wait_for(running, "substate", |state| state == "42");
    let queued = batch.submit("-l select=1:ncpus=2", "echo later");
    batch.wait_for(queued, "comment", |comment| {
        comment.starts_with("Not Running: Insufficient amount of resource: ncpus")
    });
    // SIGKILL: the server cannot clean up, the job's mom does.
    batch.restart();
    wait_until_gone("8765432.1");
    assert_eq!(batch.attribute(running, "job_state").as_deref(), Some("F"));
    batch.wait_for_state(queued, "F");
    assert_eq!(batch.attribute(queued, "Exit_status").as_deref(), Some("0"));
    assert_eq!(batch.submit("", "true"), queued + 1);
}

#[test]
fn terminated_server_waits_for_its_jobs_to_end() {
    let mut batch = Batch::start(RECORDED);
    let job = batch.submit("", "sleep 9876543.1");
    batch.wait_for(job, "substate", |state| state == "42");
    std::process::Command::new("kill").arg(batch.process.id().to_string()).status().unwrap();
    assert!(batch.process.wait().unwrap().success());
    assert!(find_process("sleep 9876543.1").is_none());
    assert!(!batch.state().join("socket").exists());
}

#[test]
fn second_server_in_the_same_folder_is_refused() {
    let batch = Batch::start(RECORDED);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuna-pbs"))
        .args(["server", "--state"])
        .arg(batch.state())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("another batch server uses"));
    assert_eq!(batch.run("alice", "qstat -B", "").code, 0, "the first one is unharmed");
}

#[test]
fn folders_and_socket_are_for_their_owner_only() {
    let batch = Batch::start(RECORDED);
    let mode = |name: &str| std::fs::metadata(batch.state().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("spool"), mode("socket")), (0o700, 0o700, 0o600));
    let job = batch.submit("-h", "echo secret");
    assert_eq!(mode(&format!("spool/{job}.SC")), 0o700);
}

#[test]
fn job_can_submit_and_watch_jobs() {
    let batch = Batch::start(RECORDED);
    let bin = batch.folder.path().join("bin");
    let job = batch.submit(
        "-N outer",
        &format!("PATH={}:$PATH; echo true | qsub -N inner; qselect -N inner -x", bin.display()),
    );
    batch.wait_for_state(job, "F");
    let output = batch.read(&format!("outer.o{job}"));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 2, "{output}");
    assert_eq!(lines[0], lines[1]);
    let inner = lines[0].split('.').next().unwrap().parse().unwrap();
    assert!(batch.attribute(inner, "Job_Owner").unwrap().starts_with("alice@"));
}

#[test]
fn a_job_waits_its_delay_in_the_queue() {
    let batch = Batch::start(&RECORDED.replace("queue_delay_seconds = 0", "queue_delay_seconds = 1.5"));
    let job = batch.submit("", "true");
    assert_eq!(batch.attribute(job, "job_state").as_deref(), Some("Q"));
    batch.wait_for_state(job, "F");
}

#[test]
fn what_is_not_offered_is_said() {
    let batch = Batch::start(RECORDED);
    for (options, words) in [
        ("-J 1-3", "array jobs"),
        ("-I", "interactive"),
        ("-W depend=afterok:1", "-W depend"),
        ("-Y", "usage"),
    ] {
        let outcome = batch.run("alice", &format!("qsub {options}"), "true");
        assert_eq!(outcome.code, 2);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

#[test]
fn a_held_job_waits_until_it_is_released() {
    let batch = Batch::start(RECORDED);
    // A job that cannot start yet: the first one takes both processors.
    let first = batch.submit("-l select=1:ncpus=2", "sleep 600");
    batch.wait_for_state(first, "R");
    let second = batch.submit("", "true");
    let run = |user: &str, line: &str| batch.run(user, line, "");
    assert_eq!(run("alice", &format!("qhold {second}")).code, 0);
    batch.wait_for_state(second, "H");
    assert_eq!(run("alice", &format!("qdel {first}")).code, 0);
    batch.wait_for_state(first, "F");
    assert!(run("alice", &format!("qstat {second}")).stdout.contains(" H "), "nothing starts a held job");
    for (user, line, words) in [
        ("bob", format!("qrls {second}"), "Unauthorized Request"),
        ("alice", format!("qrls -h s {second}"), "Unauthorized Request"),
    ] {
        let refused = run(user, &line);
        assert!(
            refused.code == 159 && refused.stderr.contains(words),
            "{line}: {} {}",
            refused.code,
            refused.stderr
        );
    }
    assert_eq!(run("alice", &format!("qrls -h x {second}")).code, 2);
    assert_eq!(run("alice", &format!("qrls -h u {second}")).code, 0);
    batch.wait_for_state(second, "F");
    let late = run("alice", &format!("qhold {second}"));
    assert_ne!(late.code, 0, "{}", late.stderr);
}

/// Recorded on OpenPBS 23.06: `qdel 14.vm` where the server is called pbshead and has a job 14.
#[test]
fn a_number_with_another_server_s_name_is_another_job() {
    let batch = Batch::start(RECORDED);
    let job = batch.submit("", "sleep 600");
    batch.wait_for_state(job, "R");
    for command in ["qdel", "qstat", "qhold"] {
        let outcome = batch.run("alice", &format!("{command} {job}.elsewhere"), "");
        assert_eq!(outcome.code, 153, "{command}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(&format!("Unknown Job Id {job}.elsewhere")), "{}", outcome.stderr);
    }
    batch.wait_for_state(job, "R");
}
