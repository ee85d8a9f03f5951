//! `vaultgate custody rotate-key`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::say;
use crate::config::Config;
use crate::custody::keys::SealingKeys;

#[derive(Subcommand)]
pub(crate) enum CustodyVerb {
    /// Seal handles of operations with a new key from the next start on; the older
    /// keys open what they sealed
    RotateKey {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

pub(crate) fn run(verb: CustodyVerb) -> anyhow::Result<u8> {
    match verb {
        CustodyVerb::RotateKey { config } => rotate(&config),
    }
}

fn rotate(path: &Path) -> anyhow::Result<u8> {
    let config = Config::load(path)
        .map_err(|rejected| anyhow::anyhow!(rejected.render(&path.display().to_string())))?;
    SealingKeys::rotate(&config.custody.key)?;
    let key = config.custody.key.display();
    say(&format!(
        "`{key}` has a new first key; restart the gateway to seal with it"
    ));
    Ok(0)
}
