//! The tests of user servers on a real PBS, where the environment names one; on the embedded one else.
//!
//! ```sh
//! NUNA_TEST_PBS=/opt/pbs/bin cargo test -p nuna-spawner --test service user_servers -- --test-threads=1
//! ```
//!
//! `NUNA_TEST_PBS` names the folder of the commands, `NUNA_TEST_PBS_RUN_AS` the helper (`sudo -n /usr/libexec/nuna-submit`
//! if it is not set). `NUNA_TEST_PBS_STOP` and `NUNA_TEST_PBS_START` are command lines that end the server and leave jobs
//! running (`qterm -t quick`), and start it; without them the tests in which PBS is away are skipped, and say so. The
//! one node is this machine, idle, with eight cores; there are accounts `alice`, `bob` and `carol`, `query_other_jobs`
//! and `job_history_enable` are set, and there are queues `workq` (an hour at most), `tiny` (two cores at most), `closed` (not
//! enabled), `stuck` (not started) and `vip` (for somebody other than `alice`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{launcher_for_everybody, variable};

pub struct RealPbs {
    folder: PathBuf,
    helper: Vec<String>,
    lines: Option<[String; 2]>,
    /// What it knew before the test: the history of other tests.
    before: BTreeSet<String>,
}

impl RealPbs {
    pub fn of_the_environment() -> Option<Self> {
        let folder = PathBuf::from(variable("NUNA_TEST_PBS")?);
        let helper = variable("NUNA_TEST_PBS_RUN_AS");
        let helper = helper.unwrap_or_else(|| "sudo -n /usr/libexec/nuna-submit".to_owned());
        let lines = variable("NUNA_TEST_PBS_STOP").zip(variable("NUNA_TEST_PBS_START"));
        let mut pbs = Self {
            folder,
            helper: helper.split_whitespace().map(str::to_owned).collect(),
            lines: lines.map(<[String; 2]>::from),
            before: BTreeSet::new(),
        };
        pbs.before = pbs.jobs().into_iter().map(|(id, _)| id).collect();
        Some(pbs)
    }

    /// `[batch]` and `[launcher]`. People have their own homes.
    pub fn configuration(&self, folder: &Path) -> String {
        let commands = self.folder.display();
        format!(
            "[batch]\nqsub = \"{commands}/qsub\"\nqstat = \"{commands}/qstat\"\nqdel = \"{commands}/qdel\"\n\
             run_as = {:?}\ninterval_seconds = 0.5\n[launcher]\nprogram = \"{}\"\npath = \"/usr/bin:/bin\"\n",
            self.helper,
            launcher_for_everybody(folder).display(),
        )
    }

    pub fn run(&self, name: &str, arguments: &[&str]) -> Output {
        Command::new(self.folder.join(name)).args(arguments).current_dir("/").output().unwrap()
    }

    /// Those of this test.
    pub fn jobs(&self) -> serde_json::Map<String, Value> {
        let output = self.run("qstat", &["-x", "-f", "-F", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {output:?}");
        });
        let mut jobs = answer["Jobs"].as_object().cloned().unwrap_or_default();
        jobs.retain(|id, _| !self.before.contains(id));
        jobs
    }

    pub fn delete(&self, owner: &str, id: &str) -> Output {
        Command::new(&self.helper[0])
            .args(&self.helper[1..])
            .args([owner, "qdel", id])
            .current_dir("/")
            .output()
            .unwrap()
    }

    pub fn can_be_away(&self) -> bool {
        self.lines.is_some()
    }

    pub fn go(&self, is_away: bool) {
        let [stop, start] = self.lines.as_ref().unwrap();
        let line = if is_away { stop } else { start };
        let done = Command::new("sh").args(["-c", line]).current_dir("/").status().unwrap();
        assert!(done.success(), "{line}");
    }

    /// A job that its node has not confirmed (substate 41) is queued anew by a server that is restarted.
    pub fn is_settled(&self) -> bool {
        let jobs = self.jobs();
        jobs.values()
            .filter(|job| job["job_state"] == "R")
            .all(|job| job["substate"].to_string().contains("42"))
    }
}

impl Drop for RealPbs {
    /// Nothing of a test is left in somebody's real PBS.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.run("qstat", &["-B"]).status.success() {
            return;
        }
        for (id, job) in self.jobs() {
            let owner = job["Job_Owner"].as_str().unwrap_or_default().split('@').next().unwrap_or_default();
            if job["job_state"] != "F" {
                self.delete(owner, &id);
            }
        }
    }
}
