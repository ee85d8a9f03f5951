//! How a connection outward is made, for everything of the product that calls somebody.
//!
//! One place says what is trusted: the machine's roots and the certificates of one CA file.
//! Redirects are not followed. Which addresses may be called, and which of them without TLS, is
//! for each caller to say: the client itself would take any.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A pooled client; cheap to clone.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The extra CA holds no certificate.
    #[error("the extra CA holds no usable certificate: {0}")]
    Ca(String),
    /// TLS cannot be configured.
    #[error("TLS cannot be configured: {0}")]
    Tls(#[from] rustls::Error),
}

/// A client that trusts the machine's roots and the certificates in a PEM text, and waits so long
/// for a TCP connection.
///
/// # Errors
///
/// When the text holds no certificate, or one that cannot be read.
pub fn client(extra_ca: Option<&[u8]>, connect: Duration) -> Result<Client, ClientError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(extra_ca)?)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector))
}

fn roots(extra_ca: Option<&[u8]>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    // A machine without roots can still reach what the extra CA vouches for.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate);
    }
    let Some(pem) = extra_ca else {
        return Ok(roots);
    };
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ClientError::Ca(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| ClientError::Ca(error.to_string()))?;
        added += 1;
    }
    if added == 0 {
        return Err(ClientError::Ca("no PEM certificate in it".to_owned()));
    }
    Ok(roots)
}

/// An error with its causes: the first of a client's alone says "client error". None of them knows
/// the address: they are of the connection, below it.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ClientError, client};

    #[test]
    fn a_ca_without_a_certificate_is_refused() {
        let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "nothing", half] {
            let refused = client(Some(pem.as_bytes()), Duration::from_secs(1));
            assert!(matches!(refused, Err(ClientError::Ca(_))), "{pem}");
        }
    }
}
