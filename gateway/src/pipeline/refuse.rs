//! The single exit of refusals: recorded once, rendered once.
//!
//! A stranger cannot fill the disk: of refusals before authentication the first
//! few of a source, reason and minute are full records, the rest are counted.
//! A token that a configured issuer did sign is always a full record.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};

use super::Pipeline;
use super::arrival::Arrival;
use super::trail::{AskedNote, Bearer, Trail};
use crate::admit::{Disposition, RefusalLedger, RefusalSource};
use crate::listener::Answer;
use crate::recorder::RefusalNote;
use crate::refusal::{Refusal, Verdict};

/// Longest part of a target that a refusal's record keeps, characters.
const MAX_TARGET: usize = 2 << 10;
/// Longest segment that is kept whole: names of resources are shorter, tokens longer.
const MAX_SEGMENT: usize = 160;

/// Which refusals are full records and which are counted.
pub(crate) type Ledger = Arc<RefusalLedger>;

#[derive(Serialize)]
struct RefusalRecord<'r> {
    refusal: RefusalNote,
    principal: Option<&'r vaultgate_pdp::Principal>,
    bearer: Option<&'r Bearer>,
    operation: Option<&'r AskedNote>,
    request: RequestNote<'r>,
}

#[derive(Serialize)]
struct RequestNote<'r> {
    method: &'r str,
    target: String,
    remote: String,
    tls: &'static str,
    http: &'static str,
}

#[derive(Serialize)]
struct CountRecord<'r> {
    aggregated: bool,
    source: String,
    reason: &'r str,
    minute: String,
    count: u64,
}

impl Pipeline {
    /// Records and renders a refusal.
    pub(crate) async fn refuse(
        &self,
        arrival: &Arrival,
        mut trail: Trail,
        refusal: Refusal,
    ) -> Answer {
        let took = self
            .clock
            .monotonic()
            .saturating_duration_since(trail.began);
        self.metrics.request(
            trail.class(),
            refusal.verdict.as_str(),
            refusal.reason,
            took.as_secs_f64(),
        );
        // Tries at what the gateway itself refuses count like denials: who probes is seen.
        if trail.receipt.is_none()
            && refusal.verdict == Verdict::Deny
            && let Some(caller) = &trail.caller
        {
            // By the operation's name, so that policy sees who tried to change a lock.
            let unnamed = trail.blocked.unwrap_or(refusal.reason);
            let operation = trail.asked.as_ref().map_or(unnamed, |asked| &asked.name);
            self.activity.note_refused(caller, operation, arrival.at);
        }
        // A denied request's decision is its record already.
        if trail.receipt.is_none() && self.wants_full_record(arrival, &trail, &refusal) {
            let kind = match trail.caller {
                Some(_) => Kind::Refusal,
                None => Kind::Unauthenticated,
            };
            let record = refusal_record(arrival, &trail, &refusal);
            match self
                .recorder
                .write(kind, trail.id, &record, Priority::Normal)
                .await
            {
                Ok(receipt) => trail.receipt = Some(receipt.to_string()),
                // Refused either way: nothing was forwarded that lacks a record.
                Err(error) => tracing::error!(%error, "a refusal was not recorded"),
            }
        }
        let id = trail.receipt.is_some().then_some(trail.id);
        refusal.render(id, trail.receipt.as_deref())
    }

    fn wants_full_record(&self, arrival: &Arrival, trail: &Trail, refusal: &Refusal) -> bool {
        let always = trail.signed || (trail.caller.is_some() && refusal.verdict != Verdict::Limit);
        let source = match &trail.caller {
            Some(caller) => RefusalSource::Principal(caller.key()),
            None => arrival.peer.source.ip().into(),
        };
        always || self.ledger.note(source, refusal.reason, arrival.at) == Disposition::Full
    }

    /// Writes the counts of refusals that were not recorded one by one: of the
    /// minutes that are over, and of the running one too when the gateway `stops`.
    pub(crate) fn flush_counts(&self, stops: bool) {
        let counts = if stops {
            self.ledger.drain_all()
        } else {
            self.ledger.drain(self.clock.now())
        };
        for count in counts {
            let record = CountRecord {
                aggregated: true,
                source: count.source.to_string(),
                reason: count.reason,
                minute: count.minute.to_string(),
                count: count.count,
            };
            self.recorder
                .note(Kind::Unauthenticated, Uuid::now_v7(), &record);
        }
    }
}

fn refusal_record<'r>(
    arrival: &'r Arrival,
    trail: &'r Trail,
    refusal: &Refusal,
) -> RefusalRecord<'r> {
    RefusalRecord {
        refusal: RefusalNote::of(refusal),
        principal: trail.caller.as_deref(),
        bearer: trail.bearer.as_ref(),
        operation: trail.asked.as_ref(),
        request: RequestNote {
            method: arrival.method.as_str(),
            target: without_secrets(&arrival.target),
            remote: arrival.peer.source.ip().to_string(),
            tls: arrival.peer.tls,
            http: arrival.http,
        },
    }
}

/// A target as a record may keep it. Of the query only what ARM's own parameters say:
/// people put tokens and keys into URLs, and what nobody understood may be one.
fn without_secrets(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut told = String::new();
    for (n, segment) in path.split('/').enumerate() {
        told.push_str(if n == 0 { "" } else { "/" });
        match segment.char_indices().nth(MAX_SEGMENT) {
            Some(_) => told.extend(segment.chars().take(32).chain(['…'])),
            None => told.push_str(segment),
        }
    }
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let own = name.eq_ignore_ascii_case("api-version") || name.starts_with('$');
        told.push(separator);
        told.extend(name.chars().take(MAX_SEGMENT));
        told.push('=');
        told.push_str(if own { value } else { "…" });
        separator = '&';
    }
    match told.char_indices().nth(MAX_TARGET) {
        Some((end, _)) => told.get(..end).unwrap_or_default().to_owned(),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn a_token_in_a_url_is_not_written_down() {
        let token = "e".repeat(300);
        let told = without_secrets(&format!(
            "/a/{token}/b?access_token={token}&api-version=1&x"
        ));
        assert_eq!(
            told,
            format!("/a/{}…/b?access_token=…&api-version=1&x=…", "e".repeat(32))
        );
        assert!(without_secrets(&"/x".repeat(9_000)).len() < 3_000);
    }
}
