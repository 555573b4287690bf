//! Owns completing the names of files within a string, as far as a folder can be read quickly.

use std::path::PathBuf;

/// The most entries that are looked at and offered.
const LOOKED_AT_MAX: usize = 20_000;
const OFFERED_MAX: usize = 300;

/// A file or folder whose name begins as what is typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// With a slash behind a folder's.
    pub name: String,
    pub is_folder: bool,
}

/// Where the last part of a path begins in `written`, and what may be there. May wait for a file system.
pub fn entries(written: &str) -> (usize, Vec<Entry>) {
    let start = written.rfind('/').map_or(0, |at| at + 1);
    let (folder, typed) = written.split_at(start);
    let folder = match (folder, folder.strip_prefix("~/"), std::env::var_os("HOME")) {
        ("", ..) => PathBuf::from("."),
        (_, Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(folder),
    };
    let Ok(found) = std::fs::read_dir(&folder) else { return (start, Vec::new()) };
    let mut entries = Vec::new();
    for entry in found.flatten().take(LOOKED_AT_MAX) {
        // A name that no string holds as it is cannot be completed.
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if !name.starts_with(typed)
            || (name.starts_with('.') && typed.is_empty())
            || name.contains(['"', '\\'])
        {
            continue;
        }
        let is_folder = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => std::fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()),
            Ok(kind) => kind.is_dir(),
            Err(_) => false,
        };
        if is_folder {
            name.push('/');
        }
        entries.push(Entry { name, is_folder });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.truncate(OFFERED_MAX);
    (start, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sea.zarr")).unwrap();
        std::fs::write(folder.path().join("sea.csv"), "").unwrap();
        std::fs::write(folder.path().join(".hidden"), "").unwrap();
        let typed = format!("{}/se", folder.path().display());
        let (start, found) = entries(&typed);
        assert_eq!(&typed[start..], "se");
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["sea.csv", "sea.zarr/"]);
        assert_eq!(entries(&format!("{}/", folder.path().display())).1.len(), 2);
        assert!(entries("/nonexistent/x").1.is_empty());
    }
}
