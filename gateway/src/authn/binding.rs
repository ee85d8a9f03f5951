//! Tokens that are good only together with a key: a client certificate (RFC 8705)
//! or a proof of possession (RFC 9449).
//!
//! A bound token without its proof is a stolen one. A binding that is not
//! understood is one that cannot be checked, so the token is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;
use vaultgate_pdp::Binding;

use super::claims::Signed;
use super::credential::{Credential, Scheme};
use super::refused::Failure;
use super::verify::Verified;
use super::{Authenticator, Presented, dpop};
use crate::config::issuers::Dpop;

/// What a token's `cnf` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmation {
    certificate: Option<[u8; 32]>,
    proof_key: Option<[u8; 32]>,
}

impl Confirmation {
    /// Reads `cnf`; a member that is not known could ask for anything.
    pub(super) fn read(claims: Signed<'_>) -> Result<Confirmation, Failure> {
        let mut confirmation = Confirmation::default();
        let members = match claims.0.get("cnf") {
            None => return Ok(confirmation),
            Some(Value::Object(members)) if !members.is_empty() => members,
            Some(_) => return Err(Failure::ClaimType("cnf".into())),
        };
        for (name, value) in members {
            let slot = match name.as_str() {
                "x5t#S256" => &mut confirmation.certificate,
                "jkt" => &mut confirmation.proof_key,
                _ => return Err(Failure::Binding("its way of binding is not known here")),
            };
            *slot = Some(thumbprint(value)?);
        }
        Ok(confirmation)
    }

    /// How policy sees it. A proof key counts more: it is tied to this very request.
    pub(super) fn binding(&self) -> Binding {
        match (self.proof_key, self.certificate) {
            (Some(_), _) => Binding::Dpop,
            (None, Some(_)) => Binding::Mtls,
            (None, None) => Binding::None,
        }
    }
}

fn thumbprint(value: &Value) -> Result<[u8; 32], Failure> {
    let bytes = value
        .as_str()
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.ok_or(Failure::Binding("its thumbprint is not a SHA-256"))
}

impl Authenticator {
    /// Whether the request proves what its token is bound to.
    pub(super) fn bound(
        &self,
        verified: &Verified,
        credential: &Credential<'_>,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let confirmation = &verified.confirmation;
        if let Some(certificate) = confirmation.certificate
            && presented.client_certificate_sha256 != Some(certificate)
        {
            return Err(Failure::Binding(
                "the client certificate is another one, or missing",
            ));
        }
        let issuer = &verified.trusted.issuer;
        match (confirmation.proof_key, issuer.dpop, credential.scheme) {
            (None, Dpop::Off | Dpop::Optional, Scheme::Bearer) => Ok(()),
            (None, Dpop::Required, _) => Err(Failure::Binding(
                "its issuer's tokens must be bound to a key",
            )),
            (None, _, Scheme::Dpop) => Err(Failure::Binding("it is bound to no key")),
            (Some(_), Dpop::Off, _) => Err(Failure::Binding(
                "proofs are not taken for this issuer's tokens",
            )),
            (Some(_), _, Scheme::Bearer) => Err(Failure::Binding(
                "it must be sent with the scheme `DPoP` and a proof",
            )),
            (Some(key), _, Scheme::Dpop) => {
                let expected = dpop::Expected {
                    method: presented.method.as_str(),
                    origin: presented.origin,
                    path: presented.path,
                    token: credential.token,
                    key,
                    leeway: issuer.leeway,
                };
                dpop::check(presented.headers, &expected, now, &self.proofs)
            }
        }
    }
}
