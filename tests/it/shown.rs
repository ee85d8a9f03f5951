//! What approvers are shown of every operation: text that people consent to.
//!
//! `tests/golden/approvals.txt` is reviewed by hand and nothing writes it. What differs is
//! left in the test's temporary folder, to be read before it is taken over.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::path::Path;
use std::process::Command;

use futures_util::{StreamExt as _, stream};
use http::Method;
use serde_json::Value;
use vaultgate_arm::catalogue::{OperationSpec, operations};
use vaultgate_sim::{CONSOLE_AUDIENCE, Issuer, TokenRequest};

use crate::harness::{Client, Setup, World, repository};
use crate::matrix::{Bodies, bodies, target};

/// The id of the approval that a request needs; none for what needs none.
async fn asked(client: &Client, spec: &OperationSpec, body: Option<&Value>) -> Option<String> {
    let method = Method::from_bytes(spec.method.as_str().as_bytes()).unwrap();
    let answer = client.send(method, &target(spec), body, &[]).await;
    if answer.header("x-vaultgate-decision") != "approval" {
        return None;
    }
    let told = answer.json();
    let info = &told["error"]["additionalInfo"][0]["info"]["approval"];
    Some(info["approvalId"].as_str().unwrap().to_owned())
}

/// The text that `vaultgate approvals show` prints, without what differs in each run.
fn shown(world: &World, token: &str, id: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultgate"))
        .args(["approvals", "show", id])
        .env(
            "VAULTGATE_CONSOLE_URL",
            world.gateway.console.as_ref().unwrap(),
        )
        .env("VAULTGATE_CA", &world.dev.ca)
        .env("VAULTGATE_CONSOLE_TOKEN", token)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let varies = ["digest ", "expires "];
    let lines = text
        .lines()
        .filter(|line| !varies.iter().any(|own| line.starts_with(own)));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_approvers_see_of_every_operation_is_as_reviewed() {
    let unlimited = std::fs::read_to_string(repository().join("tests/data/unlimited.toml"));
    let mut setup = Setup {
        policies: Some(repository().join("tests/bundles/approved-changes")),
        extra: unlimited.unwrap(),
        ..Setup::default()
    }
    .with_console();
    let approvals = "[approvals]\n";
    let many = "[approvals]\npending_per_principal = 1000\n";
    setup.extra = setup.extra.replace(approvals, many);
    let world = World::with(setup).await;
    let operator = world.persona("operator");
    let token = world.sim.token(&TokenRequest {
        audience: Some(CONSOLE_AUDIENCE.into()),
        ..TokenRequest::new("approver-a", Issuer::Oidc)
    });
    let token = token.unwrap();
    let listed = std::fs::read_to_string(repository().join("tests/golden/bodies.json")).unwrap();
    let listed: Bodies = serde_json::from_str(&listed).unwrap();
    let questions = operations().flat_map(|spec| {
        let bodies = bodies(spec, &listed).into_iter();
        bodies.map(move |(what, body)| (spec, what, body))
    });
    let mut texts: Vec<String> = stream::iter(questions)
        .map(async |(spec, what, body)| {
            let id = asked(&operator, spec, body.as_ref()).await?;
            Some(format!("=== {what}\n{}\n", shown(&world, &token, &id)))
        })
        .buffer_unordered(4)
        .filter_map(async |text| text)
        .collect()
        .await;
    texts.sort();
    let actual: String = texts.concat();
    // Every class that changes something has its text.
    assert!(
        texts.len() > 60,
        "{} operations asked for approval",
        texts.len()
    );
    let golden = repository().join("tests/golden/approvals.txt");
    let reviewed = std::fs::read_to_string(&golden).unwrap_or_default();
    if actual != reviewed {
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join("approvals.txt");
        std::fs::write(&left, &actual).unwrap();
        let differs = actual
            .lines()
            .zip(reviewed.lines())
            .find(|(own, old)| own != old);
        panic!(
            "approvers see something else: first {differs:?}; read `{}` and take it over to `{}`",
            left.display(),
            golden.display()
        );
    }
    // What was sent needed nobody's consent.
    world.assert_oracle_holds();
}
