//! What was decided to be done, what was done, and what came of it: on disk before anything
//! follows from it.
//!
//! One file of SQLite with full syncs, or a PostgreSQL server that several orchestrators share: the
//! same statements. Who holds the lease is the only writer of steps; people's commands write what
//! they ask for (a run, a hold, a cancellation) and the engine takes it up. What is in here is true
//! after a crash at any instant: an intent is written before the request it stands for, under a key
//! with which the gateway does nothing twice.

mod lease;
mod rows;
#[cfg(test)]
pub(crate) mod scratch;
mod store;
mod told;

use jiff::Timestamp;
use sqlx::Any;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use uuid::Uuid;

use crate::state::{State, Step};
pub use lease::Lease;
pub use rows::{Cursor, Event, Item, Run};
pub use store::{Journal, JournalError, Place};
pub use told::Told;

use store::{Change, written};

/// Columns of an item that are written when it is frozen, and how many items at once.
const COLUMNS: usize = 9;
const AT_ONCE: usize = 100;

impl Journal {
    // Schedules.

    /// Where a region's schedule was looked at last. One that is new, or another one than before,
    /// was looked at now: it has no past.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn cursor(
        &self,
        flow: &str,
        region: &str,
        schedule: &str,
        now: Timestamp,
    ) -> Result<Cursor, JournalError> {
        let known = sqlx::query(
            "SELECT schedule, looked_until, paused FROM regions WHERE flow = $1 AND region = $2",
        )
        .bind(flow)
        .bind(region)
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| self.failed(error))?;
        let paused = match &known {
            Some(row) => self.integer(row, "paused")? != 0,
            None => false,
        };
        if let Some(row) = &known
            && self.text(row, "schedule")? == schedule
        {
            let looked_until = self.instant(row, "looked_until")?;
            return Ok(Cursor {
                looked_until,
                paused,
            });
        }
        let mut change = self.begin_as_holder().await?;
        let text = "INSERT INTO regions (flow, region, schedule, looked_until, paused) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (flow, region) DO UPDATE SET schedule = $3, looked_until = $4";
        let query = sqlx::query(text)
            .bind(flow)
            .bind(region)
            .bind(schedule)
            .bind(written(now))
            .bind(i64::from(paused));
        self.run(query, &mut change).await?;
        self.commit(change).await?;
        Ok(Cursor {
            looked_until: now,
            paused,
        })
    }

    /// Records runs and how far the schedule was looked at, both or neither.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn plan(
        &self,
        flow: &str,
        region: &str,
        until: Timestamp,
        runs: &[Run],
    ) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let text = "UPDATE regions SET looked_until = $3 WHERE flow = $1 AND region = $2 AND looked_until < $3";
        let query = sqlx::query(text)
            .bind(flow)
            .bind(region)
            .bind(written(until));
        self.run(query, &mut change).await?;
        for run in runs {
            self.insert(run, &mut change).await?;
        }
        self.commit(change).await
    }

    /// Records one run that somebody asked for.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn ask(&self, run: &Run) -> Result<(), JournalError> {
        let mut change = self.begin().await?;
        self.insert(run, &mut change).await?;
        self.commit(change).await
    }

    async fn insert(&self, run: &Run, change: &mut Change) -> Result<(), JournalError> {
        // The same occurrence has the same id: planned twice it is one.
        let text = "INSERT INTO runs (id, flow, region, digest, due, state, reason, ended)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
        let query = sqlx::query(text)
            .bind(run.id.to_string())
            .bind(run.flow.clone())
            .bind(run.region.clone())
            .bind(run.digest.clone())
            .bind(written(run.due))
            .bind(run.state.as_str())
            .bind(run.reason.clone())
            .bind(run.ended.map(written));
        if self.run(query, change).await? > 0 {
            let at = run.ended.unwrap_or(run.due);
            self.note(run.id, "", run.state, &run.reason, at, change)
                .await?;
        }
        Ok(())
    }

    /// Who a flow is at the gateway, as all that share the journal have to be: keys and approvals
    /// are those of one caller. Another one is taken where nothing of the flow goes on.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written, and where somebody else began what goes on.
    pub async fn same_caller(&self, flow: &str, who: &str) -> Result<(), JournalError> {
        let known = sqlx::query("SELECT who FROM callers WHERE flow = $1")
            .bind(flow)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        let known = known.map(|row| self.text(&row, "who")).transpose()?;
        if known.as_deref() == Some(who) {
            return Ok(());
        }
        let open = self.open_runs().await?;
        if let Some(known) = known.filter(|_| open.iter().any(|run| run.flow == flow)) {
            return Err(JournalError::Caller {
                flow: flow.to_owned(),
                known,
                who: who.to_owned(),
            });
        }
        let mut change = self.begin_as_holder().await?;
        let text = "INSERT INTO callers (flow, who) VALUES ($1, $2) ON CONFLICT (flow) DO UPDATE SET who = $2";
        let query = sqlx::query(text).bind(flow.to_owned()).bind(who.to_owned());
        self.run(query, &mut change).await?;
        self.commit(change).await
    }

    /// Holds a region, or lets it go on. Whether there is such a region.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn pause(
        &self,
        flow: &str,
        region: Option<&str>,
        paused: bool,
    ) -> Result<bool, JournalError> {
        let mut change = self.begin().await?;
        let text = "UPDATE regions SET paused = $1 WHERE flow = $2 AND ($3 IS NULL OR region = $3)";
        let query = sqlx::query(text)
            .bind(i64::from(paused))
            .bind(flow.to_owned())
            .bind(region.map(str::to_owned));
        let found = self.run(query, &mut change).await? > 0;
        self.commit(change).await?;
        Ok(found)
    }

    /// Asks to end a run. Whether it goes on.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn cancel(&self, run: Uuid) -> Result<bool, JournalError> {
        let mut change = self.begin().await?;
        let query = sqlx::query("UPDATE runs SET cancel = 1 WHERE id = $1 AND ended IS NULL")
            .bind(run.to_string());
        let found = self.run(query, &mut change).await? > 0;
        self.commit(change).await?;
        Ok(found)
    }

    // Runs and items.

    /// Freezes the items of a run: from here on it is about these and no others.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn resolve(
        &self,
        run: &Run,
        items: &[Item],
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        // Many in one statement: the lease is locked meanwhile, and each statement is a round trip.
        for chunk in items.chunks(AT_ONCE) {
            let rows = (0..chunk.len()).map(|row| {
                let columns = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column));
                format!("({})", columns.collect::<Vec<_>>().join(", "))
            });
            let text = format!(
                "INSERT INTO items (run, item, name, vault, key, step, state, reason, source)
                VALUES {} ON CONFLICT (run, item) DO NOTHING",
                rows.collect::<Vec<_>>().join(", ")
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
            for item in chunk {
                query = query
                    .bind(run.id.to_string())
                    .bind(item.item.clone())
                    .bind(item.name.clone())
                    .bind(item.vault.clone())
                    .bind(item.key.to_string())
                    .bind(item.step.as_str())
                    .bind(item.state.as_str())
                    .bind(item.reason.clone())
                    .bind(item.source.clone());
            }
            self.run(query, &mut change).await?;
        }
        let query = sqlx::query("UPDATE runs SET resolved = 1, due_at = NULL WHERE id = $1")
            .bind(run.id.to_string());
        self.run(query, &mut change).await?;
        let message = format!("{} items", items.len());
        self.note(run.id, "", run.state, &message, now, &mut change)
            .await?;
        self.commit(change).await
    }

    /// Writes how a run stands, and what happened where its state or reason is another one.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn write_run(&self, run: &Run, now: Timestamp) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let before = sqlx::query("SELECT state, reason FROM runs WHERE id = $1")
            .bind(run.id.to_string())
            .fetch_one(&mut *change)
            .await
            .map_err(|error| self.failed(error))?;
        let changed = self.text(&before, "state")? != run.state.as_str()
            || self.text(&before, "reason")? != run.reason;
        // What has ended stays as it ended.
        let text = "UPDATE runs SET state = $2, reason = $3, started = $4, ended = $5, due_at = $6, attempts = $7, digest = $8 WHERE id = $1 AND ended IS NULL";
        let query = sqlx::query(text)
            .bind(run.id.to_string())
            .bind(run.state.as_str())
            .bind(run.reason.clone())
            .bind(run.started.map(written))
            .bind(run.ended.map(written))
            .bind(run.due_at.map(written))
            .bind(i64::from(run.attempts))
            .bind(run.digest.clone());
        if self.run(query, &mut change).await? > 0 && changed {
            self.note(run.id, "", run.state, &run.reason, now, &mut change)
                .await?;
        }
        self.commit(change).await
    }

    /// Writes how an item stands, and what happened where `message` says it.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn write_item(
        &self,
        item: &Item,
        message: Option<&str>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let text = "UPDATE items SET step = $3, state = $4, reason = $5, attempts = $6, due_at = $7, sent_at = $8,
            decision = $9, approval = $10, job = $11, recovery_point = $12, asked_at = $13, waited = $14, keep_until = $15, doubt = $16,
            seen_at = $17, job_started = $18, counted = $19, point = $20 WHERE run = $1 AND item = $2 AND step <> 'ended'";
        let query = sqlx::query(text)
            .bind(item.run.to_string())
            .bind(item.item.clone())
            .bind(item.step.as_str())
            .bind(item.state.as_str())
            .bind(item.reason.clone())
            .bind(i64::from(item.attempts))
            .bind(item.due_at.map(written))
            .bind(item.sent_at.map(written))
            .bind(item.decision.clone())
            .bind(item.approval.clone())
            .bind(item.job.clone())
            .bind(item.recovery_point.map(written))
            .bind(item.asked_at.map(written))
            .bind(item.waited)
            .bind(item.keep_until.map(written))
            .bind(i64::from(item.doubt))
            .bind(item.seen_at.map(written))
            .bind(item.job_started.map(written))
            .bind(i64::from(item.counted))
            .bind(item.point.clone());
        self.run(query, &mut change).await?;
        if let Some(message) = message {
            self.note(item.run, &item.item, item.state, message, now, &mut change)
                .await?;
        }
        self.commit(change).await
    }

    async fn note(
        &self,
        run: Uuid,
        item: &str,
        state: State,
        message: &str,
        now: Timestamp,
        change: &mut Change,
    ) -> Result<(), JournalError> {
        let text = "INSERT INTO events (at, run, item, state, message, seq)
            SELECT $1, $2, $3, $4, $5, COALESCE(MAX(seq), 0) + 1 FROM events WHERE run = $2";
        let query = sqlx::query(text)
            .bind(written(now))
            .bind(run.to_string())
            .bind(item.to_owned())
            .bind(state.as_str())
            .bind(message.to_owned());
        self.run(query, change).await.map(drop)
    }

    // Reading.

    /// Runs that have not ended, oldest first.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn open_runs(&self) -> Result<Vec<Run>, JournalError> {
        let query = sqlx::query("SELECT * FROM runs WHERE ended IS NULL ORDER BY due, id");
        self.runs(query).await
    }

    /// Runs of a region that have not ended, oldest first.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn open_runs_of(&self, flow: &str, region: &str) -> Result<Vec<Run>, JournalError> {
        let text =
            "SELECT * FROM runs WHERE ended IS NULL AND flow = $1 AND region = $2 ORDER BY due, id";
        let query = sqlx::query(text)
            .bind(flow.to_owned())
            .bind(region.to_owned());
        self.runs(query).await
    }

    /// The newest runs, of one flow or of all.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn newest_runs(
        &self,
        flow: Option<&str>,
        most: u32,
    ) -> Result<Vec<Run>, JournalError> {
        let text =
            "SELECT * FROM runs WHERE $1 IS NULL OR flow = $1 ORDER BY due DESC, id LIMIT $2";
        let query = sqlx::query(text)
            .bind(flow.map(str::to_owned))
            .bind(i64::from(most));
        self.runs(query).await
    }

    /// A run by its id.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn find_run(&self, id: Uuid) -> Result<Option<Run>, JournalError> {
        let query = sqlx::query("SELECT * FROM runs WHERE id = $1").bind(id.to_string());
        Ok(self.runs(query).await?.pop())
    }

    /// The items of a run, by name.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn items(&self, run: Uuid) -> Result<Vec<Item>, JournalError> {
        let rows = sqlx::query("SELECT * FROM items WHERE run = $1 ORDER BY name, item")
            .bind(run.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        rows.iter().map(|row| self.item(row)).collect()
    }

    /// What happened in a run, in order.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn events(&self, run: Uuid) -> Result<Vec<Event>, JournalError> {
        let rows = sqlx::query("SELECT * FROM events WHERE run = $1 ORDER BY seq")
            .bind(run.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        let event = |row: &AnyRow| {
            Ok(Event {
                at: self.instant(row, "at")?,
                run,
                item: self.text(row, "item")?,
                state: self.state(row)?,
                message: self.text(row, "message")?,
            })
        };
        rows.iter().map(event).collect()
    }

    async fn runs(&self, query: Query<'_, Any, AnyArguments>) -> Result<Vec<Run>, JournalError> {
        let rows = query
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        let run = |row: &AnyRow| {
            Ok(Run {
                id: self.uuid(row, "id")?,
                flow: self.text(row, "flow")?,
                region: self.text(row, "region")?,
                digest: self.text(row, "digest")?,
                due: self.instant(row, "due")?,
                state: self.state(row)?,
                reason: self.text(row, "reason")?,
                started: self.maybe_instant(row, "started")?,
                ended: self.maybe_instant(row, "ended")?,
                resolved: self.integer(row, "resolved")? != 0,
                due_at: self.maybe_instant(row, "due_at")?,
                attempts: u32::try_from(self.integer(row, "attempts")?).unwrap_or(u32::MAX),
                cancel: self.integer(row, "cancel")? != 0,
            })
        };
        rows.iter().map(run).collect()
    }

    fn item(&self, row: &AnyRow) -> Result<Item, JournalError> {
        let step = self.text(row, "step")?;
        Ok(Item {
            run: self.uuid(row, "run")?,
            item: self.text(row, "item")?,
            name: self.text(row, "name")?,
            vault: self.text(row, "vault")?,
            source: self.text(row, "source")?,
            key: self.uuid(row, "key")?,
            step: Step::of(&step).ok_or_else(|| self.corrupt(step, "a step"))?,
            state: self.state(row)?,
            reason: self.text(row, "reason")?,
            attempts: u32::try_from(self.integer(row, "attempts")?).unwrap_or(u32::MAX),
            counted: u32::try_from(self.integer(row, "counted")?).unwrap_or(u32::MAX),
            due_at: self.maybe_instant(row, "due_at")?,
            sent_at: self.maybe_instant(row, "sent_at")?,
            keep_until: self.maybe_instant(row, "keep_until")?,
            doubt: self.integer(row, "doubt")? != 0,
            seen_at: self.maybe_instant(row, "seen_at")?,
            job_started: self.maybe_instant(row, "job_started")?,
            decision: self.maybe(row, "decision")?,
            approval: self.maybe(row, "approval")?,
            asked_at: self.maybe_instant(row, "asked_at")?,
            waited: self.integer(row, "waited")?,
            job: self.maybe(row, "job")?,
            recovery_point: self.maybe_instant(row, "recovery_point")?,
            point: self.maybe(row, "point")?,
        })
    }
}

#[cfg(test)]
mod tests;
