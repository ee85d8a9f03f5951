//! A gateway beside an emulator, for one test: own ports, own folder, ended by pid.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

pub(crate) mod client;
pub(crate) mod people;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use vaultgate_sim::{DevCa, Issuer, Sim, SimHandle, SimOptions, Tls, TokenRequest};

pub(crate) use client::{Answer, Client};

/// The vault that most tests use.
pub(crate) const VAULT: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1";
/// Api-version of the backup provider, as the Azure CLI sends it.
pub(crate) const VERSION: &str = "api-version=2026-08-01";
/// Longest time that anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Path of a virtual machine's protected item in [`VAULT`].
pub(crate) fn item(vm: &str) -> String {
    format!(
        "{VAULT}/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3B{vm}/protectedItems/VM%3Biaasvmcontainerv2%3Brg1%3B{vm}"
    )
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&there).unwrap();
            copy_folder(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), &there).unwrap();
        }
    }
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The executable under test: `VAULTGATE_BIN`, or the one that was built with this test.
fn executable() -> PathBuf {
    let other = std::env::var_os("VAULTGATE_BIN");
    other.map_or_else(|| env!("CARGO_BIN_EXE_vaultgate").into(), PathBuf::from)
}

/// How a test wants its gateway.
#[derive(Default)]
pub(crate) struct Setup {
    /// Policy bundle; the shipped one by default.
    pub(crate) policies: Option<PathBuf>,
    /// Configuration appended to the shared one.
    pub(crate) extra: String,
    /// Replacements in the shared configuration.
    pub(crate) replace: Vec<(String, String)>,
}

impl Setup {
    /// The same with a console door and reviewers.
    pub(crate) fn with_console(mut self) -> Setup {
        let console = include_str!("../data/console.toml");
        let console = console.replace("@CONSOLE_PORT@", &free_port().to_string());
        self.extra.push_str(&console);
        self
    }
}

/// A running pair.
pub(crate) struct World {
    pub(crate) sim: SimHandle,
    pub(crate) gateway: Gateway,
    pub(crate) dev: DevCa,
    folder: tempfile::TempDir,
}

/// The real executable.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) admin: String,
    /// Origin of the console door, where there is one.
    pub(crate) console: Option<String>,
    pub(crate) config: PathBuf,
    child: Child,
}

impl World {
    /// Starts emulator and gateway with the shipped policy.
    pub(crate) async fn start() -> World {
        World::with(Setup::default()).await
    }

    /// Starts emulator and gateway.
    pub(crate) async fn with(setup: Setup) -> World {
        let folder = tempfile::tempdir().unwrap();
        let options = SimOptions {
            tls: Some(Tls::Dev(folder.path().join("certs"))),
            time_scale: 4.0,
            ..SimOptions::default()
        };
        let sim = Sim::start(options).await.unwrap();
        let dev = sim.dev_ca.clone().unwrap();
        let config = write_config(folder.path(), &sim, &dev, &setup);
        let gateway = Gateway::start(&config, folder.path());
        World {
            sim,
            gateway,
            dev,
            folder,
        }
    }

    /// Folder of the decision log.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The test's own folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client without a token.
    pub(crate) fn anybody(&self) -> Client {
        Client::new(&self.gateway.url, &self.dev.ca)
    }

    /// A client with a persona's token.
    pub(crate) fn persona(&self, name: &str) -> Client {
        let token = self
            .sim
            .token(&TokenRequest::new(name, Issuer::Oidc))
            .unwrap();
        self.anybody().with_token(&token)
    }

    /// Requests that reached Azure under the operator identity.
    pub(crate) fn forwarded(&self) -> usize {
        let journal = self.sim.journal().into_iter();
        journal
            .filter(|entry| entry.identity.name() == "operator")
            .count()
    }

    /// Every record of the log so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.log_dir().join("segments"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        segments.sort();
        let text = segments
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        let text: String = text.collect();
        let whole = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        whole.collect()
    }

    /// Waits until a record satisfies `wanted`.
    pub(crate) async fn record(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.records().into_iter().find(|record| wanted(record)) {
                return found;
            }
            assert!(Instant::now() < until, "no such record was written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Shows every whole record of the log so far as it is written.
    pub(crate) fn each_record(&self, mut show: impl FnMut(&str)) {
        let segments = std::fs::read_dir(self.log_dir().join("segments")).unwrap();
        for segment in segments {
            let text = std::fs::read(segment.unwrap().path()).unwrap();
            let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            // What follows the last line is torn, or space prepared for records to come.
            lines.pop();
            for line in lines {
                show(std::str::from_utf8(line).unwrap());
            }
        }
    }

    /// The oracle's verdict on everything so far.
    #[track_caller]
    pub(crate) fn assert_oracle_holds(&self) {
        if let Err(told) = self.oracle() {
            panic!("the oracle found:\n{told}");
        }
    }

    /// The oracle's verdict: what it found, if it found something.
    pub(crate) fn oracle(&self) -> Result<(), String> {
        let journal = self.folder.path().join("journal.json");
        std::fs::write(&journal, serde_json::to_vec(&self.sim.journal()).unwrap()).unwrap();
        let output = Command::new("python3")
            .arg(repository().join("tests/oracle/oracle.py"))
            .arg("--journal")
            .arg(&journal)
            .arg("--log")
            .arg(self.log_dir())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).to_string()
            + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(())
        } else {
            Err(told)
        }
    }

    /// Kills the gateway as a crash would, and starts it again on the same data.
    pub(crate) fn restart(&mut self) {
        self.gateway.kill();
        self.gateway = Gateway::start(&self.gateway.config.clone(), self.folder.path());
    }
}

impl Gateway {
    fn start(config: &Path, folder: &Path) -> Gateway {
        let errors = std::fs::File::create(folder.join("gateway.err")).unwrap();
        let mut child = Command::new(executable())
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with("ready "));
        let Some(ready) = ready else {
            let told = std::fs::read_to_string(folder.join("gateway.err")).unwrap();
            panic!("the gateway did not start:\n{told}");
        };
        // Whoever writes into a full pipe waits: somebody has to read on.
        std::thread::spawn(move || lines.for_each(drop));
        let named = |name: &str| {
            let found = ready.split(' ').find_map(|part| part.strip_prefix(name));
            found.map(str::to_owned)
        };
        let field = |name: &str| named(name).unwrap();
        Gateway {
            url: field("url="),
            admin: field("admin="),
            console: named("console-url="),
            config: config.to_owned(),
            child,
        }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the configuration that demo and tests share.
fn write_config(folder: &Path, sim: &SimHandle, dev: &DevCa, setup: &Setup) -> PathBuf {
    let template = repository().join("tests/data/gateway.toml");
    let mut text = std::fs::read_to_string(template).unwrap();
    let shipped = repository().join("policies");
    let path = |path: &Path| path.display().to_string();
    let values = [
        ("DATA_PORT", free_port().to_string()),
        ("ADMIN_PORT", free_port().to_string()),
        ("CERT", path(&dev.cert)),
        ("KEY", path(&dev.key)),
        ("CA", path(&dev.ca)),
        ("SIM_URL", sim.azure_url.clone()),
        ("ARM_URL", sim.azure_url.clone()),
        ("ISSUER_OIDC", sim.idp_issuer_oidc.clone()),
        ("TENANT", vaultgate_sim::TENANT.to_owned()),
        ("PROD", vaultgate_sim::PROD.to_owned()),
        (
            "POLICIES",
            path(setup.policies.as_ref().unwrap_or(&shipped)),
        ),
    ];
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), &value);
    }
    for (from, to) in &setup.replace {
        assert!(
            text.contains(from),
            "`{from}` is not in the shared configuration"
        );
        text = text.replace(from, to);
    }
    text.push_str(&setup.extra);
    for (name, secret) in [
        ("operator.secret", "vaultgate-operator-secret"),
        ("reader.secret", "vaultgate-reader-secret"),
        ("guard.secret", "vaultgate-guard-secret"),
    ] {
        std::fs::write(folder.join(name), secret).unwrap();
    }
    let config = folder.join("vaultgate.toml");
    std::fs::write(&config, text).unwrap();
    config
}

/// A port that nobody has, below those that outgoing connections take: a port that was
/// only free a moment ago may be another test's by the time that it is bound.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id().wrapping_mul(97).wrapping_add(step)) % 20_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
