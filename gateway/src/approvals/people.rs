//! Who may consent to what: other people than those who ask, each counted once.
//!
//! Agents never approve, and nobody approves what they ask for, whichever of their
//! identities they use. A person is what the issuer's configured claim says; whoever has
//! none cannot be told from the requester, and so cannot approve.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vaultgate_pdp::{Approval as Terms, Principal, PrincipalKind};

use super::stage::Approval;

/// One person's consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vote {
    /// The person, the same at every issuer.
    pub(crate) person: String,
    /// Issuer of the token that proved it.
    pub(crate) issuer: String,
    /// Subject at that issuer.
    pub(crate) subject: String,
    /// What the person was then: `group:…`, `role:…`.
    pub(crate) names: Vec<String>,
    /// When.
    pub(crate) at: Timestamp,
}

/// Why somebody may not consent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ineligible {
    /// Only people who signed in approve.
    #[error("a principal of kind `{0}` does not approve")]
    Kind(&'static str),
    /// Somebody acts for the person.
    #[error("`{0}` acts for you, and nobody approves through another")]
    ThroughActor(String),
    /// Nobody can tell who it is.
    #[error("your issuer does not say which person you are")]
    NoPerson,
    /// The one who asks.
    #[error("you asked for this yourself")]
    Requester,
    /// One of those who act in the request.
    #[error("you act in this request yourself")]
    Actor,
    /// Counted already.
    #[error("you have approved this already")]
    Voted,
    /// Policy asks for others.
    #[error("policy asks for {0}")]
    NotAsked(String),
}

impl Ineligible {
    /// Stable reason code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Ineligible::Kind(_) => "approver-not-human",
            Ineligible::ThroughActor(_) => "approver-through-actor",
            Ineligible::NoPerson => "approver-no-person",
            Ineligible::Requester => "approver-is-requester",
            Ineligible::Actor => "approver-is-actor",
            Ineligible::Voted => "approver-voted",
            Ineligible::NotAsked(_) => "approver-not-asked",
        }
    }
}

/// The person that a principal is, if it is one that can speak for itself.
pub(crate) fn person(principal: &Principal) -> Result<&str, Box<Ineligible>> {
    if principal.kind != PrincipalKind::Human {
        return Err(Box::new(Ineligible::Kind(kind(principal.kind))));
    }
    // The application that somebody signed in with acts in every delegated token.
    let foreign = principal.actors.iter().find(|actor| {
        actor.issuer != principal.issuer || Some(&actor.subject) != principal.app.as_ref()
    });
    if let Some(actor) = foreign {
        return Err(Box::new(Ineligible::ThroughActor(actor.subject.clone())));
    }
    let person = principal
        .person
        .as_deref()
        .filter(|person| !person.is_empty());
    person.ok_or_else(|| Box::new(Ineligible::NoPerson))
}

/// Whether a principal is one of those that `names` lists as `group:…` or `role:…`.
pub(crate) fn named(principal: &Principal, names: &[String]) -> bool {
    let own = names_of(principal);
    names.iter().any(|name| own.contains(name))
}

/// Whether somebody may consent to or refuse this approval; gives the person.
pub(super) fn may_judge(
    approval: &Approval,
    approver: &Principal,
) -> Result<String, Box<Ineligible>> {
    let person = person(approver)?;
    let requester = &approval.request.requester;
    let same = requester.issuer == approver.issuer && requester.subject == approver.subject;
    if same || requester.person.as_deref() == Some(person) {
        return Err(Box::new(Ineligible::Requester));
    }
    let acts = requester.actors.iter().any(|actor| {
        actor.subject == person
            || actor.issuer == approver.issuer && actor.subject == approver.subject
    });
    if acts {
        return Err(Box::new(Ineligible::Actor));
    }
    let own = names_of(approver);
    let asked = |terms: &Terms| terms.from.iter().any(|name| own.contains(name));
    if !approval.terms.iter().any(asked) {
        return Err(Box::new(Ineligible::NotAsked(from(&approval.terms))));
    }
    Ok(person.to_owned())
}

/// The vote of somebody who has not voted yet.
pub(super) fn consent(
    approval: &Approval,
    approver: &Principal,
    at: Timestamp,
) -> Result<Vote, Box<Ineligible>> {
    let person = may_judge(approval, approver)?;
    if approval.votes.iter().any(|vote| vote.person == person) {
        return Err(Box::new(Ineligible::Voted));
    }
    Ok(Vote {
        person,
        issuer: approver.issuer.clone(),
        subject: approver.subject.clone(),
        names: names_of(approver),
        at,
    })
}

/// Whether these votes meet every one of the terms: so many different people each.
pub(super) fn enough(terms: &[Terms], votes: &[Vote]) -> bool {
    let met = |terms: &Terms| {
        let of_these = |vote: &&Vote| vote.names.iter().any(|name| terms.from.contains(name));
        let people: HashSet<&str> = votes
            .iter()
            .filter(of_these)
            .map(|vote| vote.person.as_str())
            .collect();
        people.len() >= terms.quorum as usize
    };
    // No terms are no consent: nothing is approved that nobody was asked for.
    !terms.is_empty() && terms.iter().all(met)
}

/// Whom the terms ask for, for people.
pub(crate) fn from(terms: &[Terms]) -> String {
    let each = terms
        .iter()
        .map(|terms| format!("{} of {}", terms.quorum, terms.from.join(", ")));
    each.collect::<Vec<_>>().join(" and ")
}

fn names_of(principal: &Principal) -> Vec<String> {
    let groups = principal
        .groups
        .iter()
        .map(|group| format!("group:{group}"));
    let roles = principal.roles.iter().map(|role| format!("role:{role}"));
    groups.chain(roles).collect()
}

fn kind(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Human => "human",
        PrincipalKind::Workload => "workload",
        PrincipalKind::Agent => "agent",
        PrincipalKind::Flow => "flow",
        PrincipalKind::Unknown => "unknown",
    }
}
