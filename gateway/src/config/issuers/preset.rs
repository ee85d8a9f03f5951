//! What the tokens of well-known issuers look like.
//!
//! A preset only fills in defaults: every claim, type and bound can be set.

use std::time::Duration;

use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::{ClaimPath, Claims, IssuerFile};
use crate::config::Problems;

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// Where an issuer's defaults come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Preset {
    /// Entra ID, tokens of version 2.
    EntraV2,
    /// Entra ID, tokens of version 1.
    EntraV1,
    /// GitHub Actions.
    GithubActions,
    /// Service account tokens of a Kubernetes cluster.
    Kubernetes,
    /// Access tokens as of RFC 9068.
    #[default]
    Generic,
}

/// An Entra cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cloud {
    /// The public cloud.
    Public,
    /// Azure Government.
    Usgov,
    /// Azure operated by 21Vianet.
    China,
}

/// The tenant that an Entra issuer is for, and its tokens' version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntraTenant {
    /// Tenant id, lower case.
    pub(crate) tenant: String,
    /// Value of `ver`.
    pub(crate) version: &'static str,
}

/// What a preset fills in.
pub(super) struct Base {
    pub(super) issuer: String,
    pub(super) entra: Option<EntraTenant>,
    pub(super) jwks_uri: Option<String>,
    pub(super) algorithms: Vec<String>,
    pub(super) token_types: Vec<String>,
    pub(super) max_lifetime: Duration,
    pub(super) claims: Claims,
}

impl Cloud {
    fn authority(self) -> &'static str {
        match self {
            Cloud::Public => "https://login.microsoftonline.com",
            Cloud::Usgov => "https://login.microsoftonline.us",
            Cloud::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// Host of version 1 issuers; Azure Government shares the public one.
    fn token_service(self) -> &'static str {
        match self {
            Cloud::Public | Cloud::Usgov => "https://sts.windows.net",
            Cloud::China => "https://sts.chinacloudapi.cn",
        }
    }
}

impl Preset {
    /// The defaults for one issuer, or its problems.
    pub(super) fn base(
        self,
        file: &IssuerFile,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Base> {
        match self {
            Preset::EntraV1 | Preset::EntraV2 => self.entra(file, key, problems),
            _ => self.other(file, key, problems),
        }
    }

    fn entra(self, file: &IssuerFile, key: &str, problems: &mut Problems) -> Option<Base> {
        if file.issuer.is_some() {
            problems.add(
                format!("{key}.issuer"),
                "the issuer of an Entra tenant comes from `tenant`",
                "leave `issuer` out; set `cloud` or `authority` for another cloud",
            );
        }
        let written = file.tenant.as_deref().unwrap_or_default();
        let Ok(tenant) = Uuid::try_parse(written) else {
            problems.add(
                format!("{key}.tenant"),
                format!("`{written}` is not a tenant id"),
                "give the tenant's id; `common` and `organizations` would let any tenant in",
            );
            return None;
        };
        let tenant = tenant.to_string();
        let cloud = file.cloud.unwrap_or(Cloud::Public);
        let authority = match &file.authority {
            Some(authority) => authority.trim_end_matches('/').to_owned(),
            None => cloud.authority().to_owned(),
        };
        if Url::parse(&authority).is_ok_and(|url| url.path() != "/") {
            problems.add(
                format!("{key}.authority"),
                format!("`{authority}` has a path"),
                "an authority is an origin; the tenant is added to it",
            );
        }
        let (issuer, jwks_uri, version, app) = if self == Preset::EntraV2 {
            // Discovery names the keys, of the same origin.
            (format!("{authority}/{tenant}/v2.0"), None, "2.0", "azp")
        } else {
            let service = match &file.authority {
                Some(_) => authority.as_str(),
                None => cloud.token_service(),
            };
            // The issuer's origin is not the authority's, so its keys are pinned.
            let keys = format!("{authority}/{tenant}/discovery/keys");
            (format!("{service}/{tenant}/"), Some(keys), "1.0", "appid")
        };
        Some(Base {
            issuer,
            entra: Some(EntraTenant { tenant, version }),
            jwks_uri,
            algorithms: strings(&["RS256"]),
            token_types: strings(&["JWT"]),
            max_lifetime: Duration::from_secs(2 * 3_600),
            claims: entra_claims(app),
        })
    }

    fn other(self, file: &IssuerFile, key: &str, problems: &mut Problems) -> Option<Base> {
        for (name, set) in [
            ("tenant", file.tenant.is_some()),
            ("cloud", file.cloud.is_some()),
            ("authority", file.authority.is_some()),
        ] {
            if set {
                problems.add(
                    format!("{key}.{name}"),
                    format!("`{name}` is a setting of the Entra presets"),
                    "leave it out, or set `preset = \"entra-v2\"`",
                );
            }
        }
        let issuer = match (&file.issuer, self) {
            (Some(issuer), _) => issuer.clone(),
            (None, Preset::GithubActions) => GITHUB.to_owned(),
            (None, _) => {
                problems.add(
                    format!("{key}.issuer"),
                    "the issuer's address is missing",
                    "give the `iss` of its tokens, exactly as they carry it",
                );
                return None;
            }
        };
        Some(match self {
            Preset::GithubActions => github(issuer),
            Preset::Kubernetes => kubernetes(issuer),
            _ => generic(issuer),
        })
    }
}

/// `sub` is pairwise at Entra; `oid` is the same for every application.
fn entra_claims(app: &str) -> Claims {
    Claims {
        subject: ClaimPath::new("oid"),
        roles: claim("roles"),
        groups: claim("groups"),
        scopes: claim("scp"),
        tenant: claim("tid"),
        app: claim(app),
        ..bare("oid")
    }
}

fn github(issuer: String) -> Base {
    Base {
        // Its discovery document names no authorization endpoint, so it is not one
        // that OpenID Connect clients read.
        jwks_uri: Some(format!("{issuer}/.well-known/jwks")),
        issuer,
        entra: None,
        algorithms: strings(&["RS256"]),
        token_types: strings(&["JWT"]),
        max_lifetime: Duration::from_secs(1_800),
        claims: Claims {
            app: claim("repository"),
            tenant: claim("repository_owner"),
            ..bare("sub")
        },
    }
}

fn kubernetes(issuer: String) -> Base {
    Base {
        jwks_uri: Some(format!("{}/openid/v1/jwks", issuer.trim_end_matches('/'))),
        issuer,
        entra: None,
        algorithms: strings(&["RS256", "ES256"]),
        // Service account tokens carry no `typ`.
        token_types: strings(&["absent", "JWT"]),
        max_lifetime: Duration::from_secs(2 * 3_600),
        claims: bare("sub"),
    }
}

fn generic(issuer: String) -> Base {
    Base {
        issuer,
        entra: None,
        jwks_uri: None,
        algorithms: strings(&["ES256", "RS256"]),
        token_types: strings(&["at+jwt"]),
        max_lifetime: Duration::from_secs(3_600),
        claims: Claims {
            roles: claim("roles"),
            groups: claim("groups"),
            scopes: claim("scope"),
            app: claim("client_id"),
            ..bare("sub")
        },
    }
}

/// Nothing but a subject.
fn bare(subject: &str) -> Claims {
    Claims {
        subject: ClaimPath::new(subject),
        person: None,
        kind: None,
        roles: None,
        groups: None,
        scopes: None,
        tenant: None,
        app: None,
        flow: None,
    }
}

fn claim(name: &str) -> Option<ClaimPath> {
    Some(ClaimPath::new(name))
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
