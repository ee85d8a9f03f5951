//! Why a policy could not decide. Each of these denies; none can be configured
//! to do anything else.

use serde::Serialize;

/// A policy that could not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What kind of fault.
    pub code: FaultCode,
    /// What the engine said; for the record, not for the caller.
    pub message: String,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The evaluation ended in an error.
    PolicyError,
    /// The evaluation took too long.
    PolicyTimeout,
    /// The engine panicked; it was thrown away.
    PolicyPanic,
    /// The entry point has no value for this input.
    PolicyUndefined,
    /// The entry point's value is not a decision.
    PolicyMalformed,
    /// More requests wait for an evaluation than may.
    PolicyOverloaded,
}

impl FaultCode {
    /// Every kind.
    pub const ALL: [FaultCode; 6] = [
        FaultCode::PolicyError,
        FaultCode::PolicyTimeout,
        FaultCode::PolicyPanic,
        FaultCode::PolicyUndefined,
        FaultCode::PolicyMalformed,
        FaultCode::PolicyOverloaded,
    ];

    /// The stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::PolicyError => "policy-error",
            FaultCode::PolicyTimeout => "policy-timeout",
            FaultCode::PolicyPanic => "policy-panic",
            FaultCode::PolicyUndefined => "policy-undefined",
            FaultCode::PolicyMalformed => "policy-malformed",
            FaultCode::PolicyOverloaded => "policy-overloaded",
        }
    }

    /// What a caller is told.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            FaultCode::PolicyError => "the policy failed on this request, so it is denied",
            FaultCode::PolicyTimeout => "the policy took too long on this request, so it is denied",
            FaultCode::PolicyPanic => "the policy engine broke on this request, so it is denied",
            FaultCode::PolicyUndefined => {
                "the policy says nothing of this request, so it is denied"
            }
            FaultCode::PolicyMalformed => {
                "the policy's answer to this request is not understood, so it is denied"
            }
            FaultCode::PolicyOverloaded => {
                "too many requests wait for the policy, so this one is denied; try again"
            }
        }
    }
}
