//! Many people at once: they sign in, look at the form, start a server, ask for it, and stop it or lose patience. A short form is
//! one of the tests. The long one prints what a site's administrator would ask: how long answers take, how often PBS is asked,
//! and whether the service grows.
//!
//! `NUNA_LOAD_USERS=2000 NUNA_LOAD_SECONDS=1800 cargo test -p nuna-spawner --test service -- --ignored --nocapture load`

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{MANY_PASSWORD, Setup, World, until};

/// Between two queries of PBS while somebody waits.
const INTERVAL: Duration = Duration::from_secs(1);

struct Load {
    users: u64,
    lasts: Duration,
    /// Jobs that run at once; those of others wait in the queue.
    ncpus: u32,
    /// Longest waits of a person: before the first sign-in, for a server, with it, and before the next.
    ramp: Duration,
    patience: Duration,
    hold: Duration,
    think: Duration,
}

/// A number that is the same in each run, from 0 to 1.
fn share(user: u64, step: u64) -> f64 {
    let mixed = (user << 32 | step).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Milliseconds of answers, by what was asked.
#[derive(Default)]
struct Times(Mutex<BTreeMap<&'static str, Vec<f64>>>);

impl Times {
    fn add(&self, what: &'static str, took: Duration) {
        self.0.lock().unwrap().entry(what).or_default().push(1e3 * took.as_secs_f64());
    }

    fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).map_or(0, Vec::len)
    }

    fn report(&self) -> String {
        let mut text =
            format!("{:>10} {:>9} {:>9} {:>9} {:>9}\n", "asked", "answers", "p50 ms", "p99 ms", "max ms");
        for (what, times) in &mut *self.0.lock().unwrap() {
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            text += &format!(
                "{what:>10} {:>9} {:>9.1} {:>9.1} {:>9.1}\n",
                times.len(),
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
        text
    }
}

struct People<'world> {
    world: &'world World,
    load: &'world Load,
    times: Times,
    client: reqwest::Client,
    ends: Instant,
}

impl People<'_> {
    async fn ask(
        &self,
        what: &'static str,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let begun = Instant::now();
        let mut request = self.client.request(method, format!("http://service{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        self.times.add(what, begun.elapsed());
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// What the launcher in the job does; false if the job has not come so far.
    async fn launched(&self, user: u64, view: &Value) -> bool {
        let Some(job) = view["job"].as_str() else { return false };
        let Ok(code) = std::fs::read_to_string(self.world.path("codes").join(job)) else { return false };
        let exchange = json!({"code": code.trim(), "job": job, "host": "127.0.0.1"});
        let granted = self.world.launch("exchange", exchange).await;
        // Stopped meanwhile, or PBS has not yet been asked where it runs.
        if granted.status != 200 {
            return false;
        }
        let ticket = &granted.json()["ticket"];
        for host in ["127.0.0.1", self.world.nodes.split(':').next().unwrap()] {
            let ready = json!({"ticket": ticket, "host": host, "port": 20_000 + user});
            if self.world.launch("ready", ready).await.status == 200 {
                return true;
            }
        }
        false
    }

    async fn one(&self, user: u64) {
        use reqwest::Method;
        let name = format!("u{user:04}");
        let mut step = 0;
        let mut pause = |longest: Duration| {
            step += 1;
            tokio::time::sleep(longest.mul_f64(share(user, step)))
        };
        pause(self.load.ramp).await;
        while Instant::now() < self.ends {
            let sent = json!({"username": name, "password": MANY_PASSWORD});
            let (status, answer) = self.ask("sign in", Method::POST, "/auth", Some(sent)).await;
            assert_eq!(status, 200, "{name}: {answer}");
            let (status, _) = self.ask("form", Method::GET, &format!("/form?user={name}"), None).await;
            assert_eq!(status, 200, "{name}");
            let request = World::request(&name, json!({"profile": "small"}));
            let (status, answer) = self.ask("start", Method::POST, "/servers", Some(request)).await;
            assert_eq!(status, 202, "{name}: {answer}");
            let path = format!("/servers/{}", answer["id"].as_str().unwrap());
            let patience = Instant::now() + self.load.patience;
            let mut is_launched = false;
            loop {
                let (status, view) = self.ask("poll", Method::GET, &path, None).await;
                assert_eq!(status, 200, "{name}: {view}");
                assert_ne!(view["state"], "gone", "{name}: {view}");
                if view["state"] == "running" {
                    pause(self.load.hold).await;
                    let (_, view) = self.ask("poll", Method::GET, &path, None).await;
                    assert_eq!(
                        (&view["state"], &view["poll"]),
                        (&json!("running"), &json!("alive")),
                        "{name}: {view}"
                    );
                    self.times.add("(running)", Duration::ZERO);
                    break;
                }
                if Instant::now() > patience {
                    break;
                }
                is_launched = is_launched || self.launched(user, &view).await;
                pause(Duration::from_secs(1)).await;
            }
            // Answered once the job is gone, whatever PBS takes for it.
            let (status, answer) = self.ask("stop", Method::DELETE, &path, None).await;
            assert_eq!(status, 204, "{name}: {answer}");
            pause(self.load.think).await;
        }
    }
}

/// The service's own count of queries, and the `qstat` that were really run.
async fn queries(world: &World) -> (u64, u64) {
    let metrics = world.get("/metrics").await.text;
    let line = metrics.lines().find(|line| line.starts_with("nuna_job_list_seconds_count")).unwrap();
    let run = std::fs::read(world.path("qstat.count")).map_or(0, |marks| marks.len() as u64);
    (line.rsplit(' ').next().unwrap().parse().unwrap(), run)
}

fn resident_mb(world: &World) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid("service"))).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

async fn run(load: &Load) {
    let setup = Setup {
        users: Some(load.users),
        ncpus: load.ncpus,
        interval: INTERVAL,
        is_launcher: true,
        limits: format!("servers_max = {}\nsign_ins_max = 4096\nremember_seconds = 60", load.users + 1),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let client = reqwest::Client::builder().unix_socket(world.path("spawner.sock")).build().unwrap();
    let begun = Instant::now();
    let before = queries(&world).await;
    let people = People { world: &world, load, times: Times::default(), client, ends: begun + load.lasts };
    let everybody = futures::future::join_all((0..load.users).map(|user| people.one(user)));
    let watch = async {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let (asked, _) = queries(&world).await;
            eprintln!(
                "{:>6.0} s: {:.1} MB, {asked} queries of PBS",
                begun.elapsed().as_secs_f64(),
                resident_mb(&world)
            );
        }
    };
    tokio::select! {
        _ = everybody => {}
        () = watch => {}
    }
    let took = begun.elapsed();
    let (asked, ran) = queries(&world).await;
    let (asked, ran) = (asked - before.0, ran - before.1);
    let intervals = took.as_secs_f64() / INTERVAL.as_secs_f64();
    eprintln!(
        "{} users in {:.0} s: {} servers ran, {} were stopped while they waited; PBS was asked {asked} times ({ran} qstat) in \
         {intervals:.0} intervals; {:.1} MB at the end\n{}",
        load.users,
        took.as_secs_f64(),
        people.times.count("(running)"),
        people.times.count("stop") - people.times.count("(running)"),
        resident_mb(&world),
        people.times.report(),
    );
    assert!(people.times.count("(running)") > 0 && people.times.count("stop") >= load.users as usize);
    assert!(asked as f64 <= intervals + 2.0, "PBS was asked {asked} times in {intervals:.1} intervals");
    assert!(ran <= 2 * asked, "one query, and one for those that have ended: {ran}");
    until("all jobs are gone", async || world.living_jobs().is_empty().then_some(())).await;
    assert!(!world.log().contains("belongs to no user server"), "no job was without its server");
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
    };
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
        ncpus: 200,
        ramp: Duration::from_secs(60),
        patience: Duration::from_secs(120),
        hold: Duration::from_secs(60),
        think: Duration::from_secs(60),
    };
    run(&load).await;
}
