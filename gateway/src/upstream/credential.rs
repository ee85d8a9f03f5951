//! One identity's token: fetched by `azure_identity`, refreshed ahead, held here.
//!
//! The SDK's own cache cannot be refreshed early, so a fresh credential object is
//! made for each refresh; the last good token serves until it expires. A secret
//! is read again whenever a token is fetched, so a rotated one is taken over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::ClientOptions;
use azure_identity::{
    AzureCliCredential, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::assertion::Assertion;
use super::transport::client_options;
use crate::clock::Clock;
use crate::config::upstream::{Identity, SecretRef, Upstream as Settings};
use crate::outbound::Outbound;

/// A token is fetched anew when less than this is left of it.
const REFRESH_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// A token with less than this left is not used.
const USABLE: SignedDuration = SignedDuration::from_secs(30);
/// How often the background looks whether a token is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    /// A certificate file cannot be used.
    #[error("cannot use the certificate `{path}`: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A secret's reference leads nowhere.
    #[error("the secret cannot be read: {0}")]
    Secret(String),
    /// The authority or the metadata service gave no token.
    #[error("no token for the gateway's identity: {0}")]
    Token(String),
}

/// An Azure token: no `Debug`, no `Display`, born here and ending in a header.
pub(super) struct AzureToken {
    secret: SecretString,
    expires: Timestamp,
}

impl AzureToken {
    /// The `Authorization` value, marked so that nothing prints it.
    pub(super) fn header(&self) -> HeaderValue {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.secret.expose_secret()));
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }

    /// Whether the token stands in what Azure, or somebody between, has answered.
    fn stands_in(&self, answered: &[u8]) -> bool {
        memmem::find(answered, self.secret.expose_secret().as_bytes()).is_some()
    }

    /// An answer without the token: a front end that writes back what it was sent must not
    /// hand it to a caller, or to the log.
    pub(super) fn taken_out(&self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        let echoed: Vec<HeaderName> = headers
            .iter()
            .filter(|(_, value)| self.stands_in(value.as_bytes()))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &echoed {
            headers.remove(name);
        }
        if !self.stands_in(&body) {
            return body;
        }
        tracing::error!("an answer of Azure held the gateway's own token; it was taken out");
        let token = self.secret.expose_secret().as_bytes();
        let mut body = Vec::from(body);
        let places: Vec<usize> = memmem::find_iter(&body, token).collect();
        for place in places {
            if let Some(found) = body.get_mut(place..place + token.len()) {
                found.fill(b'*');
            }
        }
        Bytes::from(body)
    }
}

/// One identity.
#[derive(Clone)]
pub(super) struct Credential(Arc<Inner>);

struct Inner {
    identity: Identity,
    authority: String,
    scope: String,
    outbound: Outbound,
    clock: Clock,
    /// Held while a token is fetched: one fetch at a time, others wait for it.
    token: Mutex<Option<Arc<AzureToken>>>,
}

impl Credential {
    /// Checks what can be checked without a network.
    pub(super) fn new(
        identity: &Identity,
        settings: &Settings,
        outbound: Outbound,
        clock: Clock,
    ) -> Result<Credential, CredentialError> {
        let credential = Credential(Arc::new(Inner {
            identity: identity.clone(),
            authority: settings.authority.clone(),
            scope: format!("{}/.default", settings.audience.trim_end_matches('/')),
            outbound,
            clock,
            token: Mutex::new(None),
        }));
        if let Identity::ClientCertificate { .. } = identity {
            credential.0.assertion()?;
        }
        Ok(credential)
    }

    /// A token that is good for a while.
    pub(super) async fn token(&self) -> Result<Arc<AzureToken>, CredentialError> {
        let mut held = self.0.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| self.left(token) > USABLE) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.0.fetch().await?);
        *held = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Drops a token that Azure did not accept.
    pub(super) async fn forget(&self) {
        *self.0.token.lock().await = None;
    }

    /// Fetches ahead of expiry, so that no request waits for it.
    pub(super) async fn keep_fresh(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let due = match self.0.token.lock().await.as_ref() {
                Some(token) => self.left(token) < REFRESH_BEFORE,
                None => false,
            };
            if !due {
                continue;
            }
            // Fetched without the lock: requests go on with the old token meanwhile.
            match self.0.fetch().await {
                Ok(token) => *self.0.token.lock().await = Some(Arc::new(token)),
                Err(error) => tracing::warn!(%error, "the gateway's token was not refreshed"),
            }
        }
    }

    fn left(&self, token: &AzureToken) -> SignedDuration {
        token.expires.duration_since(self.0.clock.now())
    }
}

impl Inner {
    async fn fetch(&self) -> Result<AzureToken, CredentialError> {
        let credential = self.credential().await?;
        let got = credential.get_token(&[&self.scope], None).await;
        let got = got.map_err(|error| CredentialError::Token(error.to_string()))?;
        let expires = Timestamp::from_second(got.expires_on.unix_timestamp());
        Ok(AzureToken {
            secret: SecretString::from(got.token.secret().to_owned()),
            expires: expires.unwrap_or(Timestamp::MIN),
        })
    }

    async fn credential(&self) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let failed = |error: azure_core::Error| CredentialError::Token(error.to_string());
        match &self.identity {
            Identity::ManagedIdentity {
                client_id,
                endpoint,
            } => self.managed(client_id.clone(), endpoint.clone()),
            Identity::ClientSecret {
                tenant,
                client_id,
                secret,
            } => {
                let secret = self.secret(secret).await?;
                let secret = Secret::new(secret.expose_secret().to_owned());
                let options = ClientSecretCredentialOptions {
                    client_options: self.options(),
                };
                let made =
                    ClientSecretCredential::new(tenant, client_id.clone(), secret, Some(options));
                Ok(made.map_err(failed)?)
            }
            Identity::WorkloadIdentity {
                tenant,
                client_id,
                token_file,
            } => {
                let options = WorkloadIdentityCredentialOptions {
                    credential_options: self.assertion_options(),
                    tenant_id: Some(tenant.clone()),
                    client_id: Some(client_id.clone()),
                    token_file_path: Some(token_file.clone()),
                };
                Ok(WorkloadIdentityCredential::new(Some(options)).map_err(failed)?)
            }
            Identity::ClientCertificate {
                tenant, client_id, ..
            } => {
                let assertion = self.assertion()?;
                let options = Some(self.assertion_options());
                let made = ClientAssertionCredential::new(
                    tenant.clone(),
                    client_id.clone(),
                    assertion,
                    options,
                );
                Ok(made.map_err(failed)?)
            }
            Identity::AzureCli => Ok(AzureCliCredential::new(None).map_err(failed)?),
        }
    }

    fn managed(
        &self,
        client_id: Option<String>,
        endpoint: Option<String>,
    ) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client_id.map(UserAssignedId::ClientId),
            client_options: client_options(self.outbound.with_local_http(), endpoint),
        };
        let made = ManagedIdentityCredential::new(Some(options));
        Ok(made.map_err(|error| CredentialError::Token(error.to_string()))?)
    }

    /// Options with our transport and the pinned authority.
    fn options(&self) -> ClientOptions {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority.clone();
        ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..client_options(self.outbound.clone(), None)
        }
    }

    fn assertion_options(&self) -> ClientAssertionCredentialOptions {
        ClientAssertionCredentialOptions {
            client_options: self.options(),
        }
    }

    fn assertion(&self) -> Result<Assertion, CredentialError> {
        let Identity::ClientCertificate {
            tenant,
            client_id,
            certificate,
        } = &self.identity
        else {
            return Err(CredentialError::Token(
                "this identity has no certificate".into(),
            ));
        };
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.authority);
        Assertion::load(certificate, url, client_id.clone(), self.clock.clone())
    }

    async fn secret(&self, reference: &SecretRef) -> Result<SecretString, CredentialError> {
        let read = match reference {
            SecretRef::File(path) => std::fs::read_to_string(path).map_err(|error| {
                CredentialError::Secret(format!("`{}`: {error}", path.display()))
            })?,
            SecretRef::Env(name) => std::env::var(name)
                .map_err(|_| CredentialError::Secret(format!("`{name}` is not set")))?,
            SecretRef::KeyVault { vault, name } => self.read_key_vault(vault, name).await?,
        };
        let read = zeroize::Zeroizing::new(read);
        let secret = read.trim();
        if secret.is_empty() {
            return Err(CredentialError::Secret("it is empty".into()));
        }
        Ok(SecretString::from(secret.to_owned()))
    }

    async fn read_key_vault(&self, vault: &str, name: &str) -> Result<String, CredentialError> {
        let failed = |error: azure_core::Error| {
            CredentialError::Secret(format!("Key Vault `{vault}`, secret `{name}`: {error}"))
        };
        let options = SecretClientOptions {
            client_options: client_options(self.outbound.clone(), None),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(vault, self.managed(None, None)?, Some(options));
        let answer = client
            .map_err(failed)?
            .get_secret(name, None)
            .await
            .map_err(failed)?;
        let secret = answer.into_model().map_err(failed)?;
        let missing = || CredentialError::Secret(format!("secret `{name}` has no value"));
        secret.value.ok_or_else(missing)
    }
}
