//! What is counted of one request.
//!
//! Built from the parts of a live request and from a record of the log by the same
//! rules, so that a restart does not change a count.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vaultgate_pdp::{Principal, PrincipalKind};

use super::ring::Moment;
use vaultgate_arm::Class;

/// One request, as far as counters care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActivityEvent {
    /// `Principal::key`.
    pub(crate) principal: String,
    /// Key of the nearest actor, or of the principal itself if it is an agent.
    pub(crate) agent: Option<String>,
    /// The person behind the principal.
    pub(crate) person: Option<String>,
    /// Name of the operation.
    pub(crate) operation: String,
    /// Class of the operation.
    pub(crate) class: Class,
    /// ARM id of the vault, lower case.
    pub(crate) vault: Option<String>,
    /// Protected items whose protection is lowered.
    pub(crate) items_weakened: u32,
    /// Days of retention taken away.
    pub(crate) retention_days_removed: u32,
}

impl ActivityEvent {
    /// What is counted of a request. `delta` is `request.delta` of the policy input.
    pub(crate) fn new(
        principal: &Principal,
        operation: &str,
        class: Class,
        vault: Option<&str>,
        delta: &Value,
    ) -> ActivityEvent {
        let nearest = principal.actors.first();
        let agent = nearest.map(|actor| key(&actor.issuer, &actor.subject));
        // Who is not known is treated as an agent.
        let acts_alone = matches!(
            principal.kind,
            PrincipalKind::Agent | PrincipalKind::Unknown
        );
        let (items_weakened, retention_days_removed) = weakening(class, delta);
        ActivityEvent {
            agent: agent.or_else(|| acts_alone.then(|| principal.key())),
            principal: principal.key(),
            person: principal.person.clone(),
            operation: operation.to_owned(),
            class,
            // ARM ids are the same in either case: another spelling is no new budget.
            vault: vault.map(str::to_ascii_lowercase),
            items_weakened,
            retention_days_removed,
        }
    }

    /// The same from a policy input.
    pub(crate) fn from_input(input: &Value) -> Option<ActivityEvent> {
        let text = |pointer: &str| input.pointer(pointer).and_then(Value::as_str);
        let principal = key(text("/principal/issuer")?, text("/principal/subject")?);
        let nearest = input.pointer("/principal/actors/0");
        let agent = match nearest {
            Some(actor) => Some(key(
                actor.get("issuer")?.as_str()?,
                actor.get("subject")?.as_str()?,
            )),
            None => {
                matches!(text("/principal/kind")?, "agent" | "unknown").then(|| principal.clone())
            }
        };
        let class = Class::named(text("/operation/class")?)?;
        let delta = input.pointer("/request/delta").unwrap_or(&Value::Null);
        let (items_weakened, retention_days_removed) = weakening(class, delta);
        Some(ActivityEvent {
            agent,
            principal,
            person: text("/principal/person").map(str::to_owned),
            operation: text("/operation/name")?.to_owned(),
            class,
            vault: text("/resource/vault").map(str::to_ascii_lowercase),
            items_weakened,
            retention_days_removed,
        })
    }

    /// The vault as distinct vaults are counted, if this request changes it: half of
    /// a digest's half, which is short and cannot be aimed at.
    pub(super) fn changed_vault(&self) -> Option<u64> {
        let vault = self.vault.as_ref().filter(|_| self.class.changes())?;
        let digest = crate::digest::sha256_raw(vault.as_bytes());
        let first = digest.first_chunk::<8>()?;
        Some(u64::from_be_bytes(*first))
    }
}

/// A decision of the log, read back.
pub(super) struct Replayed {
    pub(super) index: u64,
    pub(super) at: Moment,
    pub(super) allowed: bool,
    pub(super) event: ActivityEvent,
}

impl Replayed {
    /// Nothing for records that count nothing: other kinds, and replies that were
    /// given a second time.
    pub(super) fn of(record: &Value) -> Option<Replayed> {
        if record.get("kind")?.as_str()? != "decision" {
            return None;
        }
        // Nor for a step of another decision, which counts itself.
        let names = |member| record.get(member).is_some_and(|of| !of.is_null());
        if names("replayed_of") || names("part_of") {
            return None;
        }
        let time: Timestamp = record.get("time")?.as_str()?.parse().ok()?;
        Some(Replayed {
            index: record.get("seq")?.as_u64()?,
            at: Moment::of(time),
            allowed: record.get("verdict")?.as_str()? == "allow",
            event: ActivityEvent::from_input(record.get("input")?)?,
        })
    }
}

fn key(issuer: &str, subject: &str) -> String {
    format!("{issuer}\u{0}{subject}")
}

/// Items weakened and days of retention removed. A weakening of which the delta says
/// nothing is one item.
fn weakening(class: Class, delta: &Value) -> (u32, u32) {
    let number = |name: &str| delta.get(name).and_then(Value::as_f64);
    let days = number("retention_days").map_or(0, |days| whole(-days));
    let items = number("items").map_or(1, whole).max(1);
    match class {
        Class::Weaken => (items, days),
        // Shorter retention counts under whatever class it comes.
        _ if days > 0 => (items, days),
        _ => (0, 0),
    }
}

/// Rounded up, since half a day less is less; negative amounts are none. The
/// conversion saturates.
fn whole(amount: f64) -> u32 {
    amount.ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};
    use vaultgate_pdp::{Actor, Binding, Principal, PrincipalKind};

    use super::{ActivityEvent, Replayed, weakening};
    use vaultgate_arm::Class;

    fn principal(kind: PrincipalKind, actors: Vec<Actor>) -> Principal {
        Principal {
            issuer: "https://idp".into(),
            subject: "alice".into(),
            person: Some("p-1".into()),
            kind,
            tenant: None,
            app: None,
            roles: Vec::new(),
            groups: Vec::new(),
            scopes: Vec::new(),
            acr: None,
            auth_time: None,
            actors,
            bound: Binding::None,
            flow: None,
        }
    }

    fn input(principal: &Principal, class: &str, delta: &Value) -> Value {
        json!({
            "principal": principal,
            "operation": { "name": "N/delete", "class": class },
            "resource": { "vault": "/Subscriptions/S/Vaults/V1" },
            "request": { "delta": delta },
        })
    }

    #[test]
    fn a_live_request_and_its_record_count_the_same() {
        let actor = Actor {
            issuer: "https://idp".into(),
            subject: "bot".into(),
        };
        let delta = json!({ "retention_days": -22.5, "items": 3 });
        for (kind, actors, agent) in [
            (PrincipalKind::Human, vec![], None),
            (PrincipalKind::Agent, vec![], Some("https://idp\0alice")),
            (PrincipalKind::Unknown, vec![], Some("https://idp\0alice")),
            (PrincipalKind::Human, vec![actor], Some("https://idp\0bot")),
        ] {
            let principal = principal(kind, actors);
            let vault = Some("/subscriptions/s/VAULTS/v1");
            let live = ActivityEvent::new(&principal, "N/delete", Class::Weaken, vault, &delta);
            let read = ActivityEvent::from_input(&input(&principal, "weaken", &delta)).unwrap();
            assert_eq!(live, read);
            assert_eq!(live.agent.as_deref(), agent);
            assert_eq!((live.items_weakened, live.retention_days_removed), (3, 23));
        }
    }

    #[test]
    fn deltas_of_any_shape_give_a_count() {
        for (class, delta, want) in [
            (Class::Weaken, json!(null), (1, 0)),
            (
                Class::Weaken,
                json!({ "retention_days": "unknown" }),
                (1, 0),
            ),
            (
                Class::Weaken,
                json!({ "retention_days": 5, "items": -4 }),
                (1, 0),
            ),
            (
                Class::Weaken,
                json!({ "items": 1e300, "retention_days": -1e300 }),
                (u32::MAX, u32::MAX),
            ),
            (Class::Protect, json!({ "retention_days": 5 }), (0, 0)),
            (Class::Configure, json!({ "retention_days": -1 }), (1, 1)),
            (Class::Delete, json!([]), (0, 0)),
        ] {
            assert_eq!(weakening(class, &delta), want, "{class:?} {delta}");
        }
    }

    #[test]
    fn only_decisions_that_stand_for_something_new_are_replayed() {
        let principal = principal(PrincipalKind::Human, vec![]);
        let record = json!({
            "seq": 7, "time": "2026-11-23T03:00:00.000Z", "kind": "decision",
            "verdict": "allow", "replayed_of": null,
            "input": input(&principal, "delete", &json!(null)),
        });
        let replayed = Replayed::of(&record).unwrap();
        assert!(replayed.allowed && replayed.index == 7);
        for (name, value) in [
            ("kind", json!("preflight")),
            ("kind", json!(5)),
            ("replayed_of", json!("3f0c")),
            ("time", json!("yesterday")),
            ("seq", json!(-1)),
            ("input", json!({})),
            ("input", Value::Null),
        ] {
            let mut other = record.clone();
            other
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value);
            assert!(Replayed::of(&other).is_none(), "{name}: {other}");
        }
        assert!(Replayed::of(&json!([])).is_none());
    }
}
