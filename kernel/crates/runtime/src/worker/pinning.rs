//! Owns on which cores a worker's compute threads run: a share of those that this process may use, within one NUMA node if it
//! fits there. Threads are bound to the worker's share and not to a core each, so that the system can still move them out of
//! each other's way; what costs time is memory of another node, and caches that two workers empty in turns.
//!
//! Nothing is bound where others may use the same cores and one of them would idle meanwhile: see [`places`]. What this process
//! may use is what the system says, so a batch system's cpuset, a container's or `taskset` is kept within.
#![expect(unsafe_code, reason = "the system's calls for a thread's cores")]

use std::{collections::BTreeSet, io, path::Path};

use nix::libc;
use serde::{Deserialize, Serialize};

/// Machines with more are not bound on.
const CPUS_MAX: usize = 16_384;
const WORD_BITS: usize = libc::c_ulong::BITS as usize;

/// Whether compute threads are bound to cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinning {
    Off,
    /// On machines with several NUMA nodes, if the cores are this cluster's alone as far as can be told.
    #[default]
    Auto,
    /// Also on one node, and beside others: whoever says so knows that nobody else needs these cores.
    On,
}

/// Which worker this is among those that share the cores of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub index: u16,
    pub of: u16,
}

impl Default for Share {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

/// The cores of each compute thread, or in words why they are not bound. `system` is `/sys/devices/system`, `allowed` what this
/// process may use.
///
/// Cores are this cluster's alone if they are fewer than the machine has, since somebody has set them apart, or if the cluster
/// has a thread for each: then nobody finds a better place anyway.
pub(crate) fn places(
    system: &Path,
    allowed: &BTreeSet<usize>,
    pinning: Pinning,
    share: Share,
    threads: u16,
) -> Result<Vec<BTreeSet<usize>>, String> {
    let (of, threads) = (usize::from(share.of.max(1)), usize::from(threads.max(1)));
    let index = usize::from(share.index) % of;
    let nodes = nodes(system, allowed);
    match pinning {
        Pinning::Off => return Err("that was asked for".to_owned()),
        Pinning::Auto => {
            if nodes.len() < 2 {
                return Err("its cores are all of one NUMA node".to_owned());
            }
            let online = list(&read(&system.join("cpu/online")));
            let apart = online.difference(allowed).next().is_some();
            if !apart && of * threads < allowed.len() {
                return Err(format!(
                    "other programs may use the {} cores of this machine, of which this cluster needs {}",
                    allowed.len(),
                    of * threads
                ));
            }
        }
        Pinning::On => {}
    }
    if of * threads > allowed.len() {
        return Err(format!("{} threads share {} cores", of * threads, allowed.len()));
    }
    let places = divide(&nodes, index, of, threads);
    if places.iter().all(|place| place == allowed) {
        return Err("it has all of them".to_owned());
    }
    Ok(places)
}

/// The cores of each thread of worker `index` of `of`, who have together at most as many threads as there are cores.
fn divide(nodes: &[Vec<usize>], index: usize, of: usize, threads: usize) -> Vec<BTreeSet<usize>> {
    let part = |cores: &[usize], at: usize, parts: usize| {
        cores[at * cores.len() / parts..(at + 1) * cores.len() / parts].to_vec()
    };
    if nodes.iter().map(|node| node.len() / threads).sum::<usize>() >= of {
        // Each within a node: one after the other where most is left, so that they share out memory's bandwidth too.
        let mut guests = vec![0; nodes.len()];
        let mut own = (0, 0);
        for worker in 0..of {
            let fits = (0..nodes.len()).filter(|&node| (guests[node] + 1) * threads <= nodes[node].len());
            let left = |node: usize| (nodes[node].len() / (guests[node] + 1), std::cmp::Reverse(node));
            let node = fits.max_by_key(|&node| left(node)).expect("there is room for all of them");
            if worker == index {
                own = (node, guests[node]);
            }
            guests[node] += 1;
        }
        let (node, guest) = own;
        return vec![part(&nodes[node], guest, guests[node]).into_iter().collect(); threads];
    }
    // Across nodes; each of its threads stays within one.
    let cores = part(&nodes.concat(), index, of);
    let home = |thread: usize| {
        let core = cores[thread * cores.len() / threads];
        nodes.iter().find(|node| node.contains(&core)).expect("cores are those of the nodes")
    };
    (0..threads)
        .map(|thread| {
            let node = home(thread);
            cores.iter().copied().filter(|core| node.contains(core)).collect()
        })
        .collect()
}

/// The cores of each NUMA node that has any of `allowed`, those of one physical core beside each other. Without news of nodes all
/// are one.
fn nodes(system: &Path, allowed: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    let first_sibling = |cpu: usize| {
        let path = system.join(format!("cpu/cpu{cpu}/topology/thread_siblings_list"));
        list(&read(&path)).first().copied().unwrap_or(cpu)
    };
    let mut numbers: Vec<usize> = std::fs::read_dir(system.join("node"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let mut left = allowed.clone();
    let mut nodes = Vec::new();
    for number in numbers {
        let cpus = list(&read(&system.join(format!("node/node{number}/cpulist"))));
        nodes.push(cpus.intersection(&left).copied().collect::<Vec<_>>());
        left.retain(|cpu| !cpus.contains(cpu));
    }
    nodes.push(left.into_iter().collect());
    nodes.retain(|cpus| !cpus.is_empty());
    for cpus in &mut nodes {
        cpus.sort_by_key(|&cpu| (first_sibling(cpu), cpu));
    }
    nodes
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Numbers as the kernel lists them: `0-3,8`. What is no such list is left out.
fn list(text: &str) -> BTreeSet<usize> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        (last < CPUS_MAX).then_some(first..=last)
    });
    ranges.flatten().collect()
}

/// Cores that this thread, and those that it starts, may run on.
///
/// # Errors
/// If the system does not say.
pub(crate) fn allowed() -> io::Result<BTreeSet<usize>> {
    let mut words = [0 as libc::c_ulong; CPUS_MAX / WORD_BITS];
    // SAFETY: the system writes at most as many bytes as it is told there are.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&words), words.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..CPUS_MAX).filter(|cpu| words[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1 == 1).collect())
}

/// Has this thread, and those that it starts, run on these cores alone.
///
/// # Errors
/// If the system refuses, as when a core has been taken away meanwhile.
pub(crate) fn bind(cpus: &BTreeSet<usize>) -> io::Result<()> {
    let mut words = [0 as libc::c_ulong; CPUS_MAX / WORD_BITS];
    for cpu in cpus {
        words[cpu / WORD_BITS] |= 1 << (cpu % WORD_BITS);
    }
    // SAFETY: the system reads as many bytes as it is told there are.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&words), words.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/sys/devices/system` of a machine with these nodes; all its cores are there, in pairs of siblings if `pairs` gives
    /// the distance of two.
    fn machine(nodes: &[&str], pairs: Option<usize>) -> (tempfile::TempDir, BTreeSet<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        };
        let all: BTreeSet<usize> = nodes.iter().flat_map(|cpus| list(cpus)).collect();
        for (number, cpus) in nodes.iter().enumerate() {
            write(&format!("node/node{number}/cpulist"), cpus);
        }
        write("node/possible", "0");
        write("cpu/online", &nodes.join(","));
        for &cpu in all.iter().filter(|_| pairs.is_some()) {
            let distance = pairs.unwrap();
            let first = if cpu < distance { cpu } else { cpu - distance };
            let path = format!("cpu/cpu{cpu}/topology/thread_siblings_list");
            write(&path, &format!("{first},{}", first + distance));
        }
        (folder, all)
    }

    fn set(text: &str) -> BTreeSet<usize> {
        list(text)
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(set("0-3,8\n"), BTreeSet::from([0, 1, 2, 3, 8]));
        assert_eq!(set(""), BTreeSet::new());
        assert_eq!(set("1,x,3-,0-99999999999,5"), BTreeSet::from([1, 5]));
    }

    #[test]
    fn workers_that_fill_a_machine_of_two_nodes_have_a_node_each() {
        let (machine, all) = machine(&["0-3", "4-7"], None);
        let of_worker = |index, of, threads| {
            places(machine.path(), &all, Pinning::Auto, Share { index, of }, threads).unwrap()
        };
        assert_eq!(of_worker(0, 2, 4), vec![set("0-3"); 4]);
        assert_eq!(of_worker(1, 2, 4), vec![set("4-7"); 4]);
        // Four of two threads: two in each node, with nothing in common.
        let places: Vec<_> = (0..4).map(|index| of_worker(index, 4, 2)).collect();
        assert_eq!(
            places.iter().map(|place| place[0].clone()).collect::<Vec<_>>(),
            [set("0-1"), set("4-5"), set("2-3"), set("6-7")]
        );
    }

    #[test]
    fn threads_of_a_worker_larger_than_a_node_stay_within_a_node_each() {
        let (machine, all) = machine(&["0-3", "4-7"], None);
        let places = places(machine.path(), &all, Pinning::Auto, Share::default(), 8).unwrap();
        assert_eq!(places[..4], [set("0-3"), set("0-3"), set("0-3"), set("0-3")]);
        assert_eq!(places[4..], [set("4-7"), set("4-7"), set("4-7"), set("4-7")]);
    }

    #[test]
    fn no_two_workers_share_a_core_however_many_there_are_and_all_have_one_for_each_thread() {
        for nodes in [&["0-3", "4-7"][..], &["0-5", "6-7", "8-15"], &["0-12"], &["0-1", "2-3", "4-5", "6"]] {
            let (machine, all) = machine(nodes, None);
            for threads in 1..=all.len() {
                for of in 1..=all.len() / threads {
                    let mut taken = BTreeSet::new();
                    for index in 0..of {
                        let share = Share { index: index as u16, of: of as u16 };
                        let found = places(machine.path(), &all, Pinning::On, share, threads as u16);
                        let found = match found {
                            Ok(found) => found,
                            Err(reason) => {
                                assert!(of == 1 && reason == "it has all of them", "{nodes:?}: {reason}");
                                continue;
                            }
                        };
                        assert_eq!(found.len(), threads);
                        let cores: BTreeSet<usize> = found.iter().flatten().copied().collect();
                        assert!(cores.len() >= threads && cores.is_subset(&all));
                        assert!(cores.is_disjoint(&taken), "{nodes:?}, {of} workers of {threads}");
                        taken.extend(cores);
                        for place in &found {
                            let within = nodes.iter().any(|node| place.is_subset(&set(node)));
                            assert!(within, "{place:?} is in one of {nodes:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn siblings_of_a_core_are_one_workers() {
        let (machine, all) = machine(&["0-3,8-11", "4-7,12-15"], Some(8));
        let places = |index| {
            places(machine.path(), &all, Pinning::Auto, Share { index, of: 4 }, 4).unwrap()[0].clone()
        };
        assert_eq!(
            [places(0), places(1), places(2), places(3)],
            [set("0-1,8-9"), set("4-5,12-13"), set("2-3,10-11"), set("6-7,14-15")]
        );
    }

    #[test]
    fn what_somebody_has_set_apart_is_kept_within() {
        let (machine, _) = machine(&["0-15", "16-31"], None);
        // A batch job's cores, on both nodes.
        let allowed = set("12-19");
        let job = |threads| places(machine.path(), &allowed, Pinning::Auto, Share::default(), threads);
        assert_eq!(job(4).unwrap(), vec![set("12-15"); 4]);
        assert_eq!(job(8).unwrap()[7], set("16-19"));
        assert_eq!(job(9).unwrap_err(), "9 threads share 8 cores");
        // On one node there is nothing to be gained.
        let one = places(machine.path(), &set("2-5"), Pinning::Auto, Share::default(), 4);
        assert_eq!(one.unwrap_err(), "its cores are all of one NUMA node");
    }

    #[test]
    fn where_a_neighbour_may_need_the_same_cores_nothing_is_bound() {
        let (machine, all) = machine(&["0-15", "16-31"], None);
        // As a job of 4 cores where the batch system keeps nobody apart.
        let said = places(machine.path(), &all, Pinning::Auto, Share::default(), 4).unwrap_err();
        assert!(
            said.contains("may use the 32 cores of this machine, of which this cluster needs 4"),
            "{said}"
        );
        let told = places(machine.path(), &all, Pinning::On, Share { index: 1, of: 2 }, 4).unwrap();
        assert_eq!(told, vec![set("16-31"); 4], "unless somebody knows better");
        let off = places(machine.path(), &all, Pinning::Off, Share { index: 1, of: 2 }, 16);
        assert_eq!(off.unwrap_err(), "that was asked for");
    }

    #[test]
    fn a_machine_that_says_nothing_of_nodes_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let all = set("0-3");
        assert_eq!(nodes(folder.path(), &all), [vec![0, 1, 2, 3]]);
        let share = Share { index: 1, of: 2 };
        let places = places(folder.path(), &all, Pinning::On, share, 2).unwrap();
        assert_eq!(places, vec![set("2-3"); 2]);
    }

    #[test]
    fn a_thread_is_bound_alone_and_to_what_it_may_use() {
        let before = allowed().unwrap();
        let one = BTreeSet::from([*before.first().unwrap()]);
        let bound = std::thread::spawn({
            let one = one.clone();
            move || bind(&one).and_then(|()| allowed())
        });
        assert_eq!(bound.join().unwrap().unwrap(), one);
        assert_eq!(allowed().unwrap(), before);
        assert!(std::thread::spawn(|| bind(&BTreeSet::new())).join().unwrap().is_err());
    }
}
