//! The launcher as a job runs it: a real process between a small service and a small user server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use nuna_testing::Guarded;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const CODE: &str = "c0dec0dec0dec0dec0dec0dec0dec0de";
const TICKET: &str = "71c4e771c4e771c4e771c4e7";
const TOKEN: &str = "token-of-alice-0123456789";

/// Listens where JUPYTERHUB_SERVICE_URL says and leaves a note of its environment; SIGTERM ends it with code 7.
const SERVER: &str = r#"
import json, os, signal, sys, threading, urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *a): pass
url = urllib.parse.urlparse(os.environ["JUPYTERHUB_SERVICE_URL"])
server = HTTPServer((url.hostname, url.port), Handler)
signal.signal(signal.SIGTERM, lambda *a: os._exit(7))
json.dump({"environment": dict(os.environ), "folder": os.getcwd(), "pid": os.getpid(), "argv": sys.argv}, open("note.new", "w"))
os.rename("note.new", "note")
print("serving with", os.environ.get("JUPYTERHUB_API_TOKEN"), flush=True)
server.serve_forever()
"#;

#[derive(Default)]
struct Calls {
    made: Vec<(String, Value)>,
    answers: HashMap<String, Vec<(u16, Value)>>,
}

/// A service that remembers what it was told and answers as the test wants.
struct FakeService {
    calls: Arc<Mutex<Calls>>,
    url: String,
    _runtime: tokio::runtime::Runtime,
}

async fn answer(
    State(calls): State<Arc<Mutex<Calls>>>,
    UrlPath(what): UrlPath<String>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut calls = calls.lock().unwrap();
    calls.made.push((what.clone(), body));
    let queue = calls.answers.entry(what).or_default();
    let (status, body) =
        if queue.len() > 1 { queue.remove(0) } else { queue.first().cloned().unwrap_or((200, json!({}))) };
    (StatusCode::from_u16(status).unwrap(), Json(body))
}

impl FakeService {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let calls = Arc::new(Mutex::new(Calls::default()));
        let router = axum::Router::new()
            .route("/services/nuna/launch/{what}", post(answer))
            .with_state(Arc::clone(&calls));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/services/nuna", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { calls, url, _runtime: runtime }
    }

    /// The last of several answers is given again and again.
    fn answers(&self, what: &str, answers: &[(u16, Value)]) {
        self.calls.lock().unwrap().answers.insert(what.to_owned(), answers.to_vec());
    }

    fn grant(&self, argv: &[&str], home: &Path) {
        let environment = json!({
            "JUPYTERHUB_API_TOKEN": TOKEN,
            "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:0/user/alice/",
            "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
            "QUOTED": "it's \"quoted\", with $signs and\nlines",
            "HOME": home,
        });
        let grant = json!({"environment": environment, "argv": argv, "ticket": TICKET});
        self.answers("exchange", &[(200, grant)]);
    }

    fn calls(&self, what: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        calls.made.iter().filter(|(name, _)| name == what).map(|(_, body)| body.clone()).collect()
    }

    fn wait_for(&self, what: &str) -> Value {
        wait_until(&format!("a call of launch/{what}"), || self.calls(what).first().cloned())
    }
}

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct World {
    service: FakeService,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { service: FakeService::start(), home: tempfile::tempdir().unwrap() };
        std::fs::write(world.home.path().join("server.py"), SERVER).unwrap();
        world.service.grant(&["python3", "server.py", "an argument"], world.home.path());
        world
    }

    /// As the job script starts it.
    fn launch(&self, options: &[&str]) -> Guarded {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuna-singleuser"));
        command
            .args(["--service", &self.service.url])
            .args(options)
            .env("PBS_JOBID", "12.head")
            // A user's proxy settings must not lead the code astray.
            .env("http_proxy", "http://127.0.0.1:1")
            .env("HTTP_PROXY", "http://127.0.0.1:1")
            .env_remove("NUNA_SERVICE_URL")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The user server works in its home.
        let mut child = Guarded::start(&mut command).with_all_in(self.home.path());
        child.stdin.take().unwrap().write_all(format!("{CODE}\n").as_bytes()).unwrap();
        child
    }

    fn note(&self) -> Value {
        let path = self.home.path().join("note");
        let text = wait_until("the server's note", || std::fs::read_to_string(&path).ok());
        serde_json::from_str(&text).unwrap()
    }
}

fn terminate(child: &Guarded) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
}

fn finish(child: Guarded) -> Output {
    let output = child.output();
    let words =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for secret in [CODE, TICKET, TOKEN] {
        assert!(!words.contains(secret), "a secret was printed: {words}");
    }
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn exists(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_server_runs_with_its_environment_and_ends_with_the_job() {
    let world = World::new();
    let child = world.launch(&[]);
    let ready = world.service.wait_for("ready");
    assert_eq!((ready["ticket"].as_str(), ready["host"].as_str()), (Some(TICKET), Some("127.0.0.1")));
    let exchange = &world.service.calls("exchange")[0];
    assert_eq!(exchange, &json!({"code": CODE, "job": "12.head", "host": "127.0.0.1"}));

    let port = ready["port"].as_u64().unwrap();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    stream.write_all(b"GET /user/alice/ HTTP/1.0\r\n\r\n").unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");

    let note = world.note();
    let environment = &note["environment"];
    assert_eq!(environment["JUPYTERHUB_SERVICE_URL"], format!("http://127.0.0.1:{port}/user/alice/"));
    assert_eq!(environment["JUPYTERHUB_API_TOKEN"], TOKEN);
    assert_eq!(environment["QUOTED"], "it's \"quoted\", with $signs and\nlines");
    assert_eq!(environment["NUNA_SERVICE_URL"], world.service.url);
    assert_eq!(environment["PBS_JOBID"], "12.head", "the job's own variables stay");
    assert_eq!(note["argv"], json!(["server.py", "an argument"]));
    assert_eq!(note["folder"].as_str().map(Path::new), Some(world.home.path()));

    // Any user of the node can read command lines.
    for pid in [u64::from(child.id()), note["pid"].as_u64().unwrap()] {
        let line =
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()).into_owned();
        assert!(![CODE, TICKET, TOKEN].iter().any(|secret| line.contains(secret)), "{line}");
    }
    terminate(&child);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stderr(&output).contains("serving with ***"), "{}", stderr(&output));
    assert_eq!(world.service.calls("failed").len(), 0);
}

#[test]
fn a_refused_code_ends_the_job_with_the_service_s_words() {
    let world = World::new();
    let refusal =
        json!({"error": {"code": "bad_code", "message": "this code was used already", "request": "1"}});
    world.service.answers("exchange", &[(403, refusal)]);
    let output = finish(world.launch(&[]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("403 Forbidden: this code was used already"), "{}", stderr(&output));
    assert_eq!(world.service.calls("exchange").len(), 1, "no second try");
}

#[test]
fn a_service_that_restarts_is_tried_again() {
    let world = World::new();
    let grant = world.service.calls.lock().unwrap().answers["exchange"][0].clone();
    let down = (503, json!({}));
    world.service.answers("exchange", &[down.clone(), grant]);
    world.service.answers("ready", &[down, (200, json!({}))]);
    let child = world.launch(&[]);
    wait_until("a second report", || (world.service.calls("ready").len() == 2).then_some(()));
    terminate(&child);
    assert_eq!(finish(child).status.code(), Some(7));
    assert_eq!(world.service.calls("exchange").len(), 2);
}

#[test]
fn a_service_out_of_reach_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}/services/nuna", listener.local_addr().unwrap());
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuna-singleuser"));
    command
        .args(["--service-seconds", "1"])
        .env("NUNA_SERVICE_URL", &nowhere)
        .env("PBS_JOBID", "12.head")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Guarded::start(&mut command);
    child.stdin.take().unwrap().write_all(CODE.as_bytes()).unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1));
    let words = stderr(&output);
    assert!(words.contains("did not answer launch/exchange for 1 s") && words.contains("refused"), "{words}");
}

#[test]
fn a_server_that_fails_is_reported_with_its_last_words() {
    let world = World::new();
    let script = "echo starting; echo 'no such module: jupyterlab, token '$JUPYTERHUB_API_TOKEN >&2; exit 3";
    world.service.grant(&["sh", "-c", script], world.home.path());
    let output = finish(world.launch(&[]));
    assert_eq!(output.status.code(), Some(3));
    let failed = world.service.wait_for("failed");
    assert_eq!(failed["ticket"], TICKET);
    assert_eq!(failed["exit"], 3);
    assert_eq!(failed["message"], "the user server ended with exit code 3 before it was ready");
    let tail = failed["tail"].as_str().unwrap();
    assert!(tail.contains("no such module: jupyterlab, token ***"), "{tail}");
    assert_eq!(world.service.calls("ready").len(), 0);
}

#[test]
fn a_server_that_ends_well_without_answering_failed() {
    let world = World::new();
    world.service.grant(&["true"], world.home.path());
    assert_eq!(finish(world.launch(&[])).status.code(), Some(1));
    assert_eq!(world.service.wait_for("failed")["exit"], 0);
}

#[test]
fn what_cannot_be_run_is_named() {
    let world = World::new();
    world.service.grant(&["no-such-server"], world.home.path());
    assert_eq!(finish(world.launch(&[])).status.code(), Some(127));
    let tail = world.service.wait_for("failed")["tail"].as_str().unwrap().to_owned();
    assert!(tail.contains("cannot run no-such-server, looked for on PATH="), "{tail}");

    let world = World::new();
    world.service.grant(&["true"], Path::new("/nowhere/alice"));
    assert_eq!(finish(world.launch(&[])).status.code(), Some(1));
    let message = world.service.wait_for("failed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/nowhere/alice does not exist on this node"), "{message}");
}

#[test]
fn a_server_that_never_answers_is_ended() {
    let world = World::new();
    let script = "trap '' TERM; echo $$ > pid; echo loading; while :; do sleep 0.1; done";
    world.service.grant(&["sh", "-c", script], world.home.path());
    let output = finish(world.launch(&["--start-seconds", "2", "--grace-seconds", "1"]));
    assert_eq!(output.status.code(), Some(1));
    let failed = world.service.wait_for("failed");
    assert!(failed["message"].as_str().unwrap().contains("within 2 s"), "{failed}");
    assert_eq!(failed["tail"], "loading");
    let pid: u64 = std::fs::read_to_string(world.home.path().join("pid")).unwrap().trim().parse().unwrap();
    assert!(!exists(pid));
}

#[test]
fn a_server_nobody_wants_any_more_is_ended() {
    let world = World::new();
    world.service.answers("ready", &[(403, json!({"error": {"message": "the server was cancelled"}}))]);
    let output = finish(world.launch(&[]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the server was cancelled"), "{}", stderr(&output));
    assert!(!exists(world.note()["pid"].as_u64().unwrap()));
}

#[test]
fn a_job_ended_early_leaves_no_server() {
    let world = World::new();
    world
        .service
        .grant(&["sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 600"], world.home.path());
    let child = world.launch(&[]);
    let path = world.home.path().join("pid");
    let pid: u64 = wait_until("the server", || std::fs::read_to_string(&path).ok()).trim().parse().unwrap();
    terminate(&child);
    assert_eq!(finish(child).status.code(), Some(143));
    assert!(!exists(pid));
    assert!(world.service.wait_for("failed")["message"].as_str().unwrap().contains("the job was ended"));
}

#[test]
fn a_killed_launcher_takes_the_server_with_it() {
    let world = World::new();
    let mut child = world.launch(&[]);
    world.service.wait_for("ready");
    let pid = world.note()["pid"].as_u64().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the server's end", || (!exists(pid)).then_some(()));
}

/// Another user who listens on the port first would get what the hub sends: tokens and cookies.
#[test]
fn a_port_of_another_user_is_never_announced() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let world = World::new();
    let script = SERVER
        // What Python loads late may lie where only root can read it.
        .replace("import json,", "import encodings.idna, json,")
        .replace("server = HTTPServer", "os.setgid(65534); os.setuid(65534)\nserver = HTTPServer")
        .lines()
        .filter(|line| !line.contains("note.new"))
        .collect::<Vec<_>>()
        .join("\n");
    world.service.grant(&["python3", "-c", &script], world.home.path());
    let output = finish(world.launch(&["--grace-seconds", "1"]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(world.service.calls("ready").len(), 0);
    let message = world.service.wait_for("failed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the last one was user 65534"), "{message}: {}", stderr(&output));
    assert_eq!(stderr(&output).matches("trying another").count(), 2, "{}", stderr(&output));
}

#[test]
fn outside_a_job_it_says_what_it_is() {
    let run = |job: &str, code: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuna-singleuser"));
        command
            .args(["--service", "http://127.0.0.1:1/services/nuna"])
            .env("PBS_JOBID", job)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Guarded::start(&mut command);
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        stderr(&finish(child))
    };
    assert!(run("", CODE).contains("neither PBS_JOBID nor SLURM_JOB_ID is set"));
    assert!(run("12.head", "").contains("no one-time code"));
    assert!(run("12.head", "hello\n").contains("not hexadecimal"));
}
