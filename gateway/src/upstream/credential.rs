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
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::assertion::Assertion;
use super::issued::Issued;
use super::transport::client_options;
use crate::clock::Clock;
use crate::config::upstream::{Identity, SecretRef, Upstream as Settings};
use crate::outbound::{FetchError, Outbound};

/// A token is fetched anew when less than this is left of it.
const REFRESH_BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// A token with less than this left is not used.
const USABLE: SignedDuration = SignedDuration::from_secs(30);
/// How often the background looks whether a token is due.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Longest time for a sign-in, with what the SDK tries again.
const SIGN_IN: Duration = Duration::from_secs(15);

/// What may be said of the SDK's error. Its text repeats what the authority answered, and an
/// authority, or whoever stands before it, may repeat the secret that it was sent.
fn told(error: &azure_core::Error) -> String {
    let text = error.to_string();
    let code = text.split("AADSTS").nth(1).map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count().min(8);
        format!(" (AADSTS{})", rest.get(..digits).unwrap_or_default())
    });
    let code = code.unwrap_or_default();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<FetchError>() {
            return format!("{ours}{code}");
        }
        cause = error.source();
    }
    match error.http_status() {
        Some(status) => format!("the answer was {}{code}", u16::from(status)),
        None => format!("the answer was not a token{code}"),
    }
}

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
    pub(super) secret: SecretString,
    pub(super) expires: Timestamp,
}

impl AzureToken {
    /// The `Authorization` value, marked so that nothing prints it.
    pub(super) fn header(&self) -> HeaderValue {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.secret.expose_secret()));
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
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
    issued: Issued,
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
        issued: Issued,
    ) -> Result<Credential, CredentialError> {
        let credential = Credential(Arc::new(Inner {
            identity: identity.clone(),
            authority: settings.authority.clone(),
            scope: format!("{}/.default", settings.audience.trim_end_matches('/')),
            outbound,
            clock,
            issued,
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
        let token = self.0.fetch().await?;
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
                Ok(token) => *self.0.token.lock().await = Some(token),
                Err(error) => tracing::warn!(%error, "the gateway's token was not refreshed"),
            }
        }
    }

    fn left(&self, token: &AzureToken) -> SignedDuration {
        token.expires.duration_since(self.0.clock.now())
    }
}

impl Inner {
    async fn fetch(&self) -> Result<Arc<AzureToken>, CredentialError> {
        let got = async {
            let credential = self.credential().await?;
            let got = credential.get_token(&[&self.scope], None).await;
            got.map_err(|error| CredentialError::Token(told(&error)))
        };
        let late = || CredentialError::Token(format!("no answer within {SIGN_IN:?}"));
        let got = tokio::time::timeout(SIGN_IN, got)
            .await
            .map_err(|_| late())??;
        let expires = Timestamp::from_second(got.expires_on.unix_timestamp());
        let token = Arc::new(AzureToken {
            secret: SecretString::from(got.token.secret().to_owned()),
            expires: expires.unwrap_or(Timestamp::MIN),
        });
        self.issued.add(&token, self.clock.now());
        Ok(token)
    }

    async fn credential(&self) -> Result<Arc<dyn TokenCredential>, CredentialError> {
        let failed = |error: azure_core::Error| CredentialError::Token(told(&error));
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
        Ok(made.map_err(|error| CredentialError::Token(told(&error)))?)
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
        let SecretRef::KeyVault { vault, name } = reference else {
            return reference.at_hand().map_err(CredentialError::Secret);
        };
        let read = zeroize::Zeroizing::new(self.read_key_vault(vault, name).await?);
        let secret = read.trim();
        if secret.is_empty() {
            return Err(CredentialError::Secret("it is empty".into()));
        }
        Ok(SecretString::from(secret.to_owned()))
    }

    async fn read_key_vault(&self, vault: &str, name: &str) -> Result<String, CredentialError> {
        let failed = |error: azure_core::Error| {
            CredentialError::Secret(format!(
                "Key Vault `{vault}`, secret `{name}`: {}",
                told(&error)
            ))
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
