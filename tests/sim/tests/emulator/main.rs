//! The emulator from outside: a client that speaks HTTPS to it, as the gateway does.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod azure;
mod client;
mod credentials;
mod data_protection;
mod faults;
mod guards;
mod identity;
mod items;
mod shapes;
mod vaults;
