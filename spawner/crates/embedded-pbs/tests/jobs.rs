//! Jobs as real processes: environment, output, limits, deletion, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Batch, PATIENCE, RECORDED, find_process, wait_until, wait_until_gone};

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
        ("-J 3-1", "illegal -J value"),
        ("-J 1,4", "illegal -J value"),
        ("-J 1-3%0", "illegal -J value"),
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

#[test]
fn jobs_of_an_array_have_their_own_environment_output_and_states() {
    let mut batch = Batch::start(RECORDED);
    let script = "echo $PBS_JOBID $PBS_ARRAY_INDEX $PBS_ARRAY_ID $GIVEN; echo oops >&2; \
                  until [ -e go ]; do sleep 0.02; done; exit $PBS_ARRAY_INDEX";
    let outcome = batch.run("alice", "qsub -N many -J 0-6:2 -v GIVEN=x", script);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "0[].pbshead\n"), "{}", outcome.stderr);
    let shown = |line: &str| batch.run("alice", line, "").stdout;
    // Two cores.
    wait_until("two run", || shown("qstat -t 0[]").matches(" R ").count() == 2);
    let table = "\
Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
0[].pbshead       many             alice                    0 B workq           
0[0].pbshead      many             alice             TIME     R workq           
0[2].pbshead      many             alice             TIME     R workq           
0[4].pbshead      many             alice                    0 Q workq           
0[6].pbshead      many             alice                    0 Q workq           
";
    let seen = shown("qstat -t").replace("00:00:00", "TIME    ");
    // What runs may not have been measured yet.
    let seen = seen.replace("       0 R", "TIME     R");
    assert_eq!(seen, table);
    assert_eq!(shown("qstat").lines().count(), 3, "without -t an array is one line");
    assert_eq!(shown("qstat -J -t").lines().count(), 6);
    let full = shown("qstat -f 0[]");
    for line in [
        "Job Id: 0[].pbshead",
        "    job_state = B",
        "    array = True",
        "    array_state_count = Queued:2 Running:2 Exiting:0 Expired:0 ",
        "    array_indices_submitted = 0-6:2",
        "    array_indices_remaining = 4,6",
    ] {
        assert!(full.lines().any(|found| found == line), "{line} is not in\n{full}");
    }
    assert!(full.replace("\n\t", "").contains("/many.o0.^array_index^\n"), "{full}");
    let one = shown("qstat -f 0[2]");
    for line in
        ["Job Id: 0[2].pbshead", "    job_state = R", "    array_id = 0[].pbshead", "    array_index = 2"]
    {
        assert!(one.lines().any(|found| found == line), "{line} is not in\n{one}");
    }
    let json: serde_json::Value = serde_json::from_str(&shown("qstat -t -f -F json 0[]")).unwrap();
    let states: Vec<(&String, &str)> = json["Jobs"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, job)| (id, job["job_state"].as_str().unwrap()))
        .collect();
    assert_eq!(states.len(), 5);
    assert!(
        states.iter().all(|(id, state)| *state
            == if json["Jobs"][*id]["array"] == "True" {
                "B"
            } else if ["0[0].pbshead", "0[2].pbshead"].contains(&id.as_str()) {
                "R"
            } else {
                "Q"
            }),
        "{states:?}"
    );
    assert_eq!(shown("qselect -t -s Q"), "0[4].pbshead\n0[6].pbshead\n");

    // One that waits, one that runs; the others go on.
    assert_eq!(batch.run("alice", "qdel 0[4] 0[2]", "").code, 0);
    wait_until("the last one runs", || shown("qstat 0[6]").contains(" R "));
    assert!(shown("qstat 0[2]").contains(" X ") && shown("qstat 0[4]").contains(" X "));
    let late = batch.run("alice", "qdel 0[2]", "");
    assert_eq!(
        (late.code, late.stderr.as_str()),
        (55, "qdel: Request invalid for finished array subjob 0[2].pbshead\n")
    );
    std::fs::write(batch.home().join("go"), "").unwrap();
    wait_until("the array is over", || shown("qstat -x 0[]").contains(" F "));
    for index in [0, 6] {
        assert_eq!(
            batch.read(&format!("many.o0.{index}")),
            format!("0[{index}].pbshead {index} 0[].pbshead x\n")
        );
        assert_eq!(batch.read(&format!("many.e0.{index}")), "oops\n");
    }
    assert!(!batch.home().join("many.o0.4").exists(), "it never ran");
    assert!(shown("qstat -x -f 0[6]").contains("    Exit_status = 6\n"));
    assert_eq!(
        std::fs::read_dir(batch.state().join("spool")).unwrap().count(),
        0,
        "nothing is left in the spool"
    );

    // A restart in between: what runs is lost, what waits goes on.
    std::fs::remove_file(batch.home().join("go")).unwrap();
    let outcome = batch.run("alice", "qsub -J 1-3 -o 'out.^array_index^' -j oe", script);
    assert_eq!(outcome.stdout, "1[].pbshead\n");
    wait_until("two run", || batch.run("alice", "qstat -t 1[]", "").stdout.matches(" R ").count() == 2);
    batch.restart();
    std::fs::write(batch.home().join("go"), "").unwrap();
    let shown = |line: &str| batch.run("alice", line, "").stdout;
    wait_until("the third has run", || shown("qstat -x 1[]").contains(" F "));
    assert_eq!(batch.read("out.3"), "1[3].pbshead 3 1[].pbshead\noops\n");
    assert!(shown("qstat -x -f 1[1]").replace("\n\t", "").contains("the batch server restarted"));
    assert_eq!(batch.run("alice", "qdel 1[]", "").code, 35);
    let refused = batch.run("alice", "qsub -J 1-3 -r n", "true");
    assert!(refused.code != 0 && refused.stderr.contains("cannot submit non-rerunable Array Job"));
    let large = batch.run("alice", "qsub -J 1-10001", "true");
    assert_eq!(
        (large.code, large.stderr.as_str()),
        (3, "qsub: Array job exceeds server or queue size limit\n")
    );
}
