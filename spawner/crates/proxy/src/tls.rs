//! TLS settings from PEM files: for the listeners, and for https targets.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::options::{Options, TlsFiles};

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

fn key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| {
        format!("{} holds no readable private key (encrypted keys are not offered)", path.display())
    })
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path)?);
    ensure!(added > 0, "{} holds no usable authority", path.display());
    Ok(store)
}

pub(crate) fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
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
    let mut config = builder
        .with_single_cert(certificates(&files.cert)?, key(&files.key)?)
        .with_context(|| format!("{} and {} do not fit", files.cert.display(), files.key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For https targets. `None` if there is nobody to trust, which is fine while all targets are http.
pub(crate) fn upstream(options: &Options) -> anyhow::Result<Option<TlsConnector>> {
    let builder = ClientConfig::builder();
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(
            CryptoProvider::get_default().context("no cryptography provider is installed")?.clone(),
        )))
    } else {
        let store = match &options.client_ca {
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
    let config = match &options.client_identity {
        Some((key_path, cert)) => builder
            .with_client_auth_cert(certificates(cert)?, key(key_path)?)
            .with_context(|| format!("{} and {} do not fit", cert.display(), key_path.display()))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Some(crate::upstream::connector(config)))
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
