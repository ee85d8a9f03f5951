//! JSON as a plain reader takes it, and what a strict one must refuse of it.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;
use serde_json::value::RawValue;

/// What is in a text that `serde_json` reads, and that strict readers refuse.
#[derive(Debug, Default)]
pub struct Oddities {
    /// A name twice in one object, but for ASCII case.
    pub twice: bool,
    /// A name twice in one object, letter by letter.
    pub same: bool,
    /// Longest member name, bytes.
    pub name: usize,
    /// Longest number, bytes.
    pub number: usize,
    /// Deepest nesting of values.
    pub depth: usize,
    /// A name that some readers take for a number or raw text.
    pub private: bool,
}

/// Looks a text over; none when `serde_json` refuses it. Numbers are taken as text,
/// so that none is out of range.
pub fn oddities(text: &str) -> Option<Oddities> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let mut found = Oddities::default();
    look(raw, 1, &mut found)?;
    Some(found)
}

/// An object's members in their order, doubles and all.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> serde::Deserialize<'t> for Members<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'t> serde::de::Visitor<'t> for All {
            type Value = Members<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'t>>(
                self,
                mut map: A,
            ) -> Result<Members<'t>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn look(raw: &RawValue, depth: usize, found: &mut Oddities) -> Option<()> {
    found.depth = found.depth.max(depth);
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let (mut names, mut folded) = (HashSet::new(), HashSet::new());
            for (name, value) in members {
                found.name = found.name.max(name.len());
                found.private |= name.starts_with("$serde_json::");
                found.twice |= !folded.insert(name.to_ascii_lowercase());
                found.same |= !names.insert(name);
                look(value, depth + 1, found)?;
            }
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            for element in elements {
                look(element, depth + 1, found)?;
            }
        }
        b'-' | b'0'..=b'9' => found.number = found.number.max(text.len()),
        // Text that is no Unicode is refused by either, once it is read.
        b'"' => drop(serde_json::from_str::<String>(text).ok()?),
        _ => {}
    }
    Some(())
}

/// Text compared without ASCII case: ids are sent in canonical spelling.
pub fn folded(value: &Value) -> Value {
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
