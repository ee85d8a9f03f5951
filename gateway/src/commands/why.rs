//! `vaultgate why`: why one of your own requests was refused, and what would change it.

use http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::client::{self, At, Connection, at, text};
use super::say;

#[derive(clap::Args)]
pub(crate) struct WhyArguments {
    /// Id of the decision, as the refusal tells it
    id: Uuid,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &WhyArguments) -> anyhow::Result<u8> {
    let door = arguments.connection.client(At::Data)?;
    let path = format!("{}/{}/why", crate::api::DECISIONS, arguments.id);
    let told = client::run(door.expect(Method::GET, &path, None))?;
    if arguments.json {
        say(&serde_json::to_string_pretty(&told)?);
        return Ok(0);
    }
    for rule in list(&told, "/explanation/fired") {
        say(&format!(
            "{}: {}",
            text(rule, "/code"),
            text(rule, "/message")
        ));
        for (what, pointer) in [
            ("rule", "/place"),
            ("severity", "/severity"),
            ("do", "/remediation"),
        ] {
            let value = text(rule, pointer);
            if !value.is_empty() {
                say(&format!("  {what}: {}", value.trim()));
            }
        }
    }
    for rule in list(&told, "/explanation/stopped") {
        say(&format!(
            "not granted by \"{}\": stopped at {}: {}",
            text(rule, "/title"),
            text(rule, "/place"),
            text(rule, "/condition")
        ));
    }
    let changes = list(&told, "/explanation/would_allow");
    if changes.is_empty() {
        say("no single change of those that are tried would allow it");
    }
    for change in changes {
        say(&format!("would be allowed {}", in_words(change)));
    }
    Ok(0)
}

fn list<'t>(told: &'t Value, pointer: &str) -> &'t [Value] {
    at(told, pointer)
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn in_words(change: &Value) -> String {
    serde_json::from_value::<vaultgate_pdp::Change>(change.clone())
        .map_or_else(|_| change.to_string(), |change| change.in_words())
}
