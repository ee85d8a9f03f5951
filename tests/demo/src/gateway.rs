//! Builds, configures, starts and stops the real executable.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use vaultgate_sim::{DevCa, SimHandle};

use crate::{Arguments, PATIENCE, repository};

/// The configuration that demo and tests share; `@NAME@` is filled in.
const TEMPLATE: &str = include_str!("../../data/gateway.toml");

/// A gateway that runs.
pub(crate) struct Running {
    pub(crate) program: PathBuf,
    pub(crate) orchestrator: PathBuf,
    /// A copy of the bundle: what is changed in it is taken in.
    pub(crate) policies: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) console_url: String,
    pub(crate) log_dir: PathBuf,
    pub(crate) log_key: String,
    pub(crate) anchor: PathBuf,
    pub(crate) dev: DevCa,
    pub(crate) pid: u32,
    child: Child,
}

/// Builds the executable and tells where it is.
pub(crate) fn build(quiet: bool) -> anyhow::Result<PathBuf> {
    if !quiet {
        println!("building vaultgate (the first time takes a few minutes) …");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "vaultgate",
            "--package",
            "vaultgate-orchestrator",
        ])
        .current_dir(repository())
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(built.success(), "cargo build of vaultgate failed");
    let own = std::env::current_exe()?;
    let folder = own.parent().context("the demo has no folder")?;
    let program = folder.join("vaultgate");
    anyhow::ensure!(program.is_file(), "`{}` was not built", program.display());
    Ok(program)
}

/// Writes the configuration, starts the gateway and waits until it is ready.
pub(crate) async fn start(
    program: &Path,
    dir: &Path,
    sim: &SimHandle,
    arguments: &Arguments,
) -> anyhow::Result<Running> {
    let dev = sim
        .dev_ca
        .clone()
        .context("the emulator made no certificates")?;
    let data = free_port(&[])?;
    let admin = free_port(&[data])?;
    let console = free_port(&[data, admin])?;
    let url = format!("https://localhost:{data}");
    let admin_url = format!("http://127.0.0.1:{admin}");
    let config = dir.join("vaultgate.toml");
    let text = configuration(dir, sim, arguments, &dev, [data, admin, console])?;
    std::fs::write(&config, text)?;
    let mut child = Command::new(program)
        .args(["serve", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.join("gateway.err"))?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the gateway")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let out_file = dir.join("gateway.out");
    let (ready, waiting) = tokio::sync::oneshot::channel();
    tokio::spawn(copy_output(BufReader::new(stdout), out_file, ready));
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(())) => {}
        _ => {
            let complaint = std::fs::read_to_string(dir.join("gateway.err")).unwrap_or_default();
            anyhow::bail!("the gateway did not start:\n{complaint}");
        }
    }
    let log_key = std::fs::read_to_string(dir.join("log.key.pub"))
        .context("the gateway wrote no public log key")?;
    Ok(Running {
        program: program.to_owned(),
        orchestrator: program.with_file_name("vaultgate-orchestrator"),
        policies: dir.join("policies"),
        config,
        url,
        console_url: format!("https://localhost:{console}"),
        admin_url,
        log_dir: dir.join("log"),
        log_key: log_key.trim().to_owned(),
        anchor: dir.join("anchor"),
        dev,
        pid: child.id().context("the gateway has ended")?,
        child,
    })
}

impl Running {
    /// Asks the gateway to stop and waits for its drain.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            let asked = Command::new("kill")
                .arg(self.pid.to_string())
                .status()
                .await?;
            anyhow::ensure!(asked.success(), "cannot signal the gateway");
        }
        let waited = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        waited.context("the gateway did not stop in time")??;
        Ok(())
    }

    /// Waits until the gateway ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }
}

/// Copies what the gateway says into a file; tells once it is ready.
async fn copy_output(
    stdout: BufReader<tokio::process::ChildStdout>,
    file: PathBuf,
    ready: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(file)?;
    let mut ready = Some(ready);
    let mut lines = stdout.lines();
    while let Some(line) = lines.next_line().await? {
        writeln!(file, "{line}")?;
        if line.starts_with("ready ")
            && let Some(ready) = ready.take()
        {
            // Nobody waits any more when the start was given up.
            let _ = ready.send(());
        }
    }
    Ok(())
}

fn configuration(
    dir: &Path,
    sim: &SimHandle,
    arguments: &Arguments,
    dev: &DevCa,
    [data, admin, console]: [u16; 3],
) -> anyhow::Result<String> {
    let policies = match &arguments.policies {
        Some(policies) => policies.canonicalize()?,
        None => repository().join("policies").canonicalize()?,
    };
    let own = dir.join("policies");
    std::fs::create_dir_all(&own)?;
    crate::tour::copy_folder(&policies, &own)?;
    let arm = arguments.arm_endpoint.as_deref().unwrap_or(&sim.azure_url);
    let values = [
        ("DATA_PORT", data.to_string()),
        ("ADMIN_PORT", admin.to_string()),
        ("CERT", dev.cert.canonicalize()?.display().to_string()),
        ("KEY", dev.key.canonicalize()?.display().to_string()),
        ("CA", dev.ca.canonicalize()?.display().to_string()),
        ("SIM_URL", sim.azure_url.clone()),
        ("ARM_URL", arm.to_owned()),
        ("ISSUER_OIDC", sim.idp_issuer_oidc.clone()),
        ("TENANT", vaultgate_sim::TENANT.to_owned()),
        ("PROD", vaultgate_sim::PROD.to_owned()),
        ("POLICIES", own.display().to_string()),
    ];
    let mut text = TEMPLATE.to_owned();
    text.push_str(&CONSOLE.replace("@CONSOLE_PORT@", &console.to_string()));
    text.push_str(&MORE.replace("@TENANT@", vaultgate_sim::TENANT));
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), &value);
    }
    if arguments.unlimited {
        text.push('\n');
        text.push_str(UNLIMITED);
    }
    if let Some(extra) = &arguments.extra_config {
        text.push_str(&std::fs::read_to_string(extra)?);
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("operator.secret"), "vaultgate-operator-secret")?;
    std::fs::write(dir.join("reader.secret"), "vaultgate-reader-secret")?;
    std::fs::write(dir.join("guard.secret"), "vaultgate-guard-secret")?;
    Ok(text)
}

/// The door where approvals are given.
const CONSOLE: &str = include_str!("../../data/console.toml");

/// What only visitors need: signing in with a browser, and vaults behind a resource guard.
const MORE: &str = r#"
[console.login]
issuer = "generic"
client_id = "vaultgate-console"

[azure.guard]
credential = "client-secret"
tenant = "@TENANT@"
client_id = "vaultgate-guard"
secret = "file:guard.secret"
"#;

/// Limits that a benchmark or crash test does not meet.
const UNLIMITED: &str = include_str!("../../data/unlimited.toml");

/// A free port below those that outgoing connections take.
fn free_port(taken: &[u16]) -> anyhow::Result<u16> {
    let start = std::process::id().wrapping_mul(97) % 20_000;
    let ports = (0..20_000_u32).map(|step| 10_000 + (start + step) % 20_000);
    let ports = ports.filter_map(|port| u16::try_from(port).ok());
    let mut ports = ports.filter(|port| !taken.contains(port));
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.context("no free port")
}
