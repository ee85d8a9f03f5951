//! The decision matrix: every operation of the catalogue, asked by every persona.
//!
//! `tests/golden/decisions.csv` is written and reviewed by hand; nothing writes it. A
//! cell holds `allow`, `approval` where others have to agree, or the codes that the refusal gives. An operation without a row
//! fails the test, and so does a row without an operation.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};
use vaultgate_arm::catalogue::{OperationSpec, operations};

use crate::harness::{Client, Setup, World, repository};

const PERSONAS: [&str; 7] = [
    "operator",
    "reader",
    "agent",
    "flow",
    "soc",
    "stranger",
    "custodian",
];
/// What stands in a template's place; anything else stands as `x1`.
const PLACES: [(&str, &str); 16] = [
    ("subscription", vaultgate_sim::PROD),
    ("resourceGroup", "rg1"),
    ("resourceGroupName", "rg1"),
    ("vault", "v1"),
    ("fabric", "Azure"),
    ("fabricName", "Azure"),
    (
        "container",
        "IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3Bvm1",
    ),
    (
        "containerName",
        "IaasVMContainer%3Biaasvmcontainerv2%3Brg1%3Bvm1",
    ),
    ("item", "VM%3Biaasvmcontainerv2%3Brg1%3Bvm1"),
    ("location", "westeurope"),
    ("azureRegion", "westeurope"),
    ("account", "sa1"),
    ("policyName", "AfsPolicy"),
    ("backupInstanceName", "bi1"),
    ("backupPolicyName", "BackupWeekly"),
    ("operationId", "0197b3a8-0000-7000-8000-000000000001"),
];

pub(crate) fn target(spec: &OperationSpec) -> String {
    let filled = spec.template.split('/').map(|segment| {
        let Some(name) = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        else {
            return segment.to_owned();
        };
        // The two providers' vaults are not the same.
        if name == "vault" && spec.template.contains("/Microsoft.DataProtection/") {
            return "bv1".to_owned();
        }
        let known = PLACES.iter().find(|(place, _)| *place == name);
        known.map_or("x1", |(_, text)| text).to_owned()
    });
    let path = filled.collect::<Vec<_>>().join("/");
    format!("{path}?api-version=2024-04-01")
}

/// The bodies that an operation is asked with, by what they ask for. Where none is
/// listed it is an empty object.
pub(crate) fn bodies(spec: &OperationSpec, listed: &Bodies) -> Vec<(String, Option<Value>)> {
    let plain = |body| vec![(spec.id.to_owned(), body)];
    match (spec.body, listed.get(spec.id)) {
        (None, _) => plain(None),
        (Some(_), None) => plain(Some(json!({}))),
        (Some(_), Some(listed)) => {
            let named = |(what, body): (&String, &Value)| {
                (format!("{}: {what}", spec.id), Some(body.clone()))
            };
            listed.iter().map(named).collect()
        }
    }
}

pub(crate) type Bodies = BTreeMap<String, BTreeMap<String, Value>>;

/// Class and cell of one question.
async fn ask(client: &Client, spec: &OperationSpec, body: Option<&Value>) -> (String, String) {
    let method = Method::from_bytes(spec.method.as_str().as_bytes()).unwrap();
    let dry = [("vaultgate-dry-run", "true")];
    let answer = client.send(method, &target(spec), body, &dry).await;
    let told = answer.json();
    if answer.status.as_u16() != 200 {
        return ("-".into(), answer.reason());
    }
    let codes = told["reasons"].as_array().unwrap().iter();
    let mut codes: Vec<&str> = codes.filter_map(|reason| reason["code"].as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let cell = match told["allow"].as_bool() {
        Some(true) => "allow".to_owned(),
        _ if told["obligations"][0]["type"] == "approval" => "approval".to_owned(),
        _ if codes.is_empty() => "not-granted".to_owned(),
        _ => codes.join("+"),
    };
    (told["class"].as_str().unwrap().to_owned(), cell)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_decided_as_reviewed() {
    let world = World::with(Setup {
        extra: std::fs::read_to_string(repository().join("tests/data/unlimited.toml")).unwrap(),
        ..Setup::default()
    })
    .await;
    let personas = PERSONAS.map(|name| world.persona(name));
    let listed = std::fs::read_to_string(repository().join("tests/golden/bodies.json")).unwrap();
    let listed: Bodies = serde_json::from_str(&listed).unwrap();
    let questions = operations().flat_map(|spec| {
        bodies(spec, &listed)
            .into_iter()
            .map(move |(what, body)| (spec, what, body))
    });
    let mut lines: Vec<String> = stream::iter(questions)
        .map(|(spec, what, body)| row(spec, what, body, &personas))
        .buffer_unordered(4)
        .collect()
        .await;
    lines.sort();
    let golden = std::fs::read_to_string(repository().join("tests/golden/decisions.csv")).unwrap();
    let mut reviewed: Vec<&str> = golden.lines().skip(1).collect();
    reviewed.sort_unstable();
    let unexpected: Vec<&String> = lines
        .iter()
        .filter(|line| !reviewed.contains(&line.as_str()))
        .collect();
    let missing: Vec<&&str> = reviewed
        .iter()
        .filter(|line| !lines.iter().any(|own| own == *line))
        .collect();
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "decided, not reviewed:\n{unexpected:#?}\nreviewed, not decided:\n{missing:#?}"
    );
    assert_eq!(world.forwarded(), 0, "a question reached Azure");
    world.assert_oracle_holds();
}

async fn row(
    spec: &OperationSpec,
    what: String,
    body: Option<Value>,
    personas: &[Client],
) -> String {
    let mut cells = Vec::new();
    let mut class = String::new();
    for persona in personas {
        let (own, cell) = ask(persona, spec, body.as_ref()).await;
        class = own;
        cells.push(cell);
    }
    format!("{what},{},{class},{}", spec.name, cells.join(","))
}
