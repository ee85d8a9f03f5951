//! Vaultgate: an identity-aware policy gateway for Azure Backup.
//!
//! The policy enforcement point: everything with a socket, and the `vaultgate`
//! executable. What is asked (`vaultgate-arm`), whether it may be (`vaultgate-pdp`)
//! and what was decided (`vaultgate-decision-log`) are crates of their own, pure,
//! so that those answers never depend on a network. Imports run downward only;
//! `tests/it/layout.rs` holds this order:

mod commands;

mod runs;
mod serving;

mod listener;

mod attack;
mod console;
mod replay;

mod api;
mod pipeline;

mod custody;
mod facts;
mod idempotency;
mod refusal;
mod upstream;

mod activity;
mod address;
mod admit;
mod anchor;
mod approvals;
mod assent;
mod authn;
mod bundle_keys;
mod bundle_service;
mod deletions;
mod incident;
mod notices;
mod observer;
mod permit;
mod policy_source;
mod quarantine;
mod recorder;
mod shadow;

mod outbound;
mod store;

mod clock;
mod config;
mod digest;
mod telemetry;

/// What fuzz targets reach; in no other build.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::authn::fuzzing::{Door, object};
    pub use crate::config::fuzzing::{Taken, Told, check};
}

/// Runs the executable: parses the command line and returns its exit code.
pub fn main() -> std::process::ExitCode {
    commands::run()
}
