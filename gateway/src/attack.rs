//! Published attacks on backups, played against a bundle: at which step each dies and by which
//! rule, and what would stop it if that rule were not there.
//!
//! Requests are understood, settled and counted by the code that serves; only Azure is an
//! estate in memory, and time is the story's. An attacker goes on when a step is refused, and
//! has the approvals that the story gives them.

mod estate;
mod report;
mod story;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use vaultgate_arm::Classified;
use vaultgate_pdp::{
    Bundle, Claimed, Decision, Flow, Input, Json, Limits, Obligation, Operation, Policy, Principal,
    Rejected, Request, Resource, Restore, SCHEMA, Transport, replay,
};

use crate::activity::{Activity, ActivityEvent, ActivityView};

use estate::{Estate, ITEMS};

pub(crate) use report::{Report, markdown};
pub(crate) use story::{Roles, Story};

/// Address that attacks come from (RFC 5737).
const REMOTE: &str = "203.0.113.66";
/// When attacks begin: a Monday, before dawn.
const BEGIN: &str = "2026-03-02T03:00:00Z";
/// Most layers that are looked for behind each other.
const MAX_LAYERS: usize = 16;

/// What stood in the way of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The gateway itself, whatever policy says.
    Gateway(&'static str),
    /// Rules, by their codes.
    Rules(Vec<String>),
    /// So many others must approve, and the attacker has fewer.
    Approval {
        /// How many must.
        quorum: u32,
        /// How many would.
        has: u32,
    },
    /// Nothing grants it.
    Ungranted,
    /// The policy could not decide.
    Fault(String),
}

impl Stop {
    /// Codes of the rules that stop, as far as rules do.
    fn codes(&self) -> Vec<String> {
        match self {
            Stop::Rules(codes) => codes.clone(),
            Stop::Approval { .. } => vec!["approval".to_owned()],
            Stop::Gateway(_) | Stop::Ungranted | Stop::Fault(_) => Vec::new(),
        }
    }
}

/// How one step went.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// How many attempts reached their end.
    pub(crate) passed: u32,
    /// The first attempt that did not, counted from 1, and what stood in its way.
    pub(crate) stopped: Option<(u32, Stop)>,
}

/// One run of a story.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Each step.
    pub(crate) steps: Vec<Played>,
    /// The step at which it died, and what it died of; none when it went through.
    pub(crate) died: Option<(usize, u32, Stop)>,
}

/// Who plays, and where.
pub(crate) struct Stage<'s> {
    /// Which roles of the bundle are meant.
    pub(crate) roles: Roles,
    /// Subscription of the estate.
    pub(crate) subscription: &'s str,
}

impl Stage<'_> {
    /// Plays a story against a bundle; then against the same bundle without the rules that
    /// stopped it, and so on, until it goes through or something stops it that is no rule.
    pub(crate) fn play(&self, story: &Story, bundle: &Bundle) -> Result<Report, Rejected> {
        let mut bundle = bundle.clone();
        let mut runs = Vec::new();
        while runs.len() < MAX_LAYERS {
            let policy = Policy::admit(bundle.clone(), &Limits::default())?;
            let run = self.run(story, &policy);
            let codes = run.died.as_ref().map(|(_, _, stop)| stop.codes());
            runs.push(run);
            let Some(codes) = codes.filter(|codes| !codes.is_empty()) else {
                break;
            };
            let mut weaker = None;
            for code in codes {
                let less = weaker.as_ref().unwrap_or(&bundle).without(&code);
                weaker = less.or(weaker);
            }
            match weaker {
                Some(less) => bundle = less,
                None => break,
            }
        }
        Ok(Report::of(story, runs))
    }

    /// Plays a story once.
    fn run(&self, story: &Story, policy: &Policy) -> Run {
        let mut scene = Scene {
            policy,
            principal: story.attacker.principal(&self.roles),
            approvers: story.attacker.approvers,
            estate: story.estate.clone(),
            activity: Activity::new(&crate::config::limits::Limits::defaults()),
            now: BEGIN.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            records: 0,
        };
        scene.activity.set_estate_items(Some(ITEMS));
        let mut run = Run {
            steps: Vec::new(),
            died: None,
        };
        for (place, step) in story.steps.iter().enumerate() {
            let mut played = Played {
                passed: 0,
                stopped: None,
            };
            for n in 1..=step.repeat {
                scene.pass(step.after.unwrap_or(SignedDuration::from_secs(1)));
                let (target, body) = step.request(self.subscription, n);
                match scene.attempt(&step.method, &target, body.as_deref().unwrap_or_default()) {
                    Ok(()) => played.passed += 1,
                    Err(stop) => drop(played.stopped.get_or_insert((n, stop))),
                }
            }
            if played.passed < step.goal
                && run.died.is_none()
                && let Some((n, stop)) = &played.stopped
            {
                run.died = Some((place, *n, stop.clone()));
            }
            run.steps.push(played);
        }
        run
    }
}

/// The state of the world while a story is played.
struct Scene<'p> {
    policy: &'p Policy,
    principal: Principal,
    approvers: u32,
    estate: Estate,
    activity: Activity,
    now: Timestamp,
    records: u64,
}

impl Scene<'_> {
    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap_or(self.now);
    }

    /// One request, from its target to what Azure makes of it.
    fn attempt(&mut self, method: &str, target: &str, body: &str) -> Result<(), Stop> {
        let headers: &[(&str, &str)] = match body.is_empty() {
            true => &[],
            false => &[("content-type", "application/json")],
        };
        let understood = vaultgate_arm::route(method, target)
            .and_then(|route| route.classify(headers, body.as_bytes(), &[]));
        let classified = understood.map_err(|refused| {
            let reason = refused.reason.code();
            let operation = refused.operation.unwrap_or(reason);
            self.activity
                .note_refused(&self.principal, operation, self.now);
            Stop::Gateway(reason)
        })?;
        let settled = classified.settle(&self.estate.before(&classified));
        let vault = classified.resource.vault.as_deref();
        let event = ActivityEvent::new(
            &self.principal,
            classified.operation.name,
            settled.class,
            vault,
            &settled.delta,
        );
        let (view, reservation) = self.activity.reserve_alone(&event, self.now);
        let judge = |approval| {
            let input = self.input(&classified, &settled, &view, approval);
            replay(self.policy, &input)
        };
        let stop = match stopped(&judge(None)) {
            // With what they were given, they ask again; policy is asked again.
            Some(Stop::Approval { quorum, .. }) if quorum <= self.approvers => stopped(&judge(
                Some(self.approval(quorum)),
            ))
            .filter(|stop| !matches!(stop, Stop::Approval { quorum: more, .. } if *more <= quorum)),
            Some(Stop::Approval { quorum, .. }) => Some(Stop::Approval {
                quorum,
                has: self.approvers,
            }),
            other => other,
        };
        self.records += 1;
        match stop {
            None => {
                reservation.commit(self.records);
                self.estate.apply(&classified);
                Ok(())
            }
            Some(stop) => {
                reservation.refuse(self.records);
                Err(stop)
            }
        }
    }

    fn approval(&self, quorum: u32) -> Value {
        let person = |n| {
            json!({"person": format!("approver-{n}"), "issuer": self.principal.issuer,
            "subject": format!("approver-{n}"), "names": ["group:backup-approvers"], "at": self.now.to_string()})
        };
        json!({
            "id": "00000000-0000-7000-8000-000000000000", "digest": "sha256:attacked",
            "asked": self.now.to_string(), "expires": self.now.to_string(),
            "approvers": (1..=quorum).map(person).collect::<Vec<_>>(),
        })
    }

    fn input(
        &self,
        classified: &Classified,
        settled: &vaultgate_arm::Settled,
        activity: &ActivityView,
        approval: Option<Value>,
    ) -> String {
        let now = format!("{:.3}", self.now);
        let resource = &classified.resource;
        let body = classified.body.as_ref().map(|body| body.to_value());
        let before = match self.estate.before(classified) {
            vaultgate_arm::Before::Present(document) => Some(document.to_value()),
            _ => None,
        };
        let restore = classified.restore.as_ref();
        let target = restore.map(|one| serde_json::to_value(&one.target).unwrap_or_default());
        let facts = self.estate.facts(classified, self.now);
        let tags = json!({});
        let input = Input {
            schema: SCHEMA,
            now: &now,
            principal: &self.principal,
            operation: Operation {
                name: classified.operation.name,
                class: settled.class.as_str(),
                method: classified.operation.method.as_str(),
                api_version: &classified.api_version,
                reversible: settled.class.reversible(),
                body_unknown: &classified.body_unknown,
            },
            resource: Resource {
                id: &resource.id,
                subscription: resource.subscription.as_deref(),
                resource_group: resource.resource_group.as_deref(),
                vault: resource.vault.as_deref(),
                type_: &resource.kind,
                item: resource.item.as_deref(),
                workload: resource.workload.as_deref(),
                region: Some("westeurope"),
                tags: Json::Value(&tags),
            },
            request: Request {
                body: body.as_ref().into(),
                before: before.as_ref().into(),
                delta: Json::Value(&settled.delta),
                restore: restore
                    .zip(target.as_ref())
                    .map(|(restore, target)| Restore {
                        kind: restore.kind,
                        target: Json::Value(target),
                        crosses: &restore.crosses,
                    }),
            },
            facts: Json::Value(&facts),
            activity,
            flow: self.principal.flow.as_deref().map(|name| Flow {
                name,
                definition_digest: "",
                covers: false,
            }),
            approval: approval.as_ref().into(),
            incident: Json::Null,
            preflight: false,
            claimed: Claimed::default(),
            transport: Transport {
                remote: REMOTE,
                tls: "1.3",
                http: "2",
            },
        };
        input.to_document().text().get().to_owned()
    }
}

/// What a decision leaves in the way.
fn stopped(decision: &Decision) -> Option<Stop> {
    if let Some(fault) = &decision.fault {
        return Some(Stop::Fault(fault.message.clone()));
    }
    let mut codes: Vec<String> = decision
        .deny
        .iter()
        .map(|reason| reason.code.clone())
        .collect();
    codes.sort();
    codes.dedup();
    if !codes.is_empty() {
        return Some(Stop::Rules(codes));
    }
    if !decision.allow {
        return Some(Stop::Ungranted);
    }
    let needed = decision.obligations.iter().map(|one| {
        let Obligation::Approval(approval) = one;
        approval.quorum
    });
    needed.max().map(|quorum| Stop::Approval { quorum, has: 0 })
}

#[cfg(test)]
mod tests;
