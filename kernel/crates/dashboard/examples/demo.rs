//! A dashboard fed with synthetic events, for looking at views and for the browser tests.
//!
//! `cargo run -p nuna-dashboard --example demo -- --workers 4 --threads 8 --rate 2000 --state DIR`
//! writes a cluster file to DIR/clusters, prints one line of JSON `{"url":…,"token":…}`, and runs until
//! its standard input closes. What happens is the same for the same seed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nuna_dashboard::{Dashboard, Event, Outcome, Recorder, Settings, SpanKind, TaskSpan};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncReadExt;

const TICK: Duration = Duration::from_millis(50);
const GIB: u64 = 1 << 30;
const STAGES: [(&str, f64); 5] = [
    ("open_zarr(U)", 0.35),
    ("detrend·hann(time)", 0.8),
    ("rfft(time)", 1.4),
    ("rechunk(time→space)", 0.6),
    ("mean(i, j)", 0.25),
];

struct Options {
    name: String,
    origin: String,
    workers: u32,
    threads: u16,
    /// Tasks per second.
    rate: u64,
    seed: u64,
    state: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = parse(std::env::args().skip(1))?;
    let token = hex::encode(rand::random::<[u8; 16]>());
    let started = Instant::now();
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut settings = Settings::new(&options.name, bind, &token);
    settings.origin.clone_from(&options.origin);
    settings.started = started;
    let (recorder, dashboard) = Dashboard::start(settings).await?;
    let file =
        options.state.as_deref().map(|state| write_cluster_file(state, &options, &dashboard.url(), &token));
    let file = file.transpose()?;
    writeln!(std::io::stdout(), "{}", serde_json::json!({ "url": dashboard.url(), "token": token }))?;

    tokio::select! {
        () = synthesise(&recorder, &options, started) => {}
        () = input_closed() => {}
    }
    if let Some(file) = file {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

async fn input_closed() {
    let mut buffer = [0; 64];
    while tokio::io::stdin().read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

async fn synthesise(recorder: &Recorder, options: &Options, started: Instant) {
    let mut rng = StdRng::seed_from_u64(options.seed);
    for worker in 0..options.workers {
        let name = format!("r1i{}n{}", worker / 36, worker % 36);
        recorder.record(Event::WorkerJoined {
            worker,
            name,
            threads: options.threads,
            memory_limit: 115 * GIB,
        });
    }
    let lanes = u64::from(options.workers) * u64::from(options.threads);
    let mean_us = (lanes * 1_000_000 / options.rate.max(1)) as f64 * 0.85;
    let mut free_at = vec![0_u64; lanes as usize];
    let mut managed = vec![0_f64; options.workers as usize];
    let mut next_sample = 0;
    let (mut computation, mut next_stage) = (0, 0);
    loop {
        computation += 1;
        recorder
            .record(Event::ComputationStarted { computation, label: format!("In [{}]", computation + 3) });
        for (name, weight) in STAGES {
            let stage = next_stage;
            next_stage += 1;
            let blocks = options.rate * rng.random_range(4..9);
            recorder.record(Event::StageStarted { computation, stage, name: name.into(), blocks });
            let mut block = 0;
            while block < blocks {
                tokio::time::sleep(TICK).await;
                let now_us = started.elapsed().as_micros() as u64;
                let mut spans = Vec::new();
                for (lane, free) in free_at.iter_mut().enumerate() {
                    // A thread is idle at most a tick; it never works ahead of the clock.
                    *free = (*free).max(now_us.saturating_sub(2 * TICK.as_micros() as u64));
                    while block < blocks {
                        let kind = match rng.random_range(0..1000) {
                            0..60 => SpanKind::Transfer,
                            60..75 => SpanKind::Spill,
                            75..77 => SpanKind::Failed,
                            _ => SpanKind::Compute,
                        };
                        let scale = if kind == SpanKind::Compute { weight } else { 0.3 };
                        let duration_us = (mean_us * scale * rng.random_range(0.4..1.6)) as u32;
                        if *free + u64::from(duration_us) > now_us {
                            break;
                        }
                        let worker = (lane as u64 / u64::from(options.threads)) as u32;
                        let thread = (lane as u64 % u64::from(options.threads)) as u16;
                        spans.push(TaskSpan {
                            stage,
                            block,
                            worker,
                            thread,
                            start_us: *free,
                            duration_us,
                            kind,
                        });
                        *free += u64::from(duration_us) + rng.random_range(0..1 + (mean_us * 0.05) as u64);
                        if kind == SpanKind::Compute {
                            block += 1;
                        } else if kind == SpanKind::Failed && rng.random_bool(0.1) {
                            let message = "panicked at In [7] line 3: attempt to divide by zero".to_owned();
                            recorder.record(Event::Failure { stage, block, worker, message });
                        }
                    }
                }
                recorder.record(Event::Tasks(spans));
                if now_us >= next_sample {
                    next_sample = now_us + 500_000;
                    for (worker, managed) in managed.iter_mut().enumerate() {
                        *managed = (*managed + rng.random_range(-6.0..8.0) * weight).clamp(4.0, 96.0);
                        recorder.record(sample(worker as u32, options.threads, *managed, &mut rng));
                    }
                }
            }
        }
        recorder.record(Event::ComputationFinished { computation, outcome: Outcome::Succeeded });
    }
}

fn sample(worker: u32, threads: u16, managed: f64, rng: &mut StdRng) -> Event {
    let bytes = |gib: f64| (gib * GIB as f64) as u64;
    Event::WorkerSample {
        worker,
        managed_bytes: bytes(managed),
        spilled_bytes: bytes((managed - 70.0).max(0.0)),
        rss_bytes: bytes(managed + rng.random_range(3.0..9.0)),
        cpu_permille: u32::from(threads) * rng.random_range(820..1000),
        threads_busy: threads.saturating_sub(rng.random_range(0..2)),
    }
}

fn write_cluster_file(state: &Path, options: &Options, url: &str, token: &str) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let folder = state.join("clusters");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = folder.join(format!("{}.json", options.name));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let file = serde_json::json!({
        "name": options.name,
        "scheduler": "127.0.0.1:1",
        "dashboard": url,
        "token": token,
        "pid": std::process::id(),
        "started": rfc3339(since.as_secs()),
        "origin": options.origin,
        "certificates": "",
    });
    let _ = std::fs::remove_file(&path);
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut out| out.write_all(file.to_string().as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Seconds since 1970 as a date, by the usual civil-from-days arithmetic.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options {
        name: "demo".into(),
        origin: String::new(),
        workers: 4,
        threads: 8,
        rate: 400,
        seed: 1,
        state: None,
    };
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--name" => options.name = value,
            "--origin" => options.origin = value,
            "--workers" => options.workers = value.parse()?,
            "--threads" => options.threads = value.parse()?,
            "--rate" => options.rate = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--state" => options.state = Some(value.into()),
            _ => anyhow::bail!("unknown option {flag}; see the top of examples/demo.rs"),
        }
    }
    anyhow::ensure!(options.workers > 0 && options.threads > 0, "a cluster needs a worker and a thread");
    Ok(options)
}
