//! The store: what must survive a restart and is not the decision log.
//!
//! A file of this gateway's own (SQLite), or a server that several gateways share
//! (PostgreSQL): the same tables, the same statements. Changes are serialised, so that a
//! compare-and-set cannot race; a change that was committed is on disk.
//!
//! Losing state must never widen access: a file that is corrupt, foreign, newer
//! than this build or in use by another gateway is refused at open, and a store
//! that failed while running says so through [`Store::healthy`], upon which changes
//! are refused. It is never repaired, emptied or replaced here.

mod fault;
mod file;
mod postgres;
mod room;
mod schema;
#[cfg(test)]
pub(crate) mod scratch;
mod seen;
mod sqlite;
mod statement;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::{PgPool, Postgres, Sqlite, Transaction};

pub(crate) use fault::StoreError;
pub(crate) use statement::{Row, Statement, sql};

use fault::Severity;
use postgres::Server;
use sqlite::OpenFile;

/// How long a gateway goes on without reading what others wrote: then somebody may have been
/// stopped, and changes are refused.
const LONGEST_BEHIND: Duration = Duration::from_secs(3);

/// The open store; cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    /// Absent when it could not be opened at all.
    engine: Option<Engine>,
    health: Mutex<Health>,
    /// When what others wrote was last read, where others write.
    followed: Mutex<Option<Instant>>,
}

enum Engine {
    File(OpenFile),
    Server(Box<Server>),
}

enum Health {
    Good,
    /// Failed in a way that may pass, such as a full disk or a server that is away.
    Failing(String),
    /// Failed in a way after which nothing that it says can be relied on.
    Lost(String),
}

/// A change under way: nobody else changes the store meanwhile. Dropped, nothing of it was.
pub(crate) struct Change {
    store: Store,
    begun: Begun,
}

enum Begun {
    File(Transaction<'static, Sqlite>),
    Server(Transaction<'static, Postgres>, Standing),
}

/// What a change is to the server's history.
enum Standing {
    /// The so many-th change.
    Number(i64),
    /// The one that takes the store over.
    TakeOver,
}

impl Store {
    /// Opens the store in a file, making it when there is none; checks it whole first.
    pub(crate) async fn open(path: &Path) -> Result<Store, StoreError> {
        Ok(Store::of(Engine::File(OpenFile::open(path).await?)))
    }

    /// Opens the store on a server, as the gateway of this name.
    /// Beside its log it keeps how far it has seen the store.
    pub(crate) async fn connect(
        url: &SecretString,
        replica: &str,
        beside: &Path,
    ) -> Result<Store, StoreError> {
        let server = Server::connect(url, replica, &beside.join("store.seen")).await?;
        Ok(Store::of(Engine::Server(Box::new(server))))
    }

    fn of(engine: Engine) -> Store {
        Store(Arc::new(Inner {
            engine: Some(engine),
            health: Mutex::new(Health::Good),
            followed: Mutex::default(),
        }))
    }

    /// A store that could not be opened, for a gateway that goes on with reads only:
    /// every use of it fails with the reason.
    pub(crate) fn lost(error: &StoreError) -> Store {
        Store(Arc::new(Inner {
            engine: None,
            health: Mutex::new(Health::Lost(error.to_string())),
            followed: Mutex::default(),
        }))
    }

    /// Whether opening made the store. A new store beside a decision log that
    /// has records means that state was lost: the caller must say so loudly.
    pub(crate) fn created(&self) -> bool {
        match &self.0.engine {
            Some(Engine::File(file)) => file.created(),
            Some(Engine::Server(server)) => server.created(),
            None => false,
        }
    }

    /// Whether other gateways use the same store.
    pub(crate) fn shared(&self) -> bool {
        matches!(self.0.engine, Some(Engine::Server(_)))
    }

    /// Whether the store was moved to another server, and may be older than what was done:
    /// it takes no change before [`Store::take_over`].
    pub(crate) fn moved(&self) -> bool {
        match &self.0.engine {
            Some(Engine::Server(server)) => server.moved(),
            _ => false,
        }
    }

    /// Whether the store can be relied on; while not, changes are refused.
    pub(crate) fn healthy(&self) -> bool {
        matches!(*self.health(), Health::Good) && !self.behind()
    }

    /// What others had written by then was read, all of it: who is stopped and what is frozen
    /// is known.
    pub(crate) fn followed(&self, at: Instant) {
        let mut followed = self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *followed = Some(at);
        drop(followed);
        self.recovered();
    }

    /// Whether what others wrote has not been read for too long: somebody may be stopped.
    fn behind(&self) -> bool {
        let followed = self
            .0
            .followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        followed.is_some_and(|at| at.elapsed() > LONGEST_BEHIND)
    }

    /// Why the store is not healthy, for the readiness report.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.health() {
            Health::Good if self.behind() => Some("what others wrote cannot be read".to_owned()),
            Health::Good => None,
            Health::Failing(why) | Health::Lost(why) => Some(why.clone()),
        }
    }

    /// Writes one row, so that a store that failed for a while (a full disk) is found
    /// to work again. One that was lost stays lost until it is opened anew.
    pub(crate) async fn probe(&self, now: jiff::Timestamp) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        let touch = sql("UPDATE liveness SET touched = $1 WHERE id = 1");
        change.execute(touch.bind(now.as_millisecond())).await?;
        change.commit().await?;
        // Where others write, it works again once what they wrote was read.
        if !self.shared() {
            self.recovered();
        }
        Ok(())
    }

    /// Whether all that was read until now is of the store as it was opened. A server may
    /// have been replaced by one that is behind it; a file cannot be.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self.engine()? {
            Engine::File(_) => Ok(()),
            Engine::Server(server) => server.check().await.map_err(|error| self.remember(error)),
        }
    }

    /// Takes room for changes on a full disk, if it is not there and the disk has it.
    /// Failing changes nothing: the store works for as long as there is any room.
    pub(crate) async fn keep_room(&self) -> Result<(), StoreError> {
        match self.engine()? {
            Engine::File(file) => file.keep_room().await.map_err(|error| match error {
                full @ (StoreError::Full | StoreError::File { .. }) => full,
                other => self.remember(other),
            }),
            Engine::Server(_) => Ok(()),
        }
    }

    /// Begins a change. Nobody else can change the store meanwhile: do nothing slow in it.
    pub(crate) async fn begin(&self) -> Result<Change, StoreError> {
        let begun = match self.engine()? {
            Engine::File(file) => {
                let begun = file.begin().await.map_err(StoreError::running);
                begun.map(Begun::File)
            }
            Engine::Server(server) => {
                let begun = server.begin().await;
                begun.map(|(change, number)| Begun::Server(change, Standing::Number(number)))
            }
        };
        self.change(begun)
    }

    /// Begins the change that takes a moved store over: what could have been used up since
    /// must be made void in it.
    pub(crate) async fn take_over(&self) -> Result<Change, StoreError> {
        let begun = match self.engine()? {
            Engine::File(file) => {
                let begun = file.begin().await.map_err(StoreError::running);
                begun.map(Begun::File)
            }
            Engine::Server(server) => {
                let begun = server.take_over().await;
                begun.map(|change| Begun::Server(change, Standing::TakeOver))
            }
        };
        self.change(begun)
    }

    fn change(&self, begun: Result<Begun, StoreError>) -> Result<Change, StoreError> {
        let store = self.clone();
        match begun {
            Ok(begun) => Ok(Change { store, begun }),
            Err(error) => Err(self.remember(error)),
        }
    }

    /// All rows that a statement finds, outside any change.
    pub(crate) async fn all(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        self.find(statement, |server| &server.readers).await
    }

    /// The same for what others may have written and everybody must heed: however many ask
    /// something else meanwhile.
    pub(crate) async fn heed(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        self.find(statement, |server| &server.followers).await
    }

    async fn find(
        &self,
        statement: Statement,
        pool: impl Fn(&Server) -> &PgPool,
    ) -> Result<Vec<Row>, StoreError> {
        let found = match self.engine()? {
            Engine::File(file) => {
                let found = statement.for_sqlite().fetch_all(&file.readers).await;
                found
                    .map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                    .map_err(StoreError::running)
            }
            Engine::Server(server) => {
                let found = statement.for_postgres().fetch_all(pool(server));
                let found = postgres::answered(found).await;
                found.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        found.map_err(|error| self.remember(error))
    }

    /// The first row that a statement finds, outside any change.
    pub(crate) async fn first(&self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.all(statement).await?.into_iter().next())
    }

    fn remember(&self, fault: StoreError) -> StoreError {
        let mut health = self.health();
        match (fault.severity(), &*health) {
            (Severity::Lost, _) => *health = Health::Lost(fault.to_string()),
            (Severity::Failing, Health::Good) => *health = Health::Failing(fault.to_string()),
            (Severity::Failing | Severity::Passing, _) => {}
        }
        fault
    }

    fn recovered(&self) {
        let mut health = self.health();
        if matches!(*health, Health::Failing(_)) {
            *health = Health::Good;
        }
    }

    /// Closes the connections in good order; the store may then be opened again.
    pub(crate) async fn close(&self) {
        match &self.0.engine {
            Some(Engine::File(file)) => file.close().await,
            Some(Engine::Server(server)) => server.close().await,
            None => {}
        }
    }

    /// The engine, unless nothing it says can be relied on.
    fn engine(&self) -> Result<&Engine, StoreError> {
        match (&*self.health(), &self.0.engine) {
            (Health::Lost(why), _) => Err(StoreError::Lost { why: why.clone() }),
            (_, None) => Err(StoreError::Lost {
                why: "it was never opened".to_owned(),
            }),
            (Health::Good | Health::Failing(_), Some(engine)) => Ok(engine),
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let done = match &mut self.begun {
            Begun::File(change) => {
                let done = statement.for_sqlite().execute(&mut **change).await;
                done.map(|done| done.rows_affected())
                    .map_err(StoreError::running)
            }
            Begun::Server(change, _) => {
                let done = statement.for_postgres().execute(&mut **change);
                let done = postgres::answered(done).await;
                done.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| self.store.remember(error))
    }

    /// All rows that a statement finds.
    pub(crate) async fn all(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        let found = match &mut self.begun {
            Begun::File(change) => {
                let found = statement.for_sqlite().fetch_all(&mut **change).await;
                found
                    .map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                    .map_err(StoreError::running)
            }
            Begun::Server(change, _) => {
                let found = statement.for_postgres().fetch_all(&mut **change);
                let found = postgres::answered(found).await;
                found.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        };
        found.map_err(|error| self.store.remember(error))
    }

    /// The first row that a statement finds.
    pub(crate) async fn first(&mut self, statement: Statement) -> Result<Option<Row>, StoreError> {
        Ok(self.all(statement).await?.into_iter().next())
    }

    /// Commits; once this returns `Ok` it is on disk. When it fails, it may be or not.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let Change { store, begun } = self;
        let committed = match begun {
            Begun::File(change) => change.commit().await.map_err(StoreError::running),
            Begun::Server(change, standing) => {
                let committed = postgres::answered(change.commit()).await;
                if let (Ok(()), Ok(Engine::Server(server))) = (&committed, store.engine()) {
                    match standing {
                        Standing::Number(number) => server.committed(number),
                        Standing::TakeOver => server.taken_over(),
                    }
                }
                committed
            }
        };
        committed.map_err(|error| store.remember(error))
    }
}

#[cfg(test)]
mod tests;
