//! Promise 5, policy faults deny: whatever goes wrong while a policy decides, the
//! answer is a denial that says so, and the threads live on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fixture::{self, ALLOW_READERS, READER, patient};
use crate::{Decision, Document, Evaluator, FaultCode, Limits, Policy, replay};

/// How long a test waits for an answer that is sure to come.
const SOON: Duration = Duration::from_secs(60);

/// A policy that is not probed, as if its danger had not been found.
fn unprobed(rules: &str, limits: &Limits) -> Arc<Policy> {
    let bundle = fixture::bundle(rules, "{}");
    let (engine, problems) = crate::engine::build(&bundle, bundle.policies(), limits);
    assert!(problems.is_empty(), "{problems:?}");
    Arc::new(Policy::of(engine, limits, &bundle, Vec::new()))
}

fn ask(evaluator: &Evaluator, policy: &Arc<Policy>, input: &str) -> Decision {
    let (tell, told) = mpsc::channel();
    evaluator.submit(
        Arc::clone(policy),
        &Document::of_text(input),
        move |decision| {
            tell.send(decision).unwrap();
        },
    );
    told.recv_timeout(SOON).unwrap()
}

fn fault(decision: &Decision) -> Option<FaultCode> {
    assert!(decision.fault.is_none() || !decision.allow);
    decision.fault.as_ref().map(|fault| fault.code)
}

/// Each kind of fault denies, and the same evaluator then allows what is allowed.
#[test]
fn policy_faults_deny_and_the_evaluator_lives_on() {
    let evaluator = Evaluator::start(1, patient());
    let good = Arc::new(fixture::policy(ALLOW_READERS));
    for (rules, input, expected) in [
        (
            "decision := 1 if input.never",
            "{}",
            FaultCode::PolicyUndefined,
        ),
        (
            "decision := {\"allow\": true}",
            "{}",
            FaultCode::PolicyMalformed,
        ),
        ("decision := true", "{}", FaultCode::PolicyMalformed),
        (
            "decision := 1\ndecision := 2 if input.b",
            r#"{"b": true}"#,
            FaultCode::PolicyError,
        ),
        (
            "f(x) := 1\nf(x) := 2 if input.b\ndecision := f(1)",
            r#"{"b": true}"#,
            FaultCode::PolicyError,
        ),
        (
            "decision := to_number(input.n)",
            r#"{"n": "abc"}"#,
            FaultCode::PolicyError,
        ),
        (
            "decision := 1 if not to_number(input.n) > 1",
            r#"{"n": "abc"}"#,
            FaultCode::PolicyError,
        ),
        (
            "decision := 1 if not startswith(input.n, \"x\")",
            r#"{"n": null}"#,
            FaultCode::PolicyError,
        ),
        ("decision := nobody.knows(1)", "{}", FaultCode::PolicyError),
        (
            "decision := 1 if not http.send({}).blocked",
            "{}",
            FaultCode::PolicyError,
        ),
        (
            "decision := strings.count(input.x, \"\")",
            r#"{"x": "abc"}"#,
            FaultCode::PolicyPanic,
        ),
        (
            "decision := 1 if not strings.count(input.x, \"\") > 1",
            r#"{"x": "a"}"#,
            FaultCode::PolicyPanic,
        ),
        (
            "decision := r\nr := s\ns := r",
            "{}",
            FaultCode::PolicyError,
        ),
        ("decision := 1", "not json", FaultCode::PolicyError),
        ("decision := 1", "", FaultCode::PolicyError),
    ] {
        let policy = unprobed(&format!("package vaultgate\n{rules}\n"), &patient());
        let decision = ask(&evaluator, &policy, input);
        assert_eq!(fault(&decision), Some(expected), "{rules}: {decision:?}");
        assert_eq!(decision.deny.len(), 1);
        assert!(ask(&evaluator, &good, READER).allow, "after {rules}");
    }
}

#[test]
fn policy_faults_deny_an_input_that_nests_too_deep() {
    let evaluator = Evaluator::start(1, patient());
    let policy = Arc::new(fixture::policy(ALLOW_READERS));
    let deep = format!(r#"{{"a": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        fault(&ask(&evaluator, &policy, &deep)),
        Some(FaultCode::PolicyError)
    );
}

/// Loops that would take for ever end at the limit, wherever they are.
#[test]
fn policy_faults_deny_what_takes_too_long() {
    let limits = Limits::default();
    let evaluator = Evaluator::start(1, limits.clone());
    let numbers = (0..400)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let input = format!("{{\"n\": [{numbers}]}}");
    let all = "[1 | some a in input.n; some b in input.n; some c in input.n; some d in input.n; a + b + c == d * 7]";
    for rules in [
        format!("decision := count({all})"),
        format!("f(x) := count({all})\ndecision := f(1)"),
        format!("decision := 1 if not count({all}) == 0"),
        "decision := 1 if every a in input.n { every b in input.n { every c in input.n { a + b + c >= 0 } } }".to_owned(),
        format!("p contains x if {{ x := count({all}) }}\ndecision := p"),
    ] {
        let policy = unprobed(&format!("package vaultgate\n{rules}\n"), &limits);
        let began = Instant::now();
        let decision = ask(&evaluator, &policy, &input);
        assert_eq!(fault(&decision), Some(FaultCode::PolicyTimeout), "{rules}: {decision:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{rules}");
    }
}

/// Recursion that slipped through admission: on these threads the time limit is
/// reached before the end of the stack.
#[test]
fn policy_faults_deny_recursion_on_the_large_stack() {
    let limits = Limits::default();
    let evaluator = Evaluator::start(1, limits.clone());
    let rules = "package vaultgate\nf(x) := f(x + 1)\ndecision := f(1)\n";
    let policy = unprobed(rules, &limits);
    let decision = ask(&evaluator, &policy, "{}");
    assert_eq!(
        fault(&decision),
        Some(FaultCode::PolicyTimeout),
        "{decision:?}"
    );
}

/// The queue is bounded: one more is denied at once, by the caller's own thread.
#[test]
fn policy_faults_deny_what_does_not_fit_the_queue() {
    let limits = Limits {
        queue: 2,
        ..patient()
    };
    let evaluator = Evaluator::start(1, limits);
    let policy = Arc::new(fixture::policy(ALLOW_READERS));
    let (started, is_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    evaluator.submit(Arc::clone(&policy), &Document::of_text(READER), move |_| {
        started.send(()).unwrap();
        let _ = released.recv();
    });
    is_started.recv_timeout(SOON).unwrap();
    let (tell, told) = mpsc::channel();
    for n in 0..4 {
        let tell = tell.clone();
        evaluator.submit(
            Arc::clone(&policy),
            &Document::of_text(READER),
            move |decision| {
                tell.send((n, decision)).unwrap();
            },
        );
    }
    for _ in 0..2 {
        let (n, decision) = told.recv_timeout(SOON).unwrap();
        assert!(n >= 2, "the queue holds two");
        assert_eq!(fault(&decision), Some(FaultCode::PolicyOverloaded));
    }
    assert_eq!(evaluator.waiting(), 2);
    drop(release);
    for n in 0..2 {
        let (answered, decision) = told.recv_timeout(SOON).unwrap();
        assert_eq!(answered, n);
        assert!(decision.allow);
    }
}

#[test]
fn a_callback_that_panics_costs_no_thread() {
    let evaluator = Evaluator::start(1, patient());
    let policy = Arc::new(fixture::policy(ALLOW_READERS));
    for _ in 0..3 {
        evaluator.submit(Arc::clone(&policy), &Document::of_text(READER), |_| {
            panic!("on purpose")
        });
    }
    assert!(ask(&evaluator, &policy, READER).allow);
}

/// Every question is answered exactly once, from many threads, even those that
/// wait when the evaluator is dropped.
#[test]
fn every_question_is_answered_once() {
    let (tell, told) = mpsc::channel();
    let evaluator = Evaluator::start(3, patient());
    let policy = Arc::new(fixture::policy(ALLOW_READERS));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (tell, evaluator, policy) = (tell.clone(), &evaluator, &policy);
            scope.spawn(move || {
                for n in 0..50 {
                    let tell = tell.clone();
                    let input = if n % 2 == 0 { READER } else { "{}" };
                    evaluator.submit(
                        Arc::clone(policy),
                        &Document::of_text(input),
                        move |decision| {
                            tell.send(decision.allow).unwrap();
                        },
                    );
                }
            });
        }
    });
    drop(evaluator);
    drop(tell);
    let answers: Vec<bool> = told.iter().collect();
    assert_eq!(answers.len(), 200);
    assert_eq!(answers.iter().filter(|allow| **allow).count(), 100);
}

/// Records name the engine that decides, not one that once did.
#[test]
fn the_engine_is_the_one_that_records_name() {
    let lock = std::fs::read_to_string(fixture::shipped("Cargo.lock")).unwrap();
    let (name, version) = crate::ENGINE.split_once(' ').unwrap();
    let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    assert!(lock.contains(&entry), "{entry}");
}

#[test]
fn a_replay_repeats_the_decision() {
    let policy = Arc::new(fixture::policy(ALLOW_READERS));
    let evaluator = Evaluator::start(1, patient());
    for input in [READER, "{}", "no json"] {
        assert_eq!(replay(&policy, input), ask(&evaluator, &policy, input));
    }
}

/// A thread of another kind is judged on only if it has the stack, if the policy has
/// shown that it is quick, and if the input is short; faults deny there as well.
#[test]
fn in_place_only_where_there_is_room_and_the_policy_is_quick() {
    let evaluator = Evaluator::start(1, patient());
    let policy = unprobed(ALLOW_READERS, &patient());
    let reader = Document::of_text(READER);
    let judge = |document: &Document| evaluator.in_place(&policy, document);
    let stack = patient().stack_bytes;
    crate::stack::on_large_stack(stack, || {
        crate::on_thread_with_stack();
        assert!(judge(&reader).is_none(), "in probation");
        let mut asked = 0;
        while !policy.is_quick() {
            assert!(ask(&evaluator, &policy, READER).allow);
            asked += 1;
            assert!(asked < 1_000_000);
        }
        assert_eq!(judge(&reader), Some(ask(&evaluator, &policy, READER)));
        let broken = judge(&Document::of_text("{")).unwrap();
        assert_eq!(fault(&broken), Some(FaultCode::PolicyError));
        let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(17 << 10));
        assert!(judge(&Document::of_text(&long)).is_none());
    })
    .unwrap();
    assert!(judge(&reader).is_none(), "no stack");
}

/// A hundred thousand bindings are shared by all evaluations, not copied for each.
#[test]
fn much_data_costs_an_evaluation_nothing() {
    let rules = "package vaultgate\n\
        default decision := {\"allow\": false, \"deny\": [], \"grants\": [], \"obligations\": []}\n\
        decision := {\"allow\": true, \"deny\": [], \"grants\": [\"g\"], \"obligations\": []} if {\n\
        \tdata.vaultgate.bindings[input.principal.subject] == \"reader\"\n}\n";
    let mut data = String::from(r#"{"vaultgate": {"bindings": {"x": "reader""#);
    for n in 0..100_000 {
        write!(data, ",\"subject-{n}\": \"none-{n}\"").unwrap();
    }
    data.push_str("}}}");
    let policy = Arc::new(Policy::admit(fixture::bundle(rules, &data), &patient()).unwrap());
    let evaluator = Evaluator::start(1, patient());
    let began = Instant::now();
    for _ in 0..50 {
        assert!(ask(&evaluator, &policy, r#"{"principal": {"subject": "x"}}"#).allow);
    }
    // A copy alone would take some ten milliseconds each; this is generous.
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}
