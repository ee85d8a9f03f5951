//! Paths and ARM ids: what is taken has one reading, and is written back as that.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultgate_arm::{Resource, fuzzing, route};
use vaultgate_fuzz::path_reader::{encoded, lenient};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for is_get in [false, true] {
        let path = text.strip_prefix('/').unwrap_or(text);
        if let Some(names) = fuzzing::segments(path, is_get) {
            one_reading(path, &names, is_get);
        }
    }
    if let Some(resource) = fuzzing::vault_id(text) {
        reads_back(text, &resource);
    }
});

/// No name holds what another reader takes for a separator, a dot or an end.
fn one_reading(path: &str, names: &[String], is_get: bool) {
    for name in names {
        let odd = |c: char| !(' '..='~').contains(&c) || "/\\?#%\"<>|^`{}".contains(c);
        assert!(!name.is_empty() && name.len() <= 512, "{path:?}: {name:?}");
        assert!(!name.contains(odd), "{path:?}: {name:?}");
        assert!(name != "." && !name.starts_with(".."), "{path:?}: {name:?}");
        assert!(!name.ends_with(['.', ' ']), "{path:?}: {name:?}");
    }
    assert_eq!(lenient(path), names, "a lenient reader: {path:?}");
    let again: Vec<String> = names.iter().map(|name| encoded(name)).collect();
    let again = fuzzing::segments(&again.join("/"), is_get);
    // Nothing but slashes is a path for a reader that drops empty segments.
    if !names.is_empty() {
        assert_eq!(again.as_deref(), Some(names), "{path:?}");
    }
}

fn reads_back(text: &str, resource: &Resource) {
    let id = &resource.id;
    assert_eq!(fuzzing::vault_id(id).as_ref(), Some(resource), "{text:?}");
    assert!(id.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text:?}");
    let vault = resource.vault.as_deref().unwrap_or_default();
    assert!(
        !vault.is_empty() && id.starts_with(vault),
        "{text:?}: {id:?}"
    );
    let names: Vec<&str> = id.split('/').skip(1).collect();
    assert_eq!(
        resource.subscription.as_deref(),
        names.get(1).copied(),
        "{text:?}"
    );
    assert_eq!(
        resource.vault_name.as_deref(),
        vault.rsplit('/').next(),
        "{text:?}"
    );
    // The segments that are not names may be spelt in either case, and no other way.
    let target: String = names
        .iter()
        .map(|name| format!("/{}", encoded(name)))
        .collect();
    let routed = route("GET", &format!("{target}?api-version=2026-08-01"));
    let Ok(routed) = routed else {
        panic!("an id that is no path: {text:?}: {id:?}");
    };
    assert_eq!(&routed.resource, resource, "{text:?}");
    let template = routed.operation.template.split('/').skip(1);
    for fold in [str::to_ascii_uppercase, str::to_ascii_lowercase] {
        let other: String = template
            .clone()
            .zip(&names)
            .map(|(own, name)| match own.starts_with('{') {
                true => format!("/{name}"),
                false => format!("/{}", fold(name)),
            })
            .collect();
        assert_eq!(
            fuzzing::vault_id(&other).as_ref(),
            Some(resource),
            "{other:?}"
        );
    }
}
