//! Mutated targets and bodies against readers that share no code with ours.
//!
//! Whatever is taken must be one thing to everybody: what would be sent names the
//! operation that was decided on, and a lenient reader of what the caller wrote (it
//! decodes first, resolves dots, collapses slashes) finds no other. What two readers
//! could take differently is refused, and that is always a right answer here.
//!
//! `VAULTGATE_MUTATIONS` and `VAULTGATE_SEED` choose how many and which.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

use std::path::Path;

use serde_json::Value;
use vaultgate_arm::catalogue::operations;
use vaultgate_arm::route;

/// A small generator (xorshift64*): the same seed gives the same cases everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// An operation of the list, as a reader of its own knows it.
struct Listed {
    method: String,
    template: Vec<String>,
    action: String,
}

fn listed() -> Vec<Listed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/operations.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.splitn(7, ',').collect();
        Listed {
            method: fields[2].to_owned(),
            template: split(fields[3]),
            action: fields[5].to_owned(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a lenient server makes of a path: decoded before it is split, dots resolved,
/// empty segments dropped.
fn lenient(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap();
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded(path).replace('\\', "/").split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other.to_owned()),
        }
    }
    segments
}

/// What a plain server makes of it: split, then decoded.
fn plain(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap();
    path.trim_matches('/').split('/').map(decoded).collect()
}

/// The RBAC action that a path names on the list.
fn action<'l>(list: &'l [Listed], method: &str, path: &[String]) -> Option<&'l str> {
    let fits = |one: &&Listed| {
        let pairs = one.template.iter().zip(path);
        let fixed = |(own, given): (&String, &String)| {
            own.starts_with('{') || own.eq_ignore_ascii_case(given)
        };
        one.method == method && one.template.len() == path.len() && pairs.into_iter().all(fixed)
    };
    let fixed = |one: &&Listed| {
        one.template
            .iter()
            .filter(|own| !own.starts_with('{'))
            .count()
    };
    list.iter()
        .filter(fits)
        .max_by_key(fixed)
        .map(|one| one.action.as_str())
}

fn split(template: &str) -> Vec<String> {
    template
        .trim_matches('/')
        .split('/')
        .map(str::to_owned)
        .collect()
}

/// A template without the names of its places.
fn shape(template: &[String]) -> Vec<&str> {
    let plain = |segment: &'_ String| segment.starts_with('{');
    template
        .iter()
        .map(|segment| {
            if plain(segment) {
                "{}"
            } else {
                segment.as_str()
            }
        })
        .collect()
}

/// Texts that proxies and servers have disagreed on.
const PIECES: [&str; 40] = [
    "%2f",
    "%2F",
    "%252f",
    "%5c",
    "\\",
    "//",
    "/./",
    "/../",
    "%2e%2e",
    "%2e",
    "..;",
    ";",
    ";a=b",
    "%00",
    "%0d%0a",
    "%",
    "%zz",
    "%c0%af",
    "%e2%84%aa",
    "\u{212a}",
    "ı",
    "ſ",
    "İ",
    "+",
    "%20",
    " ",
    "?",
    "#",
    "%3f",
    "%23",
    "&",
    "=",
    "@",
    ":",
    "//evil.example/",
    "/providers/",
    "/providers/Microsoft.Authorization/locks/l",
    "/backupJobs",
    "*",
    "{vault}",
];

fn mutated(random: &mut Random, target: &str) -> String {
    let mut out = target.to_owned();
    for _ in 0..=random.below(3) {
        let places: Vec<usize> = out.char_indices().map(|(at, _)| at).collect();
        let at = random.one(&places);
        match random.below(7) {
            0 => out.insert_str(at, random.one(&PIECES)),
            1 => drop(out.remove(at)),
            2 => {
                let c = out[at..].chars().next().unwrap();
                let other = if c.is_ascii_lowercase() {
                    c.to_ascii_uppercase()
                } else {
                    c.to_ascii_lowercase()
                };
                out.replace_range(at..at + c.len_utf8(), &other.to_string());
            }
            3 => {
                let c = out[at..].chars().next().unwrap();
                let encoded: String = c
                    .to_string()
                    .bytes()
                    .map(|byte| format!("%{byte:02x}"))
                    .collect();
                out.replace_range(at..at + c.len_utf8(), &encoded);
            }
            4 => {
                let segments: Vec<&str> = target.split('/').collect();
                let again = format!("/{}", random.one(&segments));
                out.insert_str(at, &again);
            }
            5 => out.push_str(random.one(&[
                "&api-version=2020-01-01",
                "&API-VERSION=x",
                "&$filter=a",
                "/",
                "&x=y",
            ])),
            _ => out.insert(
                at,
                char::from_u32(u32::try_from(random.below(0x3000)).unwrap()).unwrap_or('x'),
            ),
        }
        if out.is_empty() {
            return target.to_owned();
        }
    }
    out
}

#[test]
fn no_other_reader_finds_another_operation() {
    let mut random = Random(setting("VAULTGATE_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let list = listed();
    let specs: Vec<_> = operations().collect();
    let mutations = setting("VAULTGATE_MUTATIONS", 20_000);
    let mut taken = 0_u64;
    for n in 0..mutations {
        let spec = random.one(&specs);
        let filled = spec.template.split('/').map(|segment| match segment {
            "{subscription}" => "22222222-2222-2222-2222-222222222222",
            segment if segment.starts_with('{') => "n1",
            segment => segment,
        });
        let target = format!(
            "{}?api-version=2024-04-01",
            filled.collect::<Vec<_>>().join("/")
        );
        let target = mutated(&mut random, &target);
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let Ok(route) = route(method, &target) else {
                continue;
            };
            taken += 1;
            let sent = route.target.path_and_query();
            let own = route.operation;
            let told = || format!("case {n}: {method} `{}` as `{sent}`", target.escape_debug());
            assert!(sent.bytes().all(|b| b.is_ascii_graphic()), "{}", told());
            // Only what the list knows can be compared; the rest are reads around it.
            if let Some(found) = action(&list, method, &plain(&sent)) {
                assert_eq!(found, own.name, "{}", told());
            }
            if let Some(found) = action(&list, method, &lenient(&target)) {
                assert_eq!(found, own.name, "a lenient reader: {}", told());
            }
            let listed = list
                .iter()
                .any(|one| shape(&one.template) == shape(&split(&own.template)));
            if listed {
                assert!(action(&list, method, &plain(&sent)).is_some(), "{}", told());
            }
        }
    }
    println!("{mutations} targets, {taken} taken");
    assert!(
        taken > mutations / 50,
        "hardly anything was taken: the test proves little"
    );
}

const BODIES: [(&str, &str, &str); 4] = [
    (
        "PUT",
        "vaults/v1/backupPolicies/p1",
        r#"{"properties":{"backupManagementType":"AzureIaasVM","retentionPolicy":{"retentionPolicyType":"LongTermRetentionPolicy","dailySchedule":{"retentionDuration":{"count":30,"durationType":"Days"}}}}}"#,
    ),
    (
        "PATCH",
        "vaults/v1",
        r#"{"tags":{"a":"b"},"properties":{"securitySettings":{"softDeleteSettings":{"softDeleteState":"Enabled"},"immutabilitySettings":{"state":"Locked"}}}}"#,
    ),
    (
        "PUT",
        "vaults/v1/backupFabrics/Azure/protectionContainers/c/protectedItems/i",
        r#"{"properties":{"protectedItemType":"Microsoft.Compute/virtualMachines","protectionState":"ProtectionStopped"}}"#,
    ),
    (
        "POST",
        "vaults/v1/backupFabrics/Azure/protectionContainers/c/protectedItems/i/backup",
        r#"{"properties":{"objectType":"IaasVMBackupRequest"}}"#,
    ),
];

const JSON_PIECES: [&str; 24] = [
    "\"properties\":{},",
    "\"Properties\":{},",
    ",",
    "\"a\":1,",
    "\u{feff}",
    "\\u0070",
    "\\u0000",
    "\\ud800",
    "null",
    "1e400",
    "-0",
    "1.0",
    "18446744073709551617",
    "/**/",
    "'",
    "{}",
    "[",
    "}",
    "NaN",
    "\t",
    "\"state\":\"Disabled\",",
    "\"STATE\":\"Disabled\",",
    "\\/",
    "\"__proto__\":{},",
];

#[test]
fn no_other_reader_finds_another_body() {
    let mut random = Random(setting("VAULTGATE_SEED", 1).wrapping_mul(0xd134_2543_de82_ef95) | 1);
    let mutations = setting("VAULTGATE_MUTATIONS", 20_000);
    let mut taken = 0_u64;
    for n in 0..mutations {
        let (method, path, body) = random.one(&BODIES);
        let target = format!(
            "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/g/providers/Microsoft.RecoveryServices/{path}?api-version=2024-04-01"
        );
        let mut body = body.to_owned();
        for _ in 0..random.below(3) {
            let places: Vec<usize> = body.char_indices().map(|(at, _)| at).collect();
            let at = random.one(&places);
            match random.below(4) {
                0 => body.insert_str(at, random.one(&JSON_PIECES)),
                1 => drop(body.remove(at)),
                2 => body.insert(
                    at,
                    char::from_u32(u32::try_from(random.below(0x250)).unwrap()).unwrap_or('x'),
                ),
                _ => {
                    let c = body[at..].chars().next().unwrap();
                    body.replace_range(at..at + c.len_utf8(), &c.to_uppercase().to_string());
                }
            }
        }
        let json = [("content-type", "application/json")];
        let Ok(classified) = route(method, &target)
            .unwrap()
            .classify(&json, body.as_bytes(), &[])
        else {
            continue;
        };
        taken += 1;
        let told = format!("case {n}: `{}`", body.escape_debug());
        let sent = classified.body.unwrap().canonical_bytes();
        // serde_json lets the last of two members win, as many servers do.
        let theirs: Value = serde_json::from_str(&body)
            .unwrap_or_else(|error| unreachable!("another reader refuses it: {error}: {told}"));
        let ours: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(folded(&ours), folded(&theirs), "{told}");
    }
    println!("{mutations} bodies, {taken} taken");
    assert!(
        taken > mutations / 50,
        "hardly anything was taken: the test proves little"
    );
}

/// Ids are sent in canonical spelling, so text is compared without ASCII case; members
/// are not.
fn folded(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_ascii_lowercase()),
        Value::Array(elements) => Value::Array(elements.iter().map(folded).collect()),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), folded(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}
