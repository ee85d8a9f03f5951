//! Strict JSON against `serde_json`: the same texts but for what is refused on
//! purpose, the same values, and what is written reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaultgate_arm::json::{Document, MAX_BYTES, MAX_DEPTH, MAX_NAME, MAX_NUMBER, Value};
use vaultgate_fuzz::json_reader::oddities;

fuzz_target!(|data: &[u8]| {
    let theirs = std::str::from_utf8(data).ok().and_then(oddities);
    match (Document::parse(data), theirs) {
        (Ok(document), Some(theirs)) => {
            assert!(!theirs.twice && !theirs.private, "{theirs:?}");
            assert!(
                theirs.depth <= MAX_DEPTH && theirs.name <= MAX_NAME,
                "{theirs:?}"
            );
            assert!(theirs.number <= MAX_NUMBER, "{theirs:?}");
            same(data, &document);
        }
        (Ok(_), None) => panic!("another reader refuses it"),
        (Err(error), Some(theirs)) => {
            let meant = theirs.twice
                || theirs.private
                || theirs.depth > MAX_DEPTH
                || theirs.name > MAX_NAME
                || theirs.number > MAX_NUMBER
                || data.len() > MAX_BYTES;
            assert!(meant, "refused for nothing: {error}: {theirs:?}");
        }
        (Err(_), None) => {}
    }
});

fn same(data: &[u8], document: &Document) {
    let written = document.canonical_bytes();
    let again = Document::parse(&written);
    assert_eq!(again.as_ref(), Ok(document), "what is written reads back");
    assert_eq!(
        again.map(|again| again.canonical_bytes()),
        Ok(written.clone())
    );
    // Numbers beyond any reader's range are text to policy and stay as they are.
    let read = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    assert_eq!(
        read(data),
        read(&written),
        "another reader finds another value"
    );
    if let Some(theirs) = read(data) {
        equal(document.root(), &theirs, &document.to_value());
    }
}

/// Holds a value against another reader's, and against what policy is shown.
fn equal(ours: &Value, theirs: &serde_json::Value, shown: &serde_json::Value) {
    match ours {
        Value::Number(text) => {
            // `serde_json` is off by a last digit at times, which is why policy sees text.
            let (exact, read) = (text.parse().unwrap_or(f64::NAN), theirs.as_f64());
            let off = (exact - read.unwrap_or(f64::NAN)).abs();
            assert!(
                off <= exact.abs() * 1e-14 + f64::MIN_POSITIVE,
                "{text}: {read:?}"
            );
            // Policy sees the number exactly, or its text.
            match shown {
                serde_json::Value::String(shown) => assert_eq!(shown, text),
                shown if shown.is_f64() => assert_eq!(&shown.to_string(), text),
                shown => {
                    let plain = text.strip_prefix('-').unwrap_or(text);
                    assert!(plain.bytes().all(|b| b.is_ascii_digit()), "{text}");
                    let whole = text.parse::<i128>().ok();
                    let shown = shown
                        .as_i64()
                        .map(i128::from)
                        .or(shown.as_u64().map(i128::from));
                    assert_eq!(whole, shown, "{text}");
                }
            }
        }
        Value::Array(ours) => {
            let (Some(theirs), Some(shown)) = (theirs.as_array(), shown.as_array()) else {
                panic!("{theirs} for an array");
            };
            assert_eq!((ours.len(), ours.len()), (theirs.len(), shown.len()));
            for (n, ours) in ours.iter().enumerate() {
                equal(ours, &theirs[n], &shown[n]);
            }
        }
        Value::Object(ours) => {
            let (Some(theirs), Some(shown)) = (theirs.as_object(), shown.as_object()) else {
                panic!("{theirs} for an object");
            };
            assert_eq!((ours.len(), ours.len()), (theirs.len(), shown.len()));
            for (name, ours) in ours {
                equal(ours, &theirs[name], &shown[name]);
            }
        }
        Value::Null => assert!(theirs.is_null() && shown.is_null()),
        Value::Bool(ours) => assert_eq!(
            (theirs.as_bool(), shown.as_bool()),
            (Some(*ours), Some(*ours))
        ),
        Value::String(ours) => {
            assert_eq!(theirs.as_str(), Some(ours.as_str()));
            assert_eq!(shown.as_str(), Some(ours.as_str()));
        }
    }
}
