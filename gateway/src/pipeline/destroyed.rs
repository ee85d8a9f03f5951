//! After a deletion: its deadline is kept, people are told, and the way back is a request
//! like any other.
//!
//! The effect has taken place: nothing here may fail the caller.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use uuid::Uuid;
use vaultgate_arm::{Class, Settled};
use vaultgate_pdp::Principal;

use super::arrival::Arrival;
use super::asked::Asked;
use super::trail::Trail;
use super::{Pipeline, preflight};
use crate::deletions::{self, Deletion};
use crate::facts::{Before, Gathered};
use crate::listener::Answer;
use crate::notices;
use crate::refusal::Refusal;
use crate::upstream::ForwardResult;

/// What a request has destroyed, or taken back.
pub(super) enum Destroyed {
    /// Azure took a deletion.
    Deleted(Box<Deletion>),
    /// Azure took the way back of this resource.
    TakenBack(String),
}

impl Pipeline {
    /// What there is to keep of a request that Azure has taken.
    pub(super) fn destroyed(
        &self,
        caller: &Principal,
        asked: &Asked,
        gathered: &Gathered,
        settled: &Settled,
        result: &ForwardResult,
        trail: &Trail,
    ) -> Option<Destroyed> {
        let taken = matches!(result, ForwardResult::Answered(answer) if answer.status.is_success());
        match settled.class {
            Class::Delete if taken => {
                let before = match &gathered.before {
                    Before::Present(document) => Some(document.to_value()),
                    _ => None,
                };
                let at = self.clock.now();
                let vault = gathered.facts.get("vault");
                Some(Destroyed::Deleted(Box::new(Deletion {
                    decision: trail.id,
                    resource: asked.resource.id.clone(),
                    vault: asked.resource.vault.clone(),
                    by: (caller.issuer.clone(), caller.subject.clone()),
                    at,
                    until: vault.and_then(|vault| deletions::until(vault, at)),
                    way_back: deletions::way_back(&asked.target, before.as_ref()),
                })))
            }
            Class::Undelete if taken => {
                let id = &asked.resource.id;
                let resource = id.replace("/deletedBackupInstances/", "/backupInstances/");
                Some(Destroyed::TakenBack(resource))
            }
            _ => None,
        }
    }

    /// Keeps it and tells people. Nothing here may fail the caller.
    pub(super) async fn note_destroyed(&self, destroyed: Option<Destroyed>) {
        let noted = match &destroyed {
            None => return,
            Some(Destroyed::Deleted(deletion)) => {
                let kept = self.deletions.keep(deletion).await;
                let notice = notices::deletion(deletion, &self.clock);
                self.notices.tell(notice).await;
                kept
            }
            Some(Destroyed::TakenBack(resource)) => self.deletions.taken_back(resource).await,
        };
        if let Err(error) = noted {
            tracing::error!(%error, "the deadline of a deletion was not kept; the log has the decision");
        }
    }

    /// Answers `POST /_vaultgate/v1/deletions/{id}/undelete`: the way back, as a request of
    /// this caller, judged by policy.
    pub(super) async fn undelete(
        &self,
        id: Uuid,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        let caller = self.authenticate(arrival, trail).await?;
        let found = self.deletions.find(id).await?;
        let Some(deletion) = found else {
            let message = format!("no deletion by decision `{id}` is kept");
            return Err(Refusal::deny(
                "deletion-unknown",
                StatusCode::NOT_FOUND,
                message,
            ));
        };
        let Some(back) = deletion.way_back else {
            let message = "what was deleted cannot be taken back by a request".to_owned();
            return Err(Refusal::deny(
                "deletion-final",
                StatusCode::CONFLICT,
                message,
            ));
        };
        let body = if back.body.is_null() {
            Vec::new()
        } else {
            back.body.to_string().into_bytes()
        };
        let own = Arrival {
            method: Method::from_bytes(back.method.as_bytes()).unwrap_or(Method::POST),
            target: back.target.clone(),
            headers: (!body.is_empty())
                .then_some((
                    HeaderName::from_static("content-type"),
                    HeaderValue::from_static("application/json"),
                ))
                .into_iter()
                .collect(),
            http: arrival.http,
            peer: arrival.peer.clone(),
            at: arrival.at,
        };
        let route = vaultgate_arm::route(&back.method, &back.target)?;
        let asked = Asked::of(self.classify(route, &own, &body)?);
        trail.asked = Some(asked.note());
        if preflight::is_dry_run(arrival)? {
            return self.dry_run(&own, &caller, &asked, trail).await;
        }
        self.carry_out(&own, &caller, asked, trail).await
    }
}
