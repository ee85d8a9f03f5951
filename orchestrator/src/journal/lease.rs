//! Who runs the flows of a journal: one process at a time, whatever becomes of the others.
//!
//! A file's lease ends with its process. A server's goes over once its holder has not moved for a
//! while, as whoever waits sees it by a clock of its own: no two machines need to agree on the time.
//! The new holder has a higher number, and with the old one nothing is written any more
//! (fencing): a process that stood still for an hour wakes up and can change nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::store::{Journal, JournalError};

/// How long a holder may stand still before another takes over.
const STILL: Duration = Duration::from_secs(4);
/// How often whoever waits looks.
const LOOK: Duration = Duration::from_millis(250);
/// How often a holder shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long one sign of life may take: longer, and somebody else has the lease.
const PATIENCE: Duration = Duration::from_secs(5);

/// The right to run the flows of a journal.
#[derive(Debug)]
pub struct Lease {
    #[expect(dead_code, reason = "locked until it is dropped")]
    file: Option<std::fs::File>,
}

struct Seen {
    token: i64,
    beat: i64,
    holder: String,
}

impl Journal {
    /// Takes the right to run its flows. A file's ends with the process, however that ends.
    ///
    /// # Errors
    ///
    /// Where another process has it: told at once of a file, of a server once its holder moved.
    pub async fn claim(&self) -> Result<Lease, JournalError> {
        if self.file.is_some() {
            let file = self.lock()?;
            let seen = self.seen().await?;
            return match self.take(&seen).await? {
                true => Ok(Lease { file: Some(file) }),
                false => Err(self.taken()),
            };
        }
        let first = self.seen().await?;
        let began = Instant::now();
        while !first.holder.is_empty() && began.elapsed() < STILL {
            tokio::time::sleep(LOOK).await;
            let now = self.seen().await?;
            if (now.token, now.beat) != (first.token, first.beat) {
                return Err(self.taken());
            }
        }
        match self.take(&first).await? {
            true => Ok(Lease { file: None }),
            false => Err(self.taken()),
        }
    }

    /// Whether nobody seems to have the lease: it was let go, or its holder has ended or stands still.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub async fn is_free(&self) -> Result<bool, JournalError> {
        if self.file.is_some() {
            return Ok(self.lock().is_ok());
        }
        let first = self.seen().await?;
        if first.holder.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(BEAT * 2).await;
        let now = self.seen().await?;
        Ok((now.token, now.beat) == (first.token, first.beat))
    }

    fn lock(&self) -> Result<std::fs::File, JournalError> {
        let failed = |error: std::io::Error| self.failed(sqlx::Error::Io(error));
        let mut lock = self.file.clone().unwrap_or_default().into_os_string();
        lock.push(".lock");
        let file = std::fs::File::create(&lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(self.taken()),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    async fn seen(&self) -> Result<Seen, JournalError> {
        let row = sqlx::query("SELECT token, beat, holder FROM lease WHERE id = 1")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(Seen {
            token: self.integer(&row, "token")?,
            beat: self.integer(&row, "beat")?,
            holder: self.text(&row, "holder")?,
        })
    }

    /// Takes the lease from whoever was seen, if nobody moved since.
    async fn take(&self, seen: &Seen) -> Result<bool, JournalError> {
        let mut change = self.begin().await?;
        let text = "UPDATE lease SET token = token + 1, beat = beat + 1, holder = $3 WHERE id = 1 AND token = $1 AND beat = $2";
        let query = sqlx::query(text)
            .bind(seen.token)
            .bind(seen.beat)
            .bind(format!("process {}", std::process::id()));
        let taken = self.run(query, &mut change).await? == 1;
        self.commit(change).await?;
        if taken {
            self.token.store(seen.token + 1, Ordering::SeqCst);
        }
        Ok(taken)
    }

    /// Shows that the holder lives, for as long as it does.
    ///
    /// # Errors
    ///
    /// Once another has taken over, or the journal does not answer in time.
    pub async fn hold(&self) -> Result<(), JournalError> {
        if self.file.is_some() {
            return std::future::pending().await;
        }
        loop {
            let beat = async { self.commit(self.begin_as_holder().await?).await };
            // A change of this very process may hold the row for longer: what counts is whose it is.
            if let Ok(beat) = tokio::time::timeout(PATIENCE, beat).await {
                beat?;
            } else {
                let late = || self.failed(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
                let seen = tokio::time::timeout(PATIENCE, self.seen()).await;
                let seen = seen.map_err(|_| late())??;
                if seen.token != self.token.load(Ordering::SeqCst) {
                    return Err(JournalError::Fenced {
                        at: self.at.clone(),
                    });
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Lets the lease go, so that another takes it at once.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be written.
    pub async fn release(&self, lease: Lease) -> Result<(), JournalError> {
        let mut change = self.begin_as_holder().await?;
        let query = sqlx::query("UPDATE lease SET holder = '' WHERE id = 1");
        self.run(query, &mut change).await?;
        self.commit(change).await?;
        drop(lease);
        Ok(())
    }

    /// Whether several processes may wait for its lease: one goes on where another ends.
    pub fn is_shared(&self) -> bool {
        self.file.is_none()
    }

    fn taken(&self) -> JournalError {
        JournalError::Taken {
            at: self.at.clone(),
        }
    }
}
