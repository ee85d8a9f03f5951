//! The opaque tokens of the gateway's own Azure identities:
//! `azcanary.<identity>.<32 hex>`. A token counts only if this process minted it, so a
//! canary that leaks is found by its spelling and a guessed one is worth nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::digest::fresh_hex;
use crate::journal::Identity;

/// The tokens in force.
pub(crate) struct AzureTokens {
    minted: HashMap<String, (Identity, Instant)>,
    /// How long a new token lives.
    pub lifetime: Duration,
}

impl Default for AzureTokens {
    fn default() -> AzureTokens {
        AzureTokens {
            minted: HashMap::new(),
            lifetime: Duration::from_secs(3_599),
        }
    }
}

/// The client ids of the gateway's own identities.
pub(crate) fn identity_of_client(client_id: &str) -> Option<Identity> {
    match client_id {
        "vaultgate-reader" => Some(Identity::Reader),
        "vaultgate-operator" => Some(Identity::Operator),
        "vaultgate-guard" => Some(Identity::Guard),
        _ => None,
    }
}

impl AzureTokens {
    pub(crate) fn mint(&mut self, identity: Identity) -> String {
        let token = format!("azcanary.{}.{}", identity.name(), fresh_hex());
        self.minted
            .insert(token.clone(), (identity, Instant::now() + self.lifetime));
        token
    }

    pub(crate) fn identity(&self, token: &str) -> Identity {
        match self.minted.get(token) {
            Some((identity, ends)) if Instant::now() < *ends => *identity,
            _ => Identity::None,
        }
    }

    /// Makes every token of an identity worthless at once; of all without one.
    pub(crate) fn revoke(&mut self, identity: Option<Identity>) {
        self.minted
            .retain(|_, (owner, _)| identity.is_some_and(|gone| gone != *owner));
    }
}

#[cfg(test)]
mod tests {
    use super::AzureTokens;
    use crate::journal::Identity;

    #[test]
    fn only_a_minted_token_is_somebody() {
        let mut tokens = AzureTokens::default();
        let token = tokens.mint(Identity::Reader);
        assert!(
            token.starts_with("azcanary.reader.") && token.len() == "azcanary.reader.".len() + 32
        );
        assert_eq!(tokens.identity(&token), Identity::Reader);
        assert_eq!(
            tokens.identity("azcanary.operator.00000000000000000000000000000000"),
            Identity::None
        );
        tokens.revoke(Some(Identity::Operator));
        assert_eq!(tokens.identity(&token), Identity::Reader);
        tokens.revoke(None);
        assert_eq!(tokens.identity(&token), Identity::None);
    }

    #[test]
    fn a_token_ends() {
        let mut tokens = AzureTokens {
            lifetime: std::time::Duration::ZERO,
            ..AzureTokens::default()
        };
        let token = tokens.mint(Identity::Operator);
        assert_eq!(tokens.identity(&token), Identity::None);
    }
}
