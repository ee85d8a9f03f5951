//! What an access token of Entra ID must be beyond its signature.
//!
//! The keys are shared by all tenants of a cloud, so tenant and version are checked
//! by their own claims; an ID token is told from an access token by what it lacks.

use serde_json::Value;

use super::claims::Signed;
use super::refused::Failure;
use crate::config::issuers::EntraTenant;

/// Checks tenant, version and kind of token.
pub(super) fn check(tenant: &EntraTenant, claims: Signed<'_>) -> Result<(), Failure> {
    let own_tenant = claims
        .named("tid")?
        .is_some_and(|tid| tid.eq_ignore_ascii_case(&tenant.tenant));
    let own_version = claims.named("ver")? == Some(tenant.version);
    if !own_tenant || !own_version {
        return Err(Failure::Tenant);
    }
    // An access token says what it is for; an ID token says neither.
    if !claims.has("scp") && !claims.has("roles") {
        return Err(Failure::Type);
    }
    Ok(())
}

/// Whether a person is behind the token, acting through an application.
pub(super) fn is_delegated(claims: Signed<'_>) -> Result<bool, Failure> {
    let app_only = claims
        .named("idtyp")?
        .is_some_and(|kind| kind.eq_ignore_ascii_case("app"));
    Ok(claims.has("scp") && !app_only)
}

/// The person: tenant and object id, which survive renaming and are the same for
/// every application.
pub(super) fn person(claims: Signed<'_>) -> Result<Option<String>, Failure> {
    Ok(match (claims.named("tid")?, claims.named("oid")?) {
        (Some(tenant), Some(object)) => Some(format!("{tenant}/{object}")),
        _ => None,
    })
}

/// Whether groups were left out because there are too many for a token.
pub(super) fn groups_left_out(claims: Signed<'_>, groups: &str) -> Result<bool, Failure> {
    let named = match claims.0.get("_claim_names") {
        None => false,
        Some(Value::Object(names)) => names.contains_key(groups),
        Some(_) => return Err(Failure::ClaimType("_claim_names".into())),
    };
    let has = match claims.0.get("hasgroups") {
        None | Some(Value::Bool(false)) => false,
        // Version 1 writes it as text as well; whatever it is, the list is not whole.
        Some(_) => true,
    };
    Ok(named || has)
}
