//! `[policy]`: where the bundle comes from, whose signature it bears, what judging may cost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::Problems;
use super::duration::Written;
use super::upstream::secret_at_hand;
use crate::bundle_keys::BundleKeys;

/// Largest bundle that is fetched by default, bytes.
const MAX_FETCHED: usize = 32 << 20;

/// The policy bundle and its limits.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Folder of the bundle, or the archive that OPA ships bundles in.
    pub(crate) dir: PathBuf,
    /// The service that bundles come from instead.
    pub(crate) service: Option<BundleService>,
    /// Keys that bundles must be signed with; none when they are not signed.
    pub(crate) keys: BundleKeys,
    /// A candidate that judges beside the bundle and decides nothing.
    pub(crate) shadow: Option<PathBuf>,
    /// Longest evaluation.
    pub(crate) time_limit: Duration,
    /// Whether the bytecode machine may decide plain reads and snapshots.
    pub(crate) machine: bool,
    /// Evaluation threads.
    pub(crate) threads: usize,
    /// Whether changes of the folder are picked up while running.
    pub(crate) watch: bool,
}

/// A service that bundles are fetched from, as OPA does.
#[derive(Clone, Debug)]
pub(crate) struct BundleService {
    /// Address of the bundle.
    pub(crate) url: String,
    /// Bearer token for it.
    pub(crate) token: Option<SecretString>,
    /// How often it is asked.
    pub(crate) every: Duration,
    /// How long the service may wait for a change before it answers.
    pub(crate) long_poll: Option<Duration>,
    /// Largest bundle, bytes as they come.
    pub(crate) max_bytes: usize,
    /// Folder in which the last good bundle is kept.
    keep: PathBuf,
}

impl BundleService {
    /// Where the last good bundle is kept.
    pub(crate) fn kept(&self) -> PathBuf {
        self.keep.join("bundle.tar.gz")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    dir: Option<PathBuf>,
    service: Option<ServiceFile>,
    verification: Option<VerificationFile>,
    shadow: Option<PathBuf>,
    #[serde(default = "twenty_milliseconds")]
    time_limit: Written,
    threads: Option<usize>,
    #[serde(default = "yes")]
    machine: bool,
    #[serde(default = "yes")]
    watch: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    url: String,
    token: Option<String>,
    #[serde(default = "a_minute")]
    every: Written,
    long_poll: Option<Written>,
    max_bytes: Option<usize>,
    keep: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerificationFile {
    keys: Vec<KeyFile>,
    scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    id: String,
    file: PathBuf,
    algorithm: String,
}

fn twenty_milliseconds() -> Written {
    Written(Duration::from_millis(20))
}

fn a_minute() -> Written {
    Written(Duration::from_secs(60))
}

fn yes() -> bool {
    true
}

impl PolicyFile {
    pub(super) fn check(self, base: &Path, problems: &mut Problems) -> Option<Policy> {
        let hint = "point it at a bundle; `policies` of the release is one to start from";
        let service = match self.service {
            Some(service) => Some(service.check(base, problems)?),
            None => None,
        };
        let dir = match (self.dir, &service) {
            (Some(_), Some(_)) => {
                problems.add(
                    "policy.service",
                    "the bundle comes from a folder or from a service, not both",
                    "remove `dir` or `service`",
                );
                return None;
            }
            (Some(dir), None) => base.join(dir),
            (None, Some(service)) => service.kept(),
            (None, None) => {
                problems.add("policy.dir", "it is missing", hint);
                return None;
            }
        };
        if service.is_none() && !dir.is_dir() && !is_archive(&dir) {
            let message = format!("`{}` is not a folder", dir.display());
            problems.add("policy.dir", message, hint);
        }
        let shadow = self.shadow.map(|shadow| base.join(shadow));
        // A longer limit lets a runaway rule exhaust the stack before the timer fires.
        if self.time_limit.0 > Duration::from_millis(20) || self.time_limit.0.is_zero() {
            problems.add(
                "policy.time_limit",
                "an evaluation may take at most 20ms",
                "use a duration between 1ms and 20ms",
            );
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let keys = self
            .verification
            .map(|verification| verification.check(base, problems));
        Some(Policy {
            dir,
            service,
            keys: keys.unwrap_or_default(),
            shadow,
            time_limit: self.time_limit.0,
            machine: self.machine,
            threads: self.threads.unwrap_or(cores).clamp(1, 64),
            watch: self.watch,
        })
    }
}

fn is_archive(path: &Path) -> bool {
    path.is_file() && path.to_string_lossy().ends_with(".tar.gz")
}

impl ServiceFile {
    fn check(self, base: &Path, problems: &mut Problems) -> Option<BundleService> {
        let local = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            url.scheme() == "http" && matches!(host, "localhost" | "127.0.0.1" | "[::1]")
        };
        let known = Url::parse(&self.url).is_ok_and(|url| url.scheme() == "https" || local(&url));
        if !known {
            problems.add(
                "policy.service.url",
                format!("`{}` is no address with https", self.url.escape_debug()),
                "bundles come over TLS, or from this machine",
            );
        }
        let every = self.every.0;
        if every < Duration::from_secs(1) || every > Duration::from_secs(24 * 3600) {
            let hint = "use a duration between 1s and 24h";
            problems.add("policy.service.every", "it is out of range", hint);
        }
        let token = match self.token {
            None => None,
            Some(text) => {
                let reference = secret_at_hand(&text, "policy.service.token", base, problems)?;
                match reference.at_hand() {
                    Ok(secret) => Some(secret),
                    Err(why) => {
                        problems.add("policy.service.token", why, "put the token there");
                        return None;
                    }
                }
            }
        };
        let keep = base.join(self.keep);
        if let Err(error) = std::fs::create_dir_all(&keep) {
            problems.add(
                "policy.service.keep",
                format!("cannot make `{}`: {error}", keep.display()),
                "name a folder that the gateway may write to",
            );
        }
        Some(BundleService {
            url: self.url,
            token,
            every,
            long_poll: self
                .long_poll
                .map(|wait| wait.0.min(Duration::from_secs(600))),
            max_bytes: self.max_bytes.unwrap_or(MAX_FETCHED),
            keep,
        })
    }
}

impl VerificationFile {
    fn check(self, base: &Path, problems: &mut Problems) -> BundleKeys {
        let mut keys = BundleKeys::new(self.scope);
        if self.keys.is_empty() {
            problems.add(
                "policy.verification.keys",
                "there are none",
                "name a public key, or remove the section",
            );
        }
        for key in self.keys {
            let path = base.join(&key.file);
            let added = std::fs::read(&path)
                .map_err(|error| format!("`{}`: {error}", path.display()))
                .and_then(|pem| {
                    let added = keys.add(&key.id, &key.algorithm, &pem);
                    added.map_err(|error| error.to_string())
                });
            if let Err(why) = added {
                problems.add(
                    "policy.verification.keys",
                    format!("key `{}`: {why}", key.id.escape_debug()),
                    "a public key as PEM, and its algorithm: ES256, ES384, EdDSA, PS256 … RS512",
                );
            }
        }
        keys
    }
}
