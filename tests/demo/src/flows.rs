//! The part of the demo that runs scheduled flows: the real orchestrator beside the gateway, three
//! regions on the emulator's time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use vaultgate_sim::SimHandle;

use crate::gateway::Running;

/// Longest time for a step: the late item is given up after a minute.
const STEP_TIME: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
/// Time that a job takes which is late, milliseconds.
const LATE: u64 = 3_600_000;

/// Three regions; one item that no reviewer saw, and one whose job takes too long.
const NIGHTLY: &str = r#"version: 1
flow: nightly-weu
owner: backup@contoso.com
gateway: { url: "@URL@", identity: nightly }
defaults:
  poll: { first: 1s, max: 2s }
  retry: { attempts: 6, first: 1s, cap: 2s }
regions:
  westeurope:
    schedule: { cron: "@CRON@", timezone: Europe/Amsterdam }
    parallel: 2
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v1, items: ["vm:rg1/vm1", "vm:rg1/vm3", "vm:rg1/vm4"] }
  northeurope:
    schedule: { cron: "@CRON@", timezone: Europe/Dublin }
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v2, items: ["vm:rg1/vm*"] }
  uksouth:
    schedule: { cron: "@CRON@", timezone: Europe/London }
    deadline: { start_within: 1m, finish_within: 1m }
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v1, items: ["sql:sqlvm1/db1"] }
notify:
  ops: { on: [Failed, Denied, DeadlineExceeded] }
"#;

const DRILL: &str = r#"version: 1
flow: monthly-drill
owner: backup@contoso.com
kind: restore-drill
gateway: { url: "@URL@", identity: drill }
defaults:
  retry: { attempts: 6, first: 1s, cap: 2s }
  drill:
    mode: validate
    resource_group: 33333333-3333-3333-3333-333333333333/landing
    storage_account: 33333333-3333-3333-3333-333333333333/landing/stagingsa
    location: westeurope
regions:
  northeurope:
    schedule: { cron: "0 10 1 * *", timezone: Europe/Dublin }
    targets:
      - { vault: 22222222-2222-2222-2222-222222222222/rg1/v2, items: ["vm:rg1/vm*"] }
"#;

const CONFIG: &str = r#"flows = "flows"
journal = "orchestrator.db"

[gateway]
url = "@URL@"
ca = "@CA@"

[[identity]]
name = "nightly"
credential = "client-secret"
token_url = "@ISSUER@/token"
client_id = "flow"
scope = "api://vaultgate/.default"
secret_file = "flow.secret"

[[identity]]
name = "drill"
credential = "client-secret"
token_url = "@ISSUER@/token"
client_id = "drill"
scope = "api://vaultgate/.default"
secret_file = "drill.secret"

[[notify]]
name = "ops"
kind = "webhook"
url_file = "ops.url"
secret_file = "ops.secret"
"#;

/// The orchestrator's files, its process, and what its channel was told.
pub(crate) struct Flows<'f> {
    program: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    admin_url: String,
    sim: &'f SimHandle,
    serving: tokio::sync::Mutex<Option<Child>>,
    told: Arc<Mutex<Vec<Value>>>,
    late: OnceCell<String>,
}

impl<'f> Flows<'f> {
    /// Writes flow files and configuration, and has the definitions reviewed: they become part of
    /// the policy bundle, but for one item.
    pub(crate) async fn prepare(
        running: &Running,
        sim: &'f SimHandle,
        cron: &str,
    ) -> anyhow::Result<Flows<'f>> {
        let folder = running
            .config
            .parent()
            .context("a folder")?
            .join("orchestrator");
        std::fs::create_dir_all(folder.join("flows"))?;
        let (told, hook) = receiver().await?;
        let ca = running.dev.ca.canonicalize()?.display().to_string();
        let filled = |text: &str| {
            let text = text.replace("@URL@", &running.url).replace("@CRON@", cron);
            text.replace("@CA@", &ca)
                .replace("@ISSUER@", &sim.idp_issuer_oidc)
        };
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        write("flows/nightly.yaml", &filled(NIGHTLY))?;
        write("flows/drill.yaml", &filled(DRILL))?;
        write("orchestrator.toml", &filled(CONFIG))?;
        write("flow.secret", "flow-secret")?;
        write("drill.secret", "drill-secret")?;
        write("ops.url", &hook)?;
        // 24 bytes, as Standard Webhooks write keys.
        write("ops.secret", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")?;
        let flows = Flows {
            program: running.orchestrator.clone(),
            config: folder.join("orchestrator.toml"),
            admin_url: running.admin_url.clone(),
            sim,
            serving: tokio::sync::Mutex::new(None),
            told,
            late: OnceCell::new(),
        };
        let files = ["nightly", "drill"].map(|name| folder.join(format!("flows/{name}.yaml")));
        let mut command = std::process::Command::new(&flows.program);
        command
            .args(["export", "policy-data"])
            .args(&files)
            .arg("--bundle")
            .arg(&running.policies);
        let done = command
            .output()
            .context("cannot run vaultgate-orchestrator")?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        unreview(&running.policies.join("flows/nightly-weu/data.json"))?;
        Ok(flows)
    }

    /// Waits until the gateway judges by the definitions.
    pub(crate) async fn plan(&self) -> anyhow::Result<String> {
        self.activated().await?;
        let (_, said) = self.asks(&["plan", "nightly-weu"]).await?;
        let whole =
            said.contains("2 allowed, 0 with approval, 1 refused") && said.contains("3 allowed");
        ensure!(whole, "{said}");
        Ok("of seven items six are allowed, and vm4 is in no reviewed definition".to_owned())
    }

    /// Waits until the gateway has taken the bundle in that the definitions are part of.
    async fn activated(&self) -> anyhow::Result<()> {
        let host = self.admin_url.trim_start_matches("http://");
        let until = Instant::now() + STEP_TIME;
        loop {
            let mut stream = tokio::net::TcpStream::connect(host).await?;
            let asked =
                format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(asked.as_bytes()).await?;
            let mut said = String::new();
            stream.read_to_string(&mut said).await?;
            let changes = said.lines().find_map(|line| {
                line.strip_prefix("vaultgate_policy_changes{reason=\"activated\"} ")
            });
            if changes
                .and_then(|count| count.parse::<u64>().ok())
                .is_some_and(|count| count > 1)
            {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the definitions are not in force");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Starts the process that serves the flows.
    pub(crate) async fn serve(&self) -> anyhow::Result<()> {
        let log = self.config.with_file_name("orchestrator.err");
        let mut child = Command::new(&self.program)
            .args(["serve", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(log)?,
            )
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let ready = stdout.read_line(&mut line);
        tokio::time::timeout(STEP_TIME, ready)
            .await
            .context("the orchestrator did not start")??;
        ensure!(line.starts_with("ready "), "the orchestrator did not start");
        *self.serving.lock().await = Some(child);
        Ok(())
    }

    /// Ends it as a crash would.
    async fn kill(&self) -> anyhow::Result<()> {
        let mut serving = self.serving.lock().await;
        let child = serving.as_mut().context("nothing serves")?;
        child.kill().await?;
        Ok(())
    }

    /// Ends it; what goes on at Azure goes on.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        let Some(mut child) = self.serving.lock().await.take() else {
            return Ok(());
        };
        if let Some(pid) = child.id() {
            Command::new("kill").arg(pid.to_string()).status().await?;
        }
        tokio::time::timeout(STEP_TIME, child.wait())
            .await
            .context("the orchestrator did not stop")??;
        Ok(())
    }

    /// A backup whose job takes an hour: its flow gives it a minute.
    pub(crate) async fn begin_late(&self) -> anyhow::Result<String> {
        self.sim.jobs_last(Some(LATE));
        let run = self.run("uksouth").await?;
        self.until(&run, |run| {
            run.pointer("/items/0/step") == Some(&Value::from("working"))
        })
        .await?;
        self.sim.jobs_last(None);
        self.late.set(run)?;
        Ok("its job works on, and it has a minute".to_owned())
    }

    /// Killed while its backups are under way, the flow goes on at the step.
    pub(crate) async fn survives(&self) -> anyhow::Result<String> {
        let before = self.sim.journal().len();
        let run = self.run("northeurope").await?;
        let sent = |entry: &vaultgate_sim::Entry| {
            entry.method == "POST" && entry.path.contains("/vaults/v2/")
        };
        let until = Instant::now() + STEP_TIME;
        while !self.sim.journal().iter().skip(before).any(sent) {
            ensure!(Instant::now() < until, "nothing was sent");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.kill().await?;
        self.serve().await?;
        let whole = self.until(&run, |run| !run["ended"].is_null()).await?;
        ensure!(whole["state"] == "Completed", "{whole}");
        let backups = self
            .sim
            .journal()
            .iter()
            .skip(before)
            .filter(|entry| sent(entry))
            .count();
        ensure!(backups == 3, "{backups} backups of three items");
        Ok(format!(
            "three items, three backups at Azure, {}",
            whole["reason"].as_str().unwrap_or_default()
        ))
    }

    /// What was not reviewed is denied, and costs the other items nothing.
    pub(crate) async fn denied(&self) -> anyhow::Result<String> {
        let run = self.run("westeurope").await?;
        let whole = self.until(&run, |run| !run["ended"].is_null()).await?;
        ensure!(whole["state"] == "CompletedWithFailures", "{whole}");
        let items = whole["items"].as_array().context("items")?;
        let denied = items
            .iter()
            .find(|item| item["state"] == "Denied")
            .context("an item that is denied")?;
        ensure!(denied["name"] == "vm:rg1/vm4", "{denied}");
        Ok(denied["reason"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn drill(&self) -> anyhow::Result<String> {
        let (code, said) = self
            .asks(&["run", "monthly-drill", "northeurope", "--wait"])
            .await?;
        ensure!(code == 0, "{said}");
        Ok(said.lines().nth(2).unwrap_or_default().trim().to_owned())
    }

    pub(crate) async fn coverage(&self) -> anyhow::Result<String> {
        let (code, said) = self.asks(&["coverage"]).await?;
        ensure!(
            code == 1 && said.contains("unprotected v1  vm:rg1/vm11"),
            "{said}"
        );
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    /// The late item is given up at its deadline, and whoever is to know is told.
    pub(crate) async fn late(&self) -> anyhow::Result<String> {
        let run = self.late.get().context("nothing is late")?;
        let whole = self.until(run, |run| !run["ended"].is_null()).await?;
        ensure!(whole["state"] == "TimedOut", "{whole}");
        let until = Instant::now() + STEP_TIME;
        loop {
            let told = self
                .told
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let kinds: Vec<String> = told
                .iter()
                .filter_map(|one| one["type"].as_str().map(str::to_owned))
                .collect();
            if ["flow.Denied", "flow.DeadlineExceeded"]
                .iter()
                .all(|kind| kinds.iter().any(|own| own == kind))
            {
                return Ok(whole
                    .pointer("/items/0/reason")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned());
            }
            ensure!(
                Instant::now() < until,
                "the channel was told {kinds:?} only"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks for a run; its id.
    async fn run(&self, region: &str) -> anyhow::Result<String> {
        let (code, said) = self.asks(&["run", "nightly-weu", region]).await?;
        ensure!(code == 0, "{said}");
        Ok(said.trim().to_owned())
    }

    /// A run with its items, once it is as it has to be.
    async fn until(&self, run: &str, good: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let until = Instant::now() + STEP_TIME;
        loop {
            let (_, said) = self.asks(&["explain", run]).await?;
            let whole: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
            if good(&whole) {
                return Ok(whole);
            }
            ensure!(Instant::now() < until, "waited too long: {whole}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn asks(&self, words: &[&str]) -> anyhow::Result<(i32, String)> {
        let done = Command::new(&self.program)
            .args(words)
            .arg("--config")
            .arg(&self.config)
            .env("RUST_LOG", "warn")
            .output()
            .await?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        Ok((done.status.code().unwrap_or(-1), said))
    }
}

/// Takes one item out of a reviewed definition again.
fn unreview(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut definition: Value = serde_json::from_str(&text)?;
    for target in definition["targets"].as_array_mut().context("targets")? {
        if let Some(items) = target["items"].as_array_mut() {
            items.retain(|item| !item.as_str().unwrap_or_default().ends_with(";vm4"));
        }
    }
    std::fs::write(path, definition.to_string())?;
    Ok(())
}

/// Whoever is told: takes webhooks on loopback. What it was told, and its address.
async fn receiver() -> anyhow::Result<(Arc<Mutex<Vec<Value>>>, String)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = Vec::new();
            let mut block = [0_u8; 4096];
            // One request for each connection: the body is whole once it reads as JSON.
            while let Ok(count) = stream.read(&mut block).await {
                text.extend(block.get(..count).unwrap_or_default());
                let end = text.windows(4).position(|four| four == b"\r\n\r\n");
                let body = end.and_then(|end| text.get(end + 4..));
                if let Some(Ok(notice)) = body.map(serde_json::from_slice::<Value>) {
                    kept.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(notice);
                    let _ = stream
                        .write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                        .await;
                    break;
                }
                if count == 0 {
                    break;
                }
            }
        }
    });
    Ok((told, url))
}
