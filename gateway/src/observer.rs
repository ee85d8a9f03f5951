//! The gateway's own reads: announced in a durable record before they are made.
//!
//! Facts, inventory, custody and reconciliation all read Azure through here, so a
//! crash leaves no read under the reader identity that the log does not list.

use futures_util::future::join_all;
use serde::Serialize;
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};

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

/// Reads Azure with the reader identity, on the record.
#[derive(Clone)]
pub(crate) struct Observer {
    reader: Reader,
    recorder: Recorder,
}

impl Observer {
    /// An observer that writes to `recorder` before it reads with `reader`.
    pub(crate) fn new(reader: Reader, recorder: Recorder) -> Observer {
        Observer { reader, recorder }
    }

    /// Announces and makes these reads, all at once. An element is `None` when
    /// nobody answered; the call fails only when the reads could not be recorded.
    pub(crate) async fn read(
        &self,
        purpose: Purpose,
        decision: Option<Uuid>,
        reads: &[Read],
    ) -> Result<Vec<Option<ReadAnswer>>, RecordError> {
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
        self.recorder.write(Kind::Observation, id, &record, priority).await?;
        let made = reads.iter().map(|read| async move {
            let target = ReadTarget::new(read.target());
            match self.reader.get(id, &target, decision).await {
                Ok(answer) => Some(answer),
                Err(error) => {
                    tracing::warn!(%error, ?purpose, path = read.path, "a read got no answer");
                    None
                }
            }
        });
        Ok(join_all(made).await)
    }

    /// One read; `None` when it could not be recorded or nobody answered.
    pub(crate) async fn one(
        &self,
        purpose: Purpose,
        decision: Option<Uuid>,
        target: &str,
    ) -> Option<ReadAnswer> {
        let read = Read::planned(target, "");
        match self.read(purpose, decision, &[read]).await {
            Ok(mut answers) => answers.pop().flatten(),
            Err(error) => {
                tracing::warn!(%error, ?purpose, "a read could not be recorded and was not made");
                None
            }
        }
    }
}
