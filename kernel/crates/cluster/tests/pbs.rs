//! Clusters whose workers are jobs of the embedded batch system: real processes, real walltimes.

mod support;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nuna_cluster::{Cluster, ClusterError, Pace, Pbs, PbsCommands};
use nuna_plan::{Engine, Finished};
use nuna_wire::ClusterFile;
use support::*;

const CONFIG: &str = "server = 'head'
queue_delay_seconds = 0
kill_delay_seconds = 2
[[nodes]]
name = 'node1'
ncpus = 4
mem = '8gb'
[[queues]]
name = 'workq'
max_walltime = '01:00:00'
[[queues]]
name = 'stopped'
started = false
[[queues]]
name = 'small'
max_array_size = 3
[[queues]]
name = 'full'
max_queued_per_user = 2
";

/// A batch system of its own.
struct Batch {
    process: Child,
    folder: tempfile::TempDir,
}

/// A program of this workspace: in `NUNA_BIN_DIR`, else where this test's own profile puts programs.
fn batch_program() -> PathBuf {
    let folder = std::env::var_os("NUNA_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().expect("a test has a program");
        test.ancestors().nth(2).expect("tests are in target/PROFILE/deps").to_owned()
    });
    let path = folder.join("nuna-pbs");
    assert!(path.is_file(), "{} is missing: `cargo build -p nuna-embedded-pbs`", path.display());
    path
}

impl Batch {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["bin", "home"] {
            std::fs::create_dir(folder.path().join(name)).expect("the folder is ours");
        }
        for name in ["qsub", "qstat", "qdel"] {
            std::os::unix::fs::symlink(batch_program(), folder.path().join("bin").join(name))
                .expect("the folder is ours");
        }
        std::fs::write(folder.path().join("pbs.toml"), CONFIG).expect("the folder is ours");
        let process = Command::new(batch_program())
            .args(["server", "--die-with-parent", "--state"])
            .arg(folder.path().join("state"))
            .arg("--config")
            .arg(folder.path().join("pbs.toml"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the embedded batch system starts");
        let batch = Self { process, folder };
        wait_until("the batch system answers", || batch.run("qstat", &["-B"]).is_some());
        batch
    }

    /// What a command prints, if it succeeds.
    fn run(&self, command: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(self.folder.path().join("bin").join(command))
            .args(arguments)
            .env("NUNA_PBS_DIR", self.folder.path().join("state"))
            .output()
            .expect("the command is there");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Jobs that are not over.
    fn jobs(&self) -> usize {
        self.ids(&[]).len()
    }

    /// Jobs that are not over; with `-x` all that ever were.
    fn ids(&self, options: &[&str]) -> BTreeSet<String> {
        let listed = self.run("qstat", options).expect("qstat answers");
        listed.lines().skip(2).filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    }

    /// The cluster file as it is now.
    fn file(&self, name: &str) -> ClusterFile {
        ClusterFile::read(&self.folder.path().join("clusters").join(format!("{name}.json")))
            .expect("a cluster that runs has a file")
    }

    /// Kills the scheduler, and waits until another is there. What the first had started goes on.
    fn kill_scheduler(&self, name: &str) {
        let lost = self.file(name);
        let pid = nix::unistd::Pid::from_raw(lost.pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        wait_until("another scheduler is there", || self.file(name).pid != lost.pid);
    }

    fn cluster(&self) -> Pbs {
        let text = |path: &Path| path.display().to_string();
        let environment = [
            ("NUNA_PBS_DIR".to_owned(), text(&self.folder.path().join("state"))),
            ("HOME".to_owned(), text(&self.folder.path().join("home"))),
        ];
        let commands =
            PbsCommands { folder: self.folder.path().join("bin"), environment: environment.into() };
        let pace = Pace {
            poll: Duration::from_millis(200),
            grace: Duration::from_secs(1),
            retry: Duration::from_millis(50),
            short_life: Duration::from_secs(1),
            ..Pace::default()
        };
        Cluster::pbs()
            .memory("200MB")
            .walltime("1h")
            .program(program())
            .directory(self.folder.path().join("clusters"))
            .local_directory(self.folder.path().join("home"))
            .address("127.0.0.1".parse().expect("an address"))
            .commands(commands)
            .pace(pace)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Its jobs end with it, so it gets the time to end them.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        // A scheduler whose cluster nobody has ended would go on for ten minutes.
        nuna_testing::kill_all_in(self.folder.path());
    }
}

/// Ends the cluster however the test ends: nothing else would, for ten minutes.
struct Ended(Cluster);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// A farm on two workers of that walltime, so many tasks of 100 ms, none of which may fail even once: none may be
/// retried. Gives the calls of `qsub`, and how long it took.
fn farm_over_walltimes(walltime: &str, tasks: u64, patience: Duration, arrays: bool) -> (u32, Duration) {
    let batch = Batch::start();
    let asked = batch.cluster().scale(2).walltime(walltime);
    let cluster = if arrays { asked.job_array() } else { asked }.start();
    let cluster = Ended(cluster.unwrap_or_else(|error| panic!("{error}")));
    let client = cluster.0.client();
    let began = Instant::now();
    let mut running = client.submit(farm("sleep 100", tasks)).expect("the scheduler takes it");
    let mut results = BTreeSet::new();
    let mut workers = BTreeSet::new();
    loop {
        match running.next(Duration::from_millis(200)).unwrap_or_else(|error| panic!("{error}")) {
            Finished::Block { block, .. } => assert!(results.insert(block), "{block} came twice"),
            Finished::Waiting { done, total } => {
                assert!(began.elapsed() < patience, "stuck at {done} of {total}: {}", cluster.0);
            }
            Finished::End => break,
        }
        workers.extend(client.info().workers.into_iter().map(|worker| worker.name));
    }
    let took = began.elapsed();
    assert_eq!(results, (0..tasks).collect::<BTreeSet<_>>());
    let jobs = client.info().jobs.expect("workers are jobs");
    eprintln!(
        "{tasks} results in {:.1} s from {} workers of walltime {walltime}; {} qsub calls, {} failures",
        took.as_secs_f64(),
        workers.len(),
        jobs.submissions,
        jobs.failures
    );
    assert_eq!((jobs.failures, &jobs.paused), (0, &None), "{jobs:?}");
    assert!(workers.len() >= 3, "several generations of workers: {workers:?}");
    drop(running);
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
    (jobs.submissions, took)
}

#[test]
fn a_farm_longer_than_several_walltimes_loses_nothing() {
    // 24 s of work; workers take blocks for about 6 s.
    let (submissions, took) = farm_over_walltimes("10s", 240, 3 * PATIENCE, false);
    // On a busy machine a worker may have half of its time left when it is up; one more of each pair may be on its way.
    let most = 2 * (took.as_secs() as u32 / 3 + 2);
    assert!((3..=most).contains(&submissions), "{submissions} of {most} qsub calls");
}

#[test]
fn an_array_s_workers_leave_before_their_walltime_and_are_replaced() {
    // Two generations: the first is an array.
    let (submissions, took) = farm_over_walltimes("10s", 160, 3 * PATIENCE, true);
    let most = 2 * (took.as_secs() as u32 / 3 + 2);
    assert!((2..=most).contains(&submissions), "{submissions} of {most} qsub calls");
}

#[test]
#[ignore = "takes five minutes: cargo test -p nuna-cluster --test pbs -- --ignored --nocapture"]
fn a_farm_of_five_minutes_on_walltimes_of_one() {
    let (submissions, took) = farm_over_walltimes("60s", 6000, 10 * PATIENCE, false);
    let most = 2 * (took.as_secs() as u32 / 50 + 2);
    assert!((10..=most).contains(&submissions), "{submissions} of {most} qsub calls");
}

#[test]
fn a_cluster_is_scaled_while_it_runs_found_by_name_and_leaves_no_jobs_behind() {
    let batch = Batch::start();
    let cluster = batch.cluster().name("farm").scale(1).start().unwrap_or_else(|error| panic!("{error}"));
    let cluster = Ended(cluster);
    cluster.0.wait_for_workers(1, PATIENCE).unwrap();
    cluster.0.scale(3).unwrap();
    cluster.0.wait_for_workers(3, PATIENCE).unwrap();
    assert_eq!(run(&cluster.0.client(), farm("square", 100)).unwrap().len(), 100);
    assert!(cluster.0.to_string().contains("3 workers wanted"), "{}", cluster.0);
    cluster.0.scale(1).unwrap();
    wait_until("two workers have left", || cluster.0.info().workers.len() == 1);
    wait_until("and so have their jobs", || batch.jobs() == 1);
    assert!(matches!(
        cluster.0.adapt(std::ops::RangeInclusive::new(2, 1)),
        Err(ClusterError::BadScale { .. })
    ));
    // Four cores: the fifth job waits.
    cluster.0.scale(5).unwrap();
    cluster.0.wait_for_workers(4, PATIENCE).unwrap();
    wait_until("one waits", || cluster.0.info().jobs.is_some_and(|jobs| jobs.queued == 1));
    assert!(matches!(batch.cluster().name("farm").start(), Err(ClusterError::NameTaken { .. })));
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
}

#[test]
fn a_scheduler_that_is_killed_leaves_its_jobs_to_the_next_which_submits_none_twice() {
    let batch = Batch::start();
    // Four cores: two of six jobs wait.
    let cluster = batch.cluster().name("kept").scale(6).start().unwrap_or_else(|error| panic!("{error}"));
    let cluster = Ended(cluster);
    let client = cluster.0.client();
    cluster.0.wait_for_workers(4, PATIENCE).unwrap();
    let pids = || client.info().workers.iter().map(|worker| worker.pid).collect::<BTreeSet<_>>();
    let queued = || client.info().jobs.is_some_and(|jobs| jobs.queued == 2);
    wait_until("two wait", queued);
    let (jobs, workers) = (batch.ids(&[]), pids());
    assert_eq!(jobs.len(), 6);
    let mut plan = tree("sleep 1", 600, 5);
    let expected = run(&client, plan.clone()).unwrap();
    plan.stages[0].work.payload = b"sleep 10".to_vec();
    let mut running = client.submit(plan).unwrap();
    wait_until(
        "part of the plan is done",
        || matches!(running.next(Duration::from_millis(20)), Ok(Finished::Waiting { done, .. }) if done > 100),
    );
    batch.kill_scheduler("kept");
    assert_eq!(collect(running).unwrap(), expected);
    assert_eq!(client.info().restarts, 1);
    wait_until("it knows of all workers and of the jobs that wait", || pids() == workers && queued());
    assert_eq!(batch.ids(&["-x"]), jobs, "no other was ever submitted");
    // Twice while nothing runs: jobs are followed by those that have only heard of them.
    batch.kill_scheduler("kept");
    wait_until("it knows again", || pids() == workers && queued());
    assert_eq!(batch.ids(&["-x"]), jobs);
    cluster.0.scale(3).unwrap();
    wait_until("jobs that are too many are given up", || pids().len() == 3 && batch.jobs() == 3);
    assert_eq!(run(&client, farm("square", 50)).unwrap().len(), 50);
    batch.kill_scheduler("kept");
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
    let folder = batch.folder.path().join("clusters");
    wait_until("no process is left", || nuna_testing::all_in(&folder).is_empty());
    assert_eq!(batch.ids(&["-x"]), jobs);
}

#[test]
fn a_job_that_was_being_submitted_when_the_scheduler_was_killed_is_found_when_pbs_lists_it() {
    let batch = Batch::start();
    let cluster = batch.cluster().name("slow").scale(1).start().unwrap_or_else(|error| panic!("{error}"));
    let cluster = Ended(cluster);
    cluster.0.wait_for_workers(1, PATIENCE).unwrap();
    // From now on `qsub` takes as long as the test likes.
    let path = |name: &str| batch.folder.path().join(name);
    let slow = format!(
        "#!/bin/sh\ntouch '{began}.'$$\nwhile [ ! -e '{go}' ]; do sleep 0.05; done\nexec '{qsub}' \"$@\"\n",
        began = path("began").display(),
        go = path("go").display(),
        qsub = path("real/qsub").display()
    );
    std::fs::create_dir(path("real")).unwrap();
    std::os::unix::fs::symlink(batch_program(), path("real/qsub")).unwrap();
    std::fs::write(path("slow"), slow).unwrap();
    std::fs::set_permissions(path("slow"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(path("slow"), path("bin/qsub")).unwrap();
    let begun = || {
        let entries = std::fs::read_dir(batch.folder.path()).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("began.")).count()
    };
    cluster.0.scale(2).unwrap();
    wait_until("a job is being submitted", || begun() == 1);
    batch.kill_scheduler("slow");
    wait_until("the next scheduler submits one too, since it cannot know", || begun() == 2);
    std::fs::write(path("go"), "").unwrap();
    wait_until("both have been submitted", || batch.ids(&["-x"]).len() == 3);
    wait_until("one too many is given up again", || batch.jobs() == 2 && cluster.0.info().workers.len() == 2);
    let mut names: Vec<String> = cluster.0.info().workers.into_iter().map(|worker| worker.name).collect();
    names.dedup();
    assert_eq!(names.len(), 2, "no two have one name: {names:?}");
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
}

#[test]
fn an_adaptive_cluster_has_workers_while_there_is_work() {
    let batch = Batch::start();
    let cluster = Ended(batch.cluster().adapt(0..=2).start().unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(batch.jobs(), 0);
    let results = run(&cluster.0.client(), farm("sleep 20", 200)).unwrap();
    assert_eq!(results.len(), 200);
    wait_until("the workers have left", || cluster.0.info().workers.is_empty() && batch.jobs() == 0);
}

#[test]
fn what_the_queue_would_refuse_is_refused_before_anything_is_submitted() {
    let batch = Batch::start();
    let said = |cluster: Pbs| cluster.start().expect_err("it is refused").to_string();
    assert_eq!(
        said(batch.cluster().queue("omp")),
        "there is no queue \"omp\" here; there is full, small, stopped, workq"
    );
    assert_eq!(
        said(batch.cluster().walltime("2h")),
        "queue \"workq\" allows a walltime of 01:00:00, but 02:00:00 was asked for"
    );
    assert!(said(batch.cluster().walltime("soon")).contains("not a length of time"));
    assert!(said(batch.cluster().memory("4 horses")).contains("not an amount of memory"));
    assert!(said(batch.cluster().scale(0)).contains("ask for one or more"));
    assert!(said(batch.cluster().set_up("a\nb")).contains("one line"));
    assert!(said(batch.cluster().memory("4")).contains("4 bytes of memory; say the unit"));
    assert!(said(batch.cluster().walltime("2")).contains("say the unit: \"2h\""));
    let more = batch.cluster().select("1:ncpus=2:mem=1gb").cores(8);
    assert!(said(more).contains("asks for 2 cores, but workers would use 8"));
    assert_eq!(batch.jobs(), 0);
}

#[test]
fn jobs_that_break_before_their_worker_runs_pause_the_cluster_with_the_reason() {
    let batch = Batch::start();
    let broken = batch.cluster().set_up("echo no module named hdf5 >&2; exit 3").scale(2);
    // Either the first jobs are over before `start` returns, or shortly after.
    let (message, submissions) = match broken.start() {
        Err(error) => (error.to_string(), 0),
        Ok(cluster) => {
            let cluster = Ended(cluster);
            wait_until("it gives up", || cluster.0.info().jobs.is_some_and(|jobs| jobs.paused.is_some()));
            let jobs = cluster.0.info().jobs.expect("workers are jobs");
            (jobs.paused.expect("just seen"), jobs.submissions)
        }
    };
    assert!(message.contains("ended before its worker had joined"), "{message}");
    assert!(submissions <= 5, "{submissions} submissions");
    if submissions > 0 {
        assert!(message.contains("no module named hdf5"), "{message}");
    }
    wait_until("no job is left", || batch.jobs() == 0);
}

#[test]
fn a_script_can_be_looked_at_and_holds_nothing_secret() {
    let batch = Batch::start();
    let script = batch
        .cluster()
        .queue("omp")
        .cores(28)
        .memory("115GB")
        .walltime("2h")
        .directive("#PBS -l place=excl")
        .set_up("module load hdf5")
        .job_script()
        .unwrap();
    for line in ["#PBS -q omp", "#PBS -l walltime=02:00:00", "#PBS -l place=excl", "module load hdf5"] {
        assert!(script.lines().any(|found| found == line), "{line} is not in\n{script}");
    }
    assert!(!script.contains("BEGIN") && !script.contains(".key"), "{script}");
    let array = batch.cluster().scale(40).job_array().job_script().unwrap();
    assert!(array.lines().any(|line| line == "#PBS -J 1-40"), "{array}");
    let refused = batch.cluster().directive("-J 1-40").job_script().unwrap_err().to_string();
    assert!(refused.contains(".job_array()"), "{refused}");
    assert_eq!(batch.jobs(), 0);
}

#[test]
fn workers_are_submitted_as_arrays_scaled_found_again_and_given_up_one_by_one() {
    let batch = Batch::start();
    let asked = batch.cluster().name("many").scale(6).job_array();
    let cluster = Ended(asked.start().unwrap_or_else(|error| panic!("{error}")));
    let info = || cluster.0.info();
    // Four cores: two of six wait.
    cluster.0.wait_for_workers(4, PATIENCE).unwrap();
    let arrays: Vec<String> = batch.ids(&[]).into_iter().collect();
    assert_eq!(arrays, ["0[].head"], "one call of qsub, one array");
    assert_eq!(info().jobs.unwrap().submissions, 1);
    wait_until("two wait", || info().jobs.is_some_and(|jobs| jobs.queued == 2));
    let names: BTreeSet<String> = info().workers.into_iter().map(|worker| worker.name).collect();
    let numbers: Vec<&str> = names.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4"], "each is called after its index: {names:?}");
    assert_eq!(run(&cluster.0.client(), farm("square", 100)).unwrap().len(), 100);

    // Those that wait go first; each by itself.
    cluster.0.scale(3).unwrap();
    wait_until("three are there", || info().workers.len() == 3 && states(&batch) == "RRRXXX");
    // Another array for what is missing, and it is smaller than its queue allows.
    cluster.0.scale(5).unwrap();
    wait_until("one more runs", || info().workers.len() == 4);
    assert_eq!(batch.ids(&[]).len(), 2);
    wait_until("another waits", || info().jobs.is_some_and(|jobs| jobs.queued == 1));

    // The scheduler is lost, and the next follows the same jobs.
    let everything = batch.ids(&["-x", "-t"]);
    let pids = || info().workers.iter().map(|worker| worker.pid).collect::<BTreeSet<_>>();
    let workers = pids();
    batch.kill_scheduler("many");
    wait_until("it knows of all", || pids() == workers && info().jobs.is_some_and(|jobs| jobs.queued == 1));
    assert_eq!(batch.ids(&["-x", "-t"]), everything, "no other was ever submitted");
    assert_eq!(run(&cluster.0.client(), farm("square", 100)).unwrap().len(), 100);
    cluster.0.scale(1).unwrap();
    wait_until("one is left", || {
        info().workers.len() == 1 && info().jobs.is_some_and(|jobs| jobs.queued == 0)
    });
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
    assert_eq!(batch.ids(&["-x", "-t"]), everything);
}

/// The letters of all jobs of arrays that PBS shows, sorted.
fn states(batch: &Batch) -> String {
    let listed = batch.run("qstat", &["-J", "-t"]).expect("qstat answers");
    let letter = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
    let mut letters: Vec<String> = listed.lines().skip(2).filter_map(letter).collect();
    letters.sort();
    letters.concat()
}

#[test]
fn arrays_are_no_larger_than_their_queue_allows_and_a_full_queue_is_waited_for() {
    let batch = Batch::start();
    let asked = batch.cluster().queue("small").name("small").scale(4).job_array();
    let cluster = Ended(asked.start().unwrap_or_else(|error| panic!("{error}")));
    cluster.0.wait_for_workers(4, PATIENCE).unwrap();
    assert_eq!(batch.ids(&[]).into_iter().collect::<Vec<_>>(), ["0[].head", "1.head"], "three, and one");
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);

    let asked = |workers: u32| batch.cluster().queue("full").scale(workers);
    let refused = asked(3).job_array().start().expect_err("the queue never allows it").to_string();
    assert!(refused.contains("jobs at once, but 3 workers were asked for"), "{refused}");
    let cluster = Ended(asked(1).start().unwrap_or_else(|error| panic!("{error}")));
    cluster.0.wait_for_workers(1, PATIENCE).unwrap();
    let other = batch
        .run("qsub", &["-q", "full", "-o", "/dev/null", "-e", "/dev/null", "--", "/bin/sleep", "1000"])
        .expect("there is room for one");
    cluster.0.scale(2).unwrap();
    let jobs = || cluster.0.info().jobs.expect("workers are jobs");
    wait_until("PBS says why", || jobs().trouble.is_some_and(|trouble| trouble.contains("per-user limit")));
    assert_eq!((jobs().paused, jobs().failures), (None, 0));
    batch.run("qdel", &[other.trim()]).expect("it is ours");
    cluster.0.wait_for_workers(2, PATIENCE).unwrap();
    cluster.0.shutdown();
    wait_until("no job is left", || batch.jobs() == 0);
}

#[test]
fn an_array_whose_jobs_break_pauses_the_cluster_with_the_reason() {
    let batch = Batch::start();
    let broken = batch.cluster().set_up("echo no module named hdf5 >&2; exit 3").scale(4).job_array();
    let message = match broken.start() {
        Err(error) => error.to_string(),
        Ok(cluster) => {
            let cluster = Ended(cluster);
            let jobs = || cluster.0.info().jobs.expect("workers are jobs");
            wait_until("it gives up", || jobs().paused.is_some());
            assert!(jobs().submissions <= 4, "{:?}", jobs());
            let paused = jobs().paused.expect("just seen");
            assert!(paused.contains("no module named hdf5"), "{paused}");
            paused
        }
    };
    assert!(message.contains("ended before its worker had joined"), "{message}");
    wait_until("no job is left", || batch.jobs() == 0);
}
