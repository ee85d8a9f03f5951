//! Members of `input` that the schema does not have: a rule that asks for one is never met, and
//! nobody sees it.

use serde_json::Value;

use super::all;
use crate::admission::Module;
use crate::problem::Problem;
use crate::schema::INPUT_SCHEMA;

/// A problem for each reference that leads nowhere.
pub(super) fn unknown_input(modules: &[Module]) -> Vec<Problem> {
    let schema: Value = serde_json::from_str(INPUT_SCHEMA).unwrap_or_default();
    let mut problems = Vec::new();
    for (module, rule) in all(modules) {
        for reference in &rule.references {
            for path in module.meanings(&reference.path) {
                let rest = match path.split_first() {
                    Some((first, rest)) if first == "input" => rest,
                    _ => continue,
                };
                let Err((depth, known)) = follow(&schema, rest) else {
                    continue;
                };
                let wrong = path.get(..depth + 2).unwrap_or_default().join(".");
                let message = format!("`{wrong}` is in no input");
                let hint = match nearest(path.get(depth + 1), &known) {
                    Some(near) => format!("is `{near}` meant?"),
                    None => format!("known there: {}", known.join(", ")),
                };
                let line = Some(reference.line);
                problems.push(Problem::error(&module.file, line, message).hint(hint));
            }
        }
    }
    problems
}

/// Follows names through a schema. The error is how many were right, and what could have come
/// next. What the schema does not bound may be anything.
fn follow(schema: &Value, path: &[String]) -> Result<(), (usize, Vec<String>)> {
    let mut at = vec![schema];
    for (depth, name) in path.iter().enumerate() {
        let mut next = Vec::new();
        let mut known = Vec::new();
        for place in at.iter().flat_map(|place| meant(schema, place)) {
            let bounded = place.get("additionalProperties") == Some(&Value::Bool(false));
            let members = place.get("properties").and_then(Value::as_object);
            match members.and_then(|members| members.get(name)) {
                Some(found) => next.push(found),
                // An array, say, or text: an index into it is no member.
                None if members.is_none() => match place.get("additionalProperties") {
                    Some(Value::Object(_)) => next.extend(place.get("additionalProperties")),
                    _ => return Ok(()),
                },
                None => match place.get("additionalProperties") {
                    Some(other @ Value::Object(_)) => next.push(other),
                    _ if bounded => {
                        known.extend(members.into_iter().flatten().map(|m| m.0.clone()))
                    }
                    _ => return Ok(()),
                },
            }
        }
        if next.is_empty() {
            return Err((depth, known));
        }
        at = next;
    }
    Ok(())
}

/// What a place of a schema can be: references followed, alternatives spread. Those that can
/// only be `null` are left out: there is nothing in it.
fn meant<'s>(root: &'s Value, place: &'s Value) -> Vec<&'s Value> {
    if let Some(reference) = place.get("$ref").and_then(Value::as_str) {
        let found = reference
            .strip_prefix('#')
            .and_then(|path| root.pointer(path));
        return found.map_or_else(Vec::new, |found| meant(root, found));
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(all)) = place.get(alternatives) {
            let all = all.iter().flat_map(|one| meant(root, one));
            return all
                .filter(|one| one.get("type") != Some(&Value::from("null")))
                .collect();
        }
    }
    vec![place]
}

/// The name that was likely meant: one letter off or two.
fn nearest<'n>(name: Option<&String>, known: &'n [String]) -> Option<&'n String> {
    let name = name?;
    let near = known.iter().map(|one| (distance(name, one), one)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Edits between two names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut before = i;
        let mut first = i + 1;
        for (right, at) in b.chars().zip(1..) {
            let above = row.get(at).copied().unwrap_or(usize::MAX);
            let best = (before + usize::from(left != right))
                .min(first + 1)
                .min(above + 1);
            if let Some(place) = row.get_mut(at - 1) {
                *place = first;
            }
            (before, first) = (above, best);
        }
        if let Some(last) = row.last_mut() {
            *last = first;
        }
    }
    row.last().copied().unwrap_or(0)
}
