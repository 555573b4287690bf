//! Owns damaged files: bytes that are changed as a seed says, and running a parser's check over files and many damaged ones of each.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

/// What parsers of text and numbers stumble over.
const TOKENS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"1e400",
    b"NaN",
    b"18446744073709551615",
    b"9223372036854775807",
    b"4294967296",
    b"\"",
    b"[",
    b"}",
    b"null",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    "\u{e9}\u{1f600}".as_bytes(),
];

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        let mut noise = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first numbers of seeds that follow each other are alike.
        for _ in 0..4 {
            noise.below(2);
        }
        noise
    }

    /// A number below `limit`; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// Changes, cuts or adds to the bytes in one to four places.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(9) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => bytes.insert(at, self.below(256) as u8),
                4 => {
                    let piece: Vec<u8> = bytes[at..].iter().take(16).copied().collect();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                5 => {
                    let end = bytes.len().min(at + 1 + self.below(12));
                    bytes.drain(at..end);
                }
                // Another number, or another word.
                6 => {
                    let is_of = |byte: &u8| byte.is_ascii_digit();
                    let start = at + bytes[at..].iter().position(is_of).unwrap_or(0);
                    let end = start + bytes[start..].iter().take_while(|byte| is_of(byte)).count();
                    bytes.splice(start..end, TOKENS[self.below(TOKENS.len())].iter().copied());
                }
                7 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
                // A number as long as numbers get.
                _ => drop(bytes.splice(at..at, [0xff; 9])),
            }
        }
    }
}

/// The seeds of a fuzz target, by name.
///
/// # Panics
/// If there are none.
pub fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    assert!(!found.is_empty(), "{} is empty", folder.display());
    let read =
        |file: &PathBuf| std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    found.into_iter().map(|file| (file.clone(), read(&file))).collect()
}

/// Runs a fuzz target's check over its seeds, and over `rounds` damaged ones of each (`NUNA_DAMAGE_ROUNDS` says otherwise). What it
/// panics over is kept among the temporary files.
///
/// # Panics
/// As the check, naming the file that is kept.
pub fn check_damaged(target: &str, rounds: u64, check: impl Fn(&[u8])) {
    let rounds = std::env::var("NUNA_DAMAGE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(rounds);
    let run = |name: &str, bytes: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(bytes))) {
            let kept = std::env::temp_dir().join(format!("nuna-{target}-{name}"));
            let _ = std::fs::write(&kept, bytes);
            eprintln!("{target}, {name}: {:?}; kept at {}", String::from_utf8_lossy(bytes), kept.display());
            resume_unwind(panic);
        }
    };
    for (file, bytes) in seeds(target) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        run(&name, &bytes);
        for round in 0..rounds {
            let mut damaged = bytes.clone();
            Noise::new(round).damage(&mut damaged);
            run(&format!("{round}-{name}"), &damaged);
        }
    }
}
