//! Password hashes: PBKDF2-HMAC-SHA256, written `{PBKDF2-SHA256}ITERATIONS$SALT$HASH` as OpenLDAP's module does.

use std::num::NonZeroU32;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};

const SCHEME: &str = "{PBKDF2-SHA256}";
/// About 30 ms on a laptop; the server limits how many run at once.
const ITERATIONS: u32 = 120_000;
/// A hash file could otherwise make every sign-in take minutes.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_LENGTH: usize = 16;
const HASH_LENGTH: usize = 32;
const GENERATED_LENGTH: usize = 14;
/// Without characters that are mistaken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

pub(crate) fn hash(password: &str) -> anyhow::Result<String> {
    let mut salt = [0u8; SALT_LENGTH];
    fill(&mut salt)?;
    let mut out = [0u8; HASH_LENGTH];
    let iterations = NonZeroU32::new(ITERATIONS).context("iterations are zero")?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut out);
    Ok(format!("{SCHEME}{ITERATIONS}${}${}", BASE64.encode(salt), BASE64.encode(out)))
}

/// Whether `password` is the one behind `hash`, in time that does not depend on how much of it is right.
pub(crate) fn verify(hash: &str, password: &str) -> bool {
    parts(hash).is_ok_and(|(iterations, salt, expected)| {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &expected).is_ok()
    })
}

/// As much work as a real check, for names that do not exist.
pub(crate) fn pretend(password: &str) {
    let mut out = [0u8; HASH_LENGTH];
    if let Some(iterations) = NonZeroU32::new(ITERATIONS) {
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &[0; SALT_LENGTH],
            password.as_bytes(),
            &mut out,
        );
    }
    std::hint::black_box(out);
}

pub(crate) fn check_format(hash: &str) -> anyhow::Result<()> {
    parts(hash).map(|_| ())
}

fn parts(hash: &str) -> anyhow::Result<(NonZeroU32, Vec<u8>, Vec<u8>)> {
    let wanted =
        || format!("expected {SCHEME}ITERATIONS$SALT$HASH; `nuna-directory hash-password` makes one");
    let rest = hash.strip_prefix(SCHEME).with_context(wanted)?;
    let mut fields = rest.splitn(3, '$');
    let mut next = || fields.next().with_context(wanted);
    let iterations: NonZeroU32 = next()?.parse().with_context(wanted)?;
    ensure!(iterations.get() <= ITERATIONS_MAX, "{iterations} iterations are more than {ITERATIONS_MAX}");
    // OpenLDAP writes `.` where base64 has `+`, and no padding.
    let decode =
        |text: &str| BASE64.decode(text.trim_end_matches('=').replace('.', "+")).with_context(wanted);
    let (salt, hash) = (decode(next()?)?, decode(next()?)?);
    ensure!(salt.len() >= 8 && hash.len() >= 16, "salt or hash is too short");
    Ok((iterations, salt, hash))
}

/// A password for a user who has none yet: 70 bits.
pub(crate) fn generate() -> anyhow::Result<String> {
    let mut bytes = [0u8; GENERATED_LENGTH];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect())
}

fn fill(bytes: &mut [u8]) -> anyhow::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_verifies() {
        let hash = hash("secret").unwrap();
        assert!(verify(&hash, "secret"));
        assert!(!verify(&hash, "Secret"));
        assert!(!verify(&hash, ""));
        assert!(!verify("{PBKDF2-SHA256}x", "secret"));
        assert_ne!(hash, super::hash("secret").unwrap(), "salted");
    }

    #[test]
    fn generated_passwords_differ() {
        assert_ne!(generate().unwrap(), generate().unwrap());
    }
}
