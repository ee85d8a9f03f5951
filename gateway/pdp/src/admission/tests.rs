//! Tests of admission: each danger is refused, with its place, and all at once.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::fixture::{self, ALLOW_READERS, MANIFEST, folder, patient, rejected};
use crate::problem::Severity;

use super::admit_and_probe;

/// The rules of [`ALLOW_READERS`] and more; the refusal's text.
fn refused(more: &str) -> String {
    rejected(&format!("{ALLOW_READERS}\n{more}\n")).to_string()
}

/// Why a bundle of several files of rules is not admitted.
fn refused_files(files: &[(&str, &str)]) -> String {
    let manifest =
        r#"{"revision": "t1", "roots": ["vaultgate", "vaultgate_test"], "rego_version": 1}"#;
    let mut bytes = vec![(".manifest", manifest.as_bytes())];
    bytes.extend(files.iter().map(|(path, text)| (*path, text.as_bytes())));
    let dir = folder(&bytes);
    admit_and_probe(dir.path(), &patient())
        .unwrap_err()
        .to_string()
}

#[test]
fn recursion_is_refused_before_anything_is_evaluated() {
    for (rules, cycle) in [
        // Direct.
        (
            "f(x) := f(x + 1)",
            "data.vaultgate.f needs data.vaultgate.f",
        ),
        // Mutual.
        (
            "f(x) := g(x)\ng(x) := h(x)\nh(x) := f(x)",
            "data.vaultgate.f needs data.vaultgate.g needs data.vaultgate.h needs data.vaultgate.f",
        ),
        // Through a rule.
        ("f(x) := y if { y := r }\nr := f(1)", "recursion"),
        // Of rules alone.
        (
            "r := s\ns := r",
            "data.vaultgate.r needs data.vaultgate.s needs data.vaultgate.r",
        ),
        (
            "p contains x if { some x in p }",
            "data.vaultgate.p needs data.vaultgate.p",
        ),
        // Through the package as a whole, or a name that is not fixed.
        ("r := count(data.vaultgate)", "recursion"),
        ("r := {x | some k; x := data.vaultgate[k]}", "recursion"),
        ("r := {x | some k; x := data[k]}", "recursion"),
        ("r := data.vaultgate[\"r\"]", "recursion"),
        // In an `else`, a default, a comprehension, an argument, an index.
        ("f(x) := 1 if { x > 1 } else := f(x + 1)", "recursion"),
        ("f(x) := [y | y := f(x)]", "recursion"),
        ("f(x) := count([f(x)])", "recursion"),
        ("f(x) := input.a[f(x)]", "recursion"),
        ("f(x) if { every y in x { f(y) } }", "recursion"),
        ("f(x) if not f(x)", "recursion"),
        ("f(x) := y if { y := 1 with input as f(x) }", "recursion"),
        ("o[k] := v if { some k, v in o }", "recursion"),
        ("a.b.c := 1 if a.b.d\na.b.d := 1 if a", "recursion"),
    ] {
        let text = refused(rules);
        assert!(text.contains(cycle), "{rules}\n{text}");
    }
}

#[test]
fn recursion_across_files_and_imports_is_refused() {
    let dir = folder(&[
        (".manifest", MANIFEST.as_bytes()),
        ("rules.rego", ALLOW_READERS.as_bytes()),
        (
            "a.rego",
            b"package vaultgate.a\nimport data.vaultgate.b as other\nf(x) := other.g(x)",
        ),
        (
            "b.rego",
            b"package vaultgate.b\nimport data.vaultgate.a\ng(x) := a.f(x)",
        ),
    ]);
    let rejected = admit_and_probe(dir.path(), &patient())
        .unwrap_err()
        .to_string();
    let cycle = "data.vaultgate.a.f needs data.vaultgate.b.g needs data.vaultgate.a.f";
    assert!(rejected.contains(cycle), "{rejected}");
}

#[test]
fn every_cycle_is_told() {
    let text = refused("f(x) := f(x)\ng(x) := g(x)");
    assert!(
        text.contains("data.vaultgate.f needs") && text.contains("data.vaultgate.g needs"),
        "{text}"
    );
}

#[test]
fn only_known_and_harmless_functions_are_called() {
    for (rules, told) in [
        (
            r#"r := http.send({"method": "get", "url": "https://x"})"#,
            "`http.send` may not be called",
        ),
        ("r := time.now_ns()", "`time.now_ns` may not be called"),
        (r#"r := rand.intn("x", 3)"#, "`rand.intn` may not be called"),
        (
            r#"r := uuid.rfc4122("x")"#,
            "`uuid.rfc4122` may not be called",
        ),
        ("r := opa.runtime()", "`opa.runtime` may not be called"),
        (
            "r := numbers.range(1, input.n)",
            "`numbers.range` may not be called",
        ),
        (
            "r := net.cidr_expand(input.c)",
            "`net.cidr_expand` may not be called",
        ),
        (
            "r := io.jwt.decode(input.t)",
            "`io.jwt.decode` may not be called",
        ),
        ("r if print(input)", "`print` may not be called"),
        ("r if trace(\"x\")", "`trace` may not be called"),
        (
            "r := nobody.knows(1)",
            "there is no function `nobody.knows`",
        ),
        ("r := f(1) if false\ng(x) := x", "there is no function `f`"),
        (
            "r := data.vaultgate.f(1)",
            "there is no function `data.vaultgate.f`",
        ),
        (
            "r := count(1, 2, 3)",
            "`count` takes 1 arguments and gets 3",
        ),
        (
            "f(x, y) := x + y\nr := f(1)",
            "`f` takes 2 arguments and gets 1",
        ),
        (
            "r if { x := 1; http.send(x) with input as 1 }",
            "`http.send` may not be called",
        ),
    ] {
        let text = refused(rules);
        assert!(text.contains(told), "{rules}\n{text}");
        assert!(text.contains("rules.rego:"), "{text}");
    }
}

#[test]
fn with_may_not_replace_functions() {
    for rules in [
        "f(x) := 1\ng(x) := 2\nr if f(1) == 2 with f as g",
        "f(x) := 1\ng(x) := 2\nr if f(1) == 2 with data.vaultgate.f as g",
        "r if count([1]) == 7 with count as 7",
    ] {
        let text = refused(rules);
        assert!(
            text.contains("`with` replaces the function"),
            "{rules}\n{text}"
        );
    }
    let fine = format!("{ALLOW_READERS}\nr := x if {{ x := input.a with input.a as 1 }}\n");
    fixture::policy(&fine);
}

#[test]
fn the_entry_point_is_one_plain_rule() {
    for (rules, told) in [
        (
            "package vaultgate\nx := 1",
            "there is no rule `data.vaultgate.decision`",
        ),
        (
            "package vaultgate\ndecision(x) := x",
            "is not one plain rule",
        ),
        (
            "package vaultgate\ndecision.allow := true",
            "is not one plain rule",
        ),
        (
            "package vaultgate.decision\nallow := true",
            "is not one plain rule",
        ),
        (
            "package vaultgate\ndecision[x] := 1 if some x in [\"a\"]",
            "is not one plain rule",
        ),
        (
            "package other\ndecision := 1",
            "the package `other` is outside the roots",
        ),
    ] {
        let text = rejected(rules).to_string();
        assert!(text.contains(told), "{rules}\n{text}");
    }
}

#[test]
fn rules_and_data_do_not_share_a_place() {
    for data in [
        r#"{"vaultgate": {"decision": {"allow": true}}}"#,
        r#"{"vaultgate": {"decision": null}}"#,
        r#"{"vaultgate": 1}"#,
    ] {
        let bundle = fixture::bundle(ALLOW_READERS, data);
        let text = crate::Policy::admit(bundle, &patient())
            .unwrap_err()
            .to_string();
        assert!(text.contains("is both a rule and data"), "{data}\n{text}");
    }
}

#[test]
fn what_does_not_deny_by_default_is_refused() {
    let rule = |condition: &str| {
        format!(
            "package vaultgate\ndefault decision := {{\"allow\": false, \"deny\": [], \"grants\": [], \"obligations\": []}}\n\
             decision := {{\"allow\": true, \"deny\": [], \"grants\": [\"g\"], \"obligations\": []}} if {condition}\n"
        )
    };
    for condition in [
        "true",
        "not input.principal.blocked",
        "input == {}",
        "input.operation.class == \"read\"",
        "input.principal.kind == \"unknown\"",
        "{ roles := input.principal.roles; not \"guest\" in roles }",
        "input.principal.roles == \"*\"",
        "\"*\" in input.principal.groups",
        "input.principal == null",
        "is_null(input)",
    ] {
        let text = rejected(&rule(condition)).to_string();
        assert!(
            text.contains("does not deny by default"),
            "{condition}\n{text}"
        );
    }
}

#[test]
fn a_policy_that_fails_on_plain_requests_is_refused() {
    for (rules, told) in [
        ("decision := {\"allow\": false}", "policy-malformed"),
        ("decision := 1 if input.never", "policy-undefined"),
        ("decision := 1 / 0", "policy-error"),
        (
            "decision := to_number(input.principal.kind)",
            "policy-error",
        ),
        ("decision := 1\ndecision := 2", "policy-error"),
        (
            "decision := strings.count(input.principal.kind, \"\")",
            "policy-panic",
        ),
    ] {
        let text = rejected(&format!("package vaultgate\n{rules}\n")).to_string();
        assert!(text.contains(told), "{rules}\n{text}");
    }
}

#[test]
fn grants_rest_on_who_asks() {
    let claimed = refused(
        "grants contains \"x\" if helper\nhelper if input.claimed.justification == \"please\"",
    );
    assert!(
        claimed.contains("a grant rests on `input.claimed`"),
        "{claimed}"
    );
    let imported = rejected(&format!(
        "{}\ngrants contains \"x\" if c.flow_run == \"x\"\n",
        ALLOW_READERS.replace(
            "package vaultgate\n",
            "package vaultgate\nimport input.claimed as c\n"
        )
    ));
    assert!(
        imported
            .to_string()
            .contains("a grant rests on `input.claimed`"),
        "{imported}"
    );
    let said = refused("grants contains \"x\" if input.flow.definition_digest == \"d\"");
    assert!(
        said.contains("a grant rests on `input.flow.definition_digest`"),
        "{said}"
    );
    let tagged = refused("grants contains \"x\" if input.resource.tags.open == \"yes\"");
    assert!(tagged.contains("a grant rests on tags"), "{tagged}");
    let both = format!(
        "{ALLOW_READERS}\ngrants contains \"x\" if {{ input.resource.tags.a; input.principal.roles }}\n\
         deny contains 1 if input.claimed.command\n"
    );
    let policy = fixture::policy(&both);
    let warned = policy
        .warnings()
        .iter()
        .any(|w| w.message.contains("no `# METADATA`"));
    assert!(warned, "{:?}", policy.warnings());
}

#[test]
fn hostile_bundles_are_told_all_that_is_wrong_at_once() {
    let long = format!("package vaultgate.long\nx := \"{}\"", "x".repeat(20_000));
    let dir = folder(&[
        (".manifest", MANIFEST.as_bytes()),
        ("a.rego", b"package vaultgate\nx := "),
        ("b.rego", b"package vaultgate\nb := http.send({})"),
        ("c.rego", b"package vaultgate\nf(x) := f(x)"),
        ("d.rego", b"package vaultgate\n\n# \xff\n"),
        ("e.rego", b"package elsewhere\nx := 1"),
        ("long.rego", long.as_bytes()),
        ("t_test.rego", b"package t\nx := {"),
        ("vaultgate/data.json", br#"{"a": 1, "a": 2}"#),
    ]);
    let rejected = admit_and_probe(dir.path(), &patient()).unwrap_err();
    let text = rejected.to_string();
    for told in [
        "a.rego:2: ",
        "b.rego:2: `http.send`",
        "c.rego:2: recursion",
        "d.rego:3: the file is not UTF-8",
        "e.rego:1: the package",
        "long.rego",
        "t_test.rego:2: ",
        "vaultgate/data.json:1: duplicate key",
        ".: there is no rule `data.vaultgate.decision`",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    assert!(
        rejected
            .problems()
            .iter()
            .all(|p| p.severity == Severity::Error),
        "{text}"
    );
}

#[test]
fn lines_longer_than_the_engines_default_are_read() {
    let rules = format!("{ALLOW_READERS}\nkey := \"{}\"\n", "k".repeat(10_000));
    assert!(fixture::policy(&rules).warnings().is_empty());
}

/// What the bytecode machine cannot do is a warning, not a refusal: it does not
/// decide.
#[test]
fn what_only_the_interpreter_can_do_is_a_warning() {
    let walks = ALLOW_READERS.replace("\"reader\" in", "walk(input, [_, 1]); \"reader\" in");
    let policy = fixture::policy(&walks);
    let warning = policy.warnings().first().unwrap();
    assert_eq!(warning.severity, Severity::Warning);
    assert!(
        warning.message.contains("not for the bytecode machine"),
        "{warning}"
    );
}

/// What nests deep would take the engine minutes, or its stack: refused at once.
#[test]
fn what_nests_too_deep_is_refused() {
    for rules in [
        format!("x := {}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("x := {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("x := {}1{}", "{1: ".repeat(13), "}".repeat(13)),
        format!("x := {}1{}", "[y | y := ".repeat(2_000), "]".repeat(2_000)),
        format!("x if {{ {} true }}", "not ".repeat(5_000)),
        format!("x := input{}", ".a".repeat(500)),
        format!("x := 1{}", " + 1".repeat(500)),
    ] {
        refused(&rules);
    }
    let chain: String = (1..300)
        .map(|n| format!("f{n}(x) := f{}(x)\n", n - 1))
        .collect();
    fixture::policy(&format!("{ALLOW_READERS}\nf0(x) := x\n{chain}"));
    fixture::policy(&format!(
        "{ALLOW_READERS}\nx := [[[[[[1]]]]]]\ny := 1{}\n",
        " + 1".repeat(100)
    ));
}

/// A name that stands for nothing is found though no request has reached it yet, wherever a
/// decision could need it.
#[test]
fn names_that_stand_for_nothing_are_refused() {
    let decision = "package vaultgate\n\ndecision := {\"allow\": false, \"deny\": deny, \
        \"grants\": [], \"obligations\": []}\n";
    for rule in [
        "deny contains {\"code\": \"x\", \"message\": scope} if input.never",
        "deny contains {\"code\": \"x\", \"message\": \"m\"} if {\n\tinput.never\n\tstartswith(\"a\", scope)\n}",
    ] {
        let text = rejected(&format!("{decision}\n{rule}\n")).to_string();
        assert!(text.contains("scope"), "{rule}\n{text}");
    }
}

#[test]
fn forms_that_the_engine_reads_otherwise_are_refused() {
    for (rules, told) in [
        ("r contains x.a if some x in input.l", "could have no value"),
        ("r[x.a] := 1 if some x in input.l", "could have no value"),
        (
            "f(x) := x.a\nr contains f(x) if some x in input.l",
            "could have no value",
        ),
        (
            "r[x].a := y if some x, y in input.o",
            "goes on behind a name",
        ),
        ("r := e.max if some e in input.l", "could have no value"),
        (
            "other := input.limit\nlimit := other\nr if {\n\tx := 1\n\tnot x > limit\n}",
            "has no value",
        ),
        (
            "limit := 1\nr if {\n\tc := count([limit | some limit in input.l])\n\tc > 1\n}",
            "is also that of a rule",
        ),
        (
            "limit := input.x\nr := limit if input.a else := 2 if { limit := 3; limit > 1 }",
            "is also that of a rule",
        ),
        (
            "r if {\n\txs := input.l\n\tnot array.slice(xs, 0, 1) == [1]\n}",
            "has no value",
        ),
        (
            "r if {\n\ts := input.s\n\tnot regex.replace(s, s, \"a\") == \"a\"\n}",
            "has no value",
        ),
        (
            "r contains x if walk(input, [_, {\"k\": x}])",
            "more members",
        ),
        ("r contains input.l[_].name", "could have no value"),
        ("limit := input.limit\nr if not limit > 5", "has no value"),
        (
            "r if {\n\txs := input.l\n\tnot max(xs) > 5\n}",
            "has no value",
        ),
        (
            "f(x) := x\nr if {\n\tx := 1\n\tnot f(x).ok\n}",
            "has no value",
        ),
        (
            "r if {\n\tnot input.l[x] == 1\n\tnot input.m[x] == 1\n}",
            "a name under `not`",
        ),
        (
            "r if {\n\ty := [x | some x in input.a]\n\tcount(y) > 0\n\tnot input.l[x] == 1\n}",
            "a name under `not`",
        ),
        (
            "a if not input.operation.class in {\"read\"}\nr if a with input.operation as {}",
            "has no value",
        ),
        ("r := input.a if input.b else := 1", "with an `else`"),
        (
            "f(x) := 1 if x == 1 else := x.a if x else := 3",
            "with an `else`",
        ),
        ("r := count(data.vaultgate_test)", "whole package"),
        ("r if data.vaultgate_test[input.k]", "whole package"),
        ("r := x if {\"k\": x} = input.o", "more members"),
        ("r contains x if some {\"k\": x} in input.l", "more members"),
        ("f([{\"k\": x}]) := x\nr := f(input.l)", "more members"),
        ("f(x, x) := x\nr := f(1, 2)", "two parameters"),
        (
            "f(input) := input.x\nr := f({\"x\": 1})",
            "name of a document",
        ),
        ("r if \"a\", 1 in input.o", "a key that is not there"),
        ("r := input.a in input.l", "as a value"),
        ("r if {\n\tsome x\n\tx != 1\n}", "gets no value"),
        ("r if not input.l[_] == 1", "`_` under `not`"),
        ("r if not input.l[x] == 1", "a name under `not`"),
        ("r if not startswith(input.s, \"a\")", "has no value"),
        ("r if not input.n > 5", "has no value"),
        ("r if not input.s in [1]", "has no value"),
        (
            "f(x) := x\nr if {\n\ty := 1\n\tnot f(y) == 2\n}",
            "has no value",
        ),
        (
            "r if input.n == 1 with input.n as 1 with input.m as 2",
            "a second `with`",
        ),
        (
            "a := input.n\nr if input.n == 1 with input.n as a",
            "goes through a rule",
        ),
        ("default r := 1\ndefault r := 2", "has a default already"),
        (
            "r := x if count(input.l, x)",
            "takes 1 arguments and gets 2",
        ),
    ] {
        let rules = format!("{ALLOW_READERS}\n{rules}\n");
        let other = "package vaultgate_test\na := 1\n";
        let text = refused_files(&[("rules.rego", &rules), ("other.rego", other)]);
        assert!(text.contains(told), "{rules}\n{text}");
    }
    for (one, other, told) in [
        (
            "import input.a as x\nr := x",
            "import input.b as x\ns := x",
            "is another import",
        ),
        (
            "import input.a as x\nr := x",
            "x := 1",
            "is a rule elsewhere",
        ),
        ("f(1) := 2", "f(x) := 3", "goes on in another file"),
        (
            "window := 1",
            "r contains window.msg if some window in input.l",
            "is also that of a rule",
        ),
        (
            "limit := input.limit",
            "r if {\n\tx := 1\n\tnot x > limit\n}",
            "has no value",
        ),
    ] {
        let [one, other] = [one, other].map(|rules| format!("package vaultgate\n{rules}\n"));
        let files = [
            ("rules.rego", ALLOW_READERS),
            ("one.rego", &one),
            ("other.rego", &other),
        ];
        let text = refused_files(&files);
        assert!(text.contains(told), "{one} {other}\n{text}");
    }
}

#[test]
fn what_the_engine_reads_as_it_is_meant_is_admitted() {
    for rules in [
        "r contains y if {\n\tsome x in input.l\n\ty := x.a\n}",
        "r contains input.a if input.b",
        "r contains {\"a\": x, \"b\": sprintf(\"%v\", [count(x)])} if some x in input.l",
        "r[x] := [y | y := x] if some x in input.l",
        "o.a.b := 1\no.a.c contains 2",
        "r if not input.a",
        "r if not input.a[\"b\"].c == 1",
        "r if not input.operation.class in {\"read\"}",
        "r if not startswith(input.resource[\"id\"], \"/\")",
        "r := input.operation.class if input.a else := 1",
        "r if not input.a == input.b",
        "r if {\n\tx := input.a\n\tnot startswith(x, \"a\")\n\tnot x in [1, 2]\n}",
        "r if not count([x | some x in input.l; x.a > 1]) == 1",
        "f(x) if x\nr if {\n\tevery x in input.l { not f(x) }\n}",
        "r if {\n\tsome i\n\tinput.l[i] == 1\n}",
        "r := [p, v] if {\n\tsome p, v\n\twalk(input, [p, v])\n\tv == 1\n}",
        "r := x if [x, _] = input.pair",
        "r if input.n == 1 with input.n as input.m",
        "r if {\n\tx := input.a\n\tinput.n == 1 with input.n as x\n}",
        "default f(_) := 1\nf(x) := x if x\nr := f(input.a)",
        "s contains 1\nr if {\n\tx := 1\n\tnot x in s\n}",
        "default limit := 1\nlimit := input.l if input.l > 1\nr if {\n\tx := 2\n\tnot x > limit\n}",
        "limit := 7\nr if {\n\tx := 2\n\tnot x > limit\n}",
        "a if input.a\nr if not a",
        "r := [x | some x in input.l; not x == 1]",
        "r := x.y if x := input.z",
        "limit := 7\nr contains y if {\n\tsome x in input.l\n\ty := x.z\n\ty > limit\n}",
        "r if {\n\tinput.a in input.l\n}",
        "r := {x | some x in input.l; x in input.m}",
    ] {
        let bundle = fixture::bundle(&format!("{ALLOW_READERS}\n{rules}\n"), "{}");
        let admitted = crate::Policy::admit(bundle, &patient());
        assert!(admitted.is_ok(), "{rules}\n{}", admitted.unwrap_err());
    }
}
