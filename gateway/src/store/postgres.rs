//! PostgreSQL: one store for several gateways.
//!
//! Every change takes one lock of the whole store first, so that changes are serialised
//! across gateways as SQLite serialises them within one: code that is right on one engine is
//! right on the other. A commit that returned is on the server's disk.
//!
//! A server can be restored from an older backup, or replaced by a standby that had not
//! heard of the last changes. What was used up since would be good again, so each gateway
//! remembers how far it has seen the store, and which server it was: one that went back is
//! lost, and on a server that took another's place no consent holds.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Transaction};
use tokio::sync::Mutex;

use super::{StoreError, schema};

/// How long a caller waits for a connection before the store counts as busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that write: one change is under way at a time, in all gateways together.
const WRITERS: u32 = 4;
const READERS: u32 = 4;
/// How long a start waits for the lock of a gateway of its name that has just ended.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// Begins a change under the lock of the store ("vaultgat" in ASCII).
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(8530216706389827956)";
/// Where the server is: another system, or another timeline of the same, is another history.
const ORIGIN: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text
     || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

pub(super) struct Server {
    /// `host:port/database`, for messages: never the password.
    name: String,
    pub(super) writer: PgPool,
    pub(super) readers: PgPool,
    options: PgConnectOptions,
    replica: String,
    created: bool,
    /// Whether the store is another server's than it says.
    moved: AtomicBool,
    /// The server that this gateway found at its start.
    origin: String,
    /// Changes of the store that this gateway knows to be on the server's disk.
    seen: AtomicI64,
    /// Holds the lock on the gateway's name for as long as it is connected.
    claimed: Mutex<Option<PgConnection>>,
}

impl Server {
    /// Connects as the gateway of this name; makes the tables when there are none.
    pub(super) async fn connect(url: &SecretString, replica: &str) -> Result<Server, StoreError> {
        let options = options(url)?;
        let name = format!(
            "{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let opening = |error: sqlx::Error| StoreError::server(&name, error);
        let claimed = claim(&options, replica, &name).await?;
        let pool = |most| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(ACQUIRE_TIMEOUT)
        };
        let writer = pool(WRITERS)
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        durable(&writer, &name).await?;
        let created = migrate(&writer, &name).await?;
        let origin: String = sqlx::query_scalar(ORIGIN)
            .fetch_one(&writer)
            .await
            .map_err(opening)?;
        if created {
            let named = sqlx::query("UPDATE history SET origin = $1 WHERE id = 1 AND origin = ''");
            let named = named.bind(&origin).execute(&writer).await;
            named.map_err(opening)?;
        }
        let (seen, known): (i64, String) =
            sqlx::query_as("SELECT changes, origin FROM history WHERE id = 1")
                .fetch_one(&writer)
                .await
                .map_err(opening)?;
        let reading = options
            .clone()
            .options([("default_transaction_read_only", "on")]);
        let readers = pool(READERS).connect_with(reading).await.map_err(opening)?;
        Ok(Server {
            name: name.clone(),
            writer,
            readers,
            options,
            replica: replica.to_owned(),
            created,
            moved: AtomicBool::new(known != origin),
            origin,
            seen: AtomicI64::new(seen),
            claimed: Mutex::new(Some(claimed)),
        })
    }

    /// Whether [`Server::connect`] made the tables.
    pub(super) fn created(&self) -> bool {
        self.created
    }

    /// Whether the store came from another server: a standby that took over, a backup that
    /// was restored. What it holds may be older than what was done.
    pub(super) fn moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    /// Begins a change: under the lock, on a store that has not gone back; which change of
    /// the store it is.
    pub(super) async fn begin(&self) -> Result<(Transaction<'static, Postgres>, i64), StoreError> {
        let mut change = self.locked().await?;
        let counted = sqlx::query_scalar(
            "UPDATE history SET changes = changes + 1 WHERE id = 1 AND origin = $1 RETURNING changes",
        );
        let counted = counted.bind(&self.origin).fetch_optional(&mut *change);
        let counted: Option<i64> = counted.await.map_err(StoreError::remote)?;
        let now = counted.ok_or_else(|| self.gone_back("it is another server's"))?;
        if now <= self.seen.load(Ordering::SeqCst) {
            return Err(self.gone_back("it was restored from an older state"));
        }
        Ok((change, now))
    }

    /// A change is on disk.
    pub(super) fn committed(&self, number: i64) {
        self.seen.fetch_max(number, Ordering::SeqCst);
    }

    /// Begins the change that takes a store over from another server.
    pub(super) async fn take_over(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut change = self.locked().await?;
        let named =
            sqlx::query("UPDATE history SET changes = changes + 1, origin = $1 WHERE id = 1");
        let named = named.bind(&self.origin).execute(&mut *change).await;
        named.map_err(StoreError::remote)?;
        Ok(change)
    }

    /// The change that took the store over is on disk.
    pub(super) fn taken_over(&self) {
        self.moved.store(false, Ordering::SeqCst);
    }

    async fn locked(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begun = self.writer.begin_with(BEGIN).await;
        begun.map_err(StoreError::remote)
    }

    /// Whether the server is still the one that was found, with all that was seen of it, and
    /// this gateway still the only one of its name. Asked after reading: what was read before
    /// is then of this server.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        // Before it is asked: changes go on meanwhile.
        let seen = self.seen.load(Ordering::SeqCst);
        let now = self.readers.acquire().await.map_err(StoreError::remote);
        let mut now = now?;
        let origin: String = sqlx::query_scalar(ORIGIN)
            .fetch_one(&mut *now)
            .await
            .map_err(StoreError::remote)?;
        let changes: i64 = sqlx::query_scalar("SELECT changes FROM history WHERE id = 1")
            .fetch_one(&mut *now)
            .await
            .map_err(StoreError::remote)?;
        drop(now);
        if origin != self.origin {
            return Err(self.gone_back("another server took its place"));
        }
        if changes < seen {
            return Err(self.gone_back("it was restored from an older state"));
        }
        self.seen.fetch_max(changes, Ordering::SeqCst);
        let mut claimed = self.claimed.lock().await;
        let alive = match claimed.as_mut() {
            Some(connection) => connection.ping().await.is_ok(),
            None => return Err(StoreError::Away("the store is closed".to_owned())),
        };
        if !alive {
            *claimed = Some(claim(&self.options, &self.replica, &self.name).await?);
        }
        Ok(())
    }

    fn gone_back(&self, what: &str) -> StoreError {
        StoreError::GoneBack {
            server: self.name.clone(),
            what: what.to_owned(),
        }
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        if let Some(connection) = self.claimed.lock().await.take() {
            let _ = connection.close().await;
        }
    }
}

fn options(url: &SecretString) -> Result<PgConnectOptions, StoreError> {
    let wrong = |detail: String| StoreError::Server {
        server: "store.postgres".to_owned(),
        detail,
    };
    let options = PgConnectOptions::from_str(url.expose_secret())
        // The driver's error may quote the address, and with it the password.
        .map_err(|_| wrong("the address cannot be read; hint: `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`".to_owned()))?;
    let local = options.get_socket().is_some()
        || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1")
        || options.get_host().starts_with('/');
    if !local && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        // Whoever stands between could give back what was used up.
        return Err(wrong(format!(
            "`{}` is another machine and its certificate is not verified; hint: add `sslmode=verify-full` \
             and, for a certificate authority of your own, `sslrootcert=FILE`",
            options.get_host()
        )));
    }
    Ok(options
        .application_name("vaultgate")
        .disable_statement_logging()
        .options([
            ("synchronous_commit", "on"),
            ("lock_timeout", "5s"),
            ("statement_timeout", "30s"),
            // A gateway that stands still must not keep the others from every change.
            ("idle_in_transaction_session_timeout", "10s"),
        ]))
}

/// A server that loses what it has confirmed would make what was used up good again.
async fn durable(pool: &PgPool, name: &str) -> Result<(), StoreError> {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let found: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(pool)
            .await
            .map_err(StoreError::remote)?;
        if found == "off" {
            return Err(StoreError::Server {
                server: name.to_owned(),
                detail: format!(
                    "its `{setting}` is off, so it forgets what it has confirmed; hint: turn it on"
                ),
            });
        }
    }
    Ok(())
}

/// Takes the lock on this gateway's name: two of one name would settle each other's changes.
async fn claim(
    options: &PgConnectOptions,
    replica: &str,
    name: &str,
) -> Result<PgConnection, StoreError> {
    let opening = |error: sqlx::Error| StoreError::server(name, error);
    let mut connection = PgConnection::connect_with(options).await.map_err(opening)?;
    let began = Instant::now();
    loop {
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1), 1)")
            .bind(replica)
            .fetch_one(&mut connection)
            .await
            .map_err(opening)?;
        if taken {
            return Ok(connection);
        }
        if began.elapsed() > CLAIM_PATIENCE {
            return Err(StoreError::NameInUse {
                server: name.to_owned(),
                replica: replica.to_owned(),
            });
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
}

/// Brings the tables to this build's version; tells whether there were none.
async fn migrate(pool: &PgPool, name: &str) -> Result<bool, StoreError> {
    let opening = |error: sqlx::Error| StoreError::server(name, error);
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(opening)?;
    if there {
        let found = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations");
        let found: i64 = found.fetch_one(pool).await.map_err(opening)?;
        let known = schema::known();
        if found > known {
            return Err(StoreError::NewerServer {
                server: name.to_owned(),
                found,
                known,
            });
        }
    }
    // One gateway at a time: the migrator takes a lock of its own.
    let migrated = schema::migrator().run(pool).await;
    migrated.map_err(|error| StoreError::server(name, error))?;
    Ok(!there)
}

#[cfg(test)]
mod tests;
