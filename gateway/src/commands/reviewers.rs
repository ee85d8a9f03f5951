//! `vaultgate principals`, `incident`, `deletions` and `runs`: what reviewers do and see beside policy.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{self, At, Connection, at, carried_out, text};
use super::say;

const QUARANTINE: &str = "/_vaultgate/v1/quarantine";
const INCIDENT: &str = "/_vaultgate/v1/incident";

/// What an identity is named by.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum By {
    /// A subject of an issuer
    Subject,
    /// A client application
    App,
    /// Somebody who acts for others
    Actor,
    /// A person, under whichever identity
    Person,
    /// One token, by its id or its SHA-256
    Token,
}

#[derive(Subcommand)]
pub(crate) enum PrincipalsVerb {
    /// List the identities that are stopped
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Stop an identity now, whatever tokens it still has
    Quarantine {
        /// What the identity is named by
        by: By,
        /// The subject, application, actor, person or token
        value: String,
        /// Issuer of a subject
        #[arg(long, required_if_eq("by", "subject"))]
        issuer: Option<String>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Let a stopped identity go on; it does once another reviewer says so too
    Release {
        /// Id of the quarantine
        id: Uuid,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Subcommand)]
pub(crate) enum DeletionsVerb {
    /// List what was deleted, and until when Azure keeps it
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Take a deletion back, if policy lets you; at the data door
    Undelete {
        /// The decision that allowed the deletion
        id: Uuid,
        #[command(flatten)]
        connection: Connection,
    },
}

/// What flows say of their runs.
#[derive(clap::Args)]
pub(crate) struct RunsArguments {
    /// As JSON, one run in each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
pub(crate) enum IncidentVerb {
    /// Tell whether destruction is frozen
    Show {
        #[command(flatten)]
        connection: Connection,
    },
    /// Freeze weakening, deletion, disclosure and moves everywhere, now
    Freeze {
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Lift the freeze; it ends once enough reviewers say so
    Lift {
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Let restores into the landing zones go fast; opens once enough reviewers say so
    FastPath {
        /// Close it instead, at once
        #[arg(long)]
        close: bool,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Open restores for somebody else by name, at once and loudly
    BreakGlass {
        /// The person, as the issuer's claim names them
        #[arg(long)]
        person: String,
        /// How long, seconds; 28800 at most
        #[arg(long, default_value_t = 3_600)]
        seconds: u64,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// End a break-glass before its time
    EndBreakGlass {
        /// Its id
        id: Uuid,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(crate) fn principals(verb: PrincipalsVerb) -> anyhow::Result<u8> {
    match verb {
        PrincipalsVerb::List { connection } => {
            let held = asked(&connection, Method::GET, QUARANTINE, None)?;
            for held in at(&held, "/value").as_array().into_iter().flatten() {
                say(&format!(
                    "{}  {} {}  since {}  {}",
                    text(held, "/id"),
                    text(held, "/target/kind"),
                    text(held, "/target/value"),
                    text(held, "/since"),
                    text(held, "/why")
                ));
            }
        }
        PrincipalsVerb::Quarantine {
            by,
            value,
            issuer,
            reason,
            connection,
        } => {
            let kind = by.to_possible_value();
            let kind = kind.as_ref().map_or("", |value| value.get_name());
            let mut target = serde_json::Map::new();
            target.insert("kind".into(), kind.into());
            target.insert("value".into(), value.into());
            if let (Some(issuer), By::Subject) = (issuer, by) {
                target.insert("issuer".into(), issuer.into());
            }
            let body = json!({"target": target, "reason": reason});
            let held = asked(&connection, Method::POST, QUARANTINE, Some(&body))?;
            say(&format!("{}  stopped", text(&held, "/id")));
        }
        PrincipalsVerb::Release {
            id,
            reason,
            connection,
        } => {
            let path = format!("{QUARANTINE}/{id}/release");
            let body = json!({"reason": reason});
            let told = asked(&connection, Method::POST, &path, Some(&body))?;
            say(&agreed(&told, "released"));
        }
    }
    Ok(0)
}

pub(crate) fn incident(verb: IncidentVerb) -> anyhow::Result<u8> {
    match verb {
        IncidentVerb::Show { connection } => {
            let told = asked(&connection, Method::GET, INCIDENT, None)?;
            for line in incident_lines(&told) {
                say(&line);
            }
        }
        IncidentVerb::Freeze { reason, connection } => {
            let path = format!("{INCIDENT}/freeze");
            let body = json!({"reason": reason});
            let told = asked(&connection, Method::POST, &path, Some(&body))?;
            say(&frozen(at(&told, "/freeze")));
        }
        IncidentVerb::Lift { reason, connection } => {
            let path = format!("{INCIDENT}/lift");
            let body = json!({"reason": reason});
            let told = asked(&connection, Method::POST, &path, Some(&body))?;
            say(&agreed(&told, "lifted"));
        }
        IncidentVerb::FastPath {
            close,
            reason,
            connection,
        } => {
            let path = format!("{INCIDENT}/fast-path{}", if close { "/close" } else { "" });
            let body = json!({"reason": reason});
            let told = asked(&connection, Method::POST, &path, Some(&body))?;
            say(&match (close, at(&told, "/closed") == &Value::Bool(true)) {
                (true, true) => "closed".to_owned(),
                (true, false) => "it was not open".to_owned(),
                (false, _) => agreed(&told, "open"),
            });
        }
        IncidentVerb::BreakGlass {
            person,
            seconds,
            reason,
            connection,
        } => {
            let path = format!("{INCIDENT}/break-glass");
            let body = json!({"person": person, "seconds": seconds, "reason": reason});
            let glass = asked(&connection, Method::POST, &path, Some(&body))?;
            say(&opened(&glass));
        }
        IncidentVerb::EndBreakGlass {
            id,
            reason,
            connection,
        } => {
            let path = format!("{INCIDENT}/break-glass/{id}/end");
            let body = json!({"reason": reason});
            let told = asked(&connection, Method::POST, &path, Some(&body))?;
            let ended = at(&told, "/ended") == &Value::Bool(true);
            say(if ended { "ended" } else { "it was not open" });
        }
    }
    Ok(0)
}

/// How an incident stands, for people.
fn incident_lines(told: &Value) -> Vec<String> {
    let mut lines = vec![frozen(at(told, "/freeze"))];
    let path = at(told, "/fastPath");
    if !path.is_null() {
        let since = at(path, "/since").as_str();
        lines.push(match since {
            Some(since) => format!("restores go fast since {since}: {}", text(path, "/why")),
            None => format!("restores wait to go fast: {}", text(path, "/why")),
        });
    }
    let open = at(told, "/breakGlass").as_array().into_iter().flatten();
    lines.extend(open.map(opened));
    lines
}

fn opened(glass: &Value) -> String {
    format!(
        "{}  restores are open for {} until {}: {}",
        text(glass, "/id"),
        text(glass, "/person"),
        text(glass, "/until"),
        text(glass, "/why")
    )
}

pub(crate) fn deletions(verb: DeletionsVerb) -> anyhow::Result<u8> {
    match verb {
        DeletionsVerb::List { connection } => {
            let found = asked(&connection, Method::GET, crate::api::DELETIONS, None)?;
            for deletion in at(&found, "/value").as_array().into_iter().flatten() {
                let until = at(deletion, "/until").as_str().unwrap_or("no longer");
                say(&format!(
                    "{}  {:10}  kept until {until}  {}",
                    text(deletion, "/decision"),
                    text(deletion, "/state"),
                    text(deletion, "/resource")
                ));
            }
            Ok(0)
        }
        DeletionsVerb::Undelete { id, connection } => {
            let path = format!("{}/{id}/undelete", crate::api::DELETIONS);
            carried_out(&connection, &path)
        }
    }
}

pub(crate) fn runs(arguments: &RunsArguments) -> anyhow::Result<u8> {
    let found = asked(&arguments.connection, Method::GET, crate::api::RUNS, None)?;
    for run in at(&found, "/value").as_array().into_iter().flatten() {
        if arguments.json {
            say(&run.to_string());
            continue;
        }
        let reason = match text(run, "/reason") {
            reason if reason.is_empty() => String::new(),
            reason => format!(": {reason}"),
        };
        say(&format!(
            "{}  {}  {} {}  {}{reason}",
            text(run, "/id"),
            text(run, "/due"),
            text(run, "/flow"),
            text(run, "/region"),
            text(run, "/state")
        ));
    }
    Ok(0)
}

fn asked(
    connection: &Connection,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let console = connection.client(At::Console)?;
    client::run(console.expect(method, path, body))
}

fn frozen(freeze: &Value) -> String {
    if freeze.is_null() {
        return "nothing is frozen".to_owned();
    }
    format!(
        "frozen since {} by {}: {}",
        text(freeze, "/since"),
        text(freeze, "/by"),
        text(freeze, "/why")
    )
}

fn agreed(told: &Value, done: &str) -> String {
    if told.get(done) == Some(&Value::Bool(true)) {
        return done.to_owned();
    }
    format!(
        "not yet: {} more of the reviewers must say so",
        at(told, "/missing")
    )
}
