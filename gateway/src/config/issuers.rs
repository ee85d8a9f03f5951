//! `[[issuer]]`: who may vouch for callers, as written and as checked.
//!
//! A preset fills in what an issuer's tokens look like; the file says the rest.
//! What is checked here needs no further checks: an issuer has at least one
//! audience, only asymmetric algorithms, and addresses that nobody on the way can
//! read or change.

mod app;
mod checks;
mod claims;
mod preset;

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use url::Url;
use vaultgate_pdp::PrincipalKind;

use super::Problems;
use super::duration::Written;

pub(crate) use app::{App, Match};
pub(crate) use claims::{ClaimPath, Claims};
pub(crate) use preset::EntraTenant;

use app::{AppFile, KindFile};
use claims::ClaimsFile;
use preset::{Cloud, Preset};

/// The fragment of the sample that shows this section.
#[cfg(test)]
pub(crate) const SAMPLE: &str = include_str!("issuers/sample.toml");

/// One `[[issuer]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerFile {
    /// Name of the issuer in records, metrics and messages.
    name: String,
    /// What the issuer's tokens look like; `generic` is RFC 9068.
    #[serde(default)]
    preset: Preset,
    /// The `iss` of its tokens, compared exactly; Entra presets derive it.
    issuer: Option<String>,
    /// Entra tenant id; tokens of any other tenant are refused.
    tenant: Option<String>,
    /// Entra cloud.
    cloud: Option<Cloud>,
    /// Entra authority, where it is not the cloud's own.
    authority: Option<String>,
    /// Audiences of the data door, compared modulo a trailing slash.
    audiences: Vec<String>,
    /// Audiences of approvals; a token that has one is refused at the data door.
    #[serde(default)]
    console_audiences: Vec<String>,
    /// Signature algorithms that its keys may be used with, preferred first.
    algorithms: Option<Vec<String>>,
    /// Accepted `typ` of a token; `absent` stands for a token without one.
    token_types: Option<Vec<String>>,
    /// Longest time from `iat` to `exp`.
    max_lifetime: Option<Written>,
    /// Clock skew that is forgiven in `exp`, `nbf` and `iat`.
    leeway: Option<Written>,
    /// Which claim means what.
    #[serde(default)]
    claims: ClaimsFile,
    /// What stands behind a caller that no `app` row names.
    kind: Option<KindFile>,
    /// What stands behind which client application, subject or claim value.
    #[serde(default)]
    app: Vec<AppFile>,
    /// Whether its `act` claim is believed; without it a token with `act` is refused.
    #[serde(default)]
    asserts_actors: bool,
    /// Whether its tokens may name a flow.
    #[serde(default)]
    asserts_flows: bool,
    /// Address of the key set, instead of discovery; may be of another origin.
    jwks_uri: Option<String>,
    /// Shortest time between two fetches of the key set.
    jwks_cooldown: Option<Written>,
    /// How long the last good key set is used while it cannot be fetched.
    jwks_ceiling: Option<Written>,
    /// Proof of possession (RFC 9449).
    #[serde(default)]
    dpop: Dpop,
    /// Whether plain http to this machine is taken, for development.
    #[serde(default)]
    allow_insecure_loopback: bool,
}

/// Proof of possession of the key that a token is bound to (RFC 9449).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dpop {
    /// No proofs are taken; a token bound to a key is refused.
    #[default]
    Off,
    /// A bound token needs its proof, others pass without.
    Optional,
    /// Only bound tokens with their proof are taken.
    Required,
}

/// Where the key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyLocation {
    /// Found by discovery; it must then be of the issuer's own origin.
    Discovered,
    /// At this address.
    Pinned(Url),
}

/// How the key set is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JwksLimits {
    /// Shortest time between two fetches.
    pub(crate) cooldown: Duration,
    /// Age at which it is fetched again in the background.
    pub(crate) refresh: Duration,
    /// Age beyond which it is no longer used.
    pub(crate) ceiling: Duration,
}

/// An issuer that may vouch for callers.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    /// Name in records, metrics and messages.
    pub(crate) name: String,
    /// The exact `iss` of its tokens.
    pub(crate) url: String,
    /// The tenant, for tokens of Entra ID.
    pub(crate) entra: Option<EntraTenant>,
    /// Audiences of the data door, without a trailing slash.
    pub(crate) audiences: Vec<String>,
    /// Audiences of approvals, without a trailing slash.
    pub(crate) console_audiences: Vec<String>,
    /// Signature algorithms, preferred first; never symmetric, never `none`.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Accepted `typ`, lower case and without `application/`; `None` for absent.
    pub(crate) token_types: Vec<Option<String>>,
    /// Longest time from `iat` to `exp`.
    pub(crate) max_lifetime: Duration,
    /// Clock skew that is forgiven.
    pub(crate) leeway: Duration,
    /// Which claim means what.
    pub(crate) claims: Claims,
    /// What stands behind a caller that no row names.
    pub(crate) kind: PrincipalKind,
    /// Rows that say what stands behind whom; the first that matches holds.
    pub(crate) apps: Vec<App>,
    /// Whether its `act` claim is believed.
    pub(crate) asserts_actors: bool,
    /// Where its keys are.
    pub(crate) keys: KeyLocation,
    /// How its keys are kept.
    pub(crate) jwks: JwksLimits,
    /// Proof of possession.
    pub(crate) dpop: Dpop,
}

impl IssuerFile {
    /// Turns what was written into what holds; `key` is the table's place in the file.
    pub(crate) fn check(self, key: &str, problems: &mut Problems) -> Option<Issuer> {
        let at = |setting: &str| format!("{key}.{setting}");
        checks::name(&self.name, &at("name"), problems);
        let base = self.preset.base(&self, key, problems)?;
        let insecure = self.allow_insecure_loopback;
        checks::address(&base.issuer, &at("issuer"), insecure, problems)?;
        let keys = match self.jwks_uri.as_ref().or(base.jwks_uri.as_ref()) {
            Some(uri) => {
                KeyLocation::Pinned(checks::address(uri, &at("jwks_uri"), insecure, problems)?)
            }
            None => KeyLocation::Discovered,
        };
        let algorithms = checks::algorithms(
            self.algorithms.as_deref().unwrap_or(&base.algorithms),
            &at("algorithms"),
            problems,
        );
        let token_types = checks::token_types(
            self.token_types.as_deref().unwrap_or(&base.token_types),
            &at("token_types"),
            problems,
        );
        checks::audiences(
            &self.audiences,
            &self.console_audiences,
            &at("audiences"),
            problems,
        );
        let max_lifetime = self
            .max_lifetime
            .map_or(base.max_lifetime, |written| written.0);
        checks::between(
            max_lifetime,
            (60, 31 * 86_400),
            &at("max_lifetime"),
            problems,
        );
        let leeway = self
            .leeway
            .map_or(Duration::from_secs(30), |written| written.0);
        checks::between(leeway, (0, 300), &at("leeway"), problems);
        let jwks = checks::jwks(self.jwks_cooldown, self.jwks_ceiling, key, problems);
        let claims = self.claims.check(base.claims, &at("claims"), problems);
        checks::asserted(self.asserts_flows, &claims, key, problems);
        let apps = app::check(self.app, &at("app"), problems);
        Some(Issuer {
            name: self.name,
            url: base.issuer,
            entra: base.entra,
            audiences: self
                .audiences
                .iter()
                .map(|one| trimmed(one).to_owned())
                .collect(),
            console_audiences: self
                .console_audiences
                .iter()
                .map(|one| trimmed(one).to_owned())
                .collect(),
            algorithms,
            token_types,
            max_lifetime,
            leeway,
            claims,
            kind: self
                .kind
                .map_or(PrincipalKind::Unknown, PrincipalKind::from),
            apps,
            asserts_actors: self.asserts_actors,
            keys,
            jwks,
            dpop: self.dpop,
        })
    }
}

/// Refuses two tables for one issuer: which of them a token meets would be chance.
pub(crate) fn check_distinct(issuers: &[Issuer], problems: &mut Problems) {
    for (i, issuer) in issuers.iter().enumerate() {
        let earlier = issuers.iter().take(i);
        for other in earlier {
            if other.url == issuer.url {
                problems.add(
                    format!("issuer[{i}].issuer"),
                    format!("`{}` is the issuer of `{}` too", issuer.url, other.name),
                    "put its audiences and apps into one `[[issuer]]` table",
                );
            }
            if other.name == issuer.name {
                problems.add(
                    format!("issuer[{i}].name"),
                    format!("another issuer is called `{}` too", issuer.name),
                    "give each issuer a name of its own",
                );
            }
        }
    }
}

/// An audience without its trailing slash.
pub(crate) fn trimmed(audience: &str) -> &str {
    audience.strip_suffix('/').unwrap_or(audience)
}

/// A media type as `typ` is compared: lower case, without `application/`.
pub(crate) fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/")
        .map_or(typ.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
