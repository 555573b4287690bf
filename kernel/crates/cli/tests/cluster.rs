//! Real clusters: scheduler and workers as processes, closures from libraries that only the client had.

mod support;

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use nuna::parts::{
    runtime::scheduler,
    wire::{Authority, ClusterFile, Party},
};
use nuna_testing::Guarded;
use support::{Workshop, finish, runtime_library, text, wait_until};

#[test]
fn closures_give_the_same_results_on_one_two_and_four_workers_without_a_compiler() {
    let workshop = Workshop::new("farm");
    let one = workshop.run(&["1"]);
    let lines: Vec<&str> = one.lines().collect();
    assert!(lines[0].starts_with("600 orbits, "), "{one}");
    assert_eq!(lines[1], "[2.0, 3.0, 5.0], here: false");
    assert_eq!(lines[2], "workers' PATH: \"\"");
    assert_eq!((lines[3], lines[4], lines[6]), ("6", "12", "-12"), "{one}");
    assert!(lines[5].starts_with("task divide[2] panicked at ") && lines[5].contains("farm.rs:"), "{one}");
    assert!(lines[5].ends_with("attempt to divide by zero, with parameter 2"), "{one}");
    assert_eq!(one, workshop.run(&["2"]));
    assert_eq!(one, workshop.run(&["4"]));
}

#[test]
fn arrays_are_bit_identical_on_threads_and_on_one_two_and_four_workers() {
    let workshop = Workshop::new("arrays");
    let threads = workshop.run(&["0"]);
    let value = |name: &str| -> f64 {
        let line = threads.lines().find(|line| line.starts_with(name)).expect("printed");
        line.split(' ').nth(1).expect("a value").parse().expect("a number")
    };
    // The mean of x·sin(x) + 1/4 over 0..1000 is (sin L − L cos L) / L + 1/4, up to (f(L) - f(0)) h / 2L, about 4e-4.
    let length = 1000.0_f64;
    let mean = (length.sin() - length * length.cos()) / length + 0.25;
    assert!((value("mean") - mean).abs() < 1e-3, "{threads}");
    assert!((value("damped") * 2.0 - value("mean")).abs() < 1e-9, "{threads}");
    assert!(threads.contains("nothing to be done about block 3"), "{threads}");
    for workers in ["1", "2", "4"] {
        let printed = workshop.run(&[workers]);
        let bits = |text: &str| text.lines().take(5).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(bits(&printed), bits(&threads), "{workers} workers");
    }
}

#[test]
fn files_are_the_same_whoever_writes_them() {
    let workshop = Workshop::new("files");
    let folder = |name: &str| workshop.path(name).display().to_string();
    let threads = workshop.run(&[&folder("threads"), "0"]);
    assert!(threads.contains("netcdf [40, 64, 80] ") && threads.contains("table 613 "), "{threads}");
    for workers in ["1", "2"] {
        assert_eq!(workshop.run(&[&folder(workers), workers]), threads, "{workers} workers");
    }
}

/// Rechunks a store of `times × side × side` 4-byte numbers on two workers of `memory` bytes.
fn rechunk_within(memory: u64, times: u64, side: u64, tile: u64) {
    let workshop = Workshop::new("rechunk");
    let folder = workshop.path("stores");
    std::fs::create_dir(&folder).expect("the folder is writable");
    let folder = folder.display().to_string();
    let numbers = [memory, times, side, tile].map(|number| number.to_string());
    let [memory_text, times_text, side_text, tile_text] = &numbers;
    let printed = workshop.run(&[&folder, "2", memory_text, times_text, side_text, tile_text]);
    let peaks: Vec<u64> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("worker peak ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(peaks.len(), 2, "{printed}");
    assert!(peaks.iter().all(|&peak| peak <= memory), "more than {memory} bytes:\n{printed}");
    assert!(printed.contains(&format!("\nbytes {}\n", times * side * side * 4)), "{printed}");
    assert!(printed.contains("\ndifferent 0\n"), "{printed}");
    assert!(!printed.contains("\nmissing 0\n"), "{printed}");
}

#[test]
fn a_store_larger_than_the_workers_memory_is_rechunked_within_it() {
    rechunk_within(100_000_000, 480, 480, 48);
}

#[test]
fn a_killed_client_leaves_no_process_behind() {
    let workshop = Workshop::new("linger");
    let (mut client, workers) = lingering(&workshop);
    let clusters = workshop.path("state/clusters");
    let file = ClusterFile::list(&clusters).pop().expect("a cluster file");
    assert_eq!(clusters.metadata().expect("there").permissions().mode() & 0o777, 0o700);

    let listed = finish(nuna_command(&workshop, &["cluster", "list"]));
    assert!(text(&listed.stdout).contains(&file.name), "{}", text(&listed.stdout));
    assert!(!text(&listed.stdout).contains(&file.token));

    client.kill().expect("it runs");
    client.wait().expect("it ends");
    for pid in workers.into_iter().chain([file.pid]) {
        wait_until(&format!("process {pid} ends"), || !nuna::parts::wire::cluster_file::process_exists(pid));
    }
    assert!(ClusterFile::list(&clusters).is_empty());
}

#[test]
fn a_cluster_can_be_stopped_by_name() {
    let workshop = Workshop::new("linger");
    let (_client, _) = lingering(&workshop);
    let file = ClusterFile::list(&workshop.path("state/clusters")).pop().expect("a cluster file");

    let wrong = finish(nuna_command(&workshop, &["cluster", "stop", "nobody"]));
    assert!(!wrong.status.success());
    assert!(
        text(&wrong.stderr).contains("running are") && text(&wrong.stderr).contains(&file.name),
        "{}",
        text(&wrong.stderr)
    );

    let stopped = finish(nuna_command(&workshop, &["cluster", "stop", &file.name]));
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(!nuna::parts::wire::cluster_file::process_exists(file.pid));
}

/// A scheduler that is started again when it is lost, as that of a PBS cluster is; without jobs.
fn supervised(state: &Path) -> (Guarded, ClusterFile) {
    let (directory, loopback) = (state.join("clusters"), "127.0.0.1:0".parse().expect("an address"));
    let certificates = directory.join("alone");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&certificates).expect("a new folder");
    let authority = Authority::new("alone").expect("keys can be made");
    for party in [Party::Scheduler, Party::Worker, Party::Client] {
        authority.issue(party).and_then(|keys| keys.write(&certificates, party)).expect("the folder is ours");
    }
    let options = scheduler::Options {
        name: "alone".to_owned(),
        directory: directory.clone(),
        certificates: certificates.clone(),
        listen: loopback,
        dashboard: loopback,
        started: String::new(),
        origin: String::new(),
        lifeline: false,
        jobs: None,
        linger_seconds: Some(600),
        shared: Vec::new(),
        supervisor: None,
        supervises_itself: true,
        kernel_lifeline: None,
    };
    let path = certificates.join("scheduler.json");
    std::fs::write(&path, serde_json::to_vec(&options).expect("plain data")).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuna"));
    command.args(["scheduler", "--options"]).arg(&path).stdin(Stdio::null()).stderr(Stdio::null());
    let process = Guarded::start(&mut command).with_all_in(state);
    wait_until("the scheduler is up", || ClusterFile::read(&directory.join("alone.json")).is_ok());
    let file = ClusterFile::read(&directory.join("alone.json")).expect("just read");
    assert_eq!(file.supervisor, Some(process.id()));
    (process, file)
}

fn send(signal: Signal, pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, signal).expect("it runs");
}

#[test]
fn a_scheduler_that_was_just_lost_is_stopped_with_whoever_starts_it_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut supervisor, file) = supervised(folder.path());
    send(Signal::SIGKILL, file.pid);
    let mut stop = Command::new(env!("CARGO_BIN_EXE_nuna"));
    stop.args(["cluster", "stop", "alone"]).env("NUNA_STATE_DIR", folder.path());
    let stopped = finish(stop);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    wait_until("its supervisor has ended", || supervisor.try_wait().expect("ours").is_some());
    assert_eq!(nuna_testing::all_in(folder.path()), [0; 0]);
    assert!(ClusterFile::list(&folder.path().join("clusters")).is_empty());
}

#[test]
fn a_scheduler_that_does_not_listen_is_ended_by_the_command_that_stop_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut supervisor, file) = supervised(folder.path());
    send(Signal::SIGSTOP, file.pid);
    let mut stop = Command::new(env!("CARGO_BIN_EXE_nuna"));
    stop.args(["cluster", "stop", "alone", "--wait", "1"]).env("NUNA_STATE_DIR", folder.path());
    let said = finish(stop);
    let said = (said.status.success(), text(&said.stderr));
    let command = said.1.lines().map(str::trim).find(|line| line.starts_with("rm "));
    let command = command.unwrap_or_else(|| panic!("{said:?}"));
    assert!(!said.0 && said.1.contains("still runs after 1 s"), "{said:?}");
    let done = Command::new("sh").args(["-c", command]).status().expect("there is a shell");
    assert!(done.success(), "{command}");
    wait_until("its supervisor has ended", || supervisor.try_wait().expect("ours").is_some());
    wait_until("nothing is left of it", || nuna_testing::all_in(folder.path()).is_empty());
}

#[test]
fn a_worker_drains_when_it_is_asked_to_and_the_others_stay() {
    let workshop = Workshop::new("linger");
    let (_client, workers) = lingering(&workshop);
    let file = ClusterFile::list(&workshop.path("state/clusters")).pop().expect("a cluster file");

    let nobody = finish(nuna_command(&workshop, &["worker", "--drain", "--name", "nobody-7"]));
    assert!(!nobody.status.success());
    assert!(text(&nobody.stderr).contains("no worker of yours called nobody-7"), "{}", text(&nobody.stderr));

    let name = format!("{}-1", file.name);
    let drained = finish(nuna_command(&workshop, &["worker", "--drain", "--name", &name, "--wait", "60"]));
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    let said = text(&drained.stdout);
    assert!(said.contains(&format!("{name} (process ")) && said.ends_with("all have left\n"), "{said}");
    let asked: Vec<u32> =
        workers.iter().copied().filter(|pid| said.contains(&format!("(process {pid})"))).collect();
    assert_eq!(asked.len(), 1, "one of {workers:?}: {said}");
    for pid in workers {
        let stays = pid != asked[0];
        assert_eq!(nuna::parts::wire::cluster_file::process_exists(pid), stays, "process {pid}: {said}");
    }
    assert!(nuna::parts::wire::cluster_file::process_exists(file.pid), "the scheduler stays");
}

/// The client gets a copy of the runtime library whose build id differs in one bit; scheduler and workers have the
/// original.
#[test]
fn another_build_is_refused_and_both_builds_are_named() {
    let workshop = Workshop::new("farm");
    let altered = workshop.path("altered");
    std::fs::create_dir(&altered).expect("a new folder");
    let mut bytes = std::fs::read(runtime_library()).expect("the library is readable");
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    let place = bytes.windows(note.len()).position(|window| window == note).expect("a build id note");
    bytes[place + note.len()] ^= 1;
    std::fs::write(altered.join("libnuna.so"), bytes).expect("writable");

    // The servers must not see the altered library, so they are started by a script that forgets its path.
    let servers = workshop.path("servers");
    let mut program = workshop.program(&["1"]);
    let old_path = program
        .get_envs()
        .find(|(name, _)| *name == "LD_LIBRARY_PATH")
        .and_then(|(_, value)| value)
        .expect("set")
        .to_owned();
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        old_path.display(),
        env!("CARGO_BIN_EXE_nuna")
    );
    std::fs::write(&servers, script).expect("writable");
    std::fs::set_permissions(&servers, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let path = std::env::join_paths(std::iter::once(altered).chain(std::env::split_paths(&old_path)))
        .expect("no colons");
    program.env("NUNA_BIN", &servers).env("LD_LIBRARY_PATH", path);
    let output = finish(program);

    let printed = text(&output.stdout);
    assert!(!output.status.success(), "{printed}");
    let ours = nuna::parts::ship::build_id().0.clone();
    assert!(
        printed.contains(&ours[..16]),
        "names the servers' build {ours}:\n{printed}\n{}",
        text(&output.stderr)
    );
    let ids = printed
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|word| word.len() >= 16)
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.len(), 2, "names both builds:\n{printed}");
}

/// A program with a cluster of two workers that waits to be killed, and its workers' processes. What it has started does
/// not outlive it, whatever becomes of the test.
fn lingering(workshop: &Workshop) -> (Guarded, Vec<u32>) {
    let mut program = workshop.program(&[]);
    let mut client = Guarded::start(program.stdout(Stdio::piped())).with_all_in(workshop.path("state"));
    let mut line = String::new();
    BufReader::new(client.stdout.take().expect("piped")).read_line(&mut line).expect("it prints");
    let pids = line.trim_end().strip_prefix("ready [").and_then(|rest| rest.strip_suffix(']'));
    let pids = pids.unwrap_or_else(|| panic!("it said {line:?}"));
    let pids: Vec<u32> = pids.split(", ").map(|pid| pid.parse().expect("a process id")).collect();
    assert_eq!(pids.len(), 2, "{line}");
    (client, pids)
}

fn nuna_command(workshop: &Workshop, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuna"));
    command.args(arguments).env("NUNA_STATE_DIR", workshop.path("state"));
    command
}
