//! Key Vault secrets: the challenge, the newest version, older versions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::digest::fresh_hex;
use crate::journal::Identity;
use crate::server::{Asked, add};
use crate::state::{State, TENANT};
use crate::wire::{self, Reply};

struct Version {
    id: String,
    value: String,
    created: i64,
}

/// Secrets by name, oldest version first.
pub(crate) struct Secrets(BTreeMap<String, Vec<Version>>);

impl Secrets {
    pub(crate) fn seeded() -> Secrets {
        let mut secrets = Secrets(BTreeMap::new());
        for client in ["vaultgate-reader", "vaultgate-operator", "vaultgate-guard"] {
            secrets.set(&format!("{client}-secret"), &format!("{client}-secret"));
        }
        secrets
    }

    /// Adds a version and returns its id.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> String {
        let id = fresh_hex();
        self.0.entry(name.to_owned()).or_default().push(Version {
            id: id.clone(),
            value: value.to_owned(),
            created: jiff::Timestamp::now().as_second(),
        });
        id
    }

    fn find(&self, name: &str, version: &str) -> Option<&Version> {
        let versions = self.0.get(name)?;
        if version.is_empty() {
            return versions.last();
        }
        versions.iter().find(|one| one.id == version)
    }
}

/// Answers `GET /secrets/{name}[/{version}]`.
pub(crate) fn answer(state: &State, asked: &Asked) -> Reply {
    if asked.identity == Identity::None {
        let mut reply = error(
            401,
            "Unauthorized",
            "AKV10000: Request is missing a Bearer or PoP token.",
        );
        let challenge = format!(
            "Bearer authorization=\"{}/{TENANT}\", resource=\"https://vault.azure.net\"",
            state.origin
        );
        add(&mut reply, "www-authenticate", &challenge);
        return reply;
    }
    if asked.method != "GET" {
        return error(405, "MethodNotAllowed", "The emulator only reads secrets.");
    }
    let mut names = asked.path.trim_start_matches("/secrets/").split('/');
    let (name, version) = (
        names.next().unwrap_or_default(),
        names.next().unwrap_or_default(),
    );
    match state.secrets().find(name, version) {
        Some(found) => wire::json(200, &secret(&state.origin, name, found)),
        None => error(
            404,
            "SecretNotFound",
            "A secret with this name or version was not found.",
        ),
    }
}

fn secret(origin: &str, name: &str, version: &Version) -> Value {
    json!({
        "value": version.value,
        "id": format!("{origin}/secrets/{name}/{}", version.id),
        "attributes": {
            "enabled": true,
            "created": version.created,
            "updated": version.created,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
        },
        "tags": {},
    })
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    wire::json(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}
