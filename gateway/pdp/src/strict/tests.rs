//! Bundles that a careful author would mend, and one that is as it should be.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::strict;
use crate::Limits;
use crate::bundle::Bundle;
use crate::fixture::{self, MANIFEST, folder};

const DECISION: &str = r#"package vaultgate

import rego.v1

decision := {"allow": count(deny) == 0, "deny": deny, "grants": [1], "obligations": []}

"#;

/// What is told of rules beside a plain entry point, without hints.
fn told(rules: &str) -> Vec<String> {
    let rules = format!("{DECISION}{rules}");
    let files: [(&str, &[u8]); 2] = [
        (".manifest", MANIFEST.as_bytes()),
        ("vaultgate/rules.rego", rules.as_bytes()),
    ];
    let bundle = Bundle::load(folder(&files).path()).unwrap();
    let found = strict(&bundle, &Limits::default());
    let first = 6 + 1;
    let shown = found.iter().map(|one| {
        let line = one.line.map(|line| i64::from(line) - first + 1);
        let line = line.map(|line| format!("{line}: ")).unwrap_or_default();
        format!("{line}{}", one.message)
    });
    shown.collect()
}

fn denies(body: &str) -> String {
    format!(
        r#"# METADATA
# title: It
# custom: {{code: it, severity: low, control: [SOC2 CC6.1], remediation: Do not.}}
deny contains {{"code": "it", "message": "no"}} if {{
{body}
}}
"#
    )
}

#[test]
fn a_careful_bundle_is_told_nothing() {
    assert_eq!(
        told(&denies("\tinput.principal.kind == \"human\"")),
        Vec::<String>::new()
    );
    let shipped = Bundle::load(&fixture::shipped("policies")).unwrap();
    assert_eq!(strict(&shipped, &Limits::default()), []);
}

#[test]
fn members_that_no_input_has_are_told_with_what_was_meant() {
    for (written, wrong) in [
        ("input.princpal.kind", "input.princpal"),
        ("input.principal.knid", "input.principal.knid"),
        ("input[\"principal\"].roles2[_]", "input.principal.roles2"),
        (
            "input.activity.principal.erase[\"24h\"] > 1",
            "input.activity.principal.erase",
        ),
        (
            "some role in input.principle.roles; role == 1",
            "input.principle",
        ),
    ] {
        let found = told(&denies(&format!("\t{written}")));
        assert_eq!(found, [format!("5: `{wrong}` is in no input")], "{written}");
    }
    for right in [
        "input.request.body.properties.anything.at.all",
        "input.request.restore.target.id",
        "input.resource.tags.team",
        "input.activity.principal[\"delete\"][\"24h\"] > 1",
        "input.principal.actors[0].subject",
        "input.claimed.command",
        "input.flow.covers",
        "input.facts.vault.soft_delete",
    ] {
        assert_eq!(
            told(&denies(&format!("\t{right}"))),
            Vec::<String>::new(),
            "{right}"
        );
    }
}

#[test]
fn names_that_nothing_uses_are_told() {
    let found = told(&denies(
        "\tx := 1\n\tsome y\n\tinput.principal.roles[y]\n\tsome k, v in input.resource.tags\n\tv == 1",
    ));
    assert_eq!(found, ["5: `x` is not used", "8: `k` is not used"]);
    let found = told(&format!(
        "f(a, b) := a\n\n{}",
        denies("\tf(1, 2) == 1\n\tevery e in [1] { true }")
    ));
    assert_eq!(found, ["1: `b` is not used", "8: `e` is not used"]);
    let found = told(&denies(
        "\t[p, q] := [1, 2]\n\tp == 1\n\tcount({z | z := q}) == 1\n\t_ := 3",
    ));
    assert_eq!(found, Vec::<String>::new());
    let found = told(&format!("{}unused := 1\n", denies("\ttrue")));
    assert_eq!(
        found,
        ["7: no decision needs the rule `data.vaultgate.unused`"]
    );
}

#[test]
fn names_that_hide_others_are_told() {
    let found = told(&format!(
        "other := 1\n\n{}",
        denies("\tother == 1\n\tcount := 2\n\tcount == 2")
    ));
    assert_eq!(found, ["8: the variable `count` hides a builtin"]);
    let found = told(&format!(
        "other := 1\n\n{}",
        denies("\tsome other in [1]\n\tother == 1\n\tdata.vaultgate.other")
    ));
    assert_eq!(found, ["7: the variable `other` hides a rule"]);
    let found = told(&format!(
        "upper := 1\n\n{}",
        denies("\tdata.vaultgate.upper == 1")
    ));
    assert_eq!(found, ["the rule `upper` hides a builtin"]);
}

#[test]
fn denials_that_do_not_say_what_they_are_are_told() {
    let whole = denies("\tinput.preflight");
    let found = told(&whole.replace("code: it,", "code: that,"));
    assert_eq!(
        found,
        ["4: the rule says the code `it`, its metadata `that`"]
    );
    let found = told(
        &whole
            .replace("severity: low, ", "")
            .replace(", remediation: Do not.", ""),
    );
    assert_eq!(
        found,
        [
            "4: the metadata of `it` has no `remediation`",
            "4: the metadata of `it` has no `severity`",
        ]
    );
    let found = told(&format!("{whole}\n{whole}"));
    assert_eq!(found, ["11: the code `it` is another rule's too"]);
    let found = told(&whole.replace("# METADATA", "#"));
    assert_eq!(found, ["4: a rule that denies has no `# METADATA`"]);
}
