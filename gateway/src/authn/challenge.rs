//! The `WWW-Authenticate` value of a 401 (RFC 6750, RFC 9449, RFC 9728).
//!
//! It says which check failed and where to learn about this gateway's issuers;
//! nothing in it comes from the token.

use super::refused::Failure;
use super::{Authenticator, AuthnError};

impl Authenticator {
    /// The challenge for a caller who was not believed. `resource_metadata` is the
    /// address of the protected resource metadata.
    pub(crate) fn challenge(&self, error: &AuthnError, resource_metadata: &str) -> String {
        let metadata = format!("resource_metadata=\"{}\"", quoted(resource_metadata));
        let bearer = match error.failure {
            // Without a token there is nothing wrong with it (RFC 6750, 3.1).
            Failure::Missing | Failure::Scheme => format!("Bearer {metadata}"),
            _ => format!(
                "Bearer error=\"invalid_token\", error_description=\"{}\", {metadata}",
                quoted(&format!("{}: {}", error.code(), error.failure)),
            ),
        };
        if !self.takes_proofs {
            return bearer;
        }
        let algorithms = super::dpop::ALGORITHM_NAMES.join(" ");
        let proof = match error.failure {
            Failure::Dpop(_) => "error=\"invalid_dpop_proof\", ",
            _ => "",
        };
        format!("{bearer}, DPoP {proof}algs=\"{algorithms}\", {metadata}")
    }
}

/// What may stand between quotes in a header; the rest is left out.
fn quoted(text: &str) -> String {
    let fits = |c: &char| matches!(*c, ' '..='~') && *c != '"' && *c != '\\';
    text.chars().filter(fits).collect()
}
