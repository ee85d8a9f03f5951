//! What is asked: Azure Backup requests understood as operations on resources.
//!
//! Pure: no I/O, no clock, no runtime. A request is parsed once, here, and what is
//! sent upstream is built from that parse. What is not understood is refused.

pub mod catalogue;
mod class;
mod classify;
pub mod json;
mod refused;
mod resource;
mod restore;
mod schema;
mod settle;
mod target;

#[cfg(fuzzing)]
pub mod fuzzing;

pub use catalogue::{Method, OperationSpec, Rule};
pub use class::Class;
pub use classify::{Classified, Headers, Route, route};
pub use refused::{ReasonCode, Refused};
pub use resource::Resource;
pub use restore::{Restore, RestoreTarget};
pub use schema::SECRET_DIGEST;
pub use settle::{Before, Settled};
pub use target::Target;
