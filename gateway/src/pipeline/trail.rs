//! What is known of a request so far: what its refusal and its record will tell.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use uuid::Uuid;
use vaultgate_pdp::Principal;

use crate::authn::{Authenticated, AuthnError};
use crate::recorder::TokenNote;

/// The traces that a request leaves behind on its way.
pub(crate) struct Trail {
    /// The decision's id, made before anything is known: it is also the request
    /// id that Azure sees, so that Azure's own logs name the decision.
    pub(crate) id: Uuid,
    /// When the request's head was complete.
    pub(crate) began: Instant,
    /// The caller, once authenticated.
    pub(crate) caller: Option<Arc<Principal>>,
    /// The proof of who asks.
    pub(crate) proof: Option<Authenticated>,
    /// The token that proved it.
    pub(crate) token: Option<TokenNote>,
    /// What was asked, once classified.
    pub(crate) asked: Option<AskedNote>,
    /// RBAC action of an operation that is known and never forwarded.
    pub(crate) blocked: Option<&'static str>,
    /// The receipt of the decision's record, once durable.
    pub(crate) receipt: Option<String>,
    /// Whether a token was signed by a configured issuer though it was refused.
    pub(crate) signed: bool,
    /// What a refused but signed token said of its bearer.
    pub(crate) bearer: Option<Bearer>,
}

/// The operation, as a refusal's record names it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AskedNote {
    /// RBAC action.
    pub(crate) name: String,
    /// Class of the operation.
    pub(crate) class: &'static str,
    /// ARM id of the resource.
    pub(crate) resource: String,
}

/// Who a refused token spoke for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bearer {
    /// Issuer that signed it.
    pub(crate) issuer: String,
    /// Subject, where the token names one.
    pub(crate) subject: Option<String>,
}

impl Trail {
    /// A request of which nothing is known yet.
    pub(crate) fn new(began: Instant) -> Trail {
        Trail {
            id: Uuid::now_v7(),
            began,
            caller: None,
            proof: None,
            token: None,
            asked: None,
            blocked: None,
            receipt: None,
            signed: false,
            bearer: None,
        }
    }

    /// Takes who it is, or whose token was refused.
    pub(crate) fn take(
        &mut self,
        verified: Result<Authenticated, AuthnError>,
    ) -> Result<Arc<Principal>, AuthnError> {
        match verified {
            Ok(authenticated) => {
                let caller = Arc::clone(&authenticated.principal);
                self.caller = Some(Arc::clone(&caller));
                self.token = Some(TokenNote {
                    issuer: authenticated.verified_by.clone(),
                    id: authenticated.token_id.clone(),
                    sha256: crate::digest::hex(&authenticated.token_digest),
                    expires: authenticated.expires.to_string(),
                });
                self.proof = Some(authenticated);
                Ok(caller)
            }
            Err(error) => {
                self.signed = error.is_signed();
                self.bearer = error.issuer().map(|issuer| Bearer {
                    issuer: issuer.to_owned(),
                    subject: error.subject().map(str::to_owned),
                });
                Err(error)
            }
        }
    }

    /// The class for metrics: a closed set.
    pub(crate) fn class(&self) -> &'static str {
        self.asked.as_ref().map_or("none", |asked| asked.class)
    }
}
