//! Tests of the input document: every member is there, and the schema knows it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{Actor, DECISION_SCHEMA, INPUT_SCHEMA};

use super::{
    Claimed, Flow, Input, Json, Operation, Principal, Request, Resource, Restore, SCHEMA, Transport,
};
use crate::principal::{Binding, PrincipalKind};

fn principal() -> Principal {
    Principal {
        issuer: "https://idp".into(),
        subject: "s".into(),
        person: None,
        kind: PrincipalKind::Unknown,
        tenant: None,
        app: Some("app".into()),
        roles: vec!["backup.reader".into()],
        groups: Vec::new(),
        scopes: Vec::new(),
        acr: None,
        auth_time: None,
        actors: vec![Actor {
            issuer: "https://idp".into(),
            subject: "bot".into(),
        }],
        bound: Binding::Mtls,
        flow: Some("nightly".into()),
    }
}

fn written(body: &RawValue, facts: &Value) -> String {
    let principal = principal();
    let crosses = ["subscription"];
    let target = json!({"storage_account": "x"});
    Input {
        schema: SCHEMA,
        now: "2026-11-23T03:00:00.000Z",
        principal: &principal,
        operation: Operation {
            name: "N/action",
            class: "restore",
            method: "POST",
            api_version: "2026-08-01",
            reversible: true,
            body_unknown: &[],
        },
        resource: Resource {
            id: "/subscriptions/s",
            subscription: Some("s"),
            resource_group: None,
            vault: None,
            item: None,
            type_: "T",
            workload: None,
            region: None,
            tags: Json::Null,
        },
        request: Request {
            body: body.into(),
            before: Json::Null,
            delta: None::<&Value>.into(),
            restore: Some(Restore {
                kind: "disks",
                target: (&target).into(),
                crosses: &crosses,
            }),
        },
        facts: facts.into(),
        activity: &None::<u8>,
        flow: Some(Flow {
            name: "nightly",
            definition_digest: "sha256:00",
            covers: false,
        }),
        approval: Json::Null,
        incident: Json::Null,
        preflight: false,
        claimed: Claimed::default(),
        transport: Transport {
            remote: "192.0.2.1",
            tls: "1.3",
            http: "2",
        },
    }
    .to_document()
    .text()
    .to_string()
}

#[test]
fn ready_json_is_put_in_as_it_is() {
    let body = RawValue::from_string(r#"{"n":1.10,"big":123456789012345678901234567890}"#.into());
    let facts = json!({"vault": {"status": "ok"}});
    let text = written(&body.unwrap(), &facts);
    assert!(
        text.contains(r#""body":{"n":1.10,"big":123456789012345678901234567890}"#),
        "{text}"
    );
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.pointer("/principal/bound"), Some(&json!("mtls")));
    assert_eq!(
        value.pointer("/principal/flow"),
        None,
        "the flow's name alone proves nothing"
    );
    assert_eq!(value.pointer("/facts"), Some(&facts));
    assert_eq!(value.pointer("/request/delta"), Some(&Value::Null));
}

/// Both ways at every fixed level: what is written is what the schema requires.
#[test]
fn the_schema_names_exactly_what_is_written() {
    let schema: Value = serde_json::from_str(INPUT_SCHEMA).unwrap();
    let body = RawValue::from_string("null".into()).unwrap();
    let value: Value = serde_json::from_str(&written(&body, &json!({}))).unwrap();
    for level in [
        "",
        "/principal",
        "/principal/actors/0",
        "/operation",
        "/resource",
        "/request",
        "/request/restore",
        "/flow",
        "/claimed",
        "/transport",
    ] {
        let place = level.replace("/0", "/items").replace('/', "/properties/");
        let place = place.replace("/properties/items", "/items");
        let known = schema
            .pointer(&format!("{place}/properties"))
            .unwrap_or(&Value::Null);
        let names = |value: &Value| -> Vec<String> {
            let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        let at = value.pointer(level).unwrap();
        assert_eq!(names(at), names(known), "{level}");
        let required = schema.pointer(&format!("{place}/required")).unwrap();
        assert_eq!(
            required.as_array().unwrap().len(),
            names(at).len(),
            "{level}"
        );
    }
    assert!(serde_json::from_str::<Value>(DECISION_SCHEMA).is_ok());
}
