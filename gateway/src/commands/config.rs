//! `vaultgate config check | sample`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{FAILED, complain, say};
use crate::config::{Config, SAMPLE};
use crate::serving;

#[derive(Subcommand)]
pub(crate) enum ConfigVerb {
    /// Report every problem of a configuration, its certificate, bundle and keys
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a sample with every setting and its meaning
    Sample,
}

pub(crate) fn run(verb: ConfigVerb) -> anyhow::Result<u8> {
    match verb {
        ConfigVerb::Sample => {
            say(SAMPLE.trim_end());
            Ok(0)
        }
        ConfigVerb::Check { config: path } => match Config::load(&path) {
            Ok(config) => {
                let problems = serving::preflight(&config);
                if problems.is_empty() {
                    say(&format!("`{}` is good ({})", path.display(), config.digest));
                    return Ok(0);
                }
                for problem in problems.iter() {
                    complain(&format!("{}: {problem}", path.display()));
                }
                Ok(FAILED)
            }
            Err(rejected) => {
                complain(rejected.render(&path.display().to_string()).trim_end());
                Ok(FAILED)
            }
        },
    }
}
