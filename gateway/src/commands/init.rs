//! `vaultgate init`: what a new installation needs before its first start.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use vaultgate_arm::catalogue;

use super::say;
use crate::config::SAMPLE;

#[derive(Args)]
pub(crate) struct InitArguments {
    /// Folder to write into
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &InitArguments) -> anyhow::Result<u8> {
    fs::create_dir_all(&arguments.dir)?;
    let files = [
        ("vaultgate.toml", SAMPLE.to_owned()),
        ("app-registration.json", pretty(&app_registration())),
        (
            "role-operator.json",
            pretty(&role(
                "Vaultgate operator",
                OPERATOR,
                catalogue::operator_actions(),
            )),
        ),
        (
            "role-reader.json",
            pretty(&role(
                "Vaultgate reader",
                READER,
                catalogue::reader_actions().into_iter().chain(ROLE_READS),
            )),
        ),
    ];
    for (name, text) in &files {
        write(&arguments.dir.join(name), text, arguments.force)?;
    }
    say("Next:");
    say("  1. fill in vaultgate.toml, then `vaultgate config check --config vaultgate.toml`");
    say(
        "  2. az ad app create --display-name Vaultgate, then set app-registration.json as its manifest",
    );
    say(
        "  3. az role definition create --role-definition @role-operator.json (and role-reader.json)",
    );
    say("  4. assign each role to its own identity, at the scope of the vaults and nothing above");
    say("  5. vaultgate doctor --config vaultgate.toml");
    Ok(0)
}

const OPERATOR: &str =
    "Every operation of the catalogue: what the gateway forwards once policy allows it";
const READER: &str = "The reads that the gateway makes for itself before it judges a change";

/// With these `vaultgate doctor` can compare the roles of both identities.
pub(super) const ROLE_READS: [&str; 2] = [
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleDefinitions/read",
];

/// A custom role of exactly these actions.
fn role<'a>(name: &str, description: &str, actions: impl IntoIterator<Item = &'a str>) -> Value {
    let mut actions: Vec<&str> = actions.into_iter().collect();
    actions.sort_unstable();
    actions.dedup();
    json!({
        "Name": name,
        "IsCustom": true,
        "Description": description,
        "Actions": actions,
        "NotActions": [],
        "DataActions": [],
        "NotDataActions": [],
        "AssignableScopes": ["/subscriptions/<subscription id>"],
    })
}

/// The manifest of the gateway's own app registration: callers ask for tokens of
/// this audience, and roles in it are what bindings name.
fn app_registration() -> Value {
    let roles = ["operator", "reader", "agent", "flow", "approver", "soc"];
    let roles: Vec<Value> = roles
        .iter()
        .map(|role| {
            json!({
                "allowedMemberTypes": ["User", "Application"],
                "displayName": format!("Backup {role}"),
                "description": format!("Callers that policy may bind as {role}"),
                "value": format!("backup.{role}"),
                "isEnabled": true,
                "id": uuid::Uuid::new_v4(),
            })
        })
        .collect();
    json!({
        "identifierUris": ["api://vaultgate"],
        "signInAudience": "AzureADMyOrg",
        "api": {
            "requestedAccessTokenVersion": 2,
            "oauth2PermissionScopes": [{
                "id": uuid::Uuid::new_v4(),
                "value": "user_impersonation",
                "type": "User",
                "isEnabled": true,
                "adminConsentDisplayName": "Use Azure Backup through Vaultgate",
                "adminConsentDescription": "Lets an application call Vaultgate for the signed-in user",
                "userConsentDisplayName": "Use Azure Backup through Vaultgate",
                "userConsentDescription": "Lets an application call Vaultgate for you",
            }],
        },
        "appRoles": roles,
        "optionalClaims": {"accessToken": [{"name": "idtyp", "essential": false}]},
    })
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if path.exists() && !force {
        anyhow::bail!("`{}` exists; hint: --force overwrites it", path.display());
    }
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}
