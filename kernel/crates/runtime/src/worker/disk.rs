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

/// The disk below `directory`, which need not exist yet. Nothing is free on one that cannot be asked.
pub(crate) fn look(directory: &Path) -> Disk {
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
    Disk { id: hasher.finish(), free_bytes: if local { free } else { 0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

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
