//! A recorded decision, as far as it can be judged again.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use vaultgate_pdp::{Budget, Decision, FaultCode, Obligation, SCHEMA};

/// Which records are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// From this time on, RFC 3339.
    pub(crate) since: Option<String>,
    /// Before this time.
    pub(crate) until: Option<String>,
    /// Of this class of operations.
    pub(crate) class: Option<String>,
    /// Of this subject, or of this person.
    pub(crate) principal: Option<String>,
    /// Of resources whose id begins so, in either case.
    pub(crate) resource: Option<String>,
}

/// What a decision comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    /// It goes on.
    Allow,
    /// It goes on once others have agreed.
    Approval,
    /// It does not.
    Deny,
}

impl Verdict {
    pub(crate) fn of(decision: &Decision) -> Verdict {
        match (decision.allow, decision.obligations.is_empty()) {
            (false, _) => Verdict::Deny,
            (true, true) => Verdict::Allow,
            (true, false) => Verdict::Approval,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Approval => "approval",
            Verdict::Deny => "deny",
        }
    }
}

/// One recorded decision.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Id of the decision.
    pub(crate) id: String,
    /// What was judged, as recorded.
    pub(crate) input: String,
    /// What was decided.
    pub(crate) decision: Decision,
    /// Digest of the bundle that decided.
    pub(crate) bundle: String,
    /// What of the input reports are by.
    pub(crate) about: About,
}

/// Of what and by whom a decision is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) class: String,
    pub(crate) operation: String,
    pub(crate) subject: String,
    pub(crate) vault: String,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// A decision that can be judged again.
    Decision(Box<Recorded>),
    /// One that cannot, and why.
    NotComparable(&'static str),
    /// Another kind of record, or one that the filter leaves out.
    Other,
}

#[derive(Deserialize)]
struct Line<'l> {
    kind: &'l str,
    id: &'l str,
    time: &'l str,
    #[serde(borrow)]
    input: Option<&'l RawValue>,
    decision: Option<Decided>,
    policy: Option<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    bundle: String,
}

/// A decision as records hold it.
#[derive(Deserialize)]
struct Decided {
    allow: bool,
    deny: Vec<vaultgate_pdp::Reason>,
    grants: Vec<serde_json::Value>,
    obligations: Vec<Obligation>,
    #[serde(default)]
    budgets: Vec<Budget>,
    fault: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Beside {
    blob: String,
}

#[derive(Deserialize)]
struct Input {
    schema: String,
    principal: Principal,
    operation: Operation,
    resource: Resource,
}

#[derive(Deserialize)]
struct Principal {
    subject: String,
    person: Option<String>,
}

#[derive(Deserialize)]
struct Operation {
    class: String,
    name: String,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    vault: Option<String>,
}

impl Read {
    /// Reads a line of the log in `dir`.
    pub(crate) fn of(dir: &Path, line: &[u8], filter: &Filter) -> Read {
        // Most lines of a log are of other kinds, and need no more than a look.
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
            return Read::Other;
        };
        let after = filter
            .since
            .as_deref()
            .is_none_or(|since| line.time >= since);
        let before = filter
            .until
            .as_deref()
            .is_none_or(|until| line.time < until);
        if line.kind != "decision" || !after || !before {
            return Read::Other;
        }
        let (Some(input), Some(decided), Some(policy)) = (line.input, line.decision, line.policy)
        else {
            return Read::NotComparable("incomplete");
        };
        let Some(input) = whole(dir, input) else {
            return Read::NotComparable("input not kept");
        };
        let Ok(read) = serde_json::from_str::<Input>(&input) else {
            return Read::NotComparable("input of another form");
        };
        if read.schema != SCHEMA {
            return Read::NotComparable("input of another schema");
        }
        if !filter.takes(&read) {
            return Read::Other;
        }
        if decided.fault.is_some() {
            // What a fault was due to is not in the record: time, or the machine.
            return Read::NotComparable("the policy could not decide");
        }
        let about = About {
            class: read.operation.class,
            operation: read.operation.name,
            subject: read.principal.subject,
            vault: read.resource.vault.unwrap_or(read.resource.id),
        };
        Read::Decision(Box::new(Recorded {
            id: line.id.to_owned(),
            input,
            decision: Decision {
                allow: decided.allow,
                deny: decided.deny,
                grants: decided.grants,
                obligations: decided.obligations,
                budgets: decided.budgets,
                fault: None,
            },
            bundle: policy.bundle,
            about,
        }))
    }
}

impl Filter {
    fn takes(&self, input: &Input) -> bool {
        let class = self
            .class
            .as_deref()
            .is_none_or(|class| class == input.operation.class);
        let principal = self.principal.as_deref().is_none_or(|who| {
            input.principal.subject == who || input.principal.person.as_deref() == Some(who)
        });
        let resource = self.resource.as_deref().is_none_or(|id| {
            let own = input.resource.id.to_ascii_lowercase();
            own.starts_with(&id.to_ascii_lowercase())
        });
        class && principal && resource
    }
}

/// The input of a record, if it has one.
pub(super) fn input(dir: &Path, line: &[u8]) -> Option<String> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    whole(dir, line.input?)
}

/// An input, wherever it stands.
fn whole(dir: &Path, input: &RawValue) -> Option<String> {
    match serde_json::from_str::<Beside>(input.get()) {
        Ok(beside) => kept(dir, &beside.blob),
        Err(_) => Some(input.get().to_owned()),
    }
}

/// A large input that is kept beside the log.
fn kept(dir: &Path, blob: &str) -> Option<String> {
    let digest = vaultgate_decision_log::Digest::parse(blob)?;
    let bytes = vaultgate_decision_log::blob::read(dir, &digest).ok()?;
    String::from_utf8(bytes).ok()
}

/// Whether a decision says that time was up: it says nothing of the policy.
pub(super) fn timed_out(decision: &Decision) -> bool {
    let fault = decision.fault.as_ref();
    fault.is_some_and(|fault| fault.code == FaultCode::PolicyTimeout)
}
