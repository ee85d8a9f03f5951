//! Tests of the test runner, and the tests of the bundles of this repository.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use crate::fixture::{self, ALLOW_READERS, MANIFEST, folder, patient};
use crate::{Bundle, Policy, TestReport};

use super::test_bundle;

fn run(bundle: &Bundle, wanted: &(dyn Fn(&str) -> bool + Sync)) -> TestReport {
    test_bundle(bundle, &patient(), wanted, &|| Duration::ZERO).unwrap()
}

fn with_tests(tests: &str) -> Bundle {
    let dir = folder(&[
        (".manifest", MANIFEST.as_bytes()),
        ("rules.rego", ALLOW_READERS.as_bytes()),
        ("rules_test.rego", tests.as_bytes()),
    ]);
    Bundle::load(dir.path()).unwrap()
}

const TESTS: &str = r#"package vaultgate_test

import data.vaultgate

reader := {"operation": {"class": "read"}, "principal": {"roles": ["reader"]}}

test_good if vaultgate.decision.allow with input as reader

test_bad if {
	print("roles are", reader.principal.roles)
	not vaultgate.decision.allow with input as reader
}

test_value := 7

test_breaks if to_number("x") == 1

test_panics if strings.count("x", "") == 1

test_unknown[name] if name := "x"

numbers := {"one": 1, "two": 2}

test_table[note] if {
	some note, number in numbers
	number == 1
}

test_listed[note] if some note in ["a", "b"]

todo_test_later if false

helper := 1
"#;

#[test]
fn results_are_told_as_opa_tells_them() {
    let bundle = with_tests(TESTS);
    let report = run(&bundle, &|_| true);
    assert!(!report.passed());
    let text = report.to_text(true);
    let expected = "\
rules_test.rego:
data.vaultgate_test.test_good: PASS (0ns)
data.vaultgate_test.test_bad: FAIL (0ns)
  rules_test.rego:10: roles are [\"reader\"]
data.vaultgate_test.test_value: FAIL (0ns)
data.vaultgate_test.test_breaks: ERROR (0ns)
";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains("test_panics: ERROR (0ns)\n  the policy engine panicked"),
        "{text}"
    );
    assert!(text.contains("test_unknown: ERROR"), "{text}");
    assert!(
        text.contains("test_table: FAIL (0ns)\n  one: PASS\n  two: FAIL\n"),
        "{text}"
    );
    assert!(
        text.contains("test_listed: PASS (0ns)\n  a: PASS\n  b: PASS\n"),
        "{text}"
    );
    assert!(text.contains("todo_test_later: SKIPPED"), "{text}");
    assert!(
        text.ends_with("PASS: 2/9\nFAIL: 3/9\nSKIPPED: 1/9\nERROR: 3/9\n"),
        "{text}"
    );
    let json = report.to_json();
    assert_eq!(json.pointer("/0/name").unwrap(), "test_good");
    assert_eq!(json.pointer("/0/package").unwrap(), "data.vaultgate_test");
    assert_eq!(json.pointer("/0/location/row").unwrap(), 7);
    assert_eq!(json.pointer("/0/fail"), None);
    assert_eq!(json.pointer("/1/fail").unwrap(), true);
    assert_eq!(json.pointer("/8/skip").unwrap(), true);
    assert_eq!(json.pointer("/6/sub_results/two/fail").unwrap(), true);
    assert_eq!(json.pointer("/6/sub_results/one/fail"), None);
    assert!(json.pointer("/3/error/message").is_some());
}

#[test]
fn tests_are_chosen_by_name() {
    let report = run(&with_tests(TESTS), &|name| {
        name == "data.vaultgate_test.test_good"
    });
    assert_eq!(report.results().len(), 1);
    assert!(report.passed());
    assert_eq!(report.to_text(false), "PASS: 1/1\n");
    assert_eq!(
        run(&with_tests("package t"), &|_| true).to_text(false),
        "no tests\n"
    );
}

#[test]
fn tests_that_would_end_the_process_are_not_run() {
    let bundle = with_tests("package t\nf(x) := f(x)\ntest_x if f(1)");
    let rejected = test_bundle(&bundle, &patient(), &|_| true, &|| Duration::ZERO).unwrap_err();
    assert!(rejected.to_string().contains("recursion"), "{rejected}");
    // Tests may replace functions and print; the rules beside them may not.
    let bundle = with_tests("package t\nf(x) := 1\ng(x) := 2\ntest_x if f(1) == 2 with f as g");
    assert!(run(&bundle, &|_| true).passed());
}

/// The tests beside the rules that ship, and those of the test bundles, pass; the
/// bundles are admitted without a warning.
#[test]
fn the_bundles_of_this_repository_are_admitted_and_pass_their_tests() {
    for path in ["policies", "tests/bundles/allow-deletes"] {
        let bundle = Bundle::load(&fixture::shipped(path)).unwrap();
        let report = run(&bundle, &|_| true);
        assert!(report.passed(), "{path}\n{}", report.to_text(false));
        assert!(!report.results().is_empty(), "{path}");
        let policy = Policy::admit(bundle, &patient()).unwrap();
        assert_eq!(policy.warnings(), [], "{path}");
    }
}

/// The starter bundle as a stranger, and nobody in particular, meets it: the data
/// that ships grants neither anything.
#[test]
fn the_starter_bundle_grants_a_stranger_nothing() {
    let policy = Policy::admit(
        Bundle::load(&fixture::shipped("policies")).unwrap(),
        &patient(),
    );
    let policy = policy.unwrap();
    let input = crate::admission::stranger("read", "human").to_string();
    let decision = crate::replay(&policy, &input);
    assert!(!decision.allow && decision.fault.is_none(), "{decision:?}");
    assert_eq!(decision.deny.first().unwrap().code, "no-role");
}

/// Each code that a rule of the starter bundle can give has a test that it is
/// given and one that it is not.
#[test]
fn every_code_of_the_starter_bundle_has_both_tests() {
    let bundle = Bundle::load(&fixture::shipped("policies")).unwrap();
    let report = run(&bundle, &|_| true);
    let names: Vec<&str> = report
        .results()
        .iter()
        .map(|result| result.name.as_str())
        .collect();
    let (annotations, problems) = bundle.annotations();
    assert_eq!(problems, []);
    let mut codes = 0;
    let denies = |rule: &str| rule.starts_with("deny");
    for annotation in annotations.iter().filter(|one| denies(&one.rule)) {
        let (file, line) = (&annotation.file, annotation.line);
        let Some(code) = &annotation.code else {
            // A collector of denials, which have codes of their own.
            continue;
        };
        codes += 1;
        let name = code.replace('-', "_");
        for kind in ["denies", "spares"] {
            let wanted = format!("test_{name}_{kind}");
            let found = names.iter().any(|known| known.starts_with(&wanted));
            assert!(found, "{file}:{line}: no test `{wanted}…`");
        }
        let said = format!("\"code\": \"{code}\"");
        let text = bundle.files().find(|(path, _)| path == file).unwrap().1;
        assert!(
            text.contains(&said),
            "{file}:{line}: `{code}` is documented and not said"
        );
    }
    assert!(codes >= 40, "{codes}");
}

#[test]
fn what_tests_did_not_reach_is_told_by_line() {
    let rules = ALLOW_READERS.to_owned() + "\nunreached if {\n\tinput.nothing\n\tinput.more\n}\n";
    let dir = folder(&[
        (".manifest", MANIFEST.as_bytes()),
        ("rules.rego", rules.as_bytes()),
        ("rules_test.rego", TESTS.as_bytes()),
    ]);
    let report = run(&Bundle::load(dir.path()).unwrap(), &|_| true);
    let coverage = report.coverage();
    let last = u64::try_from(rules.lines().count()).unwrap() - 1;
    let percent = coverage.percent();
    assert!(percent > 10.0 && percent < 100.0, "{percent}");
    let json = coverage.to_json();
    let missed = json.pointer("/files/rules.rego/not_covered").unwrap();
    let ends: Vec<u64> = missed
        .as_array()
        .unwrap()
        .iter()
        .map(|range| range.pointer("/end/row").unwrap().as_u64().unwrap())
        .collect();
    assert_eq!(ends.last(), Some(&last));
    assert!(json.pointer("/files/rules_test.rego").is_none());
    let text = coverage.to_text();
    assert!(
        text.contains("rules.rego") && text.contains(&last.to_string()),
        "{text}"
    );
}

#[test]
fn build_servers_read_the_results() {
    let report = run(&with_tests(TESTS), &|_| true);
    let xml = report.to_junit();
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"9\" failures=\"3\" errors=\"3\" skipped=\"1\""), "{xml}");
    assert!(xml.contains("<testcase classname=\"data.vaultgate_test\" name=\"test_good\" file=\"rules_test.rego\" line=\"7\" time=\"0.000000\"/>"), "{xml}");
    assert!(
        xml.contains("<failure message=\"not true: two\"/>"),
        "{xml}"
    );
    assert!(xml.contains("roles are [&quot;reader&quot;]"), "{xml}");
    assert!(xml.contains("<skipped/>"), "{xml}");
}
