//! The catalogue held to what was read and seen elsewhere: the list of REST operations
//! and the requests that real clients sent (`tests/data/README.md` names the sources).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use vaultgate_arm::catalogue::operations;
use vaultgate_arm::{Class, route};

const GROUP: &str = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/rg1";

fn data(name: &str) -> String {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The rows of a CSV file; quoted fields may hold commas.
fn rows(text: &str) -> Vec<Vec<String>> {
    let fields = |line: &str| {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        fields
    };
    text.lines().skip(1).map(fields).collect()
}

/// A path with a name in each of its places.
fn filled(template: &str) -> String {
    let place = |segment: &str| match segment {
        "{subscriptionId}" => "22222222-2222-2222-2222-222222222222".to_owned(),
        segment if segment.starts_with('{') => "x1".to_owned(),
        segment => segment.to_owned(),
    };
    template.split('/').map(place).collect::<Vec<_>>().join("/")
}

#[test]
fn every_listed_operation_is_understood_as_itself() {
    let listed = rows(&data("operations.csv"));
    assert_eq!(listed.len(), 198);
    for row in listed {
        let [_, id, method, template, version, action, ..] = row.as_slice() else {
            panic!("{row:?}");
        };
        let target = format!("{}?api-version={version}", filled(template));
        let route = route(method, &target).unwrap_or_else(|refused| panic!("{id}: {refused:?}"));
        assert_eq!(route.operation.name, action, "{id}: {method} {target}");
        let own = route.operation.template.split('/').count();
        assert_eq!(
            own,
            template.trim_end_matches('/').split('/').count(),
            "{id}"
        );
    }
}

#[test]
fn what_the_list_calls_destructive_is_nothing_harmless() {
    let harmless = [
        Class::Read,
        Class::Validate,
        Class::Snapshot,
        Class::Protect,
    ];
    for row in rows(&data("operations.csv")) {
        let [
            _,
            id,
            method,
            template,
            version,
            _,
            _,
            kind,
            destructive,
            ..,
        ] = row.as_slice()
        else {
            panic!("{row:?}");
        };
        let target = format!("{}?api-version={version}", filled(template));
        let route = route(method, &target).unwrap();
        let json = [("content-type", "application/json")];
        let (headers, body): (&[_], &[u8]) = if route.takes_body() {
            (&json, b"{\"notInAnyModel\": 1}")
        } else {
            (&[], b"")
        };
        let Ok(classified) = route.classify(headers, body, &[]) else {
            // Refused is as safe as it gets; only reads must never end so.
            assert_ne!(kind, "read", "{id}");
            continue;
        };
        if destructive != "no" {
            assert!(
                !harmless.contains(&classified.class),
                "{id} is {:?}",
                classified.class
            );
        }
        if kind == "read" {
            assert!(
                [Class::Read, Class::Disclose].contains(&classified.class),
                "{id}"
            );
        }
    }
}

#[test]
fn every_request_of_a_recorded_client_is_understood() {
    let traces: Value = serde_json::from_str(&data("azure-client-traces.json")).unwrap();
    let item = "backupFabrics/Azure/protectionContainers/IaasVMContainer;iaasvmcontainerv2;rg1;vm1/protectedItems/VM;iaasvmcontainerv2;rg1;vm1";
    let vault = format!("{GROUP}/providers/Microsoft.RecoveryServices/vaults");
    let fill = |text: &str| {
        text.replace("{VAULT}", &format!("{vault}/v1"))
            .replace("{V}", &vault)
            .replace("{ITEM}", item)
    };
    let mut seen = 0;
    for (command, requests) in traces.as_object().unwrap() {
        for request in requests.as_array().unwrap() {
            let text = |name: &str| request[name].as_str().unwrap_or_default();
            let url = fill(text("url")).replace(' ', "%20");
            // Signing in again is between the client and its issuer.
            if ["/oauth2/", "/.well-known/", "/discovery/"]
                .iter()
                .any(|part| url.contains(part))
            {
                continue;
            }
            let route = route(text("method"), &url)
                .unwrap_or_else(|refused| panic!("{command}: {url}: {refused:?}"));
            let mut body = fill(text("body"));
            if url.contains("/vaults/vmua/") {
                // The recording stub named items of `v1` there, which is a contradiction.
                body = body.replace("/vaults/v1/", "/vaults/vmua/");
            }
            let json = [("content-type", "application/json")];
            let headers: &[_] = if body.is_empty() { &[] } else { &json };
            let classified = route.classify(headers, body.as_bytes(), &[]);
            let classified =
                classified.unwrap_or_else(|refused| panic!("{command}: {url} {body}: {refused:?}"));
            let unknown = classified.body_unknown;
            assert!(unknown.is_empty(), "{command}: {unknown:?}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} requests");
}

proptest! {
    /// What is sent is understood as what was asked: rewriting a target again changes
    /// nothing, and it names the same operation.
    #[test]
    fn a_canonical_target_is_a_fixed_point(
        index in 0..400_usize,
        names in prop::collection::vec("[A-Za-z0-9;._ ()-]{1,20}", 12),
        upper in any::<bool>(),
    ) {
        let all: Vec<_> = operations().collect();
        let spec = all[index % all.len()];
        let mut names = names.iter();
        let segments = spec.template.split('/').map(|segment| match segment {
            "{subscription}" => "22222222-2222-2222-2222-222222222222".to_owned(),
            segment if segment.starts_with('{') => {
                names.next().unwrap().replace(' ', "%20").replace(';', "%3B")
            }
            segment if upper => segment.to_ascii_uppercase(),
            segment => segment.to_owned(),
        });
        let path = segments.collect::<Vec<_>>().join("/");
        let target = format!("{path}?api-version=2024-04-01");
        // Names such as `..` are refused; what is taken must be stable.
        if let Ok(first) = route(spec.method.as_str(), &target) {
            let sent = first.target.path_and_query();
            let again = route(spec.method.as_str(), &sent).unwrap();
            prop_assert_eq!(&again.target.path_and_query(), &sent);
            prop_assert_eq!(again.operation.name, first.operation.name);
        }
    }

    /// Whatever stands in a target, it is refused or understood, and what would be sent
    /// holds nothing that ends a request line.
    #[test]
    fn hostile_targets_are_refused_or_plain(
        target in "/(subscriptions/|providers/|vaults/|%2[fF]|\\PC){0,4}\\PC{0,60}",
    ) {
        for method in ["GET", "DELETE", "POST", "get", "TRACE"] {
            if let Ok(route) = route(method, &target) {
                let sent = route.target.path_and_query();
                prop_assert!(sent.bytes().all(|b| b.is_ascii_graphic()), "{}", sent);
            }
        }
    }

    #[test]
    fn hostile_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let target = format!("{GROUP}/providers/Microsoft.RecoveryServices/vaults/v?api-version=2024-04-01");
        let json = [("content-type", "application/json")];
        let _ = route("PATCH", &target).unwrap().classify(&json, &body, &[]);
    }
}
