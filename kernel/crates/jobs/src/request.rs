//! Owns what each job asks for, and the script that says so. Scripts are readable by everyone, so nothing secret is in
//! one: it names the file that holds what a worker must know, which is readable by its owner only.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::walltime::show_walltime;

/// One job of one worker, or an array of such jobs.
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

/// What differs from submission to submission, and from cluster to cluster.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Workers are called after it and their number.
    pub stem: &'a str,
    /// The first worker and the last: an array, unless they are one.
    pub first: u32,
    pub last: u32,
    pub program: &'a Path,
    pub options: &'a Path,
    /// The folder of the workers' logs.
    pub logs: &'a Path,
}

impl Request {
    pub fn script(&self, task: &Task<'_>) -> String {
        let mut lines = vec!["#!/bin/bash".to_owned()];
        let mut directive = |text: String| lines.push(format!("#PBS {text}"));
        let is_array = task.last > task.first;
        if is_array {
            directive(format!("-N {}", task.stem));
            directive(format!("-J {}-{}", task.first, task.last));
        } else {
            directive(format!("-N {}-{}", task.stem, task.first));
        }
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
        // A job that PBS runs again would be a second worker of the same name. Of an array it insists on being allowed to.
        if !is_array {
            directive("-r n".to_owned());
        }
        self.directives.iter().for_each(|extra| directive(extra.clone()));
        lines.push("nuna_begin=$(date +%s)".to_owned());
        lines.push("umask 077".to_owned());
        let number = if is_array { "$PBS_ARRAY_INDEX".to_owned() } else { task.first.to_string() };
        let name = format!("{}-{number}", task.stem);
        // Index and name are letters, digits and dashes.
        lines.push(format!("exec >> {}/{name}.log 2>&1", quoted(task.logs)));
        if is_array {
            let again = "PBS runs this job again: its worker was replaced when it was lost";
            lines.push(format!("mkdir {}/{name}.begun || {{ echo '{again}'; exit 0; }}", quoted(task.logs)));
        }
        lines.extend(self.set_up.iter().cloned());
        lines.push(format!(
            "exec {} worker --options {} --name {name} --ends-at $((nuna_begin + {}))",
            quoted(task.program),
            quoted(task.options),
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

    fn task(first: u32, last: u32) -> Task<'static> {
        Task {
            stem: "nuna-ab12",
            first,
            last,
            program: Path::new("/opt/nuna/bin/nuna"),
            options: Path::new("/home/o'neil/worker.json"),
            logs: Path::new("/home/o'neil/logs"),
        }
    }

    #[test]
    fn a_script_asks_for_what_was_wanted_and_ends_as_the_worker() {
        let script = request().script(&task(3, 3));
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
exec >> '/home/o'\\''neil/logs'/nuna-ab12-3.log 2>&1
module load hdf5
exec '/opt/nuna/bin/nuna' worker --options '/home/o'\\''neil/worker.json' --name nuna-ab12-3 --ends-at $((nuna_begin + 5400))
";
        assert_eq!(script, expected);
    }

    #[test]
    fn an_array_s_script_tells_each_job_its_number_and_runs_once() {
        let script = request().script(&task(3, 10));
        for line in [
            "#PBS -N nuna-ab12",
            "#PBS -J 3-10",
            "exec >> '/home/o'\\''neil/logs'/nuna-ab12-$PBS_ARRAY_INDEX.log 2>&1",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} is not in\n{script}");
        }
        assert!(!script.contains("-r n"), "PBS refuses that of arrays: {script}");
        assert!(script.contains("--name nuna-ab12-$PBS_ARRAY_INDEX --ends-at"), "{script}");

        // As PBS runs it, and runs it again.
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("worker.sh"), "#!/bin/sh\necho began \"$5\"\n").unwrap();
        std::fs::set_permissions(path("worker.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let (program, options) = (path("worker.sh"), path("worker.json"));
        let task = Task { program: &program, options: &options, logs: folder.path(), ..task(3, 10) };
        std::fs::write(path("job.sh"), Request { set_up: vec![], ..request() }.script(&task)).unwrap();
        for _ in 0..2 {
            let mut bash = std::process::Command::new("bash");
            assert!(bash.arg(path("job.sh")).env("PBS_ARRAY_INDEX", "7").status().unwrap().success());
        }
        let log = std::fs::read_to_string(path("nuna-ab12-7.log")).unwrap();
        assert_eq!(log.matches("began nuna-ab12-7\n").count(), 1, "{log}");
        assert!(log.contains("PBS runs this job again"), "{log}");
    }

    #[test]
    fn a_select_of_the_persons_own_stands_as_it_is() {
        let request = Request { select: Some("1:ncpus=8:mem=16gb:ngpus=1".into()), ..request() };
        assert_eq!(request.select(), "1:ncpus=8:mem=16gb:ngpus=1");
    }
}
