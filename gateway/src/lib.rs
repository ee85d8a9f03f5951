//! Vaultgate: an identity-aware policy gateway for Azure Backup.

mod clock;
mod config;

mod authn;
mod outbound;
mod upstream;

mod activity;
mod admit;
mod idempotency;
mod store;
