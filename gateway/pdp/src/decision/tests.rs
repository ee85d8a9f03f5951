//! Tests of the shape of a decision: what is not exactly it denies.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::{Decision, FaultCode, Obligation, is_code};

fn good() -> Value {
    json!({"allow": true, "deny": [], "grants": ["reader"], "obligations": []})
}

fn with(name: &str, value: Value) -> Value {
    let mut decision = good();
    decision.as_object_mut().unwrap().insert(name.into(), value);
    decision
}

fn read(value: &Value) -> Decision {
    Decision::from_json(&value.to_string())
}

#[test]
fn policy_faults_deny_malformed_results() {
    let approval = json!({"type": "approval", "quorum": 2, "from": ["group:x"],
        "ttl": "4h", "cooling_off": "0s"});
    let odd_approval = |name: &str, value: Value| {
        let mut odd = approval.clone();
        odd.as_object_mut().unwrap().insert(name.into(), value);
        with("obligations", json!([odd]))
    };
    let malformed = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!({"allow": true}),
        json!({"allow": true, "deny": [], "grants": ["x"]}),
        with("allow", json!("true")),
        with("allow", json!(1)),
        with("allow", json!(null)),
        with("deny", json!([{"code": "no", "message": "no"}])),
        with("deny", json!({})),
        with("deny", json!(["no"])),
        with("grants", json!([])),
        with("grants", json!({"a": 1})),
        with("grants", json!([null])),
        with("grants", json!([""])),
        with("grants", json!([{}])),
        with("obligation", json!([])),
        with("Allow", json!(true)),
        with("obligations", json!([{"type": "notify"}])),
        with("obligations", json!([{"quorum": 1}])),
        with("obligations", json!(["approval"])),
        odd_approval("quorum", json!(0)),
        odd_approval("quorum", json!(-1)),
        odd_approval("quorum", json!(1.5)),
        odd_approval("from", json!([])),
        odd_approval("from", json!(["group:"])),
        odd_approval("from", json!(["anyone"])),
        odd_approval("ttl", json!("0s")),
        odd_approval("ttl", json!("4 h")),
        odd_approval("ttl", json!("99999999999999999999d")),
        odd_approval("ttl", json!("é")),
        odd_approval("ttl", json!("")),
        odd_approval("extra", json!(1)),
        json!({"allow": false, "deny": [{"code": "No", "message": "x"}], "grants": [], "obligations": []}),
        json!({"allow": false, "deny": [{"code": "no", "message": " "}], "grants": [], "obligations": []}),
        json!({"allow": false, "deny": [{"code": "no", "message": "x", "x": 1}], "grants": [], "obligations": []}),
    ];
    for value in malformed {
        let decision = read(&value);
        assert!(!decision.allow, "{value}");
        let fault = decision.fault.map(|fault| fault.code);
        assert_eq!(fault, Some(FaultCode::PolicyMalformed), "{value}");
        assert_eq!(decision.deny.len(), 1, "{value}");
    }
}

#[test]
fn a_good_decision_is_taken_as_it_is() {
    assert!(read(&good()).allow);
    let approval = json!({"type": "approval", "quorum": 2, "from": ["group:x", "role:y"],
        "ttl": "4h", "cooling_off": "0s"});
    let value = json!({"allow": false,
        "deny": [{"code": "not-now", "message": "wait", "control": ["SOC2 CC6.1"], "rule": "data.x"}],
        "grants": [{"role": "operator"}], "obligations": [approval]});
    let decision = read(&value);
    assert_eq!(decision.fault, None);
    let Obligation::Approval(read) = decision.obligations.first().unwrap();
    assert_eq!(read.ttl.seconds(), 14_400);
    // What is written down is what the policy said, and `fault` besides.
    let mut written = serde_json::to_value(&decision).unwrap();
    assert_eq!(
        written.as_object_mut().unwrap().remove("fault"),
        Some(Value::Null)
    );
    assert_eq!(written, value);
}

#[test]
fn fault_codes_are_written_as_they_are_documented() {
    for code in FaultCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        let decision = Decision::fault(code, "x");
        assert!(!decision.allow);
        assert_eq!(decision.deny.first().unwrap().code, code.as_str());
    }
}

#[test]
fn codes_are_lower_case_words() {
    for good in ["a", "class-not-granted", "x9-2"] {
        assert!(is_code(good), "{good}");
    }
    for bad in [
        "",
        "-",
        "a-",
        "-a",
        "a--b",
        "A",
        "a_b",
        "a b",
        "é",
        &"a".repeat(65),
    ] {
        assert!(!is_code(bad), "{bad}");
    }
}
