//! Reading and writing members of JSON documents by pointer (RFC 6901) and by
//! merge patch (RFC 7396). Knows nothing of Azure.

use serde_json::{Map, Value};

/// The text at `pointer`, or nothing when it is absent or no text.
pub(crate) fn text<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer).and_then(Value::as_str)
}

/// A copy of the member at `pointer`; `null` when absent.
pub(crate) fn member(document: &Value, pointer: &str) -> Value {
    document.pointer(pointer).cloned().unwrap_or(Value::Null)
}

/// Writes `value` at `pointer`, making the objects on the way.
pub(crate) fn set(document: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut at = document;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(members) = at else { return };
        at = members.entry(name.to_owned()).or_insert(Value::Null);
    }
    *at = value.into();
}

/// Takes the member at `pointer` away.
pub(crate) fn unset(document: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    if let Some(Value::Object(members)) = document.pointer_mut(parent) {
        members.remove(name);
    }
}

/// Applies a merge patch: objects merge, `null` removes, anything else replaces.
pub(crate) fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(members) = document else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Merges the named members of `from` into `document`, those that `from` has.
pub(crate) fn merge_members(document: &mut Value, from: &Value, names: &[&str]) {
    for name in names {
        if let Some(change) = from.get(name) {
            let mut now = document.get(name).cloned().unwrap_or(Value::Null);
            merge(&mut now, change);
            set(document, &format!("/{name}"), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{member, merge, merge_members, set, text, unset};

    #[test]
    fn only_members_that_are_given_are_merged() {
        let mut document = json!({"a": {"b": 1}, "c": 2});
        merge_members(&mut document, &json!({"a": {"d": 3}, "e": 4}), &["a", "c"]);
        assert_eq!(document, json!({"a": {"b": 1, "d": 3}, "c": 2}));
    }

    #[test]
    fn a_member_is_written_where_nothing_was() {
        let mut document = json!({"a": 1});
        set(&mut document, "/b/c", "x");
        assert_eq!(document, json!({"a": 1, "b": {"c": "x"}}));
        assert_eq!(text(&document, "/b/c"), Some("x"));
        unset(&mut document, "/b/c");
        assert_eq!(member(&document, "/b"), json!({}));
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        let mut document = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut document, &json!({"a": {"c": [3]}, "d": null}));
        assert_eq!(document, json!({"a": {"b": 1, "c": [3]}}));
    }
}
