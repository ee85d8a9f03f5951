//! A broken start names everything that is wrong, and binds nothing.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn vaultgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vaultgate"))
        .args(arguments)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn check(text: &str, folder: &Path) -> (Option<i32>, String) {
    let path = folder.join("vaultgate.toml");
    std::fs::write(&path, text).unwrap();
    let output = vaultgate(&["config", "check", "--config", path.to_str().unwrap()]);
    (output.status.code(), told(&output))
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[gateway]\npublic_url = \"http://gw.example\"\napp_id_uri = \"\"\n\n\
        [listener]\ncertificate = \"missing.pem\"\nprivate_key = \"missing.key\"\nspeed = 3\n\n\
        [log]\ndir = \"log\"\nkey = \"log.key\"\norigin = \"a b\"\n\n[nonsense]\n";
    let (code, told) = check(text, folder.path());
    assert_eq!(code, Some(1), "{told}");
    for part in ["vaultgate.toml:8:", "speed", "nonsense", "hint:"] {
        assert!(told.contains(part), "`{part}` is missing from:\n{told}");
    }
}

/// Found by fuzzing: each was taken, and the gateway then refused to start, answered
/// nothing, asked without a pause, or kept a password beside its log.
#[test]
fn what_could_never_work_is_told_by_the_check() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/regressions/config");
    for (file, key) in [
        ("emergency-space-too-small", "log.emergency_bytes"),
        ("log-name-with-a-quote", "log.origin"),
        ("watch-without-a-pause", "custody.watch_every"),
        ("no-time-for-headers", "listener.header_timeout"),
        ("no-time-for-changes", "azure.change_timeout"),
        ("password-of-an-anchor", "log.anchor_urls"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(found.join(file)).unwrap();
        let (code, told) = check(&text, folder.path());
        assert_eq!(code, Some(1), "{file}");
        assert!(told.contains(&format!(": {key}: ")), "{file}:\n{told}");
        assert!(!told.contains("u:p@"), "{file}:\n{told}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (code, told) = check("[gateway]\npublic_url = \n", folder.path());
    assert_eq!(code, Some(1));
    assert!(told.contains("vaultgate.toml:2:"), "{told}");
}

#[test]
fn a_missing_file_says_what_to_do() {
    let output = vaultgate(&["serve", "--config", "/nowhere/vaultgate.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("hint:"), "{}", told(&output));
}

#[test]
fn the_sample_is_complete_and_parses() {
    let output = vaultgate(&["config", "sample"]);
    assert_eq!(output.status.code(), Some(0));
    let sample = String::from_utf8_lossy(&output.stdout).into_owned();
    for section in [
        "[gateway]",
        "[listener]",
        "[[issuer]]",
        "[azure]",
        "[log]",
        "[policy]",
        "[store]",
        "[limits",
        "[custody]",
        "[facts]",
    ] {
        assert!(sample.contains(section), "{section} is missing");
    }
}
