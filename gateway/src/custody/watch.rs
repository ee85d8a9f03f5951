//! Looks whether accepted operations have ended, also when no caller polls.
//!
//! The end of an operation is recorded as a later outcome of its decision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;
use vaultgate_decision_log::Kind;

use crate::clock::Clock;
use crate::observer::{Observer, Purpose};
use crate::recorder::Recorder;

/// Operations watched at once; beyond, the oldest is left to its caller's polls.
const MAX_WATCHED: usize = 10_000;
/// An operation that has not ended by then is left alone.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(48);

struct Watched {
    target: String,
    since: Timestamp,
}

/// Follows accepted operations to their end.
#[derive(Clone)]
pub(crate) struct Watcher {
    observer: Observer,
    recorder: Recorder,
    clock: Clock,
    every: Duration,
    watched: Arc<Mutex<HashMap<Uuid, Watched>>>,
}

impl Watcher {
    /// A watcher that looks at each operation once in `every`.
    pub(crate) fn new(
        observer: Observer,
        recorder: Recorder,
        clock: Clock,
        every: Duration,
    ) -> Watcher {
        Watcher {
            observer,
            recorder,
            clock,
            every,
            watched: Arc::default(),
        }
    }

    /// Starts to watch an operation: its poll URL's path and query.
    pub(crate) fn add(&self, decision: Uuid, target: String) {
        let since = self.clock.now();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() >= MAX_WATCHED {
            let oldest = watched
                .iter()
                .min_by_key(|(_, w)| w.since)
                .map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                watched.remove(&oldest);
            }
        }
        watched.insert(decision, Watched { target, since });
    }

    /// Takes note of a poll's answer; records the operation's end once.
    pub(crate) fn saw(&self, decision: Uuid, answer: &[u8]) {
        let Some(operation) = ended(answer) else {
            return;
        };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever removes the entry records the end: a caller's poll or our own.
        if watched.remove(&decision).is_some() {
            drop(watched);
            let outcome = match operation.get("status").and_then(Value::as_str) {
                Some("Succeeded" | "Completed" | "CompletedWithWarnings") => "succeeded",
                _ => "failed",
            };
            let record = json!({"decision": decision, "outcome": outcome, "status": null,
                "operation": operation});
            self.recorder.note(Kind::Outcome, Uuid::now_v7(), &record);
        }
    }

    /// Looks at every watched operation, again and again, until `stop` turns true.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for (decision, target) in self.due() {
                self.look(decision, &target).await;
            }
        }
    }

    fn due(&self) -> Vec<(Uuid, String)> {
        let now = self.clock.now();
        let every = SignedDuration::try_from(self.every).unwrap_or(SignedDuration::ZERO);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, w| now.duration_since(w.since) < MAX_AGE);
        let old_enough = watched
            .iter()
            .filter(|(_, w)| now.duration_since(w.since) >= every);
        old_enough.map(|(id, w)| (*id, w.target.clone())).collect()
    }

    async fn look(&self, decision: Uuid, target: &str) {
        let answer = self
            .observer
            .one(Purpose::Custody, Some(decision), target)
            .await;
        if let Some(answer) = answer {
            self.saw(decision, &answer.body);
        }
    }
}

/// What ended, when the answer of a status URL, or a job, says that something did.
fn ended(answer: &[u8]) -> Option<Value> {
    let status: Value = serde_json::from_slice(answer).ok()?;
    let Some(state) = status.get("status").and_then(Value::as_str) else {
        let state = status.pointer("/properties/status")?.as_str()?;
        let over = ["Completed", "CompletedWithWarnings", "Failed", "Cancelled"];
        return over.contains(&state).then(|| {
            json!({"status": state, "job_id": status.get("name"), "error": null,
                "ended": status.pointer("/properties/endTime")})
        });
    };
    if !matches!(state, "Succeeded" | "Failed" | "Canceled" | "Cancelled") {
        return None;
    }
    Some(json!({
        "status": state,
        "job_id": status.pointer("/properties/jobId"),
        "error": status.pointer("/error/code"),
        "ended": status.get("endTime"),
    }))
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn only_a_final_state_is_an_end() {
        let running = br#"{"status":"InProgress","endTime":"0001-01-01T00:00:00Z"}"#;
        assert!(ended(running).is_none());
        let done = br#"{"status":"Succeeded","properties":{"jobId":"j1"}}"#;
        let job = ended(done).and_then(|e| e.get("job_id").cloned());
        assert_eq!(job, Some("j1".into()));
        let job = br#"{"name":"j2","properties":{"status":"Completed"}}"#;
        assert_eq!(
            ended(job).and_then(|e| e.get("job_id").cloned()),
            Some("j2".into())
        );
        assert!(ended(br#"{"name":"j2","properties":{"status":"InProgress"}}"#).is_none());
        for none in [&b""[..], b"{}", b"[]", br#"{"status":5}"#] {
            assert!(ended(none).is_none());
        }
    }
}
