//! TLS settings from PEM files: for the listeners, and for https targets.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{error, info};

use crate::options::{Options, TlsFiles};

/// As they are agreed on within TLS.
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";

/// Where Linux distributions keep the authorities everybody trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not a PEM file of certificates", path.display()))?;
    ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

/// What a private key that needs a passphrase says of itself: PKCS #8, and OpenSSL's older form.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let shown = path.display();
    let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        !ENCRYPTED.iter().any(|mark| memchr::memmem::find(&text, mark).is_some()),
        "{shown} is encrypted, which is not offered (CONFIGPROXY_SSL_KEY_PASSPHRASE has no effect): write it in the \
         clear for this program's user alone, with `umask 077; openssl pkey -in {shown} -out NEW`"
    );
    PrivateKeyDer::from_pem_slice(&text).with_context(|| format!("{shown} holds no readable private key"))
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    ensure!(added > 0, "{} holds no usable authority", path.display());
    Ok(store)
}

/// Settings made of files, and made anew when those change. Connections keep what they began with.
pub(crate) struct FromFiles<T> {
    make: Box<dyn Fn() -> anyhow::Result<T> + Send + Sync>,
    files: Vec<PathBuf>,
    /// When the files were last changed, as far as it has been noticed.
    seen: Mutex<Vec<Option<SystemTime>>>,
    current: RwLock<T>,
}

impl<T: Clone> FromFiles<T> {
    fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> anyhow::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let seen = Mutex::new(changed(&files));
        Ok(Self { current: RwLock::new(make()?), make: Box::new(make), files, seen })
    }

    pub(crate) fn current(&self) -> T {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files if they have changed, or if `asked` to. What cannot be used is logged, and nothing changes.
    pub(crate) fn reload(&self, asked: bool) {
        let now = changed(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.files.is_empty() || (!asked && *seen == now) {
            return;
        }
        *seen = now;
        match (self.make)() {
            Ok(made) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = made;
                info!("Certificates read anew: {}", names(&self.files));
            }
            Err(error) => error!("The certificates in use are kept, the new ones cannot be used: {error:#}"),
        }
    }
}

fn changed(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| std::fs::metadata(file).and_then(|data| data.modified()).ok()).collect()
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// For a listener.
pub(crate) type Incoming = FromFiles<TlsAcceptor>;

impl Incoming {
    /// `protocols` in the order of preference, for clients that can choose.
    pub(crate) fn for_listener(files: TlsFiles, protocols: &'static [&'static [u8]]) -> anyhow::Result<Self> {
        let read = [&files.key, &files.cert].into_iter().chain(&files.ca);
        let read = read.chain(files.by_name.iter().flat_map(|named| [&named.cert, &named.key]));
        Self::new(read.cloned().collect(), move || acceptor(&files, protocols))
    }
}

/// For https targets. `None` if there is nobody to trust, which is fine while all targets are http.
pub(crate) type Outgoing = FromFiles<Option<TlsConnector>>;

impl Outgoing {
    pub(crate) fn for_targets(options: &Options) -> anyhow::Result<Self> {
        let (ca, identity, insecure) =
            (options.client_ca.clone(), options.client_identity.clone(), options.insecure);
        let identity_files = identity.iter().flat_map(|(key, cert)| [key, cert]);
        let read = identity_files.chain(&ca).cloned().collect();
        Self::new(read, move || connector(ca.as_deref(), identity.as_ref(), insecure))
    }
}

fn acceptor(files: &TlsFiles, protocols: &[&[u8]]) -> anyhow::Result<TlsAcceptor> {
    let builder = ServerConfig::builder();
    let builder = match &files.ca {
        Some(ca) if files.request_cert => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(authorities(ca)?));
            let verifier =
                if files.reject_unauthorized { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(
                verifier.build().with_context(|| format!("{} cannot be used", ca.display()))?,
            )
        }
        Some(_) | None => builder.with_no_client_auth(),
    };
    let by_name = files.by_name.iter();
    let named = by_name
        .map(|named| Ok((named.name.to_ascii_lowercase(), certified(&named.cert, &named.key)?)))
        .collect::<anyhow::Result<_>>()?;
    let mut config =
        builder.with_cert_resolver(Arc::new(ByName { named, other: certified(&files.cert, &files.key)? }));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn provider() -> anyhow::Result<&'static Arc<CryptoProvider>> {
    CryptoProvider::get_default().context("no cryptography provider is installed")
}

fn certified(cert: &Path, key_path: &Path) -> anyhow::Result<Arc<CertifiedKey>> {
    CertifiedKey::from_der(certificates(cert)?, key(key_path)?, provider()?)
        .map(Arc::new)
        .with_context(|| format!("{} and {} do not fit", cert.display(), key_path.display()))
}

/// Chooses by the name the client asks for.
#[derive(Debug)]
struct ByName {
    /// In lower case; `*.` stands for one label.
    named: Vec<(String, Arc<CertifiedKey>)>,
    other: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().unwrap_or_default();
        let found = self.named.iter().find(|(name, _)| is_named(name, asked));
        Some(found.map_or(&self.other, |(_, key)| key).clone())
    }
}

fn is_named(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(rest) => asked.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => asked.eq_ignore_ascii_case(name),
    }
}

fn connector(
    ca: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
    insecure: bool,
) -> anyhow::Result<Option<TlsConnector>> {
    let builder = ClientConfig::builder();
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()?.clone())))
    } else {
        let store = match ca {
            Some(path) => Some(authorities(path)?),
            None => SYSTEM_AUTHORITIES
                .iter()
                .map(Path::new)
                .find(|path| path.exists())
                .and_then(|path| authorities(path).ok()),
        };
        match store {
            Some(store) => builder.with_root_certificates(store),
            None => return Ok(None),
        }
    };
    let config = match identity {
        Some((key_path, cert)) => builder
            .with_client_auth_cert(certificates(cert)?, key(key_path)?)
            .with_context(|| format!("{} and {} do not fit", cert.display(), key_path.display()))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// `--insecure`: the administrator said that targets' certificates are not to be checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_named("hub.example", "HUB.example"));
        assert!(is_named("*.hub.example", "alice.hub.Example"));
        assert!(!is_named("*.hub.example", "hub.example"));
        assert!(!is_named("*.hub.example", "a.b.hub.example"));
        assert!(!is_named("hub.example", ""));
    }
}
