//! The steps before judgement: who, how often, with what at hand.

use std::sync::Arc;

use http::StatusCode;
use vaultgate_arm::{Class, Settled};
use vaultgate_pdp::Principal;

use super::Pipeline;
use super::arrival::Arrival;
use super::asked::Asked;
use super::trail::Trail;
use crate::activity::{ActivityEvent, ActivityView, Reservation};
use crate::admit::{AdmitRequest, Limited};
use crate::api::metadata::resource_metadata_url;
use crate::assent::Assent;
use crate::authn::{AuthnError, Presented};
use crate::facts::Gathered;
use crate::observer::ObserveError;
use crate::quarantine::Token;
use crate::refusal::{Refusal, Verdict};

impl Pipeline {
    /// Says who asks. The token ends here.
    pub(super) async fn authenticate(
        &self,
        arrival: &Arrival,
        trail: &mut Trail,
    ) -> Result<Arc<Principal>, Box<Refusal>> {
        let presented = Presented {
            method: &arrival.method,
            origin: &self.config.gateway.public_url,
            path: arrival.path(),
            headers: &arrival.headers,
            client_certificate_sha256: arrival.peer.certificate_sha256,
            source: arrival.peer.source.ip(),
        };
        match trail.take(self.authn.authenticate(presented).await) {
            Ok(caller) => {
                self.not_held(trail)?;
                Ok(caller)
            }
            Err(error) => Err(self.unauthenticated(&error)),
        }
    }

    /// Refuses a request whose token ended, or whose caller was stopped, while it waited
    /// for facts or for its vault.
    pub(crate) fn still_welcome(&self, trail: &Trail) -> Result<(), Box<Refusal>> {
        let now = self.clock.latest();
        match trail.proof.as_ref().map(|proof| proof.still_good(now)) {
            Some(Err(error)) => Err(self.unauthenticated(&error)),
            _ => self.not_held(trail),
        }
    }

    /// Refuses whoever is in quarantine, whatever the token says.
    pub(crate) fn not_held(&self, trail: &Trail) -> Result<(), Box<Refusal>> {
        let (Some(caller), Some(token)) = (&trail.caller, &trail.token) else {
            return Ok(());
        };
        let shown = Token {
            id: token.id.as_deref(),
            sha256: &token.sha256,
        };
        let Some(held) = self.quarantine.holds(caller, Some(shown)) else {
            return Ok(());
        };
        let message = format!("this identity is stopped since {:.0}", held.since);
        let refusal = Refusal::new("quarantined", StatusCode::FORBIDDEN, Verdict::Deny, message);
        let hint = format!(
            "ask the reviewers of this gateway about quarantine {}",
            held.id
        );
        Err(Box::new(refusal.hint(hint)))
    }

    /// Refuses what is frozen, whatever policy and approvals say.
    pub(super) fn not_frozen(&self, class: Class) -> Result<(), Box<Refusal>> {
        let Some(freeze) = self.incident.stops(class) else {
            return Ok(());
        };
        let message = format!(
            "operations of class `{}` are frozen everywhere since {:.0}",
            class.as_str(),
            freeze.since
        );
        let refusal = Refusal::new(
            "incident-freeze",
            StatusCode::FORBIDDEN,
            Verdict::Deny,
            message,
        );
        let hint =
            "reads, backups and restores go on; it takes several reviewers to lift the freeze";
        Err(Box::new(refusal.hint(hint)))
    }

    fn unauthenticated(&self, error: &AuthnError) -> Box<Refusal> {
        let challenge = |metadata: &str| self.authn.challenge(error, metadata);
        unauthenticated(error, &self.config.gateway.public_url, challenge)
    }

    /// The caller's rate, for what the gateway answers from its store.
    pub(super) fn admit_question(&self, caller: &Principal) -> Result<(), Box<Refusal>> {
        self.admission
            .check_quotas(&AdmitRequest {
                principal_key: &caller.key(),
                kind: caller.kind,
                vault: None,
                subscription: None,
                class: Class::Read,
                method: "GET",
                for_restore: false,
                unhurried: false,
            })
            .map_err(|limited| over_limit(&limited))
    }

    /// Rates, Azure's budget, the store and the clock.
    pub(super) fn admit(&self, caller: &Principal, asked: &Asked) -> Result<(), Box<Refusal>> {
        // Of the class before it is settled: what a body says may only be worse.
        let restores = matches!(asked.class, Class::Restore | Class::Read | Class::Validate);
        let counts = |one: &Assent| self.quarantine.counts(one);
        let glass = self
            .incident
            .broken_glass(caller, counts, self.clock.latest());
        let unhurried = restores && glass.is_some();
        self.admission
            .check(&AdmitRequest {
                principal_key: &caller.key(),
                kind: caller.kind,
                vault: asked.resource.vault.as_deref(),
                subscription: asked.resource.subscription.as_deref(),
                class: asked.class,
                method: asked.method.as_str(),
                for_restore: asked.poll.is_some() || unhurried,
                unhurried,
            })
            .map_err(|limited| over_limit(&limited))?;
        let changes = asked.changes();
        if !self.store.healthy() && (changes || !self.config.gateway.reads_without_store) {
            let why = self.store.trouble().unwrap_or_default();
            let message = format!("the store is unavailable, so changes are refused: {why}");
            return Err(Box::new(Refusal::unavailable("store-unavailable", message)));
        }
        let skew = self.clock.skew();
        if changes && skew > self.config.gateway.max_clock_skew {
            let message = format!("this machine's clock differs from Azure's by {skew:?}");
            let refusal = Refusal::unavailable("clock-untrusted", message)
                .hint("synchronise the gateway's clock; reads go on meanwhile");
            return Err(Box::new(refusal));
        }
        Ok(())
    }

    /// Reads what must be known of Azure, on the record.
    pub(super) async fn gather(
        &self,
        asked: &Asked,
        trail: &Trail,
    ) -> Result<Gathered, Box<Refusal>> {
        let gathered = self.facts.gather(&asked.wanted(), trail.id).await;
        gathered.map_err(|error| match error {
            ObserveError::Record(error) => super::judge::log_unavailable(&error),
            ObserveError::Limited(limited) => over_limit(&limited),
        })
    }

    /// Takes a place in the budgets until the decision is on record.
    pub(super) async fn reserve(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
    ) -> Result<(ActivityView, Reservation), Box<Refusal>> {
        let event = event(caller, asked, settled);
        Ok(self.activity.reserve(&event, self.clock.now()).await?)
    }

    /// The same counts for a question that reserves nothing.
    pub(super) fn look(
        &self,
        caller: &Principal,
        asked: &Asked,
        settled: &Settled,
    ) -> ActivityView {
        self.activity
            .view(&event(caller, asked, settled), self.clock.now())
    }
}

/// The refusal of somebody who could not prove who they are, at either door.
pub(crate) fn unauthenticated(
    error: &AuthnError,
    origin: &str,
    challenge: impl Fn(&str) -> String,
) -> Box<Refusal> {
    let verdict = match error.status() {
        StatusCode::TOO_MANY_REQUESTS => Verdict::Limit,
        StatusCode::SERVICE_UNAVAILABLE => Verdict::Error,
        _ => Verdict::Deny,
    };
    let mut refusal = Refusal::new(error.code(), error.status(), verdict, error.to_string());
    refusal.hint = error.hint().map(str::to_owned);
    if error.status() == StatusCode::UNAUTHORIZED {
        let metadata = resource_metadata_url(origin);
        refusal.challenge = Some(challenge(&metadata));
    } else {
        refusal.retry_after = Some(std::time::Duration::from_secs(2));
    }
    Box::new(refusal)
}

/// The refusal of a request whose turn has not come.
fn over_limit(limited: &Limited) -> Box<Refusal> {
    let mut refusal = Refusal::new(
        limited.limit.name(),
        StatusCode::TOO_MANY_REQUESTS,
        Verdict::Limit,
        limited.to_string(),
    );
    refusal.retry_after = Some(limited.retry_after);
    Box::new(refusal)
}

fn event(caller: &Principal, asked: &Asked, settled: &Settled) -> ActivityEvent {
    let vault = asked.resource.vault.as_deref();
    ActivityEvent::new(caller, &asked.name, settled.class, vault, &settled.delta)
}
