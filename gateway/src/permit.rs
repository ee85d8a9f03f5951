//! The right to send one request with the operator identity.
//!
//! A permit is made from a receipt, and a receipt exists only for a durable
//! record. `Upstream::forward` takes nothing else: forwarding without a record
//! does not compile.

use bytes::Bytes;
use http::{HeaderMap, Method};
use uuid::Uuid;
use vaultgate_decision_log::Receipt;

use crate::approvals::Consumed;

/// A request as Azure will see it, built from the parsed form.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamRequest {
    /// Method.
    pub(crate) method: Method,
    /// Canonical path and query.
    pub(crate) path_and_query: String,
    /// Body, exactly as recorded by its digest.
    pub(crate) body: Option<Bytes>,
    /// Headers from the allow-list.
    pub(crate) headers: HeaderMap,
}

/// One recorded decision to allow one request.
pub(crate) struct Permit {
    decision: Uuid,
    request: UpstreamRequest,
}

impl Permit {
    /// Issues the permit of a durable record. The receipt is consumed: one record,
    /// one request.
    pub(crate) fn issue(_receipt: Receipt, decision: Uuid, request: UpstreamRequest) -> Permit {
        Permit { decision, request }
    }

    /// The decision and its request.
    pub(crate) fn into_parts(self) -> (Uuid, UpstreamRequest) {
        (self.decision, self.request)
    }
}

/// What unlocks one resource of a guarded vault for its deletion: nothing else can be formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unlock {
    /// ARM id of the proxy that binds the vault to its guard.
    pub(crate) proxy: String,
    /// The guard's requests for this operation, as the proxy names them.
    pub(crate) requests: Vec<String>,
    /// The resource that is deleted next.
    pub(crate) resource: String,
    /// Api-version of the deletion.
    pub(crate) api_version: String,
}

impl Unlock {
    /// The request, as Azure will see it.
    pub(crate) fn request(&self) -> UpstreamRequest {
        let body = serde_json::json!({
            "resourceGuardOperationRequests": self.requests,
            "resourceToBeDeleted": self.resource,
        });
        UpstreamRequest {
            method: Method::POST,
            path_and_query: format!(
                "{}/unlockDelete?api-version={}",
                self.proxy, self.api_version
            ),
            body: Some(Bytes::from(body.to_string())),
            headers: HeaderMap::new(),
        }
    }
}

/// The right to unlock one resource with the guard's identity: from a durable record of its
/// own, for a deletion whose approval was used up for it.
pub(crate) struct UnlockPermit {
    decision: Uuid,
    unlock: Unlock,
}

impl UnlockPermit {
    /// Issues the permit. An approval that was used up for the deletion has to be shown.
    pub(crate) fn issue(
        _receipt: Receipt,
        _consumed: &Consumed,
        decision: Uuid,
        unlock: Unlock,
    ) -> UnlockPermit {
        UnlockPermit { decision, unlock }
    }

    /// The decision and its request.
    pub(crate) fn into_parts(self) -> (Uuid, UpstreamRequest) {
        (self.decision, self.unlock.request())
    }
}
