//! What a change makes less or more, in sentences: people consent to words, not to figures in
//! a document. Every member of the delta is told; one that has no sentence of its own is told
//! as it is.

use serde_json::{Map, Value};

use super::shown::visible;

/// The delta in sentences.
pub(crate) fn in_words(delta: &Value) -> Vec<String> {
    let Some(members) = delta.as_object() else {
        return Vec::new();
    };
    let mut told = Vec::new();
    for (name, value) in members {
        match (name.as_str(), value) {
            ("items_weakened", value) => told.push(match value.as_u64() {
                Some(1) => "the protection of one item is lowered".to_owned(),
                _ => format!("the protection of {value} items is lowered"),
            }),
            ("retention_days", Value::Number(days)) => told.push(retention(days.as_f64())),
            ("retention", Value::Object(dimensions)) => told.extend(periods(dimensions)),
            ("schedule_changed", Value::Bool(true)) => told.push("the schedule changes".to_owned()),
            ("policy_swapped", swap) => told.push(format!(
                "the backup policy {} takes the place of {}",
                last(swap.get("to")),
                last(swap.get("from"))
            )),
            ("protection_state", state) => {
                told.push(format!(
                    "backups stop: the item ends up {}",
                    quoted(Some(state))
                ));
            }
            ("lowered", Value::Object(settings)) => told.extend(lowered(settings)),
            ("created", Value::Bool(true)) => told.push("this is made anew".to_owned()),
            ("unknown", _) => told.push(
                "some of what is asked for is not known here, so it is taken for the worst"
                    .to_owned(),
            ),
            (other, value) => told.push(format!("{}: {}", visible(other), quoted(Some(value)))),
        }
    }
    told
}

/// Where a restore takes the data.
pub(crate) fn restore(kind: &str, target: &Value, crosses: &[&str]) -> Vec<String> {
    let mut told = vec![match kind {
        "original" => "the data goes back to where it came from".to_owned(),
        _ => format!("the data goes elsewhere ({kind}): {}", places(target)),
    }];
    if !crosses.is_empty() {
        told.push(format!(
            "the target differs from the vault in its {}",
            crosses.join(", ")
        ));
    }
    told
}

/// What a target is named by.
fn places(target: &Value) -> String {
    let members = target.as_object().into_iter().flatten();
    let named = members.filter(|(_, value)| !value.is_null());
    let told: Vec<String> = named
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), quoted(Some(value))))
        .collect();
    match told.is_empty() {
        true => "the request does not say where".to_owned(),
        false => told.join(", "),
    }
}

fn retention(days: Option<f64>) -> String {
    match days {
        Some(days) if days < 0.0 => {
            format!("recovery points are kept up to {} days less", -days)
        }
        Some(days) => format!("recovery points are kept {days} days longer at least"),
        None => "how long recovery points are kept changes".to_owned(),
    }
}

fn periods(dimensions: &Map<String, Value>) -> impl Iterator<Item = String> {
    dimensions.iter().map(|(place, change)| {
        format!(
            "kept for {} days instead of {}, by `{}`",
            quoted(change.get("to")),
            quoted(change.get("from")),
            visible(place)
        )
    })
}

fn lowered(settings: &Map<String, Value>) -> impl Iterator<Item = String> {
    settings.iter().map(|(place, change)| {
        let (place, from) = (visible(place), quoted(change.get("from")));
        match change.get("to") {
            None | Some(Value::Null) => {
                format!("`{place}` is {from} and left out, so it may fall back")
            }
            Some(to) => format!("`{place}` goes from {from} to {}", quoted(Some(to))),
        }
    })
}

/// The name at the end of an id.
fn last(id: Option<&Value>) -> String {
    let name = id
        .and_then(Value::as_str)
        .and_then(|id| id.rsplit('/').next());
    match name {
        Some(name) => format!("`{}`", visible(name)),
        None => "(none)".to_owned(),
    }
}

fn quoted(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(nothing)".to_owned(),
        Some(Value::String(text)) => format!("`{}`", visible(text)),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => format!("`{}`", visible(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::in_words;

    #[test]
    fn every_member_is_told_and_nothing_is_hidden() {
        assert!(in_words(&json!({})).is_empty());
        let told = in_words(&json!({
            "items_weakened": 3, "retention_days": -22.5, "new\u{202e}member": {"a": 1},
            "policy_swapped": {"from": "/x/Gold", "to": "/x/B\u{200b}ronze"},
        }));
        assert_eq!(told.len(), 4, "{told:?}");
        let told = told.join("; ");
        assert!(
            told.contains("3 items") && told.contains("22.5 days less"),
            "{told}"
        );
        assert!(!told.contains(['\u{202e}', '\u{200b}']), "{told}");
        let strange = in_words(&json!({"retention": 7, "lowered": "all", "created": false}));
        assert_eq!(strange.len(), 3, "{strange:?}");
        assert!(strange[0].contains("false"), "{strange:?}");
    }
}
