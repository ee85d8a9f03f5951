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
    let strict = vaultgate(&["policy", "check", "--strict", "policies"]);
    assert_eq!(strict.status.code(), Some(0), "{}", told(&strict));
    let covered = ["policy", "test", "policies", "--coverage", "--threshold"];
    let enough = vaultgate(&[&covered[..], &["95"]].concat());
    assert_eq!(enough.status.code(), Some(0), "{}", told(&enough));
    let few = vaultgate(&[&covered[..], &["95", "--run", "approvals"]].concat());
    assert_eq!(few.status.code(), Some(2), "{}", told(&few));
    assert!(told(&few).contains("not 95 %"), "{}", told(&few));
}

/// A member that no input has is never met, and nobody would see it.
#[test]
fn a_misspelt_member_of_the_input_is_an_error_of_the_strict_check() {
    let folder = tempfile::tempdir().unwrap();
    crate::harness::copy_folder(&repository().join("policies"), folder.path());
    let file = folder.path().join("vaultgate/agents.rego");
    let text = std::fs::read_to_string(&file).unwrap();
    let wrong = text.replace("input.principal.person", "input.princpal.person");
    assert_ne!(text, wrong);
    std::fs::write(&file, wrong).unwrap();
    let path = folder.path().to_str().unwrap();
    let plain = vaultgate(&["policy", "check", path]);
    assert_eq!(plain.status.code(), Some(0), "{}", told(&plain));
    let strict = vaultgate(&["policy", "check", "--strict", path]);
    assert_eq!(strict.status.code(), Some(1), "{}", told(&strict));
    for words in [
        "vaultgate/agents.rego:",
        "`input.princpal` is in no input",
        "is `principal` meant?",
    ] {
        assert!(told(&strict).contains(words), "{}", told(&strict));
    }
}

#[test]
fn many_questions_are_answered_a_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("questions");
    std::fs::write(
        &file,
        "{\"query\": \"input.x\", \"input\": {\"x\": 7}}\n{\"query\": \"input.y\", \"input\": {}}\n\
         {\"query\": \"to_number(\\\"x\\\")\"}\n",
    )
    .unwrap();
    let batch = ["policy", "eval", "--bundle", "policies", "--batch"];
    let output = vaultgate(&[&batch[..], &[file.to_str().unwrap()]].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: serde_json::Value = lines.collect::<Vec<serde_json::Value>>().into();
    let value = lines.pointer("/0/result/0/expressions/0/value");
    assert_eq!(value, Some(&serde_json::json!(7)), "{lines}");
    assert_eq!(lines.pointer("/1"), Some(&serde_json::json!({})), "{lines}");
    assert!(lines.pointer("/2/error").is_some(), "{lines}");
    assert!(lines.pointer("/3").is_none(), "{lines}");
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
    // One has a role, the other has none.
    let callers = "without_roles = [\"77777777-0000-4000-8000-00000000000a\", \"77777777-0000-4000-8000-00000000000b\"]";
    let mut world = World::with(Setup {
        replace: vec![
            (own.into(), format!("{own}\n{object_id}")),
            ("[azure]\n".into(), format!("[azure]\n{callers}\n")),
        ],
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
    let callers: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("caller roles"))
        .collect();
    let [bad, good] = callers.as_slice() else {
        unreachable!("two callers:\n{told}");
    };
    assert!(
        bad.starts_with("PROBLEM") && bad.contains("0a` has 1 role assignments"),
        "{bad}"
    );
    assert!(
        good.starts_with("ok") && good.contains("0b` has no role"),
        "{good}"
    );
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
