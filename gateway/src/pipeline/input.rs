//! The one document that policy judges, the record keeps and a replay reads.
//!
//! Secret members of the body are replaced by a keyed digest while it is built:
//! nothing has to be masked afterwards, and equal secrets stay recognisable.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use vaultgate_arm::Settled;
use vaultgate_pdp::{
    Claimed, Document, Flow, Input, Json, Operation, Principal, Request, Resource, Restore, SCHEMA,
    Transport,
};

use super::Pipeline;
use super::arrival::Arrival;
use super::asked::Asked;
use crate::activity::ActivityView;
use crate::assent::Assent;
use crate::facts::{Before, Gathered};

/// Longest text that a caller's claim may have, bytes.
const MAX_CLAIM: usize = 1 << 10;

impl Pipeline {
    /// Builds the input.
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument for each part of the contract"
    )]
    pub(super) fn input(
        &self,
        arrival: &Arrival,
        caller: &Principal,
        asked: &Asked,
        gathered: &Gathered,
        settled: &Settled,
        activity: &ActivityView,
        approval: Option<&Value>,
        preflight: bool,
    ) -> Document {
        let now = format!("{:.3}", self.clock.now());
        let remote = arrival.peer.source.ip().to_string();
        let body = asked.body.as_ref().map(|body| {
            let mut body = body.to_value();
            self.hide(&mut body, &asked.secrets);
            body
        });
        let before = match &gathered.before {
            Before::Present(document) => {
                let mut before = document.to_value();
                self.hide_named(&mut before, asked.answer_secrets());
                Some(before)
            }
            _ => None,
        };
        let target = asked.restore.as_ref().map(|restore| raw(&restore.target));
        // By now, not by when the request's head came: its body may have taken long.
        let counts = |one: &Assent| self.quarantine.counts(one);
        let at = self.clock.latest();
        let incident = self.incident.told(caller, settled.class, counts, at);
        let resource = &asked.resource;
        let input =
            Input {
                schema: SCHEMA,
                now: &now,
                principal: caller,
                operation: Operation {
                    name: &asked.name,
                    class: settled.class.as_str(),
                    method: asked.method.as_str(),
                    api_version: &asked.api_version,
                    reversible: settled.class.reversible(),
                    body_unknown: &asked.body_unknown,
                },
                resource: Resource {
                    id: &resource.id,
                    subscription: resource.subscription.as_deref(),
                    resource_group: resource.resource_group.as_deref(),
                    vault: resource.vault.as_deref(),
                    type_: &resource.kind,
                    item: resource.item.as_deref(),
                    workload: resource.workload.as_deref(),
                    region: gathered.region.as_deref().or(resource.region.as_deref()),
                    tags: Json::Value(&gathered.tags),
                },
                request: Request {
                    body: body.as_ref().into(),
                    before: before.as_ref().into(),
                    delta: Json::Value(&settled.delta),
                    restore: asked.restore.as_ref().zip(target.as_ref()).map(
                        |(restore, target)| Restore {
                            kind: restore.kind,
                            target: Json::Raw(target),
                            crosses: &restore.crosses,
                        },
                    ),
                },
                facts: Json::Value(&gathered.facts),
                activity,
                // The digest is what the run says of itself: policy holds it against the
                // definition that was reviewed, and may only deny by it.
                flow: caller.flow.as_deref().map(|name| Flow {
                    name,
                    definition_digest: claim(arrival, "x-vaultgate-flow-digest").unwrap_or(""),
                    covers: false,
                }),
                approval: approval.into(),
                incident: incident.as_ref().into(),
                preflight,
                claimed: Claimed {
                    flow_run: claim(arrival, "x-vaultgate-flow-run"),
                    user_agent: claim(arrival, "user-agent"),
                    command: claim(arrival, "commandname"),
                    justification: claim(arrival, "x-vaultgate-justification"),
                },
                transport: Transport {
                    remote: &remote,
                    tls: arrival.peer.tls,
                    http: arrival.http,
                },
            };
        input.to_document()
    }

    /// Replaces members of these names by a keyed digest, at any depth; tells whether
    /// there were any.
    pub(super) fn hide_named(&self, value: &mut Value, names: &Names) -> bool {
        let mut hidden = false;
        match value {
            _ if names.is_empty() => {}
            Value::Object(members) => {
                for (name, value) in members {
                    if names.contains(name) && !value.is_null() {
                        let digest = self.custody.digest_secret(value.to_string().as_bytes());
                        *value = Value::String(digest);
                        hidden = true;
                    } else {
                        hidden |= self.hide_named(value, names);
                    }
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    hidden |= self.hide_named(element, names);
                }
            }
            _ => {}
        }
        hidden
    }

    /// Replaces secret members by a keyed digest.
    pub(super) fn hide(&self, body: &mut Value, secrets: &[String]) {
        for pointer in secrets {
            if let Some(secret) = body.pointer_mut(pointer) {
                *secret = Value::String(self.custody.digest_secret(secret.to_string().as_bytes()));
            }
        }
    }
}

/// Names of members that hold secrets.
type Names = std::collections::BTreeSet<String>;

/// A part of the input as text.
fn raw(part: &impl Serialize) -> Box<RawValue> {
    // Text keys only, so it cannot fail. If it did, `null` is denied.
    serde_json::value::to_raw_value(part).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What a caller says of itself; too long or repeated is not said.
pub(super) fn claim<'a>(arrival: &'a Arrival, name: &str) -> Option<&'a str> {
    arrival.header(name).filter(|text| text.len() <= MAX_CLAIM)
}
