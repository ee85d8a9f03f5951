//! Many callers: tokens that differ from a good one in who it speaks of.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, encode};
use serde_json::Value;

/// Tokens to be minted.
#[derive(clap::Args)]
pub(crate) struct Mint {
    /// Private key of the token's own issuer, PEM
    #[arg(long)]
    key: PathBuf,
    /// File with the token that the others are like
    #[arg(long)]
    like: PathBuf,
    #[arg(long)]
    count: usize,
    /// One token in each line
    #[arg(long)]
    out: PathBuf,
}

impl Mint {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let like = std::fs::read_to_string(&self.like)?;
        let header = jsonwebtoken::decode_header(like.trim())?;
        let payload = like.split('.').nth(1).context("three parts")?;
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        let pem = std::fs::read(&self.key)?;
        let key = match header.alg {
            Algorithm::ES256 => EncodingKey::from_ec_pem(&pem)?,
            _ => EncodingKey::from_rsa_pem(&pem)?,
        };
        let mut out = std::io::BufWriter::new(std::fs::File::create(&self.out)?);
        for number in 0..self.count {
            let members = claims.as_object_mut().context("claims")?;
            for name in ["sub", "oid", "person", "jti", "uti"] {
                if let Some(member) = members.get_mut(name) {
                    *member = Value::from(format!("bench-{number}"));
                }
            }
            writeln!(out, "{}", encode(&header, &claims, &key)?)?;
        }
        out.flush()?;
        Ok(())
    }
}
