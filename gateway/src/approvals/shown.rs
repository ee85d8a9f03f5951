//! What approvers see: built from parsed facts, in plain words.
//!
//! The requester's own words stand apart and are never part of a sentence of ours. Names
//! and words come from strangers: what would turn or hide text is made visible.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most differences that are listed one by one.
const MAX_CHANGES: usize = 100;
/// Longest value that is shown, characters.
const MAX_VALUE: usize = 400;

/// What approvers see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// One sentence: who wants to do what.
    pub(crate) summary: String,
    /// What the vault's protection makes of it, in sentences.
    pub(crate) consequences: Vec<String>,
    /// Members that would change.
    pub(crate) changes: Vec<Change>,
    /// How many more there are.
    pub(crate) more_changes: usize,
    /// The whole body, secret members replaced by digests; null without one.
    #[serde(default)]
    pub(crate) body: Value,
    /// The requester's own words. Nothing vouches for them.
    pub(crate) claimed: Vec<(String, String)>,
}

/// One member before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// JSON pointer.
    pub(crate) member: String,
    /// Before; none when it is not there.
    pub(crate) before: Option<String>,
    /// After; none when it goes.
    pub(crate) after: Option<String>,
}

/// What a class does, for a sentence: `delete the protected item …`.
pub(crate) fn verb(class: &str) -> &'static str {
    match class {
        "delete" => "delete",
        "weaken" => "lower the protection of",
        "restore" => "restore from",
        "undelete" => "take back the deletion of",
        "protect" => "protect",
        "configure" => "change the settings of",
        "guard" => "change who must agree to critical operations on",
        "cancel" => "cancel",
        "disclose" => "get what works without the gateway from",
        "move" => "move to another vault",
        "snapshot" => "back up",
        _ => "work on",
    }
}

/// A resource for people: its last name and kind, and its vault.
pub(crate) fn resource(id: &str, vault: Option<&str>) -> String {
    let last = |id: &str| {
        let mut segments = id.rsplit('/');
        let name = segments.next().unwrap_or_default();
        (
            name.to_owned(),
            segments.next().unwrap_or_default().to_owned(),
        )
    };
    let (name, kind) = last(id);
    let own = format!("`{}` of {}", visible(&name), visible(&kind));
    match vault {
        Some(vault) if !vault.eq_ignore_ascii_case(id) => {
            format!("{own} in vault `{}`", visible(&last(vault).0))
        }
        _ => own,
    }
}

/// The members in which two documents differ. What a partial change does not name stays.
pub(crate) fn changes(before: &Value, after: &Value, partial: bool) -> (Vec<Change>, usize) {
    let mut found = Vec::new();
    differ("", Some(before), Some(after), partial, &mut found);
    let more = found.len().saturating_sub(MAX_CHANGES);
    found.truncate(MAX_CHANGES);
    (found, more)
}

fn differ(
    at: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    partial: bool,
    found: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let own = old.keys().filter(|name| !new.contains_key(*name));
            for name in new.keys().chain(own) {
                if partial && !new.contains_key(name) {
                    continue;
                }
                let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                differ(&place, old.get(name), new.get(name), partial, found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for place in 0..old.len().max(new.len()) {
                let at = format!("{at}/{place}");
                // An array is written whole: what it no longer has is gone.
                differ(&at, old.get(place), new.get(place), false, found);
            }
        }
        (before, after) if before == after => {}
        (before, after) => found.push(Change {
            member: visible(at),
            before: before.map(text),
            after: after.map(text),
        }),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text),
        other => visible(&other.to_string()),
    }
}

/// Text in which nothing is hidden: controls, and characters that turn the direction of
/// writing or take no room, are spelled out; what is too long is cut and says so.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MAX_VALUE {
            out.push('…');
            break;
        }
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
