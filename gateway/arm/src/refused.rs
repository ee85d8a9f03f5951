//! Why a request is not understood: one enum, one stable code for each cause.

/// The cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReasonCode {
    /// The method is none that ARM operations have.
    MethodUnknown,
    /// The target has another form than a path and a query.
    TargetMalformed,
    /// An encoding that two parsers could read differently.
    TargetAmbiguous,
    /// A query parameter that no operation has, or one that occurs twice.
    QueryUnknown,
    /// No api-version, or one of another form.
    ApiVersionMalformed,
    /// A change with an api-version that is not listed.
    ApiVersionUnlisted,
    /// An operation outside the catalogue.
    OperationUnknown,
    /// An operation that is known and never forwarded.
    OperationBlocked,
    /// A header that changes what a request means.
    HeaderUnknown,
    /// Another media type than JSON in UTF-8.
    BodyMediaType,
    /// A body that is no strict JSON object.
    BodyMalformed,
    /// A known member with another spelling, type or value.
    BodyMember,
    /// An id in the body that contradicts the target.
    BodyContradiction,
    /// A body where the operation has none.
    BodyUnexpected,
    /// No body where the operation needs one.
    BodyMissing,
}

impl ReasonCode {
    /// Every cause.
    pub const ALL: [ReasonCode; 15] = [
        ReasonCode::MethodUnknown,
        ReasonCode::TargetMalformed,
        ReasonCode::TargetAmbiguous,
        ReasonCode::QueryUnknown,
        ReasonCode::ApiVersionMalformed,
        ReasonCode::ApiVersionUnlisted,
        ReasonCode::OperationUnknown,
        ReasonCode::OperationBlocked,
        ReasonCode::HeaderUnknown,
        ReasonCode::BodyMediaType,
        ReasonCode::BodyMalformed,
        ReasonCode::BodyMember,
        ReasonCode::BodyContradiction,
        ReasonCode::BodyUnexpected,
        ReasonCode::BodyMissing,
    ];

    /// The stable code: the same in answers, records, metrics and documents.
    pub fn code(self) -> &'static str {
        match self {
            ReasonCode::MethodUnknown => "method-unknown",
            ReasonCode::TargetMalformed => "target-malformed",
            ReasonCode::TargetAmbiguous => "target-ambiguous",
            ReasonCode::QueryUnknown => "query-unknown",
            ReasonCode::ApiVersionMalformed => "api-version-malformed",
            ReasonCode::ApiVersionUnlisted => "api-version-unlisted",
            ReasonCode::OperationUnknown => "operation-unknown",
            ReasonCode::OperationBlocked => "operation-blocked",
            ReasonCode::HeaderUnknown => "header-unknown",
            ReasonCode::BodyMediaType => "body-media-type",
            ReasonCode::BodyMalformed => "body-malformed",
            ReasonCode::BodyMember => "body-member",
            ReasonCode::BodyContradiction => "body-contradiction",
            ReasonCode::BodyUnexpected => "body-unexpected",
            ReasonCode::BodyMissing => "body-missing",
        }
    }

    /// HTTP status of the refusal.
    pub fn status(self) -> u16 {
        match self {
            ReasonCode::MethodUnknown => 405,
            ReasonCode::BodyMediaType => 415,
            ReasonCode::OperationUnknown
            | ReasonCode::OperationBlocked
            | ReasonCode::ApiVersionUnlisted => 403,
            _ => 400,
        }
    }
}

/// A request that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The cause.
    pub reason: ReasonCode,
    /// What is wrong, with the offending value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// RBAC action, where the operation is known.
    pub operation: Option<&'static str>,
}

impl Refused {
    pub(crate) fn new(reason: ReasonCode, message: impl Into<String>) -> Refused {
        Refused {
            reason,
            message: message.into(),
            hint: None,
            operation: None,
        }
    }

    pub(crate) fn of(mut self, operation: &'static str) -> Refused {
        self.operation = Some(operation);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Refused {
        self.hint = Some(hint.into());
        self
    }
}
