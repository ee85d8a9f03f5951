//! What can go wrong with the store, and what it says about the store's health.
//!
//! Never hides a failed write behind a later success: after an I/O error, whose
//! cause may be a failed sync, nothing that SQLite says is believed until the file
//! was opened and checked again.

use std::path::{Path, PathBuf};

/// Why the store could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot use `{path}` as store: {source}")]
    File {
        /// The store's file, or its folder or lock file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The path names a folder, a link or a device.
    #[error("`{path}` is not a plain file; hint: give the path of a file of the store's own")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error(
        "`{path}` is in use by another gateway; hint: one store serves one gateway, \
         stop the other or give this one a store of its own"
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "`{path}` is corrupt: {detail}; hint: move it aside with its `-wal` and `-shm` \
         files and restore a backup; changes are refused while there is no store, and \
         a new, empty one forgets which approvals were used"
    )]
    Corrupt {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file is a database of something else.
    #[error("`{path}` is a database of another program; hint: give the store a path of its own")]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// A newer gateway wrote the file.
    #[error(
        "`{path}` has schema version `{found}` and this build knows versions up to `{known}`; \
         hint: run the newer gateway, an older one could overlook what it does not know"
    )]
    Newer {
        /// The path.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// Newest version of this build.
        known: i64,
    },
    /// A migration of the file is not the one this build has under the same version.
    #[error("`{path}` was made by a different build: {detail}")]
    Migration {
        /// The path.
        path: PathBuf,
        /// Which migration, and how it differs.
        detail: String,
    },
    /// The server cannot be used as a store.
    #[error("cannot use `{server}` as store: {detail}")]
    Server {
        /// Host, port and database.
        server: String,
        /// What is wrong.
        detail: String,
    },
    /// A newer gateway made the server's tables.
    #[error(
        "`{server}` has schema version `{found}` and this build knows versions up to `{known}`; \
         hint: run the newer gateway, an older one could overlook what it does not know"
    )]
    NewerServer {
        /// Host, port and database.
        server: String,
        /// Version of its tables.
        found: i64,
        /// Newest version of this build.
        known: i64,
    },
    /// Another gateway of the same name uses the server.
    #[error(
        "a gateway named `{replica}` uses `{server}` already; hint: give each gateway a \
         `log.origin` of its own"
    )]
    NameInUse {
        /// Host, port and database.
        server: String,
        /// Name of the gateway: the origin of its log.
        replica: String,
    },
    /// The server no longer holds what it had confirmed.
    #[error(
        "the store on `{server}` went back: {what}; hint: restart the gateway, which voids the \
         open approvals and freezes destruction until reviewers lift it"
    )]
    GoneBack {
        /// Host, port and database.
        server: String,
        /// How it is known.
        what: String,
    },
    /// The server cannot be reached, or takes no changes.
    #[error("the store's server is away: {0}; hint: the gateway goes on by itself once it is back")]
    Away(String),
    /// No connection or lock was free in time.
    #[error("the store is busy; hint: repeat the request")]
    Busy,
    /// The disk is full.
    #[error("the store's disk is full; hint: free space, the gateway goes on by itself")]
    Full,
    /// The store failed earlier in a way that cannot be trusted to have passed.
    #[error("the store was lost: {why}; hint: restart the gateway, which checks the file")]
    Lost {
        /// The first failure.
        why: String,
    },
    /// A read or write failed on the device, or damage was found.
    #[error("the store failed: {0}")]
    Device(String),
    /// Any other failure of a statement.
    #[error("the store refused a statement: {0}")]
    Statement(String),
    /// A stored value is not what was written.
    #[error("the store holds a `{column}` that cannot be read")]
    Value {
        /// The column.
        column: &'static str,
    },
}

/// What an error says about the store.
pub(super) enum Severity {
    /// Nothing: the next statement may work.
    Passing,
    /// Writes fail until something is done; [`super::Store::probe`] finds out.
    Failing,
    /// Nothing can be relied on until the file is opened anew.
    Lost,
}

// Primary result codes of SQLite: the low byte of an extended code.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

impl StoreError {
    pub(super) fn file(path: &Path, source: std::io::Error) -> StoreError {
        let path = path.to_owned();
        StoreError::File { path, source }
    }

    pub(super) fn corrupt(path: &Path, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    /// An error while the file is opened.
    pub(super) fn opening(path: &Path, error: sqlx::Error) -> StoreError {
        match primary_code(&error) {
            Some(CORRUPT | NOTADB) => StoreError::corrupt(path, error.to_string()),
            _ => StoreError::running(error),
        }
    }

    /// An error of the file while it is in use.
    pub(super) fn running(error: sqlx::Error) -> StoreError {
        match (primary_code(&error), &error) {
            (Some(BUSY | LOCKED), _) | (_, sqlx::Error::PoolTimedOut) => StoreError::Busy,
            (Some(FULL), _) => StoreError::Full,
            (Some(READONLY | IOERR | CORRUPT | CANTOPEN | NOTADB), _)
            | (_, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed) => {
                StoreError::Device(error.to_string())
            }
            _ => StoreError::Statement(error.to_string()),
        }
    }

    /// An error of the server while the store is opened.
    pub(super) fn server(server: &str, error: impl std::fmt::Display) -> StoreError {
        StoreError::Server {
            server: server.to_owned(),
            detail: error.to_string(),
        }
    }

    /// An error of the server while the store is in use.
    pub(super) fn remote(error: sqlx::Error) -> StoreError {
        let code = error.as_database_error().and_then(|error| error.code());
        let Some(code) = code else {
            return match error {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                    StoreError::Statement(error.to_string())
                }
                _ => StoreError::Away(error.to_string()),
            };
        };
        // SQLSTATE: a class of two characters and three more.
        match (code.get(..2), &*code) {
            // Lock and statement time-outs, conflicts, too many connections.
            (_, "55P03" | "57014" | "40001" | "40P01" | "53300") => StoreError::Busy,
            (Some("53"), _) => StoreError::Full,
            // Shutting down, starting up, a standby.
            (Some("08" | "57" | "25"), _) => StoreError::Away(error.to_string()),
            (Some("58" | "XX"), _) => StoreError::Device(error.to_string()),
            _ => StoreError::Statement(error.to_string()),
        }
    }

    pub(super) fn severity(&self) -> Severity {
        match self {
            StoreError::Busy | StoreError::Statement(_) | StoreError::Value { .. } => {
                Severity::Passing
            }
            StoreError::Full | StoreError::Away(_) | StoreError::Server { .. } => Severity::Failing,
            _ => Severity::Lost,
        }
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}
