//! Secrets: text that never shows in logs, one-time codes, and environments sealed until their code comes back.
//!
//! A code is known to the job script alone. The journal keeps only its hash, and the environment of the user
//! server (which holds the hub's tokens) encrypted with a key made from the code: who reads the journal, or a
//! copy of it, learns neither.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What is kept of a code or a ticket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Digest(…)")
    }
}

impl Digest {
    /// Different purposes give unrelated digests of the same text.
    pub fn of(purpose: &str, text: &str) -> Self {
        Self(hex::encode(hash(purpose, text)))
    }
}

fn hash(purpose: &str, text: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(purpose.as_bytes());
    hasher.update([0]);
    hasher.update(text.as_bytes());
    hasher.finalize().into()
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the system gives no random bytes")]
    NoRandomness,
    #[error("the sealed environment could not be opened: it was sealed for another code, or is damaged")]
    NotOpened,
}

/// `N` random bytes as lower-case hexadecimal.
pub fn random_hex<const N: usize>() -> Result<String, SecretError> {
    let mut bytes = [0_u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    Ok(hex::encode(bytes))
}

/// The one-time code that a job hands over for its environment: 256 bits.
#[derive(Clone)]
pub struct Code(Secret);

impl Code {
    pub fn generate() -> Result<Self, SecretError> {
        Ok(Self(Secret(random_hex::<32>()?)))
    }

    pub fn from_text(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    pub fn digest(&self) -> Digest {
        Digest::of("code", self.0.reveal())
    }

    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// A code seals one environment, so one nonce is enough.
    fn key(&self) -> Result<LessSafeKey, SecretError> {
        let key = hash("environment", self.0.reveal());
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).map_err(|_| SecretError::NotOpened)?))
    }

    pub fn seal(&self, plain: &[u8]) -> Result<Sealed, SecretError> {
        let mut bytes = plain.to_vec();
        self.key()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes)
            .map_err(|_| SecretError::NotOpened)?;
        Ok(Sealed(hex::encode(bytes)))
    }

    pub fn open(&self, sealed: &Sealed) -> Result<Vec<u8>, SecretError> {
        let mut bytes = hex::decode(&sealed.0).map_err(|_| SecretError::NotOpened)?;
        let plain = self
            .key()?
            .open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes)
            .map_err(|_| SecretError::NotOpened)?;
        Ok(plain.to_vec())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(…)")
    }
}

/// An environment that only its code opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({} bytes)", self.0.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_opens_with_its_code_only() {
        let code = Code::generate().unwrap();
        let sealed = code.seal(b"TOKEN=abc").unwrap();
        assert!(!serde_json::to_string(&sealed).unwrap().contains(&hex::encode("TOKEN")));
        assert_eq!(code.open(&sealed).unwrap(), b"TOKEN=abc");
        assert!(Code::generate().unwrap().open(&sealed).is_err());
    }

    #[test]
    fn secrets_do_not_show() {
        let code = Code::from_text("5ec2e7");
        let shown = format!("{code:?} {:?} {:?}", Secret::new("5ec2e7"), code.digest());
        assert!(!shown.contains("5ec2e7"), "{shown}");
    }

    #[test]
    fn codes_have_256_bits_and_differ() {
        let (one, two) = (Code::generate().unwrap(), Code::generate().unwrap());
        assert_eq!(one.reveal().len(), 64);
        assert_ne!(one.reveal(), two.reveal());
    }
}
