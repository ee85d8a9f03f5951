//! Reads the input's text; parts that were seen before are not parsed again.
//!
//! Most of an input is the same from request to request: the principal, the resource,
//! counters that stand still. A part is found by its whole text, so what is found is
//! what parsing would give; values are immutable and shared.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use regorus::Value;
use serde_json::value::RawValue;

/// Parts kept by a thread.
const MAX_PARTS: usize = 1_024;
/// Longest text of a part that is kept, bytes: longer ones hold something that changes
/// from request to request, and are taken apart.
const MAX_TEXT: usize = 512;
/// Shortest text that is worth a look: a shorter one is parsed sooner than found.
const MIN_TEXT: usize = 16;
/// Objects are taken apart down to this depth: `activity`, a subject, its classes.
const DEPTH: usize = 3;

thread_local! {
    static PARTS: RefCell<HashMap<Box<str>, Value>> = RefCell::default();
}

/// The value of a JSON text.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    PARTS.with_borrow_mut(|parts| {
        // Callers choose much of the text: a full cache begins anew.
        if parts.len() >= MAX_PARTS {
            parts.clear();
        }
        part(text, DEPTH, parts)
    })
}

fn part(text: &str, depth: usize, parts: &mut HashMap<Box<str>, Value>) -> Result<Value, String> {
    if text.len() < MIN_TEXT {
        return parsed(text);
    }
    let kept = text.len() <= MAX_TEXT;
    if kept && let Some(known) = parts.get(text) {
        return Ok(known.clone());
    }
    let value = if depth > 0 && text.starts_with('{') {
        object(text, depth, parts)?
    } else {
        parsed(text)?
    };
    if kept && parts.len() < MAX_PARTS {
        parts.insert(text.into(), value.clone());
    }
    Ok(value)
}

fn object(text: &str, depth: usize, parts: &mut HashMap<Box<str>, Value>) -> Result<Value, String> {
    // A name may hold escapes, so it is owned; the last of two equal ones wins, as
    // with the engine's own parser.
    let members: BTreeMap<String, &RawValue> = told(serde_json::from_str(text))?;
    let mut object = BTreeMap::new();
    for (name, raw) in members {
        object.insert(Value::from(name), part(raw.get(), depth - 1, parts)?);
    }
    Ok(Value::from(object))
}

fn parsed(text: &str) -> Result<Value, String> {
    Value::from_json_str(text).map_err(|error| error.to_string())
}

fn told<T>(result: Result<T, serde_json::Error>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;
    use regorus::Value;
    use serde_json::json;

    use super::{MAX_PARTS, PARTS, value};

    fn anything() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            "\\PC{0,30}".prop_map(|s| json!(s)),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|v| json!(v)),
                prop::collection::btree_map("\\PC{0,8}", inner, 0..6).prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        /// Found or parsed, cold or warm: the same value as the engine's own parser.
        #[test]
        fn a_part_that_was_seen_is_what_parsing_gives(input in anything()) {
            let text = input.to_string();
            let engine = Value::from_json_str(&text).unwrap();
            prop_assert_eq!(&value(&text).unwrap(), &engine);
            prop_assert_eq!(&value(&text).unwrap(), &engine);
        }
    }

    #[test]
    fn callers_do_not_fill_memory_and_bad_text_is_an_error() {
        for n in 0..3 * MAX_PARTS {
            let text = format!("{{\"a member of this name\":{{\"another member\":{n}}}}}");
            value(&text).unwrap();
        }
        assert!(PARTS.with_borrow(|parts| parts.len()) <= MAX_PARTS);
        for bad in [
            "",
            "{",
            "{\"a\":1,\"b\":tru}             ",
            "[1,2,3,4,5,6,7,8,9",
            "{\"a\":{\"b\":[1,}}}      ",
        ] {
            assert!(value(bad).is_err(), "{bad}");
        }
        let twice = "{\"a\":1,\"a\":2,\"long enough\":true}";
        assert_eq!(value(twice).unwrap(), Value::from_json_str(twice).unwrap());
    }
}
