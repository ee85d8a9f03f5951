//! `vaultgate approvals`: asked for at the data door, given at the console door.

use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{self, At, Client, Connection, at, carried_out, text};
use super::{FAILED, say};

/// How often a waiting command asks.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Subcommand)]
pub(crate) enum ApprovalsVerb {
    /// List the approvals that wait for people like you
    List {
        /// Those that ended, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show everything about one approval
    Show {
        /// Its id
        id: Uuid,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: Connection,
    },
    /// Consent to a request; asks for its digest, so that you consent to what you saw
    Approve(Judge),
    /// Refuse a request for good
    Reject(Judge),
    /// Take back what others gave, before it is used
    Veto(Judge),
    /// Wait until an approval that you asked for is answered
    Wait {
        /// Its id
        id: Uuid,
        /// Longest time to wait, seconds
        #[arg(long, default_value_t = 86_400)]
        timeout: u64,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have the gateway run the request that was approved
    Execute {
        /// The approval's id
        id: Uuid,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(clap::Args)]
pub(crate) struct Judge {
    /// The approval's id
    id: Uuid,
    /// The digest that `show` printed
    #[arg(long)]
    digest: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(verb: ApprovalsVerb) -> anyhow::Result<u8> {
    match verb {
        ApprovalsVerb::List { all, connection } => list(all, &connection),
        ApprovalsVerb::Show {
            id,
            json,
            connection,
        } => show(id, json, &connection),
        ApprovalsVerb::Approve(judge) => judged(&judge, "approve"),
        ApprovalsVerb::Reject(judge) => judged(&judge, "reject"),
        ApprovalsVerb::Veto(judge) => judged(&judge, "veto"),
        ApprovalsVerb::Wait {
            id,
            timeout,
            connection,
        } => wait(id, timeout, &connection),
        ApprovalsVerb::Execute { id, connection } => {
            carried_out(&connection, &path(id, "/execute"))
        }
    }
}

/// Where an approval stands, and what can be done there.
pub(super) fn path(id: Uuid, verb: &str) -> String {
    format!("{}/{id}{verb}", crate::api::APPROVALS)
}

fn list(all: bool, connection: &Connection) -> anyhow::Result<u8> {
    let query = if all { "?state=all" } else { "" };
    let path = format!("{}{query}", crate::api::APPROVALS);
    let console = connection.client(At::Console)?;
    let found = client::run(console.expect(Method::GET, &path, None))?;
    for approval in at(&found, "/value").as_array().into_iter().flatten() {
        say(&format!(
            "{}  {:8}  until {}  {}",
            text(approval, "/id"),
            text(approval, "/state"),
            text(approval, "/expires"),
            text(approval, "/shown/summary")
        ));
    }
    Ok(0)
}

fn show(id: Uuid, json: bool, connection: &Connection) -> anyhow::Result<u8> {
    let console = connection.client(At::Console)?;
    let approval = client::run(console.expect(Method::GET, &path(id, ""), None))?;
    if json {
        say(&serde_json::to_string_pretty(&approval)?);
    } else {
        for line in told(&approval) {
            say(&line);
        }
    }
    Ok(0)
}

/// An approval for people, the requester's own words last and apart.
fn told(approval: &Value) -> Vec<String> {
    let shown = at(approval, "/shown");
    let mut lines = vec![
        text(shown, "/summary"),
        String::new(),
        format!("state    {}", text(approval, "/state")),
        format!("digest   {}", text(approval, "/digest")),
        format!("expires  {}", text(approval, "/expires")),
        format!(
            "request  {} {}",
            text(approval, "/request/method"),
            text(approval, "/request/target")
        ),
    ];
    for actor in at(approval, "/requester/actors")
        .as_array()
        .into_iter()
        .flatten()
    {
        lines.push(format!("through  {}", text(actor, "/subject")));
    }
    for (name, value) in at(approval, "/request/headers")
        .as_object()
        .into_iter()
        .flatten()
    {
        lines.push(format!("header   {name}: {}", text(value, "")));
    }
    for terms in at(approval, "/terms").as_array().into_iter().flatten() {
        let from: Vec<String> = at(terms, "/from")
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| text(name, ""))
            .collect();
        lines.push(format!(
            "needs    {} of {}",
            at(terms, "/quorum"),
            from.join(", ")
        ));
    }
    for vote in at(approval, "/votes").as_array().into_iter().flatten() {
        lines.push(format!(
            "given by {} at {}",
            text(vote, "/subject"),
            text(vote, "/at")
        ));
    }
    for consequence in at(shown, "/consequences").as_array().into_iter().flatten() {
        lines.push(format!("note     {}", text(consequence, "")));
    }
    let mut left_out = Vec::new();
    for change in at(shown, "/changes").as_array().into_iter().flatten() {
        let value = |value: &Value| value.as_str().map_or("(nothing)".to_owned(), str::to_owned);
        if at(change, "/after").is_null() {
            left_out.push(text(change, "/member"));
            continue;
        }
        lines.push(format!(
            "change   {}: {} -> {}",
            text(change, "/member"),
            value(at(change, "/before")),
            value(at(change, "/after"))
        ));
    }
    if !left_out.is_empty() {
        // Azure shows much that no request names; what it held is in `--json`.
        lines.push(format!("left out {}", left_out.join(", ")));
    }
    if let Some(more) = at(shown, "/more_changes").as_u64().filter(|more| *more > 0) {
        lines.push(format!("change   … and {more} more: see `--json`"));
    }
    for claim in at(shown, "/claimed").as_array().into_iter().flatten() {
        lines.push(format!(
            "the requester says ({}): {}",
            text(claim, "/0"),
            text(claim, "/1")
        ));
    }
    lines
}

fn judged(judge: &Judge, word: &str) -> anyhow::Result<u8> {
    let body = json!({"digest": judge.digest, "reason": judge.reason});
    let console = judge.connection.client(At::Console)?;
    let path = path(judge.id, &format!("/{word}"));
    let approval = client::run(console.expect(Method::POST, &path, Some(&body)))?;
    say(&format!("{}  {}", judge.id, text(&approval, "/state")));
    Ok(0)
}

fn wait(id: Uuid, timeout: u64, connection: &Connection) -> anyhow::Result<u8> {
    let data = connection.client(At::Data)?;
    let state = client::run(answered(&data, id, Duration::from_secs(timeout)))?;
    say(&format!("{id}  {state}"));
    Ok(if state == "approved" { 0 } else { FAILED })
}

/// Waits until an approval is given and can be used, or has ended; its state then.
pub(super) async fn answered(
    data: &Client,
    id: Uuid,
    patience: Duration,
) -> anyhow::Result<String> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        let approval = data.expect(Method::GET, &path(id, ""), None).await?;
        let state = text(&approval, "/state");
        let waits = state == "pending" || state == "approved" && !usable(&approval);
        if !waits {
            return Ok(state);
        }
        if tokio::time::Instant::now() >= until {
            bail!(
                "approval {id} is still {state} after {} s",
                patience.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the time for a veto is over.
fn usable(approval: &Value) -> bool {
    let from = at(approval, "/usableFrom").as_str();
    let from = from.and_then(|from| from.parse::<jiff::Timestamp>().ok());
    from.is_none_or(|from| from <= jiff::Timestamp::now())
}
