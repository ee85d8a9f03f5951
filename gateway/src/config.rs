//! Configuration: [`ConfigFile`](file::ConfigFile) as written, [`Config`] as checked.
//!
//! Everything is read and checked before a port is bound, and every problem is
//! reported at once with its line and what to do. A section is read with unknown
//! settings refused: a misspelt guard must not be a guard that is off.

pub(crate) mod approvals;
pub(crate) mod duration;
pub(crate) mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod issuers;
pub(crate) mod limits;
pub(crate) mod login;
pub(crate) mod notify;
mod policy;
pub(crate) mod problems;
pub(crate) mod source;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

pub(crate) use approvals::Approvals;
pub(crate) use policy::{BundleService, Policy};
pub(crate) use problems::{Problem, Problems};

use file::ConfigFile;
use issuers::Issuer;
use limits::Limits;
use notify::Notify;
use source::Source;
use upstream::Upstream;

/// The sample that `vaultgate config sample` prints; a test holds it to the settings.
pub(crate) const SAMPLE: &str = include_str!("config/sample.toml");

/// A checked configuration: what is in here needs no further checks.
pub(crate) struct Config {
    /// What the gateway is called and where callers reach it.
    pub(crate) gateway: Gateway,
    /// The data and admin listeners.
    pub(crate) listener: Listener,
    /// Who may vouch for callers.
    pub(crate) issuers: Vec<Issuer>,
    /// Azure, and the gateway's identities there.
    pub(crate) upstream: Upstream,
    /// The decision log.
    pub(crate) log: Log,
    /// The policy bundle and its limits.
    pub(crate) policy: Policy,
    /// The SQLite store.
    pub(crate) store: Store,
    /// Rates, quotas and budgets.
    pub(crate) limits: Limits,
    /// Long-running operations.
    pub(crate) custody: Custody,
    /// What is read from Azure before a change is judged.
    pub(crate) facts: Facts,
    /// The console door; without one nobody can approve.
    pub(crate) console: Option<Console>,
    /// Who may approve and stop, and how freshly they have to have signed in.
    pub(crate) approvals: Approvals,
    /// Who is told of approvals, quarantine and the freeze.
    pub(crate) notify: Vec<Notify>,
    /// `sha256:…` of the file as read: what a record names.
    pub(crate) digest: String,
    /// The file's text, kept beside the log by its digest. Holds references to
    /// secrets, never secrets.
    pub(crate) text: String,
}

/// What the gateway is called and where callers reach it.
pub(crate) struct Gateway {
    /// Origin that callers use, without a trailing slash.
    pub(crate) public_url: String,
    /// Host names, without ports, that requests may be addressed to: that of the
    /// public URL and those listed.
    pub(crate) hosts: Vec<String>,
    /// App ID URI: the audience that callers' tokens are meant for.
    pub(crate) app_id_uri: String,
    /// Authority that `az login` is sent to by `/metadata/endpoints`.
    pub(crate) login_endpoint: Option<String>,
    /// Further api-versions that changes may use.
    pub(crate) extra_api_versions: Vec<String>,
    /// Whether reads go on while the store is unavailable.
    pub(crate) reads_without_store: bool,
    /// Clock skew against ARM and issuers beyond which changes are refused.
    pub(crate) max_clock_skew: Duration,
}

/// The data and admin listeners.
#[derive(Clone)]
pub(crate) struct Listener {
    /// Address of the data door.
    pub(crate) data: SocketAddr,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub(crate) admin: SocketAddr,
    /// PEM file of the certificate chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// PEM file of the private key.
    pub(crate) private_key: PathBuf,
    /// PEM file of the CAs whose client certificates are accepted, if any.
    pub(crate) client_ca: Option<PathBuf>,
    /// Whether TLS 1.2 is spoken beside TLS 1.3.
    pub(crate) tls12: bool,
    /// Peers whose PROXY protocol v2 header is believed.
    pub(crate) proxy_protocol_from: Vec<std::net::IpAddr>,
    /// Time for a TLS handshake.
    pub(crate) handshake_timeout: Duration,
    /// Time for a request's headers, and between one request and the next.
    pub(crate) header_timeout: Duration,
    /// Longest pause within a request's body.
    pub(crate) body_idle_timeout: Duration,
    /// Time for a client to take an answer.
    pub(crate) answer_timeout: Duration,
    /// Largest request body, bytes.
    pub(crate) max_body: usize,
    /// Time given to requests in flight when the gateway stops.
    pub(crate) drain_timeout: Duration,
}

/// The decision log.
pub(crate) struct Log {
    /// Folder of segments, tiles and checkpoints.
    pub(crate) dir: PathBuf,
    /// File of the signing key; made with mode 0600 if absent.
    pub(crate) key: PathBuf,
    /// Name of the log in checkpoints and receipts.
    pub(crate) origin: String,
    /// Size at which a segment is closed, bytes.
    pub(crate) segment_bytes: u64,
    /// Space kept for restores and approvals when the disk is full, bytes.
    pub(crate) emergency_bytes: u64,
    /// Longest time for a record to become durable.
    pub(crate) append_timeout: Duration,
    /// How often a checkpoint leaves the process.
    pub(crate) checkpoint_every: Duration,
    /// Files that each checkpoint is appended to.
    pub(crate) anchor_files: Vec<PathBuf>,
    /// Addresses that each checkpoint is posted to.
    pub(crate) anchor_urls: Vec<Url>,
}

/// The door where approvals are given.
pub(crate) struct Console {
    /// Origin under which it is reached, without a trailing slash.
    pub(crate) url: String,
    /// Its address.
    pub(crate) address: SocketAddr,
    /// How people sign in with a browser; without it bearer tokens alone open the door.
    pub(crate) login: Option<login::Login>,
}

/// The store.
pub(crate) enum Store {
    /// A SQLite database file of this gateway's own.
    File(PathBuf),
    /// A PostgreSQL server that gateways share, by a reference to its address, which holds a
    /// password.
    Server(upstream::SecretRef),
}

/// Long-running operations.
pub(crate) struct Custody {
    /// File of the sealing keys; made with mode 0600 if absent.
    pub(crate) key: PathBuf,
    /// How long a handle may be used.
    pub(crate) ttl: Duration,
    /// How often the gateway itself looks whether an operation has ended.
    pub(crate) watch_every: Duration,
}

/// What is read from Azure before a change is judged.
pub(crate) struct Facts {
    /// Oldest posture of a vault that a read or snapshot may be shown.
    pub(crate) max_age: Duration,
    /// How often the inventory of the estate is refreshed; zero switches it off.
    pub(crate) estate_every: Duration,
    /// Subscriptions whose vaults make up the estate.
    pub(crate) estate_subscriptions: Vec<String>,
}

/// Why a configuration was not taken.
pub(crate) struct Rejected {
    /// The problems, each with the line it stands on, where that is known.
    pub(crate) problems: Vec<(Option<usize>, Problem)>,
}

impl Config {
    /// Reads and checks `path`. Relative paths in it are taken from its folder.
    pub(crate) fn load(path: &Path) -> Result<Config, Rejected> {
        let mut problems = Problems::default();
        match std::fs::read_to_string(path) {
            Ok(text) => Config::parse(&text, path.parent().unwrap_or(Path::new("."))),
            Err(error) => {
                problems.add(
                    "",
                    format!("cannot read `{}`: {error}", path.display()),
                    "give the path of a file with --config, or make one with `vaultgate init`",
                );
                Err(Rejected::without_lines(problems))
            }
        }
    }

    /// Checks the text of a configuration.
    pub(crate) fn parse(text: &str, base: &Path) -> Result<Config, Rejected> {
        let mut problems = Problems::default();
        let source = Source::parse(text)?;
        let file = ConfigFile::read(&source, &mut problems);
        let config = file.and_then(|file| file.check(base, text, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(source.locate(problems)),
        }
    }
}

impl Rejected {
    /// Problems of something that has no lines.
    pub(crate) fn without_lines(problems: Problems) -> Rejected {
        let problems = problems.iter().map(|p| (None, p.clone())).collect();
        Rejected { problems }
    }

    /// The report that the command line prints: one problem after the other.
    pub(crate) fn render(&self, file: &str) -> String {
        let mut text = String::new();
        for (line, problem) in &self.problems {
            match line {
                Some(line) => text.push_str(&format!("{file}:{line}: {problem}\n")),
                None => text.push_str(&format!("{file}: {problem}\n")),
            }
        }
        text
    }
}
