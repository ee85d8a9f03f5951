//! An emulator of Azure Backup and a development identity provider, for tests.
//!
//! It imports nothing of the product: an emulator that shared the product's parser or
//! classifier would share its mistakes. It is no proof about Azure: what nobody has seen
//! on a real vault is listed in `docs/azure-assumptions.md`.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use vaultgate_sim::{Issuer, Sim, SimOptions, TokenRequest};
//! let sim = Sim::start(SimOptions::default()).await?;
//! let token = sim.token(&TokenRequest::new("operator", Issuer::Entra))?;
//! assert!(sim.journal().is_empty());
//! sim.shutdown().await;
//! # Ok(()) }
//! ```

mod azure;
mod azure_tokens;
mod clock;
mod control;
mod digest;
mod document;
mod faults;
mod idp;
mod imds;
mod journal;
mod key_vault;
mod server;
mod sim;
mod state;
mod tls;
mod wire;
mod world;

pub use azure::Reading;
pub use faults::{Fault, FaultKind, FaultRule, Match};
pub use idp::{
    CONSOLE_AUDIENCE, DATA_AUDIENCE, DiscoveryState, Issuer, JwksState, PERSONAS, Persona,
    TokenRequest, persona,
};
pub use imds::IDENTITY_HEADER;
pub use journal::{Entry, Identity};
pub use sim::{Sim, SimHandle, SimOptions, Tls};
pub use state::TENANT;
pub use tls::{DEV_NAMES, DevCa, dev_ca};
pub use world::{CORPUS, PROD, STAGING};
