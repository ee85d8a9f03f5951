//! Questions whose answer is known before the policy is: nobody may do anything.
//!
//! Input that is no input, input with parts missing or of other types, and a
//! stranger of an issuer that cannot exist. A bundle that allows any of them does
//! not deny by default. On the stranger's well-formed questions it must not fail
//! either: a policy that faults there faults on every request.

use serde_json::{Map, Value, json};

use crate::decision::{Decision, FaultCode};
use crate::policy::Policy;
use crate::problem::Problem;

/// Classes of operations.
const CLASSES: [&str; 13] = [
    "read",
    "validate",
    "snapshot",
    "restore",
    "protect",
    "weaken",
    "delete",
    "undelete",
    "configure",
    "guard",
    "cancel",
    "disclose",
    "move",
];

/// Asks one plain question: what is wrong if the policy takes too long for it, or panics, and the
/// input. Needs a thread with a large stack.
pub(super) fn first(policy: &Policy) -> Option<(Problem, regorus::Value)> {
    let input = stranger("read", "human");
    let decision = decide(policy, &input);
    let code = decision.fault.as_ref()?.code;
    if !matches!(code, FaultCode::PolicyTimeout | FaultCode::PolicyPanic) {
        return None;
    }
    let problem = faulty("a stranger that reads", &decision)?;
    Some((problem, regorus::Value::from(input)))
}

/// Runs the probes. Needs a thread with a large stack.
pub(super) fn check(policy: &Policy) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, input) in hostile() {
        if decide(policy, &input).allow {
            problems.push(allowed(&name));
        }
    }
    for class in CLASSES {
        for kind in ["human", "unknown"] {
            let decision = decide(policy, &stranger(class, kind));
            let name = format!("a stranger of kind `{kind}` with an operation of class `{class}`");
            if decision.allow {
                problems.push(allowed(&name));
            }
            problems.extend(faulty(&name, &decision));
        }
    }
    // One fault on every probe is one problem.
    problems.dedup_by(|a, b| a.message == b.message);
    problems
}

/// Every question that is asked of a bundle before it is admitted, with its name.
#[cfg(test)]
pub(crate) fn every_probe() -> Vec<(String, Value)> {
    let mut probes = hostile();
    for class in CLASSES {
        for kind in ["human", "unknown", "agent", "workload", "flow"] {
            for role in ["operator", "custodian", "reader", "agent", "flow"] {
                let mut probe = stranger(class, kind);
                if let Some(roles) = probe.pointer_mut("/principal/roles") {
                    *roles = json!([format!("backup.{role}")]);
                }
                let elsewhere = "99999999-9999-9999-9999-999999999999";
                let text = probe.to_string();
                let home = text.replace(elsewhere, "22222222-2222-2222-2222-222222222222");
                for text in [text, home] {
                    let probe = serde_json::from_str(&text).unwrap_or_default();
                    probes.push((format!("{kind} {role} {class}"), probe));
                }
            }
        }
    }
    probes
}

/// How often a probe may run out of time before the policy, not the machine, is blamed: a
/// start beside other starts must not refuse a bundle that decides in time.
const ATTEMPTS: usize = 5;

fn decide(policy: &Policy, input: &Value) -> Decision {
    let input = input.to_string();
    let once = || policy.decide_text(&input, policy.limits().time_limit);
    let in_time = |decision: &Decision| {
        let fault = decision.fault.as_ref();
        fault.is_none_or(|fault| fault.code != FaultCode::PolicyTimeout)
    };
    let mut decision = once();
    for _ in 1..ATTEMPTS {
        if in_time(&decision) {
            break;
        }
        decision = once();
    }
    decision
}

fn allowed(name: &str) -> Problem {
    Problem::error(
        ".",
        None,
        format!("the policy does not deny by default: it allows {name}"),
    )
    .hint("let `allow` follow from a grant that names the principal, its roles or groups")
}

fn faulty(name: &str, decision: &Decision) -> Option<Problem> {
    let fault = decision.fault.as_ref()?;
    let code = fault.code.as_str();
    // Without the name of the probe, so that the same fault is told once.
    let message = format!(
        "the policy fails on a plain request: {code}: {}",
        fault.message
    );
    Some(Problem::error(".", None, message).hint(format!("found with {name}")))
}

/// Input that no gateway sends.
fn hostile() -> Vec<(String, Value)> {
    let mut probes: Vec<(String, Value)> = [
        ("null", json!(null)),
        ("true", json!(true)),
        ("a number", json!(0)),
        ("text", json!("")),
        ("an array", json!([])),
        ("an empty object", json!({})),
    ]
    .into_iter()
    .map(|(name, input)| (format!("{name} as input"), input))
    .collect();
    let whole = stranger("delete", "human");
    let values = [
        json!(null),
        json!(true),
        json!(""),
        json!("*"),
        json!([]),
        json!({}),
        json!(["*"]),
    ];
    for member in whole.as_object().into_iter().flat_map(Map::keys) {
        let mut without = whole.clone();
        if let Some(members) = without.as_object_mut() {
            members.remove(member);
        }
        probes.push((format!("input without `{member}`"), without));
        for value in &values {
            let mut odd = whole.clone();
            if let Some(members) = odd.as_object_mut() {
                members.insert(member.clone(), value.clone());
            }
            probes.push((format!("input whose `{member}` is `{value}`"), odd));
        }
    }
    for member in ["roles", "groups", "subject", "issuer", "person", "kind"] {
        for value in &values {
            let mut odd = whole.clone();
            if let Some(principal) = odd.get_mut("principal").and_then(Value::as_object_mut) {
                principal.insert(member.to_owned(), value.clone());
            }
            probes.push((format!("a principal whose `{member}` is `{value}`"), odd));
        }
    }
    probes
}

/// A well-formed question by somebody whom no issuer can vouch for.
pub(crate) fn stranger(class: &str, kind: &str) -> Value {
    let subscription = "99999999-9999-9999-9999-999999999999";
    let vault = format!(
        "/subscriptions/{subscription}/resourceGroups/nowhere/providers/Microsoft.RecoveryServices/vaults/nothing"
    );
    let windows = json!({"1h": 0, "24h": 0, "30d": 0});
    let mut counts = json!({"vaults": {"1h": 0, "24h": 0}, "denied": {"1h": 0, "24h": 0},
        "first_in_90d": true, "refused": {}, "items_weakened": {"30d": 0},
        "retention_days_removed": {"30d": 0}});
    if let Some(counts) = counts.as_object_mut() {
        counts.extend(CLASSES.map(|class| (class.to_owned(), windows.clone())));
    }
    json!({
        "schema": crate::SCHEMA, "now": "2026-01-01T00:00:00.000Z",
        "principal": {"issuer": "https://stranger.invalid", "subject": "nobody", "person": null,
            "kind": kind, "tenant": null, "app": null, "roles": [], "groups": [], "scopes": [],
            "acr": null, "auth_time": null, "actors": [], "bound": "none"},
        "operation": {"name": "Microsoft.RecoveryServices/vaults/probe/action", "class": class,
            "method": "POST", "api_version": "2026-08-01", "reversible": false, "body_unknown": []},
        "resource": {"id": format!("{vault}/probe/probe"), "subscription": subscription,
            "resource_group": "nowhere", "vault": vault,
            "type": "Microsoft.RecoveryServices/vaults/probe", "item": null, "workload": null,
            "region": null, "tags": {}},
        "request": {"body": null, "before": null, "delta": {}, "restore": null},
        "facts": {"vault": {"status": "ok"}, "item": {"status": "unavailable"},
            "estate": {"status": "unavailable"}},
        "activity": {"principal": counts, "agent": counts, "person": null, "vault": counts,
            "estate": {"delete_24h": 0, "delete_share_24h": null}},
        "flow": null, "approval": null, "incident": null, "preflight": false,
        "claimed": {"flow_run": null, "user_agent": null, "command": null, "justification": null},
        "transport": {"remote": "192.0.2.1", "tls": "1.3", "http": "1.1"}
    })
}
