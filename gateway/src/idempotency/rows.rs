//! The keys as rows of the store.
//!
//! Every change of a row is one transaction of the store's only writer, and says in
//! its condition which state it expects. Never updates a row that is settled.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Begin, InFlight, Resolution, Scope, StoredReply, retry_after};
use crate::config::limits::IdempotencyLimits;
use crate::store::{self, Change, Statement, Store, StoreError, sql};

/// A key that is asked for.
pub(super) struct Key {
    pub(super) scope: Scope,
    pub(super) body_digest: String,
    pub(super) decision: Uuid,
    pub(super) now: Timestamp,
    /// The gateway that asks.
    pub(super) replica: String,
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
    if let Some(row) = find(&mut change, key).await? {
        if !row.expired(key.now) {
            return Ok(Taken::Held(row));
        }
        let delete = sql("DELETE FROM idempotency WHERE scope = $1");
        change.execute(delete.bind(&key.scope.digest)).await?;
    }
    if !make_room(&mut change, limits, key).await? {
        return Ok(Taken::Full);
    }
    let insert = sql("INSERT INTO idempotency
             (scope, principal, decision, body_digest, method, target, vault, state, started_at, replica)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'in-flight', $8, $9)")
    .bind(&key.scope.digest)
    .bind(&key.scope.principal)
    .bind(key.decision.to_string())
    .bind(&key.body_digest)
    .bind(&key.scope.method)
    .bind(&key.scope.target)
    .bind(key.scope.vault.clone())
    .bind(key.now.as_millisecond())
    .bind(&key.replica);
    change.execute(insert).await?;
    change.commit().await?;
    Ok(Taken::Fresh)
}

async fn find(change: &mut Change, key: &Key) -> Result<Option<Row>, StoreError> {
    let select = sql(
        "SELECT decision, body_digest, state, status, headers, body, started_at, expires_at
         FROM idempotency WHERE scope = $1",
    );
    let found = change.first(select.bind(&key.scope.digest)).await?;
    found.map(|row| Row::read(&row)).transpose()
}

/// Makes room for one more key of the principal. Only the oldest settled reply makes
/// way: a change that may have reached Azure is never forgotten.
async fn make_room(
    change: &mut Change,
    limits: &IdempotencyLimits,
    key: &Key,
) -> Result<bool, StoreError> {
    let count = sql("SELECT COUNT(*) AS keys FROM idempotency WHERE principal = $1");
    let counted = change.first(count.bind(&key.scope.principal)).await?;
    let keys = counted.map_or(Ok(0), |row| row.value::<i64>("keys"))?;
    if keys < i64::from(limits.keys_per_principal) {
        return Ok(true);
    }
    let evict = sql("DELETE FROM idempotency WHERE scope =
             (SELECT scope FROM idempotency
              WHERE principal = $1 AND state IN ('completed', 'not-kept')
              ORDER BY finished_at, scope LIMIT 1)");
    let evicted = change.execute(evict.bind(&key.scope.principal)).await?;
    Ok(evicted > 0)
}

/// Every change of one gateway that is not settled, oldest first.
pub(super) async fn in_flight(store: &Store, replica: &str) -> Result<Vec<InFlight>, StoreError> {
    let select = sql(
        "SELECT decision, method, target, vault, started_at FROM idempotency
         WHERE state = 'in-flight' AND replica IN ($1, '') ORDER BY started_at, decision",
    );
    let rows = store.all(select.bind(replica)).await?;
    rows.iter()
        .map(|row| {
            Ok(InFlight {
                decision: uuid(row.value("decision")?)?,
                method: row.value("method")?,
                target: row.value("target")?,
                vault: row.value("vault")?,
                started: time(row.value("started_at")?)?,
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
    let statement = match resolution {
        Resolution::NotSent => free(decision),
        Resolution::Unknown => block(limits, decision, now),
        Resolution::Reply(reply) => keep(limits, decision, reply, now),
    };
    let mut change = store.begin().await?;
    let settled = change.execute(statement).await?;
    change.commit().await?;
    Ok(settled > 0)
}

fn free(decision: Uuid) -> Statement {
    sql("DELETE FROM idempotency WHERE decision = $1 AND state IN ('in-flight', 'unknown')")
        .bind(decision.to_string())
}

fn block(limits: &IdempotencyLimits, decision: Uuid, now: Timestamp) -> Statement {
    sql(
        "UPDATE idempotency SET state = 'unknown', finished_at = $2, expires_at = $3
         WHERE decision = $1 AND state = 'in-flight'",
    )
    .bind(decision.to_string())
    .bind(now.as_millisecond())
    .bind(after(now, limits.retention))
}

/// Keeps a reply; of one that is too large only its status, so that nobody is given
/// half of it.
fn keep(
    limits: &IdempotencyLimits,
    decision: Uuid,
    reply: StoredReply,
    now: Timestamp,
) -> Statement {
    let kept = reply.body.len() <= limits.max_reply_bytes;
    let pairs = reply
        .headers
        .iter()
        .map(|(name, value)| serde_json::json!([name, value]));
    let headers = serde_json::Value::from_iter(pairs).to_string();
    sql("UPDATE idempotency
         SET state = $2, status = $3, headers = $4, body = $5, finished_at = $6, expires_at = $7
         WHERE decision = $1 AND state IN ('in-flight', 'unknown')")
    .bind(decision.to_string())
    .bind(if kept { "completed" } else { "not-kept" })
    .bind(i64::from(reply.status))
    .bind(kept.then_some(headers))
    .bind(kept.then_some(reply.body))
    .bind(now.as_millisecond())
    .bind(after(now, limits.retention))
}

/// Deletes settled keys whose time has come. What is in flight has no such time.
pub(super) async fn sweep(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let mut change = store.begin().await?;
    let delete = sql("DELETE FROM idempotency
         WHERE state IN ('completed', 'not-kept', 'unknown') AND expires_at <= $1");
    let swept = change.execute(delete.bind(now.as_millisecond())).await?;
    change.commit().await?;
    Ok(swept)
}

impl Row {
    fn read(row: &store::Row) -> Result<Row, StoreError> {
        Ok(Row {
            decision: uuid(row.value("decision")?)?,
            body_digest: row.value("body_digest")?,
            state: row.value("state")?,
            status: row.value("status")?,
            headers: row.value("headers")?,
            body: row.value("body")?,
            started: time(row.value("started_at")?)?,
            expires: row.value("expires_at")?,
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
