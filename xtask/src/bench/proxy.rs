//! Owns `bench proxy`: `nuna-proxy` beside configurable-http-proxy and nginx, in turn in one run, before one backend and
//! under one load, as a table with what was aimed at. Quote the ratios: load, backend and proxy share the machine.
//!
//! The load is wrk's, the backend nginx; WebSockets are echoed by `websocket.rs`.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::websocket;
use crate::{setup, tools, tools::Repository};

/// Debian's packages and what is in them; Node.js is what the set-up has asked for already.
const PROGRAMS: [(&str, &str); 2] = [("nginx-light", "/usr/sbin/nginx"), ("wrk", "/usr/bin/wrk")];
/// Version of the peer that the figures are about.
const PEER: &str = "configurable-http-proxy@5.3.0";
const SECONDS: u64 = 4;
/// Each row is measured so often, the proxies in turn; the median counts.
const ROUNDS: usize = 3;
const CONNECTIONS: [usize; 3] = [32, 256, 1000];
const MANY_ROUTES: usize = 10_000;
const WEBSOCKETS: usize = 64;
const TOKEN: &str = "bench";
/// A program that does not listen by then is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const BODY_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Direct,
    Nginx,
    Peer,
    Ours,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Which::Direct => "no proxy",
            Which::Nginx => "nginx",
            Which::Peer => "configurable-http-proxy",
            Which::Ours => "nuna-proxy",
        }
    }
}

/// What one run of one proxy gave.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Time-outs, broken connections and answers that are no success.
    failures: u64,
    /// Peak of all its processes.
    rss_mb: f64,
    /// Of the proxy's processes, for one request.
    cpu_us: f64,
}

pub(super) fn run(repository: &Repository) -> Result<()> {
    setup::require_tools()?;
    setup::debian(&PROGRAMS, "the proxies' measurements")?;
    setup::programs(repository)?;
    let bench = Bench::prepare(repository)?;
    let mut rows = vec![vec!["load".to_owned(), "proxy".to_owned()]];
    rows[0].extend(["requests/s", "p50", "p99", "failures", "peak memory", "CPU/request"].map(str::to_owned));
    let mut targets = Vec::new();
    for connections in CONNECTIONS {
        let all = [Which::Direct, Which::Nginx, Which::Peer, Which::Ours];
        let found = bench.in_turn(&all, |which| bench.requests(which, connections, 1))?;
        let title = format!("{connections} connections");
        for (which, figures) in all.into_iter().zip(&found) {
            rows.push(row(&title, which, figures));
        }
        let (nginx, peer, ours) = (&found[1], &found[2], &found[3]);
        targets.extend(against_peer(&title, ours, peer));
        targets.push(at_least(
            &format!("{title}: requests/s of nginx's"),
            ours.per_second / nginx.per_second,
            1.0,
        ));
        if connections < 1000 {
            targets.push(at_least(
                &format!("{title}: the peer's p99 over ours"),
                peer.p99_ms / ours.p99_ms,
                10.0,
            ));
        }
    }
    let both = [Which::Peer, Which::Ours];
    let found = bench.in_turn(&both, |which| bench.requests(which, CONNECTIONS[1], MANY_ROUTES))?;
    let title = format!("{} connections, {MANY_ROUTES} routes", CONNECTIONS[1]);
    for (which, figures) in both.into_iter().zip(&found) {
        rows.push(row(&title, which, figures));
    }
    targets.extend(against_peer(&title, &found[1], &found[0]));
    let all = [Which::Nginx, Which::Peer, Which::Ours];
    let found = bench.in_turn(&all, |which| bench.echoes(which))?;
    let title = format!("{WEBSOCKETS} WebSockets, echoes");
    for (which, figures) in all.into_iter().zip(&found) {
        rows.push(row(&title, which, figures));
    }
    // What passes bytes is hard to be much faster at than another that does.
    targets.push(at_least(
        &format!("{title}: echoes/s of the peer's"),
        found[2].per_second / found[1].per_second,
        1.0,
    ));
    println!("{}", table(&rows));
    println!("{}", targets.join("\n"));
    Ok(())
}

fn against_peer(title: &str, ours: &Figures, peer: &Figures) -> Vec<String> {
    let failures = ours.failures;
    vec![
        at_least(&format!("{title}: requests/s of the peer's"), ours.per_second / peer.per_second, 5.0),
        at_least(&format!("{title}: the peer's memory over ours"), peer.rss_mb / ours.rss_mb, 3.0),
        format!("{} {title}: {failures} failures", if failures == 0 { "reached" } else { "MISSED " }),
    ]
}

fn at_least(what: &str, found: f64, aim: f64) -> String {
    format!("{} {what}: {found:.2} of at least {aim:.1}", if found >= aim { "reached" } else { "MISSED " })
}

struct Bench {
    folder: PathBuf,
    peer: PathBuf,
    ours: PathBuf,
    backend: SocketAddr,
    echo: SocketAddr,
    backend_process: Running,
}

impl Bench {
    fn prepare(repository: &Repository) -> Result<Self> {
        let folder = repository.path("build/bench/proxy");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let peer = folder.join("node_modules/configurable-http-proxy/bin/configurable-http-proxy");
        let stamp = repository.stamp("bench-proxy-peer");
        if !peer.is_file() || !stamp.matches(PEER) {
            let mut install = repository.command("npm");
            install.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
            tools::run("install the peer, once", install.arg(&folder).arg(PEER))?;
            stamp.write(PEER)?;
        }
        let backend = free_address()?;
        let answer = "x".repeat(BODY_BYTES);
        let server = format!(
            "server {{ listen {backend} backlog=4096; \
             location / {{ default_type text/plain; return 200 \"{answer}\"; }} }}"
        );
        let backend_process = nginx(&folder, "backend", 1, &server, backend)?;
        let echo = websocket::echo().context("starting the echo server")?;
        let ours = repository.programs().join("nuna-proxy");
        Ok(Self { folder, peer, ours, backend, echo, backend_process })
    }

    /// The median of several rounds, by requests per second, in which each takes its turn.
    fn in_turn(&self, all: &[Which], measure: impl Fn(Which) -> Result<Figures>) -> Result<Vec<Figures>> {
        let mut found = vec![Vec::new(); all.len()];
        for _ in 0..ROUNDS {
            for (figures, which) in found.iter_mut().zip(all) {
                figures.push(measure(*which).with_context(|| which.name())?);
            }
        }
        let median = |mut figures: Vec<Figures>| {
            figures.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
            let failures = figures.iter().map(|figures| figures.failures).sum();
            Figures { failures, ..figures[figures.len() / 2] }
        };
        Ok(found.into_iter().map(median).collect())
    }

    /// Starts a proxy with so many routes, of which all lead to the backend.
    fn proxy(
        &self,
        which: Which,
        routes: usize,
        target: SocketAddr,
    ) -> Result<Option<(Running, SocketAddr)>> {
        let public = free_address()?;
        let process = match which {
            Which::Direct => return Ok(None),
            Which::Nginx => {
                let server = format!(
                    "map $http_upgrade $hop {{ default \"\"; websocket upgrade; }}\n\
                     upstream target {{ server {target}; keepalive 512; keepalive_requests 1000000000; }}\n\
                     server {{ listen {public} backlog=4096; location / {{ proxy_pass http://target; \
                     proxy_http_version 1.1; proxy_set_header Connection $hop; \
                     proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $http_host; \
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                     proxy_set_header X-Forwarded-Host $http_host; \
                     proxy_set_header X-Forwarded-Proto $scheme; \
                     proxy_set_header X-Forwarded-Port $server_port; }} }}"
                );
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                nginx(&self.folder, "proxy", processors, &server, public)?
            }
            Which::Peer | Which::Ours => {
                let api = free_address()?;
                let mut command = if which == Which::Ours {
                    Command::new(&self.ours)
                } else {
                    let mut node = Command::new("node");
                    node.arg(&self.peer);
                    node
                };
                command.args(["--ip", "127.0.0.1", "--api-ip", "127.0.0.1", "--log-level", "warn"]);
                command.arg("--port").arg(public.port().to_string());
                command.arg("--api-port").arg(api.port().to_string());
                command.env("CONFIGPROXY_AUTH_TOKEN", TOKEN);
                let process = Running::start(&mut command, public)?;
                reachable(api)?;
                add_routes(api, routes, target)?;
                process
            }
        };
        Ok(Some((process, public)))
    }

    fn requests(&self, which: Which, connections: usize, routes: usize) -> Result<Figures> {
        let proxy = self.proxy(which, routes, self.backend)?;
        let (process, address) = match &proxy {
            Some((process, address)) => (process, *address),
            None => (&self.backend_process, self.backend),
        };
        let script = self.folder.join("paths.lua");
        let body = format!(
            "request = function()\n  return wrk.format(\"GET\", \"/user/u\" .. math.random(0, {}) .. \"/api/x?y=1\")\nend\n",
            routes - 1
        );
        fs::write(&script, body).with_context(|| format!("writing {}", script.display()))?;
        let cpu_before = process.cpu_seconds();
        let output = Command::new(PROGRAMS[1].1)
            .args(["--latency", "--timeout", "2s", "-t", "1", "-d", &format!("{SECONDS}s")])
            .args(["-c", &connections.to_string(), "-s"])
            .arg(&script)
            .arg(format!("http://{address}/"))
            .output()
            .context("starting wrk")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (mut figures, count) = read_wrk(&said).with_context(|| format!("wrk said: {said}"))?;
        figures.rss_mb = process.peak_mb();
        figures.cpu_us = 1e6 * (process.cpu_seconds() - cpu_before) / count.max(1.0);
        println!(
            "   {connections} connections, {routes} routes, {}: {:.0}/s",
            which.name(),
            figures.per_second
        );
        Ok(figures)
    }

    fn echoes(&self, which: Which) -> Result<Figures> {
        let Some((process, address)) = self.proxy(which, 1, self.echo)? else {
            bail!("there is no such row")
        };
        let cpu_before = process.cpu_seconds();
        let echoes = websocket::load(address, "/user/u0/ws", WEBSOCKETS, Duration::from_secs(SECONDS))?;
        let per_second = echoes.count as f64 / SECONDS as f64;
        println!("   {WEBSOCKETS} WebSockets, {}: {per_second:.0}/s", which.name());
        Ok(Figures {
            per_second,
            p50_ms: echoes.p50.as_secs_f64() * 1e3,
            p99_ms: echoes.p99.as_secs_f64() * 1e3,
            failures: echoes.failures,
            rss_mb: process.peak_mb(),
            cpu_us: 1e6 * (process.cpu_seconds() - cpu_before) / (echoes.count as f64).max(1.0),
        })
    }
}

fn nginx(folder: &Path, name: &str, workers: usize, server: &str, address: SocketAddr) -> Result<Running> {
    let place = folder.join(name);
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let at = place.display();
    let mut text = format!(
        "worker_processes {workers};\ndaemon off;\npid {at}/pid;\nerror_log {at}/error.log;\n\
         worker_rlimit_nofile 16384;\nevents {{ worker_connections 8192; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {at}/{kind};");
    }
    let _ = writeln!(text, "{server}\n}}");
    let file = place.join("nginx.conf");
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    // Before its configuration is read it would log to a folder of the system.
    let log = place.join("error.log");
    Running::start(Command::new(PROGRAMS[0].1).arg("-e").arg(log).arg("-c").arg(&file), address)
}

/// `/user/u0` and so on, over one connection.
fn add_routes(api: SocketAddr, count: usize, target: SocketAddr) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(api)?);
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    for index in 0..count {
        let body =
            format!("{{\"target\": \"http://{target}\", \"user\": \"u{index}\", \"jupyterhub\": true}}");
        let request = format!(
            "POST /api/routes/user/u{index} HTTP/1.1\r\nHost: {api}\r\nAuthorization: token {TOKEN}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 201") {
            bail!("adding a route gave {line:?}");
        }
        let mut is_chunked = false;
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("the API closed the connection");
            }
            is_chunked |= line.eq_ignore_ascii_case("transfer-encoding: chunked\r\n");
        }
        if is_chunked {
            // Nothing but the end.
            stream.read_line(&mut line)?;
            stream.read_line(&mut line)?;
        }
    }
    Ok(())
}

/// What wrk printed, and how many requests it made.
fn read_wrk(said: &str) -> Option<(Figures, f64)> {
    let line =
        |start: &str| said.lines().map(str::trim).find_map(|line| line.strip_prefix(start)).map(str::trim);
    let count = said.lines().find_map(|line| line.split_once(" requests in "))?.0.trim().parse().ok()?;
    let broken = line("Socket errors:").map_or(0, |text| {
        text.split(|character: char| !character.is_ascii_digit())
            .filter_map(|word| word.parse::<u64>().ok())
            .sum()
    });
    let refused = line("Non-2xx or 3xx responses:").and_then(|text| text.parse().ok()).unwrap_or(0);
    let figures = Figures {
        per_second: line("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(line("50%")?)?,
        p99_ms: milliseconds(line("99%")?)?,
        failures: broken + refused,
        ..Figures::default()
    };
    Some((figures, count))
}

/// `1.5ms`, `900.00us`, `1.20s`.
fn milliseconds(text: &str) -> Option<f64> {
    [("us", 1e-3), ("ms", 1.0), ("s", 1e3)]
        .into_iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// A process that ends when this is dropped, and what it and its children have used.
struct Running(Child);

impl Running {
    /// Waits until it listens.
    fn start(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut running = Self(child.with_context(|| format!("cannot start {command:?}"))?);
        if reachable(address).is_err() {
            bail!("{command:?} does not listen on {address} ({:?})", running.0.try_wait());
        }
        Ok(running)
    }

    fn processes(&self) -> Vec<u32> {
        let own = self.0.id();
        let children = format!("/proc/{own}/task/{own}/children");
        let text = fs::read_to_string(children).unwrap_or_default();
        std::iter::once(own).chain(text.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    fn peak_mb(&self) -> f64 {
        let peak = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        };
        self.processes().into_iter().filter_map(peak).sum::<f64>() / 1024.0
    }

    fn cpu_seconds(&self) -> f64 {
        let ticks = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        // Linux counts in hundredths of a second for every program.
        self.processes().into_iter().filter_map(ticks).sum::<f64>() / 100.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx ends its workers only if it is asked to end.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let until = Instant::now() + Duration::from_secs(7);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reachable(address: SocketAddr) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            bail!("nothing listens on {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("binding a port")?;
    Ok(listener.local_addr()?)
}

fn row(title: &str, which: Which, figures: &Figures) -> Vec<String> {
    vec![
        title.to_owned(),
        which.name().to_owned(),
        format!("{:.0}", figures.per_second),
        format!("{:.2} ms", figures.p50_ms),
        format!("{:.2} ms", figures.p99_ms),
        figures.failures.to_string(),
        format!("{:.0} MB", figures.rss_mb),
        format!("{:.1} µs", figures.cpu_us),
    ]
}

fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let said = "Running 4s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.25ms    2.00ms  30.00ms   90.00%\n  Latency Distribution\n     50%  770.00us\n     75%    1.50ms\n     90%    3.00ms\n     99%    1.20s \n  120000 requests in 4.00s, 140.00MB read\n  Socket errors: connect 1, read 2, write 0, timeout 7\n  Non-2xx or 3xx responses: 5\nRequests/sec:  30000.50\nTransfer/sec:     35.00MB\n";
        let (figures, count) = read_wrk(said).unwrap();
        assert_eq!((figures.per_second, count), (30000.5, 120_000.0));
        assert_eq!((figures.p50_ms, figures.p99_ms, figures.failures), (0.77, 1200.0, 15));
        assert!(read_wrk("unable to connect to 127.0.0.1:1 Connection refused").is_none());
    }
}
