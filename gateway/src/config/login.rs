//! `[console.login]`: as which client people sign in at the console with a browser.

use std::path::Path;

use serde::Deserialize;

use super::Problems;
use super::issuers::{Dpop, Issuer};
use super::upstream::{SecretRef, secret_at_hand};

/// The section as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginFile {
    issuer: String,
    client_id: String,
    client_secret: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
}

/// What holds.
pub(crate) struct Login {
    /// The issuer at which people sign in.
    pub(crate) issuer: Issuer,
    /// The client that the console is there.
    pub(crate) client_id: String,
    /// Its secret; none for a public client, which PKCE alone protects.
    pub(crate) client_secret: Option<SecretRef>,
    /// What is asked for beside `openid`.
    pub(crate) scopes: Vec<String>,
}

impl LoginFile {
    pub(super) fn check(
        self,
        issuers: &[Issuer],
        base: &Path,
        problems: &mut Problems,
    ) -> Option<Login> {
        let found = issuers.iter().find(|issuer| issuer.name == self.issuer);
        let Some(issuer) = found else {
            problems.add(
                "console.login.issuer",
                format!("no issuer is named `{}`", self.issuer),
                "give the `name` of one of the `[[issuer]]` tables",
            );
            return None;
        };
        let Some(audience) = issuer.console_audiences.first() else {
            problems.add(
                "console.login.issuer",
                format!("`{}` has no `console_audiences`", self.issuer),
                "name the audience of the console there: only its tokens open this door",
            );
            return None;
        };
        if issuer.dpop == Dpop::Required {
            problems.add(
                "console.login.issuer",
                format!("tokens of `{}` need a proof of possession", self.issuer),
                "a session has none: sign in at an issuer whose `dpop` is `off` or `optional`",
            );
        }
        let mut scopes = self.scopes;
        if scopes.is_empty() && issuer.entra.is_some() {
            // Entra ID chooses the audience by the scope.
            scopes.push(format!("{audience}/.default"));
        }
        let client_secret = match self.client_secret {
            Some(text) => Some(secret_at_hand(
                &text,
                "console.login.client_secret",
                base,
                problems,
            )?),
            None => None,
        };
        Some(Login {
            issuer: issuer.clone(),
            client_id: self.client_id,
            client_secret,
            scopes,
        })
    }
}
