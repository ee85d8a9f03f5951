//! `/_sim/…`: what tests use to look into the emulator and to bend it. Never journaled.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::FaultRule;
use crate::idp::{DiscoveryState, Issuer, JwksState, TokenRequest};
use crate::journal::{Entry, Identity};
use crate::server::Asked;
use crate::state::State;
use crate::wire::{self, Reply};

/// Answers a control request.
pub(crate) async fn answer(state: &Arc<State>, asked: &Asked) -> Reply {
    let path = asked.path.trim_start_matches("/_sim/");
    let done = match (asked.method.as_str(), path) {
        ("GET", "journal") => Ok(json!(selected(state, &asked.query))),
        ("GET", "wait") => Ok(wait(state, &asked.query).await),
        ("DELETE", "journal") => {
            state.journal.clear();
            Ok(json!({}))
        }
        ("GET", "faults") => Ok(json!(state.faults.list())),
        ("POST", "faults") => with(asked, |rule: FaultRule| {
            state.faults.add(rule);
            Ok(json!({}))
        }),
        ("DELETE", "faults") => {
            state.faults.clear();
            Ok(json!({}))
        }
        ("GET", "frozen") => Ok(json!({"frozen": state.faults.frozen()})),
        ("POST", "thaw") => {
            state.faults.thaw();
            Ok(json!({}))
        }
        ("POST", "reset") => {
            state.reset();
            Ok(json!({}))
        }
        ("GET", "health") => Ok(json!({"status": "ok", "origin": state.origin})),
        ("POST", name) => change(state, name, asked),
        ("GET", "keys") => Ok(state.idp().keys.private()),
        _ => Err(format!(
            "there is no control `{} {}`",
            asked.method, asked.path
        )),
    };
    match done {
        Ok(body) => wire::json(200, &body),
        Err(message) => wire::json(400, &json!({"error": message})),
    }
}

fn change(state: &Arc<State>, name: &str, asked: &Asked) -> Result<Value, String> {
    match name {
        "token" => with(asked, |request: TokenRequest| {
            let token = state
                .idp()
                .mint(&request)
                .map_err(|error| error.to_string())?;
            Ok(json!({"access_token": token}))
        }),
        "rotate" => with(asked, |rotate: Rotate| {
            state
                .idp()
                .keys
                .rotate(rotate.keep_old)
                .map_err(|error| error.to_string())?;
            Ok(json!({}))
        }),
        "jwks" => with(asked, |set: SetJwks| {
            state.idp().set_jwks(set.issuer, set.state);
            Ok(json!({}))
        }),
        "discovery" => with(asked, |set: SetDiscovery| {
            state.idp().set_discovery(set.issuer, set.state);
            Ok(json!({}))
        }),
        "device" => with(asked, |settle: SettleDevice| {
            let found = state
                .idp()
                .devices
                .settle(&settle.user_code, settle.persona.as_deref());
            if found {
                Ok(json!({}))
            } else {
                Err("no such code waits".to_owned())
            }
        }),
        "client" => with(asked, |client: Client| {
            state.idp().clients.insert(client.client_id, client.secret);
            Ok(json!({}))
        }),
        "secret" => with(asked, |secret: Secret| {
            Ok(json!({"version": state.secrets().set(&secret.name, &secret.value)}))
        }),
        "azure-token" => with(asked, |change: AzureToken| Ok(azure_token(state, &change))),
        "time" => with(asked, |time: Time| Ok(wind(state, &time))),
        "throttle" => with(asked, |limits: crate::world::Limits| {
            state.world().throttle.set(limits);
            Ok(json!({}))
        }),
        "jobs" => with(asked, |plan: crate::world::JobPlan| {
            state.world().job_plan = plan;
            Ok(json!({}))
        }),
        _ => Err(format!("there is no control `POST {}`", asked.path)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default)]
    keep_old: bool,
}

#[derive(Deserialize)]
struct SetJwks {
    #[serde(default)]
    issuer: Issuer,
    #[serde(flatten)]
    state: JwksState,
}

#[derive(Deserialize)]
struct SetDiscovery {
    #[serde(default)]
    issuer: Issuer,
    #[serde(flatten)]
    state: DiscoveryState,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleDevice {
    user_code: String,
    /// Nobody: the sign-in is refused.
    persona: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    client_id: String,
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AzureToken {
    /// Seconds that tokens minted from now on live.
    lifetime: Option<u64>,
    /// Makes the tokens of an identity worthless now.
    revoke: Option<Identity>,
    /// Mints one for a test that calls the emulator directly.
    mint: Option<Identity>,
}

fn azure_token(state: &State, change: &AzureToken) -> Value {
    let mut tokens = state.tokens();
    if let Some(seconds) = change.lifetime {
        tokens.lifetime = Duration::from_secs(seconds);
    }
    if let Some(identity) = change.revoke {
        tokens.revoke(Some(identity));
    }
    match change.mint {
        Some(identity) => json!({"access_token": tokens.mint(identity)}),
        None => json!({}),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    /// Winds Azure's clock forward: operations and jobs that are due end.
    advance_ms: Option<u64>,
    /// Makes the `Date` header wrong by so many seconds.
    date_skew_s: Option<i64>,
}

fn wind(state: &State, time: &Time) -> Value {
    if let Some(seconds) = time.date_skew_s {
        state.skew_date(seconds);
    }
    let mut world = state.world();
    if let Some(ms) = time.advance_ms {
        world.clock.advance(Duration::from_millis(ms));
    }
    world.settle();
    json!({"now": crate::clock::written(world.clock.now())})
}

fn with<T: DeserializeOwned>(
    asked: &Asked,
    run: impl FnOnce(T) -> Result<Value, String>,
) -> Result<Value, String> {
    let body: &[u8] = if asked.body.is_empty() {
        b"{}"
    } else {
        &asked.body
    };
    run(serde_json::from_slice(body).map_err(|error| error.to_string())?)
}

/// The entries that a query asks for: `method`, `path_contains`, `identity`, `surface`.
fn selected(state: &State, query: &str) -> Vec<Entry> {
    let wanted: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let mut entries = state.journal.entries();
    entries.retain(|entry| {
        wanted
            .iter()
            .all(|(name, value)| matches(entry, name, value))
    });
    entries
}

fn matches(entry: &Entry, name: &str, value: &str) -> bool {
    match name {
        "method" => entry.method.eq_ignore_ascii_case(value),
        "path_contains" => entry
            .path
            .to_ascii_lowercase()
            .contains(&value.to_ascii_lowercase()),
        "identity" => entry.identity.name() == value,
        "surface" => entry.surface == value,
        _ => true,
    }
}

/// Waits until `count` entries match, at most `timeout_ms`; answers with what there is.
async fn wait(state: &State, query: &str) -> Value {
    let number = |wanted: &str, default: u64| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == wanted)
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(default)
    };
    let count = usize::try_from(number("count", 1)).unwrap_or(usize::MAX);
    let limit = Duration::from_millis(number("timeout_ms", 10_000));
    let mut watch = state.journal.watch();
    let enough =
        async { while selected(state, query).len() < count && watch.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(limit, enough).await;
    json!(selected(state, query))
}
