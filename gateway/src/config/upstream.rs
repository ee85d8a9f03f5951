//! `[azure]`: which cloud, and the gateway's two identities there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::Problems;
use super::duration::Written;
use super::file::some_time;

/// `[azure]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamFile {
    /// `public`, `us-government`, `china` or `custom`.
    cloud: CloudFile,
    /// Endpoints of a custom cloud.
    custom: Option<CustomFile>,
    /// PEM file of a CA that is trusted beside the system's.
    extra_ca: Option<PathBuf>,
    /// The identity that allowed requests are forwarded with.
    operator: IdentityFile,
    /// The identity that the gateway's own reads are made with.
    reader: IdentityFile,
    /// The identity with rights on resource guards, where deletions of guarded vaults are to
    /// be unlocked.
    guard: Option<IdentityFile>,
    /// Object ids of callers that are to have no role in Azure: `vaultgate doctor` looks.
    #[serde(default)]
    without_roles: Vec<String>,
    /// Whether both may be the same identity.
    #[serde(default)]
    allow_same_identity: bool,
    /// Longest time for a change.
    change_timeout: Option<Written>,
    /// Longest time for a read.
    read_timeout: Option<Written>,
    /// Largest answer, bytes.
    max_answer: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CloudFile {
    Public,
    UsGovernment,
    China,
    Custom,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomFile {
    /// Origin of Azure Resource Manager.
    resource_manager: String,
    /// Authority that the gateway gets its tokens from.
    authority: String,
    /// Audience of those tokens.
    audience: String,
}

/// One identity as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    /// `managed-identity`, `workload-identity`, `client-secret`, `client-certificate` or `azure-cli`.
    credential: CredentialFile,
    /// Entra tenant.
    tenant: Option<String>,
    /// Client id; of a user-assigned managed identity, too.
    client_id: Option<String>,
    /// `file:PATH`, `env:NAME` or `keyvault:https://VAULT/secrets/NAME`.
    secret: Option<String>,
    /// PEM file with certificate and private key.
    certificate: Option<PathBuf>,
    /// File of the federated token.
    token_file: Option<PathBuf>,
    /// Origin of the metadata service, where it is not the constant one.
    metadata_endpoint: Option<String>,
    /// Object id of its service principal: `vaultgate doctor` then looks at its roles.
    object_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CredentialFile {
    ManagedIdentity,
    WorkloadIdentity,
    ClientSecret,
    ClientCertificate,
    AzureCli,
}

/// Where Azure is and who the gateway is there.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Origin of Azure Resource Manager, without a trailing slash.
    pub(crate) resource_manager: String,
    /// Authority that tokens come from.
    pub(crate) authority: String,
    /// Audience of those tokens.
    pub(crate) audience: String,
    /// Bytes of the extra CA file.
    pub(crate) extra_ca: Option<Vec<u8>>,
    /// Forwards allowed requests.
    pub(crate) operator: Identity,
    /// Object ids of both service principals, for those who look at their roles.
    pub(crate) object_ids: ObjectIds,
    /// Makes the gateway's own reads.
    pub(crate) reader: Identity,
    /// Unlocks what resource guards hold back, once people have approved.
    pub(crate) guard: Option<Identity>,
    /// Longest time for a change.
    pub(crate) change_timeout: Duration,
    /// Longest time for a read.
    pub(crate) read_timeout: Duration,
    /// Largest answer, bytes.
    pub(crate) max_answer: usize,
    storage_suffix: &'static str,
    key_vault_suffix: &'static str,
}

/// Object ids of the gateway's service principals, where they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectIds {
    /// Of the operator identity.
    pub(crate) operator: Option<String>,
    /// Of the reader identity.
    pub(crate) reader: Option<String>,
    /// Of callers that are to have no role in Azure at all, such as an orchestrator's.
    pub(crate) without_roles: Vec<String>,
}

/// One identity of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "managed and workload identity are Azure's names"
)]
pub(crate) enum Identity {
    /// Of the machine the gateway runs on.
    ManagedIdentity {
        /// Of a user-assigned one.
        client_id: Option<String>,
        /// Where the metadata service is, when not at its constant address.
        endpoint: Option<String>,
    },
    /// A federated token, such as a Kubernetes service account's.
    WorkloadIdentity {
        /// Entra tenant.
        tenant: String,
        /// Client id.
        client_id: String,
        /// File of the token.
        token_file: PathBuf,
    },
    /// A client secret, by reference.
    ClientSecret {
        /// Entra tenant.
        tenant: String,
        /// Client id.
        client_id: String,
        /// Where the secret is.
        secret: SecretRef,
    },
    /// A certificate whose key signs assertions.
    ClientCertificate {
        /// Entra tenant.
        tenant: String,
        /// Client id.
        client_id: String,
        /// PEM file.
        certificate: PathBuf,
    },
    /// Whoever is signed in to the Azure CLI: for development.
    AzureCli,
}

impl Identity {
    /// Whether both are one service principal: there are two ways to sign in as one. A client id
    /// is nobody else's, in whichever tenant.
    fn is(&self, other: &Identity) -> bool {
        match (self.principal(), other.principal()) {
            ((_, Some(own)), (_, Some(other))) => own == other,
            (own, other) => own == other,
        }
    }

    fn principal(&self) -> (Option<String>, Option<String>) {
        let folded = |text: &String| Some(text.to_ascii_lowercase());
        match self {
            Identity::ManagedIdentity { client_id, .. } => {
                (None, client_id.as_ref().and_then(folded))
            }
            Identity::WorkloadIdentity {
                tenant, client_id, ..
            }
            | Identity::ClientSecret {
                tenant, client_id, ..
            }
            | Identity::ClientCertificate {
                tenant, client_id, ..
            } => (folded(tenant), folded(client_id)),
            Identity::AzureCli => (Some("azure-cli".to_owned()), None),
        }
    }
}

/// Where a secret is kept; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretRef {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
    /// In a Key Vault, read with the machine's managed identity.
    KeyVault {
        /// Origin of the vault.
        vault: String,
        /// Name of the secret.
        name: String,
    },
}

impl SecretRef {
    /// Reads a secret that is at hand, on this machine; why not, without the secret. One in a
    /// Key Vault is not.
    pub(crate) fn at_hand(&self) -> Result<SecretString, String> {
        let read = match self {
            SecretRef::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("`{}`: {error}", path.display()))?,
            SecretRef::Env(name) => {
                std::env::var(name).map_err(|_| format!("`{name}` is not set"))?
            }
            SecretRef::KeyVault { .. } => return Err("it is in a Key Vault".to_owned()),
        };
        let read = Zeroizing::new(read);
        match read.trim() {
            "" => Err("it is empty".to_owned()),
            secret => Ok(SecretString::from(secret.to_owned())),
        }
    }
}

impl Upstream {
    /// Host and port of Azure Resource Manager.
    pub(crate) fn host(&self) -> &str {
        self.resource_manager.trim_start_matches("https://")
    }

    /// DNS suffixes of the cloud, as the Azure CLI asks for them.
    pub(crate) fn suffixes(&self) -> serde_json::Value {
        json!({"storage": self.storage_suffix, "keyVaultDns": self.key_vault_suffix})
    }
}

impl UpstreamFile {
    /// Checks the section.
    pub(crate) fn check(self, base: &Path, problems: &mut Problems) -> Option<Upstream> {
        let endpoints = self.endpoints(problems);
        let extra_ca = match &self.extra_ca {
            Some(path) => match std::fs::read(base.join(path)) {
                Ok(bytes) => Some(bytes),
                Err(error) => {
                    let message = format!("cannot read `{}`: {error}", path.display());
                    problems.add("azure.extra_ca", message, "give a PEM file");
                    None
                }
            },
            None => None,
        };
        for (time, key) in [
            (self.change_timeout, "azure.change_timeout"),
            (self.read_timeout, "azure.read_timeout"),
        ] {
            if let Some(time) = time {
                some_time(time, key, problems);
            }
        }
        let object_ids = ObjectIds {
            operator: self.operator.object_id.clone(),
            reader: self.reader.object_id.clone(),
            without_roles: self.without_roles.clone(),
        };
        for id in &self.without_roles {
            if uuid::Uuid::try_parse(id).is_err() {
                let message = format!("`{id}` is no object id");
                problems.add(
                    "azure.without_roles",
                    message,
                    "give the object ids of service principals",
                );
            }
        }
        let operator = self.operator.check("azure.operator", base, problems);
        let reader = self.reader.check("azure.reader", base, problems);
        if operator.is_some() && operator == reader && !self.allow_same_identity {
            problems.add(
                "azure.reader",
                "reader and operator are the same identity",
                "give the reader an identity that may only read, or set `allow_same_identity = true`",
            );
        }
        let guard = match self.guard {
            Some(guard) => Some(guard.check("azure.guard", base, problems)?),
            None => None,
        };
        // One identity that may delete and may unlock is what the guard is there against.
        let same = |other: &Option<Identity>| match (&guard, other) {
            (Some(guard), Some(other)) => guard.is(other),
            _ => false,
        };
        if same(&operator) || same(&reader) {
            problems.add(
                "azure.guard",
                "the guard's identity is the operator's or the reader's",
                "give resource guards an identity of their own, with no rights on the vaults",
            );
        }
        let (resource_manager, authority, audience, storage_suffix, key_vault_suffix) = endpoints?;
        Some(Upstream {
            resource_manager,
            authority,
            audience,
            extra_ca,
            operator: operator?,
            object_ids,
            reader: reader?,
            guard,
            change_timeout: self.change_timeout.map_or(Duration::from_secs(60), |w| w.0),
            read_timeout: self.read_timeout.map_or(Duration::from_secs(30), |w| w.0),
            max_answer: self.max_answer.unwrap_or(16 << 20),
            storage_suffix,
            key_vault_suffix,
        })
    }

    fn endpoints(
        &self,
        problems: &mut Problems,
    ) -> Option<(String, String, String, &'static str, &'static str)> {
        let known = |arm: &str, authority: &str, storage, vault| {
            let arm = format!("https://{arm}");
            Some((
                arm.clone(),
                format!("https://{authority}"),
                arm,
                storage,
                vault,
            ))
        };
        match (self.cloud, &self.custom) {
            (CloudFile::Public, None) => known(
                "management.azure.com",
                "login.microsoftonline.com",
                "core.windows.net",
                ".vault.azure.net",
            ),
            (CloudFile::UsGovernment, None) => known(
                "management.usgovcloudapi.net",
                "login.microsoftonline.us",
                "core.usgovcloudapi.net",
                ".vault.usgovcloudapi.net",
            ),
            (CloudFile::China, None) => known(
                "management.chinacloudapi.cn",
                "login.partner.microsoftonline.cn",
                "core.chinacloudapi.cn",
                ".vault.azure.cn",
            ),
            (CloudFile::Custom, Some(custom)) => {
                let arm = origin(
                    &custom.resource_manager,
                    "azure.custom.resource_manager",
                    problems,
                );
                let authority = origin(&custom.authority, "azure.custom.authority", problems);
                let (storage, vault) = ("core.windows.net", ".vault.azure.net");
                Some((arm?, authority?, custom.audience.clone(), storage, vault))
            }
            (CloudFile::Custom, None) => {
                problems.add(
                    "azure.cloud",
                    "a custom cloud needs its endpoints",
                    "add `[azure.custom]` with resource_manager, authority and audience",
                );
                None
            }
            (_, Some(_)) => {
                problems.add(
                    "azure.custom",
                    "endpoints stand beside a cloud that has its own",
                    "set `cloud = \"custom\"` or remove `[azure.custom]`",
                );
                None
            }
        }
    }
}

impl IdentityFile {
    fn check(self, key: &str, base: &Path, problems: &mut Problems) -> Option<Identity> {
        let mut need = |name: &str, value: Option<String>| {
            if value.is_none() {
                problems.add(
                    format!("{key}.{name}"),
                    format!("this credential needs `{name}`"),
                    "see `vaultgate config sample`",
                );
            }
            value
        };
        match self.credential {
            CredentialFile::ManagedIdentity => Some(Identity::ManagedIdentity {
                client_id: self.client_id,
                endpoint: self.metadata_endpoint,
            }),
            CredentialFile::AzureCli => Some(Identity::AzureCli),
            CredentialFile::WorkloadIdentity => {
                let (tenant, client_id) = (
                    need("tenant", self.tenant),
                    need("client_id", self.client_id),
                );
                let file = self.token_file.map(|path| path.display().to_string());
                let file = need("token_file", file);
                Some(Identity::WorkloadIdentity {
                    tenant: tenant?,
                    client_id: client_id?,
                    token_file: base.join(file?),
                })
            }
            CredentialFile::ClientSecret => {
                let (tenant, client_id) = (
                    need("tenant", self.tenant),
                    need("client_id", self.client_id),
                );
                let secret = need("secret", self.secret);
                let secret = secret
                    .and_then(|text| secret_ref(&text, &format!("{key}.secret"), base, problems));
                Some(Identity::ClientSecret {
                    tenant: tenant?,
                    client_id: client_id?,
                    secret: secret?,
                })
            }
            CredentialFile::ClientCertificate => {
                let (tenant, client_id) = (
                    need("tenant", self.tenant),
                    need("client_id", self.client_id),
                );
                let path = self.certificate.map(|path| path.display().to_string());
                let path = need("certificate", path);
                Some(Identity::ClientCertificate {
                    tenant: tenant?,
                    client_id: client_id?,
                    certificate: base.join(path?),
                })
            }
        }
    }
}

/// A reference to a secret. A secret itself in the file is refused: configurations
/// are kept by digest beside the log.
pub(super) fn secret_ref(
    text: &str,
    key: &str,
    base: &Path,
    problems: &mut Problems,
) -> Option<SecretRef> {
    match text.split_once(':') {
        Some(("file", path)) => {
            let path = base.join(path);
            if let Err(error) = std::fs::metadata(&path) {
                let message = format!("cannot read `{}`: {error}", path.display());
                problems.add(key, message, "write the secret into that file, mode 0600");
                return None;
            }
            Some(SecretRef::File(path))
        }
        Some(("env", name)) => Some(SecretRef::Env(name.to_owned())),
        Some(("keyvault", url)) => {
            let parsed = Url::parse(url).ok().filter(|url| url.scheme() == "https");
            let name = parsed.as_ref().and_then(|url| {
                let mut segments = url.path_segments()?;
                (segments.next()? == "secrets").then(|| segments.next().map(str::to_owned))?
            });
            match (parsed, name) {
                (Some(url), Some(name)) if !name.is_empty() => Some(SecretRef::KeyVault {
                    vault: url.origin().ascii_serialization(),
                    name,
                }),
                _ => {
                    let hint = "write it like `keyvault:https://my.vault.azure.net/secrets/name`";
                    problems.add(key, "this is no address of a Key Vault secret", hint);
                    None
                }
            }
        }
        _ => {
            let hint = "use `file:PATH`, `env:NAME` or `keyvault:https://VAULT/secrets/NAME`";
            problems.add(
                key,
                "a secret is given by reference, never in the file",
                hint,
            );
            None
        }
    }
}

fn origin(text: &str, key: &str, problems: &mut Problems) -> Option<String> {
    let parsed = Url::parse(text).ok().filter(|url| url.scheme() == "https");
    match parsed {
        Some(url) => Some(url.origin().ascii_serialization()),
        None => {
            let message = format!("`{text}` is not an https origin");
            problems.add(key, message, "write it like `https://management.azure.com`");
            None
        }
    }
}

/// A reference that can be read at start, without Azure.
pub(super) fn secret_at_hand(
    text: &str,
    key: &str,
    base: &Path,
    problems: &mut Problems,
) -> Option<SecretRef> {
    match secret_ref(text, key, base, problems)? {
        SecretRef::KeyVault { .. } => {
            problems.add(
                key,
                "a Key Vault is not read here",
                "use `file:PATH` or `env:NAME`",
            );
            None
        }
        reference => Some(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;

    #[test]
    fn two_ways_to_sign_in_may_be_one_service_principal() {
        let managed = |id: &str| Identity::ManagedIdentity {
            client_id: Some(id.into()),
            endpoint: None,
        };
        let certificate = |tenant: &str, id: &str| Identity::ClientCertificate {
            tenant: tenant.into(),
            client_id: id.into(),
            certificate: "x.pem".into(),
        };
        assert!(certificate("t", "X").is(&managed("x")));
        assert!(certificate("t", "x").is(&certificate("T", "x")));
        assert!(!certificate("t", "x").is(&certificate("t", "y")));
        assert!(!managed("x").is(&Identity::AzureCli));
    }
}
