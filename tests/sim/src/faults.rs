//! Faults that a test switches on: what matches, what goes wrong, how many times.
//!
//! A fault is taken after the journal entry is written, never before. Whether the
//! request still takes effect is said by the fault: an answer lost *after* the effect
//! and a request lost *before* it look the same to the caller, and both must be tried.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::journal::Identity;

/// One rule: the requests it takes and what it does to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which requests; an empty match takes every request.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// What goes wrong.
    pub fault: Fault,
    /// How many requests it takes before it is spent; without it, all.
    #[serde(default)]
    pub times: Option<u64>,
    /// Lets this many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
}

/// Which requests a fault takes. Every member given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The method, exactly.
    pub method: Option<String>,
    /// A part of the raw path, without regard to ASCII case.
    pub path_contains: Option<String>,
    /// Whose token the request carries.
    pub identity: Option<Identity>,
    /// `arm`, `idp`, `keyvault`, `imds` or `metadata`.
    pub surface: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// `status`: the status code (default 500). `redirect`: default 307.
    pub status: Option<u16>,
    /// `status`: the error code in the ARM body.
    pub code: Option<String>,
    /// `status`: the value of `Retry-After`, verbatim.
    pub retry_after: Option<serde_json::Value>,
    /// `slow`, `stall`: milliseconds.
    pub ms: Option<u64>,
    /// `wrong-body`: the bytes to answer with. `raw`, `split-header`: the whole answer.
    pub body: Option<String>,
    /// `wrong-body`: the content type.
    pub content_type: Option<String>,
    /// `redirect`: where to.
    pub location: Option<String>,
    /// `huge-body`: how many bytes (default 64 MiB).
    pub bytes: Option<u64>,
    /// `freeze`: a program and its arguments, run once the entry is durable.
    pub command: Option<Vec<String>>,
    /// Whether the request takes effect; the default depends on the kind.
    pub effect: Option<bool>,
    /// Extra header lines of the answer (`status`, `wrong-body`).
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Waits `ms`, then answers as usual.
    Slow,
    /// Holds the request for `ms` (default: an hour), then drops the connection.
    Stall,
    /// Drops the connection without an answer.
    Reset,
    /// Answers with a status and an ARM error.
    Status,
    /// Takes effect and answers with a body that is not what ARM sends.
    WrongBody,
    /// Answers with a redirect.
    Redirect,
    /// Answers with the request's own headers, in headers and body.
    ReflectHeaders,
    /// Answers with a body without end, or nearly.
    HugeBody,
    /// Answers with a header line that a careless client splits (HTTP/1.1 only).
    SplitHeader,
    /// Answers with the bytes of `body`, exactly (HTTP/1.1 only).
    Raw,
    /// Runs `command` and holds the answer until `POST /_sim/thaw`.
    Freeze,
}

impl Fault {
    /// A fault of this kind, with nothing else said.
    pub fn new(kind: FaultKind) -> Fault {
        Fault {
            kind,
            status: None,
            code: None,
            retry_after: None,
            ms: None,
            body: None,
            content_type: None,
            location: None,
            bytes: None,
            command: None,
            effect: None,
            headers: Vec::new(),
        }
    }

    /// Whether the request still does what it asks.
    pub(crate) fn takes_effect(&self) -> bool {
        self.effect.unwrap_or(matches!(
            self.kind,
            FaultKind::Slow | FaultKind::WrongBody | FaultKind::SplitHeader | FaultKind::Freeze
        ))
    }
}

struct Armed {
    rule: FaultRule,
    left: Option<u64>,
    skip: u64,
}

/// The faults that are switched on, and the requests that are held.
pub(crate) struct Faults {
    armed: Mutex<Vec<Armed>>,
    thaw: watch::Sender<u64>,
    frozen: AtomicUsize,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        Faults {
            armed: Mutex::new(Vec::new()),
            thaw: watch::Sender::new(0),
            frozen: AtomicUsize::new(0),
        }
    }

    pub(crate) fn add(&self, rule: FaultRule) {
        let (left, skip) = (rule.times, rule.skip);
        self.armed().push(Armed { rule, left, skip });
    }

    pub(crate) fn list(&self) -> Vec<FaultRule> {
        self.armed()
            .iter()
            .map(|armed| FaultRule {
                times: armed.left,
                ..armed.rule.clone()
            })
            .collect()
    }

    pub(crate) fn clear(&self) {
        self.armed().clear();
    }

    /// The first fault that takes this request, counted down.
    pub(crate) fn take(
        &self,
        surface: &str,
        method: &str,
        path: &str,
        identity: Identity,
    ) -> Option<Fault> {
        let mut armed = self.armed();
        let mut taken = None;
        for one in armed.iter_mut() {
            if !one.rule.matching.holds(surface, method, path, identity) {
                continue;
            }
            if one.skip > 0 {
                one.skip -= 1;
                continue;
            }
            one.left = one.left.map(|left| left.saturating_sub(1));
            taken = Some(one.rule.fault.clone());
            break;
        }
        armed.retain(|one| one.left != Some(0));
        taken
    }

    /// Waits for the next thaw; counted as frozen meanwhile.
    pub(crate) async fn hold(&self) {
        let mut thaw = self.thaw.subscribe();
        let _held = Held::new(&self.frozen);
        // An error means that the emulator is being dropped: nothing is left to hold for.
        let _ = thaw.changed().await;
    }

    pub(crate) fn thaw(&self) {
        self.thaw.send_modify(|count| *count += 1);
    }

    /// How many requests are held now.
    pub(crate) fn frozen(&self) -> usize {
        self.frozen.load(Ordering::SeqCst)
    }

    fn armed(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a held request for as long as somebody waits for its answer.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize) -> Held<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Held(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Match {
    fn holds(&self, surface: &str, method: &str, path: &str, identity: Identity) -> bool {
        let path_holds = self.path_contains.as_ref().is_none_or(|part| {
            path.to_ascii_lowercase()
                .contains(&part.to_ascii_lowercase())
        });
        path_holds
            && self
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.identity.is_none_or(|wanted| wanted == identity)
            && self.surface.as_ref().is_none_or(|wanted| wanted == surface)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::{FaultKind, Faults};
    use crate::journal::Identity;

    #[test]
    fn a_fault_is_spent_after_its_times_and_skips_first() {
        let faults = Faults::new();
        let rule = json!({"match": {"method": "POST", "path_contains": "/BACKUP"},
            "fault": {"kind": "status", "status": 429, "retry_after": 1}, "times": 1, "skip": 1});
        faults.add(serde_json::from_value(rule).unwrap());
        let take = |method| faults.take("arm", method, "/x/backup", Identity::Operator);
        assert!(take("GET").is_none());
        assert!(take("POST").is_none(), "skipped");
        assert_eq!(take("POST").unwrap().kind, FaultKind::Status);
        assert!(take("POST").is_none(), "spent");
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_misspelt_fault_is_refused() {
        for wrong in [
            json!({"fault": {"kind": "stal"}}),
            json!({"match": {"path": "x"}, "fault": {"kind": "stall"}}),
            json!({"match": {}}),
        ] {
            assert!(serde_json::from_value::<super::FaultRule>(wrong).is_err());
        }
    }

    #[test]
    fn a_lost_answer_differs_from_a_lost_request() {
        let fault = |rule| serde_json::from_value::<super::Fault>(rule).unwrap();
        assert!(fault(json!({"kind": "freeze"})).takes_effect());
        assert!(!fault(json!({"kind": "reset"})).takes_effect());
        assert!(fault(json!({"kind": "reset", "effect": true})).takes_effect());
    }
}
