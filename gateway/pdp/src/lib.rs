//! May they: one Rego decision on one input document.
//!
//! Pure and synchronous: no sockets, no clock, no runtime. This crate is the only
//! home of the policy engine. Whatever goes wrong in a policy (an error, a
//! timeout, a panic, an undefined or malformed result) comes out as a denial;
//! nothing in here may ever turn a fault into a permit.

mod admission;
mod annotation;
mod bench;
mod bundle;
mod capabilities;
mod decision;
mod engine;
mod evaluator;
mod explain;
mod input;
mod limits;
mod machine;
mod pace;
mod policy;
pub mod principal;
mod problem;
mod query;
mod rego_tests;
mod replay;
mod schema;
mod stack;
mod strict;
mod strict_json;
mod value;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod policy_faults_deny;

pub use admission::admit_and_probe;
pub use annotation::Annotation;
pub use bench::{Bench, Bencher, bench};
pub use bundle::{Bundle, BundleError};
pub use capabilities::capabilities;
pub use decision::{Approval, Budget, Decision, Fault, FaultCode, Obligation, Period, Reason};
pub use evaluator::{Evaluator, on_thread_with_stack};
pub use explain::{Change, Explanation, Fired, Stopped, explain, what_would_allow};
pub use input::{
    Claimed, Document, Flow, Input, Json, Operation, Request, Resource, Restore, SCHEMA, Transport,
};
pub use limits::Limits;
pub use machine::MachineReport;
pub use policy::Policy;
pub use principal::{Actor, Binding, Principal, PrincipalKind};
pub use problem::{Problem, Rejected, Severity};
pub use query::{EvalError, eval};
pub use rego_tests::{Coverage, Outcome, TestReport, TestResult, test_bundle};
pub use replay::{replay, replay_all};
pub use schema::{DECISION_SCHEMA, INPUT_SCHEMA};
pub use strict::strict;

/// The engine and its version, as records name it: a decision is repeated only
/// by the same engine.
pub const ENGINE: &str = "regorus 0.14.1";

/// The one rule that is evaluated for a request.
pub const ENTRY_POINT: &str = "data.vaultgate.decision";
