//! Policy bundles: whatever is in the files, nothing ends the process, and no fault
//! of a policy is an allow.
//!
//! The input is one text, `=== PATH` before each file; the part `=== input` is what
//! the policy is asked.
#![no_main]

use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use vaultgate_fuzz::parts;
use vaultgate_pdp::{Bundle, Decision, Document, Evaluator, FaultCode, Limits, Policy};

const MANIFEST: &str = r#"{"revision": "f", "roots": ["vaultgate"], "rego_version": 1}"#;
/// Longest file that is looked at, bytes.
const MAX_FILE: usize = 8 << 10;
/// What nobody may be allowed: no input, and a stranger's.
const NOBODY: [&str; 5] = [
    "null",
    "[]",
    "{}",
    r#"{"operation":{"class":"delete"},"principal":{"roles":[],"groups":[]}}"#,
    "{",
];
/// What a policy may well allow.
const SOMEBODY: &str = r#"{"schema":"vaultgate.input/1","now":"2026-11-23T03:00:00.000Z","principal":{"issuer":"https://issuer.example","subject":"operator","person":"operator","kind":"human","tenant":"t","app":"a","roles":["BackupOperator","reader"],"groups":["g"],"scopes":[],"actors":[],"bound":"none"},"operation":{"name":"Microsoft.RecoveryServices/vaults/read","class":"read","method":"GET","api_version":"2026-08-01","reversible":true,"body_unknown":[]},"resource":{"id":"/subscriptions/s","subscription":"s","tags":{}},"request":{},"facts":{},"activity":{},"flow":null,"approval":null,"incident":null,"preflight":false,"claimed":{},"transport":{"remote":"192.0.2.1"}}"#;

static EVALUATOR: LazyLock<Evaluator> = LazyLock::new(|| Evaluator::start(1, Limits::default()));

fuzz_target!(init: panics_of_policies_are_theirs(), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // What is long takes long: the product tries a bundle in a process of its own, and
    // for 20 s. Here every input has to be quick.
    if parts(text).iter().any(|(_, text)| text.len() > MAX_FILE) {
        return;
    }
    let mut files = Map::from_iter([(".manifest".to_owned(), Value::from(MANIFEST))]);
    let mut asked = SOMEBODY;
    for (path, text) in parts(text) {
        match path {
            "input" => asked = text,
            path => drop(files.insert(path.to_owned(), Value::from(text))),
        }
    }
    let Ok(bundle) = Bundle::from_archive_bytes(Value::Object(files).to_string().as_bytes()) else {
        return;
    };
    same_again(&bundle);
    let limits = Limits::default();
    if let Ok(policy) = Policy::admit(bundle, &limits) {
        judged(&Arc::new(policy), asked);
    }
});

/// The engine panics on some input, on a thread of the product's that catches it. A
/// panic anywhere else, or in the product's own code, is a finding.
fn panics_of_policies_are_theirs() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let own = info
            .location()
            .is_some_and(|at| at.file().contains("pdp/src"));
        if own || !name.starts_with("vaultgate-p") {
            abort(info);
        }
    }));
}

fn same_again(bundle: &Bundle) {
    let again = Bundle::from_archive_bytes(&bundle.to_archive_bytes());
    let again = again.unwrap_or_else(|error| panic!("what is written is not read: {error}"));
    assert_eq!(again.digest(), bundle.digest());
    assert!(again.files().eq(bundle.files()));
    assert!(!bundle.revision().trim().is_empty());
}

fn judged(policy: &Arc<Policy>, asked: &str) {
    for input in NOBODY {
        let decision = ask(policy, input);
        assert!(!decision.allow, "{input} is allowed: {decision:?}");
    }
    let (first, second) = (ask(policy, asked), ask(policy, asked));
    // What depends on the machine's speed may differ.
    let late = |decision: &Decision| {
        let fault = decision.fault.as_ref().map(|fault| fault.code);
        matches!(
            fault,
            Some(FaultCode::PolicyTimeout | FaultCode::PolicyOverloaded)
        )
    };
    assert!(
        first == second || late(&first) || late(&second),
        "{first:?} and then {second:?}"
    );
}

fn ask(policy: &Arc<Policy>, input: &str) -> Decision {
    let (tell, told) = channel();
    let input = Document::of_text(input);
    EVALUATOR.submit(Arc::clone(policy), &input, move |decision| {
        let _ = tell.send(decision);
    });
    let decision: Decision = told.recv().expect("every question is answered");
    if decision.fault.is_some() {
        assert!(
            !decision.allow && decision.deny.len() == 1,
            "a fault allows: {decision:?}"
        );
        assert!(
            decision.grants.is_empty() && decision.obligations.is_empty(),
            "{decision:?}"
        );
    }
    if decision.allow {
        assert!(
            decision.deny.is_empty() && !decision.grants.is_empty(),
            "{decision:?}"
        );
    }
    decision
}
