//! The configuration as written, section by section, and its checks.
//!
//! Each field's meaning stands in `sample.toml`, which a test holds to these structs.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;
use vaultgate_decision_log::note::is_name;

use super::approvals::ApprovalsFile;
use super::duration::Written;
use super::issuers::{Issuer, IssuerFile};
use super::limits::LimitsFile;
use super::login::LoginFile;
use super::notify::NotifyFile;
use super::policy::PolicyFile;
use super::source::Source;
use super::upstream::{UpstreamFile, secret_at_hand};
use super::{Config, Console, Custody, Facts, Gateway, Listener, Log, Problems, Store};

/// Least space that can be kept for restores, bytes: two of the longest records.
const LEAST_EMERGENCY: u64 = 128 << 10;

/// Every top-level table of the file.
pub(crate) const SECTIONS: [&str; 13] = [
    "gateway",
    "listener",
    "issuer",
    "azure",
    "log",
    "policy",
    "store",
    "limits",
    "custody",
    "facts",
    "console",
    "approvals",
    "notify",
];

/// The file, each section read on its own so that one mistake does not hide another.
pub(crate) struct ConfigFile {
    gateway: GatewayFile,
    listener: ListenerFile,
    issuers: Vec<IssuerFile>,
    azure: UpstreamFile,
    log: LogFile,
    policy: PolicyFile,
    store: StoreFile,
    limits: LimitsFile,
    custody: CustodyFile,
    facts: FactsFile,
    console: ConsoleFile,
    approvals: ApprovalsFile,
    notify: Vec<NotifyFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayFile {
    public_url: String,
    #[serde(default)]
    hosts: Vec<String>,
    app_id_uri: String,
    login_endpoint: Option<String>,
    #[serde(default)]
    extra_api_versions: Vec<String>,
    #[serde(default)]
    reads_without_store: bool,
    #[serde(default = "two_minutes")]
    max_clock_skew: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerFile {
    #[serde(default = "data_address")]
    data: SocketAddr,
    #[serde(default = "admin_address")]
    admin: SocketAddr,
    certificate: PathBuf,
    private_key: PathBuf,
    client_ca: Option<PathBuf>,
    #[serde(default)]
    tls12: bool,
    #[serde(default)]
    proxy_protocol_from: Vec<IpAddr>,
    #[serde(default = "ten_seconds")]
    handshake_timeout: Written,
    #[serde(default = "ten_seconds")]
    header_timeout: Written,
    #[serde(default = "thirty_seconds")]
    body_idle_timeout: Written,
    #[serde(default = "sixty_seconds")]
    answer_timeout: Written,
    #[serde(default = "one_mebibyte")]
    max_body: usize,
    #[serde(default = "thirty_seconds")]
    drain_timeout: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFile {
    dir: PathBuf,
    key: PathBuf,
    origin: String,
    #[serde(default = "segment_bytes")]
    segment_bytes: u64,
    #[serde(default = "emergency_bytes")]
    emergency_bytes: u64,
    #[serde(default = "one_second")]
    append_timeout: Written,
    #[serde(default = "sixty_seconds")]
    checkpoint_every: Written,
    #[serde(default)]
    anchor_files: Vec<PathBuf>,
    #[serde(default)]
    anchor_urls: Vec<Url>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreFile {
    path: Option<PathBuf>,
    postgres: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustodyFile {
    key: PathBuf,
    #[serde(default = "two_days")]
    ttl: Written,
    #[serde(default = "sixty_seconds")]
    watch_every: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FactsFile {
    #[serde(default = "sixty_seconds")]
    max_age: Written,
    #[serde(default = "ten_minutes")]
    estate_every: Written,
    #[serde(default)]
    estate_subscriptions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsoleFile {
    url: Option<String>,
    #[serde(default = "console_address")]
    address: SocketAddr,
    login: Option<LoginFile>,
}

fn data_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8443))
}
fn console_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8444))
}
fn admin_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8445))
}
fn one_second() -> Written {
    Written(Duration::from_secs(1))
}
fn ten_seconds() -> Written {
    Written(Duration::from_secs(10))
}
fn thirty_seconds() -> Written {
    Written(Duration::from_secs(30))
}
fn sixty_seconds() -> Written {
    Written(Duration::from_secs(60))
}
fn two_minutes() -> Written {
    Written(Duration::from_secs(120))
}
fn ten_minutes() -> Written {
    Written(Duration::from_secs(600))
}
fn two_days() -> Written {
    Written(Duration::from_secs(172_800))
}
fn one_mebibyte() -> usize {
    1 << 20
}
fn segment_bytes() -> u64 {
    64 << 20
}
fn emergency_bytes() -> u64 {
    4 << 20
}

impl ConfigFile {
    /// Reads every section; `None` when one could not be read.
    pub(crate) fn read(source: &Source<'_>, problems: &mut Problems) -> Option<ConfigFile> {
        for name in source.sections() {
            if !SECTIONS.contains(&name) {
                problems.add(
                    name,
                    format!("unknown section `{name}`"),
                    format!("the sections are {}", SECTIONS.join(", ")),
                );
            }
        }
        let gateway = source.section("gateway", problems);
        let listener = source.section("listener", problems);
        let issuers: Vec<Option<IssuerFile>> = source.array("issuer", problems);
        let azure = source.section("azure", problems);
        let log = source.section("log", problems);
        let policy = source.section("policy", problems);
        let store = source.section("store", problems);
        let limits = source.section("limits", problems);
        let custody = source.section("custody", problems);
        let facts = source.section("facts", problems);
        let console = source.section("console", problems);
        let approvals = source.section("approvals", problems);
        let notify: Vec<Option<NotifyFile>> = source.array("notify", problems);
        Some(ConfigFile {
            gateway: gateway?,
            listener: listener?,
            issuers: issuers.into_iter().collect::<Option<Vec<_>>>()?,
            azure: azure?,
            log: log?,
            policy: policy?,
            store: store?,
            limits: limits?,
            custody: custody?,
            facts: facts?,
            console: console?,
            approvals: approvals?,
            notify: notify.into_iter().collect::<Option<Vec<_>>>()?,
        })
    }

    /// Turns what was written into what holds; problems are gathered, not thrown.
    pub(crate) fn check(self, base: &Path, text: &str, problems: &mut Problems) -> Option<Config> {
        if self.issuers.is_empty() {
            problems.add(
                "issuer",
                "no issuer is configured, so nobody could authenticate",
                "add an `[[issuer]]` table",
            );
        }
        let checked = self.issuers.into_iter().enumerate();
        let issuers: Vec<_> = checked
            .map(|(i, issuer)| issuer.check(&format!("issuer[{i}]"), problems))
            .collect();
        let known: Vec<_> = issuers.iter().flatten().cloned().collect();
        super::issuers::check_distinct(&known, problems);
        let upstream = self.azure.check(base, problems);
        some_time(self.custody.ttl, "custody.ttl", problems);
        // Without a pause Azure would be asked in a loop.
        some_time(self.custody.watch_every, "custody.watch_every", problems);
        let limits = self.limits.check(problems);
        let channels = self.notify.into_iter().enumerate();
        let notify: Vec<_> = channels
            .map(|(i, channel)| channel.check(&format!("notify[{i}]"), base, problems))
            .collect();
        let mut gateway = self.gateway.check(problems);
        let listener = self.listener.check(base, problems);
        let console = self.console.check(&listener, &known, base, problems);
        if let (Some(gateway), Some(console)) = (&mut gateway, &console) {
            gateway.hosts.extend(host_of(&console.url));
        }
        let log = self.log.check(base, problems);
        let policy = self.policy.check(base, problems);
        let approvals = self.approvals.check(base, problems);
        let store = self.store.check(base, problems);
        Some(Config {
            gateway: gateway?,
            listener,
            issuers: issuers.into_iter().collect::<Option<Vec<_>>>()?,
            upstream: upstream?,
            log: log?,
            policy: policy?,
            store: store?,
            limits: limits?,
            custody: Custody {
                key: base.join(self.custody.key),
                ttl: self.custody.ttl.0,
                watch_every: self.custody.watch_every.0,
            },
            facts: Facts {
                max_age: self.facts.max_age.0,
                estate_every: self.facts.estate_every.0,
                estate_subscriptions: self.facts.estate_subscriptions,
            },
            console,
            approvals,
            notify: notify.into_iter().collect::<Option<Vec<_>>>()?,
            digest: crate::digest::sha256(text.as_bytes()),
            text: text.to_owned(),
        })
    }
}

impl StoreFile {
    fn check(self, base: &Path, problems: &mut Problems) -> Option<Store> {
        match (self.path, self.postgres) {
            (Some(path), None) => Some(Store::File(base.join(path))),
            (None, Some(url)) => {
                secret_at_hand(&url, "store.postgres", base, problems).map(Store::Server)
            }
            (None, None) => {
                problems.add(
                    "store",
                    "there is no store",
                    "give `path`, a file, or `postgres`, the address of a server by reference",
                );
                None
            }
            (Some(_), Some(_)) => {
                problems.add(
                    "store.postgres",
                    "a store is a file or a server, not both",
                    "remove `path` or `postgres`",
                );
                None
            }
        }
    }
}

impl GatewayFile {
    fn check(self, problems: &mut Problems) -> Option<Gateway> {
        let public_url = https_origin(&self.public_url, "gateway.public_url", problems);
        if self.app_id_uri.trim().is_empty() {
            problems.add(
                "gateway.app_id_uri",
                "`app_id_uri` is empty",
                "use the App ID URI of the gateway's own app registration, such as `api://vaultgate`",
            );
        }
        for version in &self.extra_api_versions {
            if !version.starts_with("20") || version.len() < 10 {
                problems.add(
                    "gateway.extra_api_versions",
                    format!("`{version}` is not an api-version"),
                    "write it like `2026-08-01` or `2026-08-01-preview`",
                );
            }
        }
        let login_endpoint = match self.login_endpoint {
            Some(url) => Some(https_origin(&url, "gateway.login_endpoint", problems)?),
            None => None,
        };
        let public_url = public_url?;
        let mut hosts = self.hosts;
        for host in &hosts {
            if host.parse::<http::uri::Authority>().is_err() || host.contains([':', '@']) {
                problems.add(
                    "gateway.hosts",
                    format!("`{host}` is not a host name"),
                    "write a name such as `vaultgate.internal`, without scheme and port",
                );
            }
        }
        hosts.extend(host_of(&public_url));
        Some(Gateway {
            public_url,
            hosts,
            app_id_uri: self.app_id_uri,
            login_endpoint,
            extra_api_versions: self.extra_api_versions,
            reads_without_store: self.reads_without_store,
            max_clock_skew: self.max_clock_skew.0,
        })
    }
}

impl ListenerFile {
    fn check(self, base: &Path, problems: &mut Problems) -> Listener {
        let named = [
            ("listener.certificate", Some(&self.certificate)),
            ("listener.private_key", Some(&self.private_key)),
            ("listener.client_ca", self.client_ca.as_ref()),
        ];
        for (key, path) in named {
            if let Some(path) = path.map(|path| base.join(path)) {
                readable(&path, key, problems);
            }
        }
        for (time, key) in [
            (self.handshake_timeout, "listener.handshake_timeout"),
            (self.header_timeout, "listener.header_timeout"),
            (self.body_idle_timeout, "listener.body_idle_timeout"),
            (self.answer_timeout, "listener.answer_timeout"),
        ] {
            some_time(time, key, problems);
        }
        if self.data == self.admin && self.data.port() != 0 {
            problems.add(
                "listener.admin",
                format!("`{}` is the data door too", self.admin),
                "metrics and health need an address of their own",
            );
        }
        Listener {
            data: self.data,
            admin: self.admin,
            certificate: base.join(self.certificate),
            private_key: base.join(self.private_key),
            client_ca: self.client_ca.map(|path| base.join(path)),
            tls12: self.tls12,
            proxy_protocol_from: self.proxy_protocol_from,
            handshake_timeout: self.handshake_timeout.0,
            header_timeout: self.header_timeout.0,
            body_idle_timeout: self.body_idle_timeout.0,
            answer_timeout: self.answer_timeout.0,
            max_body: self.max_body,
            drain_timeout: self.drain_timeout.0,
        }
    }
}

impl LogFile {
    fn check(self, base: &Path, problems: &mut Problems) -> Option<Log> {
        let origin_ok = self.origin.len() <= 128 && is_name(&self.origin);
        if !origin_ok {
            problems.add(
                "log.origin",
                format!("`{}` cannot name a log", self.origin),
                "use a name like `vaultgate.example.com/gw-1`, without spaces, quotes, `\\` or `+`",
            );
        }
        if self.segment_bytes < 1 << 20 {
            problems.add(
                "log.segment_bytes",
                format!("`{}` is less than 1 MiB", self.segment_bytes),
                "leave it out to get 64 MiB",
            );
        }
        if self.emergency_bytes != 0 && self.emergency_bytes < LEAST_EMERGENCY {
            problems.add(
                "log.emergency_bytes",
                format!("`{}` is less than 128 KiB", self.emergency_bytes),
                "leave it out to get 4 MiB, or write 0 to keep no space for restores",
            );
        }
        for url in &self.anchor_urls {
            // The file is kept beside the log, for every reader of it.
            if url.username() != "" || url.password().is_some() {
                problems.add(
                    "log.anchor_urls",
                    format!(
                        "the address at `{}` holds a user",
                        url.host_str().unwrap_or("?")
                    ),
                    "leave the credential out of the address",
                );
            }
        }
        some_time(self.append_timeout, "log.append_timeout", problems);
        if self.checkpoint_every.0 > Duration::from_secs(60) || self.checkpoint_every.0.is_zero() {
            problems.add(
                "log.checkpoint_every",
                "a checkpoint must leave the process at least every 60s",
                "use a duration between 1s and 60s",
            );
        }
        origin_ok.then(|| Log {
            dir: base.join(self.dir),
            key: base.join(self.key),
            origin: self.origin,
            segment_bytes: self.segment_bytes,
            emergency_bytes: self.emergency_bytes,
            append_timeout: self.append_timeout.0,
            checkpoint_every: self.checkpoint_every.0,
            anchor_files: self
                .anchor_files
                .iter()
                .map(|path| base.join(path))
                .collect(),
            anchor_urls: self.anchor_urls,
        })
    }
}

impl ConsoleFile {
    /// The console door; none without a name of its own.
    fn check(
        self,
        listener: &Listener,
        issuers: &[Issuer],
        base: &Path,
        problems: &mut Problems,
    ) -> Option<Console> {
        let url = https_origin(self.url.as_deref()?, "console.url", problems)?;
        let taken = [listener.data, listener.admin].contains(&self.address);
        if taken && self.address.port() != 0 {
            problems.add(
                "console.address",
                format!("`{}` is another door's address too", self.address),
                "approvals need a door of their own",
            );
        }
        let login = match self.login {
            Some(login) => Some(login.check(issuers, base, problems)?),
            None => None,
        };
        Some(Console {
            url,
            address: self.address,
            login,
        })
    }
}

/// The host name of an origin.
fn host_of(origin: &str) -> Option<String> {
    let url = Url::parse(origin).ok()?;
    url.host_str().map(str::to_owned)
}

/// An https origin without path or trailing slash.
fn https_origin(text: &str, key: &str, problems: &mut Problems) -> Option<String> {
    let hint = "write it like `https://vaultgate.example.com`";
    let Ok(url) = Url::parse(text) else {
        problems.add(key, format!("`{text}` is not a URL"), hint);
        return None;
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let user = url.username() != "" || url.password().is_some();
    if url.scheme() != "https" || !bare || user {
        problems.add(key, format!("`{text}` is not an https origin"), hint);
        return None;
    }
    Some(url.origin().ascii_serialization())
}

/// A limit of no time at all refuses everything.
pub(super) fn some_time(time: Written, key: &str, problems: &mut Problems) {
    if time.0.is_zero() {
        problems.add(
            key,
            "no time is given",
            "use a duration such as `10s`, or leave it out",
        );
    }
}

fn readable(path: &Path, key: &str, problems: &mut Problems) {
    if let Err(error) = std::fs::File::open(path) {
        problems.add(
            key,
            format!("cannot read `{}`: {error}", path.display()),
            "check the path (relative paths start at the configuration's folder) and its permissions",
        );
    }
}
