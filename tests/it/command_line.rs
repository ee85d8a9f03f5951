//! The verbs that work without a network.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::{Command, Output};

use crate::harness::{Setup, World, repository};

fn vaultgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vaultgate"))
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_shipped_policy_checks_and_passes_its_tests() {
    let checked = vaultgate(&["policy", "check", "policies"]);
    assert_eq!(checked.status.code(), Some(0), "{}", told(&checked));
    let tested = vaultgate(&["policy", "test", "policies"]);
    assert_eq!(tested.status.code(), Some(0), "{}", told(&tested));
    assert!(told(&tested).contains("PASS"), "{}", told(&tested));
}

#[test]
fn a_recursive_policy_is_refused_and_aborts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rego = "package vaultgate\n\nimport rego.v1\n\nf(x) := f(x + 1)\n\n\
        decision := {\"allow\": false, \"deny\": [], \"grants\": [f(1)], \"obligations\": []}\n";
    std::fs::write(folder.path().join("p.rego"), rego).unwrap();
    std::fs::write(
        folder.path().join(".manifest"),
        "{\"roots\": [\"vaultgate\"]}",
    )
    .unwrap();
    let output = vaultgate(&["policy", "check", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("p.rego"), "{}", told(&output));
}

#[test]
fn schemas_are_printed() {
    let output = vaultgate(&["policy", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema.get("input").is_some() && schema.get("decision").is_some());
}

#[test]
fn help_names_every_verb() {
    let help = told(&vaultgate(&["--help"]));
    for verb in ["serve", "config", "init", "doctor", "policy", "log"] {
        assert!(help.contains(verb), "{verb} is missing from:\n{help}");
    }
    assert_eq!(vaultgate(&["no-such-verb"]).status.code(), Some(64));
}

#[test]
fn init_writes_what_a_new_installation_needs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let output = vaultgate(&["init", "--dir", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let role = std::fs::read(folder.path().join("role-reader.json")).unwrap();
    let role: serde_json::Value = serde_json::from_slice(&role).unwrap();
    let actions = role.get("Actions").and_then(|a| a.as_array()).unwrap();
    let only_reads = |action: &serde_json::Value| action.as_str().unwrap().ends_with("/read");
    assert!(
        !actions.is_empty() && actions.iter().all(only_reads),
        "{role}"
    );
    let again = vaultgate(&["init", "--dir", dir]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "an existing file was overwritten"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_tells_intact_from_edited_and_anchored_from_not() {
    let world = World::start().await;
    let key = std::fs::read_to_string(world.folder().join("log.key.pub")).unwrap();
    let anchor = world.folder().join("anchor");
    world
        .persona("reader")
        .get("/subscriptions?api-version=2022-12-01")
        .await;
    let until = std::time::Instant::now() + crate::harness::PATIENCE;
    while !anchor.exists() {
        assert!(
            std::time::Instant::now() < until,
            "no checkpoint left the process"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let dir = world.log_dir();
    let dir = dir.to_str().unwrap();
    let anchored = vaultgate(&[
        "log",
        "verify",
        dir,
        "--key",
        key.trim(),
        "--anchor",
        anchor.to_str().unwrap(),
    ]);
    assert_eq!(anchored.status.code(), Some(0), "{}", told(&anchored));
    let alone = vaultgate(&["log", "verify", dir, "--key", key.trim()]);
    assert_eq!(alone.status.code(), Some(3), "{}", told(&alone));
    assert!(
        told(&alone).contains("tail not anchored since"),
        "{}",
        told(&alone)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_roles_that_are_too_few_and_too_many() {
    let object_id = "object_id = \"77777777-0000-4000-8000-00000000000a\"";
    let own = "client_id = \"vaultgate-operator\"";
    let mut world = World::with(Setup {
        replace: vec![(own.into(), format!("{own}\n{object_id}"))],
        ..Setup::default()
    })
    .await;
    // Its reads are recorded, and a log has one writer.
    world.gateway.signal("TERM");
    assert!(world.gateway.wait().success());
    let config = world.gateway.config.clone();
    let examine = move || vaultgate(&["doctor", "--config", config.to_str().unwrap()]);
    let output = tokio::task::spawn_blocking(examine).await.unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let roles = told
        .lines()
        .find(|line| line.contains("operator roles"))
        .unwrap();
    assert!(roles.starts_with("PROBLEM"), "{told}");
    for part in [
        "may not: `Microsoft.",
        "may more than is needed: `Microsoft.RecoveryServices/*`, `Microsoft.Authorization/*`",
    ] {
        assert!(roles.contains(part), "`{part}` is missing from:\n{roles}");
    }
    for fine in [
        "files",
        "log disk",
        "issuer",
        "reader:",
        "operator:",
        "clock",
    ] {
        assert!(
            told.lines()
                .any(|l| l.starts_with("ok") && l.contains(fine)),
            "{fine}:\n{told}"
        );
    }
    world.assert_oracle_holds();
}
