//! What the gateway rests on, changed or lost under it: policy and store.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::harness::{PATIENCE, Setup, VAULT, VERSION, World, copy_folder, item, repository};

/// A copy of the shipped bundle that a test may change.
fn bundle(folder: &Path) -> PathBuf {
    let own = folder.join("policies");
    std::fs::create_dir(&own).unwrap();
    copy_folder(&repository().join("policies"), &own);
    own
}

async fn world_with(policies: &Path) -> World {
    World::with(Setup {
        policies: Some(policies.to_owned()),
        ..Setup::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_is_taken_over_whole_and_a_bad_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let policies = bundle(folder.path());
    let world = world_with(&policies).await;
    let reader = world.persona("reader");
    let jobs = format!("{VAULT}/backupJobs?{VERSION}");
    reader.get(&jobs).await.expect(200, "allow");

    // A recursive function would end the process that evaluates it.
    let loops = policies.join("vaultgate/loops.rego");
    std::fs::write(
        &loops,
        "package vaultgate\n\nimport rego.v1\n\nf(x) := f(x)\n",
    )
    .unwrap();
    let rejected = world
        .record(|r| r["kind"] == "policy" && r["event"] == "rejected")
        .await;
    assert!(
        rejected["problem"].as_str().unwrap().contains("recursion"),
        "{rejected}"
    );
    reader.get(&jobs).await.expect(200, "allow");

    let freeze = "package vaultgate\n\nimport rego.v1\n\n\
        deny contains {\"code\": \"frozen\", \"message\": \"nothing goes on today\", \"control\": [], \"rule\": \"data.vaultgate.deny\"}\n";
    std::fs::write(policies.join("vaultgate/frozen.rego"), freeze).unwrap();
    std::fs::remove_file(&loops).unwrap();
    let until = Instant::now() + PATIENCE;
    let told = loop {
        let answer = reader.get(&jobs).await;
        if answer.status.as_u16() == 403 {
            break answer.text();
        }
        assert!(Instant::now() < until, "the new policy was not taken over");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(told.contains("nothing goes on today"), "{told}");
    let activated = |r: &serde_json::Value| {
        r["kind"] == "policy" && r["event"] == "activated" && !r["replaces"].is_null()
    };
    let record = world.record(activated).await;
    // Every bundle that was in force is kept beside the log.
    let digest = record["archive"].as_str().unwrap().replace("sha256:", "");
    let blobs = world.log_dir().join("blobs");
    let kept = walk(&blobs)
        .into_iter()
        .any(|path| path.to_string_lossy().contains(&digest));
    assert!(kept, "no archive {digest} under {}", blobs.display());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_changes_are_refused_and_reads_go_on_where_config_says_so() {
    let world = World::with(Setup {
        replace: vec![
            (
                "path = \"store.db\"".into(),
                "path = \"log.key.pub/store.db\"".into(),
            ),
            (
                "[listener]\n".into(),
                "reads_without_store = true\n\n[listener]\n".into(),
            ),
        ],
        ..Setup::default()
    })
    .await;
    let operator = world.persona("operator");
    operator
        .get(&format!("{VAULT}/backupJobs?{VERSION}"))
        .await
        .expect(200, "allow");
    let body = json!({"properties": {"objectType": "IaasVMBackupRequest"}});
    let answer = operator
        .post(&format!("{}/backup?{VERSION}", item("vm1")), &body)
        .await;
    answer.expect(503, "error");
    assert_eq!(answer.reason(), "store-unavailable");
    let changes = world
        .sim
        .journal()
        .into_iter()
        .filter(|entry| entry.method != "GET");
    assert_eq!(
        changes
            .filter(|entry| entry.identity.name() == "operator")
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_widens_nothing() {
    let mut world = World::with(Setup::default().with_console()).await;
    let jobs = format!("{VAULT}/backupJobs?{VERSION}");
    world
        .persona("reader")
        .get(&jobs)
        .await
        .expect(200, "allow");
    world.gateway.kill();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(world.folder().join(format!("store.db{suffix}")));
    }
    world.restart();
    // Who was stopped is forgotten: nothing is destroyed until people have looked.
    let target = format!("{}?{VERSION}", item("vm1"));
    let custodian = world.persona("custodian");
    let answer = custodian
        .send(http::Method::DELETE, &target, None, &[])
        .await;
    assert_eq!(answer.reason(), "incident-freeze", "{}", answer.text());
    world
        .persona("reader")
        .get(&jobs)
        .await
        .expect(200, "allow");
}

/// A candidate beside the policy: it decides nothing, and what it would do is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_judges_beside_the_policy_and_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let candidate = bundle(folder.path());
    let roles = candidate.join("vaultgate/roles.rego");
    let text = std::fs::read_to_string(&roles).unwrap();
    let stricter = text.replace(
        r#""reader": {"read", "validate"}"#,
        r#""reader": {"validate"}"#,
    );
    assert_ne!(text, stricter);
    std::fs::write(&roles, stricter).unwrap();
    let policy = format!("[policy]\nshadow = \"{}\"\n", candidate.display());
    let world = World::with(Setup {
        replace: vec![("[policy]\n".to_owned(), policy)],
        ..Setup::default()
    })
    .await;
    let jobs = format!("{VAULT}/backupJobs?{VERSION}");
    for persona in ["reader", "operator"] {
        world.persona(persona).get(&jobs).await.expect(200, "allow");
    }
    let differs = world.record(|r| !r["shadow"].is_null()).await;
    assert_eq!(differs["verdict"], "allow");
    assert_eq!(differs["shadow"]["allow"], false);
    assert_eq!(differs["shadow"]["deny"][0], "class-not-granted");
    assert_ne!(differs["shadow"]["bundle"], differs["policy"]["bundle"]);
    let alike = world
        .record(|r| {
            r["kind"] == "decision" && r["input"]["principal"]["roles"][0] == "backup.operator"
        })
        .await;
    assert!(alike["shadow"].is_null(), "{alike}");
    let page = crate::doors::admin(&world, "/metrics");
    assert!(
        page.contains(r#"vaultgate_policy_shadow{reason="stricter"} 1"#),
        "{page}"
    );
    // A candidate that is no bundle shadows nothing, and nothing else happens.
    std::fs::write(
        candidate.join("vaultgate/broken.rego"),
        "package vaultgate\n\nx := \n",
    )
    .unwrap();
    world
        .persona("reader")
        .get(&jobs)
        .await
        .expect(200, "allow");
}
