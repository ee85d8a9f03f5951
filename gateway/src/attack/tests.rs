//! The attacks that ship, against the policy that ships and against one that stops nothing.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use vaultgate_pdp::Bundle;

use super::{Stage, Stop, Story, markdown};

const PROD: &str = "22222222-2222-2222-2222-222222222222";

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn stage() -> Stage<'static> {
    Stage {
        roles: Vec::new(),
        subscription: PROD,
    }
}

/// Each is stopped; and it is the rules that are named that stop it, since without them it
/// goes through. What the gateway itself never forwards needs no rule.
#[test]
fn every_attack_is_stopped_by_what_is_named_and_by_nothing_else() {
    let bundle = Bundle::load(&repository().join("policies")).unwrap();
    let reports: Vec<_> = Story::all()
        .unwrap()
        .iter()
        .map(|story| stage().play(story, &bundle).unwrap())
        .collect();
    for report in &reports {
        let told = report.to_text();
        assert!(report.stopped(), "{told}");
        let layers = report.layers();
        let by_gateway = matches!(layers.last(), Some(Stop::Gateway(_)));
        assert!(report.goes_through_without() || by_gateway, "{told}");
        assert!(
            !layers
                .iter()
                .any(|stop| matches!(stop, Stop::Fault(_) | Stop::Ungranted)),
            "{told}"
        );
    }
    let written = std::fs::read_to_string(repository().join("docs/threats.md")).unwrap_or_default();
    assert!(
        markdown(&reports, &bundle) == written,
        "docs/threats.md is not what the attacks give; write it anew with \
         `vaultgate policy attack policies --format markdown > docs/threats.md`"
    );
}

/// A bundle that lets everything through is told so.
#[test]
fn what_stops_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "package vaultgate\n\nimport rego.v1\n\ndecision := {\"allow\": count(grants) > 0, \
        \"deny\": [], \"grants\": grants, \"obligations\": []}\n\n\
        grants contains role if {\n\tsome role in input.principal.roles\n\
        \tstartswith(role, \"backup.\")\n}\n";
    std::fs::write(folder.path().join("p.rego"), rules).unwrap();
    std::fs::write(
        folder.path().join(".manifest"),
        "{\"revision\": \"1\", \"roots\": [\"vaultgate\"]}",
    )
    .unwrap();
    let bundle = Bundle::load(folder.path()).unwrap();
    let mut through = 0;
    for story in Story::all().unwrap() {
        let report = stage().play(&story, &bundle).unwrap();
        let gateway = matches!(report.layers().first(), Some(Stop::Gateway(_)));
        assert_ne!(report.stopped(), !gateway, "{}", report.to_text());
        through += u32::from(!report.stopped());
    }
    assert!(through >= 20, "{through}");
}
