//! The gateway's own reads: announced in a durable record before they are made.
//!
//! Facts, inventory, custody and reconciliation all read Azure through here, so a
//! crash leaves no read under the reader identity that the log does not list.

use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};

use crate::admit::{Admission, Limited};
use crate::recorder::{Read, RecordError, Recorder};
use crate::upstream::{ReadAnswer, ReadTarget, Reader};

/// What the gateway reads Azure for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// State before a change.
    Facts,
    /// Counting the estate.
    Inventory,
    /// Whether an operation has ended.
    Custody,
    /// What a crash left open.
    Reconciliation,
    /// `vaultgate doctor`.
    Doctor,
}

#[derive(Serialize)]
struct Observation<'o> {
    purpose: Purpose,
    decision: Option<Uuid>,
    reads: &'o [Read],
}

/// Why reads were not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    /// They could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The rest of Azure's budget is kept for restores.
    #[error(transparent)]
    Limited(#[from] Limited),
}

/// Reads Azure with the reader identity, on the record and within Azure's budget.
#[derive(Clone)]
pub(crate) struct Observer {
    reader: Reader,
    recorder: Recorder,
    admission: Arc<Admission>,
}

impl Observer {
    /// An observer that writes to `recorder` before it reads with `reader`.
    pub(crate) fn new(reader: Reader, recorder: Recorder, admission: Arc<Admission>) -> Observer {
        Observer {
            reader,
            recorder,
            admission,
        }
    }

    /// Announces and makes these reads, all at once; `for_restore` opens the share of
    /// the budget that is kept for restores. An element is `None` when nobody answered.
    pub(crate) async fn read(
        &self,
        purpose: Purpose,
        decision: Option<Uuid>,
        reads: &[Read],
        for_restore: bool,
    ) -> Result<Vec<Option<ReadAnswer>>, ObserveError> {
        for read in reads {
            self.admission
                .gateway_read(subscription(&read.path), for_restore)?;
        }
        let id = Uuid::now_v7();
        let record = Observation {
            purpose,
            decision,
            reads,
        };
        // Facts and reconciliation serve restores too: they may use the last space.
        let priority = match purpose {
            Purpose::Facts | Purpose::Reconciliation => Priority::Restore,
            _ => Priority::Normal,
        };
        self.recorder
            .write(Kind::Observation, id, &record, priority)
            .await?;
        let made = reads.iter().map(|read| async move {
            let target = ReadTarget::new(read.target());
            match self.reader.get(id, &target, decision).await {
                Ok(answer) => {
                    if answer.status == StatusCode::TOO_MANY_REQUESTS {
                        let from = subscription(&read.path);
                        self.admission
                            .note_reader_throttled(from, answer.retry_after);
                    }
                    Some(answer)
                }
                Err(error) => {
                    tracing::warn!(%error, ?purpose, path = read.path, "a read got no answer");
                    None
                }
            }
        });
        Ok(join_all(made).await)
    }

    /// One read in the background, which waits for its turn; `None` when it could not
    /// be recorded or nobody answered. What is read before the doors open waits for
    /// nothing: a throttled Azure must not keep restores out.
    pub(crate) async fn one(
        &self,
        purpose: Purpose,
        decision: Option<Uuid>,
        target: &str,
    ) -> Option<ReadAnswer> {
        let read = [Read::planned(target, "")];
        loop {
            let urgent = purpose == Purpose::Reconciliation;
            match self.read(purpose, decision, &read, urgent).await {
                Ok(mut answers) => return answers.pop().flatten(),
                Err(ObserveError::Limited(limited)) if urgent => {
                    tracing::warn!(%limited, ?purpose, "a read was not made");
                    return None;
                }
                Err(ObserveError::Limited(limited)) => {
                    tokio::time::sleep(limited.retry_after).await;
                }
                Err(ObserveError::Record(error)) => {
                    tracing::warn!(%error, ?purpose, "a read could not be recorded and was not made");
                    return None;
                }
            }
        }
    }
}

/// Whose budget a read takes from.
fn subscription(path: &str) -> Option<&str> {
    let mut segments = path.split('/').skip(1);
    let scope = segments.next()?;
    scope
        .eq_ignore_ascii_case("subscriptions")
        .then(|| segments.next())?
}
