//! What an approval is bound to, and what approvers see: the request, parsed, and the
//! resource as Azure tells of it. Nothing that the caller merely says is bound.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use uuid::Uuid;
use vaultgate_arm::Settled;
use vaultgate_pdp::Principal;

use super::HEADER;
use crate::approvals::shown::{self, Shown};
use crate::approvals::words;
use crate::approvals::{BoundRequest, Headers, Requester};
use crate::facts::{Before, Gathered};
use crate::pipeline::arrival::Arrival;
use crate::pipeline::asked::Asked;
use crate::pipeline::trail::Trail;
use crate::pipeline::{Pipeline, input, preflight};
use crate::policy_source::Active;

/// Headers of a request that decide what it does, and so are bound.
const BOUND_HEADERS: [&str; 3] = ["if-match", "if-none-match", "x-ms-deleted-vault-id"];

/// What callers say of themselves, and in which header.
const CLAIMS: [(&str, &str); 3] = [
    ("justification", "x-vaultgate-justification"),
    ("command", "commandname"),
    ("user agent", "user-agent"),
];

impl Pipeline {
    /// Everything that an approval of this request is bound to.
    #[expect(
        clippy::too_many_arguments,
        reason = "an approval is bound to all that a request is"
    )]
    pub(super) fn bound(
        &self,
        arrival: &Arrival,
        caller: &Principal,
        asked: &Asked,
        gathered: &Gathered,
        settled: &Settled,
        policy: &Active,
        trail: &Trail,
    ) -> BoundRequest {
        let body = asked.body.as_ref();
        let sorted = body.map(|body| body.sorted_bytes()).unwrap_or_default();
        let sealed = body.and_then(|body| self.custody.seal_body(body.canonical_bytes()));
        BoundRequest {
            requester: Requester::of(caller),
            method: asked.method.as_str().to_owned(),
            target: asked.target.clone(),
            headers: bound_headers(&arrival.headers),
            body_sha256: crate::digest::sha256_hex(&sorted),
            sealed_body: sealed.map(|sealed| STANDARD.encode(sealed)),
            state: self.state_of(asked, gathered),
            operation: asked.name.clone(),
            class: settled.class.as_str().to_owned(),
            resource: asked.resource.id.clone(),
            asked_under: (
                policy.reference.bundle.clone(),
                policy.reference.revision.clone(),
            ),
            decision: trail.id,
            shown: self.shown(arrival, caller, asked, gathered, settled),
        }
    }

    /// The resource's state, as far as a change rests on it.
    fn state_of(&self, asked: &Asked, gathered: &Gathered) -> Value {
        // What rests on no state is bound to none: a remembered one is of some other moment.
        if !asked.class.needs_facts() {
            return Value::Null;
        }
        let vault = gathered.facts.get("vault").unwrap_or(&Value::Null);
        let posture = [
            "status",
            "soft_delete",
            "soft_delete_days",
            "immutability",
            "mua",
        ];
        let posture: serde_json::Map<String, Value> = posture
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), vault.get(*name)?.clone())))
            .collect();
        let resource = match &gathered.before {
            Before::NotAsked => Value::Null,
            Before::Absent => json!("absent"),
            Before::Unavailable => json!("unavailable"),
            Before::Present(document) => {
                let mut before = document.to_value();
                self.hide_named(&mut before, asked.answer_secrets());
                let members = asked.state_members().iter();
                let state: serde_json::Map<String, Value> = members
                    .filter_map(|at| Some(((*at).to_owned(), before.pointer(at)?.clone())))
                    .collect();
                Value::Object(state)
            }
        };
        json!({"vault": posture, "resource": resource})
    }

    /// What approvers see of it.
    fn shown(
        &self,
        arrival: &Arrival,
        caller: &Principal,
        asked: &Asked,
        gathered: &Gathered,
        settled: &Settled,
    ) -> Shown {
        let before = match &gathered.before {
            Before::Present(document) => {
                let mut before = document.to_value();
                self.hide_named(&mut before, asked.answer_secrets());
                Some(before)
            }
            _ => None,
        };
        let after = asked.body.as_ref().map(|body| {
            let mut body = body.to_value();
            self.hide(&mut body, &asked.secrets);
            body
        });
        let partial = asked.method != Method::PUT;
        let (changes, more_changes) = match (&before, &after) {
            (Some(before), Some(after)) => shown::changes(before, after, partial),
            (None, Some(after)) => shown::changes(&json!({}), after, partial),
            _ => (Vec::new(), 0),
        };
        let class = settled.class.as_str();
        let kind = serde_json::to_value(caller.kind).unwrap_or_default();
        let summary = format!(
            "{} `{}` asks to {} {}",
            kind.as_str().unwrap_or("somebody"),
            shown::visible(&caller.subject),
            shown::verb(class),
            shown::resource(&asked.resource.id, asked.resource.vault.as_deref()),
        );
        let mut consequences = preflight::blockers(&gathered.facts, class);
        if !settled.class.reversible() {
            consequences.push("what this does cannot be taken back by another request".to_owned());
        }
        consequences.extend(words::in_words(&settled.delta));
        if let Some(restore) = &asked.restore {
            let target = serde_json::to_value(&restore.target).unwrap_or_default();
            let way = words::restore(restore.kind, &target, &restore.crosses);
            consequences.extend(way);
        }
        let claimed = CLAIMS.iter().filter_map(|(name, header)| {
            let said = input::claim(arrival, header)?;
            Some(((*name).to_owned(), shown::visible(said)))
        });
        Shown {
            summary,
            consequences,
            changes,
            more_changes,
            claimed: claimed.collect(),
            body: after.unwrap_or_default(),
        }
    }
}

/// The stored request as if it had arrived now, by this connection.
pub(super) fn replayed(arrival: &Arrival, request: &BoundRequest, id: Uuid) -> Arrival {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    if request.sealed_body.is_some() {
        put("content-type", "application/json");
    }
    for (name, value) in &request.headers {
        put(name, value);
    }
    // What the caller says of itself is said now.
    for name in CLAIMS.map(|(_, header)| header) {
        if let Some(said) = arrival.header(name) {
            put(name, said);
        }
    }
    put(HEADER, &id.to_string());
    Arrival {
        method: Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET),
        target: request.target.clone(),
        headers,
        http: arrival.http,
        peer: arrival.peer.clone(),
        at: arrival.at,
    }
}

/// Every value, byte for byte: one that is repeated or no text must not read as an absent
/// one, or a guard that approvers saw could be taken away, or one be added, afterwards.
fn bound_headers(headers: &HeaderMap) -> Headers {
    let values = |name: &str| -> Option<String> {
        let every = headers.get_all(name).iter();
        // As Latin-1, which loses nothing; no value holds a line break.
        every
            .map(|value| value.as_bytes().iter().copied().map(char::from).collect())
            .reduce(|all: String, one: String| all + "\n" + &one)
    };
    let present = BOUND_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), values(name)?)));
    present.collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{HeaderMap, HeaderValue, bound_headers};
    use std::collections::HashSet;

    fn of(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("if-match", HeaderValue::from_bytes(value).unwrap());
        }
        bound_headers(&headers).remove("if-match")
    }

    #[test]
    fn no_two_sets_of_values_are_bound_alike() {
        let sets: [&[&[u8]]; 7] = [
            &[],
            &[b""],
            &[b"\"a\""],
            &[b"\"a\"", b"\"b\""],
            &[b"\"b\"", b"\"a\""],
            &[b"\"a\", \"b\""],
            &[b"\xff"],
        ];
        let mut bound: Vec<_> = sets.iter().map(|values| of(values)).collect();
        bound.push(of(&["\u{ff}".as_bytes()]));
        let different: HashSet<_> = bound.iter().collect();
        assert_eq!(different.len(), bound.len(), "{bound:?}");
        assert_eq!(of(&[b"\"a\""]).unwrap(), "\"a\"");
    }
}
