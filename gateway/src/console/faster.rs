//! The ways to restore faster in an incident: the fast path, which several reviewers open
//! while destruction is frozen, and break-glass, which one opens for somebody else, loudly.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::Kind;

use super::act::{assent, reason, with};
use super::steer::{Because, MAX_NAME};
use super::{Console, Visitor};
use crate::assent::Assent;
use crate::incident::{BreakGlass, Faster};
use crate::listener::Answer;
use crate::pipeline::trail::Trail;
use crate::refusal::Refusal;

/// How long break-glass lasts unless somebody says so, and at most; seconds.
const USUAL: u64 = 3_600;
const LONGEST: u64 = 8 * 3_600;

/// For whom restores are opened, for how long and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    person: String,
    reason: String,
    #[serde(default)]
    seconds: Option<u64>,
}

impl Console {
    pub(super) async fn fast_path(
        &self,
        visitor: &Visitor,
        said: Because,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let receipt = self
            .steer(
                Kind::Incident,
                "fast-path",
                &Value::Null,
                visitor,
                &why,
                trail,
            )
            .await?;
        let incident = &self.pipeline.incident;
        let counts = |one: &Assent| self.pipeline.quarantine.counts(one);
        let (quorum, now) = (
            self.pipeline.config.approvals.quorum,
            self.pipeline.clock.now(),
        );
        let (open, path) = match incident
            .faster(assent(visitor)?, counts, &why, quorum, now)
            .await?
        {
            Faster::NotFrozen => {
                let message = "the fast path is for an incident, and nothing is frozen";
                return Err(Refusal::deny(
                    "incident-none",
                    StatusCode::CONFLICT,
                    message,
                ));
            }
            Faster::Waits(path) => (false, path),
            Faster::Open(path) => (true, path),
        };
        let missing = (quorum as usize).saturating_sub(path.by.len());
        if open {
            let title = "restores into the landing zones go fast".to_owned();
            self.tell("incident.fast-path", title, &path.why).await;
        }
        Ok(with(
            receipt,
            &json!({"open": open, "missing": missing, "fastPath": path}),
        ))
    }

    pub(super) async fn close_fast_path(
        &self,
        visitor: &Visitor,
        said: Because,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let receipt = self
            .steer(
                Kind::Incident,
                "fast-path-closed",
                &Value::Null,
                visitor,
                &why,
                trail,
            )
            .await?;
        let was = self.pipeline.incident.slower().await?;
        Ok(with(receipt, &json!({"closed": was})))
    }

    pub(super) async fn break_glass(
        &self,
        visitor: &Visitor,
        said: Open,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let by = assent(visitor)?;
        let seconds = said.seconds.unwrap_or(USUAL);
        let named = !said.person.is_empty() && said.person.len() <= MAX_NAME;
        if !named || seconds == 0 || seconds > LONGEST {
            let message = format!("name a `person`, and at most {LONGEST} `seconds`");
            return Err(Refusal::deny(
                "console-malformed",
                StatusCode::BAD_REQUEST,
                message,
            ));
        }
        if said.person == by.person {
            let message = "nobody opens restores for themselves";
            let refusal = Refusal::deny("break-glass-own", StatusCode::FORBIDDEN, message);
            return Err(Box::new(refusal.hint("ask another reviewer")));
        }
        let now = self.pipeline.clock.now();
        let glass = BreakGlass {
            id: Uuid::now_v7(),
            person: said.person,
            by,
            why,
            since: now,
            until: now
                .checked_add(Duration::from_secs(seconds))
                .unwrap_or(Timestamp::MAX),
        };
        let target = glass.shown();
        let receipt = self
            .steer(
                Kind::Incident,
                "break-glass",
                &target,
                visitor,
                &glass.why,
                trail,
            )
            .await?;
        self.pipeline.incident.break_glass(glass.clone()).await?;
        // Loudly: in the traces, and to everybody who is told of anything.
        tracing::error!(person = %glass.person, until = %glass.until, "break-glass: restores are open");
        let title = format!(
            "break-glass: restores are open for {} until {:.0}",
            glass.person, glass.until
        );
        self.tell("incident.break-glass", title, &glass.why).await;
        Ok(with(receipt, &target))
    }

    pub(super) async fn end_break_glass(
        &self,
        id: Uuid,
        visitor: &Visitor,
        said: Because,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let target = json!({"id": id});
        let receipt = self
            .steer(
                Kind::Incident,
                "break-glass-ended",
                &target,
                visitor,
                &why,
                trail,
            )
            .await?;
        let was = self.pipeline.incident.mend_glass(id).await?;
        Ok(with(receipt, &json!({"ended": was})))
    }
}
