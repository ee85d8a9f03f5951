//! The caller as policy sees it, from the claims that the configuration maps.
//!
//! What stands behind a caller comes from the configuration. A claim decides it
//! only where the configuration names that claim.

use serde_json::Value;
use vaultgate_pdp::{Actor, Principal, PrincipalKind};

use super::binding::Confirmation;
use super::claims::{Signed, bounded, timestamp};
use super::entra;
use super::refused::Failure;
use crate::config::issuers::{ClaimPath, Issuer, Match};

/// Longest delegation chain.
const MAX_ACTORS: usize = 8;

/// Builds the principal of a token whose signature, audience and time are good.
pub(super) fn build(
    issuer: &Issuer,
    claims: Signed<'_>,
    confirmation: &Confirmation,
) -> Result<Principal, Failure> {
    let map = &issuer.claims;
    // Required of every token, whichever claim is mapped to the subject.
    claims.required(&ClaimPath::new("sub"))?;
    let subject = claims.required(&map.subject)?;
    let app = claims.mapped(map.app.as_ref())?;
    let delegated = issuer.entra.is_some() && entra::is_delegated(claims)?;
    let row = issuer
        .apps
        .iter()
        .find(|row| row.is(app.as_deref(), subject, claims.0));
    let asserted = match (claims.mapped(map.person.as_ref())?, delegated) {
        (None, true) => entra::person(claims)?,
        (person, _) => person,
    };
    let mut kind = match row {
        Some(row) => row.kind,
        None => kind_claim(issuer, claims)?,
    };
    // An application that signs in with its own secret is nobody at a keyboard,
    // though people use it too.
    if issuer.entra.is_some() && kind == PrincipalKind::Human && !delegated {
        kind = PrincipalKind::Unknown;
    }
    // Who acts for a person under a name that no row knows was not looked at: the application
    // that an exchanged token names would pass for the one that the person signed in with. A row
    // that knows the person says nothing of it.
    let looked_at = row.is_some_and(|row| matches!(row.matches, Match::Id(_)));
    if claims.has("act") && !looked_at && kind == PrincipalKind::Human {
        kind = PrincipalKind::Unknown;
    }
    Ok(Principal {
        issuer: issuer.url.clone(),
        subject: subject.to_owned(),
        person: asserted.or_else(|| row.and_then(|row| row.person.clone())),
        kind,
        tenant: claims.mapped(map.tenant.as_ref())?,
        roles: claims.roles(map.roles.as_ref())?,
        groups: groups(map.groups.as_ref(), claims)?,
        scopes: claims.scopes(map.scopes.as_ref())?,
        acr: context(claims)?,
        auth_time: claims
            .seconds("auth_time")?
            .map(|at| timestamp(at).to_string()),
        actors: actors(issuer, claims, app.as_deref().filter(|_| delegated))?,
        bound: confirmation.binding(),
        flow: claims.mapped(map.flow.as_ref())?,
        app,
    })
}

fn kind_claim(issuer: &Issuer, claims: Signed<'_>) -> Result<PrincipalKind, Failure> {
    let named = claims.mapped(issuer.claims.kind.as_ref())?;
    Ok(match named.as_deref() {
        None => issuer.kind,
        Some("human") => PrincipalKind::Human,
        Some("workload") => PrincipalKind::Workload,
        Some("agent") => PrincipalKind::Agent,
        Some("flow") => PrincipalKind::Flow,
        Some(_) => PrincipalKind::Unknown,
    })
}

/// Groups, all of them: a rule that excludes a group must not miss it because the
/// list was cut.
fn groups(path: Option<&ClaimPath>, claims: Signed<'_>) -> Result<Vec<String>, Failure> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    if entra::groups_left_out(claims, path.as_str())? {
        return Err(Failure::ClaimsOverage);
    }
    claims.list(Some(path))
}

/// The authentication context: `acr`, or Entra's list of satisfied contexts.
fn context(claims: Signed<'_>) -> Result<Option<String>, Failure> {
    let contexts = claims.list(Some(&ClaimPath::new("acrs")))?;
    match contexts.is_empty() {
        false => Ok(Some(contexts.join(" "))),
        true => Ok(claims.named("acr")?.map(str::to_owned)),
    }
}

/// Who acts for the subject: the chain that the issuer asserts (RFC 8693), and the
/// application of a delegated Entra token.
fn actors(
    issuer: &Issuer,
    claims: Signed<'_>,
    application: Option<&str>,
) -> Result<Vec<Actor>, Failure> {
    let mut actors = Vec::new();
    let mut link = claims.0.get("act");
    // Passing over the chain would make whoever acts look like the subject itself.
    if link.is_some() && !issuer.asserts_actors {
        return Err(Failure::Actor);
    }
    while let Some(value) = link {
        let wrong = || Failure::ClaimType("act".into());
        let actor = value.as_object().ok_or_else(wrong)?;
        let text = |name: &str| match actor.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => bounded(text, "act").map(Some),
            Some(_) => Err(wrong()),
        };
        let subject = text("sub")?
            .filter(|subject| !subject.is_empty())
            .ok_or_else(wrong)?;
        if actors.len() == MAX_ACTORS {
            return Err(Failure::ClaimValue("act".into()));
        }
        actors.push(Actor {
            issuer: text("iss")?.unwrap_or(&issuer.url).to_owned(),
            subject: subject.to_owned(),
        });
        link = actor.get("act");
    }
    if let Some(application) = application {
        actors.push(Actor {
            issuer: issuer.url.clone(),
            subject: application.to_owned(),
        });
    }
    Ok(actors)
}
