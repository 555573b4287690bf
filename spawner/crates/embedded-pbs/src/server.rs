//! The daemon: a unix socket, the job processes, the state file. All decisions are `batch`'s.
//!
//! One task owns the [`Batch`]; connections and moms send it [`Message`]s. Only processes of the Unix account
//! the server runs as are answered.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{info, warn};

use crate::batch::{Batch, EXIT_LOST, Effect, Kill, Memory};
use crate::job::{Job, Key, State};
use crate::mom::Spec;
use crate::protocol::{ANSWER_SECONDS_MAX, Answer, Call, REQUEST_BYTES_MAX, Request, state_folder};
use crate::settings::Settings;
use crate::usage;

/// Commands served at the same time; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 64;
/// A command sends its request within this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// `resources_used` is measured at most this often.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the server waits for its jobs when it ends.
const FAREWELL_MAX: Duration = Duration::from_secs(8);
/// Messages whose changes are saved together.
const TOGETHER_MAX: usize = 64;
/// Longest sleep of the main loop.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The batch server.
#[derive(Debug, Parser)]
#[command(name = "nuna-pbs server", version)]
struct Arguments {
    /// Folder for the socket, spool and state; default $NUNA_PBS_DIR.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Nodes to pretend (all are this machine), unless the configuration names some.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    nodes: u32,
    /// Cores of each node; default: this machine's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    cores: Option<u32>,
    /// Memory of each node, such as 8gb; default: this machine's.
    #[arg(long)]
    mem: Option<String>,
    /// TOML file with server name, nodes, queues and delays.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Seconds a job stays queued at least.
    #[arg(long)]
    queue_delay: Option<f64>,
    /// End when the process that started the server ends.
    #[arg(long)]
    die_with_parent: bool,
}

pub(crate) fn main(arguments: Vec<String>) -> anyhow::Result<()> {
    let arguments =
        match Arguments::try_parse_from(std::iter::once("nuna-pbs server".to_owned()).chain(arguments)) {
            Ok(arguments) => arguments,
            Err(error) => error.exit(),
        };
    if arguments.die_with_parent {
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("cannot follow the parent process")?;
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut settings = match &arguments.config {
        Some(path) => Settings::read(path)?,
        None => Settings::default(),
    };
    if let Some(seconds) = arguments.queue_delay {
        settings.queue_delay_seconds = seconds;
    }
    if settings.server.is_empty() {
        settings.server = this_host();
    }
    let cores = match arguments.cores {
        Some(cores) => cores,
        None => u32::try_from(std::thread::available_parallelism()?.get())?,
    };
    let mem = arguments.mem.clone().unwrap_or_else(machine_memory);
    settings.fill_nodes(arguments.nodes, cores, &mem);
    settings.check()?;
    Ok(settings)
}

pub(crate) fn this_host() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .and_then(|name| name.split('.').next().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn machine_memory() -> String {
    std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            Some(format!("{}kb", line.trim().strip_suffix(" kB")?))
        })
        .unwrap_or_else(|| "4gb".to_owned())
}

pub(crate) fn unix_user() -> String {
    nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map_or_else(|| nix::unistd::getuid().to_string(), |user| user.name)
}

enum Message {
    Call { call: Call, answer: oneshot::Sender<Answer> },
    Began { key: Key, pid: u32 },
    Exited { key: Key, status: i32 },
}

struct Server {
    batch: Batch,
    folder: PathBuf,
    /// Process id of each running job's mom.
    moms: HashMap<Key, u32>,
    /// Signals for moms that have not said yet that they began: before that one would just end, and nobody would know how
    /// the job did.
    held: HashMap<Key, Vec<Signal>>,
    messages: mpsc::Sender<Message>,
    measured: Option<tokio::time::Instant>,
    /// What is saved before anybody is told of it, or signalled.
    is_changed: bool,
    replies: Vec<(oneshot::Sender<Answer>, Answer)>,
    signals: Vec<(Key, Signal)>,
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let settings = settings(&arguments)?;
    let folder = arguments.state.clone().unwrap_or_else(state_folder);
    let folder = std::path::absolute(&folder)?;
    for part in [folder.clone(), folder.join("spool")] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&part)
            .with_context(|| format!("cannot create {}", part.display()))?;
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o700))?;
    }
    let _lock = lock(&folder)?;
    let memory = read_memory(&folder)?;
    let socket = folder.join("socket");
    ensure!(
        socket.as_os_str().len() < 108,
        "the socket's path {} is longer than Unix allows (107 bytes): choose a shorter --state folder",
        socket.display()
    );
    // The lock is ours, so whoever left this socket is gone.
    let _ = std::fs::remove_file(&socket);
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;

    let (messages, mut inbox) = mpsc::channel(256);
    let name = settings.server.clone();
    let batch = Batch::new(name.clone(), settings, unix_user(), memory, Timestamp::now());
    let mut server = Server {
        batch,
        folder,
        moms: HashMap::new(),
        held: HashMap::new(),
        messages: messages.clone(),
        measured: None,
        is_changed: false,
        replies: Vec::new(),
        signals: Vec::new(),
    };
    tokio::spawn(accept(listener, messages));
    info!(server = name, socket = %socket.display(), "batch server is ready");

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        server.advance();
        let now = Timestamp::now();
        let wait = server
            .batch
            .next_deadline(now)
            .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
            .unwrap_or(IDLE_MAX)
            .clamp(Duration::from_millis(10), IDLE_MAX);
        tokio::select! {
            message = inbox.recv() => {
                let Some(message) = message else { break };
                server.receive(message);
                for _ in 1..TOGETHER_MAX {
                    let Ok(message) = inbox.try_recv() else { break };
                    server.receive(message);
                }
                server.settle();
            }
            () = tokio::time::sleep(wait) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    info!(jobs = server.moms.len(), "batch server is ending, and its jobs with it");
    server.farewell(&mut inbox).await;
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

fn lock(folder: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    let path = folder.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        anyhow::anyhow!(
            "another batch server uses {} ({error}); stop it or choose another --state",
            folder.display()
        )
    })
}

fn read_memory(folder: &Path) -> anyhow::Result<Memory> {
    let path = folder.join("jobs.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; move it away to start afresh", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn accept(listener: UnixListener, messages: mpsc::Sender<Message>) {
    let slots = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let messages = messages.clone();
                tokio::spawn(async move {
                    let limit = REQUEST_TIME_MAX + Duration::from_secs(ANSWER_SECONDS_MAX);
                    match tokio::time::timeout(limit, converse(stream, messages)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => warn!(error = format!("{error:#}"), "a command was not served"),
                        Err(_) => warn!("a command took longer than {limit:?} and was dropped"),
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, messages: mpsc::Sender<Message>) -> anyhow::Result<()> {
    let peer = stream.peer_cred().context("cannot tell who is calling")?;
    let own = nix::unistd::getuid().as_raw();
    ensure!(peer.uid() == own || peer.uid() == 0, "refused a command of Unix user {}", peer.uid());
    let (reader, mut writer) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIME_MAX, reader.read_until(b'\n', &mut line))
        .await
        .context("the request did not arrive in time")??;
    if line.is_empty() {
        // Somebody looked whether the server is there.
        return Ok(());
    }
    let answer = match serde_json::from_slice::<Call>(&line) {
        Ok(call) => {
            let (answer, answered) = oneshot::channel();
            messages.send(Message::Call { call, answer }).await?;
            answered.await?
        }
        Err(error) => {
            Answer::Refused(crate::error::Refusal::internal(format!("cannot read the request: {error}")))
        }
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    Ok(())
}

impl Server {
    fn receive(&mut self, message: Message) {
        let now = Timestamp::now();
        match message {
            Message::Call { call, answer } => {
                let reply = self.answer(now, call);
                self.replies.push((answer, reply));
            }
            Message::Began { key, pid } => {
                self.batch.began(now, key, pid);
                self.save();
                let held = self.held.remove(&key).unwrap_or_default();
                self.signals.extend(held.into_iter().map(|signal| (key, signal)));
            }
            Message::Exited { key, status } => self.ended(now, key, status),
        }
    }

    fn ended(&mut self, now: Timestamp, key: Key, status: i32) {
        self.moms.remove(&key);
        self.held.remove(&key);
        if let Some(job) = self.batch.job(key) {
            deliver(&self.folder, self.batch.server(), job);
        }
        info!(job = %key, status, "job ended");
        let effects = self.batch.exited(now, key, status, None);
        self.perform(effects);
        self.save();
    }

    fn answer(&mut self, now: Timestamp, call: Call) -> Answer {
        let user = call.user;
        let server = self.batch.server().to_owned();
        let objects = |(objects, refusals)| Answer::Objects { server: server.clone(), objects, refusals };
        match call.request {
            Request::Submit(mut submission) => {
                // Scripts may hold one-time codes: they live in the spool only, never in the state file.
                let script = std::mem::take(&mut submission.script);
                match self.batch.submit(now, &user, *submission) {
                    Ok(id) => {
                        match write_private(
                            &script_path(&self.folder, self.batch.sequence(&id)),
                            &script,
                            0o700,
                        ) {
                            Ok(()) => {
                                self.save();
                                info!(job = id, user, "job queued");
                                Answer::Submitted { id }
                            }
                            Err(error) => {
                                let _ = self.batch.delete(now, &user, &id, true, true);
                                Answer::Refused(crate::error::Refusal::internal(format!(
                                    "cannot keep the script: {error:#}"
                                )))
                            }
                        }
                    }
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Request::Status { ids, filter } => {
                self.measure(now);
                objects(self.batch.status(now, &ids, &filter))
            }
            Request::Delete { id, force, forget } => {
                match self.batch.delete(now, &user, &id, force, forget) {
                    Ok(effects) => {
                        info!(job = id, user, "job is to be deleted");
                        self.perform(effects);
                        self.save();
                        Answer::Done
                    }
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Request::Hold { id } => self.held(now, &user, &id, true),
            Request::Release { id } => self.held(now, &user, &id, false),
            Request::Queues { names } => objects(self.batch.queues(now, &names)),
            Request::Server => objects((vec![self.batch.server_object(now)], Vec::new())),
            Request::Nodes { names } => objects(self.batch.nodes(&names)),
        }
    }

    fn held(&mut self, now: Timestamp, user: &str, id: &str, wanted: bool) -> Answer {
        match self.batch.set_held(now, user, id, wanted) {
            Ok(()) => {
                self.save();
                Answer::Done
            }
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn measure(&mut self, now: Timestamp) {
        let instant = tokio::time::Instant::now();
        let is_fresh = self.measured.is_some_and(|at| instant.duration_since(at) < MEASURE_INTERVAL);
        if is_fresh || self.moms.is_empty() {
            return;
        }
        self.measured = Some(instant);
        let moms: Vec<(Key, u32)> = self.moms.iter().map(|(key, pid)| (*key, *pid)).collect();
        for (key, used) in usage::measure(&moms) {
            self.batch.measured(now, key, used);
        }
    }

    fn advance(&mut self) {
        let effects = self.batch.tick(Timestamp::now());
        if !effects.is_empty() {
            self.perform(effects);
            self.save();
        }
        self.settle();
    }

    /// Saves what has changed, then tells those who wait for it.
    fn settle(&mut self) {
        if std::mem::take(&mut self.is_changed) {
            self.write();
        }
        for (key, signal) in std::mem::take(&mut self.signals) {
            self.signal(key, signal);
        }
        for (answer, reply) in self.replies.drain(..) {
            // The caller may have been interrupted meanwhile.
            let _ = answer.send(reply);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start { key } => {
                    if let Err(error) = self.start(key) {
                        warn!(job = %key, error = format!("{error:#}"), "cannot start the job");
                        self.ended(Timestamp::now(), key, EXIT_LOST);
                    }
                }
                Effect::Stop { key, kill: how } => {
                    let signal = match how {
                        Kill::Gently => Signal::SIGTERM,
                        Kill::Now => Signal::SIGUSR1,
                    };
                    self.signal(key, signal);
                }
                Effect::Forget { key } => remove_files(&self.folder, key),
            }
        }
    }

    fn signal(&mut self, key: Key, signal: Signal) {
        if signal != Signal::SIGKILL
            && let Some(held) = self.held.get_mut(&key)
        {
            held.push(signal);
            return;
        }
        if let Some(pid) = self.moms.get(&key).and_then(|pid| i32::try_from(*pid).ok()) {
            // A mom that is gone has its `Exited` on the way.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn start(&mut self, key: Key) -> anyhow::Result<()> {
        let job = self.batch.job(key).context("the job is unknown")?;
        let spec = spec(&self.folder, self.batch.server(), self.batch.settings(), job)?;
        let path = self.folder.join(format!("spool/{key}.spec"));
        write_private(&path, &serde_json::to_vec(&spec)?, 0o600)?;
        let mut mom = tokio::process::Command::new(std::env::current_exe()?);
        mom.arg("mom").arg(&path).arg(std::process::id().to_string());
        mom.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = mom.spawn().context("cannot start the job's mom")?;
        let pid = child.id().context("the job's mom was gone at once")?;
        let output = child.stdout.take().context("the mom's output is not piped")?;
        self.moms.insert(key, pid);
        self.held.insert(key, Vec::new());
        let messages = self.messages.clone();
        info!(job = %key, "job started");
        tokio::spawn(async move {
            let mut status = EXIT_LOST;
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match line.split_once(' ') {
                    Some(("began", pid)) => {
                        if let Ok(pid) = pid.parse() {
                            let _ = messages.send(Message::Began { key, pid }).await;
                        }
                    }
                    Some(("exited", code)) => status = code.parse().unwrap_or(EXIT_LOST),
                    Some(_) | None => warn!(line, "a mom said something unknown"),
                }
            }
            let _ = child.wait().await;
            let _ = messages.send(Message::Exited { key, status }).await;
        });
        Ok(())
    }

    /// Ends all jobs and waits for their moms; what does not obey in time is killed.
    async fn farewell(&mut self, inbox: &mut mpsc::Receiver<Message>) {
        let running: Vec<Key> = self.moms.keys().copied().collect();
        for key in &running {
            self.signal(*key, Signal::SIGHUP);
        }
        let deadline = tokio::time::Instant::now() + FAREWELL_MAX;
        while !self.moms.is_empty() {
            match tokio::time::timeout_at(deadline, inbox.recv()).await {
                Ok(Some(Message::Call { answer, .. })) => drop(answer),
                Ok(Some(message)) => {
                    self.receive(message);
                    self.settle();
                }
                Ok(None) => break,
                Err(_) => {
                    let left: Vec<Key> = self.moms.keys().copied().collect();
                    warn!(jobs = ?left, "jobs did not end in time and are killed");
                    for key in left {
                        self.signal(key, Signal::SIGKILL);
                    }
                    break;
                }
            }
        }
        self.write();
    }

    fn save(&mut self) {
        self.is_changed = true;
    }

    fn write(&self) {
        let path = self.folder.join("jobs.json");
        let written =
            serde_json::to_vec(self.batch.memory()).map_err(anyhow::Error::from).and_then(|bytes| {
                let next = self.folder.join("jobs.json.new");
                write_private(&next, &bytes, 0o600)?;
                Ok(std::fs::rename(&next, &path)?)
            });
        if let Err(error) = written {
            warn!(error = format!("{error:#}"), "cannot save the jobs; a restart would forget the latest");
        }
    }
}

/// Jobs of an array share their array's.
fn script_path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("spool/{sequence}.SC"))
}

fn write_private(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    use std::io::Write;
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn remove_files(folder: &Path, key: Key) {
    for kind in ["SC", "OU", "ER", "spec", "nodes"] {
        let _ = std::fs::remove_file(folder.join(format!("spool/{key}.{kind}")));
    }
    let _ = std::fs::remove_dir_all(folder.join(format!("spool/{key}.tmp")));
}

/// The files a job writes while it runs: the destination itself with `-k d`, else the spool folder.
fn stream_files(folder: &Path, job: &Job) -> (String, Option<String>) {
    let submission = &job.submission;
    let direct = submission.keep.contains('d');
    let file = |letter: char, kind: &str, destination: String| {
        if direct && submission.keep.contains(letter) {
            destination
        } else {
            folder.join(format!("spool/{}.{kind}", job.key())).to_string_lossy().into_owned()
        }
    };
    let output = file('o', "OU", job.output_path());
    let error = file('e', "ER", job.error_path());
    match submission.join.as_str() {
        "oe" => (output, None),
        "eo" => (error, None),
        _ => (output, Some(error)),
    }
}

fn spec(folder: &Path, server: &str, settings: &Settings, job: &Job) -> anyhow::Result<Spec> {
    let State::Running { placement, .. } = &job.state else { bail!("the job is not running") };
    let submission = &job.submission;
    let id = job.id(server);
    let spool = |kind: &str| folder.join(format!("spool/{}.{kind}", job.key()));
    let hosts: String = placement
        .chunks
        .iter()
        .map(|chunk| format!("{}\n", chunk.node).repeat(chunk.mpiprocs as usize))
        .collect();
    write_private(&spool("nodes"), hosts.as_bytes(), 0o600)?;
    let temporary = spool("tmp");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&temporary)
        .with_context(|| format!("cannot create {}", temporary.display()))?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();

    let asked =
        |name: &str| submission.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let default_shell = asked("PBS_O_SHELL").unwrap_or_else(|| "/bin/sh".to_owned());
    let shell = submission.shell.clone().unwrap_or(default_shell);
    let mut environment: BTreeMap<String, String> = BTreeMap::new();
    // The node's own environment is what a login would give; everything else comes from the submitter.
    for name in ["PATH", "LANG", "LC_ALL", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            environment.insert(name.to_owned(), value);
        }
    }
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("HOME", submission.home.clone());
    set("USER", unix_user());
    set("LOGNAME", unix_user());
    set("SHELL", shell.clone());
    for (name, value) in &submission.variables {
        set(name, value.clone());
    }
    set("PBS_ENVIRONMENT", "PBS_BATCH".to_owned());
    set("PBS_JOBID", id);
    if let Some(index) = job.index {
        set("PBS_ARRAY_INDEX", index.to_string());
        set("PBS_ARRAY_ID", format!("{}[].{server}", job.sequence));
    }
    set("PBS_JOBNAME", submission.name.clone());
    set("PBS_QUEUE", job.queue.clone());
    set("PBS_O_QUEUE", job.queue.clone());
    set("PBS_O_HOST", submission.host.clone());
    set("PBS_NODEFILE", text(spool("nodes")));
    set("PBS_NODENUM", "0".to_owned());
    set("PBS_TASKNUM", "1".to_owned());
    set("PBS_MOMPORT", "15003".to_owned());
    set("PBS_JOBDIR", submission.home.clone());
    set("TMPDIR", text(temporary));
    set("NCPUS", placement.chunks.first().map_or(1, |chunk| chunk.ncpus).to_string());
    set("OMP_NUM_THREADS", placement.chunks.first().map_or(1, |chunk| chunk.ncpus).to_string());
    // So that a job can submit jobs.
    set("NUNA_PBS_DIR", text(folder.to_owned()));
    set("NUNA_PBS_USER", job.owner.clone());
    let (output, error) = stream_files(folder, job);
    let node = placement.chunks.first().map(|chunk| chunk.node.as_str()).unwrap_or_default();
    let launcher = settings.nodes.iter().find(|other| other.name == node).map(|node| node.launcher.clone());
    Ok(Spec {
        shell,
        script: text(script_path(folder, job.sequence)),
        folder: submission.home.clone(),
        environment,
        umask: submission.umask.unwrap_or(0o077),
        output,
        error,
        kill_delay_ms: u64::try_from(settings.kill_delay().as_millis()).unwrap_or(u64::MAX),
        launcher: launcher.unwrap_or_default(),
    })
}

/// Brings the spool files where the user wants them; what cannot be delivered stays in `undelivered/`.
fn deliver(folder: &Path, server: &str, job: &Job) {
    let (output, error) = stream_files(folder, job);
    let destination_of_output =
        if job.submission.join == "eo" { job.error_path() } else { job.output_path() };
    let pairs = [(Some(output), destination_of_output), (error, job.error_path())];
    for (from, to) in pairs {
        let Some(from) = from.filter(|from| *from != to) else { continue };
        let mut to = PathBuf::from(to);
        if to.is_dir() {
            let kind = if from.ends_with(".OU") { "OU" } else { "ER" };
            to.push(format!("{}.{kind}", job.id(server)));
        }
        if !Path::new(&from).exists() {
            continue;
        }
        if let Err(error) = copy(Path::new(&from), &to, job.submission.umask.unwrap_or(0o077)) {
            let kept = folder.join("undelivered");
            let name = Path::new(&from).file_name().unwrap_or_default();
            let saved = std::fs::create_dir_all(&kept).and_then(|()| std::fs::rename(&from, kept.join(name)));
            warn!(job = %job.key(), to = %to.display(), %error, kept = saved.is_ok(), "cannot deliver a job's output");
        }
    }
}

fn copy(from: &Path, to: &Path, mask: u32) -> std::io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    let mut target =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o666 & !mask).open(to)?;
    std::io::copy(&mut source, &mut target)?;
    Ok(())
}
