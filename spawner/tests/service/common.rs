//! The service as a site runs it: a real process between a real batch system, a real directory and real launchers.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::real_pbs::RealPbs;

/// Nothing on loopback takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const TOKEN: &str = "hub-token-of-the-user-8d1f4c";
const SERVICE_TOKEN: &str = "token-of-the-service-77aa03";

/// Of those many whom [`Setup::users`] makes. One round of hashing: what the directory takes is not what is looked at.
pub const MANY_PASSWORD: &str = "many-people-have-it";
const MANY_HASH: &str = "{PBKDF2-SHA256}1$BwcHBwcHBwcHBwcHBwcHBw$bwLmS4JuvE9QjbisTGGK6LmnguWxuno2T9VA+TblsmE";
const LOG: &str = "debug,ldap3=warn,hyper=info,tower=info";
/// As the service has it unless it is told otherwise: for tests whose log would be long.
const LOG_OF_MANY: &str = "info,ldap3=warn";

const PBS: &str = r#"
server = "pbshead"
queue_delay_seconds = 0.1
kill_delay_seconds = 3
[[nodes]]
name = "NODE"
ncpus = NCPUS
mem = "64gb"
[[queues]]
name = "workq"
[[queues]]
name = "tiny"
max_ncpus = 2
[[queues]]
name = "closed"
enabled = false
[[queues]]
name = "stuck"
started = false
[[queues]]
name = "vip"
acl_users = ["carol"]
"#;

const PROFILES: &str = r#"
[profiles.small]
title = "Small"
queue = "workq"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"
[profiles.small.options]
walltime = { kind = "walltime", title = "Time", max = "02:00:00" }
[profiles.ocean]
title = "Ocean"
queue = "workq"
select = "{nodes}:ncpus=1:mem=1gb"
walltime = "01:00:00"
groups = ["ocean"]
[profiles.ocean.options]
nodes = { kind = "number", title = "Nodes", min = 1, max = 2, default = 1 }
[profiles.greedy]
title = "Greedy"
queue = "tiny"
select = "1:ncpus=4:mem=1gb"
walltime = "01:00:00"
[profiles.closed]
title = "Closed"
queue = "closed"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"
[profiles.stuck]
title = "Stuck"
queue = "stuck"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"
[profiles.vip]
title = "Vip"
queue = "vip"
select = "1:ncpus=1:mem=1gb"
walltime = "01:00:00"
[profiles.base]
abstract = true
queue = "workq"
mem = "1gb"
walltime = "01:00:00"
[profiles.base.options]
ncpus = { kind = "number", title = "Cores", min = 1, max = 2, default = 1, for_groups = { ocean = 4 } }
[profiles.rich]
inherit = "base"
title = "Rich"
walltime = "00:30:00"
prologue = ["FROM_PROLOGUE=yes", "export FROM_PROLOGUE"]
epilogue = ["(umask 022; echo \"ended with $status\" > SHARED/epilogue)"]
environment = { RICH = "it's \"rich\"" }
notebook_dir = "/scratch/{user}"
command = ["python3", "-B"]
arguments = ["of the profile"]
[profiles.brief]
title = "Brief"
queue = "workq"
select = "1:ncpus=1:mem=1gb"
walltime = "00:00:01"
"#;

/// A user server: listens where JUPYTERHUB_SERVICE_URL says.
const SERVER: &str = r#"
import os, signal, sys, urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["JUPYTERHUB_API_TOKEN"].encode())
    def do_DELETE(self):
        os._exit(0)
    def log_message(self, *a): pass
url = urllib.parse.urlparse(os.environ["JUPYTERHUB_SERVICE_URL"])
signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
HTTPServer((url.hostname, url.port), Handler).serve_forever()
"#;

/// A program of this workspace: in `NUNA_BIN_DIR`, else where this test's own profile puts programs.
pub fn program(name: &str, package: &str) -> PathBuf {
    let folder = std::env::var_os("NUNA_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    });
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p {package}` first", path.display());
    path
}

static WORLDS: AtomicU16 = AtomicU16::new(0);

/// What differs from the usual set-up.
pub struct Setup {
    /// Name of the only node.
    pub node: String,
    /// `[directory]` instead of the embedded one.
    pub directory: Option<String>,
    /// Lines of `[limits]`.
    pub limits: String,
    /// The jobs keep their code on disk instead of starting a launcher: the test is the launcher.
    pub is_launcher: bool,
    /// So many people, `u0000` and so on, who all have [`MANY_PASSWORD`], instead of the usual ones. The log has no
    /// details then, and jobs start as few programs as they can.
    pub users: Option<u64>,
    /// Of the node.
    pub ncpus: u32,
    /// Between two queries of the batch system.
    pub interval: Duration,
    /// `[batch]` and `[launcher]` instead of those of the embedded batch system, which then is not started.
    pub batch: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            node: "node1".to_owned(),
            directory: None,
            limits: String::new(),
            is_launcher: false,
            users: None,
            ncpus: 8,
            interval: Duration::from_millis(200),
            batch: None,
        }
    }
}

pub struct World {
    /// Instead of the embedded batch system.
    real: Option<RealPbs>,
    pub folder: tempfile::TempDir,
    pub nodes: String,
    processes: Vec<(String, Child)>,
    log: &'static str,
    client: reqwest::Client,
    web: reqwest::Client,
}

pub struct Answer {
    pub status: u16,
    /// How long it took, as the service says.
    pub timing: Option<String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The stable word of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// On the PBS that the environment names, else on the embedded one.
    pub async fn on_any_pbs(setup: Setup) -> Self {
        Self::on(RealPbs::of_the_environment(), setup).await
    }

    pub async fn with(setup: Setup) -> Self {
        Self::on(None, setup).await
    }

    async fn on(real: Option<RealPbs>, mut setup: Setup) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A unix socket's path has to be short.
        let folder = tempfile::Builder::new().prefix("nuna-").tempdir_in("/tmp").unwrap();
        for name in [
            "pbs",
            "home",
            "homes",
            "homes/alice",
            "homes/bob",
            "homes/carol",
            "state",
            "bin",
            "bin/real",
            "codes",
        ] {
            std::fs::DirBuilder::new().mode(0o700).create(folder.path().join(name)).unwrap();
        }
        for name in ["qsub", "qstat", "qdel"] {
            let target = program("nuna-pbs", "nuna-embedded-pbs");
            std::os::unix::fs::symlink(target, folder.path().join("bin").join(name)).unwrap();
        }
        if let Some(count) = setup.users {
            write_users(&folder.path().join("users.toml"), count);
            let (bin, marks) = (folder.path().join("bin"), folder.path().join("qstat.count"));
            std::fs::rename(bin.join("qstat"), bin.join("real/qstat")).unwrap();
            // A byte for each that is run.
            let script = format!(
                "#!/bin/sh\nprintf x >> '{}'\nexec '{}' \"$@\"\n",
                marks.display(),
                bin.join("real/qstat").display()
            );
            std::fs::write(bin.join("qstat"), script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(bin.join("qstat"), mode).unwrap();
        }
        // An address of this machine for each test, so that ports need no luck.
        let pid = std::process::id().to_be_bytes();
        let port = 18092 + WORLDS.fetch_add(1, Ordering::Relaxed);
        let nodes = format!("127.{}.{}.{}:{port}", (pid[1] & 0x3f) | 0x40, pid[2], pid[3].clamp(1, 254));
        let socket = folder.path().join("spawner.sock");
        // No connection is used twice: one that was refused half-way is closed under whoever comes next.
        let one_each = || reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE);
        let client = one_each().unix_socket(socket).build().unwrap();
        let web = one_each().no_proxy().build().unwrap();
        let log = if setup.users.is_some() { LOG_OF_MANY } else { LOG };
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        if let Some(real) = &real {
            setup.batch = Some(real.configuration(folder.path()));
            // Jobs are other people's there: they get to what is theirs by its name.
            open(folder.path(), 0o711);
            open(&shared, 0o1777);
        }
        let mut world = Self { real, folder, nodes, processes: Vec::new(), log, client, web };
        let mut pbs = PBS.replace("NODE", &setup.node).replace("NCPUS", &setup.ncpus.to_string());
        if setup.users.is_some() {
            // A server that keeps hundreds of thousands of jobs for a day is another test.
            pbs = format!("history_seconds = 60\n{}", pbs.replace("64gb", "64tb"));
        }
        std::fs::write(world.path("pbs.toml"), pbs).unwrap();
        if setup.batch.is_none() {
            world.start_pbs().await;
        }
        let directory = match &setup.directory {
            Some(lines) => lines.clone(),
            None => {
                let address = world.start_directory().await;
                format!(
                    "servers = [\"ldap://{address}\"]\nuser_dn = \"uid={{user}},ou=people,dc=nuna,dc=local\"\n\
                     group_base = \"ou=groups,dc=nuna,dc=local\"\nadmin_groups = [\"hub-admins\"]"
                )
            }
        };
        world.write_config(&directory, &setup);
        world.start_service().await;
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn spawn(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap();
        let child = nuna_testing::tied(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("NUNA_LOG", self.log)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.push((name.to_owned(), child));
    }

    pub async fn start_pbs(&mut self) {
        let (state, config) = (self.path("pbs"), self.path("pbs.toml"));
        let program = program("nuna-pbs", "nuna-embedded-pbs");
        let (state, config) = (state.to_str().unwrap(), config.to_str().unwrap());
        self.spawn("pbs", &program, &["server", "--die-with-parent", "--state", state, "--config", config]);
        let world = &*self;
        until("the batch system", async || world.pbs("qstat", &["-B"]).status.success().then_some(())).await;
    }

    async fn start_directory(&mut self) -> String {
        let (file, users) = (self.path("directory.address"), self.path("users.toml"));
        let program = program("nuna-directory", "nuna-embedded-directory");
        let arguments = ["--die-with-parent", "--demo", "--listen", "127.0.0.1:0", "--address-file"];
        let arguments: Vec<&str> = arguments
            .into_iter()
            .chain([file.to_str().unwrap(), "--users", users.to_str().unwrap()])
            .collect();
        self.spawn("directory", &program, &arguments);
        let read = async || {
            let text = std::fs::read_to_string(&file).ok()?;
            (!text.trim().is_empty()).then(|| text.trim().to_owned())
        };
        until("the directory", read).await
    }

    fn write_config(&self, directory: &str, setup: &Setup) {
        let folder = self.folder.path().display();
        let token = self.path("service-token");
        std::fs::write(&token, SERVICE_TOKEN).unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let launcher = program("nuna-singleuser", "nuna-singleuser");
        let template = if setup.is_launcher {
            let keep = if setup.users.is_some() {
                // The shell does it alone. What is read too early has no end of line.
                "read -r code <<'EOF'\n{{ code }}\nEOF\nprintf '%s\\n' \"$code\" > $PBS_JOBID\nexec sleep 3600\n".to_owned()
            } else {
                format!(
                    "cat > new.$PBS_JOBID <<'EOF'\n{{{{ code }}}}\nEOF\n\
                     cp new.$PBS_JOBID last.$PBS_JOBID\nmv new.$PBS_JOBID $PBS_JOBID\n\
                     mv last.$PBS_JOBID '{folder}/code'\nexec sleep 600\n"
                )
            };
            let text = format!(
                "#!/bin/sh\n#PBS -N {{{{ tag }}}}\n#PBS -q {{{{ queue }}}}\n#PBS -l walltime={{{{ walltime }}}}\n\
                 #PBS -j oe\numask 077\ncd '{folder}/codes'\n{keep}"
            );
            std::fs::write(self.path("job.tera"), text).unwrap();
            format!("[templates]\njob = \"{folder}/job.tera\"")
        } else {
            String::new()
        };
        let batch = setup.batch.clone().unwrap_or_else(|| {
            format!(
                r#"
[batch]
qsub = "{folder}/bin/qsub"
qstat = "{folder}/bin/qstat"
qdel = "{folder}/bin/qdel"
run_as = "label"
interval_seconds = {interval}
environment = {{ NUNA_PBS_DIR = "{folder}/pbs" }}
[launcher]
program = "{launcher}"
home = "{folder}/homes/{{user}}"
path = "/usr/bin:/bin"
"#,
                interval = setup.interval.as_secs_f64(),
                launcher = launcher.display()
            )
        });
        let config = format!(
            r#"
[socket]
path = "{folder}/spawner.sock"
[nodes]
listen = "{nodes}"
url = "http://{nodes}/services/nuna"
[hub]
api_url = "http://127.0.0.1:9/hub/api"
api_token_file = "{folder}/service-token"
own_ports = [18001]
[state]
folder = "{folder}/state"
[directory]
{directory}
timeout_seconds = {timeout}
{batch}
[limits]
{limits}
{template}
{profiles}"#,
            nodes = self.nodes,
            limits = setup.limits,
            profiles = PROFILES.replace("SHARED", self.path("shared").to_str().unwrap()),
            timeout = if setup.users.is_some() { 5 } else { 1 },
        );
        std::fs::write(self.path("spawner.toml"), config).unwrap();
    }

    /// Of a process that the test has started itself.
    pub fn adopt(&mut self, name: &str, child: Child) {
        self.processes.push((name.to_owned(), child));
    }

    /// Without an exit code while it runs.
    pub fn exit_code(&mut self, name: &str) -> Option<i32> {
        let (_, child) = self.processes.iter_mut().find(|(other, _)| other == name).unwrap();
        child.try_wait().unwrap().and_then(|status| status.code())
    }

    pub async fn start_service(&mut self) {
        self.start_service_with(&[]).await;
    }

    pub async fn start_service_with(&mut self, arguments: &[&str]) {
        let config = self.path("spawner.toml");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_nuna-spawner"));
        let usual = ["serve", "--die-with-parent", "--config", config.to_str().unwrap()];
        self.spawn("service", &program, &[usual.as_slice(), arguments].concat());
        self.until_served().await;
    }

    pub async fn until_served(&self) {
        let (client, log) = (self.client.clone(), self.path("service.log"));
        let answers = async || client.get("http://service/health").send().await.ok();
        let started = Instant::now();
        while answers().await.is_none() {
            let log = std::fs::read_to_string(&log).unwrap();
            assert!(started.elapsed() < PATIENCE, "the service did not start: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.processes.iter().find(|(other, _)| other == name).unwrap().1.id()
    }

    /// As a crash would.
    pub fn kill(&mut self, name: &str) {
        let index = self.processes.iter().position(|(other, _)| other == name).unwrap();
        let (_, mut child) = self.processes.remove(index);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn end(&mut self, name: &str) -> Option<i32> {
        let index = self.processes.iter().position(|(other, _)| other == name).unwrap();
        let (_, mut child) = self.processes.remove(index);
        signal(&child, "TERM");
        child.wait().unwrap().code()
    }

    /// Stops and continues a process, as a machine does that swaps.
    pub fn pause(&self, name: &str, is_paused: bool) {
        let (_, child) = self.processes.iter().find(|(other, _)| other == name).unwrap();
        signal(child, if is_paused { "STOP" } else { "CONT" });
    }

    pub fn password(&self, user: &str) -> String {
        let text = std::fs::read_to_string(self.path("users.passwords.json")).unwrap();
        let passwords: Value = serde_json::from_str(&text).unwrap();
        passwords[user].as_str().unwrap().to_owned()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("service.log")).unwrap()
    }

    /// A PBS command as somebody at a terminal would type it.
    pub fn pbs(&self, name: &str, arguments: &[&str]) -> Output {
        Command::new(self.path("bin").join(name))
            .args(arguments)
            .env_clear()
            .env("NUNA_PBS_DIR", self.path("pbs"))
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap()
    }

    /// A `qdel` of the job's owner.
    pub fn delete_job(&self, owner: &str, id: &str) {
        let output = match &self.real {
            Some(real) => real.delete(owner, id),
            None => self.pbs("qdel", &[id]),
        };
        assert!(output.status.success(), "{output:?}");
    }

    /// The PBS is not there for a while, and its jobs go on. Nothing if this one must stay; the reason is printed.
    pub async fn leave_without_pbs(&self) -> Option<()> {
        let Some(real) = &self.real else {
            // Cut off rather than killed: its jobs would end with it.
            self.pause("pbs", true);
            std::fs::rename(self.path("pbs/socket"), self.path("pbs/hidden")).unwrap();
            return Some(());
        };
        if !real.can_be_away() {
            eprintln!(
                "skipped: NUNA_TEST_PBS_STOP and NUNA_TEST_PBS_START do not say how to end and start the server"
            );
            return None;
        }
        until("jobs that their node confirms", async || real.is_settled().then_some(())).await;
        real.go(true);
        Some(())
    }

    pub async fn bring_pbs_back(&self) {
        if let Some(real) = &self.real {
            real.go(false);
            until("the server", async || real.run("qstat", &["-B"]).status.success().then_some(())).await;
            return;
        }
        std::fs::rename(self.path("pbs/hidden"), self.path("pbs/socket")).unwrap();
        self.pause("pbs", false);
    }

    /// What the jobs of a test write for it: their homes may be closed to others.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.path("shared").join(name)
    }

    /// Tells a user server to end by itself.
    pub async fn end_user_server(&self, view: &Value) {
        let (host, port) = (view["address"]["host"].as_str().unwrap(), &view["address"]["port"]);
        // It does not answer: it ends.
        let _ = self.web.delete(format!("http://{host}:{port}/")).send().await;
    }

    /// `qstat -x -f -F json`: jobs by id.
    pub fn jobs(&self) -> serde_json::Map<String, Value> {
        if let Some(real) = &self.real {
            return real.jobs();
        }
        let output = self.pbs("qstat", &["-x", "-f", "-F", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["Jobs"].as_object().cloned().unwrap_or_default()
    }

    pub fn living_jobs(&self) -> Vec<String> {
        self.jobs().into_iter().filter(|(_, job)| job["job_state"] != "F").map(|(name, _)| name).collect()
    }

    /// What cannot be read to its end is empty.
    async fn read(answer: reqwest::Response) -> Answer {
        let timing = answer.headers().get("server-timing").and_then(|value| value.to_str().ok());
        let (status, timing) = (answer.status().as_u16(), timing.map(str::to_owned));
        Answer { status, timing, text: answer.text().await.unwrap_or_default() }
    }

    async fn sent(request: reqwest::RequestBuilder) -> Answer {
        Self::read(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        Self::sent(self.client.get(format!("http://service{path}"))).await
    }

    /// For headers of one's own.
    pub fn hub(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://service{path}"))
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Self::sent(self.client.post(format!("http://service{path}")).json(&body)).await
    }

    /// Nothing if the service closed the connection before it had read everything.
    pub async fn post_large(&self, path: &str, body: Value) -> Option<Answer> {
        let answer = self.client.post(format!("http://service{path}")).json(&body).send().await.ok()?;
        Some(Self::read(answer).await)
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Self::sent(self.client.delete(format!("http://service{path}"))).await
    }

    pub async fn launch_large(&self, what: &str, body: Value) -> Option<Answer> {
        let url = format!("http://{}/services/nuna/launch/{what}", self.nodes);
        let answer = self.web.post(url).json(&body).send().await.ok()?;
        Some(Self::read(answer).await)
    }

    /// As a launcher, or somebody who would like to be one.
    pub async fn launch(&self, what: &str, body: Value) -> Answer {
        let url = format!("http://{}/services/nuna/launch/{what}", self.nodes);
        Self::sent(self.web.post(url).json(&body)).await
    }

    pub async fn fetch(&self, url: &str) -> Answer {
        Self::sent(self.web.get(url)).await
    }

    pub async fn sign_in(&self, user: &str) -> Value {
        let answer = self.post("/auth", json!({"username": user, "password": self.password(user)})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    pub fn request(user: &str, options: Value) -> Value {
        json!({
            "user": user,
            "server_name": "",
            "options": options,
            "environment": {
                "JUPYTERHUB_API_TOKEN": TOKEN,
                "JUPYTERHUB_SERVICE_PREFIX": format!("/user/{user}/"),
                "PATH": "/of/the/hub",
            },
            "argv": ["python3", "-c", SERVER],
        })
    }

    pub async fn create(&self, user: &str, profile: &str) -> Answer {
        self.post("/servers", Self::request(user, json!({"profile": profile}))).await
    }

    /// Signs in, asks for a server, and gives its id.
    pub async fn created(&self, user: &str, profile: &str) -> String {
        self.sign_in(user).await;
        let answer = self.create(user, profile).await;
        assert_eq!(answer.status, 202, "{}\n{}", answer.text, self.log());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn server(&self, id: &str) -> Value {
        let answer = self.get(&format!("/servers/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// Waits until the server's view is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let view = self.server(id).await;
            if wanted(&view) {
                return view;
            }
            assert!(started.elapsed() < PATIENCE, "still {view}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_state(&self, id: &str, state: &str) -> Value {
        self.until(id, |view| view["state"] == state).await
    }

    /// The code that a job of [`Setup::is_launcher`] got, once it runs.
    pub async fn code(&self) -> String {
        let path = self.path("code");
        let code = until("the job's code", async || std::fs::read_to_string(&path).ok()).await;
        std::fs::remove_file(path).unwrap();
        code.trim().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(self.path("service.log"))
        {
            eprintln!("--- service.log\n{}", log.get(log.len().saturating_sub(20_000)..).unwrap_or(&log));
        }
        // The batch system last: its jobs end with it.
        for (name, child) in self.processes.iter_mut().rev() {
            signal(child, "CONT");
            signal(child, if name == "pbs" { "TERM" } else { "KILL" });
            let _ = child.wait();
        }
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Of the environment, if it says something.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The launcher in this folder, where everybody can run it, as on a node: Rust's own library may lie in a folder of root's
/// alone.
pub fn launcher_for_everybody(folder: &Path) -> PathBuf {
    let built = program("nuna-singleuser", "nuna-singleuser");
    let own = folder.join("launcher");
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(&built, own.join("nuna-singleuser")).unwrap();
    let needed = Command::new("ldd").arg(&built).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    for library in needed.lines().filter_map(|line| line.split("=> ").nth(1)?.split(' ').next()) {
        let name = Path::new(library).file_name().unwrap();
        if name.to_string_lossy().starts_with("libstd-") {
            std::fs::copy(library, own.join(name)).unwrap();
        }
    }
    let (launcher, own) = (own.join("launcher"), own.display());
    let script = format!("#!/bin/sh\nLD_LIBRARY_PATH={own} exec {own}/nuna-singleuser \"$@\"\n");
    std::fs::write(&launcher, script).unwrap();
    open(&launcher, 0o755);
    launcher
}

/// So many people with the password [`MANY_PASSWORD`].
fn write_users(path: &Path, count: u64) {
    let mut text = "suffix = \"dc=nuna,dc=local\"\n".to_owned();
    for user in 0..count {
        text += &format!(
            "[[users]]\nuid = \"u{user:04}\"\ncn = \"Person {user}\"\nuid_number = {}\ngid_number = 3000\n\
             password_hash = \"{MANY_HASH}\"\n",
            10_000 + user
        );
    }
    std::fs::write(path, text).unwrap();
}

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status();
}

/// Waits for something to be there.
pub async fn until<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: not there after {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
