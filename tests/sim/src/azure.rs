//! ARM as the emulator plays it: who may ask, what throttles, which part answers.
//!
//! The dispatcher knows paths only by its own parser's segments. A path that no arm
//! names is ARM's 404; a method that a path does not take is ARM's 405.

mod containers;
mod data_protection;
mod guards;
mod inventory;
mod jobs;
mod operations;
mod policies;
mod protected_items;
mod reading;
mod recovery_points;
mod regional;
mod reply;
mod request;
mod restores;
mod vault_settings;
mod vaults;

use serde_json::json;

pub(crate) use data_protection::discrete_point;
pub(crate) use guards::{guard_proxy, resource_guard};
pub(crate) use jobs::Job;
pub(crate) use operations::Operation;
pub use reading::Reading;
pub(crate) use reading::reading;

use crate::journal::Identity;
use crate::server::Asked;
use crate::state::State;
use crate::wire::{self, Reply};
use crate::world::{Kind, World};
use reply::Answer;
use request::ArmRequest;

/// `GET /metadata/endpoints`, as `az cloud register` reads it.
pub(crate) fn metadata(state: &State) -> Reply {
    let origin = &state.origin;
    wire::json(
        200,
        &json!({
            "name": "VaultgateSim", "portal": origin, "gallery": origin, "graph": origin, "graphAudience": origin,
            "resourceManager": origin, "media": origin, "batch": "https://batch.core.windows.net/",
            "authentication": {"loginEndpoint": origin, "audiences": ["https://management.azure.com/"], "tenant": "common", "identityProvider": "AAD"},
            "microsoftGraphResourceId": origin,
            "suffixes": {"storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "acrLoginServer": "azurecr.io"},
        }),
    )
}

/// Answers a request to ARM.
pub(crate) fn answer(state: &State, asked: &Asked) -> Reply {
    let client_request_id = asked.header("x-ms-client-request-id");
    let correlation = asked.header("x-ms-correlation-request-id");
    let answer = match admitted(state, asked) {
        Ok(ask) => {
            let mut world = state.world();
            world.settle();
            throttled(&mut world, &ask)
        }
        Err(refusal) => refusal,
    };
    answer.send(client_request_id, correlation)
}

/// Who may ask what, before anything is looked up.
fn admitted(state: &State, asked: &Asked) -> Result<ArmRequest, Answer> {
    if asked.identity == Identity::None {
        let missing = asked.header("authorization").is_none();
        let (code, message) = if missing {
            (
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        } else {
            ("InvalidAuthenticationToken", "The access token is invalid.")
        };
        let challenge = format!(
            "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", error_description=\"{message}\"",
            state.origin,
            crate::state::TENANT
        );
        return Err(Answer::error(401, code, message).with("www-authenticate", challenge));
    }
    let ask = ArmRequest::read(asked)?;
    if ask.identity == Identity::Reader && ask.method != "GET" {
        let message = format!(
            "The client 'vaultgate-reader' does not have authorization to perform this action over scope '{}'.",
            ask.whole_id()
        );
        return Err(Answer::error(403, "AuthorizationFailed", &message));
    }
    if ask
        .parameter("api-version")
        .is_none_or(|version| version.is_empty())
    {
        return Err(Answer::error(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    }
    Ok(ask)
}

fn throttled(world: &mut World, ask: &ArmRequest) -> Answer {
    let kind = Kind::of(&ask.method);
    match world.throttle.take(ask.subscription(), ask.identity, kind) {
        crate::world::Taken::Waits(seconds) => {
            Answer::error(429, "OperationNotAllowed", "The server rejected the request because too many requests have been received for this subscription.")
                .with("retry-after", seconds.to_string())
                .with(kind.header(), "0")
        }
        crate::world::Taken::Passes(left) => dispatch(world, ask).with(kind.header(), left.to_string()),
    }
}

fn dispatch(world: &mut World, ask: &ArmRequest) -> Answer {
    if let Some(answer) = operations::poll(world, ask) {
        return answer;
    }
    let route = ask.route();
    match route.as_slice() {
        [
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.recoveryservices",
            rest @ ..,
        ] => recovery_services(world, ask, rest),
        [
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.dataprotection",
            rest @ ..,
        ] => data_protection::in_group(world, ask, rest),
        [
            "subscriptions",
            _,
            "providers",
            "microsoft.recoveryservices",
            rest @ ..,
        ] => regional::recovery_services(world, ask, rest),
        [
            "subscriptions",
            _,
            "providers",
            "microsoft.dataprotection",
            rest @ ..,
        ] => data_protection::in_subscription(world, ask, rest),
        [
            ..,
            "providers",
            "microsoft.dataprotection",
            "backupinstances",
        ] => data_protection::of_resource(world, ask),
        ["providers", namespace, "operations"] => inventory::operations(ask, namespace),
        rest => inventory::route(world, ask, rest),
    }
}

/// Everything under a resource group's `Microsoft.RecoveryServices`.
fn recovery_services(world: &mut World, ask: &ArmRequest, rest: &[&str]) -> Answer {
    match rest {
        ["vaults"] => vaults::of_group(world, ask),
        ["vaults", _] => vaults::route(world, ask),
        ["vaults", _, inside @ ..] => {
            let vault = ask.id(8);
            match world.find(&vault) {
                None => Answer::not_found(&vault),
                Some(found) => {
                    let vault = crate::document::text(found, "/id")
                        .unwrap_or(&vault)
                        .to_owned();
                    in_vault(world, ask, &vault, inside)
                }
            }
        }
        ["locations", ..] => regional::in_group(world, ask, rest),
        _ => Answer::not_found(&ask.whole_id()),
    }
}

/// Everything inside a Recovery Services vault that exists. `vault` is its id.
fn in_vault(world: &mut World, ask: &ArmRequest, vault: &str, inside: &[&str]) -> Answer {
    match inside {
        [
            "backupfabrics",
            _,
            "protectioncontainers",
            _,
            "protecteditems",
            _,
            "recoverypoints",
            rest @ ..,
        ] => recovery_points::route(world, ask, vault, rest),
        [
            "backupfabrics",
            _,
            "protectioncontainers",
            _,
            "protecteditems",
            _,
            rest @ ..,
        ] => protected_items::route(world, ask, vault, rest),
        ["backupprotecteditems"] => protected_items::of_vault(world, ask, vault),
        ["backupjobs", rest @ ..] => jobs::route(world, ask, jobs::Home::Vault, vault, rest),
        ["backupjobsexport"] => jobs::export(world, ask, vault),
        ["backuppolicies", rest @ ..] => policies::route(world, ask, vault, rest),
        ["backupresourceguardproxies", rest @ ..] => {
            guards::proxies(world, ask, vault, "Microsoft.RecoveryServices/vaults", rest)
        }
        ["backupvalidateoperation" | "backuptriggervalidateoperation"] => {
            restores::validate(world, ask, vault)
        }
        [
            "backupconfig"
            | "backupstorageconfig"
            | "backupencryptionconfigs"
            | "extendedinformation",
            ..,
        ]
        | [
            "backupsecuritypin"
            | "privateendpointconnections"
            | "certificates"
            | "registeredidentities",
            ..,
        ] => vault_settings::route(world, ask, vault, inside),
        ["backuptieringcost", "default", "fetchtieringcost"] => {
            recovery_points::tiering_cost(world, ask, vault)
        }
        [
            "backupusagesummaries" | "usages" | "replicationusages" | "privatelinkresources",
            ..,
        ] => vaults::read_only(world, ask, vault, inside),
        _ => containers::route(world, ask, vault, inside),
    }
}

/// Whether `If-Match` and `If-None-Match` let a change of this document pass.
fn precondition(world: &World, ask: &ArmRequest, id: &str) -> Result<(), Answer> {
    let etag = world
        .find(id)
        .and_then(|document| crate::document::text(document, "/etag"));
    let failed = || {
        Answer::error(
            412,
            "PreconditionFailed",
            "The condition specified using HTTP conditional header(s) is not met.",
        )
    };
    if let Some(wanted) = ask.header("if-match")
        && (etag.is_none() || (wanted != "*" && Some(wanted) != etag))
    {
        return Err(failed());
    }
    if ask.header("if-none-match") == Some("*") && world.holds(id) {
        return Err(failed());
    }
    Ok(())
}
