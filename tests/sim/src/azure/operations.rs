//! Long-running operations: how they begin, how they are polled, how they end.
//!
//! Poll addresses carry a signature in `t`, `c`, `s` and `h`. It must come back byte for
//! byte: a client that re-encodes the query gets a 403, as ARM is said to do.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reply::Answer;
use super::request::ArmRequest;
use crate::clock::written;
use crate::digest::{base64, fresh_hex, fresh_uuid};
use crate::document::set;
use crate::world::{Effect, World};

/// How an operation's id and status are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Recovery Services backup: the bare GUID, also as `id`.
    Backup,
    /// Vaults and `DataProtection`: base64 of two GUIDs; `id` is an ARM id.
    Resource,
}

/// What the final answer of the `Location` address is.
pub(crate) enum Finish {
    /// The resource as it is then; nothing if it is gone.
    Resource(String),
    /// A body made when the operation began.
    Body(Value),
    /// No content.
    Nothing,
}

/// An operation about to begin.
pub(crate) struct Begin {
    pub style: Style,
    /// Path of the status address, without the operation's id.
    pub status: Option<String>,
    /// Path of the result address, without the operation's id.
    pub result: Option<String>,
    /// `properties` of the final status.
    pub properties: Value,
    pub finish: Finish,
    /// What happens when it ends.
    pub effect: Option<Effect>,
}

/// An operation under way or done.
pub(crate) struct Operation {
    style: Style,
    subscription: String,
    started: Timestamp,
    ends: Timestamp,
    properties: Value,
    finish: Finish,
    status: Option<Issued>,
    result: Option<Issued>,
}

/// An address that was handed out.
#[derive(Clone)]
struct Issued {
    path: String,
    query: String,
}

/// How long an operation takes at scale 1.
const TAKES: Duration = Duration::from_millis(500);

/// Last but one segment of every poll address.
const POLLED: [&str; 11] = [
    "operationresults",
    "operationsstatus",
    "operationstatus",
    "operations",
    "backupoperations",
    "backupoperationresults",
    "backupvalidateoperationresults",
    "backupvalidateoperationsstatuses",
    "backupcrroperationsstatus",
    "backupcrroperationresults",
    "getrpextendedinfooperationresult",
];

impl World {
    /// Begins an operation and answers 202.
    pub(crate) fn begin(&mut self, ask: &ArmRequest, begin: Begin) -> Answer {
        let id = match begin.style {
            Style::Backup => fresh_uuid(),
            Style::Resource => base64(format!("{};{}", fresh_uuid(), fresh_uuid())),
        };
        let version = ask.parameter("api-version").unwrap_or_default();
        let started = self.clock.now();
        let ends = started
            .saturating_add(self.clock.lasts(TAKES))
            .unwrap_or(started);
        let issue = |path: String| Issued {
            path: format!("{path}/{id}"),
            query: signed(&version),
        };
        let operation = Operation {
            style: begin.style,
            subscription: ask.subscription().to_ascii_lowercase(),
            started,
            ends,
            properties: begin.properties,
            finish: begin.finish,
            status: begin.status.map(&issue),
            result: begin.result.map(&issue),
        };
        if let Some(effect) = begin.effect {
            self.at(ends, effect);
        }
        let answer = addressed(self, &operation, Answer::empty(202));
        self.operations.insert(id, operation);
        answer
    }
}

/// The headers that say where to poll.
fn addressed(world: &World, operation: &Operation, mut answer: Answer) -> Answer {
    let url = |issued: &Issued| format!("{}{}?{}", world.origin, issued.path, issued.query);
    if let Some(status) = &operation.status {
        answer.headers.push(("azure-asyncoperation", url(status)));
    }
    if let Some(result) = &operation.result {
        answer.headers.push(("location", url(result)));
    }
    answer.with("retry-after", world.clock.retry_after())
}

/// A query with a signature that shows when it was re-encoded: an escaped plus, slash and
/// equals sign, an unescaped tilde. Escapes are upper-case: Python's HTTP stack rewrites
/// lower-case ones by itself, so no service can rely on those.
fn signed(version: &str) -> String {
    let (one, two, three) = (fresh_hex(), fresh_hex(), fresh_hex());
    format!("api-version={version}&t=63915&c=MIIHpTCC%2Bq-_{one}&s=a~{two}%3D&h=h%2F{three}")
}

/// Answers a poll, if this is one.
pub(crate) fn poll(world: &World, ask: &ArmRequest) -> Option<Answer> {
    let route = ask.route();
    let [.., kind, _] = route.as_slice() else {
        return None;
    };
    if ask.method != "GET" || !POLLED.contains(kind) {
        return None;
    }
    let id = ask.last();
    let Some(operation) = world.operations.get(id) else {
        return Some(Answer::error(
            404,
            "OperationNotFound",
            &format!("The operation '{id}' was not found."),
        ));
    };
    if operation.subscription != ask.subscription().to_ascii_lowercase() {
        return Some(Answer::not_found(id));
    }
    if !admitted(operation, ask, kind) {
        return Some(Answer::error(
            403,
            "InvalidAuthenticationInfo",
            "The signature of the asynchronous operation address is not valid.",
        ));
    }
    let results = kind.ends_with("results") || kind.ends_with("result");
    let exported = operation.status.is_none();
    Some(if results || exported {
        result(world, operation)
    } else {
        status(world, operation, ask)
    })
}

fn admitted(operation: &Operation, ask: &ArmRequest, kind: &str) -> bool {
    let path = ask.whole_id().to_ascii_lowercase();
    let issued = [&operation.status, &operation.result];
    let mut issued = issued.into_iter().flatten();
    let signed = ["t", "c", "s", "h"]
        .iter()
        .any(|name| ask.parameter(name).is_some());
    // The Azure CLI builds these two addresses itself, from the id alone.
    let documented = matches!(kind, "backupoperations" | "backupoperationresults");
    (documented && !signed)
        || issued.any(|one| one.path.to_ascii_lowercase() == path && one.query == ask.raw_query)
}

fn status(world: &World, operation: &Operation, ask: &ArmRequest) -> Answer {
    let done = world.clock.now() >= operation.ends;
    let id = match operation.style {
        Style::Backup => ask.last().to_owned(),
        Style::Resource => ask.whole_id(),
    };
    let mut body = json!({
        "id": id,
        "name": ask.last(),
        "status": if done { "Succeeded" } else { "InProgress" },
        "startTime": written(operation.started),
        "endTime": if done { written(operation.ends) } else { "0001-01-01T00:00:00Z".to_owned() },
    });
    if done && !operation.properties.is_null() {
        set(&mut body, "/properties", operation.properties.clone());
    }
    let answer = Answer::ok(body);
    if done {
        answer
    } else {
        answer.with("retry-after", world.clock.retry_after())
    }
}

fn result(world: &World, operation: &Operation) -> Answer {
    if world.clock.now() < operation.ends {
        return addressed(world, operation, Answer::empty(202));
    }
    match &operation.finish {
        Finish::Resource(id) => world
            .find(id)
            .map_or_else(|| Answer::empty(204), |found| Answer::document(200, found)),
        Finish::Body(body) => Answer::ok(body.clone()),
        Finish::Nothing => Answer::empty(204),
    }
}
