//! The states of an approval against a model of them that shares no code: every sequence of
//! steps up to a length, from what is and from what was read before, and random longer ones
//! through the store.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{Strategy, prop, proptest};
use proptest::test_runner::Config;
use uuid::Uuid;

use super::super::{Approval, Approvals, Stage, Step};
use super::{approval, now, person, request, terms};
use crate::clock::Clock;
use crate::store::scratch;

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Vote(&'static str),
    Reject,
    Veto,
    Void,
    Use,
}

/// By whom it was asked for is one of them.
const ACTS: [Act; 7] = [
    Act::Vote("a"),
    Act::Vote("b"),
    Act::Vote("asker"),
    Act::Reject,
    Act::Veto,
    Act::Void,
    Act::Use,
];

/// What an approval of two people, without a time for a veto, has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    given: BTreeSet<&'static str>,
    ended: Option<&'static str>,
    steps: usize,
}

impl Model {
    /// Whether this may be done, by who has read it when it had taken `seen` steps.
    fn takes(&mut self, act: Act, seen: usize, late: bool) -> bool {
        let approved = self.given.len() == 2;
        let open = self.ended.is_none() && !late && seen == self.steps;
        let may = open
            && match act {
                Act::Vote(who) => !approved && who != "asker" && !self.given.contains(who),
                Act::Reject => !approved,
                Act::Veto => true,
                Act::Void | Act::Use => approved,
            };
        if may {
            self.steps += 1;
            match act {
                Act::Vote(who) => drop(self.given.insert(who)),
                Act::Reject => self.ended = Some("rejected"),
                Act::Veto => self.ended = Some("vetoed"),
                Act::Void => self.ended = Some("void"),
                Act::Use => self.ended = Some("used"),
            }
        }
        may
    }

    fn state(&self) -> &'static str {
        self.ended.unwrap_or(match self.given.len() {
            2 => "approved",
            _ => "pending",
        })
    }
}

/// The step that the product offers for this, if it offers one.
fn step(known: Approval, act: Act, at: Timestamp) -> Option<Step> {
    let why = || "why".to_owned();
    match (act, known.stage(at)) {
        (Act::Vote(who), Stage::Pending(pending)) => pending.vote(&person(who), at).ok(),
        (Act::Reject, Stage::Pending(pending)) => pending.reject(&person("a"), why(), at).ok(),
        (Act::Veto, Stage::Pending(pending)) => Some(pending.veto("soc".into(), why(), at)),
        (Act::Veto, Stage::Approved(approved)) => Some(approved.veto("soc".into(), why(), at)),
        (Act::Void, Stage::Approved(approved)) => Some(approved.void(why(), at)),
        (Act::Use, Stage::Approved(approved)) => {
            approved.usable(at).ok()?;
            Some(approved.used(Uuid::nil(), at))
        }
        _ => None,
    }
}

/// Every way on from here. `read` is what was read before, at each number of steps.
fn explore(read: &[Approval], model: &Model, left: usize, tried: &mut usize) {
    let Some(current) = read.last() else { return };
    assert_eq!(current.state.as_str(), model.state());
    if left == 0 {
        return;
    }
    for act in ACTS {
        for (seen, known) in read.iter().enumerate() {
            for late in [false, true] {
                let at = match late {
                    true => current.expires,
                    false => now(),
                };
                *tried += 1;
                let offered = step(known.clone(), act, at);
                // The store takes a step from what still is, and open, and on time.
                let open = matches!(current.state.as_str(), "pending" | "approved");
                let taken = offered
                    .filter(|step| step.from == current.version && open && at < current.expires);
                let mut after = model.clone();
                let may = after.takes(act, seen, late);
                assert_eq!(
                    taken.is_some(),
                    may,
                    "{act:?} seen {seen} late {late} in {model:?}"
                );
                if let Some(taken) = taken {
                    let mut read = read.to_vec();
                    read.push(taken.approval);
                    explore(&read, &after, left - 1, tried);
                }
            }
        }
    }
}

#[test]
fn every_sequence_of_steps_ends_as_the_model_says() {
    let mut tried = 0;
    explore(
        &[approval(terms(2, "0s"))],
        &Model::default(),
        6,
        &mut tried,
    );
    assert!(tried > 500, "{tried} steps were tried");
}

fn acts() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec(
        (0..ACTS.len(), 0..3_usize, prop::bool::weighted(0.05)),
        1..24,
    )
}

proptest! {
    #![proptest_config(Config { cases: 40, ..Config::default() })]

    /// Several who have read it at different times, through the store.
    #[test]
    fn what_the_store_takes_is_what_the_model_takes(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(through_the_store(acts));
    }
}

async fn through_the_store(acts: Vec<(usize, usize, bool)>) {
    let folder = tempfile::tempdir().unwrap();
    let store = scratch::open(folder.path()).await;
    let clock = Clock::manual(now());
    let settings = super::settings(folder.path());
    let approvals = Approvals::new(store, &settings, clock.clone());
    let asked = approvals.ask(request(), vec![terms(2, "0s")]).await;
    let (asked, _) = asked.unwrap();
    let id = asked.id;
    let (mut read, mut model, mut late) = (vec![asked], Model::default(), false);
    for (act, back, tick) in acts {
        if tick && !late {
            clock.advance(std::time::Duration::from_secs(4 * 3_600));
            // What ran out was seen to; a clock that is set back revives nothing.
            approvals.sweep().await.unwrap();
            clock.step(SignedDuration::from_hours(-5));
            late = true;
        }
        let act = ACTS.get(act).copied().unwrap();
        let seen = read.len().saturating_sub(1 + back);
        let known = read.get(seen).cloned().unwrap();
        // Who read it before its end may still believe that it is time.
        let offered = step(known, act, now());
        let taken = match &offered {
            Some(step) => approvals.take(step).await.unwrap(),
            None => false,
        };
        assert_eq!(taken, model.takes(act, seen, late), "{act:?} {model:?}");
        if taken {
            read.push(approvals.find(id).await.unwrap().unwrap());
        }
        let kept = approvals.find(id).await.unwrap().unwrap();
        let ended = late && model.ended.is_none();
        let state = if ended { "expired" } else { model.state() };
        assert_eq!(kept.state.as_str(), state);
    }
}
