//! Approvals as rows of the store.
//!
//! Every change of a row names the version that it was read at: of two steps taken at once
//! one is taken. A row that has ended is never changed again, only forgotten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;
use vaultgate_pdp::Approval as Terms;

use super::AskError;
use super::people::Vote;
use super::request::BoundRequest;
use super::stage::{Approval, State, Step};
use crate::store::{Store, StoreError};

/// How long what has ended is still listed, milliseconds: 90 days. The log keeps it for ever.
const LISTED: i64 = 90 * 86_400_000;
/// How many rows one sweep looks at.
const SWEPT: u32 = 500;

/// Which approvals are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that can still be given or used.
    Open,
    /// All that are remembered.
    All,
}

/// What a row holds beside what it is looked up by.
#[derive(Serialize)]
struct ContentRef<'c> {
    request: &'c BoundRequest,
    terms: &'c [Terms],
    votes: &'c [Vote],
    state: &'c State,
}

#[derive(Deserialize)]
struct Content {
    request: BoundRequest,
    terms: Vec<Terms>,
    votes: Vec<Vote>,
    state: State,
}

const COLUMNS: &str = "id, version, asked_at, expires_at, content";

/// Takes in a new approval, or finds the open one of the same request.
pub(super) async fn insert(
    store: &Store,
    approval: Approval,
    now: Timestamp,
    most: u32,
) -> Result<(Approval, bool), AskError> {
    let principal = principal(&approval);
    let request = approval.request.request_digest();
    let mut change = store.begin().await?;
    let open = sqlx::query(
        "SELECT id, version, asked_at, expires_at, content, request FROM approvals
         WHERE principal = $1 AND state IN ('pending', 'approved') AND expires_at > $2",
    )
    .bind(&principal)
    .bind(now.as_millisecond())
    .fetch_all(&mut *change)
    .await
    .map_err(|error| store.fault(error))?;
    for row in &open {
        let same: String = row.try_get("request").map_err(|error| store.fault(error))?;
        if same == request {
            let known = read(store, row)?;
            // Of another state of the resource it is another approval.
            if known.request.state == approval.request.state {
                return Ok((known, false));
            }
        }
    }
    if open.len() >= most as usize {
        return Err(AskError::TooMany { limit: most });
    }
    let inserted = sqlx::query(
        "INSERT INTO approvals
             (id, principal, request, state, version, asked_at, expires_at, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(approval.id.to_string())
    .bind(&principal)
    .bind(&request)
    .bind(approval.state.as_str())
    .bind(approval.version)
    .bind(approval.asked_at.as_millisecond())
    .bind(approval.expires.as_millisecond())
    .bind(content(&approval)?)
    .execute(&mut *change)
    .await;
    inserted.map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok((approval, true))
}

/// One approval.
pub(super) async fn find(store: &Store, id: Uuid) -> Result<Option<Approval>, StoreError> {
    let row = sqlx::query(
        "SELECT id, version, asked_at, expires_at, content FROM approvals WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(store.readers()?)
    .await
    .map_err(|error| store.fault(error))?;
    row.map(|row| read(store, &row)).transpose()
}

/// Approvals, newest first.
pub(super) async fn list(
    store: &Store,
    which: Which,
    now: Timestamp,
    most: u32,
) -> Result<Vec<Approval>, StoreError> {
    let open = format!(
        "SELECT {COLUMNS} FROM approvals WHERE state IN ('pending', 'approved') AND expires_at > $1
         ORDER BY asked_at DESC, id DESC LIMIT $2"
    );
    let all = format!(
        "SELECT {COLUMNS} FROM approvals WHERE asked_at <= $1 ORDER BY asked_at DESC, id DESC LIMIT $2"
    );
    let (text, bound) = match which {
        Which::Open => (open, now.as_millisecond()),
        Which::All => (all, i64::MAX),
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(bound)
        .bind(i64::from(most))
        .fetch_all(store.readers()?)
        .await
        .map_err(|error| store.fault(error))?;
    rows.iter().map(|row| read(store, row)).collect()
}

/// Takes a step, if the row is still at the version that it was taken from, and has not
/// run out since.
pub(super) async fn advance(
    store: &Store,
    step: &Step,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut change = store.begin().await?;
    let taken = sqlx::query(
        "UPDATE approvals SET state = $1, version = $2, content = $3
         WHERE id = $4 AND version = $5 AND state IN ('pending', 'approved') AND expires_at > $6",
    )
    .bind(step.approval.state.as_str())
    .bind(step.approval.version)
    .bind(content(&step.approval)?)
    .bind(step.approval.id.to_string())
    .bind(step.from)
    .bind(now.as_millisecond())
    .execute(&mut *change)
    .await
    .map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok(taken.rows_affected() == 1)
}

/// Ends what has run out; forgets what ended long ago.
pub(super) async fn sweep(store: &Store, now: Timestamp) -> Result<Vec<Approval>, StoreError> {
    let mut change = store.begin().await?;
    let text = format!(
        "SELECT {COLUMNS} FROM approvals WHERE state IN ('pending', 'approved') AND expires_at <= $1
         ORDER BY expires_at LIMIT {SWEPT}"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now.as_millisecond())
        .fetch_all(&mut *change)
        .await
        .map_err(|error| store.fault(error))?;
    let mut over = Vec::new();
    for row in &rows {
        let mut approval = read(store, row)?;
        approval.state = State::Expired;
        let ended = sqlx::query(
            "UPDATE approvals SET state = 'expired', version = version + 1, content = $1 WHERE id = $2",
        )
        .bind(content(&approval)?)
        .bind(approval.id.to_string())
        .execute(&mut *change)
        .await;
        ended.map_err(|error| store.fault(error))?;
        over.push(approval);
    }
    let forgotten = sqlx::query(
        "DELETE FROM approvals
         WHERE state NOT IN ('pending', 'approved') AND expires_at <= $1",
    )
    .bind(now.as_millisecond().saturating_sub(LISTED))
    .execute(&mut *change)
    .await;
    forgotten.map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok(over)
}

fn read(store: &Store, row: &SqliteRow) -> Result<Approval, StoreError> {
    let fault = |error| store.fault(error);
    let wrong = |column| StoreError::Value { column };
    let id: String = row.try_get("id").map_err(fault)?;
    let content: String = row.try_get("content").map_err(fault)?;
    let content: Content = serde_json::from_str(&content).map_err(|_| wrong("content"))?;
    let time = |column| {
        let at: i64 = row.try_get(column).map_err(fault)?;
        Timestamp::from_millisecond(at).map_err(|_| wrong(column))
    };
    Ok(Approval {
        id: Uuid::parse_str(&id).map_err(|_| wrong("id"))?,
        request: content.request,
        terms: content.terms,
        asked_at: time("asked_at")?,
        expires: time("expires_at")?,
        votes: content.votes,
        state: content.state,
        version: row.try_get("version").map_err(fault)?,
    })
}

fn content(approval: &Approval) -> Result<String, StoreError> {
    let content = ContentRef {
        request: &approval.request,
        terms: &approval.terms,
        votes: &approval.votes,
        state: &approval.state,
    };
    serde_json::to_string(&content).map_err(|_| StoreError::Value { column: "content" })
}

fn principal(approval: &Approval) -> String {
    let requester = &approval.request.requester;
    crate::digest::sha256_hex(format!("{}\u{0}{}", requester.issuer, requester.subject).as_bytes())
}
