//! The schema: its versions, and whether a file may be used by this build.
//!
//! A migration, once released, is never edited: its checksum is stored with it.

use std::path::Path;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

use super::StoreError;

/// Marks the file as ours in SQLite's header ("VGAT").
const APPLICATION_ID: i64 = 0x5647_4154;

pub(super) fn migrator() -> Migrator {
    let step = |version, name: &'static str, text: &'static str| {
        let text = text.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(vec![
        step(
            1,
            "idempotency and snapshots",
            include_str!("migrations/0001_idempotency_and_snapshots.sql"),
        ),
        step(
            2,
            "approvals",
            include_str!("migrations/0002_approvals.sql"),
        ),
        step(3, "replicas", include_str!("migrations/0003_replicas.sql")),
        step(4, "runs", include_str!("migrations/0004_runs.sql")),
    ])
}

/// The newest version that this build knows.
pub(super) fn known() -> i64 {
    let versions = migrator().iter().map(|step| step.version).max();
    versions.unwrap_or(0)
}

/// Checks that the file is sound, ours and not newer than this build, before
/// anything is written to it.
pub(super) async fn check(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let opening = |error| StoreError::opening(path, error);
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(pool)
        .await
        .map_err(opening)?;
    if verdict != "ok" {
        return Err(StoreError::corrupt(path, verdict));
    }
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(pool)
        .await
        .map_err(opening)?;
    if id != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::corrupt(path, error.to_string()))?;
    let known = known();
    if found > known {
        let path = path.to_owned();
        return Err(StoreError::Newer { path, found, known });
    }
    Ok(())
}

/// Brings the file to this build's version.
pub(super) async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    migrator().run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::opening(path, error)
        }
        other => StoreError::Migration {
            path: path.to_owned(),
            detail: other.to_string(),
        },
    })?;
    sqlx::query("PRAGMA application_id = 1447510356")
        .execute(pool)
        .await
        .map_err(|error| StoreError::opening(path, error))?;
    Ok(())
}
