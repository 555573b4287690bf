//! Owns what this process may use of its machine: cores and memory of the batch job or control group it runs in.
//! How that is shared out among workers is decided by `local`.

use std::path::Path;

/// Cores that a cluster started here may keep busy; at least 1.
///
/// The least of what the kernel's scheduler grants (affinity and control group) and what the batch job asked for:
/// `NCPUS`, which PBS sets in every job, and `CPU_LIMIT`, which JupyterHub's spawners set in user servers.
pub(crate) fn cores() -> usize {
    let granted = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let asked = ["NCPUS", "CPU_LIMIT"].iter().filter_map(|name| std::env::var(name).ok());
    cores_of(granted, asked)
}

fn cores_of(granted: usize, asked: impl Iterator<Item = String>) -> usize {
    // CPU_LIMIT may be a fraction.
    let asked = asked.filter_map(|text| text.trim().parse::<f64>().ok()).filter(|cores| *cores > 0.0);
    asked.map(|cores| cores.ceil() as usize).fold(granted, usize::min).max(1)
}

/// Bytes of memory that a cluster started here may use; None if nothing says.
///
/// The least of what the machine has, the limits of the control groups this process is in, and `MEM_LIMIT`, which
/// JupyterHub's spawners set in user servers. PBS itself tells no job how much memory it asked for.
pub(crate) fn memory_bytes() -> Option<u64> {
    let asked = std::env::var("MEM_LIMIT").ok().and_then(|text| text.trim().parse().ok());
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_limits(&groups, Path::new("/sys/fs/cgroup"));
    [machine_bytes(), asked].into_iter().flatten().chain(limits).filter(|bytes| *bytes > 0).min()
}

fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Limits of the groups that `/proc/self/cgroup` names and of those above them, version 2 and version 1
/// (cgroups(7)). A group without a limit says `max`, or in version 1 a number near 2^63.
fn group_limits(groups: &str, root: &Path) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = std::fs::read_to_string(folder.join(group).join(file)).unwrap_or_default();
            limits.extend(text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60));
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_gets_the_cores_it_asked_for() {
        let asked = |texts: &[&str]| cores_of(8, texts.iter().map(|text| (*text).to_owned()));
        assert_eq!(asked(&[]), 8);
        assert_eq!(asked(&["2"]), 2);
        assert_eq!(asked(&["64"]), 8);
        assert_eq!(asked(&["4", "1.5"]), 2);
        assert_eq!(asked(&["0", "many"]), 8);
    }

    #[test]
    fn limits_of_control_groups_are_found_above_too() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("pbs_jobs/12.host/memory.max", "4294967296\n");
        write("pbs_jobs/12.host/step/memory.max", "max\n");
        write("memory/old/memory.limit_in_bytes", "1000000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group_limits("0::/pbs_jobs/12.host/step\n", root.path()), [4294967296]);
        assert_eq!(group_limits("5:memory:/old\n4:cpu,cpuacct:/old\n", root.path()), [1000000]);
        assert_eq!(group_limits("0::/\nnonsense\n", root.path()), [0_u64; 0]);
    }
}
