//! TLS for the data door: one provider, certificates replaced without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::Listener as Settings;

/// How often the certificate files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate, key or CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A PEM file cannot be read or holds nothing usable.
    #[error("cannot read `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The certificate and key do not make a server.
    #[error("`{path}` does not work as a certificate for this key: {reason}")]
    Unusable {
        /// The certificate file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

/// The current TLS configuration; cheap to clone, shared by all connections.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ArcSwap<ServerConfig>>,
    /// What the files held before they were read: a change since then is not missed.
    read_from: Fingerprint,
}

type Fingerprint = Vec<Option<Vec<u8>>>;

impl Tls {
    /// Reads certificate, key and client CAs.
    pub(crate) fn load(settings: &Settings) -> Result<Tls, TlsError> {
        let read_from = fingerprint(settings);
        Ok(Tls {
            config: Arc::new(ArcSwap::new(read(settings)?)),
            read_from,
        })
    }

    /// An acceptor with the configuration of this moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Takes over changed files until `stop` turns true. A broken file is
    /// reported and the configuration in use stays: renewal never closes the door.
    pub(crate) async fn watch(self, settings: Arc<Settings>, mut stop: watch::Receiver<bool>) {
        let mut seen = self.read_from;
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let now = fingerprint(&settings);
            if now == seen {
                continue;
            }
            match read(&settings) {
                Ok(config) => {
                    self.config.store(config);
                    seen = now;
                    tracing::info!("certificate reloaded");
                }
                Err(error) => {
                    tracing::error!(%error, "certificate not reloaded, the old one stays")
                }
            }
        }
    }
}

fn fingerprint(settings: &Settings) -> Fingerprint {
    let files = [
        Some(&settings.certificate),
        Some(&settings.private_key),
        settings.client_ca.as_ref(),
    ];
    let digest = |path: &PathBuf| {
        let bytes = std::fs::read(path).ok()?;
        Some(crate::digest::sha256_raw(&bytes).to_vec())
    };
    files.iter().map(|path| path.and_then(digest)).collect()
}

fn read(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&settings.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.private_key)
        .map_err(|error| unreadable(&settings.private_key, &error))?;
    let versions: &[&rustls::SupportedProtocolVersion] = if settings.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable {
        path: settings.certificate.clone(),
        reason: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| unusable(&error))?;
    let builder = match &settings.client_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, &provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Accepts certificates of the listed CAs and callers without one: tokens that
/// are bound to a certificate are checked at authentication. An unreadable CA
/// file is an error, never "no client authentication".
fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| unreadable(path, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unreadable(path, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unreadable(path, &error))?;
    if chain.is_empty() {
        return Err(unreadable(path, &"no certificate in the file"));
    }
    Ok(chain)
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
