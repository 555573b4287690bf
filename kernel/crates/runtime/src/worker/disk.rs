//! Owns what a worker says of the disk that its values go to when memory is short: how much is free, and who shares it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::sys::{
    statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, TMPFS_MAGIC, statfs},
    statvfs::statvfs,
};
use nuna_wire::message::Disk;

use super::spill::SpillFolder;

/// File systems whose space is memory, or is at the other end of a network that all workers share. Those that `nix` does not
/// name: ramfs, Lustre, GPFS, CIFS, BeeGFS.
const NOT_LOCAL: [FsType; 8] = [
    TMPFS_MAGIC,
    NFS_SUPER_MAGIC,
    SMB_SUPER_MAGIC,
    FsType(0x8584_58f6),
    FsType(0x0bd0_0bd0),
    FsType(0x4750_4653),
    FsType(0xff53_4d42),
    FsType(0x1983_0326),
];

/// The disks below the folders, each once.
pub(crate) fn look_at(folders: &[SpillFolder]) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for folder in folders {
        let Ok(path) = folder.resolve() else { continue };
        let mut disk = look(&path);
        disk.limit_bytes = folder.limit_bytes.unwrap_or(u64::MAX);
        match disks.iter_mut().find(|there| there.id == disk.id) {
            Some(there) => there.limit_bytes = there.limit_bytes.saturating_add(disk.limit_bytes),
            None => disks.push(disk),
        }
    }
    disks
}

/// The disk below `directory`, which need not exist yet. Nothing is free on one that cannot be asked.
fn look(directory: &Path) -> Disk {
    let Some(there) = directory.ancestors().find(|path| path.is_dir()) else { return Disk::default() };
    let (Ok(metadata), Ok(kind), Ok(space)) = (there.metadata(), statfs(there), statvfs(there)) else {
        return Disk::default();
    };
    let mut hasher = DefaultHasher::new();
    // Another host has other disks, whatever their numbers.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().hash(&mut hasher);
    metadata.dev().hash(&mut hasher);
    let local = !NOT_LOCAL.contains(&kind.filesystem_type());
    let free = space.blocks_available().saturating_mul(space.fragment_size());
    Disk { id: hasher.finish(), free_bytes: if local { free } else { 0 }, limit_bytes: u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_once_with_the_limits_of_all_folders_on_it() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder =
            |name: &str, limit| SpillFolder { path: base.path().join(name), limit_bytes: Some(limit) };
        let disks = look_at(&[folder("a", 1000), folder("$NUNA_NEVER_SET", 5), folder("b", 234)]);
        assert_eq!(disks.iter().map(|disk| disk.limit_bytes).collect::<Vec<_>>(), [1234]);
    }

    #[test]
    fn folders_of_one_disk_are_on_the_same_one_and_memory_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let here = look(folder.path());
        assert_eq!(look(&folder.path().join("not/there/yet")).id, here.id);
        let memory = Path::new("/dev/shm");
        if statfs(memory).is_ok_and(|kind| kind.filesystem_type() == TMPFS_MAGIC) {
            assert_eq!(look(memory).free_bytes, 0);
            assert_ne!(look(memory).id, here.id);
        }
    }
}
