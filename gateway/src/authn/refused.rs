//! Why a caller was not believed: one variant for each check.
//!
//! A message names the check, and at most the configured name of a claim. It never
//! repeats anything from the token: whoever reads the answer may be its thief.

use http::StatusCode;

use super::compact::Compact;

/// The check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("the request carries no token")]
    Missing,
    #[error("the authorization scheme is not one that this gateway takes")]
    Scheme,
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the token's header holds `{0}`, which is never taken")]
    Header(&'static str),
    #[error("the token's issuer is not configured")]
    IssuerUnknown,
    #[error("the token is not an access token of its issuer")]
    Type,
    #[error("the token's algorithm is not the one of its key")]
    Algorithm,
    #[error("the issuer does not publish the key that the token names")]
    KeyUnknown,
    #[error("the issuer's keys cannot be fetched at the moment")]
    IssuerDegraded,
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the token has no claim `{0}`")]
    ClaimMissing(String),
    #[error("the token's claim `{0}` is not of the right type")]
    ClaimType(String),
    #[error("the token's claim `{0}` is too long or holds control characters")]
    ClaimValue(String),
    #[error("the token is not meant for this door")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token lives longer than its issuer's tokens may")]
    Lifetime,
    #[error("the token is of another tenant or version")]
    Tenant,
    #[error("the token leaves out groups because there are too many")]
    ClaimsOverage,
    #[error("the token names an actor that its issuer may not assert")]
    Actor,
    #[error("the token is bound, and the request does not prove it: {0}")]
    Binding(&'static str),
    #[error("the proof of possession is not valid: {0}")]
    Dpop(&'static str),
    #[error("too many tokens to verify from this address")]
    VerificationLimit,
}

impl Failure {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Failure::Missing => "token-missing",
            Failure::Scheme => "token-scheme",
            Failure::Malformed(_) => "token-malformed",
            Failure::Header(_) => "token-header",
            Failure::IssuerUnknown => "token-issuer-unknown",
            Failure::Type => "token-type",
            Failure::Algorithm => "token-algorithm",
            Failure::KeyUnknown => "token-key-unknown",
            Failure::IssuerDegraded => "issuer-degraded",
            Failure::Signature => "token-signature",
            Failure::ClaimMissing(_) => "token-claim-missing",
            Failure::ClaimType(_) => "token-claim-type",
            Failure::ClaimValue(_) => "token-claim-value",
            Failure::Audience => "token-audience",
            Failure::Expired => "token-expired",
            Failure::NotYetValid => "token-not-yet-valid",
            Failure::Lifetime => "token-lifetime",
            Failure::Tenant => "token-tenant",
            Failure::ClaimsOverage => "token-claims-overage",
            Failure::Actor => "token-actor",
            Failure::Binding(_) => "token-binding",
            Failure::Dpop(_) => "dpop-invalid",
            Failure::VerificationLimit => "verification-limit",
        }
    }
}

/// Whose token it was, once its signature was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) issuer: String,
    pub(super) subject: Option<String>,
}

/// Why a caller was not believed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub(crate) struct AuthnError {
    pub(super) failure: Failure,
    signer: Option<Signer>,
}

impl AuthnError {
    /// A check that a validly signed token failed.
    pub(super) fn signed(failure: Failure, signer: Signer) -> AuthnError {
        AuthnError {
            failure,
            signer: Some(signer),
        }
    }

    /// Stable reason code: the same in answer, record, metric and documentation.
    pub(crate) fn code(&self) -> &'static str {
        self.failure.code()
    }

    /// Status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self.failure {
            Failure::IssuerDegraded => StatusCode::SERVICE_UNAVAILABLE,
            Failure::VerificationLimit => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// What the caller can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self.failure {
            Failure::Missing | Failure::Scheme => {
                Some("send the token in one header, `Authorization: Bearer …`")
            }
            Failure::Audience => {
                Some("ask for a token with this gateway's audience as its resource")
            }
            Failure::Expired => Some("sign in again"),
            Failure::NotYetValid => Some("check the clock of the machine that issued the token"),
            Failure::Lifetime => Some("ask the issuer for a token with a shorter lifetime"),
            Failure::ClaimsOverage => Some(
                "let the issuer send application roles, or only the groups of this application",
            ),
            Failure::IssuerDegraded | Failure::VerificationLimit => Some("try again in a moment"),
            _ => None,
        }
    }

    /// Whether a configured issuer did sign the token: such a refusal is always
    /// recorded in full, whoever floods the log with strangers' tokens.
    pub(crate) fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// Configured name of the issuer that signed it.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.signer.as_ref().map(|signer| signer.issuer.as_str())
    }

    /// Whom the signed token speaks for.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.signer.as_ref()?.subject.as_deref()
    }
}

impl From<Failure> for AuthnError {
    fn from(failure: Failure) -> AuthnError {
        AuthnError {
            failure,
            signer: None,
        }
    }
}

impl Signer {
    /// Who a signed token is from, as far as it can be told before its claims are
    /// judged. The subject is cut short: it stands in a record, not in policy.
    pub(super) fn of(issuer: &str, token: &Compact<'_>) -> Signer {
        let subject = token.claims.get("sub").and_then(serde_json::Value::as_str);
        let legible = |subject: &str| {
            subject
                .chars()
                .filter(|c| !c.is_control())
                .take(128)
                .collect()
        };
        Signer {
            issuer: issuer.to_owned(),
            subject: subject.map(legible),
        }
    }
}
