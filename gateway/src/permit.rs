//! The right to send one request with the operator identity.
//!
//! A permit is made from a receipt, and a receipt exists only for a durable
//! record. `Upstream::forward` takes nothing else: forwarding without a record
//! does not compile.

use bytes::Bytes;
use http::{HeaderMap, Method};
use uuid::Uuid;
use vaultgate_decision_log::Receipt;

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
