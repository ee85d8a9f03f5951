//! "May I?": the same steps without reservation, idempotency and forwarding.
//!
//! A question is recorded as `preflight`, rate limited as the real class, and
//! answered with verdict, reasons and what Azure itself would object to.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vaultgate_decision_log::{Kind, Priority};
use vaultgate_pdp::{Budget, Decision, Principal, capabilities};

use super::Pipeline;
use super::arrival::Arrival;
use super::asked::Asked;
use super::trail::Trail;
use crate::api::{self, Route, authzen, metadata};
use crate::facts::Gathered;
use crate::listener::Answer;
use crate::recorder::DecisionRecord;
use crate::refusal::{DECISION_ID, PolicyReason, RECEIPT, Refusal, VERDICT, Verdict};

/// Header that turns any request into a question.
const DRY_RUN: &str = "vaultgate-dry-run";

/// A described request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    method: String,
    target: String,
    #[serde(default)]
    body: Option<Value>,
}

/// The answer to a question.
#[derive(Debug, Serialize)]
pub(super) struct Verdicts {
    pub(super) allow: bool,
    pub(super) class: &'static str,
    pub(super) operation: String,
    pub(super) resource: String,
    pub(super) reasons: Vec<PolicyReason>,
    pub(super) fault: Option<&'static str>,
    /// Obligations that an allowed request would have to meet first.
    pub(super) obligations: Value,
    /// What remains of the budgets that the request would draw on.
    pub(super) budgets: Vec<Budget>,
    /// What Azure itself would object to, as far as the facts tell.
    pub(super) azure_blockers: Vec<String>,
    pub(super) decision_id: String,
}

/// Whether a request only asks. Any value but `true` is refused: a misspelt
/// question must not become a change.
pub(super) fn is_dry_run(arrival: &Arrival) -> Result<bool, Box<Refusal>> {
    if !arrival.headers.contains_key(DRY_RUN) {
        return Ok(false);
    }
    match arrival.header(DRY_RUN) {
        Some("true") => Ok(true),
        _ => Err(Box::new(Refusal::new(
            "dry-run-malformed",
            StatusCode::BAD_REQUEST,
            Verdict::Deny,
            "`Vaultgate-Dry-Run` is `true` or absent",
        ))),
    }
}

impl Pipeline {
    /// Answers a request that only asks.
    pub(super) async fn dry_run(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        asked: &Asked,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let verdicts = self.question(arrival, caller, asked, trail).await?;
        Ok(self.told(&verdicts, verdicts.allow, trail))
    }

    /// Judges and records a question.
    pub(super) async fn question(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        asked: &Asked,
        trail: &mut Trail,
    ) -> Result<Verdicts, Box<Refusal>> {
        self.admit(caller, asked)?;
        let policy = self.policies.current();
        let gathered = self.gather(asked, trail).await?;
        let settled = asked.settle(&gathered.before);
        let activity = self.look(caller, asked, &settled);
        let input = self.input(
            arrival, caller, asked, &gathered, &settled, &activity, None, true,
        );
        let decision = self.judge(&policy, &input).await;
        let unavailable = |error| super::judge::log_unavailable(&error);
        let record = DecisionRecord {
            verdict: if decision.allow { "allow" } else { "deny" },
            token: trail.token.as_ref(),
            input: self
                .recorder
                .inline(input.text())
                .await
                .map_err(unavailable)?,
            decision: &decision,
            policy: &policy.reference,
            config: &self.config.digest,
            catalogue: &self.catalogue,
            reads: &gathered.reads,
            forward: None,
            refusal: None,
            replayed_of: None,
            part_of: None,
            approval: None,
            shadow: None,
        };
        let written = self
            .recorder
            .write(Kind::Preflight, trail.id, &record, Priority::Normal);
        trail.receipt = Some(written.await.map_err(unavailable)?.to_string());
        let took = self
            .clock
            .monotonic()
            .saturating_duration_since(trail.began);
        let class = settled.class.as_str();
        let reason = if decision.allow {
            "allowed"
        } else {
            "policy-denied"
        };
        self.metrics
            .request(class, "preflight", reason, took.as_secs_f64());
        Ok(verdicts(
            &decision,
            asked,
            &gathered,
            settled.class.as_str(),
            trail,
        ))
    }

    /// The gateway's own addresses.
    pub(super) async fn own_address(
        &self,
        route: Route,
        arrival: &Arrival,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let config = &self.config;
        match route {
            Route::CloudMetadata => return Ok(api::json(StatusCode::OK, &metadata::cloud(config))),
            Route::ResourceMetadata => {
                return Ok(api::json(StatusCode::OK, &metadata::resource(config)));
            }
            Route::AuthzenConfiguration => {
                return Ok(api::json(StatusCode::OK, &metadata::authzen(config)));
            }
            Route::Approval(id) => return self.approval_status(id, arrival, trail).await,
            Route::Why(id) => return self.why(id, arrival, trail).await,
            Route::Undelete(id) => return self.undelete(id, arrival, trail).await,
            Route::Execute(id) => return self.execute(id, arrival, trail).await,
            _ => {}
        }
        let caller = self.authenticate(arrival, trail).await?;
        if route == Route::WhoAmI {
            // It asks the policy: like any question, it has its rate.
            self.admit_question(&caller)?;
            return Ok(self.who_am_i(caller).await);
        }
        let listener = &config.listener;
        let body = super::body::read(body, listener.max_body, listener.body_idle_timeout).await?;
        let document = vaultgate_arm::json::Document::parse(&body)
            .map_err(|error| malformed(&error.to_string()))?
            .to_value();
        match route {
            Route::Run(id) => self.run_told(id, &caller, document, trail).await,
            Route::Preflight => self.preflight(arrival, &caller, document, trail).await,
            Route::Evaluation => {
                let answer = self.evaluation(arrival, &caller, &document, trail).await?;
                let allow = answer.get("decision") == Some(&Value::Bool(true));
                Ok(self.told(&answer, allow, trail))
            }
            _ => self.evaluations(arrival, &caller, document, trail).await,
        }
    }

    /// Who asks, and what the policy's data would let them do somewhere.
    async fn who_am_i(&self, caller: Arc<Principal>) -> Answer {
        #[derive(Serialize)]
        struct Known<'c> {
            #[serde(flatten)]
            principal: &'c Principal,
            #[serde(skip_serializing_if = "Option::is_none")]
            capabilities: Option<Vec<String>>,
        }
        let policy = Arc::clone(&self.policies.current().policy);
        let asked = Arc::clone(&caller);
        let found = tokio::task::spawn_blocking(move || capabilities(&policy, &asked)).await;
        let known = Known {
            principal: &caller,
            capabilities: found.ok().flatten(),
        };
        api::json(StatusCode::OK, &known)
    }

    async fn preflight(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        document: Value,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let question: Question =
            serde_json::from_value(document).map_err(|error| malformed(&error.to_string()))?;
        let asked = self.describe(
            arrival,
            &question.method,
            &question.target,
            question.body.as_ref(),
        )?;
        trail.asked = Some(asked.note());
        let verdicts = self.question(arrival, caller, &asked, trail).await?;
        Ok(self.told(&verdicts, verdicts.allow, trail))
    }

    /// Understands a described request as if it had arrived.
    fn describe(
        &self,
        arrival: &Arrival,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Asked, Box<Refusal>> {
        let route = vaultgate_arm::route(method, target)?;
        let bytes = body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        let described = Arrival {
            method: Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET),
            target: target.to_owned(),
            headers: [(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )]
            .into_iter()
            .collect(),
            http: arrival.http,
            peer: arrival.peer.clone(),
            at: arrival.at,
        };
        Ok(Asked::of(self.classify(route, &described, &bytes)?))
    }

    /// One AuthZEN evaluation. The subject is the caller.
    async fn evaluation(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        request: &Value,
        trail: &mut Trail,
    ) -> Result<Value, Box<Refusal>> {
        let named = authzen::subject(request);
        if named.is_some_and(|id| id != caller.subject) {
            return Err(Box::new(Refusal::new(
                "subject-foreign",
                StatusCode::FORBIDDEN,
                Verdict::Deny,
                "a caller may ask for itself only",
            )));
        }
        let described = authzen::describe(request).map_err(|what| malformed(&what))?;
        let asked = self.describe(
            arrival,
            described.method,
            &described.target,
            described.body.as_ref(),
        )?;
        trail.asked = Some(asked.note());
        let verdicts = self.question(arrival, caller, &asked, trail).await?;
        Ok(json!({"decision": verdicts.allow, "context": verdicts}))
    }

    async fn evaluations(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        document: Value,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let requests = authzen::batch(&document).map_err(|what| malformed(&what))?;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            // Each question is a decision of its own.
            let mut own = Trail::new(trail.began);
            own.caller = Some(Arc::clone(caller));
            answers.push(self.evaluation(arrival, caller, &request, &mut own).await?);
            trail.receipt = own.receipt;
            trail.id = own.id;
        }
        let all = |answer: &Value| answer.get("decision") == Some(&Value::Bool(true));
        let allow = answers.iter().all(all);
        Ok(self.told(&json!({"evaluations": answers}), allow, trail))
    }

    /// The answer to a question; its header says what the request itself would get.
    fn told(&self, body: &impl Serialize, allow: bool, trail: &Trail) -> Answer {
        let mut answer = api::json(StatusCode::OK, body);
        let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
        let headers = answer.headers_mut();
        headers.insert(VERDICT, HeaderValue::from_static(verdict.as_str()));
        let id = Some(trail.id.to_string());
        for (name, value) in [(DECISION_ID, id), (RECEIPT, trail.receipt.clone())] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        answer
    }
}

fn verdicts(
    decision: &Decision,
    asked: &Asked,
    gathered: &Gathered,
    class: &'static str,
    trail: &Trail,
) -> Verdicts {
    Verdicts {
        allow: decision.allow && decision.obligations.is_empty(),
        class,
        operation: asked.name.clone(),
        resource: asked.resource.id.clone(),
        reasons: decision.deny.iter().map(PolicyReason::of).collect(),
        fault: decision.fault.as_ref().map(|fault| fault.code.as_str()),
        obligations: serde_json::to_value(&decision.obligations).unwrap_or(Value::Null),
        budgets: decision.budgets.clone(),
        azure_blockers: blockers(&gathered.facts, class),
        decision_id: trail.id.to_string(),
    }
}

/// What stands in the way at Azure, whatever policy says.
pub(super) fn blockers(facts: &Value, class: &str) -> Vec<String> {
    let vault = facts.get("vault").unwrap_or(&Value::Null);
    let text = |name: &str| vault.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut blockers = Vec::new();
    let destructive = matches!(class, "delete" | "weaken");
    if destructive && text("immutability") == "Locked" {
        blockers.push("the vault's immutability is locked".to_owned());
    }
    if destructive && matches!(text("soft_delete"), "AlwaysON" | "AlwaysOn") {
        blockers.push("soft delete is always on: deleted data stays for its retention".to_owned());
    }
    let guarded = matches!(
        class,
        "delete" | "weaken" | "guard" | "disclose" | "restore"
    );
    if guarded && vault.get("mua") == Some(&Value::Bool(true)) {
        blockers.push("a resource guard stands before the vault".to_owned());
    }
    if destructive && vault.get("status").and_then(Value::as_str) != Some("ok") {
        blockers.push("the vault's posture could not be read".to_owned());
    }
    blockers
}

fn malformed(what: &str) -> Box<Refusal> {
    Box::new(Refusal::new(
        "question-malformed",
        StatusCode::BAD_REQUEST,
        Verdict::Deny,
        format!("the question cannot be read: {what}"),
    ))
}
