//! A store for a test: a file, or with `VAULTGATE_TEST_POSTGRES` a database of its own on
//! that server, so that one suite judges both engines.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use secrecy::SecretString;

use sqlx::Connection as _;

use super::Store;

/// The store that belongs to a folder: the same one whenever it is opened again.
pub(crate) async fn open(folder: &Path) -> Store {
    match std::env::var("VAULTGATE_TEST_POSTGRES") {
        Ok(server) => Store::connect(&database(&server, folder).await, "test", folder).await,
        Err(_) => Store::open(&folder.join("store.db")).await,
    }
    .unwrap()
}

/// The address of the folder's database, which is made when it is not there.
pub(crate) async fn database(server: &str, folder: &Path) -> SecretString {
    let digest = crate::digest::sha256_hex(folder.as_os_str().as_encoded_bytes());
    let name = format!("t{}", digest.get(..24).unwrap());
    let (base, query) = server.split_once('?').unwrap_or((server, ""));
    let mut admin = sqlx::PgConnection::connect(server).await.unwrap();
    let make = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    // There already: it is opened again.
    let _ = sqlx::query(make).execute(&mut admin).await;
    let (base, _) = base.rsplit_once('/').unwrap();
    SecretString::from(format!("{base}/{name}?{query}"))
}
