//! The machine against the interpreter: same answers, or none.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use regorus::Value;

use super::{Machine, SAMPLE};
use crate::bundle::Bundle;
use crate::decision::Decision;
use crate::fixture::{self, MANIFEST, folder, patient};
use crate::limits::Limits;
use crate::policy::Policy;
use crate::{admission, replay};

fn with_machine() -> Limits {
    Limits {
        machine: true,
        ..patient()
    }
}

fn admitted(rules: &str) -> Policy {
    let rules = format!("package vaultgate\n\nimport rego.v1\n\n{rules}");
    let files: [(&str, &[u8]); 2] = [
        (".manifest", MANIFEST.as_bytes()),
        ("vaultgate/rules.rego", rules.as_bytes()),
    ];
    let bundle = Bundle::load(folder(&files).path()).unwrap();
    Policy::admit(bundle, &with_machine()).unwrap()
}

const DECISION: &str = r#"
decision := {"allow": allow, "deny": deny, "grants": grants, "obligations": []}

default allow := false

allow if {
	count(grants) > 0
	count(deny) == 0
}

grants contains "it" if input.principal.subject == "me"
"#;

fn ask(policy: &Policy, class: &str, extra: &str) -> Decision {
    let input = format!(
        r#"{{"operation": {{"class": "{class}"}}, "principal": {{"subject": "me"}}, "extra": {extra}}}"#
    );
    replay(policy, &input)
}

/// The library is fit for the machine, and both answer alike whatever they are asked.
#[test]
fn the_shipped_library_is_admitted_and_answered_alike() {
    let bundle = Bundle::load(&fixture::shipped("policies")).unwrap();
    let policy = Policy::admit(bundle, &with_machine()).unwrap();
    let machine = policy.machine.as_ref().unwrap();
    let mut answered = 0;
    for (name, input) in admission::every_probe() {
        if !input.is_object() {
            continue;
        }
        let input = Value::from_json_str(&input.to_string()).unwrap();
        let interpreted = policy.interpret(&input, Duration::from_secs(5));
        let quick = machine.decide(&input, Duration::from_secs(5));
        answered += u32::from(quick.is_some());
        if let Some(quick) = quick {
            assert_eq!(quick, interpreted, "{name}");
        }
    }
    assert!(answered > 100, "{answered}");
}

/// A builtin that errs denies to the interpreter and is nothing to the machine: it hands over.
#[test]
fn what_errs_is_handed_to_the_interpreter() {
    for rule in [
        r#"deny contains {"code": "a", "message": "m"} if to_number(input.extra) > 1"#,
        r#"deny contains {"code": "a", "message": "m"} if { x := input.extra; not startswith(x, "x") }"#,
        r#"deny contains {"code": "a", "message": "m"} if input.extra + 1 > 1"#,
        r#"deny contains {"code": "a", "message": "m"} if count({1} - input.extra) == 1"#,
        r#"deny contains {"code": "a", "message": "m"} if 4 / input.extra > 1"#,
    ] {
        let policy = admitted(&format!("{DECISION}\n{rule}\n"));
        for extra in ["null", "\"abc\"", "0", "[1]", "{}"] {
            let quick = ask(&policy, "read", extra);
            let interpreted = ask(&policy, "delete", extra);
            assert_eq!(quick.allow, interpreted.allow, "{rule} {extra}");
            assert_eq!(
                quick.fault.is_some(),
                interpreted.fault.is_some(),
                "{rule} {extra}"
            );
        }
        let report = policy.machine().unwrap();
        assert!(report.handed_over > 0 && !report.out, "{rule}: {report:?}");
    }
}

#[test]
fn it_decides_plain_reads_and_snapshots_alone_and_nothing_else() {
    let policy = admitted(&format!(
        "{DECISION}\ndeny contains {{\"code\": \"a\", \"message\": \"m\"}} if input.extra == 1\n"
    ));
    assert!(ask(&policy, "read", "0").allow && !ask(&policy, "snapshot", "1").allow);
    let before = policy.machine().unwrap();
    assert_eq!(before.decided + before.handed_over, 2);
    for class in [
        "validate",
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
        "reads",
        "",
    ] {
        ask(&policy, class, "0");
    }
    assert_eq!(policy.machine().unwrap(), before);
}

/// Where the two do not agree the machine is out, and the interpreter's answer stands.
#[test]
fn a_machine_that_disagrees_is_out() {
    let policy = admitted(&format!(
        "{DECISION}\ndeny contains {{\"code\": \"a\", \"message\": \"m\"}} if input.extra == 1\n"
    ));
    let machine: &Machine = policy.machine.as_ref().unwrap();
    let other = ask(&policy, "read", "1");
    for _ in 0..=SAMPLE {
        assert!(ask(&policy, "read", "0").allow);
    }
    assert!(policy.machine().unwrap().checked >= 1);
    machine.hold(&other, &ask(&policy, "delete", "0"));
    assert!(policy.machine().unwrap().out);
    assert!(policy.machine_alarm() && !policy.machine_alarm());
    let before = policy.machine().unwrap();
    assert!(ask(&policy, "read", "0").allow);
    assert_eq!(policy.machine().unwrap(), before);
}

/// Constructs in which the two differ are not decided by the machine; what does not need them
/// is.
#[test]
fn what_the_two_evaluate_differently_is_handed_over() {
    for rules in [
        "x := 1 if input.extra > 0\nx := 2 if input.extra > 1\nneeded if x == 1",
        "f(a) := 1 if a > 0\nf(a) := 2 if a > 1\nneeded if f(input.extra) == 1",
        "x := v if some v in input.extra\nneeded if x == 1",
        "o[k] := v if some k, v in input.extra\nneeded if o.a == 1",
    ] {
        let deny = "deny contains {\"code\": \"a\", \"message\": \"m\"} if needed";
        let rules = format!("{DECISION}\n{deny}\nneeded if input.extra == 7\n{rules}\n");
        let policy = admitted(&rules);
        for extra in ["1", "2", "[1, 2]", "{\"a\": 1, \"b\": 2}", "null"] {
            let (quick, interpreted) = (ask(&policy, "read", extra), ask(&policy, "delete", extra));
            assert_eq!(quick, interpreted, "{rules} {extra}");
        }
        assert!(policy.machine().unwrap().handed_over >= 5, "{rules}");
        let gated = rules.replace(
            "if needed",
            "if {\n\tinput.operation.class == \"snapshot\"\n\tneeded\n}",
        );
        let policy = admitted(&gated);
        assert!(ask(&policy, "read", "1").allow);
        assert_eq!(policy.machine().unwrap().decided, 1, "{gated}");
    }
    let policy = admitted(&format!(
        "{DECISION}\ndefault f(a) := 1\nf(a) := 2 if a > 2\ndeny contains {{\"code\": \"a\", \"message\": \"m\"}} if f(1) == 2\n"
    ));
    assert!(policy.machine().unwrap_err().contains("default"));
}
