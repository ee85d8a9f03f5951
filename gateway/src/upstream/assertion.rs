//! A client certificate without OpenSSL: assertions signed by ourselves.

use std::path::Path;

use async_trait::async_trait;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use uuid::Uuid;

use super::credential::CredentialError;
use crate::clock::Clock;

/// Seconds that an assertion is good for.
const LIFETIME: i64 = 300;

/// Signs assertions with the key of a certificate.
pub(super) struct Assertion {
    key: EncodingKey,
    thumbprint: String,
    audience: String,
    client_id: String,
    clock: Clock,
}

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertion").finish_non_exhaustive()
    }
}

impl Assertion {
    /// Reads a PEM file with certificate and RSA private key.
    pub(super) fn load(
        path: &Path,
        token_url: String,
        client_id: String,
        clock: Clock,
    ) -> Result<Assertion, CredentialError> {
        let unreadable = |reason: String| CredentialError::Certificate {
            path: path.to_owned(),
            reason,
        };
        let pem = zeroize::Zeroizing::new(
            std::fs::read(path).map_err(|error| unreadable(error.to_string()))?,
        );
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| unreadable(format!("no certificate: {error}")))?;
        let key = EncodingKey::from_rsa_pem(&pem)
            .map_err(|error| unreadable(format!("no RSA private key: {error}")))?;
        Ok(Assertion {
            key,
            thumbprint: URL_SAFE_NO_PAD.encode(crate::digest::sha256_raw(&certificate)),
            audience: token_url,
            client_id,
            clock,
        })
    }

    fn sign(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let now = self.clock.now().as_second();
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        let claims = json!({
            "aud": self.audience, "iss": self.client_id, "sub": self.client_id,
            "jti": Uuid::new_v4(), "nbf": now, "iat": now, "exp": now + LIFETIME,
        });
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(
        &self,
        _options: Option<ClientMethodOptions<'_>>,
    ) -> azure_core::Result<String> {
        self.sign().map_err(|error| {
            let kind = azure_core::error::ErrorKind::Credential;
            azure_core::Error::with_error(kind, error, "cannot sign the assertion")
        })
    }
}
