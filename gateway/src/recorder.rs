//! Writing down: what happened becomes durable here, or nothing happens.
//!
//! The record of a decision may refuse the request; the record of an outcome may
//! not, since the effect has taken place by then. Nothing is ever dropped: a full
//! queue or a failed disk is an error to whoever asks.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;
use vaultgate_decision_log::{
    AppendError, DecisionLog, Entry, Kind, LogError, Members, Priority, Receipt,
};
use vaultgate_pdp::Decision;

use crate::clock::Clock;
use crate::telemetry::Metrics;

/// A record whose input is longer than this keeps the input beside the log:
/// a leaf may have 65,535 bytes in all.
const MAX_INLINE_INPUT: usize = 48 << 10;

/// Why a record is not durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The log refused it.
    #[error("the decision log did not take the record: {0}")]
    Append(#[from] AppendError),
    /// No checkpoint could be made.
    #[error("no checkpoint could be made: {0}")]
    Checkpoint(#[from] LogError),
    /// It did not become durable in time. It may still; nothing was forwarded.
    #[error("the record did not become durable within {0:?}")]
    Late(Duration),
    /// A large input could not be kept beside the log.
    #[error("the input could not be kept beside the log: {0}")]
    Beside(String),
    /// The record could not be written as JSON.
    #[error("the record could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Which bundle and engine decided.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyRef {
    /// Digest of the bundle.
    pub(crate) bundle: String,
    /// Revision that the bundle names itself.
    pub(crate) revision: String,
    /// Engine and its version.
    pub(crate) engine: &'static str,
}

/// One read that the gateway made for a decision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Read {
    /// Canonical path.
    pub(crate) path: String,
    /// Canonical query.
    pub(crate) query: String,
    /// What it was read for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) purpose: &'static str,
    /// HTTP status, or none when nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Age of the answer when it was used, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_ms: Option<u64>,
    /// Digest of the answer's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
}

impl Read {
    /// A read that is about to be made.
    pub(crate) fn planned(target: &str, purpose: &'static str) -> Read {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Read {
            path: path.to_owned(),
            query: query.to_owned(),
            purpose,
            status: None,
            age_ms: None,
            digest: None,
        }
    }

    /// Path and query as sent.
    pub(crate) fn target(&self) -> String {
        format!("{}?{}", self.path, self.query)
    }
}

/// What is sent to Azure if the record becomes durable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Forward {
    /// HTTP method.
    pub(crate) method: String,
    /// Path as sent.
    pub(crate) path: String,
    /// Query as sent.
    pub(crate) query: String,
    /// Hex SHA-256 of the body as sent.
    pub(crate) body_sha256: String,
    /// The request id that Azure sees: the decision's own.
    pub(crate) client_request_id: Uuid,
}

/// Why a request was refused, as the record tells it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RefusalNote {
    /// Stable reason code.
    pub(crate) reason: &'static str,
    /// ARM error code of the answer.
    pub(crate) code: String,
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// What the caller was told.
    pub(crate) message: String,
}

/// The token that a caller showed, as far as it may be written down: enough to find
/// it in the issuer's own logs, nothing to use it with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TokenNote {
    /// Configured name of the issuer.
    pub(crate) issuer: String,
    /// The issuer's own name of the token.
    pub(crate) id: Option<String>,
    /// Hex SHA-256 of the whole token.
    pub(crate) sha256: String,
    /// When it ends.
    pub(crate) expires: String,
}

/// What a candidate bundle would have decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ShadowNote {
    /// Digest of the candidate.
    pub(crate) bundle: String,
    /// Whether it would allow.
    pub(crate) allow: bool,
    /// Codes of its denials.
    pub(crate) deny: Vec<String>,
    /// How many others would have to approve.
    pub(crate) quorum: Option<u32>,
}

/// A judged request.
#[derive(Serialize)]
pub(crate) struct DecisionRecord<'r> {
    /// `allow` or `deny`.
    pub(crate) verdict: &'static str,
    /// Which token proved who asks; never the token.
    pub(crate) token: Option<&'r TokenNote>,
    /// The policy input, exactly as evaluated; or where it is kept.
    pub(crate) input: Inlined<'r>,
    /// What policy returned.
    pub(crate) decision: &'r Decision,
    /// Which bundle and engine decided.
    pub(crate) policy: &'r PolicyRef,
    /// Digest of the effective configuration.
    pub(crate) config: &'r str,
    /// Digest of the catalogue of operations.
    pub(crate) catalogue: &'r str,
    /// The gateway's reads for this decision.
    pub(crate) reads: &'r [Read],
    /// What goes to Azure, if anything.
    pub(crate) forward: Option<&'r Forward>,
    /// The refusal that the caller gets, if any.
    pub(crate) refusal: Option<RefusalNote>,
    /// The decision whose stored reply is given instead of a new effect.
    pub(crate) replayed_of: Option<Uuid>,
    /// The decision that this one is a step of: a write that the gateway adds by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) part_of: Option<Uuid>,
    /// The approval that was asked for, used or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<ApprovalNote>,
    /// What a candidate bundle would have decided otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowNote>,
}

/// An approval, as records tell it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApprovalNote {
    /// What the record's own decision does with it: `asked`, `used`, `void`, `refused`; in a
    /// record of the approval alone its state.
    pub(crate) event: &'static str,
    /// Its id.
    pub(crate) id: Uuid,
    /// The digest that binds it.
    pub(crate) digest: String,
    /// Its state.
    pub(crate) state: &'static str,
    /// The decision that asked for it.
    pub(crate) asked_by: Uuid,
    /// The bundle that asked for it: the record's own `policy` is the one of now.
    pub(crate) asked_under: Asked,
    /// Until when it holds.
    pub(crate) expires: String,
    /// Who has consented.
    pub(crate) approvers: Vec<Consent>,
}

impl ApprovalNote {
    /// The note of a decision that `sends` its request, or does not after all.
    pub(crate) fn of(mut self, sends: bool) -> ApprovalNote {
        if !sends && self.event == "used" {
            self.event = "shown";
        }
        self
    }
}

/// A bundle by digest and revision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Asked {
    /// Digest.
    pub(crate) bundle: String,
    /// Revision that it names itself.
    pub(crate) revision: String,
}

/// One person's consent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Consent {
    /// The person.
    pub(crate) person: String,
    /// Issuer of the token that proved it.
    pub(crate) issuer: String,
    /// Subject at that issuer.
    pub(crate) subject: String,
    /// When.
    pub(crate) at: String,
}

/// Something that happened to an approval beside decisions.
#[derive(Serialize)]
pub(crate) struct ApprovalEvent<'r> {
    /// `approve`, `reject`, `veto`, `void` or `expire`.
    pub(crate) event: &'static str,
    /// The approval after it.
    pub(crate) approval: ApprovalNote,
    /// Who did it; none when the gateway did.
    pub(crate) principal: Option<&'r vaultgate_pdp::Principal>,
    /// Which token proved who it was.
    pub(crate) token: Option<&'r TokenNote>,
    /// Why, in their words.
    pub(crate) why: &'r str,
}

/// The input inside the record, or its digest when it is too long for a leaf.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Inlined<'r> {
    /// The document itself.
    Here(&'r RawValue),
    /// Where it stands.
    Beside {
        /// Digest under `blobs/` beside the log.
        blob: String,
        /// Its length.
        bytes: usize,
    },
}

/// Writes records and waits until they are durable.
#[derive(Clone)]
pub(crate) struct Recorder {
    log: Arc<DecisionLog>,
    clock: Clock,
    metrics: Arc<Metrics>,
    timeout: Duration,
}

impl Recorder {
    /// A recorder on an open log.
    pub(crate) fn new(
        log: Arc<DecisionLog>,
        clock: Clock,
        metrics: Arc<Metrics>,
        timeout: Duration,
    ) -> Recorder {
        Recorder {
            log,
            clock,
            metrics,
            timeout,
        }
    }

    /// The log itself, for what only reads it.
    pub(crate) fn log(&self) -> &DecisionLog {
        &self.log
    }

    /// Puts the input into the record, or beside the log when it is long.
    /// What stands beside the log is durable before the record that names it.
    pub(crate) async fn inline<'r>(&self, input: &'r RawValue) -> Result<Inlined<'r>, RecordError> {
        let text = input.get();
        if text.len() <= MAX_INLINE_INPUT {
            return Ok(Inlined::Here(input));
        }
        let blob = self.keep("input", text.as_bytes().to_vec()).await?;
        Ok(Inlined::Beside {
            blob,
            bytes: text.len(),
        })
    }

    /// Keeps bytes beside the log by their digest, durable before this returns.
    pub(crate) async fn keep(
        &self,
        kind: &'static str,
        bytes: Vec<u8>,
    ) -> Result<String, RecordError> {
        let log = Arc::clone(&self.log);
        let kept = tokio::task::spawn_blocking(move || log.store_blob(kind, &bytes)).await;
        match kept {
            Ok(Ok(digest)) => Ok(digest.to_string()),
            Ok(Err(error)) => Err(RecordError::Beside(error.to_string())),
            Err(error) => Err(RecordError::Beside(error.to_string())),
        }
    }

    /// Writes one record and waits until it is durable.
    pub(crate) async fn write<T: Serialize>(
        &self,
        kind: Kind,
        id: Uuid,
        record: &T,
        priority: Priority,
    ) -> Result<Receipt, RecordError> {
        let began = self.clock.monotonic();
        let (told, durable) = oneshot::channel();
        let entry = entry(kind, id, record)?;
        self.log.append(entry, priority, move |result| {
            // Nobody listening any more means the caller has gone; the record stays.
            let _ = told.send(result);
        })?;
        let receipt = match tokio::time::timeout(self.timeout, durable).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) | Err(_) => return Err(RecordError::Late(self.timeout)),
        };
        let took = self.clock.monotonic().saturating_duration_since(began);
        self.metrics.durable(took.as_secs_f64());
        Ok(receipt)
    }

    /// Signs a checkpoint of what is durable and returns its note.
    pub(crate) async fn checkpoint(&self) -> Result<String, RecordError> {
        let log = Arc::clone(&self.log);
        match tokio::task::spawn_blocking(move || log.checkpoint()).await {
            Ok(signed) => Ok(signed?.note),
            Err(_) => Err(RecordError::Late(self.timeout)),
        }
    }

    /// Writes a record that nobody waits for: an outcome, an aggregate. A failure
    /// is loud, and the intent without an outcome stays visible in the log.
    pub(crate) fn note<T: Serialize>(&self, kind: Kind, id: Uuid, record: &T) {
        let noted = entry(kind, id, record).and_then(|entry| {
            let done = move |result| loud(id, result);
            Ok(self.log.append(entry, Priority::Restore, done)?)
        });
        loud(id, noted);
    }

    /// The same for what changed nothing: it waits a moment for others to be written
    /// with. A crash in that moment leaves a read without its outcome.
    pub(crate) fn note_soon<T: Serialize>(&self, kind: Kind, id: Uuid, record: &T) {
        let noted = entry(kind, id, record).and_then(|entry| {
            let done = move |result| loud(id, result);
            Ok(self.log.append_soon(entry, Priority::Restore, done)?)
        });
        loud(id, noted);
    }
}

fn entry<T: Serialize>(kind: Kind, id: Uuid, record: &T) -> Result<Entry, RecordError> {
    Ok(Entry {
        kind,
        id: id.to_string(),
        fields: Members::of(record).map_err(AppendError::from)?,
    })
}

/// Says that a record which nobody waits for is not there.
fn loud<T, E: std::fmt::Display>(id: Uuid, written: Result<T, E>) {
    if let Err(error) = written {
        tracing::error!(%error, record = %id, "a record was not written");
    }
}
