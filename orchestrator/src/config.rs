//! The orchestrator's configuration: where its flows are, where it remembers, and the closed list
//! of addresses that it may call.
//!
//! A management-plane host anywhere in it is an error: there is no way round the gateway. Secrets
//! are names of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use crate::flow::{Flow, is_azure};
use crate::http::{Http, HttpError};
use crate::journal::Place;
use crate::problem::{Rejected, nearest};
use crate::token::{Proof, Source};

/// A configuration that was read and checked.
#[derive(Debug)]
pub struct Config {
    /// The folder of the flow files.
    pub flows: PathBuf,
    /// The journal.
    pub journal: Place,
    /// Address of the gateway.
    pub gateway: String,
    /// Certificates that vouch for it besides the system's.
    pub ca: Option<Vec<u8>>,
    /// Where the tokens of each identity come from.
    pub identities: BTreeMap<String, Source>,
    /// A collector of OpenTelemetry, where there is one.
    pub otlp: Option<String>,
    /// Where notices wait for their channels.
    pub outbox: PathBuf,
    /// The channels that can be told.
    pub channels: BTreeMap<String, Channel>,
}

/// A channel that can be told; its address and secret are in files.
#[derive(Clone, Debug)]
pub struct Channel {
    kind: ChannelKind,
    url_file: PathBuf,
    secret_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ChannelKind {
    Webhook,
    Teams,
    Slack,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("`{file}` cannot be read: {error}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is no configuration.
    #[error("{0}")]
    Form(String),
    /// A flow file is not taken.
    #[error("{0}")]
    Flow(#[from] Rejected),
    /// The CA file is none.
    #[error(transparent)]
    Http(#[from] HttpError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    flows: PathBuf,
    journal: WrittenJournal,
    gateway: WrittenGateway,
    #[serde(default, rename = "identity")]
    identities: Vec<WrittenIdentity>,
    outbox: Option<PathBuf>,
    otlp: Option<WrittenOtlp>,
    #[serde(default, rename = "notify")]
    channels: Vec<WrittenChannel>,
}

/// A file, or the file with the address of a server: the address has a password in it.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`journal` is the name of a file, or `{ postgres_file = \"FILE\" }`"
)]
enum WrittenJournal {
    File(PathBuf),
    Server(WrittenServer),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenServer {
    postgres_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOtlp {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChannel {
    name: String,
    kind: ChannelKind,
    url_file: PathBuf,
    secret_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGateway {
    url: String,
    ca: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIdentity {
    name: String,
    credential: Credential,
    token_url: Option<String>,
    client_id: Option<String>,
    scope: Option<String>,
    secret_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    key_id: Option<String>,
    resource: Option<String>,
    endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Credential {
    ManagedIdentity,
    WorkloadIdentity,
    PrivateKeyJwt,
    ClientSecret,
}

/// The metadata service of a machine in Azure.
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

impl Config {
    /// Reads and checks a configuration file. Names of files in it are beside it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to write.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = read(path)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        Config::parse(&text, beside).map_err(|error| match error {
            ConfigError::Form(why) => ConfigError::Form(format!("{}: {why}", path.display())),
            other => other,
        })
    }

    fn parse(text: &str, beside: &Path) -> Result<Config, ConfigError> {
        let written: Written =
            toml::from_str(text).map_err(|error| form(error.to_string().trim_end()))?;
        let gateway = address(&written.gateway.url, "gateway.url")?;
        let mut identities = BTreeMap::new();
        for identity in written.identities {
            let name = identity.name.clone();
            let source = identity.source(beside)?;
            if identities.insert(name.clone(), source).is_some() {
                return Err(form(&format!("the identity `{name}` stands there twice")));
            }
        }
        let mut channels = BTreeMap::new();
        for channel in written.channels {
            let own = Channel {
                kind: channel.kind,
                url_file: beside.join(channel.url_file),
                secret_file: channel.secret_file.map(|file| beside.join(file)),
            };
            if own.kind == ChannelKind::Webhook && own.secret_file.is_none() {
                return Err(form(&format!(
                    "the channel `{}` needs `secret_file`",
                    channel.name
                )));
            }
            if channels.insert(channel.name.clone(), own).is_some() {
                return Err(form(&format!(
                    "the channel `{}` stands there twice",
                    channel.name
                )));
            }
        }
        let journal = match written.journal {
            WrittenJournal::File(file) => Place::File(beside.join(file)),
            WrittenJournal::Server(server) => {
                Place::Server(read(&beside.join(server.postgres_file))?.into())
            }
        };
        let otlp = written.otlp.map(|otlp| address(&otlp.url, "otlp.url"));
        let ca = written.gateway.ca.map(|file| beside.join(file));
        let ca =
            ca.map(|file| std::fs::read(&file).map_err(|error| ConfigError::File { file, error }));
        Ok(Config {
            flows: beside.join(written.flows),
            journal,
            gateway,
            otlp: otlp.transpose()?,
            ca: ca.transpose()?,
            identities,
            outbox: beside.join(written.outbox.unwrap_or_else(|| PathBuf::from("outbox"))),
            channels,
        })
    }

    /// The channels, ready to be told.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or an address not be posted to.
    pub fn ready_channels(&self) -> Result<Vec<vaultgate_notify::Channel>, ConfigError> {
        let secret = |file: &Path| read(file).map(|text| SecretString::from(text.trim()));
        let each = self.channels.iter().map(|(name, channel)| {
            let url = secret(&channel.url_file)?;
            let made = match (channel.kind, &channel.secret_file) {
                (ChannelKind::Webhook, Some(file)) => {
                    vaultgate_notify::Channel::webhook(name, &url, &secret(file)?)
                }
                (ChannelKind::Teams, _) => vaultgate_notify::Channel::teams(name, &url),
                (ChannelKind::Slack | ChannelKind::Webhook, _) => {
                    vaultgate_notify::Channel::slack(name, &url)
                }
            };
            let made = made.map_err(|error| form(&error.to_string()))?;
            let host = made.host().to_ascii_lowercase();
            // Workflows of Teams are called there.
            let workflow = ["logic.azure.com", "logic.azure.us"].iter().any(|hosts| {
                let own = host.strip_suffix(hosts);
                own.is_some_and(|own| own.ends_with('.'))
            });
            match is_azure(&host) && !workflow {
                true => Err(form(&format!(
                    "the channel `{name}` leads to `{host}`: the orchestrator reaches Azure through the gateway only"
                ))),
                false => Ok(made),
            }
        });
        each.collect()
    }

    /// A client for the addresses of this configuration, and for no others.
    ///
    /// # Errors
    ///
    /// Where the CA file holds no certificate.
    pub fn http(&self) -> Result<Http, ConfigError> {
        let sources = self.identities.values().map(|source| match source {
            Source::ManagedIdentity { endpoint, .. } => endpoint.as_str(),
            Source::Client { token_url, .. } => token_url.as_str(),
        });
        let addresses = sources
            .chain([self.gateway.as_str()])
            .chain(self.otlp.as_deref());
        Ok(Http::new(addresses, self.ca.as_deref())?)
    }

    /// The flows of the folder, each of this gateway and of a known identity.
    ///
    /// # Errors
    ///
    /// The first file that is not taken, with everything that is wrong with it.
    pub fn flows(&self) -> Result<Vec<Flow>, ConfigError> {
        let failed = |error| ConfigError::File {
            file: self.flows.clone(),
            error,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.flows).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|own| own == "yaml" || own == "yml")
            {
                files.push(path);
            }
        }
        files.sort();
        let mut flows: Vec<Flow> = Vec::new();
        for file in files {
            let flow = self.flow(&file)?;
            if let Some(other) = flows.iter().find(|other| other.name == flow.name) {
                return Err(form(&format!(
                    "{}: another file defines the flow `{}`",
                    file.display(),
                    other.name
                )));
            }
            flows.push(flow);
        }
        Ok(flows)
    }

    /// A flow file of this gateway and of a known identity.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn flow(&self, file: &Path) -> Result<Flow, ConfigError> {
        let shown = file.display().to_string();
        let flow = Flow::read(&shown, &read(file)?)?;
        if flow.gateway != self.gateway {
            let why = format!(
                "{shown}: `{}` is not the gateway of the configuration (`{}`)",
                flow.gateway, self.gateway
            );
            return Err(form(&why));
        }
        if !self.identities.contains_key(&flow.identity) {
            let known: Vec<&str> = self.identities.keys().map(String::as_str).collect();
            let hint = match nearest(&flow.identity, known.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!("write one of: {}", known.join(", ")),
            };
            return Err(form(&format!(
                "{shown}: there is no identity `{}`\n  hint: {hint}",
                flow.identity
            )));
        }
        for notify in &flow.notify {
            if !self.channels.contains_key(&notify.channel) {
                return Err(form(&format!(
                    "{shown}: there is no channel `{}` in the configuration",
                    notify.channel
                )));
            }
        }
        Ok(flow)
    }
}

impl WrittenIdentity {
    fn source(self, beside: &Path) -> Result<Source, ConfigError> {
        let name = self.name;
        let needed = |value: Option<String>, key: &str| {
            value.ok_or_else(|| form(&format!("the identity `{name}` needs `{key}`")))
        };
        let file = |value: Option<PathBuf>, key: &str| {
            let file = value.map(|file| beside.join(file));
            file.ok_or_else(|| form(&format!("the identity `{name}` needs `{key}`")))
        };
        if self.credential == Credential::ManagedIdentity {
            // Services name theirs in the environment, with a header that nobody else sends.
            let named =
                ["IDENTITY_ENDPOINT", "IDENTITY_HEADER"].map(|name| std::env::var(name).ok());
            let (endpoint, header) = match (self.endpoint, named) {
                (Some(endpoint), _) => (address(&endpoint, "endpoint")?, None),
                (None, [Some(endpoint), Some(header)]) => (
                    address(&endpoint, "IDENTITY_ENDPOINT")?,
                    Some(SecretString::from(header)),
                ),
                (None, _) => (METADATA.to_owned(), None),
            };
            return Ok(Source::ManagedIdentity {
                endpoint,
                header,
                client_id: self.client_id,
                resource: audience(needed(self.resource, "resource")?)?,
            });
        }
        let proof = match self.credential {
            Credential::WorkloadIdentity => Proof::TokenFile(file(self.token_file, "token_file")?),
            Credential::PrivateKeyJwt => Proof::KeyFile {
                file: file(self.key_file, "key_file")?,
                key_id: needed(self.key_id, "key_id")?,
            },
            _ => Proof::SecretFile(file(self.secret_file, "secret_file")?),
        };
        let token_url = needed(self.token_url, "token_url")?;
        let host = url::Url::parse(&token_url).ok();
        let host = host
            .as_ref()
            .and_then(url::Url::host_str)
            .unwrap_or_default()
            .to_ascii_lowercase();
        // A token service of Microsoft's is no management plane.
        if is_azure(&host) && !host.starts_with("login.") {
            return Err(form(&format!("`{host}` is Azure, not a token service")));
        }
        Ok(Source::Client {
            token_url,
            client_id: needed(self.client_id, "client_id")?,
            scope: audience(needed(self.scope, "scope")?)?,
            proof,
        })
    }
}

/// Azure Resource Manager's own application: another name of its audience.
const RESOURCE_MANAGER: &str = "797f4846-ba00-4fd7-ba43-dac1f8f63013";

/// What a token is asked for: never Azure.
fn audience(text: String) -> Result<String, ConfigError> {
    // A scope may be several.
    let azure = text.split_whitespace().any(|one| {
        let host = one.split("://").nth(1).unwrap_or(one);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        is_azure(&host.to_ascii_lowercase())
    });
    let manager = text.to_ascii_lowercase().contains(RESOURCE_MANAGER);
    match azure || manager {
        true => Err(form(&format!(
            "`{text}` is Azure's audience: ask for the gateway's"
        ))),
        false => Ok(text),
    }
}

fn address(text: &str, key: &str) -> Result<String, ConfigError> {
    let url =
        url::Url::parse(text).map_err(|_| form(&format!("`{key}`: `{text}` is no address")))?;
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    if is_azure(&host) {
        return Err(form(&format!(
            "`{key}`: `{host}` is Azure: the orchestrator reaches it through the gateway only"
        )));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File {
        file: path.to_owned(),
        error,
    })
}

fn form(why: &str) -> ConfigError {
    ConfigError::Form(why.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::path::Path;

    use super::Config;

    const GOOD: &str = r#"
flows = "flows"
journal = "orchestrator.db"

[gateway]
url = "https://gateway.internal:8443"

[[identity]]
name = "nightly"
credential = "client-secret"
token_url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
client_id = "c"
scope = "api://vaultgate/.default"
secret_file = "secret"
"#;

    #[test]
    fn no_address_and_no_audience_leads_to_azure() {
        assert!(Config::parse(GOOD, Path::new("/etc/vg")).is_ok());
        for (good, bad, told) in [
            (
                "https://gateway.internal:8443",
                "https://management.azure.com",
                "through the gateway only",
            ),
            (
                "https://gateway.internal:8443",
                "https://x.management.usgovcloudapi.net/",
                "through the gateway only",
            ),
            (
                "https://login.microsoftonline.com/t/oauth2/v2.0/token",
                "https://management.azure.com/token",
                "not a token service",
            ),
            (
                "api://vaultgate/.default",
                "https://management.azure.com/.default",
                "ask for the gateway's",
            ),
            (
                "api://vaultgate/.default",
                "api://vaultgate/.default https://management.azure.com/.default",
                "ask for the gateway's",
            ),
            (
                "api://vaultgate/.default",
                "https://vault.azure.net/.default",
                "ask for the gateway's",
            ),
            (
                "api://vaultgate/.default",
                "https://management.azure.com:443/.default",
                "ask for the gateway's",
            ),
            (
                "api://vaultgate/.default",
                "797F4846-ba00-4fd7-ba43-dac1f8f63013/.default",
                "ask for the gateway's",
            ),
            ("secret_file = \"secret\"", "", "needs `secret_file`"),
            ("client-secret", "password", "unknown variant"),
            ("journal =", "jurnal =", "unknown field"),
            (
                "\"orchestrator.db\"",
                "{ postgres = \"postgres://u:p@h/d\" }",
                "postgres_file",
            ),
        ] {
            let refused = Config::parse(&GOOD.replacen(good, bad, 1), Path::new("/etc/vg"));
            let told_ = refused.unwrap_err().to_string();
            assert!(told_.contains(told), "{bad}: {told_}");
        }
    }
}
