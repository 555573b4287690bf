//! What processes of a job exist and what they use, read from `/proc`.

use std::collections::{HashMap, HashSet};

use crate::job::{Key, Used};

struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
    rss_pages: u64,
    vsize_bytes: u64,
    is_zombie: bool,
}

fn table() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            parse(pid, &stat)
        })
        .collect()
}

/// Fields after the command's name, which may itself hold parentheses and spaces.
fn parse(pid: u32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        // User and system time, own and of children already waited for.
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        vsize_bytes: number(20)?,
        rss_pages: number(21)?,
        is_zombie: fields.first() == Some(&"Z"),
    })
}

/// All processes below `root`, zombies excepted. One that begins or ends meanwhile may be missed.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    // With thousands of jobs, each of which asks when it ends, the whole table is a processor's work.
    if let Some(all) = listed_below(root) {
        return all;
    }
    below(root, &table())
        .into_iter()
        .filter(|process| !process.is_zombie)
        .map(|process| process.pid)
        .collect()
}

/// As the kernel lists children; none if it was built without these lists.
fn listed_below(root: u32) -> Option<Vec<u32>> {
    let own = std::process::id();
    std::fs::metadata(format!("/proc/{own}/task/{own}/children")).ok()?;
    let mut seen = HashSet::from([root]);
    let mut pending = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = pending.pop() {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in text.split_ascii_whitespace().filter_map(|child| child.parse().ok()) {
                if !seen.insert(child) {
                    continue;
                }
                let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
                if parse(child, &stat).is_some_and(|process| !process.is_zombie) {
                    found.push(child);
                    pending.push(child);
                }
            }
        }
    }
    Some(found)
}

fn below(root: u32, table: &[Process]) -> Vec<&Process> {
    let mut children: HashMap<u32, Vec<&Process>> = HashMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    let mut seen = HashSet::from([root]);
    let mut pending = vec![root];
    let mut found = Vec::new();
    while let Some(pid) = pending.pop() {
        for process in children.get(&pid).into_iter().flatten() {
            if seen.insert(process.pid) {
                found.push(*process);
                pending.push(process.pid);
            }
        }
    }
    found
}

/// What each mom's job uses now, from one walk over the process table.
pub(crate) fn measure(moms: &[(Key, u32)]) -> Vec<(Key, Used)> {
    let ticks_per_second =
        nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1);
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let (ticks_per_second, page_bytes) = (ticks_per_second.unsigned_abs(), page_bytes.unsigned_abs());
    let table = table();
    moms.iter()
        .map(|(key, mom)| {
            let mut used = Used::default();
            let mut ticks = 0;
            for process in below(*mom, &table) {
                ticks += process.ticks;
                used.mem_kb += process.rss_pages * page_bytes / 1024;
                used.vmem_kb += process.vsize_bytes / 1024;
            }
            used.cput_s = ticks / ticks_per_second;
            (*key, used)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 10 5 1 2 20 0 1 0 9 4096 2 0";
        let process = parse(7, stat).unwrap();
        assert_eq!((process.parent, process.ticks, process.vsize_bytes, process.rss_pages), (3, 18, 4096, 2));
    }
}
