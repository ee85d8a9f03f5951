//! The profile of one command: a folder that goes with it, and its environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::identity::Identity;
use crate::commands::client::Connection;

/// Bundles of the system's authorities, as distributions keep them.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The name of the gateway as a cloud, in the command's profile alone.
const CLOUD: &str = "vaultgate";

#[derive(Clone)]
pub(super) struct Profile {
    /// Gone with the last of its users.
    _folder: Arc<TempDir>,
    origin: String,
    environment: Vec<(String, String)>,
}

impl Profile {
    pub(super) fn new(connection: &Connection, identity: &Identity) -> anyhow::Result<Profile> {
        let folder = tempfile::Builder::new().prefix("vaultgate-run-").tempdir();
        let folder = folder.context("cannot make a folder for the command")?;
        let path = |path: &Path| path.display().to_string();
        let origin = connection.data_origin()?.to_owned();
        let mut environment = vec![
            ("VAULTGATE_URL".to_owned(), origin.clone()),
            (
                "AZURE_CONFIG_DIR".to_owned(),
                path(&folder.path().join("azure")),
            ),
            ("IDENTITY_ENDPOINT".to_owned(), identity.endpoint.clone()),
            ("IDENTITY_HEADER".to_owned(), identity.header.clone()),
            // Without these the CLI calls out to the public cloud.
            (
                "AZURE_CORE_INSTANCE_DISCOVERY".to_owned(),
                "false".to_owned(),
            ),
            (
                "AZURE_CORE_COLLECT_TELEMETRY".to_owned(),
                "false".to_owned(),
            ),
        ];
        if let Some(ca) = connection.ca() {
            let bundle = path(&trusted(folder.path(), ca)?);
            for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
                environment.push((name.to_owned(), bundle.clone()));
            }
        }
        Ok(Profile {
            _folder: Arc::new(folder),
            origin,
            environment,
        })
    }

    /// What the command gets beside the caller's own environment.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.environment.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Makes the gateway the CLI's cloud, and the caller its identity.
    pub(super) fn sign_in(&self, program: &str) -> anyhow::Result<()> {
        let register = ["cloud", "register", "-n", CLOUD];
        let endpoint = ["--endpoint-resource-manager", &self.origin];
        self.step(program, &[&register[..], &endpoint[..]].concat())?;
        self.step(program, &["cloud", "set", "-n", CLOUD])?;
        self.step(program, &["login", "--identity"])
    }

    fn step(&self, program: &str, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command
            .args(words)
            .args(["-o", "none", "--only-show-errors"])
            .envs(self.environment())
            .stdin(Stdio::null());
        without_tokens(&mut command);
        let done = command
            .output()
            .with_context(|| format!("cannot run `{program}`"))?;
        if done.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&done.stderr);
        bail!(
            "`{program} {}` failed: {}; hint: the CLI signs in with tokens of Entra ID, which name a tenant",
            words.join(" "),
            told.trim()
        );
    }
}

/// The authorities that the command trusted before, and the gateway's: nothing is switched off.
fn trusted(folder: &Path, ca: &Path) -> anyhow::Result<PathBuf> {
    let before = std::env::var_os("REQUESTS_CA_BUNDLE").map(PathBuf::from);
    let system = SYSTEM.iter().map(PathBuf::from);
    let found = before.into_iter().chain(system).find(|path| path.is_file());
    let mut bundle = match found {
        Some(path) => {
            std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?
        }
        None => Vec::new(),
    };
    let own = std::fs::read(ca).with_context(|| format!("cannot read `{}`", ca.display()))?;
    bundle.push(b'\n');
    bundle.extend(own);
    let path = folder.join("trusted.pem");
    std::fs::write(&path, bundle).context("cannot write the command's authorities")?;
    Ok(path)
}

/// Keeps from a command what it must not hold: a console's token would let whatever it runs
/// approve as its caller.
pub(super) fn without_tokens(command: &mut Command) {
    command.env_remove("VAULTGATE_CONSOLE_TOKEN");
    command.env_remove("VAULTGATE_TOKEN");
}

/// Whether a command is the Azure CLI.
pub(super) fn is_azure_cli(program: &str) -> bool {
    let name = Path::new(program).file_stem();
    name.is_some_and(|name| name == "az")
}
