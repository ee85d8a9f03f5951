//! What channels were told, and what they are to be told of: runs that ended, recovery points.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::store::written;
use super::{Journal, JournalError, Run};

/// What a channel was told of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The end of the last run that it was told of, or was not to be.
    pub until: Option<Timestamp>,
    /// Since when it is asked about.
    pub since: Timestamp,
    /// Runs in a row that failed.
    pub failures: i64,
    /// Whether it knows that the region fails.
    pub failing: bool,
    /// When it was told of recovery points that are too old.
    pub aged: Option<Timestamp>,
}

impl Journal {
    /// What a channel was told of a region; from now on where it never was asked about.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub async fn told(
        &self,
        flow: &str,
        region: &str,
        channel: &str,
        now: Timestamp,
    ) -> Result<Told, JournalError> {
        let row =
            sqlx::query("SELECT * FROM told WHERE flow = $1 AND region = $2 AND channel = $3")
                .bind(flow)
                .bind(region)
                .bind(channel)
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| self.failed(error))?;
        let Some(row) = row else {
            // What ended before there was a channel is not news.
            let told = Told {
                until: Some(now),
                since: now,
                failures: 0,
                failing: false,
                aged: None,
            };
            self.note_told(flow, region, channel, &told).await?;
            return Ok(told);
        };
        Ok(Told {
            until: self.maybe_instant(&row, "until")?,
            since: self.instant(&row, "since")?,
            failures: self.integer(&row, "failures")?,
            failing: self.integer(&row, "failing")? != 0,
            aged: self.maybe_instant(&row, "aged")?,
        })
    }

    /// Writes what a channel was told of a region.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn note_told(
        &self,
        flow: &str,
        region: &str,
        channel: &str,
        told: &Told,
    ) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let text = "INSERT INTO told (flow, region, channel, since, until, failures, failing, aged)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (flow, region, channel)
            DO UPDATE SET until = $5, failures = $6, failing = $7, aged = $8";
        let query = sqlx::query(text)
            .bind(flow.to_owned())
            .bind(region.to_owned())
            .bind(channel.to_owned())
            .bind(written(told.since))
            .bind(told.until.map(written))
            .bind(told.failures)
            .bind(i64::from(told.failing))
            .bind(told.aged.map(written));
        self.run(query, &mut change).await?;
        self.commit(change).await
    }

    /// Runs of a region that ended after an instant, in the order of their ends.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn ended_since(
        &self,
        flow: &str,
        region: &str,
        after: Option<Timestamp>,
    ) -> Result<Vec<Run>, JournalError> {
        let text = "SELECT * FROM runs WHERE flow = $1 AND region = $2 AND ended > $3 ORDER BY ended, due LIMIT 200";
        let query = sqlx::query(text)
            .bind(flow.to_owned())
            .bind(region.to_owned())
            .bind(written(after.unwrap_or(Timestamp::MIN)));
        self.runs(query).await
    }

    /// Runs of a flow that stand otherwise than the gateway was told last, oldest first.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn unreported(&self, flow: &str) -> Result<Vec<Run>, JournalError> {
        let text = "SELECT * FROM runs WHERE flow = $1 AND reported <> state || ': ' || reason
            ORDER BY due, id LIMIT 50";
        self.runs(sqlx::query(text).bind(flow.to_owned())).await
    }

    /// Notes that the gateway was told how a run stands.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn note_reported(&self, run: &Run) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let query = sqlx::query("UPDATE runs SET reported = $2 WHERE id = $1")
            .bind(run.id.to_string())
            .bind(format!("{}: {}", run.state.as_str(), run.reason));
        self.run(query, &mut change).await?;
        self.commit(change).await
    }

    /// The newest recovery point of each item of the newest run of a region that knew its items.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn newest_points(
        &self,
        flow: &str,
        region: &str,
    ) -> Result<Vec<(String, Option<Timestamp>)>, JournalError> {
        let newest = "SELECT id FROM runs WHERE flow = $1 AND region = $2 AND resolved = 1 ORDER BY due DESC LIMIT 1";
        let newest: Option<String> = sqlx::query_scalar(newest)
            .bind(flow)
            .bind(region)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        let Some(newest) = newest else {
            return Ok(Vec::new());
        };
        let text = "SELECT name, (SELECT MAX(old.recovery_point) FROM items AS old WHERE old.item = now.item AND old.point IS NULL)
            AS recovery_point FROM items AS now WHERE run = $1 ORDER BY name";
        let rows = sqlx::query(text).bind(newest).fetch_all(&self.pool).await;
        let point = |row: &AnyRow| {
            let name = self.text(row, "name")?;
            Ok((name, self.maybe_instant(row, "recovery_point")?))
        };
        let rows = rows.map_err(|error| self.failed(error))?;
        rows.iter().map(point).collect()
    }
}
