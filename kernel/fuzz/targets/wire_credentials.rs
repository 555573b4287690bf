//! Certificates and keys as files may hold them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_wire::Credentials;

fuzz_target!(|parts: (String, String, String)| {
    if let Ok(credentials) = Credentials::from_pem(parts.0, parts.1, parts.2) {
        let _ = (credentials.client_config(), credentials.server_config());
    }
});
