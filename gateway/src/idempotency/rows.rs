//! The keys as rows of the store.
//!
//! Every change of a row is one transaction of the store's only writer, and says in
//! its condition which state it expects. Never updates a row that is settled.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteQueryResult, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};
use uuid::Uuid;

use super::{Begin, InFlight, Resolution, Scope, StoredReply, retry_after};
use crate::config::limits::IdempotencyLimits;
use crate::store::{Store, StoreError};

type Change = Transaction<'static, Sqlite>;

/// A key that is asked for.
pub(super) struct Key {
    pub(super) scope: Scope,
    pub(super) body_digest: String,
    pub(super) decision: Uuid,
    pub(super) now: Timestamp,
}

/// What became of a key that was asked for.
pub(super) enum Taken {
    Fresh,
    Held(Row),
    Full,
}

/// A row as it stands in the store.
pub(super) struct Row {
    decision: Uuid,
    body_digest: String,
    state: String,
    status: Option<i64>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
    started: Timestamp,
    expires: Option<i64>,
}

/// Looks for the key and takes it if it is free, in one transaction.
pub(super) async fn take(
    store: &Store,
    limits: &IdempotencyLimits,
    key: &Key,
) -> Result<Taken, StoreError> {
    let mut change = store.begin().await?;
    if let Some(row) = find(store, &mut change, key).await? {
        if !row.expired(key.now) {
            return Ok(Taken::Held(row));
        }
        let deleted = sqlx::query("DELETE FROM idempotency WHERE scope = $1")
            .bind(&key.scope.digest)
            .execute(&mut *change)
            .await;
        deleted.map_err(|error| store.fault(error))?;
    }
    if !make_room(store, &mut change, limits, key).await? {
        return Ok(Taken::Full);
    }
    let inserted = sqlx::query(
        "INSERT INTO idempotency
             (scope, principal, decision, body_digest, method, target, vault, state, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'in-flight', $8)",
    )
    .bind(&key.scope.digest)
    .bind(&key.scope.principal)
    .bind(key.decision.to_string())
    .bind(&key.body_digest)
    .bind(&key.scope.method)
    .bind(&key.scope.target)
    .bind(&key.scope.vault)
    .bind(key.now.as_millisecond())
    .execute(&mut *change)
    .await;
    inserted.map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok(Taken::Fresh)
}

async fn find(store: &Store, change: &mut Change, key: &Key) -> Result<Option<Row>, StoreError> {
    let found = sqlx::query(
        "SELECT decision, body_digest, state, status, headers, body, started_at, expires_at
         FROM idempotency WHERE scope = $1",
    )
    .bind(&key.scope.digest)
    .fetch_optional(&mut **change)
    .await;
    let found = found.map_err(|error| store.fault(error))?;
    found.map(|row| Row::read(store, &row)).transpose()
}

/// Makes room for one more key of the principal. Only the oldest settled reply makes
/// way: a change that may have reached Azure is never forgotten.
async fn make_room(
    store: &Store,
    change: &mut Change,
    limits: &IdempotencyLimits,
    key: &Key,
) -> Result<bool, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM idempotency WHERE principal = $1")
        .bind(&key.scope.principal)
        .fetch_one(&mut **change)
        .await
        .map_err(|error| store.fault(error))?;
    if count < i64::from(limits.keys_per_principal) {
        return Ok(true);
    }
    let evicted = sqlx::query(
        "DELETE FROM idempotency WHERE scope =
             (SELECT scope FROM idempotency
              WHERE principal = $1 AND state IN ('completed', 'not-kept')
              ORDER BY finished_at, scope LIMIT 1)",
    )
    .bind(&key.scope.principal)
    .execute(&mut **change)
    .await;
    let evicted = evicted.map_err(|error| store.fault(error))?;
    Ok(evicted.rows_affected() > 0)
}

/// Every change that is not settled, oldest first.
pub(super) async fn in_flight(store: &Store) -> Result<Vec<InFlight>, StoreError> {
    let rows = sqlx::query(
        "SELECT decision, method, target, vault, started_at FROM idempotency
         WHERE state = 'in-flight' ORDER BY started_at, decision",
    )
    .fetch_all(store.readers()?)
    .await
    .map_err(|error| store.fault(error))?;
    let fault = |error| store.fault(error);
    rows.iter()
        .map(|row| {
            Ok(InFlight {
                decision: uuid(row.try_get("decision").map_err(fault)?)?,
                method: row.try_get("method").map_err(fault)?,
                target: row.try_get("target").map_err(fault)?,
                vault: row.try_get("vault").map_err(fault)?,
                started: time(row.try_get("started_at").map_err(fault)?)?,
            })
        })
        .collect()
}

/// Settles a change that is in flight, or one that was unknown and is now known.
pub(super) async fn settle(
    store: &Store,
    limits: &IdempotencyLimits,
    decision: Uuid,
    resolution: Resolution,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut change = store.begin().await?;
    let settled = match resolution {
        Resolution::NotSent => free(&mut change, decision).await,
        Resolution::Unknown => block(&mut change, limits, decision, now).await,
        Resolution::Reply(reply) => keep(&mut change, limits, decision, reply, now).await,
    };
    let settled = settled.map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok(settled.rows_affected() > 0)
}

async fn free(change: &mut Change, decision: Uuid) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query("DELETE FROM idempotency WHERE decision = $1 AND state IN ('in-flight', 'unknown')")
        .bind(decision.to_string())
        .execute(&mut **change)
        .await
}

async fn block(
    change: &mut Change,
    limits: &IdempotencyLimits,
    decision: Uuid,
    now: Timestamp,
) -> Result<SqliteQueryResult, sqlx::Error> {
    sqlx::query(
        "UPDATE idempotency SET state = 'unknown', finished_at = $2, expires_at = $3
         WHERE decision = $1 AND state = 'in-flight'",
    )
    .bind(decision.to_string())
    .bind(now.as_millisecond())
    .bind(after(now, limits.retention))
    .execute(&mut **change)
    .await
}

/// Keeps a reply; of one that is too large only its status, so that nobody is given
/// half of it.
async fn keep(
    change: &mut Change,
    limits: &IdempotencyLimits,
    decision: Uuid,
    reply: StoredReply,
    now: Timestamp,
) -> Result<SqliteQueryResult, sqlx::Error> {
    let kept = reply.body.len() <= limits.max_reply_bytes;
    let pairs = reply
        .headers
        .iter()
        .map(|(name, value)| serde_json::json!([name, value]));
    let headers = serde_json::Value::from_iter(pairs).to_string();
    sqlx::query(
        "UPDATE idempotency
         SET state = $2, status = $3, headers = $4, body = $5, finished_at = $6, expires_at = $7
         WHERE decision = $1 AND state IN ('in-flight', 'unknown')",
    )
    .bind(decision.to_string())
    .bind(if kept { "completed" } else { "not-kept" })
    .bind(i64::from(reply.status))
    .bind(kept.then_some(headers))
    .bind(kept.then_some(reply.body))
    .bind(now.as_millisecond())
    .bind(after(now, limits.retention))
    .execute(&mut **change)
    .await
}

/// Deletes settled keys whose time has come. What is in flight has no such time.
pub(super) async fn sweep(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let mut change = store.begin().await?;
    let swept = sqlx::query(
        "DELETE FROM idempotency
         WHERE state IN ('completed', 'not-kept', 'unknown') AND expires_at <= $1",
    )
    .bind(now.as_millisecond())
    .execute(&mut *change)
    .await;
    let swept = swept.map_err(|error| store.fault(error))?;
    store.commit(change).await?;
    Ok(swept.rows_affected())
}

impl Row {
    fn read(store: &Store, row: &SqliteRow) -> Result<Row, StoreError> {
        let fault = |error| store.fault(error);
        Ok(Row {
            decision: uuid(row.try_get("decision").map_err(fault)?)?,
            body_digest: row.try_get("body_digest").map_err(fault)?,
            state: row.try_get("state").map_err(fault)?,
            status: row.try_get("status").map_err(fault)?,
            headers: row.try_get("headers").map_err(fault)?,
            body: row.try_get("body").map_err(fault)?,
            started: time(row.try_get("started_at").map_err(fault)?)?,
            expires: row.try_get("expires_at").map_err(fault)?,
        })
    }

    fn expired(&self, now: Timestamp) -> bool {
        let over = self.expires.is_some_and(|at| at <= now.as_millisecond());
        over && self.state != "in-flight"
    }

    /// What the row means for a request that came with its key.
    pub(super) fn meaning(self, key: &Key) -> Result<Begin, StoreError> {
        let decision = self.decision;
        // Before anything else: a reply belongs to the request that it answered.
        if self.body_digest != key.body_digest {
            return Ok(Begin::DifferentBody { decision });
        }
        match self.state.as_str() {
            "in-flight" => Ok(Begin::InFlight {
                decision,
                retry_after: retry_after(self.started, key.now),
            }),
            "unknown" => Ok(Begin::Unknown { decision }),
            "not-kept" => Ok(Begin::NotKept {
                decision,
                status: self.status()?,
            }),
            "completed" => self.reply().map(Begin::Replay),
            _ => Err(StoreError::Value { column: "state" }),
        }
    }

    fn status(&self) -> Result<u16, StoreError> {
        let status = self.status.and_then(|status| u16::try_from(status).ok());
        status.ok_or(StoreError::Value { column: "status" })
    }

    fn reply(self) -> Result<StoredReply, StoreError> {
        let status = self.status()?;
        let headers = self.headers.as_deref().unwrap_or_default();
        let headers =
            serde_json::from_str(headers).map_err(|_| StoreError::Value { column: "headers" })?;
        Ok(StoredReply {
            status,
            headers,
            body: self.body.ok_or(StoreError::Value { column: "body" })?,
            decision: self.decision,
        })
    }
}

fn after(now: Timestamp, retention: Duration) -> i64 {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    now.as_millisecond().saturating_add(retention)
}

fn uuid(text: String) -> Result<Uuid, StoreError> {
    Uuid::parse_str(&text).map_err(|_| StoreError::Value { column: "decision" })
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    let time = Timestamp::from_millisecond(milliseconds);
    time.map_err(|_| StoreError::Value {
        column: "started_at",
    })
}
