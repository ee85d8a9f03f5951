//! Black-box tests against the real `vaultgate` executable, and the rules that
//! hold the tree together. One binary, so that it links once.

mod harness;

mod approvals;
mod authorization;
mod command_line;
mod configuration;
mod doors;
mod generated;
mod guards;
mod idempotency;
mod incident;
mod layout;
mod long_running;
mod matrix;
mod preflight;
mod promises;
mod sessions;
mod shown;
mod state;
