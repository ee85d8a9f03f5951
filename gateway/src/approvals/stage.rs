//! The life of an approval: which state may follow which, as types.
//!
//! Pending → Approved | Rejected | Expired | Vetoed | Void; Approved → Used (once) |
//! Expired | Vetoed | Void. Only [`Pending`] takes votes and only [`Approved`] can be used;
//! what has ended has no way on. A step is a value that the store takes by compare-and-set.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vaultgate_pdp::{Approval as Terms, Principal};

use super::people::{self, Ineligible, Vote};
use super::request::BoundRequest;
use super::{after, until};

/// What has become of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum State {
    /// Waits for people.
    Pending,
    /// Enough people consented.
    Approved {
        /// When the last of them did.
        at: Timestamp,
    },
    /// Somebody refused.
    Rejected(Ended),
    /// Somebody took it back.
    Vetoed(Ended),
    /// Nobody used it in time.
    Expired,
    /// What was approved is no longer what would be done.
    Void(Ended),
    /// It was used.
    Used {
        /// By which decision.
        decision: Uuid,
        /// When.
        at: Timestamp,
    },
}

/// How it was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// When.
    pub(crate) at: Timestamp,
    /// The person who did; none when the gateway did.
    pub(crate) by: Option<String>,
    /// Why, in their words.
    pub(crate) why: String,
}

impl State {
    /// The state as the store, the API and records spell it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Approved { .. } => "approved",
            State::Rejected(_) => "rejected",
            State::Vetoed(_) => "vetoed",
            State::Expired => "expired",
            State::Void(_) => "void",
            State::Used { .. } => "used",
        }
    }
}

/// One approval, whatever became of it.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    /// Its id.
    pub(crate) id: Uuid,
    /// The exact request.
    pub(crate) request: BoundRequest,
    /// What policy asked for.
    pub(crate) terms: Vec<Terms>,
    /// When it was asked for.
    pub(crate) asked_at: Timestamp,
    /// Until when it can be given and used.
    pub(crate) expires: Timestamp,
    /// Who has consented.
    pub(crate) votes: Vec<Vote>,
    /// What has become of it.
    pub(crate) state: State,
    /// How many steps it has taken.
    pub(super) version: i64,
}

/// An approval by what can be done with it.
pub(crate) enum Stage {
    /// Takes votes.
    Pending(Pending),
    /// Can be used, perhaps after a while.
    Approved(Approved),
    /// Nothing more can be done with it.
    Over(Approval),
}

/// Waits for people.
pub(crate) struct Pending(Approval);

/// Enough people consented.
pub(crate) struct Approved {
    approval: Approval,
    at: Timestamp,
}

/// A step that the store has not taken yet.
pub(crate) struct Step {
    /// The approval after it.
    pub(crate) approval: Approval,
    /// The version that it was taken from.
    pub(super) from: i64,
}

impl Approval {
    pub(super) fn asked(request: BoundRequest, terms: Vec<Terms>, now: Timestamp) -> Approval {
        // As exact as the store keeps it: the digest is of the end that is read back.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        Approval {
            id: Uuid::now_v7(),
            request,
            expires: until(now, &terms),
            terms,
            asked_at: now,
            votes: Vec::new(),
            state: State::Pending,
            version: 1,
        }
    }

    /// The digest that everything about it is bound by.
    pub(crate) fn digest(&self) -> String {
        self.request.digest(self.expires)
    }

    /// What can be done with it at this time.
    pub(crate) fn stage(mut self, now: Timestamp) -> Stage {
        match self.state {
            State::Pending | State::Approved { .. } if now >= self.expires => {
                self.state = State::Expired;
                Stage::Over(self)
            }
            State::Pending => Stage::Pending(Pending(self)),
            State::Approved { at } => Stage::Approved(Approved { approval: self, at }),
            _ => Stage::Over(self),
        }
    }

    /// From when it can be used, if enough people have consented: the longest time that
    /// any of its terms leaves for a veto.
    pub(crate) fn usable_from(&self) -> Option<Timestamp> {
        match self.state {
            State::Approved { at } => Some(after(at, cooling_off(&self.terms))),
            _ => None,
        }
    }

    fn step(mut self, state: State) -> Step {
        let from = self.version;
        self.state = state;
        self.version += 1;
        Step {
            approval: self,
            from,
        }
    }
}

fn cooling_off(terms: &[Terms]) -> u64 {
    let longest = terms.iter().map(|terms| terms.cooling_off.seconds()).max();
    longest.unwrap_or(0)
}

/// Whether the time for a veto is over; when it will be otherwise. Without one nothing is
/// compared: the time that is judged by may step back a little.
fn cooled(given: Timestamp, terms: &[Terms], now: Timestamp) -> Result<(), Timestamp> {
    match cooling_off(terms) {
        0 => Ok(()),
        seconds => match after(given, seconds) {
            from if now >= from => Ok(()),
            from => Err(from),
        },
    }
}

impl Pending {
    /// Takes a vote; the last one that was missing approves.
    pub(crate) fn vote(
        mut self,
        approver: &Principal,
        now: Timestamp,
    ) -> Result<Step, Box<Ineligible>> {
        let vote = people::consent(&self.0, approver, now)?;
        self.0.votes.push(vote);
        let enough = people::enough(&self.0.terms, &self.0.votes);
        let state = if enough {
            State::Approved { at: now }
        } else {
            State::Pending
        };
        Ok(self.0.step(state))
    }

    /// Refuses it for good.
    pub(crate) fn reject(
        self,
        approver: &Principal,
        why: String,
        now: Timestamp,
    ) -> Result<Step, Box<Ineligible>> {
        let by = people::may_judge(&self.0, approver)?;
        Ok(self.0.step(State::Rejected(ended(Some(by), why, now))))
    }

    /// Takes it back before anybody consented.
    pub(crate) fn veto(self, by: String, why: String, now: Timestamp) -> Step {
        self.0.step(State::Vetoed(ended(Some(by), why, now)))
    }

    /// The approval.
    pub(crate) fn approval(&self) -> &Approval {
        &self.0
    }
}

impl Approved {
    /// Takes it back though it was given.
    pub(crate) fn veto(self, by: String, why: String, now: Timestamp) -> Step {
        self.approval.step(State::Vetoed(ended(Some(by), why, now)))
    }

    /// Ends it because what was approved is not what would be done now.
    pub(crate) fn void(self, why: String, now: Timestamp) -> Step {
        self.approval.step(State::Void(ended(None, why, now)))
    }

    /// Uses it up: the only way to a request that needs approval.
    pub(crate) fn used(self, decision: Uuid, now: Timestamp) -> Step {
        self.approval.step(State::Used { decision, at: now })
    }

    /// Whether the time for a veto is over; when it will be otherwise.
    pub(crate) fn usable(&self, now: Timestamp) -> Result<(), Timestamp> {
        cooled(self.at, &self.approval.terms, now)
    }

    /// Whether what policy asks for now was given: no more people, no others, no longer
    /// time for a veto, and no shorter life. `counts` leaves out people who no longer do.
    pub(crate) fn covers(
        &self,
        terms: &[Terms],
        counts: impl Fn(&Vote) -> bool,
        now: Timestamp,
    ) -> bool {
        let votes: Vec<Vote> = self
            .approval
            .votes
            .iter()
            .filter(|v| counts(v))
            .cloned()
            .collect();
        let in_time = now < until(self.approval.asked_at, terms);
        let cooled = cooled(self.at, terms, now).is_ok();
        in_time && cooled && people::enough(terms, &votes)
    }

    /// The approval.
    pub(crate) fn approval(&self) -> &Approval {
        &self.approval
    }
}

fn ended(by: Option<String>, why: String, at: Timestamp) -> Ended {
    Ended { at, by, why }
}
