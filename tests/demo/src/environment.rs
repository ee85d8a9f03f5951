//! What a visitor needs: addresses, tokens and commands to paste.

use std::path::Path;

use vaultgate_sim::{Issuer, SimHandle, TokenRequest};

use crate::gateway::Running;

/// `NAME=value` pairs in the order they are written.
pub(crate) type Environment = Vec<(String, String)>;

/// Tokens that the demo hands out, and whose they are.
const TOKENS: [(&str, &str); 9] = [
    ("TOKEN_OPERATOR", "operator"),
    ("TOKEN_CUSTODIAN", "custodian"),
    ("TOKEN_READER", "reader"),
    ("TOKEN_AGENT", "agent"),
    ("TOKEN_FLOW", "flow"),
    ("TOKEN_APPROVER_A", "approver-a"),
    ("TOKEN_APPROVER_B", "approver-b"),
    ("TOKEN_SOC", "soc"),
    ("TOKEN_STRANGER", "stranger"),
];

/// Gathers the environment of a running demo.
pub(crate) fn collect(running: &Running, sim: &SimHandle) -> anyhow::Result<Environment> {
    let path = |path: &Path| path.display().to_string();
    let mut pairs: Environment = vec![
        ("VAULTGATE_URL".into(), running.url.clone()),
        ("VAULTGATE_CONSOLE_URL".into(), running.console_url.clone()),
        ("VAULTGATE_ADMIN_URL".into(), running.admin_url.clone()),
        ("VAULTGATE_CA".into(), path(&running.dev.ca)),
        ("VAULTGATE_LOG_DIR".into(), path(&running.log_dir)),
        ("VAULTGATE_LOG_KEY".into(), running.log_key.clone()),
        ("VAULTGATE_ANCHOR".into(), path(&running.anchor)),
        ("VAULTGATE_CONFIG".into(), path(&running.config)),
        ("VAULTGATE_BIN".into(), path(&running.program)),
        ("VAULTGATE_PID".into(), running.pid.to_string()),
        ("VAULTGATE_CERT".into(), path(&running.dev.cert)),
        ("VAULTGATE_KEY".into(), path(&running.dev.key)),
        (
            "VAULTGATE_CLIENT_CERT".into(),
            path(&running.dev.client_cert),
        ),
        ("VAULTGATE_CLIENT_KEY".into(), path(&running.dev.client_key)),
        ("SIM_AZURE_URL".into(), sim.azure_url.clone()),
        ("SIM_IDP_ISSUER".into(), sim.idp_issuer_oidc.clone()),
        ("SIM_IDP_ISSUER_ENTRA".into(), sim.idp_issuer_entra.clone()),
        ("SIM_CONTROL_URL".into(), sim.control_url.clone()),
    ];
    for (name, persona) in TOKENS {
        let mut request = TokenRequest::new(persona, Issuer::Oidc);
        request.lifetime = Some(TOKEN_LIFETIME_SECONDS);
        pairs.push((name.into(), sim.token(&request)?));
    }
    Ok(pairs)
}

/// Long enough for a visit, short enough for the gateway's ceiling.
const TOKEN_LIFETIME_SECONDS: i64 = 8 * 3600;

/// Writes the file whole: whoever waits for it never reads half of it.
pub(crate) fn write(path: &Path, environment: &Environment) -> anyhow::Result<()> {
    let lines: String = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let part = path.with_extension("part");
    std::fs::write(&part, lines)?;
    std::fs::rename(part, path)?;
    Ok(())
}

/// The value of one name.
pub(crate) fn value<'e>(environment: &'e Environment, name: &str) -> &'e str {
    let found = environment.iter().find(|(own, _)| own == name);
    found.map_or("", |(_, value)| value)
}

/// What the demo prints when it is ready.
pub(crate) fn introduction(running: &Running, environment: &Environment) -> String {
    let operator = value(environment, "TOKEN_OPERATOR");
    format!(
        "
Vaultgate   {url}   (metrics and health: {admin})
emulator    {azure}   (journal: {azure}/_sim/journal)
decisions   {log}
log key     {key}

approvals   {console}   (with a browser: {console}/login, for example as approver-a)

Personas: operator, custodian, reader, agent, flow, drill, approver-a, approver-b, soc, stranger;
client id = name, secret = <name>-secret, token endpoint {azure}/oidc/token

Paste, in another terminal:

  TOKEN={operator}
  VAULT={url}/subscriptions/{PROD}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1
  curl --cacert {ca} -H \"authorization: Bearer $TOKEN\" \"$VAULT/backupJobs?api-version=2026-08-01\"
  curl --cacert {ca} -H \"authorization: Bearer $TOKEN\" -X DELETE \"$VAULT?api-version=2026-07-01\"
  {program} log tail {log}
  {program} log verify {log} --key '{key}' --anchor {anchor}

The Azure CLI, without tricks:

  export AZURE_CONFIG_DIR=$(mktemp -d) REQUESTS_CA_BUNDLE={ca}
  export AZURE_CORE_INSTANCE_DISCOVERY=false AZURE_CORE_COLLECT_TELEMETRY=false
  az cloud register -n vaultgate --endpoint-resource-manager {url}
  az cloud set -n vaultgate
  az login --service-principal -u operator -p operator-secret --tenant {TENANT}
  az backup job list -g rg1 -v v1 -o table

A flow of three regions runs every two minutes beside it (one of its items was never reviewed):

  {orchestrator} status --config {flows}
  {orchestrator} coverage --config {flows}

Decisions as they are written (Ctrl-C ends the demo):
",
        url = running.url,
        console = running.console_url,
        admin = running.admin_url,
        azure = value(environment, "SIM_AZURE_URL"),
        log = running.log_dir.display(),
        key = running.log_key,
        ca = running.dev.ca.display(),
        anchor = running.anchor.display(),
        program = running.program.display(),
        orchestrator = running.orchestrator.display(),
        flows = running.config.with_file_name("orchestrator").join("orchestrator.toml").display(),
        PROD = vaultgate_sim::PROD,
        TENANT = vaultgate_sim::TENANT,
    )
}
