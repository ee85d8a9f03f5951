//! A journal for a test: a file, or with `VAULTGATE_TEST_POSTGRES` a database of its own on that
//! server, so that one suite judges both.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use sqlx::Connection as _;
use uuid::Uuid;

use super::{Journal, Place};

/// The journal that belongs to a folder: the same one whenever it is opened again.
pub(crate) async fn open(folder: &Path) -> Journal {
    let Ok(server) = std::env::var("VAULTGATE_TEST_POSTGRES") else {
        return Journal::open(&Place::File(folder.join("journal.db")))
            .await
            .unwrap();
    };
    let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, folder.as_os_str().as_encoded_bytes());
    let name = format!("o{}", name.simple());
    let (base, _) = server.rsplit_once('/').unwrap();
    let mut admin = sqlx::PgConnection::connect(&server).await.unwrap();
    let make = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    // There already: it is opened again.
    let _ = sqlx::query(make).execute(&mut admin).await;
    let place = Place::Server(format!("{base}/{name}").into());
    Journal::open(&place).await.unwrap()
}
