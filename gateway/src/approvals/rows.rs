//! Approvals as rows of the store.
//!
//! Every change of a row names the version that it was read at: of two steps taken at once
//! one is taken. A row that has ended is never changed again, only forgotten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vaultgate_pdp::Approval as Terms;

use super::AskError;
use super::people::Vote;
use super::request::BoundRequest;
use super::stage::{Approval, Ended, State, Step};
use crate::store::{Change, Row, Store, StoreError, sql};

/// How long what has ended is still listed, milliseconds: 90 days. The log keeps it for ever.
const LISTED: i64 = 90 * 86_400_000;
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
    let select = sql(
        "SELECT id, version, asked_at, expires_at, content, request FROM approvals
         WHERE principal = $1 AND state IN ('pending', 'approved') AND expires_at > $2",
    )
    .bind(&principal)
    .bind(now.as_millisecond());
    let open = change.all(select).await?;
    for row in &open {
        if row.value::<String>("request")? == request {
            let known = read(row)?;
            // Of another state of the resource it is another approval.
            if known.request.state == approval.request.state {
                return Ok((known, false));
            }
        }
    }
    if open.len() >= most as usize {
        return Err(AskError::TooMany { limit: most });
    }
    let insert = sql("INSERT INTO approvals
             (id, principal, request, state, version, asked_at, expires_at, content)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(approval.id.to_string())
    .bind(&principal)
    .bind(&request)
    .bind(approval.state.as_str())
    .bind(approval.version)
    .bind(approval.asked_at.as_millisecond())
    .bind(approval.expires.as_millisecond())
    .bind(content(&approval)?);
    change.execute(insert).await?;
    change.commit().await?;
    Ok((approval, true))
}

/// One approval.
pub(super) async fn find(store: &Store, id: Uuid) -> Result<Option<Approval>, StoreError> {
    let select =
        sql("SELECT id, version, asked_at, expires_at, content FROM approvals WHERE id = $1");
    let row = store.first(select.bind(id.to_string())).await?;
    row.map(|row| read(&row)).transpose()
}

/// Approvals, newest first.
pub(super) async fn list(
    store: &Store,
    which: Which,
    now: Timestamp,
    most: u32,
) -> Result<Vec<Approval>, StoreError> {
    let select = match which {
        Which::Open => sql(
            "SELECT id, version, asked_at, expires_at, content FROM approvals
             WHERE state IN ('pending', 'approved') AND expires_at > $1
             ORDER BY asked_at DESC, id DESC LIMIT $2",
        )
        .bind(now.as_millisecond()),
        Which::All => sql(
            "SELECT id, version, asked_at, expires_at, content FROM approvals
             WHERE asked_at <= $1 ORDER BY asked_at DESC, id DESC LIMIT $2",
        )
        .bind(i64::MAX),
    };
    let rows = store.all(select.bind(i64::from(most))).await?;
    rows.iter().map(read).collect()
}

/// Takes a step, if the row is still at the version that it was taken from, and has not
/// run out since.
pub(super) async fn advance(
    store: &Store,
    step: &Step,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let update = sql("UPDATE approvals SET state = $1, version = $2, content = $3
         WHERE id = $4 AND version = $5 AND state IN ('pending', 'approved') AND expires_at > $6")
    .bind(step.approval.state.as_str())
    .bind(step.approval.version)
    .bind(content(&step.approval)?)
    .bind(step.approval.id.to_string())
    .bind(step.from)
    .bind(now.as_millisecond());
    let mut change = store.begin().await?;
    let taken = change.execute(update).await?;
    change.commit().await?;
    Ok(taken == 1)
}

/// Ends what has run out; forgets what ended long ago.
pub(super) async fn sweep(store: &Store, now: Timestamp) -> Result<Vec<Approval>, StoreError> {
    let mut change = store.begin().await?;
    // So many at a time: others wait meanwhile.
    let select = sql(
        "SELECT id, version, asked_at, expires_at, content FROM approvals
         WHERE state IN ('pending', 'approved') AND expires_at <= $1
         ORDER BY expires_at LIMIT 500",
    );
    let rows = change.all(select.bind(now.as_millisecond())).await?;
    let over = end(&mut change, &rows, || State::Expired).await?;
    let delete = sql("DELETE FROM approvals
         WHERE state NOT IN ('pending', 'approved') AND expires_at <= $1");
    let long_ago = now.as_millisecond().saturating_sub(LISTED);
    change.execute(delete.bind(long_ago)).await?;
    change.commit().await?;
    Ok(over)
}

/// Makes all that is open void, in a change of the store.
pub(super) async fn void_all(
    change: &mut Change,
    why: &str,
    now: Timestamp,
) -> Result<Vec<Approval>, StoreError> {
    let select = sql(
        "SELECT id, version, asked_at, expires_at, content FROM approvals
         WHERE state IN ('pending', 'approved')",
    );
    let rows = change.all(select).await?;
    let void = || Ended {
        at: now,
        by: None,
        why: why.to_owned(),
    };
    end(change, &rows, || State::Void(void())).await
}

async fn end(
    change: &mut Change,
    rows: &[Row],
    state: impl Fn() -> State,
) -> Result<Vec<Approval>, StoreError> {
    let mut over = Vec::new();
    for row in rows {
        let mut approval = read(row)?;
        approval.state = state();
        let update = sql(
            "UPDATE approvals SET state = $1, version = version + 1, content = $2 WHERE id = $3",
        )
        .bind(approval.state.as_str())
        .bind(content(&approval)?)
        .bind(approval.id.to_string());
        change.execute(update).await?;
        over.push(approval);
    }
    Ok(over)
}

fn read(row: &Row) -> Result<Approval, StoreError> {
    let wrong = |column| StoreError::Value { column };
    let content: String = row.value("content")?;
    let content: Content = serde_json::from_str(&content).map_err(|_| wrong("content"))?;
    let time = |column| {
        let at: i64 = row.value(column)?;
        Timestamp::from_millisecond(at).map_err(|_| wrong(column))
    };
    Ok(Approval {
        id: Uuid::parse_str(&row.value::<String>("id")?).map_err(|_| wrong("id"))?,
        request: content.request,
        terms: content.terms,
        asked_at: time("asked_at")?,
        expires: time("expires_at")?,
        votes: content.votes,
        state: content.state,
        version: row.value("version")?,
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
