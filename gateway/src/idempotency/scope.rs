//! What a key belongs to: one principal, one method, one target.
//!
//! A key never crosses a principal (a reply would leak) nor a target: the Azure CLI
//! sends one `x-ms-client-request-id` with every call of a command, so the same id
//! with two items is two jobs. Reads have no key, and neither have operations that
//! disclose: their replies are never stored.

use crate::digest::sha256_hex;

/// Longest key that is accepted; longer ones are refused before they are hashed.
const MAX_KEY: usize = 1_024;

/// The parts of a request that decide whether two requests are the same one.
pub(crate) struct Request<'a> {
    /// Issuer of the caller's token.
    pub(crate) issuer: &'a str,
    /// Subject of the caller's token.
    pub(crate) subject: &'a str,
    /// Method, upper case.
    pub(crate) method: &'a str,
    /// Canonical path and query, with the api-version.
    pub(crate) target: &'a str,
    /// ARM id of the vault, for reconciliation.
    pub(crate) vault: Option<&'a str>,
    /// Whether the answer works without the gateway.
    pub(crate) discloses: bool,
    /// The `Idempotency-Key` header.
    pub(crate) idempotency_key: Option<&'a str>,
    /// The `x-ms-client-request-id` header.
    pub(crate) client_request_id: Option<&'a str>,
}

/// Where a key stands. The parts are hashed, so that no caller decides what or how
/// much is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(super) digest: String,
    pub(super) principal: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) vault: Option<String>,
}

impl Scope {
    /// The scope of a request, if it has a key that counts. `Idempotency-Key` goes
    /// before `x-ms-client-request-id`.
    pub(crate) fn of(request: &Request<'_>) -> Option<Scope> {
        if matches!(request.method, "GET" | "HEAD" | "OPTIONS") || request.discloses {
            return None;
        }
        let usable = |key: &&str| !key.is_empty() && key.len() <= MAX_KEY;
        let explicit = request.idempotency_key.filter(usable);
        let implied = request.client_request_id.filter(usable);
        let (kind, key) = match (explicit, implied) {
            (Some(key), _) => ("idempotency-key", key.to_owned()),
            // A UUID, which clients write in either case.
            (None, Some(key)) => ("client-request-id", key.to_ascii_lowercase()),
            (None, None) => return None,
        };
        let principal = digest_of(&[request.issuer, request.subject]);
        let digest = digest_of(&[
            request.issuer,
            request.subject,
            request.method,
            request.target,
            kind,
            &key,
        ]);
        Some(Scope {
            digest,
            principal,
            method: request.method.to_owned(),
            target: request.target.to_owned(),
            vault: request.vault.map(str::to_owned),
        })
    }
}

/// Hashes the parts with their lengths, so that no two lists of parts run together.
fn digest_of(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    sha256_hex(&bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Request, Scope};

    fn request() -> Request<'static> {
        Request {
            issuer: "https://idp",
            subject: "alice",
            method: "POST",
            target: "/subscriptions/s/x/backup?api-version=2026-08-01",
            vault: None,
            discloses: false,
            idempotency_key: None,
            client_request_id: Some("6F1A-x"),
        }
    }

    #[test]
    fn every_part_of_the_scope_tells_requests_apart() {
        let base = Scope::of(&request()).unwrap().digest;
        let others = [
            Request {
                issuer: "https://other",
                ..request()
            },
            Request {
                subject: "bob",
                ..request()
            },
            Request {
                method: "PUT",
                ..request()
            },
            Request {
                target: "/subscriptions/s/y/backup?api-version=2026-08-01",
                ..request()
            },
            Request {
                target: "/subscriptions/s/x/backup?api-version=2025-01-01",
                ..request()
            },
            Request {
                client_request_id: Some("6f1a-y"),
                ..request()
            },
            Request {
                idempotency_key: Some("6f1a-x"),
                ..request()
            },
            // Parts that run into each other when simply joined.
            Request {
                issuer: "https://idpa",
                subject: "lice",
                ..request()
            },
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(Scope::of(other).unwrap().digest, base, "{i}");
        }
        let same = Request {
            client_request_id: Some("6f1A-X"),
            ..request()
        };
        assert_eq!(Scope::of(&same).unwrap().digest, base);
    }

    #[test]
    fn reads_disclosures_and_useless_keys_have_no_scope() {
        let long = "k".repeat(5_000);
        let none = [
            Request {
                method: "GET",
                ..request()
            },
            Request {
                method: "HEAD",
                ..request()
            },
            Request {
                discloses: true,
                ..request()
            },
            Request {
                client_request_id: None,
                ..request()
            },
            Request {
                client_request_id: Some(""),
                ..request()
            },
            Request {
                client_request_id: Some(&long),
                ..request()
            },
        ];
        for (i, request) in none.iter().enumerate() {
            assert_eq!(Scope::of(request), None, "{i}");
        }
    }
}
