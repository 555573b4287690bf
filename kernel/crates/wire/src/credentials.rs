//! Owns a cluster's credentials: an authority that lives for as long as it takes to start the cluster, a certificate
//! for each party, and the files they are handed over in. Keys are never in arguments, environment or logs.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Who a certificate speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Scheduler,
    Worker,
    Client,
}

impl Party {
    /// The name in the certificate, which the side that connects checks.
    pub fn dns_name(self) -> &'static str {
        match self {
            Party::Scheduler => "scheduler.nuna.internal",
            Party::Worker => "worker.nuna.internal",
            Party::Client => "client.nuna.internal",
        }
    }

    fn file_stem(self) -> &'static str {
        match self {
            Party::Scheduler => "scheduler",
            Party::Worker => "worker",
            Party::Client => "client",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot {verb} {path}: {source}", path = path.display())]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} can be read by others (mode {mode:03o}); run `chmod {remedy:03o} {path}`, and start a new cluster if anyone else may have read it", path = path.display())]
    Exposed { path: PathBuf, mode: u32, remedy: u32 },
    #[error("{path} holds no usable certificate or key: {reason}", path = path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("cannot make certificates: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Signs the certificates of one cluster. Dropped once they are written, so that nobody can join later.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// # Errors
    /// If no randomness is to be had.
    pub fn new(cluster: &str) -> Result<Self, CredentialsError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("nuna cluster {cluster}"));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// # Errors
    /// If no randomness is to be had.
    pub fn issue(&self, party: Party) -> Result<Credentials, CredentialsError> {
        let mut params = CertificateParams::new(vec![party.dns_name().to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, party.dns_name());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Credentials { authority: self.certificate.clone(), certificate, key: key.serialize_pem() })
    }
}

/// One party's certificate and key, and the authority it trusts, as PEM.
#[derive(Clone)]
pub struct Credentials {
    authority: String,
    certificate: String,
    key: String,
}

impl Credentials {
    /// The certificate of the cluster's authority, which is no secret.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// If it cannot be made, or exists and others may enter it.
pub fn private_directory(path: &Path) -> Result<(), CredentialsError> {
    let file = |verb| move |source| CredentialsError::File { verb, path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("make"))?;
    check_private(path, 0o700)
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CredentialsError> {
    let error = |verb| move |source| CredentialsError::File { verb, path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    })();
    written.map_err(error("write"))
}

fn check_private(path: &Path, remedy: u32) -> Result<(), CredentialsError> {
    let metadata = fs::metadata(path).map_err(|source| CredentialsError::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CredentialsError::Exposed { path: path.to_owned(), mode, remedy });
    }
    Ok(())
}

impl Credentials {
    /// Writes `PARTY.pem`, `PARTY.key` and `authority.pem` into `directory`, which is made private first.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: &Path, party: Party) -> Result<(), CredentialsError> {
        private_directory(directory)?;
        let stem = party.file_stem();
        write_private(&directory.join("authority.pem"), self.authority.as_bytes())?;
        write_private(&directory.join(format!("{stem}.pem")), self.certificate.as_bytes())?;
        write_private(&directory.join(format!("{stem}.key")), self.key.as_bytes())
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// If a file is missing, or the key can be read by others.
    pub fn read(directory: &Path, party: Party) -> Result<Self, CredentialsError> {
        let read = |name: String| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| CredentialsError::File { verb: "read", path, source })
        };
        let stem = party.file_stem();
        check_private(directory, 0o700)?;
        check_private(&directory.join(format!("{stem}.key")), 0o600)?;
        let [authority, certificate, key] =
            ["authority.pem".to_owned(), format!("{stem}.pem"), format!("{stem}.key")].map(read);
        Self::from_pem(authority?, certificate?, key?).map_err(|reason| CredentialsError::Unusable {
            path: directory.join(format!("{stem}.pem")),
            reason,
        })
    }

    /// Credentials as they are in the files, checked.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_pem(authority: String, certificate: String, key: String) -> Result<Self, String> {
        let credentials = Self { authority, certificate, key };
        credentials.parse()?;
        Ok(credentials)
    }

    fn parse(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).map_err(|e| text(&e))?;
        roots.add(authority).map_err(|e| text(&e))?;
        let certificate =
            CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|e| text(&e))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| text(&e))?;
        Ok((roots, vec![certificate], key))
    }

    /// For the side that connects.
    ///
    /// # Errors
    /// If the credentials are damaged.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let (roots, chain, key) = self.parse().map_err(CredentialsError::Tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|error| CredentialsError::Tls(error.to_string()))?;
        Ok(Arc::new(config))
    }

    /// For the side that listens; whoever connects must hold a certificate of this cluster.
    ///
    /// # Errors
    /// If the credentials are damaged.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, CredentialsError> {
        let (roots, chain, key) = self.parse().map_err(CredentialsError::Tls)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = |error: &dyn std::fmt::Display| CredentialsError::Tls(error.to_string());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| tls(&error))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
            .map_err(|error| tls(&error))?;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("certificates");
        let credentials = Authority::new("test").unwrap().issue(Party::Client).unwrap();
        credentials.write(&folder, Party::Client).unwrap();
        for (name, mode) in
            [("", 0o700), ("client.key", 0o600), ("client.pem", 0o600), ("authority.pem", 0o600)]
        {
            let found = fs::metadata(folder.join(name)).unwrap().mode() & 0o777;
            assert_eq!(found, mode, "{name}: {found:o}");
        }
        let back = Credentials::read(&folder, Party::Client).unwrap();
        assert_eq!(back.key, credentials.key);
        assert_eq!(format!("{back:?}"), "Credentials(***)");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("certificates");
        Authority::new("test").unwrap().issue(Party::Worker).unwrap().write(&folder, Party::Worker).unwrap();
        fs::set_permissions(folder.join("worker.key"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = Credentials::read(&folder, Party::Worker).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }
}
