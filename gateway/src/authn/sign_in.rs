//! Signing in at an issuer, in a browser: the authorization code flow with PKCE.
//!
//! Owns what goes to the issuer and what comes back. What comes back is a token of the
//! console's audience, which proves who it is as any other does; the ID token tells that it
//! belongs to this sign-in (nonce), and when and how strongly the person signed in. Neither
//! leaves this process.

use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthenticationContextClass, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl,
    Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use url::Url;

use super::fetch::{Egress, KeyClient, Permitted};
use crate::config::issuers::Issuer;
use crate::outbound::Outbound;

/// How long the issuer's own description is used.
const KEPT: Duration = Duration::from_secs(600);
/// Shortest time between two fetches of it that failed: browsers must not make the gateway
/// knock at an issuer that is down.
const PAUSE: Duration = Duration::from_secs(5);

/// Why somebody could not sign in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The issuer cannot be asked, or does not describe itself.
    #[error("the issuer cannot be asked: {0}")]
    Issuer(String),
    /// What came back is not of this sign-in, or not of this issuer.
    #[error("the sign-in is not taken: {0}")]
    Refused(String),
}

/// What a sign-in has to be.
pub(crate) struct Wanted<'w> {
    /// One of these authentication contexts; any when empty.
    pub(crate) contexts: &'w [String],
    /// Longest time since the person proved who they are.
    pub(crate) max_age: Duration,
}

/// A sign-in that has begun: what its answer must fit.
pub(crate) struct Begun {
    /// Where the browser goes.
    pub(crate) url: String,
    /// What the issuer hands back with the code.
    pub(crate) state: String,
    /// What the ID token must name.
    pub(crate) nonce: String,
    /// What only who began it knows.
    pub(crate) verifier: SecretString,
}

/// What a sign-in ended with.
pub(crate) struct Ended {
    /// A token of the console's audience.
    pub(crate) token: SecretString,
    /// Whom the ID token is about.
    pub(crate) subject: String,
    /// When they proved who they are, seconds since 1970.
    pub(crate) auth_time: Option<i64>,
    /// The context in which they did.
    pub(crate) acr: Option<String>,
}

/// A client of one issuer.
pub(crate) struct SignIn {
    issuer: Issuer,
    client_id: String,
    secret: Option<SecretString>,
    scopes: Vec<String>,
    redirect: String,
    egress: Egress,
    known: Mutex<Known>,
}

/// What is known of the issuer, and since when.
#[derive(Default)]
struct Known {
    metadata: Option<(CoreProviderMetadata, Instant)>,
    failed: Option<Instant>,
}

impl SignIn {
    /// A client under this name, to which the issuer sends browsers back at `redirect`.
    pub(crate) fn new(
        issuer: &Issuer,
        client_id: &str,
        secret: Option<SecretString>,
        scopes: &[String],
        redirect: String,
        outbound: Outbound,
    ) -> SignIn {
        SignIn {
            issuer: issuer.clone(),
            client_id: client_id.to_owned(),
            secret,
            scopes: scopes.to_vec(),
            redirect,
            egress: Egress::Outbound(outbound),
            known: Mutex::default(),
        }
    }

    /// Begins a sign-in.
    pub(crate) async fn begin(&self, wanted: &Wanted<'_>) -> Result<Begun, SignInError> {
        let metadata = self.metadata().await?;
        let takes_claims = metadata.claims_parameter_supported().unwrap_or(false);
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.client_id.clone()),
            None,
        )
        .set_redirect_uri(self.redirect()?);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_pkce_challenge(challenge)
            // Older sign-ins are asked for anew by the issuer itself.
            .set_max_age(wanted.max_age);
        for scope in &self.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        if let Some(audience) = self.resource() {
            request = request.add_extra_param("resource", audience);
        }
        match (self.issuer.entra.is_some(), wanted.contexts) {
            (_, []) => {}
            (true, [first, ..]) => {
                let claims = serde_json::json!({
                    "access_token": {"acrs": {"essential": true, "value": first}}
                });
                request = request.add_extra_param("claims", claims.to_string());
            }
            // A demand, where the issuer knows any: `acr_values` is a wish.
            (false, contexts) if takes_claims => {
                let claims = serde_json::json!({
                    "id_token": {"acr": {"essential": true, "values": contexts}}
                });
                request = request.add_extra_param("claims", claims.to_string());
            }
            (false, contexts) => {
                for context in contexts {
                    let context = AuthenticationContextClass::new(context.clone());
                    request = request.add_auth_context_value(context);
                }
            }
        }
        let (url, state, nonce) = request.url();
        Ok(Begun {
            url: url.into(),
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: SecretString::from(verifier.into_secret()),
        })
    }

    /// Ends a sign-in with the code that the browser brought back.
    pub(crate) async fn end(
        &self,
        code: String,
        verifier: &SecretString,
        nonce: String,
    ) -> Result<Ended, SignInError> {
        let metadata = self.metadata().await?;
        let secret = self.secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.client_id.clone()),
            secret,
        )
        .set_redirect_uri(self.redirect()?);
        let verifier = PkceCodeVerifier::new(verifier.expose_secret().to_owned());
        let mut request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| SignInError::Issuer("it names no token endpoint".to_owned()))?
            .set_pkce_verifier(verifier);
        if let Some(audience) = self.resource() {
            request = request.add_extra_param("resource", audience);
        }
        let http = self.http()?;
        // The error may quote what was sent: only that there was one is told.
        let answer = request
            .request_async(&http)
            .await
            .map_err(|error| match error {
                openidconnect::RequestTokenError::ServerResponse(_) => {
                    SignInError::Refused("the issuer does not take the code".to_owned())
                }
                openidconnect::RequestTokenError::Request(fault) => {
                    SignInError::Issuer(fault.to_string())
                }
                _ => SignInError::Issuer("its answer is no token".to_owned()),
            })?;
        let refused = |why: &str| SignInError::Refused(why.to_owned());
        let id_token = answer
            .id_token()
            .ok_or_else(|| refused("there is no ID token"))?;
        let allowed = [
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            CoreJwsSigningAlgorithm::EdDsa,
        ];
        let checker = client.id_token_verifier().set_allowed_algs(allowed);
        let claims = id_token
            .claims(&checker, &Nonce::new(nonce))
            .map_err(|error| SignInError::Refused(error.to_string()))?;
        Ok(Ended {
            token: SecretString::from(answer.access_token().secret().clone()),
            subject: claims.subject().as_str().to_owned(),
            auth_time: claims.auth_time().map(|at| at.timestamp()),
            acr: claims.auth_context_ref().map(|acr| acr.as_str().to_owned()),
        })
    }

    /// The exact issuer that an answer may name (RFC 9207).
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer.url
    }

    /// The audience to ask a token for (RFC 8707); Entra ID takes it from the scope.
    fn resource(&self) -> Option<&str> {
        let audience = self.issuer.console_audiences.first().map(String::as_str);
        audience.filter(|_| self.issuer.entra.is_none())
    }

    fn redirect(&self) -> Result<RedirectUrl, SignInError> {
        RedirectUrl::new(self.redirect.clone())
            .map_err(|_| SignInError::Refused("the console has no address".to_owned()))
    }

    /// Reaches the issuer's own origin, and nothing else.
    fn http(&self) -> Result<KeyClient, SignInError> {
        let own = Url::parse(&self.issuer.url);
        let own = own.map_err(|_| SignInError::Issuer("its name is no address".to_owned()))?;
        Ok(KeyClient::new(self.egress.clone(), Permitted::Origin(own)))
    }

    async fn metadata(&self) -> Result<CoreProviderMetadata, SignInError> {
        // Held while it is fetched: whoever comes meanwhile waits for the same fetch.
        let mut known = self.known.lock().await;
        let fresh = |at: &Instant| at.elapsed() < KEPT;
        if let Some((metadata, _)) = known.metadata.as_ref().filter(|(_, at)| fresh(at)) {
            return Ok(metadata.clone());
        }
        if known.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(SignInError::Issuer("it failed a moment ago".to_owned()));
        }
        let issuer = IssuerUrl::new(self.issuer.url.clone());
        let issuer =
            issuer.map_err(|_| SignInError::Issuer("its name is no address".to_owned()))?;
        let http = self.http()?;
        let fetched = CoreProviderMetadata::discover_async(issuer, &http);
        let fetched = match tokio::time::timeout(super::fetch::TOTAL, fetched).await {
            Ok(fetched) => fetched.map_err(|error| super::key_source::document(error).to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        match fetched {
            Ok(metadata) => {
                known.metadata = Some((metadata.clone(), Instant::now()));
                Ok(metadata)
            }
            Err(why) => {
                known.failed = Some(Instant::now());
                Err(SignInError::Issuer(why))
            }
        }
    }
}
