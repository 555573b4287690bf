//! Owns what each job asks for, and the script that says so. Scripts are readable by everyone, so nothing secret is in
//! one: it names the file that holds what a worker must know, which is readable by its owner only.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::walltime::show_walltime;

/// One job of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub queue: Option<String>,
    /// Instead of a `select` made of cores and memory; one chunk.
    pub select: Option<String>,
    pub cores: u32,
    pub memory_bytes: u64,
    pub walltime: Duration,
    pub account: Option<String>,
    pub project: Option<String>,
    /// More `#PBS` lines, without that word.
    pub directives: Vec<String>,
    /// Shell lines that run before the worker, such as `module load hdf5`.
    pub set_up: Vec<String>,
}

/// What differs from job to job, and from cluster to cluster.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub options: &'a Path,
    pub log: &'a Path,
}

impl Request {
    pub fn script(&self, task: &Task<'_>) -> String {
        let mut lines = vec!["#!/bin/bash".to_owned()];
        let mut directive = |text: String| lines.push(format!("#PBS {text}"));
        directive(format!("-N {}", task.name));
        if let Some(queue) = &self.queue {
            directive(format!("-q {queue}"));
        }
        directive(format!("-l select={}", self.select()));
        directive(format!("-l walltime={}", show_walltime(self.walltime)));
        if let Some(account) = &self.account {
            directive(format!("-A {account}"));
        }
        if let Some(project) = &self.project {
            directive(format!("-P {project}"));
        }
        // The worker writes its own log, where it can be read while the job runs.
        directive("-j oe".to_owned());
        directive("-o /dev/null".to_owned());
        // A job that PBS runs again would be a second worker of the same name, with half its walltime spent.
        directive("-r n".to_owned());
        self.directives.iter().for_each(|extra| directive(extra.clone()));
        lines.push("nuna_begin=$(date +%s)".to_owned());
        lines.push("umask 077".to_owned());
        lines.push(format!("exec >> {} 2>&1", quoted(task.log)));
        lines.extend(self.set_up.iter().cloned());
        lines.push(format!(
            "exec {} worker --options {} --name {} --ends-at $((nuna_begin + {}))",
            quoted(task.program),
            quoted(task.options),
            task.name,
            self.walltime.as_secs()
        ));
        lines.push(String::new());
        lines.join("\n")
    }

    /// `1:ncpus=4:mem=8192mb`.
    pub fn select(&self) -> String {
        self.select.clone().unwrap_or_else(|| {
            format!("1:ncpus={}:mem={}mb", self.cores, self.memory_bytes.div_ceil(1 << 20).max(1))
        })
    }
}

/// One word of the shell, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            queue: Some("omp".into()),
            select: None,
            cores: 4,
            memory_bytes: 8_000_000_000,
            walltime: Duration::from_secs(5400),
            account: Some("geo".into()),
            project: None,
            directives: vec!["-l place=excl".into()],
            set_up: vec!["module load hdf5".into()],
        }
    }

    #[test]
    fn a_script_asks_for_what_was_wanted_and_ends_as_the_worker() {
        let task = Task {
            name: "nuna-ab12-3",
            program: Path::new("/opt/nuna/bin/nuna"),
            options: Path::new("/home/o'neil/worker.json"),
            log: Path::new("/home/o'neil/3.log"),
        };
        let script = request().script(&task);
        let expected = "\
#!/bin/bash
#PBS -N nuna-ab12-3
#PBS -q omp
#PBS -l select=1:ncpus=4:mem=7630mb
#PBS -l walltime=01:30:00
#PBS -A geo
#PBS -j oe
#PBS -o /dev/null
#PBS -r n
#PBS -l place=excl
nuna_begin=$(date +%s)
umask 077
exec >> '/home/o'\\''neil/3.log' 2>&1
module load hdf5
exec '/opt/nuna/bin/nuna' worker --options '/home/o'\\''neil/worker.json' --name nuna-ab12-3 --ends-at $((nuna_begin + 5400))
";
        assert_eq!(script, expected);
    }

    #[test]
    fn a_select_of_the_persons_own_stands_as_it_is() {
        let request = Request { select: Some("1:ncpus=8:mem=16gb:ngpus=1".into()), ..request() };
        assert_eq!(request.select(), "1:ncpus=8:mem=16gb:ngpus=1");
    }
}
