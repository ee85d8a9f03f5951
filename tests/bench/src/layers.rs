//! What a gateway does to a request, each layer switched on by itself: the cost of
//! one is the difference of two runs.

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, Uri};

use crate::policy::{Machine, Policy};
use crate::record::Records;
use crate::token::Tokens;

/// The layers as the command line names them.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// Verify bearer tokens with the keys in this file
    #[arg(long, requires_all = ["issuer", "audience"])]
    jwks: Option<PathBuf>,
    #[arg(long)]
    issuer: Option<String>,
    #[arg(long)]
    audience: Option<String>,
    /// Ask this Rego bundle
    #[arg(long, requires = "jwks")]
    policies: Option<PathBuf>,
    /// How Rego is run
    #[arg(long, value_enum, default_value_t = Machine::Rvm)]
    machine: Machine,
    /// Write a durable record of each decision into a log in this folder
    #[arg(long)]
    log: Option<PathBuf>,
}

/// The layers that are on.
pub(crate) struct Layers {
    tokens: Option<Tokens>,
    policy: Option<Policy>,
    records: Option<Records>,
}

impl Named {
    /// Makes them ready.
    pub(crate) fn build(self) -> anyhow::Result<Arc<Layers>> {
        let issuer = self.issuer.unwrap_or_default();
        let audience = self.audience.unwrap_or_default();
        let tokens = self.jwks.map(|jwks| Tokens::new(&jwks, &issuer, &audience));
        let policy = self.policies.map(|dir| Policy::load(&dir, self.machine));
        Ok(Arc::new(Layers {
            tokens: tokens.transpose()?,
            policy: policy.transpose()?,
            records: self.log.map(|dir| Records::begin(&dir)).transpose()?,
        }))
    }
}

impl Layers {
    /// Lets the request pass, or says with which status it ends.
    pub(crate) async fn judge(
        &self,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), StatusCode> {
        let mut caller = None;
        if let Some(tokens) = &self.tokens {
            let known = tokens.caller(headers).await;
            caller = Some(known.ok_or(StatusCode::UNAUTHORIZED)?);
        }
        let mut allowed = true;
        if let (Some(policy), Some(caller)) = (&self.policy, &caller) {
            allowed = policy.allows(method, target.path(), caller);
        }
        if let Some(records) = &self.records {
            let subject = caller.as_ref().map_or("", |caller| &caller.subject);
            let written = records.write(method, target, subject, allowed).await;
            written.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        }
        match allowed {
            true => Ok(()),
            false => Err(StatusCode::FORBIDDEN),
        }
    }
}
