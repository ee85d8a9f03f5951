//! The database of a journal: a file or a server, its tables, and what its columns hold.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::any::{AnyArguments, AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::query::Query;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    Any, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _, Transaction,
};
use uuid::Uuid;

use crate::state::State;

/// Marks the file as ours in SQLite's header ("VGOR").
const APPLICATION_ID: i64 = 0x5647_4F52;
/// Version of the schema.
const VERSION: i64 = 2;
/// How long a step waits for those before it; with a file, whoever waits for it waits for a disk.
const WAIT_FILE: Duration = Duration::from_secs(600);
const WAIT_SERVER: Duration = Duration::from_secs(10);
/// How long a file may be locked while it is made, and how often it is tried.
const LONGEST_LOCKED: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);
/// Connections to a server: each region of a flow reads and writes on its own.
const CONNECTIONS: u32 = 4;

const FILE_SETTINGS: [&str; 5] = [
    "PRAGMA busy_timeout = 10000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    // A doctored file must not run SQL functions of its own through its schema.
    "PRAGMA trusted_schema = OFF",
];
const SERVER_SETTINGS: [&str; 5] = [
    "SET synchronous_commit = on",
    "SET lock_timeout = '8s'",
    "SET statement_timeout = '10s'",
    // Whoever stands still in the middle of a change must not keep the others from theirs.
    "SET idle_in_transaction_session_timeout = '3s'",
    "SET search_path = vaultgate_orchestrator",
];

/// Where a journal is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A PostgreSQL server, by its address with its password.
    Server(SecretString),
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database says so: a full disk, a file that cannot be read, a server that is away.
    #[error("the journal `{at}`: {error}")]
    Failed {
        /// The file or the server.
        at: String,
        /// What it said.
        error: sqlx::Error,
    },
    /// Another program's database, or a newer one.
    #[error("`{at}` is no journal of this version; name another place in `journal`")]
    Foreign {
        /// The file or the server.
        at: String,
    },
    /// The address of the server is not taken.
    #[error("the journal's server: {why}")]
    Address {
        /// Why.
        why: String,
    },
    /// Another orchestrator runs the flows of this journal.
    #[error("another orchestrator runs the flows of `{at}`")]
    Taken {
        /// The file or the server.
        at: String,
    },
    /// Another orchestrator took over while this one stood still.
    #[error("another orchestrator has taken over the flows of `{at}`")]
    Fenced {
        /// The file or the server.
        at: String,
    },
    /// The flow is somebody else at the gateway than whoever began what goes on.
    #[error(
        "the flow `{flow}` is `{who}` at the gateway, and its runs were begun as `{known}`: what was sent would be sent again; hint: give all machines of a journal the same identity"
    )]
    Caller {
        /// The flow.
        flow: String,
        /// Who began its runs.
        known: String,
        /// Who it is here.
        who: String,
    },
    /// What is in it cannot be.
    #[error("the journal `{at}` holds `{value}` as {what}")]
    Corrupt {
        /// The file or the server.
        at: String,
        /// The value.
        value: String,
        /// What it is to be.
        what: &'static str,
    },
}

/// An open journal.
pub struct Journal {
    /// The file or the server, without its password.
    pub(super) at: String,
    /// The file, where it is one.
    pub(super) file: Option<PathBuf>,
    pub(super) pool: AnyPool,
    /// The number of the lease that this process has, or of nobody's.
    pub(super) token: AtomicI64,
}

/// A change under way. Dropped, nothing of it was.
pub(super) type Change = Transaction<'static, Any>;

impl Journal {
    /// Opens a journal, or makes it.
    ///
    /// # Errors
    ///
    /// Where it is none of ours, or cannot be read.
    pub async fn open(place: &Place) -> Result<Journal, JournalError> {
        sqlx::any::install_default_drivers();
        let (at, file, options) = match place {
            Place::File(path) => (path.display().to_string(), Some(path.clone()), file(path)?),
            Place::Server(url) => {
                let (at, options) = server(url)?;
                (at, None, options)
            }
        };
        let failed = |error| JournalError::Failed {
            at: at.clone(),
            error,
        };
        let is_file = file.is_some();
        let settings = if is_file {
            FILE_SETTINGS
        } else {
            SERVER_SETTINGS
        };
        // Once alone: a pool would try again and again what fails for good.
        // Of several processes that make a file at once one turns it into a write-ahead log; the
        // others are told that it is locked, however long they would wait.
        let began = Instant::now();
        while let Err(error) = try_once(&options, settings).await {
            if !is_file || !is_locked(&error) || began.elapsed() > LONGEST_LOCKED {
                return Err(failed(error));
            }
            tokio::time::sleep(AGAIN).await;
        }
        let pool = AnyPoolOptions::new()
            .max_connections(if is_file { 1 } else { CONNECTIONS })
            .acquire_timeout(if is_file { WAIT_FILE } else { WAIT_SERVER })
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| Box::pin(set(connection, settings)))
            .before_acquire(|connection, _| {
                // SQLite ends a transaction by itself when the disk is full; the driver then
                // counts one that is open for ever.
                let sound = !connection.is_in_transaction();
                Box::pin(async move { Ok(sound) })
            })
            .connect_with(options)
            .await
            .map_err(failed)?;
        let token = AtomicI64::new(0);
        let journal = Journal {
            at,
            file,
            pool,
            token,
        };
        match is_file {
            true => journal.prepare_file().await?,
            false => journal.prepare_server().await?,
        }
        let version = journal
            .number("SELECT version FROM lease WHERE id = 1")
            .await?;
        match version {
            VERSION => Ok(journal),
            _ => Err(journal.foreign()),
        }
    }

    /// The file or the server, as people are told of it.
    pub fn place(&self) -> &str {
        &self.at
    }

    async fn prepare_file(&self) -> Result<(), JournalError> {
        let mut change = self.begin().await?;
        let mut number = async |pragma: &'static str| {
            let found: Result<i64, _> = sqlx::query_scalar(pragma).fetch_one(&mut *change).await;
            found.map_err(|error| self.failed(error))
        };
        let id = number("PRAGMA application_id").await?;
        let version = number("PRAGMA user_version").await?;
        let tables = number("SELECT count(*) FROM sqlite_schema").await?;
        match (id, version, tables) {
            (APPLICATION_ID, VERSION, _) => return Ok(()),
            (0, 0, 0) => {}
            _ => return Err(self.foreign()),
        }
        self.make_tables(&mut change).await?;
        for mark in [
            "PRAGMA application_id = 1447513938",
            "PRAGMA user_version = 2",
        ] {
            self.run(sqlx::query(mark), &mut change).await?;
        }
        self.commit(change).await
    }

    /// Tables in a schema of their own: the database may be the gateways' as well.
    async fn prepare_server(&self) -> Result<(), JournalError> {
        let mut change = self.begin().await?;
        // Of several that start at once one makes them.
        let alone = "SELECT pg_advisory_xact_lock(1447513938)";
        self.run(sqlx::query(alone), &mut change).await?;
        let make = "CREATE SCHEMA IF NOT EXISTS vaultgate_orchestrator";
        self.run(sqlx::query(make), &mut change).await?;
        let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'vaultgate_orchestrator'";
        let tables: Result<i64, _> = sqlx::query_scalar(tables).fetch_one(&mut *change).await;
        if tables.map_err(|error| self.failed(error))? == 0 {
            self.make_tables(&mut change).await?;
        }
        self.commit(change).await
    }

    async fn make_tables(&self, change: &mut Change) -> Result<(), JournalError> {
        for statement in include_str!("schema.sql").split(";\n") {
            if !statement.trim().is_empty() {
                self.run(sqlx::query(statement), change).await?;
            }
        }
        Ok(())
    }

    async fn number(&self, query: &'static str) -> Result<i64, JournalError> {
        let found = sqlx::query_scalar(query).fetch_one(&self.pool).await;
        found.map_err(|error| self.failed(error))
    }

    fn foreign(&self) -> JournalError {
        JournalError::Foreign {
            at: self.at.clone(),
        }
    }

    // Changes.

    pub(super) async fn begin(&self) -> Result<Change, JournalError> {
        // IMMEDIATE takes the write lock at once: no change fails half-way because somebody's
        // command wrote between its first read and its first write.
        let begin = match self.file {
            Some(_) => "BEGIN IMMEDIATE",
            None => "BEGIN",
        };
        let begun = self.pool.begin_with(begin).await;
        begun.map_err(|error| self.failed(error))
    }

    /// Begins a change that only the holder of the lease may make: one that stood still while
    /// another took over writes nothing any more. The row is locked until the change is whole, so
    /// nobody takes over in the middle of it either.
    pub(super) async fn begin_as_holder(&self) -> Result<Change, JournalError> {
        let mut change = self.begin().await?;
        let beat = sqlx::query("UPDATE lease SET beat = beat + 1 WHERE id = 1 AND token = $1")
            .bind(self.token.load(Ordering::SeqCst));
        match self.run(beat, &mut change).await? {
            1 => Ok(change),
            _ => Err(JournalError::Fenced {
                at: self.at.clone(),
            }),
        }
    }

    pub(super) async fn run(
        &self,
        query: Query<'_, Any, AnyArguments>,
        change: &mut Change,
    ) -> Result<u64, JournalError> {
        let done = query.execute(&mut **change).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| self.failed(error))
    }

    pub(super) async fn commit(&self, change: Change) -> Result<(), JournalError> {
        change.commit().await.map_err(|error| self.failed(error))
    }

    // Columns.

    pub(super) fn text(&self, row: &AnyRow, name: &'static str) -> Result<String, JournalError> {
        row.try_get(name).map_err(|error| self.failed(error))
    }

    pub(super) fn maybe(
        &self,
        row: &AnyRow,
        name: &'static str,
    ) -> Result<Option<String>, JournalError> {
        row.try_get(name).map_err(|error| self.failed(error))
    }

    pub(super) fn integer(&self, row: &AnyRow, name: &'static str) -> Result<i64, JournalError> {
        row.try_get(name).map_err(|error| self.failed(error))
    }

    pub(super) fn instant(
        &self,
        row: &AnyRow,
        name: &'static str,
    ) -> Result<Timestamp, JournalError> {
        let text = self.text(row, name)?;
        text.parse().map_err(|_| self.corrupt(text, "an instant"))
    }

    pub(super) fn maybe_instant(
        &self,
        row: &AnyRow,
        name: &'static str,
    ) -> Result<Option<Timestamp>, JournalError> {
        let Some(text) = self.maybe(row, name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| self.corrupt(text, "an instant"))
    }

    pub(super) fn uuid(&self, row: &AnyRow, name: &'static str) -> Result<Uuid, JournalError> {
        let text = self.text(row, name)?;
        text.parse().map_err(|_| self.corrupt(text, "an id"))
    }

    pub(super) fn state(&self, row: &AnyRow) -> Result<State, JournalError> {
        let name = self.text(row, "state")?;
        State::of(&name).ok_or_else(|| self.corrupt(name, "a state"))
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> JournalError {
        JournalError::Failed {
            at: self.at.clone(),
            error,
        }
    }

    pub(super) fn corrupt(&self, value: String, what: &'static str) -> JournalError {
        JournalError::Corrupt {
            at: self.at.clone(),
            value,
            what,
        }
    }
}

/// An instant as the journal writes it: always of the same length, so that text is in order.
pub(super) fn written(at: Timestamp) -> String {
    format!("{at:.9}")
}

async fn try_once(
    options: &AnyConnectOptions,
    settings: [&'static str; 5],
) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    set(&mut connection, settings).await?;
    connection.close().await
}

fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(code.as_ref(), "5" | "261"))
}

async fn set(
    connection: &mut <Any as sqlx::Database>::Connection,
    settings: [&'static str; 5],
) -> Result<(), sqlx::Error> {
    for setting in settings {
        connection.execute(setting).await?;
    }
    Ok(())
}

fn file(path: &Path) -> Result<AnyConnectOptions, JournalError> {
    let failed = |error| JournalError::Failed {
        at: path.display().to_string(),
        error,
    };
    let whole = std::path::absolute(path).map_err(|error| failed(sqlx::Error::Io(error)))?;
    let options = SqliteConnectOptions::new()
        .filename(whole)
        .create_if_missing(true);
    AnyConnectOptions::from_url(&options.to_url_lossy()).map_err(failed)
}

/// The options of a server, and how it is told: without its password.
fn server(url: &SecretString) -> Result<(String, AnyConnectOptions), JournalError> {
    let wrong = |why: String| JournalError::Address { why };
    // The driver's error may quote the address, and with it the password.
    let unread = || {
        wrong("the address cannot be read; hint: `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`".to_owned())
    };
    let url: url::Url = url.expose_secret().trim().parse().map_err(|_| unread())?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(unread());
    }
    let options = PgConnectOptions::from_url(&url).map_err(|_| unread())?;
    let host = options.get_host().to_owned();
    let local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") || host.starts_with('/');
    if !local && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        // Whoever stands between could make runs that nobody asked for.
        return Err(wrong(format!(
            "`{host}` is another machine and its certificate is not verified; hint: add `sslmode=verify-full`"
        )));
    }
    let at = format!(
        "postgres://{host}:{}/{}",
        options.get_port(),
        options.get_database().unwrap_or_default()
    );
    let options = AnyConnectOptions::from_url(&url).map_err(|_| unread())?;
    Ok((at, options))
}
