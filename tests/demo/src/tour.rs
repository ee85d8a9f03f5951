//! The scripted tour: what the README promises, seen to happen.
//!
//! Each step is one line on the terminal. The last word is the oracle's: a
//! separate program that reads only the emulator's journal and the log.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use vaultgate_sim::SimHandle;

use crate::approvals::Approvals;
use crate::client::{Answer, Client};
use crate::environment::{Environment, value};
use crate::flows::Flows;
use crate::gateway::Running;
use crate::repository;

const VAULT: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v1";
const ITEM: &str = "/backupFabrics/Azure/protectionContainers/IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3Bvm1/protectedItems/VM%3Biaasvmcontainerv2%3Brg1%3Bvm1";
const VERSION: &str = "api-version=2026-08-01";
/// Longest time for the emulator to end a job.
const JOB_TIME: Duration = Duration::from_secs(60);

/// Runs every step; true when all held.
pub(crate) async fn run(
    running: &Running,
    sim: &SimHandle,
    environment: &Environment,
) -> anyhow::Result<bool> {
    let anybody = Client::new(&running.url, &running.dev.ca)?;
    let tour = Tour {
        operator: anybody.with_token(value(environment, "TOKEN_OPERATOR")),
        reader: anybody.with_token(value(environment, "TOKEN_READER")),
        stranger: anybody.with_token(value(environment, "TOKEN_STRANGER")),
        anybody,
        running,
        sim,
    };
    let mut failed = 0;
    macro_rules! step {
        ($what:literal, $step:expr) => {
            match $step.await {
                Ok(told) => println!("  held    {}: {}", $what, told),
                Err(error) => {
                    failed += 1;
                    println!("  FAILED  {}: {error:#}", $what);
                }
            }
        };
    }
    println!("tour of {}", running.url);
    step!("a read is allowed and recorded", tour.read());
    step!("nobody gets in without a token", tour.no_token());
    step!("a stranger's token opens nothing", tour.stranger());
    step!("a delete is refused with its reason", tour.delete());
    step!(
        "an operation outside the catalogue is refused",
        tour.unknown_operation()
    );
    step!(
        "a body that two parsers could read differently is refused",
        tour.ambiguous_body()
    );
    step!("a backup runs to the end of its job", tour.backup());
    step!(
        "a restore is polled through the gateway to its end",
        tour.restore()
    );
    step!(
        "a restore to a foreign account is refused",
        tour.restore_elsewhere()
    );
    step!("a dry run tells and does nothing", tour.dry_run());
    let approvals = Approvals::new(running, sim, environment)?;
    step!("a delete waits for two others", approvals.asked_for());
    step!(
        "who asks does not approve, and no token of the data door does",
        approvals.not_by_these()
    );
    step!(
        "two others approve, and it is sent",
        approvals.given_and_used()
    );
    step!("an approval is good once", approvals.not_twice());
    step!("the deletion is taken back", approvals.undelete());
    step!(
        "a stopped identity is stopped at its next request",
        approvals.quarantine()
    );
    let flows = Flows::prepare(running, sim, "30 2 * * *").await?;
    step!(
        "a flow of three regions is planned, and the gateway says what it would allow",
        flows.plan()
    );
    flows.serve().await?;
    step!("one item of it takes too long", flows.begin_late());
    step!(
        "killed in the middle of its backups it goes on, and does nothing twice",
        flows.survives()
    );
    step!(
        "an item that nobody reviewed is denied, and costs the others nothing",
        flows.denied()
    );
    step!(
        "a drill asks whether the newest recovery points could be restored",
        flows.drill()
    );
    step!(
        "the coverage report names what nobody backs up",
        flows.coverage()
    );
    step!(
        "the late item is given up at its deadline, and people are told",
        flows.late()
    );
    flows.stop().await?;
    step!("the log verifies against its anchor", tour.verify());
    step!("a tampered copy of the log is caught", tour.tampering());
    step!("the oracle finds nothing unrecorded", tour.oracle());
    println!(
        "{}",
        if failed == 0 {
            "every step held"
        } else {
            "the tour failed"
        }
    );
    Ok(failed == 0)
}

struct Tour<'t> {
    operator: Client,
    reader: Client,
    stranger: Client,
    anybody: Client,
    running: &'t Running,
    sim: &'t SimHandle,
}

impl Tour<'_> {
    async fn read(&self) -> anyhow::Result<String> {
        let answer = self
            .reader
            .get(&format!("{VAULT}/backupJobs?{VERSION}"))
            .await?;
        expect(&answer, StatusCode::OK, "allow")?;
        ensure!(answer.json()["value"].is_array(), "no list of jobs");
        let next = &answer.json()["nextLink"];
        if let Some(next) = next.as_str() {
            ensure!(
                next.starts_with(&self.running.url),
                "nextLink leads to {next}"
            );
        }
        let receipt = answer.header("x-vaultgate-receipt").to_owned();
        ensure!(!receipt.is_empty(), "no receipt");
        Ok(format!("receipt {receipt}"))
    }

    async fn no_token(&self) -> anyhow::Result<String> {
        let answer = self.anybody.get(&format!("{VAULT}?{VERSION}")).await?;
        ensure!(
            answer.status == StatusCode::UNAUTHORIZED,
            "{}",
            told(&answer)
        );
        let challenge = answer.header("www-authenticate").to_owned();
        ensure!(
            challenge.contains("resource_metadata="),
            "challenge: {challenge}"
        );
        Ok(challenge)
    }

    async fn stranger(&self) -> anyhow::Result<String> {
        let answer = self.stranger.get(&format!("{VAULT}?{VERSION}")).await?;
        expect(&answer, StatusCode::FORBIDDEN, "deny")?;
        Ok(message(&answer))
    }

    async fn delete(&self) -> anyhow::Result<String> {
        let before = self.operator_requests();
        let target = format!("{VAULT}{ITEM}?{VERSION}");
        let answer = self
            .operator
            .send(Method::DELETE, &target, None, &[])
            .await?;
        expect(&answer, StatusCode::FORBIDDEN, "deny")?;
        ensure!(
            answer.reason() == "policy-denied",
            "reason {}",
            answer.reason()
        );
        ensure!(
            self.operator_requests() == before,
            "the delete reached Azure"
        );
        Ok(message(&answer))
    }

    async fn unknown_operation(&self) -> anyhow::Result<String> {
        let target = format!("{VAULT}/somethingNew/x?{VERSION}");
        let answer = self
            .operator
            .send(Method::PUT, &target, Some(&json!({})), &[])
            .await?;
        ensure!(answer.status.is_client_error(), "{}", told(&answer));
        Ok(format!("{} ({})", answer.reason(), answer.status.as_u16()))
    }

    async fn ambiguous_body(&self) -> anyhow::Result<String> {
        let target = format!("{VAULT}{ITEM}/backup?{VERSION}");
        let body = json!({"properties": {"objectType": "IaasVMBackupRequest", "ObjectType": "x"}});
        let answer = self
            .operator
            .send(Method::POST, &target, Some(&body), &[])
            .await?;
        ensure!(
            answer.status == StatusCode::BAD_REQUEST,
            "{}",
            told(&answer)
        );
        Ok(answer.reason())
    }

    async fn backup(&self) -> anyhow::Result<String> {
        let target = format!("{VAULT}{ITEM}/backup?{VERSION}");
        let body = json!({"properties": {"objectType": "IaasVMBackupRequest",
            "recoveryPointExpiryTimeInUTC": "2027-02-01T00:00:00Z"}});
        let answer = self
            .operator
            .send(Method::POST, &target, Some(&body), &[])
            .await?;
        expect(&answer, StatusCode::ACCEPTED, "allow")?;
        let status = self.operator.poll(&answer).await?;
        let job = status.pointer("/properties/jobId").and_then(Value::as_str);
        let job = job.context("the operation names no job")?;
        let job = self.job(job).await?;
        let state = job.pointer("/properties/status").and_then(Value::as_str);
        ensure!(state == Some("Completed"), "job ended as {state:?}");
        let activity = job
            .pointer("/properties/activityId")
            .and_then(Value::as_str);
        let decision = answer.header("x-vaultgate-decision-id");
        ensure!(
            activity == Some(decision),
            "activityId {activity:?}, decision {decision}"
        );
        Ok(format!(
            "job Completed, its activityId is the decision {decision}"
        ))
    }

    async fn restore(&self) -> anyhow::Result<String> {
        let answer = self.restore_to("rg1", "sa1").await?;
        expect(&answer, StatusCode::ACCEPTED, "allow")?;
        let status = self.operator.poll(&answer).await?;
        Ok(format!(
            "operation {}",
            status["status"].as_str().unwrap_or_default()
        ))
    }

    async fn restore_elsewhere(&self) -> anyhow::Result<String> {
        let answer = self.restore_to("rg-elsewhere", "thief").await?;
        expect(&answer, StatusCode::FORBIDDEN, "deny")?;
        ensure!(
            answer.reason() == "policy-denied",
            "reason {}",
            answer.reason()
        );
        Ok(message(&answer))
    }

    async fn restore_to(&self, group: &str, account: &str) -> anyhow::Result<Answer> {
        let prod = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups";
        let points = format!("{VAULT}{ITEM}/recoveryPoints?{VERSION}");
        let points = self.operator.get(&points).await?.json();
        let point = points.pointer("/value/0/name").and_then(Value::as_str);
        let point = point.context("no recovery point")?;
        let body = json!({"properties": {
            "objectType": "IaasVMRestoreRequest", "recoveryType": "RestoreDisks",
            "recoveryPointId": point, "region": "westeurope",
            "sourceResourceId": format!("{prod}/rg1/providers/Microsoft.Compute/virtualMachines/vm1"),
            "storageAccountId": format!("{prod}/{group}/providers/Microsoft.Storage/storageAccounts/{account}"),
            "targetResourceGroupId": format!("{prod}/{group}"),
            "createNewCloudService": false, "originalStorageAccountOption": false}});
        let target = format!("{VAULT}{ITEM}/recoveryPoints/{point}/restore?{VERSION}");
        self.operator
            .send(Method::POST, &target, Some(&body), &[])
            .await
    }

    async fn dry_run(&self) -> anyhow::Result<String> {
        let before = self.operator_requests();
        let target = format!("{VAULT}{ITEM}?{VERSION}");
        let dry = [("vaultgate-dry-run", "true")];
        let answer = self
            .operator
            .send(Method::DELETE, &target, None, &dry)
            .await?;
        ensure!(answer.status == StatusCode::OK, "{}", told(&answer));
        ensure!(answer.json()["allow"] == json!(false), "{}", told(&answer));
        ensure!(
            self.operator_requests() == before,
            "a dry run reached Azure"
        );
        Ok(answer.json()["reasons"].to_string())
    }

    async fn verify(&self) -> anyhow::Result<String> {
        // A checkpoint leaves the process on a timer: the anchor appears with it.
        let until = Instant::now() + JOB_TIME;
        while !self.running.anchor.is_file() {
            ensure!(Instant::now() < until, "no checkpoint reached the anchor");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let output = self.log_verify(&self.running.log_dir)?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(text(&output).lines().next().unwrap_or_default().to_owned())
    }

    async fn tampering(&self) -> anyhow::Result<String> {
        // A checkpoint that left after the denial is what makes the edit visible.
        let log = self.log_text()?;
        let denied = log
            .lines()
            .position(|line| line.contains("\"verdict\":\"deny\""));
        let denied = denied.context("no denied decision in the log")?;
        let until = Instant::now() + JOB_TIME;
        while self.anchored()? <= denied {
            ensure!(
                Instant::now() < until,
                "no later checkpoint reached the anchor"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let copy = tempfile::tempdir()?;
        copy_folder(&self.running.log_dir, copy.path())?;
        let segments = copy.path().join("segments");
        let mut names: Vec<_> = std::fs::read_dir(&segments)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        names.sort();
        let first = names.first().context("no segment")?;
        let bytes = std::fs::read(first)?;
        // The attacker turns one denial into an approval.
        let (from, to) = (&b"\"verdict\":\"deny\""[..], &b"\"verdict\":\"okay\""[..]);
        let place = bytes.windows(from.len()).position(|window| window == from);
        let place = place.context("no denied decision in the log")?;
        let mut altered = bytes.clone();
        altered
            .get_mut(place..place + to.len())
            .context("place")?
            .copy_from_slice(to);
        std::fs::write(first, altered)?;
        let output = self.log_verify(copy.path())?;
        ensure!(!output.status.success(), "the edit went unnoticed");
        Ok(text(&output).lines().next().unwrap_or_default().to_owned())
    }

    async fn oracle(&self) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal.json");
        std::fs::write(&journal, serde_json::to_vec(&self.sim.journal())?)?;
        let output = Command::new("python3")
            .arg(repository().join("tests/oracle/oracle.py"))
            .arg("--journal")
            .arg(&journal)
            .arg("--log")
            .arg(&self.running.log_dir)
            .output()
            .context("python3 is needed for the oracle")?;
        ensure!(output.status.success(), "{}", text(&output));
        Ok(text(&output).lines().last().unwrap_or_default().to_owned())
    }

    /// The log so far; a demo's fits one segment.
    fn log_text(&self) -> anyhow::Result<String> {
        let first = self
            .running
            .log_dir
            .join("segments/00000000000000000000.jsonl");
        Ok(String::from_utf8_lossy(&std::fs::read(first)?).into_owned())
    }

    /// Size of the newest checkpoint in the anchor, which holds one in each line: `checkpoint`,
    /// then the lines of the note between bars, the second of which is the size.
    fn anchored(&self) -> anyhow::Result<usize> {
        let anchor = std::fs::read_to_string(&self.running.anchor)?;
        let sizes = anchor
            .lines()
            .filter_map(|line| line.split(" | ").nth(1)?.parse().ok());
        Ok(sizes.max().unwrap_or(0))
    }

    fn log_verify(&self, dir: &Path) -> anyhow::Result<std::process::Output> {
        let output = Command::new(&self.running.program)
            .args(["log", "verify"])
            .arg(dir)
            .args(["--key", &self.running.log_key, "--anchor"])
            .arg(&self.running.anchor)
            .output();
        output.context("cannot run `vaultgate log verify`")
    }

    fn operator_requests(&self) -> usize {
        let journal = self.sim.journal().into_iter();
        journal
            .filter(|entry| entry.identity.name() == "operator")
            .count()
    }

    async fn job(&self, job: &str) -> anyhow::Result<Value> {
        let name = job.rsplit('/').next().unwrap_or(job);
        let until = Instant::now() + JOB_TIME;
        loop {
            let target = format!("{VAULT}/backupJobs/{name}?{VERSION}");
            let answer = self.operator.get(&target).await?;
            expect(&answer, StatusCode::OK, "allow")?;
            let job = answer.json();
            if job.pointer("/properties/status").and_then(Value::as_str) != Some("InProgress") {
                return Ok(job);
            }
            ensure!(Instant::now() < until, "the job did not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(crate) fn expect(answer: &Answer, status: StatusCode, verdict: &str) -> anyhow::Result<()> {
    let own = answer.header("x-vaultgate-decision");
    ensure!(
        answer.status == status && own == verdict,
        "{}",
        told(answer)
    );
    Ok(())
}

pub(crate) fn told(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    format!(
        "{} {}",
        answer.status,
        body.chars().take(600).collect::<String>()
    )
}

pub(crate) fn message(answer: &Answer) -> String {
    let json = answer.json();
    json.pointer("/error/message")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn text(output: &std::process::Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

/// Copies a log that is being written: what is given its name meanwhile may be gone when
/// it is looked for, and stands under the name already or is not needed.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
    }
    Ok(())
}
