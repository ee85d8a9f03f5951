//! PostgreSQL: one store for several gateways.
//!
//! Every change takes one lock of the whole store first, so that changes are serialised
//! across gateways as SQLite serialises them within one: code that is right on one engine is
//! right on the other. A commit that returned is on the server's disk.
//!
//! A server can be restored from an older backup, or replaced by a standby that had not
//! heard of the last changes. What was used up since would be good again, so each gateway
//! remembers how far it has seen the store, in a file beside its log, and which server it was:
//! one that went back is lost, and on one that took another's place no consent holds.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Transaction};
use tokio::sync::Mutex;

use super::seen::{Seen, SeenFile};
use super::{StoreError, schema};

/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for any answer of the server: a connection that is cut silently would keep its
/// caller for a quarter of an hour.
const ANSWER: Duration = Duration::from_secs(12);
/// The same for the look that tells whether what is known is still so.
const LOOK: Duration = Duration::from_secs(2);
/// Connections that write: one change is under way at a time, in all gateways together.
const WRITERS: u32 = 4;
const READERS: u32 = 4;
/// Connections that tell what others wrote: requests cannot keep them, however many ask.
const FOLLOWERS: u32 = 2;
/// How long a connection may take to say that it is still one.
const PING: Duration = Duration::from_millis(500);
/// How long a start waits for the lock of a gateway of its name that has just ended: longer
/// than a server takes to notice that a machine is gone.
const CLAIM_PATIENCE: Duration = Duration::from_secs(25);
const CLAIM_PAUSE: Duration = Duration::from_millis(100);
/// How long the holder of a name is watched before it is known to be alive.
const CLAIM_WATCH: Duration = Duration::from_secs(2);
/// When the holder of a name last said something: one that is alive does so all the time.
const HOLDER: &str = "SELECT max(a.state_change)::text
     FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.objid = 1 AND l.objsubid = 2
       AND l.classid::bigint = hashtext($1)::bigint & 4294967295";

/// The lock of the whole store ("vaultgat" in ASCII), for as long as a change lasts.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8530216706389827956)";
/// Where the server is: another system, or another timeline of the same, is another history.
const ORIGIN: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text
     || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
/// Counts a change, if the store and the server are those that were found at the start. What the
/// row says of the server is not enough: a standby has the same row.
const COUNT: &str = "UPDATE history SET changes = changes + 1
     WHERE id = 1 AND epoch = $2 AND origin = $1 AND $1 =
         (SELECT (SELECT system_identifier FROM pg_control_system())::text
          || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))
     RETURNING changes";

/// Says in the store that it went back, unless somebody has seen to that since: it is then no
/// server's, and every gateway has to take it over.
const MARK: &str =
    "UPDATE history SET origin = 'went back' WHERE id = 1 AND origin = $1 AND epoch = $2";

pub(super) struct Server {
    /// `host:port/database`, for messages: never the password.
    name: String,
    pub(super) writer: PgPool,
    pub(super) readers: PgPool,
    pub(super) followers: PgPool,
    options: PgConnectOptions,
    replica: String,
    created: bool,
    /// Whether the store is another server's than it says, or behind what was seen of it.
    moved: AtomicBool,
    /// The server that this gateway found at its start.
    origin: String,
    /// How often the store had been taken over by then.
    epoch: AtomicI64,
    /// Changes of the store that this gateway knows to be on the server's disk.
    seen: AtomicI64,
    kept: SeenFile,
    /// What was kept last, and whether it was seen to have gone back.
    last_kept: std::sync::Mutex<Seen>,
    /// Holds the lock on the gateway's name for as long as it is connected.
    claimed: Mutex<Option<Claim>>,
}

/// A connection that holds a gateway's name.
struct Claim {
    connection: PgConnection,
    /// Its process at the server, which is ended if the connection is cut and it does not know.
    pid: i32,
}

/// What the server says of the store.
struct History {
    changes: i64,
    epoch: i64,
    origin: String,
}

impl Server {
    /// Connects as the gateway of this name, which keeps at `kept` how far it has seen the
    /// store; makes the tables when there are none.
    pub(super) async fn connect(
        url: &SecretString,
        replica: &str,
        kept: &Path,
    ) -> Result<Server, StoreError> {
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
                // Or a connection that is cut silently keeps its place for a quarter of an hour.
                .after_release(|connection, _| {
                    Box::pin(async { alive(connection).await.map(|()| true) })
                })
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
        // Whoever made the tables may have ended before it named them.
        let named = sqlx::query("UPDATE history SET origin = $1 WHERE id = 1 AND origin = ''");
        let named = named.bind(&origin).execute(&writer).await;
        named.map_err(opening)?;
        let history = history(&writer).await?;
        let kept = SeenFile::at(kept);
        let before = kept.read()?;
        let lost = before
            .as_ref()
            .is_some_and(|seen| seen.is_ahead_of(history.epoch, history.changes));
        let reading = options
            .clone()
            .options([("default_transaction_read_only", "on")]);
        let readers = pool(READERS).connect_with(reading.clone()).await;
        let readers = readers.map_err(opening)?;
        let followers = pool(FOLLOWERS).connect_with(reading).await;
        let followers = followers.map_err(opening)?;
        let moved = history.origin != origin || lost;
        // What is taken over is counted on from what was seen, by whoever saw more.
        let epoch = before
            .as_ref()
            .map_or(0, |seen| seen.epoch)
            .max(history.epoch);
        Ok(Server {
            name: name.clone(),
            writer,
            readers,
            followers,
            options,
            replica: replica.to_owned(),
            created,
            moved: AtomicBool::new(moved),
            origin,
            epoch: AtomicI64::new(if moved { epoch } else { history.epoch }),
            seen: AtomicI64::new(history.changes),
            kept,
            last_kept: std::sync::Mutex::new(before.unwrap_or_default()),
            claimed: Mutex::new(Some(claimed)),
        })
    }

    /// Whether [`Server::connect`] made the tables.
    pub(super) fn created(&self) -> bool {
        self.created
    }

    /// Whether the store came from another server, or from an older state: a standby that took
    /// over, a backup that was restored. What it holds may be older than what was done.
    pub(super) fn moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    /// Begins a change: under the lock, on a store that has not gone back; which change of
    /// the store it is.
    pub(super) async fn begin(&self) -> Result<(Transaction<'static, Postgres>, i64), StoreError> {
        if self.moved() {
            return Err(self.gone_back("it has not been taken over"));
        }
        let mut change = self.locked().await?;
        let counted = sqlx::query_scalar(COUNT)
            .bind(&self.origin)
            .bind(self.epoch.load(Ordering::SeqCst));
        let counted: Option<i64> = answered(counted.fetch_optional(&mut *change)).await?;
        let what = match counted {
            Some(now) if now > self.seen.load(Ordering::SeqCst) => return Ok((change, now)),
            Some(_) => "it was restored from an older state",
            None => "it is another server's",
        };
        drop(change);
        self.note_gone_back().await;
        Err(self.gone_back(what))
    }

    /// A change is on disk.
    pub(super) fn committed(&self, number: i64) {
        self.seen.fetch_max(number, Ordering::SeqCst);
    }

    /// Begins the change that takes a store over from another server.
    pub(super) async fn take_over(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut change = self.locked().await?;
        let named = sqlx::query(
            "UPDATE history SET changes = changes + 1, origin = $1, epoch = $2 WHERE id = 1",
        )
        .bind(&self.origin)
        .bind(self.epoch.load(Ordering::SeqCst).saturating_add(1));
        answered(named.execute(&mut *change)).await?;
        Ok(change)
    }

    /// The change that took the store over is on disk.
    pub(super) fn taken_over(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.moved.store(false, Ordering::SeqCst);
    }

    /// The lock is a statement of its own: when it takes too long the transaction is ended as
    /// any other is, and the connection is good again.
    async fn locked(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut change = answered(self.writer.begin()).await?;
        answered(sqlx::query(LOCK).execute(&mut *change)).await?;
        Ok(change)
    }

    /// Whether the server is still the one that was found, with all that was seen of it, and
    /// this gateway still the only one of its name. Asked after reading: what was read before
    /// is then of this server.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let looked = tokio::time::timeout(LOOK, self.look()).await;
        let looked =
            looked.unwrap_or_else(|_| Err(StoreError::Away("no answer in time".to_owned())));
        if matches!(looked, Err(StoreError::GoneBack { .. })) && !self.moved() {
            self.note_gone_back().await;
        }
        looked
    }

    async fn look(&self) -> Result<(), StoreError> {
        // Before it is asked: changes go on meanwhile.
        let seen = self.seen.load(Ordering::SeqCst);
        let origin: String = sqlx::query_scalar(ORIGIN)
            .fetch_one(&self.followers)
            .await
            .map_err(StoreError::remote)?;
        let history = history(&self.followers).await?;
        if origin != self.origin || history.origin != self.origin {
            return Err(self.gone_back("another server took its place"));
        }
        if history.epoch != self.epoch.load(Ordering::SeqCst) || history.changes < seen {
            return Err(self.gone_back("it was restored from an older state"));
        }
        self.seen.fetch_max(history.changes, Ordering::SeqCst);
        // A full disk says nothing of the server, and what is known here goes on holding.
        if let Err(error) = self.keep(false) {
            tracing::warn!(%error, "how far the store was seen is not kept");
        }
        let mut claimed = self.claimed.lock().await;
        let Some(claim) = claimed.as_mut() else {
            return Err(StoreError::Away("the store is closed".to_owned()));
        };
        if alive(&mut claim.connection).await.is_err() {
            // The server may not know yet that the connection is gone, and holds the name.
            let end = sqlx::query("SELECT pg_terminate_backend($1)").bind(claim.pid);
            let _ = end.execute(&self.followers).await;
            *claimed = Some(self::claim(&self.options, &self.replica, &self.name).await?);
        }
        Ok(())
    }

    /// Keeps beside the log how far the store was seen, when that is news. That it went back
    /// stays, until it is taken over.
    fn keep(&self, went_back: bool) -> Result<(), StoreError> {
        let mut last = self
            .last_kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Ordering::SeqCst);
        let seen = Seen {
            epoch,
            changes: self.seen.load(Ordering::SeqCst),
            went_back: went_back || last.went_back && last.epoch == epoch,
        };
        if *last != seen {
            self.kept.write(&seen)?;
            *last = seen;
        }
        Ok(())
    }

    /// Keeps that the store went back, here for the next start and there for the other gateways:
    /// they may not have seen what is missing.
    async fn note_gone_back(&self) {
        if let Err(error) = self.keep(true) {
            tracing::error!(%error, "that the store went back is not kept: do not restart before it is looked at");
        }
        let mark = sqlx::query(MARK)
            .bind(&self.origin)
            .bind(self.epoch.load(Ordering::SeqCst));
        let marked = tokio::time::timeout(LOOK, mark.execute(&self.writer)).await;
        if !matches!(marked, Ok(Ok(_))) {
            tracing::error!(
                "that the store went back is not told to the other gateways: restart them"
            );
        }
    }

    fn gone_back(&self, what: &str) -> StoreError {
        StoreError::GoneBack {
            server: self.name.clone(),
            what: what.to_owned(),
        }
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.keep(false) {
            tracing::warn!(%error, "how far the store was seen is not kept");
        }
        self.followers.close().await;
        self.readers.close().await;
        self.writer.close().await;
        if let Some(claim) = self.claimed.lock().await.take() {
            let _ = claim.connection.close().await;
        }
    }
}

async fn history(pool: &PgPool) -> Result<History, StoreError> {
    let asked = sqlx::query_as("SELECT changes, epoch, origin FROM history WHERE id = 1");
    let (changes, epoch, origin) = answered(asked.fetch_one(pool)).await?;
    Ok(History {
        changes,
        epoch,
        origin,
    })
}

/// Whether a connection still is one.
async fn alive(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(PING, connection.ping()).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// The server's answer, in time.
pub(super) async fn answered<T>(
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(StoreError::remote),
        Err(_) => Err(StoreError::Away("no answer in time".to_owned())),
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
            ("statement_timeout", "10s"),
            // A machine that is gone must not keep its gateway's name for hours.
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
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
async fn claim(options: &PgConnectOptions, replica: &str, name: &str) -> Result<Claim, StoreError> {
    let opening = |error: sqlx::Error| StoreError::server(name, error);
    let mut connection = PgConnection::connect_with(options).await.map_err(opening)?;
    let (began, mut first) = (Instant::now(), None);
    loop {
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1), 1)")
            .bind(replica)
            .fetch_one(&mut connection)
            .await
            .map_err(opening)?;
        if taken {
            let pid = sqlx::query_scalar("SELECT pg_backend_pid()")
                .fetch_one(&mut connection)
                .await
                .map_err(opening)?;
            return Ok(Claim { connection, pid });
        }
        let said: Option<String> = sqlx::query_scalar(HOLDER)
            .bind(replica)
            .fetch_one(&mut connection)
            .await
            .map_err(opening)?;
        let first = first.get_or_insert_with(|| said.clone());
        let alive = began.elapsed() > CLAIM_WATCH && said.is_some() && *first != said;
        if alive || began.elapsed() > CLAIM_PATIENCE {
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
