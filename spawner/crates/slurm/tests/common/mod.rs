//! A Slurm of one node, made of the distribution's own packages, in a room of its own: private mounts, processes and
//! host name, with accounts that only exist there.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the packages `slurmctld`, `slurmd`, `slurm-client` and `munge` bring.
const PROGRAMS: [&str; 7] = [
    "/usr/sbin/munged",
    "/usr/sbin/slurmctld",
    "/usr/sbin/slurmd",
    "/usr/bin/sbatch",
    "/usr/bin/squeue",
    "/usr/bin/scancel",
    "/usr/bin/scontrol",
];
pub const COMMANDS: [&str; 4] = ["sbatch", "squeue", "scancel", "scontrol"];

/// Nodes have two cores, and jobs a core and a quarter of a node's memory unless they ask for more.
const CONFIGURATION: &str = "\
ClusterName=nuna
SlurmctldHost=node1(127.0.0.1)
SlurmctldPort=CONTROLLER
SlurmdPort=DAEMON
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=FOLDER/munge.socket
CredType=cred/munge
StateSaveLocation=FOLDER/state
SlurmdSpoolDir=FOLDER/spool
SlurmctldPidFile=FOLDER/slurmctld.pid
SlurmdPidFile=FOLDER/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
KillWait=2
MessageTimeout=3
SlurmdParameters=config_overrides
EnforcePartLimits=LIMITS
DefMemPerCPU=512
NodeName=node1 NodeAddr=127.0.0.1 CPUs=2 RealMemory=2048 State=UNKNOWN
PartitionName=workq Nodes=node1 Default=YES MaxTime=60 DefaultTime=30 State=UP
PartitionName=closed Nodes=node1 State=DRAIN
PartitionName=stopped Nodes=node1 State=DOWN
PartitionName=stuck Nodes=node1 State=DOWN
PartitionName=vip Nodes=node1 AllowGroups=carol
";

/// Process 1 of the room. It does what it is told, line by line, and everything ends with it.
const ROOM: &str = r#"
folder=$1
mount --bind "$folder/etc" /etc && hostname node1 || exit 1
munged --foreground --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munge.pid" --log-file="$folder/munge.log" --seed-file="$folder/munge.seed" &
until [ -S "$folder/munge.socket" ]; do sleep 0.05; done
slurmd -D >> "$folder/slurmd.log" 2>&1 &
start() { slurmctld -D >> "$folder/slurmctld.log" 2>&1 & controller=$!; }
start
while read -r word; do
    case $word in
    start) start ;;
    stop) kill $controller; wait $controller ;;
    pause) kill -STOP $controller ;;
    resume) kill -CONT $controller ;;
    esac
    echo "$word" >> "$folder/done"
done
"#;

pub const USERS: [(&str, u32); 3] = [("alice", 23_456), ("bob", 23_457), ("carol", 23_458)];

pub struct Slurm {
    room: Child,
    /// Process 1 of the room, as it is called outside.
    first: u32,
    told: usize,
    pub folder: tempfile::TempDir,
}

/// Why this machine can have none; nothing if it can.
fn hindrance() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root can make a room with accounts of its own".to_owned());
    }
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !Path::new(program).exists()).collect();
    if !missing.is_empty() {
        let install = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge";
        return Some(format!("{} are missing; {install}", missing.join(", ")));
    }
    let room = Command::new("unshare")
        .args(["--mount", "--pid", "--uts", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&room.stderr).into_owned();
    (!room.status.success()).then(|| format!("this machine lets nobody unshare: {words}"))
}

impl Slurm {
    /// Nothing, and a line that says why, where the machine cannot have one; a panic where `CI` is set.
    pub async fn start() -> Option<Self> {
        Self::with(false).await
    }

    /// The same; `enforces_limits` refuses at once what a partition never runs.
    pub async fn with(enforces_limits: bool) -> Option<Self> {
        if let Some(why) = hindrance() {
            // A run that is to prove something must not pass because Slurm is missing.
            assert!(std::env::var_os("CI").is_none_or(|value| value.is_empty()), "CI is set, and {why}");
            eprintln!("skipped: {why}");
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("nuna-slurm-")
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(path("etc")).status().unwrap();
        assert!(copied.success());
        for name in ["state", "spool", "homes", "bin", "etc/nuna", "etc/slurm"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        let append = |name: &str, text: &str| {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        for (name, number) in USERS {
            let home = path("homes").join(name);
            std::fs::create_dir(&home).unwrap();
            chown(&home, Some(number), Some(number)).unwrap();
            append("etc/passwd", &format!("{name}:x:{number}:{number}::{}:/bin/sh\n", home.display()));
            append("etc/group", &format!("{name}:x:{number}:\n"));
        }
        append("etc/hosts", "127.0.0.1 node1\n");
        // Two that are free now; whoever takes one meanwhile is found out by the wait below.
        let free: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let [controller, daemon] = [0, 1].map(|index| free[index].local_addr().unwrap().port().to_string());
        drop(free);
        let configuration = CONFIGURATION
            .replace("FOLDER", folder.path().to_str().unwrap())
            .replace("CONTROLLER", &controller)
            .replace("DAEMON", &daemon)
            .replace("LIMITS", if enforces_limits { "ALL" } else { "NO" });
        std::fs::write(path("etc/slurm/slurm.conf"), configuration).unwrap();
        let key: Vec<u8> = (0..128_u8).map(|byte| byte ^ std::process::id().to_le_bytes()[0]).collect();
        std::fs::write(path("munge.key"), key).unwrap();
        std::fs::set_permissions(path("munge.key"), PermissionsExt::from_mode(0o600)).unwrap();
        let log = std::fs::File::create(path("room.log")).unwrap();
        let room = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--uts",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                ROOM,
                "sh",
            ])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .spawn()
            .unwrap();
        let mut slurm = Self { room, first: 0, told: 0, folder };
        slurm.first = slurm.first_process().await;
        let path = |name: &str| slurm.path(name);
        for name in COMMANDS {
            let script = format!("#!/bin/sh\nexec {} {name} \"$@\"\n", slurm.entrance().join(" "));
            std::fs::write(path("bin").join(name), script).unwrap();
            std::fs::set_permissions(path("bin").join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let started = Instant::now();
        loop {
            let nodes = slurm.run(&["sinfo", "--noheader", "-o", "%T"]);
            if String::from_utf8_lossy(&nodes.stdout).contains("idle") {
                return Some(slurm);
            }
            assert!(started.elapsed() < PATIENCE, "Slurm did not start: {nodes:?}\n{}", slurm.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command line as root would type it in the room.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let entrance = self.entrance();
        Command::new(&entrance[0])
            .args(&entrance[1..])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .output()
            .unwrap()
    }

    /// How a program becomes one of the room.
    pub fn entrance(&self) -> Vec<String> {
        ["nsenter", "--mount", "--uts", "--pid", "-t", &self.first.to_string()].map(str::to_owned).to_vec()
    }

    async fn first_process(&self) -> u32 {
        let room = self.room.id();
        let started = Instant::now();
        loop {
            let children = std::fs::read_to_string(format!("/proc/{room}/task/{room}/children"));
            if let Some(first) = children.unwrap_or_default().split_whitespace().next() {
                return first.parse().unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "the room has no process: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `start`, `stop`, `pause` or `resume`: of the controller. Returns once it is done. One that is killed instead forgets
    /// what it has not written down, which may be the start of a job some seconds ago.
    pub fn tell(&mut self, word: &str) {
        self.told += 1;
        writeln!(self.room.stdin.as_mut().unwrap(), "{word}").unwrap();
        let started = Instant::now();
        let count = || std::fs::read_to_string(self.path("done")).unwrap_or_default().lines().count();
        while count() < self.told {
            assert!(started.elapsed() < PATIENCE, "{word} was not done");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn logs(&self) -> String {
        ["room.log", "munge.log", "slurmctld.log", "slurmd.log"]
            .map(|name| {
                format!("--- {name}\n{}", std::fs::read_to_string(self.path(name)).unwrap_or_default())
            })
            .join("\n")
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Everything in the room ends with its process 1.
        let _ = self.room.kill();
        let _ = self.room.wait();
    }
}
