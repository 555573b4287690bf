//! The scheduler is killed at a moment that a seed decides, alone or together with a worker, in the middle of a rechunk to
//! files, a reduction, a farm in which tasks fail, and a farm of large results: the same bits as without, every result
//! once, and never a hang. And schedulers that never come back: a clear error, in time.
//!
//! `NUNA_LOSS_SEEDS=50 cargo test -p nuna-cluster --test restart` runs so many seeds; `NUNA_LOSS_SEED=n` one.

mod support;

use std::{
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::{Duration, Instant},
};

use nuna_client::{Ask, Client, Told};
use nuna_plan::{BlockGrid, BlockMap, Engine, EngineError, Finished, Keep, Plan, Source};
use nuna_wire::{ClusterFile, cluster_file::process_exists};
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::{workloads::*, *};

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

/// The cluster file as it is now.
fn file(started: &Started) -> ClusterFile {
    let path = started.folder.path().join("clusters").join(format!("{}.json", started.cluster.name()));
    ClusterFile::read(&path).expect("a cluster that runs has a file")
}

/// Kills the scheduler, and waits until another is there.
fn kill_scheduler(started: &Started) {
    let before = file(started).pid;
    kill(before);
    wait_until("another scheduler is there", || file(started).pid != before);
}

/// Runs `plan` on three workers, first undisturbed, then with the scheduler killed for each seed, and for every other one a
/// worker too.
fn same_bits_when_the_scheduler_is_killed(plan: impl Fn(&Path) -> Plan) {
    let run_once = |started: &Started, moment: Option<(Duration, Option<usize>)>| -> Outcome {
        let client = started.cluster.client();
        let folder = tempfile::tempdir().expect("a temporary folder");
        wait_until("three workers are there", || client.info().workers.len() == 3);
        let victims = moment.map(|(after, worker)| {
            let worker = worker.map(|worker| client.info().workers[worker].pid);
            (after, file(started).pid, worker)
        });
        let running = client.submit(plan(folder.path())).expect("the cluster is there");
        let results = std::thread::scope(|scope| {
            if let Some((after, scheduler, worker)) = victims {
                scope.spawn(move || {
                    // The moment is what is tried here; nothing is waited for.
                    std::thread::sleep(after);
                    kill(scheduler);
                    worker.into_iter().for_each(kill);
                });
            }
            collect(running)
        });
        let results = results.unwrap_or_else(|error| panic!("killed {victims:?}: {error}"));
        if let Some((_, scheduler, worker)) = victims {
            wait_until("another scheduler is there", || file(started).pid != scheduler);
            wait_until("it knows who is there", || {
                let info = client.info();
                info.workers.len() == 3 && info.workers.iter().all(|of| Some(of.pid) != worker)
            });
        }
        (results, files(folder.path()))
    };
    let mut started = start(3, 1);
    let begin = Instant::now();
    let expected = run_once(&started, None);
    let undisturbed = begin.elapsed();
    for (count, seed) in seeds().enumerate() {
        if count > 0 && count % 4 == 0 {
            // A cluster is given up that loses its scheduler again and again.
            started = start(3, 1);
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let after = undisturbed.mul_f64(rng.random_range(0.0..1.0));
        let worker = (seed % 2 == 1).then(|| rng.random_range(0..3));
        let took = Instant::now();
        let found = run_once(&started, Some((after, worker)));
        let replay = format!(
            "seed {seed}, a kill at {after:?}; replay with NUNA_LOSS_SEED={seed} cargo test -p nuna-cluster --test restart"
        );
        assert!(found.0 == expected.0, "other results: {replay}");
        assert!(found.1 == expected.1, "other files: {replay}");
        eprintln!("seed {seed}: killed after {after:?}, took {:?}", took.elapsed());
    }
    eprintln!("{} kills, undisturbed {undisturbed:?}, all in {:?}", seeds().count(), begin.elapsed());
}

#[test]
fn a_rechunk_to_files_goes_on_when_the_scheduler_is_killed() {
    same_bits_when_the_scheduler_is_killed(rechunk);
}

#[test]
fn a_reduction_goes_on_when_the_scheduler_is_killed() {
    same_bits_when_the_scheduler_is_killed(|_| reduction());
}

#[test]
fn a_farm_with_failures_goes_on_when_the_scheduler_is_killed() {
    same_bits_when_the_scheduler_is_killed(failing_farm);
}

#[test]
fn large_results_arrive_once_when_the_scheduler_is_killed() {
    same_bits_when_the_scheduler_is_killed(|_| large_farm());
}

#[test]
fn published_values_outlive_the_scheduler_and_nothing_is_computed_again() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let folder = tempfile::tempdir().unwrap();
    let held = client.new_held_id();
    // Every block leaves a file, which would be there again if it ran again.
    let word = format!("store 1 {}", folder.path().display());
    run(&client, plan(vec![stage(&word, BlockGrid::line(20), Keep::Hold(held))])).unwrap();
    let publish =
        Ask::Publish { name: "twenty".into(), summary: "s".into(), about: vec![7], held: vec![held] };
    assert_eq!(client.ask(publish).unwrap(), Told::Done);
    assert_eq!(files(folder.path()).len(), 20);
    for block in 0..20 {
        std::fs::remove_file(folder.path().join(block.to_string())).unwrap();
    }
    kill_scheduler(&started);
    // Asked while nobody is there, or just after: the answer comes all the same.
    let Told::Found { about, held: found, .. } = client.ask(Ask::Get { name: "twenty".into() }).unwrap()
    else {
        panic!("it is published")
    };
    assert_eq!((about, found), (vec![7], vec![held]));
    let sum = reads(stage("sum", BlockGrid::line(20), Keep::Deliver), Source::Held(held), BlockMap::Same);
    let results = run(&client, plan(vec![sum])).unwrap();
    assert!(results.len() == 20 && results.values().all(|&length| length == 8));
    assert!(files(folder.path()).is_empty(), "nothing ran again");
    // Somebody else finds it at the new scheduler.
    let other = Client::connect(&file(&started)).unwrap();
    assert!(matches!(other.ask(Ask::Get { name: "twenty".into() }).unwrap(), Told::Found { .. }));
    assert_eq!(client.info().restarts, 1);
    assert!(started.cluster.to_string().contains("restarted once"), "{}", started.cluster);
}

#[test]
fn what_is_asked_for_while_no_scheduler_is_there_happens_once_one_is() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let mut cancelled = client.submit(farm("sleep 20", 100_000)).unwrap();
    assert!(matches!(cancelled.next(PATIENCE), Ok(Finished::Block { .. })));
    kill(file(&started).pid);
    wait_until("the client knows", || client.is_away());
    cancelled.cancel();
    assert!(matches!(cancelled.next(PATIENCE), Err(EngineError::Cancelled)));
    let begun = Instant::now();
    assert_eq!(run(&client, farm("square", 50)).unwrap().len(), 50);
    // Two threads would be busy with what was cancelled for a quarter of an hour.
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_scheduler_that_can_never_come_back_is_an_error_that_says_so_and_leaves_no_process() {
    let started = start(2, 1);
    let client = started.cluster.client();
    let workers: Vec<u32> = client.info().workers.iter().map(|worker| worker.pid).collect();
    let mut running = client.submit(farm("sleep 50", 10_000)).unwrap();
    assert!(matches!(running.next(PATIENCE), Ok(Finished::Block { .. })));
    let now = file(&started);
    std::fs::write(now.certificates.join("scheduler.json"), "nothing that can be read").unwrap();
    kill(now.pid);
    let error = collect(running).unwrap_err();
    let EngineError::Lost { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("started again 5 times") && message.contains("scheduler.log"), "{message}");
    assert!(message.contains("is not usable"), "the log's end is there: {message}");
    assert!(client.is_lost());
    wait_until("the workers have ended", || !workers.iter().any(|&pid| process_exists(pid)));
}

#[test]
fn without_anybody_to_start_it_again_clients_and_workers_wait_for_their_limit() {
    let started = start(1, 1);
    // A cluster file that stays, of a scheduler that does not: as after the loss of a login node.
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("clusters");
    std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let mut alone = file(&started);
    let certificates = folder.join(&alone.name);
    std::fs::DirBuilder::new().mode(0o700).create(&certificates).unwrap();
    for entry in std::fs::read_dir(&alone.certificates).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), certificates.join(entry.file_name())).unwrap();
        }
    }
    alone.certificates = certificates;
    alone.write(&folder).unwrap();
    let client = Client::connect_with(&alone, Duration::from_millis(1500)).unwrap();
    let running = client.submit(farm("sleep 50", 10_000)).unwrap();
    // The file that names another scheduler is not the one this client reads.
    std::fs::write(started.cluster.file().certificates.join("scheduler.json"), "no more").unwrap();
    kill(alone.pid);
    let begun = Instant::now();
    let error = collect(running).unwrap_err().to_string();
    assert!(error.contains("none has taken its place within 1 s"), "{error}");
    assert!(error.contains(&alone.scheduler.to_string()) && error.contains("start a new cluster"), "{error}");
    assert!(begun.elapsed() < PATIENCE);
}
