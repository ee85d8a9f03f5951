//! The story of one request. The order of these steps is the product.
//!
//! `handle` is the single exit: every refusal, whatever step it came from, is
//! recorded once and rendered once. Nothing reaches Azure but through a `Permit`,
//! which only a durable record can issue.

pub(crate) mod admission;
pub(crate) mod approval;
pub(crate) mod arrival;
mod asked;
pub(crate) mod body;
mod claim;
mod conclude;
mod destroyed;
pub(crate) mod framing;
mod input;
mod judge;
mod preflight;
mod refuse;
mod runs;
pub(crate) mod trail;
mod unlock;
mod why;

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use vaultgate_pdp::{Evaluator, Principal};

use crate::activity::Activity;
use crate::admit::Admission;
use crate::api::Route;
use crate::approvals::Approvals;
use crate::authn::Authenticator;
use crate::clock::Clock;
use crate::config::Config;
use crate::custody::Custody;
use crate::custody::watch::Watcher;
use crate::deletions::Deletions;
use crate::facts::Facts;
use crate::idempotency::Idempotency;
use crate::incident::Incident;
use crate::listener::{Answer, Peer};
use crate::notices::Notices;
use crate::policy_source::PolicySource;
use crate::quarantine::Quarantine;
use crate::recorder::Recorder;
use crate::refusal::Refusal;
use crate::runs::Runs;
use crate::shadow::Shadow;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;

use arrival::Arrival;
use asked::Asked;
use judge::Recorded;
use trail::Trail;
pub(crate) use why::Refused;

pub(crate) use refuse::Ledger;

/// Everything that a request passes through.
pub(crate) struct Pipeline {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) authn: Authenticator,
    pub(crate) admission: Arc<Admission>,
    pub(crate) activity: Activity,
    pub(crate) facts: Facts,
    pub(crate) policies: Arc<PolicySource>,
    pub(crate) evaluator: Evaluator,
    pub(crate) recorder: Recorder,
    pub(crate) idempotency: Idempotency,
    pub(crate) approvals: Approvals,
    pub(crate) deletions: Deletions,
    /// What flows say of their runs.
    pub(crate) runs: Runs,
    pub(crate) quarantine: Quarantine,
    pub(crate) incident: Incident,
    pub(crate) notices: Notices,
    pub(crate) custody: Arc<Custody>,
    pub(crate) watcher: Watcher,
    pub(crate) upstream: Upstream,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ledger: Ledger,
    pub(crate) refused: Refused,
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) catalogue: String,
}

impl Pipeline {
    /// Answers one request; never fails, since a refusal is an answer too. It runs
    /// as a task of its own: a caller that hangs up must not stop a change between
    /// its record and its outcome.
    pub(crate) async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        match tokio::spawn(self.answer(peer, request)).await {
            Ok(answer) => answer,
            Err(_) => Refusal::unavailable("internal-error", "the request could not be handled")
                .render(None, None),
        }
    }

    async fn answer(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        let framing = framing::check(&request, &self.config.gateway.hosts);
        let (parts, body) = request.into_parts();
        let own = Route::of(&parts.method, parts.uri.path());
        let arrival = Arrival::new(parts, peer, self.clock.now());
        let mut trail = Trail::new(self.clock.monotonic());
        let answered = match (framing, own) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Some(route)) => self.own_address(route, &arrival, body, &mut trail).await,
            (Ok(()), None) => self.enforce(&arrival, body, &mut trail).await,
        };
        match answered {
            Ok(answer) => answer,
            Err(refusal) => self.refuse(&arrival, trail, *refusal).await,
        }
    }

    /// One request, from its head to Azure's answer.
    async fn enforce(
        &self,
        arrival: &Arrival,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        // Who is it.
        let caller = self.authenticate(arrival, trail).await?;
        // What is asked, of which resource: the head first, then the body.
        let asked = self.understand(arrival, &caller, body, trail).await?;
        if preflight::is_dry_run(arrival)? {
            return self.dry_run(arrival, &caller, &asked, trail).await;
        }
        self.carry_out(arrival, &caller, asked, trail).await
    }

    /// One request that is understood, from its limits to Azure's answer.
    async fn carry_out(
        &self,
        arrival: &Arrival,
        caller: &Arc<Principal>,
        asked: Asked,
        trail: &mut Trail,
    ) -> Result<Answer, Box<Refusal>> {
        // How often, and whether Azure and the gateway have what it takes.
        self.admit(caller, &asked)?;
        // The approval that it shows, if it shows one.
        let presented = self.presented(arrival, caller).await?;
        // One policy for the whole request.
        let policy = self.policies.current();
        // What Azure says of the resource before the change; held until it is done.
        let gathered = self.gather(&asked, trail).await?;
        self.still_welcome(trail)?;
        let settled = asked.settle(&gathered.before);
        self.not_frozen(settled.class)?;
        // Counters include what is in flight: two requests cannot spend one budget.
        let (activity, reservation) = self.reserve(caller, &asked, &settled).await?;
        // May they. Never errs: a fault of the policy is a denial.
        let shown = presented.as_ref().map(approval::as_input);
        let input = self.input(
            arrival,
            caller,
            &asked,
            &gathered,
            &settled,
            &activity,
            shown.as_ref(),
            false,
        );
        let decision = self.judge(&policy, &input).await;
        // And what a candidate would say, which changes nothing.
        let shadow = self.shadow.judge(&input, &decision).await;
        // What policy wants from other people first, or has been given.
        let standing = self
            .standing(
                arrival, caller, &asked, &gathered, &settled, &decision, &policy, presented, trail,
            )
            .await?;
        // Was this very request sent before: the caller then gets its reply.
        let claim = self
            .claim(arrival, caller, &asked, &decision, &standing, trail)
            .await?;
        // Durable, or nothing happens. Denials and replays leave here.
        let request = asked.upstream_request(arrival, gathered.etag.as_deref());
        let judged = judge::Judged {
            policy: &policy,
            input: &input,
            decision: &decision,
            reads: &gathered.reads,
            shadow,
        };
        let recorded = self
            .record(
                &asked,
                &judged,
                standing,
                claim,
                request,
                reservation,
                trail,
            )
            .await?;
        let (permit, ticket, consumed) = match recorded {
            Recorded::Reply(answer) => return Ok(answer),
            Recorded::Permitted(permit, ticket, consumed) => (permit, ticket, consumed),
        };
        // What a resource guard holds back is unlocked, if people approved this deletion.
        let ticket = self
            .unlock(&asked, &gathered, &judged, (ticket, consumed), trail)
            .await?;
        // All of it took a while: whoever was stopped meanwhile, or froze, is heeded.
        let welcome = self.still_welcome(trail);
        if let Err(refusal) = welcome.and_then(|()| self.not_frozen(settled.class)) {
            return Err(self.give_up(&asked, ticket, refusal, trail).await);
        }
        // The credential is injected in there, and only there.
        let result = self.upstream.forward(permit).await;
        let destroyed = self.destroyed(caller, &asked, &gathered, &settled, &result, trail);
        drop(gathered.lease);
        let answer = self
            .conclude(caller, &asked, &settled, result, ticket, trail)
            .await;
        self.note_destroyed(destroyed).await;
        answer
    }
}
