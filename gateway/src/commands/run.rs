//! `vaultgate run -- az …`: one command that goes through the gateway.
//!
//! The command gets a profile of its own for as long as it runs: the gateway as its cloud, the
//! gateway's CA, and the caller's token from an identity endpoint on loopback, so that nothing
//! stays behind and no other profile is touched. When the command is told that it needs an
//! approval, this waits for it and has the gateway run that very request: the Azure CLI never
//! says the same thing twice byte for byte.

mod identity;
mod operation;
mod profile;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::approvals::{answered, path};
use super::client::{At, Client, Connection, at};
use super::{FAILED, complain, say};

use identity::Identity;
use profile::Profile;

/// What of a command's errors is looked through, bytes: its end.
const LOOKED_AT: usize = 64 << 10;

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    connection: Connection,
    /// Longest time to wait for people, and for what they approved to end; seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    wait: u64,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<u8> {
    super::client::run(converse(arguments))
}

async fn converse(arguments: &RunArguments) -> anyhow::Result<u8> {
    let connection = &arguments.connection;
    let data = connection.client(At::Data)?;
    let identity = Identity::serve(connection.clone(), audiences(&data).await?).await?;
    let profile = Profile::new(connection, &identity)?;
    let (program, words) = arguments.command.split_first().context("which command?")?;
    if profile::is_azure_cli(program) {
        let (program, own) = (program.clone(), profile.clone());
        tokio::task::spawn_blocking(move || own.sign_in(&program)).await??;
    }
    let mut command = Command::new(program);
    command.args(words).envs(profile.environment());
    profile::without_tokens(&mut command);
    let ended = tokio::task::spawn_blocking(move || watched(command)).await??;
    if ended.code == 0 {
        return Ok(0);
    }
    match needed(&ended.told) {
        Some(id) => finish(&data, id, Duration::from_secs(arguments.wait)).await,
        None => Ok(ended.code),
    }
}

/// For what the gateway's tokens are asked: nobody else is to be sent one.
async fn audiences(data: &Client) -> anyhow::Result<Vec<String>> {
    let path = "/metadata/endpoints?api-version=2022-09-01";
    let told = data.expect(Method::GET, path, None).await?;
    let listed = at(&told, "/authentication/audiences").as_array();
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    Ok(listed.map(str::to_owned).collect())
}

/// How a command ended.
struct Ended {
    code: u8,
    /// The end of what it wrote to standard error.
    told: String,
}

/// Runs a command whose errors are shown and remembered.
fn watched(mut command: Command) -> anyhow::Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{name}`"))?;
    let mut told = Vec::new();
    if let Some(errors) = child.stderr.take() {
        let mut errors = BufReader::new(errors);
        let mut line = Vec::new();
        while errors.read_until(b'\n', &mut line)? > 0 {
            // A closed pipe is no reason to stop the command.
            let _ = std::io::stderr().write_all(&line);
            told.append(&mut line);
            let over = told.len().saturating_sub(LOOKED_AT);
            told.drain(..over);
        }
    }
    let status = child.wait()?;
    // By a signal: as shells tell it, roughly.
    let code = status.code().unwrap_or(128);
    Ok(Ended {
        code: u8::try_from(code).unwrap_or(FAILED),
        told: String::from_utf8_lossy(&told).into_owned(),
    })
}

/// The approval that a refusal names, as any client prints it.
fn needed(told: &str) -> Option<Uuid> {
    let (_, after) = told.rsplit_once("ApprovalRequired")?;
    let mut words = after.split_whitespace();
    words.find(|word| *word == "approval")?;
    let id = words.next()?;
    id.get(..36).and_then(|id| Uuid::parse_str(id).ok())
}

/// Waits for an approval, has its request run, and follows it to its end.
async fn finish(data: &Client, id: Uuid, patience: Duration) -> anyhow::Result<u8> {
    let until = tokio::time::Instant::now() + patience;
    complain_not(&format!(
        "waiting for approval {id}; others give it with `vaultgate approvals show {id}`"
    ));
    let state = answered(data, id, patience).await?;
    if state != "approved" {
        complain(&format!("approval {id} is {state}: nothing was done"));
        return Ok(FAILED);
    }
    complain_not(&format!(
        "approval {id} is given: the gateway runs the request"
    ));
    let told = data.ask(Method::POST, &path(id, "/execute"), None).await?;
    let ours = told.headers.get("x-vaultgate-decision");
    if ours.is_none_or(|verdict| verdict != "allow") {
        bail!("{}", told.refusal());
    }
    let last = operation::follow(data, told, until).await?;
    if !last.body.is_null() {
        say(&serde_json::to_string_pretty(&last.body)?);
    }
    Ok(if operation::succeeded(&last) {
        0
    } else {
        FAILED
    })
}

/// Progress for people, beside the command's own output.
#[expect(
    clippy::print_stderr,
    reason = "standard output is the command's result"
)]
fn complain_not(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn the_approval_is_found_in_what_clients_print() {
        let id = "01a217d3-6fb0-7119-ac96-76287426a67f";
        for told in [
            format!(
                "ERROR: (ApprovalRequired) policy allows this only when approved by 2 of group:a; approval {id} waits for them until 2026\nCode: ApprovalRequired\nMessage: policy … approval {id} waits"
            ),
            format!("(ApprovalRequired) approval {id} is given: show it with this request"),
            format!("{{\"code\": \"ApprovalRequired\", \"message\": \"… approval {id} waits\"}}"),
        ] {
            assert_eq!(
                needed(&told).map(|id| id.to_string()).as_deref(),
                Some(id),
                "{told}"
            );
        }
        for told in [
            String::new(),
            "ERROR: (PolicyDenied) approval 01a217d3-6fb0-7119-ac96-76287426a67f".to_owned(),
            "ApprovalRequired".to_owned(),
            "ApprovalRequired approval".to_owned(),
            "ApprovalRequired approval é01a217d3-6fb0-7119-ac96-76287426a67".to_owned(),
            format!("ApprovalRequired {id}"),
        ] {
            assert_eq!(needed(&told), None, "{told}");
        }
    }
}
