//! Certificates and keys as files may hold them: anything at all, and those of a cluster with some of their bytes changed.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nuna_wire::{Authority, Credentials, Party};

/// Authority, certificate and key that fit together, made anew for each run.
static WHOLE: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("nuna-fuzz-{}", std::process::id()));
    let issued = Authority::new("fuzzed").and_then(|authority| authority.issue(Party::Client));
    issued.expect("an authority issues").write(&folder, Party::Client).expect("the folder can be written to");
    let files = ["authority.pem", "client.pem", "client.key"];
    let parts = files.map(|name| std::fs::read(folder.join(name)).expect("just written"));
    std::fs::remove_dir_all(&folder).expect("just made");
    parts
});

fuzz_target!(|data: &[u8]| {
    let Some((kind, edits)) = data.split_first() else { return };
    let mut parts = WHOLE.clone();
    for (number, part) in parts.iter_mut().enumerate() {
        if kind >> number & 1 != 0 {
            *part = edits.to_vec();
        } else if kind >> (3 + number) & 1 != 0 {
            for edit in edits.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % part.len();
                part[at] = edit[2];
            }
        }
    }
    let [authority, certificate, key] = parts.map(|part| String::from_utf8_lossy(&part).into_owned());
    if let Ok(credentials) = Credentials::from_pem(authority, certificate, key) {
        let _ = (credentials.client_config(), credentials.server_config());
    }
});
