//! `PUT /_vaultgate/v1/runs/{id}`: a flow says how one of its runs stands.
//!
//! It grants nothing and takes nothing: it is written down as what was said, and by whom.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::{Kind, Priority};
use vaultgate_pdp::Principal;

use super::Pipeline;
use super::trail::Trail;
use crate::api;
use crate::listener::Answer;
use crate::recorder::TokenNote;
use crate::refusal::{RECEIPT, Refusal, Verdict};
use crate::runs::{Report, Run, Taken};

/// What is written down of a report.
#[derive(Serialize)]
struct Told<'r> {
    run: Uuid,
    report: &'r Report,
    principal: &'r Principal,
    token: Option<&'r TokenNote>,
}

impl Pipeline {
    /// Takes down what a flow says of a run of its own.
    pub(super) async fn run_told(
        &self,
        id: Uuid,
        caller: &Arc<Principal>,
        document: Value,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.admit_question(caller)?;
        let report: Report =
            serde_json::from_value(document).map_err(|error| malformed(&error.to_string()))?;
        if let Some(what) = report.wrong() {
            return Err(malformed(what));
        }
        if caller.flow.as_deref() != Some(report.flow.as_str()) {
            let refusal = Refusal::new(
                "run-foreign",
                StatusCode::FORBIDDEN,
                Verdict::Deny,
                "a flow tells of its own runs only: its token names it",
            );
            return Err(Box::new(
                refusal.hint("give the orchestrator the identity of that flow"),
            ));
        }
        let run = Run {
            id,
            by: (caller.issuer.clone(), caller.subject.clone()),
            at: self.clock.now(),
            report,
        };
        match self.runs.standing(&run).await? {
            Taken::New => {}
            Taken::Known => return Ok(api::json(StatusCode::OK, &json!({"id": id}))),
            Taken::Ended => {
                let refusal = Refusal::new(
                    "run-ended",
                    StatusCode::CONFLICT,
                    Verdict::Deny,
                    "this run was told to have ended, and otherwise",
                );
                return Err(Box::new(
                    refusal.hint("what was told first stays: tell nothing more of it"),
                ));
            }
        }
        let told = Told {
            run: id,
            report: &run.report,
            principal: caller,
            token: trail.token.as_ref(),
        };
        let written = self
            .recorder
            .write(Kind::Run, trail.id, &told, Priority::Normal);
        let receipt = written
            .await
            .map_err(|error| super::judge::log_unavailable(&error))?
            .to_string();
        self.runs.keep(&run).await?;
        let mut answer = api::json(StatusCode::OK, &json!({"id": id}));
        if let Ok(receipt) = http::HeaderValue::try_from(receipt) {
            answer.headers_mut().insert(RECEIPT, receipt);
        }
        Ok(answer)
    }
}

fn malformed(what: &str) -> Box<Refusal> {
    let refusal = Refusal::new(
        "run-malformed",
        StatusCode::BAD_REQUEST,
        Verdict::Deny,
        format!("the report of the run cannot be read: {what}"),
    );
    Box::new(refusal.hint("it is what `vaultgate-orchestrator` of this version sends"))
}
