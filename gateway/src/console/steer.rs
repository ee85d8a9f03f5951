//! What reviewers do beside policy: stop an identity, freeze destruction, and take both back
//! together. The first word of one person is enough to stop; it takes several to go on.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_decision_log::Kind;
use vaultgate_pdp::Principal;

use super::act::{assent, own, reason, with};
use super::{Console, Visitor};
use crate::assent::Assent;
use crate::incident::Lift;
use crate::listener::Answer;
use crate::notices;
use crate::pipeline::trail::Trail;
use crate::quarantine::{Release, Target};
use crate::recorder::TokenNote;
use crate::refusal::Refusal;

/// Longest name of an identity, bytes.
pub(super) const MAX_NAME: usize = 512;

/// Somebody's reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    pub(super) reason: String,
}

/// Who is to be stopped, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    target: Target,
    reason: String,
}

/// A record of something that is done beside policy.
#[derive(Serialize)]
struct Steering<'r> {
    event: &'static str,
    target: Option<&'r Value>,
    principal: &'r Principal,
    token: Option<&'r TokenNote>,
    why: &'r str,
}

impl Console {
    pub(super) async fn hold(
        &self,
        visitor: &Visitor,
        said: Stop,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let target = serde_json::to_value(&said.target).unwrap_or_default();
        let named = target.as_object().into_iter().flatten();
        let mut values = named.filter_map(|(_, value)| value.as_str());
        if !values.all(|value| !value.is_empty() && value.len() <= MAX_NAME) {
            let message = "the identity is empty or too long";
            return Err(Refusal::deny(
                "console-malformed",
                StatusCode::BAD_REQUEST,
                message,
            ));
        }
        let receipt = self
            .steer(Kind::Quarantine, "hold", &target, visitor, &why, trail)
            .await?;
        let (by, now) = (own(visitor)?, self.pipeline.clock.now());
        let held = self
            .pipeline
            .quarantine
            .hold(said.target, by, why, now)
            .await;
        let held = held?;
        let title = format!("an identity is stopped: {target}");
        self.tell("quarantine.hold", title, &held.why).await;
        Ok(with(receipt, &json!(held)))
    }

    pub(super) async fn release(
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
            .steer(Kind::Quarantine, "release", &target, visitor, &why, trail)
            .await?;
        let quorum = self.pipeline.config.approvals.quorum;
        let released = self
            .pipeline
            .quarantine
            .release(id, assent(visitor)?, quorum)
            .await;
        let (free, held) = match released? {
            Release::Unknown => {
                let message = format!("nobody is held under `{id}`");
                return Err(Refusal::deny(
                    "quarantine-unknown",
                    StatusCode::NOT_FOUND,
                    message,
                ));
            }
            Release::Waits(held) => (false, held),
            Release::Released(held) => (true, held),
        };
        let missing = (quorum as usize).saturating_sub(held.release.len());
        if free {
            let title = format!("an identity goes on: {}", json!(held.target));
            self.tell("quarantine.released", title, &why).await;
        }
        Ok(with(
            receipt,
            &json!({"released": free, "missing": missing, "quarantine": held}),
        ))
    }

    pub(super) async fn freeze(
        &self,
        visitor: &Visitor,
        said: Because,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let receipt = self
            .steer(Kind::Incident, "freeze", &Value::Null, visitor, &why, trail)
            .await?;
        let (by, now) = (own(visitor)?, self.pipeline.clock.now());
        let frozen = self.pipeline.incident.begin(by, why, now).await;
        let freeze = frozen?;
        let title = "destruction is frozen everywhere".to_owned();
        self.tell("incident.frozen", title, &freeze.why).await;
        Ok(with(receipt, &json!({"freeze": freeze})))
    }

    pub(super) async fn lift(
        &self,
        visitor: &Visitor,
        said: Because,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        self.reviews(visitor)?;
        let why = reason(&said.reason, true)?;
        let receipt = self
            .steer(Kind::Incident, "lift", &Value::Null, visitor, &why, trail)
            .await?;
        let quorum = self.pipeline.config.approvals.quorum;
        let counts = |one: &Assent| self.pipeline.quarantine.counts(one);
        let lifted = self
            .pipeline
            .incident
            .lift(assent(visitor)?, counts, quorum)
            .await;
        let (over, freeze) = match lifted? {
            Lift::NotFrozen => {
                let message = "nothing is frozen";
                return Err(Refusal::deny(
                    "incident-none",
                    StatusCode::CONFLICT,
                    message,
                ));
            }
            Lift::Waits(freeze) => (false, freeze),
            Lift::Lifted(freeze) => (true, freeze),
        };
        let missing = (quorum as usize).saturating_sub(freeze.lift.len());
        if over {
            let title = "the freeze is lifted".to_owned();
            self.tell("incident.lifted", title, &why).await;
        }
        Ok(with(
            receipt,
            &json!({"lifted": over, "missing": missing, "freeze": freeze}),
        ))
    }

    pub(super) async fn steer(
        &self,
        kind: Kind,
        event: &'static str,
        target: &Value,
        visitor: &Visitor,
        why: &str,
        trail: &mut Trail,
    ) -> Result<String, Box<Refusal>> {
        let record = Steering {
            event,
            target: Some(target).filter(|target| !target.is_null()),
            principal: &visitor.principal,
            token: trail.token.as_ref(),
            why,
        };
        self.record(kind, &record).await
    }

    /// Tells everybody what a reviewer did.
    pub(super) async fn tell(&self, kind: &'static str, title: String, why: &str) {
        let notice = notices::steering(kind, title, why, &self.pipeline.clock);
        self.pipeline.notices.tell(notice).await;
    }
}
