//! Many people at once, as the hub asks for them: they sign in, look at the form, start a server, follow it, are asked about
//! while it runs, and stop it or lose patience. A short form is one of the tests. The long one prints what a site's
//! administrator would ask: how long answers take, how often PBS is asked, and whether the service grows.
//!
//! `NUNA_LOAD_USERS=2000 NUNA_LOAD_SECONDS=1800 cargo test -p nuna-spawner --test service -- --ignored --nocapture load`
//! It says each minute how it goes, and takes two or three minutes more than it was told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{MANY_PASSWORD, Setup, World, until};
use crate::slapd::{Slapd, slapd_of_many};

/// Between two queries of PBS while somebody waits.
const INTERVAL: Duration = Duration::from_secs(1);
/// By then everybody has come, and what is kept for a while is forgotten as fast as it comes.
const WARM: Duration = Duration::from_secs(300);
/// Of the service, from then to the end. What an allocator does with what it has explains as much.
const GROWTH_MAX_MB: f64 = 8.0;
/// Answers of the service that had to be within [`OWN_MAX_MS`]: 99 of 100, of each kind.
const OWN_MAX_MS: f64 = 50.0;
const SAMPLE: Duration = Duration::from_secs(10);
/// Faults that are printed.
const FAULTS_SHOWN: usize = 20;

struct Load {
    users: u64,
    lasts: Duration,
    /// Jobs that run at once; those of others wait in the queue.
    ncpus: u32,
    /// Longest waits of a person: before the first sign-in, for a server, with it, before the next, and for the end.
    ramp: Duration,
    patience: Duration,
    hold: Duration,
    think: Duration,
    leave: Duration,
    /// Between two questions about a server that is there. The hub's own is 10 s.
    poll: Duration,
}

/// A number that is the same in each run, from 0 to 1.
fn share(user: u64, step: u64) -> f64 {
    let mixed = (user << 32 | step).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Milliseconds of one answer.
#[derive(Clone, Copy)]
struct Took {
    /// Until the person has it.
    whole: f64,
    /// Without what the service says that it waited for the directory, for PBS, or on purpose.
    own: f64,
    /// The same by the service's own clock: without the wait for a processor before and after.
    inside: f64,
}

/// By what was asked.
#[derive(Default)]
struct Times(Mutex<BTreeMap<&'static str, Vec<Took>>>);

/// The value that so many of all are at most; NaN if there is none.
fn at(share: f64, values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

impl Times {
    /// `timing` is the answer's header.
    fn add(&self, what: &'static str, took: Duration, timing: Option<&str>) {
        let whole = 1e3 * took.as_secs_f64();
        let parts = timing.into_iter().flat_map(|text| text.split(", ")).filter_map(|part| {
            let (name, milliseconds) = part.split_once(";dur=")?;
            Some((name == "total", milliseconds.parse::<f64>().ok()?))
        });
        let (mut total, mut waited) = (whole, 0.0);
        for (is_total, milliseconds) in parts {
            *if is_total { &mut total } else { &mut waited } += milliseconds;
        }
        if timing.is_some() {
            total -= whole;
        }
        let took = Took { whole, own: (whole - waited).max(0.0), inside: (total - waited).max(0.0) };
        self.0.lock().unwrap().entry(what).or_default().push(took);
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).map_or(0, Vec::len)
    }

    fn report(&self) -> String {
        let mut text = format!(
            "{:>10} {:>9} | {:>27} | {:>27} | {:>18}\n{:>10} {:>9} | {:>8} {:>8} {:>9} | {:>8} {:>8} {:>9} | {:>8} {:>9}\n",
            "",
            "",
            "whole answer, ms",
            "own, by the client's clock",
            "by the service's",
            "asked",
            "answers",
            "p50",
            "p99",
            "max",
            "p50",
            "p99",
            "max",
            "p99",
            "max"
        );
        for (what, times) in &*self.0.lock().unwrap() {
            let of = |share, which: fn(&Took) -> f64| at(share, times.iter().map(which));
            let (whole, own, inside) =
                (|took: &Took| took.whole, |took: &Took| took.own, |took: &Took| took.inside);
            text += &format!(
                "{what:>10} {:>9} | {:>8.1} {:>8.1} {:>9.1} | {:>8.1} {:>8.1} {:>9.1} | {:>8.1} {:>9.1}\n",
                times.len(),
                of(0.5, whole),
                of(0.99, whole),
                of(1.0, whole),
                of(0.5, own),
                of(0.99, own),
                of(1.0, own),
                of(0.99, inside),
                of(1.0, inside),
            );
        }
        text
    }

    /// Kinds of answers, with the slowest of the fastest 99 of 100.
    fn slow(&self, which: fn(&Took) -> f64) -> Vec<String> {
        let times = self.0.lock().unwrap();
        let slowest = times.iter().map(|(what, times)| (what, at(0.99, times.iter().map(which))));
        slowest
            .filter(|(_, took)| *took > OWN_MAX_MS)
            .map(|(what, took)| format!("{what} {took:.0} ms"))
            .collect()
    }
}

struct People<'world> {
    world: &'world World,
    load: &'world Load,
    times: Times,
    client: reqwest::Client,
    ends: Instant,
    ran: AtomicUsize,
    /// Answers nobody should get. A run of half an hour is not given up for one.
    faults: Mutex<Vec<String>>,
}

impl People<'_> {
    fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap();
        if faults.len() < FAULTS_SHOWN {
            eprintln!("fault: {what}");
        }
        faults.push(what);
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let mut request = self.client.request(method, format!("http://service{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await
    }

    /// The answer if it has this status.
    async fn ask(
        &self,
        what: &'static str,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
        wanted: u16,
    ) -> Option<Value> {
        let begun = Instant::now();
        let got = async {
            let answer = self.send(method, path, body).await?;
            let timing =
                answer.headers().get("server-timing").map(|value| value.to_str().unwrap().to_owned());
            Ok::<_, reqwest::Error>((answer.status().as_u16(), timing, answer.text().await?))
        };
        match got.await {
            Ok((status, timing, text)) => {
                assert!(timing.is_some(), "{path}: every answer says how long it took");
                self.times.add(what, begun.elapsed(), timing.as_deref());
                if status == wanted {
                    return Some(serde_json::from_str(&text).unwrap_or_default());
                }
                self.fault(format!("{what} {path}: {status} {text}"));
            }
            Err(error) => self.fault(format!("{what} {path}: {error:?}")),
        }
        None
    }

    /// What the launcher in the job does; false if the job has not come so far.
    async fn launched(&self, user: u64, view: &Value) -> bool {
        let Some(job) = view["job"].as_str() else { return false };
        let Ok(code) = std::fs::read_to_string(self.world.path("codes").join(job)) else { return false };
        let Some(code) = code.strip_suffix('\n') else { return false };
        let exchange = json!({"code": code, "job": job, "host": "127.0.0.1"});
        let begun = Instant::now();
        let granted = self.world.launch("exchange", exchange).await;
        // Stopped meanwhile, or PBS has not yet been asked where it runs.
        if granted.status != 200 {
            return false;
        }
        self.times.add("exchange", begun.elapsed(), granted.timing.as_deref());
        let ticket = &granted.json()["ticket"];
        for host in ["127.0.0.1", self.world.nodes.split(':').next().unwrap()] {
            let ready = json!({"ticket": ticket, "host": host, "port": 20_000 + user});
            let begun = Instant::now();
            let answer = self.world.launch("ready", ready).await;
            if answer.status == 200 {
                self.times.add("ready", begun.elapsed(), answer.timing.as_deref());
                return true;
            }
        }
        false
    }

    /// Reads what the service says about a start, as the hub does, and is the launcher once the job runs. True if the server
    /// runs, false if somebody has lost patience.
    async fn follow(&self, user: u64, path: &str, patience: Instant) -> bool {
        let begun = Instant::now();
        let mut stream = match self.send(reqwest::Method::GET, &format!("{path}/events"), None).await {
            Ok(answer) if answer.status().as_u16() == 200 => answer,
            other => {
                self.fault(format!("events of {path}: {other:?}"));
                return false;
            }
        };
        let timing = stream.headers().get("server-timing").map(|value| value.to_str().unwrap().to_owned());
        self.times.add("events", begun.elapsed(), timing.as_deref());
        let (mut read, mut view, mut is_launched) = (Vec::new(), Value::Null, false);
        while Instant::now() < patience {
            // A launcher that is told to wait asks again.
            match tokio::time::timeout(INTERVAL, stream.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    read.extend_from_slice(&bytes);
                    while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                        view = serde_json::from_slice(&read[..end]).unwrap();
                        read.drain(..=end);
                    }
                }
                Ok(other) => {
                    self.fault(format!("events of {path} end: {other:?} after {view}"));
                    return false;
                }
                Err(_) => {}
            }
            match view["state"].as_str() {
                Some("running") => return true,
                Some("starting") if !is_launched => is_launched = self.launched(user, &view).await,
                Some("gone") => {
                    self.fault(format!("{path} was not wanted any more: {view}"));
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    /// With a server that runs: the hub asks about it, and about its user.
    async fn hold(&self, user: u64, name: &str, path: &str, until: Instant) {
        let standing = format!("/users/{name}/standing");
        for round in 0.. {
            let pause = self.load.poll.mul_f64(2.0 * share(user, 1_000_000 + round));
            if Instant::now() + pause >= until {
                return;
            }
            tokio::time::sleep(pause).await;
            let Some(view) = self.ask("poll", reqwest::Method::GET, path, None, 200).await else { continue };
            if (&view["state"], &view["poll"]) != (&json!("running"), &json!("alive")) {
                return self.fault(format!("{path} does not run any more: {view}"));
            }
            if round % 8 == 7 {
                self.ask("standing", reqwest::Method::GET, &standing, None, 200).await;
            }
        }
    }

    async fn one(&self, user: u64) {
        use reqwest::Method;
        let name = format!("u{user:04}");
        let mut step = 0;
        let mut some = |longest: Duration| {
            step += 1;
            longest.mul_f64(share(user, step))
        };
        // Nobody goes at the same moment as everybody.
        let leaves = self.ends + some(self.load.leave);
        tokio::time::sleep(some(self.load.ramp)).await;
        while Instant::now() < leaves {
            let sent = json!({"username": name, "password": MANY_PASSWORD, "address": "192.0.2.7"});
            let signed_in = self.ask("sign in", Method::POST, "/auth", Some(sent), 200).await;
            let path = async {
                signed_in?;
                self.ask("form", Method::GET, &format!("/form?user={name}"), None, 200).await?;
                self.ask("standing", Method::GET, &format!("/users/{name}/standing"), None, 200).await?;
                let request = World::request(&name, json!({"profile": "small"}));
                let answer = self.ask("start", Method::POST, "/servers", Some(request), 202).await?;
                Some(format!("/servers/{}", answer["id"].as_str().unwrap()))
            };
            if let Some(path) = path.await {
                let patience =
                    (Instant::now() + some(self.load.patience).max(self.load.patience / 2)).min(leaves);
                if self.follow(user, &path, patience).await {
                    self.hold(user, &name, &path, (Instant::now() + some(self.load.hold)).min(leaves)).await;
                    self.ran.fetch_add(1, Ordering::Relaxed);
                }
                // Answered once the job is gone, whatever PBS takes for it.
                self.ask("stop", Method::DELETE, &path, None, 204).await;
            }
            tokio::time::sleep(some(self.load.think).min(leaves.saturating_duration_since(Instant::now())))
                .await;
        }
    }
}

/// One of the service's metrics, by name and labels.
fn metric(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// The service's own count of queries, and the `qstat` that were really run.
async fn queries(world: &World) -> (u64, u64) {
    let asked = metric(&world.get("/metrics").await.text, "nuna_job_list_seconds_count");
    (asked as u64, std::fs::read(world.path("qstat.count")).map_or(0, |marks| marks.len() as u64))
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

/// Seconds of one processor that a process has used, its children left out.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Of 1/100 s each.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn count(folder: PathBuf) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn size_mb(path: PathBuf) -> f64 {
    std::fs::metadata(path).map_or(0.0, |metadata| metadata.len() as f64 / 1e6)
}

/// Each 10 s; each minute one line.
async fn watch(people: &People<'_>, slapd: &Slapd, begun: Instant, samples: &Mutex<Vec<(Duration, f64)>>) {
    let world = people.world;
    let pid = world.pid("service");
    let mut ticks = tokio::time::interval(SAMPLE);
    for number in 0.. {
        ticks.tick().await;
        let megabytes = resident_mb(pid);
        samples.lock().unwrap().push((begun.elapsed(), megabytes));
        if number % 6 != 0 {
            continue;
        }
        let ((asked, ran), proc) = (queries(world).await, PathBuf::from(format!("/proc/{pid}")));
        let metrics = world.get("/metrics").await.text;
        let living = |state: &str| metric(&metrics, &format!("nuna_user_servers{{state=\"{state}\"}}"));
        let mean = |name: &str| {
            let of = |part: &str| metric(&metrics, &format!("nuna_{name}_seconds_{part}"));
            of("sum") / of("count").max(1.0)
        };
        eprintln!(
            "{:>5.0} s: {megabytes:.1} MB, {} files, {} threads; journal {:.1} MB, log {:.1} MB; {} queued, {} running, {} gone; \
             {asked} queries of PBS ({ran} qstat) of {:.2} s, qsub takes {:.2} s; {} sign-ins, {} polls, {} stops, {} faults; processor: service {:.0} s, PBS \
             {:.0} s, slapd {:.0} s, clients {:.0} s",
            begun.elapsed().as_secs_f64(),
            count(proc.join("fd")),
            count(proc.join("task")),
            size_mb(world.path("state/spawner.redb")),
            size_mb(world.path("service.log")),
            living("queued"),
            living("running"),
            living("gone"),
            mean("job_list"),
            mean("submission"),
            people.times.count("sign in"),
            people.times.count("poll"),
            people.times.count("stop"),
            people.faults.lock().unwrap().len(),
            processor_seconds(pid),
            processor_seconds(world.pid("pbs")),
            processor_seconds(slapd.pid()),
            processor_seconds(std::process::id()),
        );
    }
}

async fn run(load: &Load) -> Vec<String> {
    let slapd = slapd_of_many(load.users);
    let directory = format!(
        "servers = ['ldaps://{}:16360']\nca_file = '{}'\nuser_base = 'ou=people,dc=nuna,dc=local'\n\
         lookup_dn = 'uid=reader,dc=nuna,dc=local'\nlookup_password_file = '{}'\ngroup_base = 'ou=groups,dc=nuna,dc=local'\n\
         nested_groups = 1",
        slapd.host,
        slapd.file("ca.pem"),
        slapd.file("reader")
    );
    let setup = Setup {
        users: Some(load.users),
        directory: Some(directory),
        ncpus: load.ncpus,
        interval: INTERVAL,
        is_launcher: true,
        limits: format!("servers_max = {}\nsign_ins_max = 4096\nremember_seconds = 60", load.users + 1),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    // A connection for each question, as the hub's side has it.
    let client = reqwest::Client::builder()
        .unix_socket(world.path("spawner.sock"))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let (begun, before, samples) = (Instant::now(), queries(&world).await, Mutex::default());
    let people = People {
        world: &world,
        load,
        times: Times::default(),
        client,
        ends: begun + load.lasts,
        ran: AtomicUsize::new(0),
        faults: Mutex::default(),
    };
    let everybody = futures::future::join_all((0..load.users).map(|user| people.one(user)));
    tokio::select! {
        _ = everybody => {}
        () = watch(&people, &slapd, begun, &samples) => {}
    }
    let took = begun.elapsed();
    let (asked, ran) = queries(&world).await;
    let (asked, ran) = (asked - before.0, ran - before.1);
    let intervals = took.as_secs_f64() / INTERVAL.as_secs_f64();
    let most = |from: Duration, to: Duration| {
        let samples = samples.lock().unwrap();
        let within = samples.iter().filter(|(when, _)| (from..to).contains(when)).map(|(_, size)| *size);
        within.fold(f64::NAN, f64::max)
    };
    // Until people begin to leave.
    let growth = most(load.lasts.saturating_sub(WARM / 5), load.lasts) - most(WARM - SAMPLE * 6, WARM);
    let (servers, stops) = (people.ran.load(Ordering::Relaxed), people.times.count("stop"));
    eprintln!(
        "{} users in {:.0} s: {servers} servers ran, {} were stopped while they waited; PBS was asked {asked} times ({ran} qstat) in \
         {intervals:.0} intervals; {:.1} MB at most, {growth:.1} MB grown since {} s\n{}",
        load.users,
        took.as_secs_f64(),
        stops - servers.min(stops),
        most(Duration::ZERO, took),
        WARM.as_secs(),
        people.times.report(),
    );
    let faults = std::mem::take(&mut *people.faults.lock().unwrap());
    assert!(
        faults.is_empty(),
        "{} answers that nobody should get, such as {:?}",
        faults.len(),
        faults.first()
    );
    assert!(servers > 0 && stops >= load.users as usize, "{servers} servers, {stops} stops");
    assert!(asked as f64 <= intervals + 2.0, "PBS was asked {asked} times in {intervals:.1} intervals");
    // For jobs, for those that have ended, and for the form's queues; what is run in a row is waited for afterwards.
    assert!(ran as f64 <= intervals + 2.0, "{ran} qstat were run in {intervals:.1} intervals");
    assert!(load.lasts < 2 * WARM || growth <= GROWTH_MAX_MB, "the service has grown by {growth:.1} MB");
    until("all jobs are gone", async || world.living_jobs().is_empty().then_some(())).await;
    let log = world.log();
    assert!(!log.contains("belongs to no user server"), "no job was without its server");
    assert!(!log.contains(MANY_PASSWORD), "nobody's password is in the log");
    people.times.slow(|took| took.own)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_who_come_at_once_are_all_served_and_leave_nothing_behind() {
    let second = Duration::from_secs(1);
    let load = Load {
        users: 40,
        lasts: 4 * second,
        ncpus: 8,
        ramp: second,
        patience: 8 * second,
        hold: second / 2,
        think: second / 2,
        leave: second,
        poll: second / 10,
    };
    // How long it takes here says nothing: other tests run beside it.
    run(&load).await;
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, on a machine that does nothing else"]
async fn load_of_a_large_site() {
    let load = Load {
        users: number("NUNA_LOAD_USERS", 2000),
        lasts: Duration::from_secs(number("NUNA_LOAD_SECONDS", 300)),
        ncpus: 1200,
        ramp: Duration::from_secs(120),
        patience: Duration::from_secs(120),
        hold: Duration::from_secs(400),
        think: Duration::from_secs(60),
        leave: Duration::from_secs(90),
        poll: Duration::from_secs(5),
    };
    let slow = run(&load).await;
    // Said, not judged: a machine that does something else as well is slow for no fault of the service.
    let verdict = if slow.is_empty() { "none" } else { &slow.join(", ") };
    eprintln!("answers whose own time is more than {OWN_MAX_MS} ms at the 99th percentile: {verdict}");
}
