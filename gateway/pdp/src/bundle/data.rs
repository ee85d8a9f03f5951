//! The data documents of a bundle, each put at its folder's place and merged.

use serde_json::{Map, Value};

use super::manifest::Manifest;
use crate::problem::Problem;
use crate::strict_json;

/// Merges the documents; what contradicts another or lies outside the roots is a
/// problem and left out.
pub(super) fn merge<'f>(
    documents: impl Iterator<Item = (&'f str, &'f str)>,
    manifest: &Manifest,
    problems: &mut Vec<Problem>,
) -> Value {
    let mut data = Map::new();
    for (file, text) in documents {
        let document = match strict_json::parse(text) {
            Ok(Value::Object(document)) => document,
            Ok(_) => {
                problems.push(Problem::error(
                    file,
                    Some(1),
                    "a data document is an object",
                ));
                continue;
            }
            Err(error) => {
                let line = u32::try_from(error.line()).ok().filter(|line| *line > 0);
                problems.push(Problem::error(file, line, error.to_string()));
                continue;
            }
        };
        let folder: Vec<String> = match file.rsplit_once('/') {
            Some((folder, _)) => folder.split('/').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        outside(file, &folder, &document, manifest, problems);
        let mut placed = document;
        for name in folder.into_iter().rev() {
            placed = Map::from_iter([(name, Value::Object(placed))]);
        }
        if let Err(path) = merge_into(&mut data, placed) {
            let message = format!("`{path}` stands in another data document too");
            problems.push(Problem::error(file, None, message).hint("keep one of them"));
        }
    }
    Value::Object(data)
}

/// Complains of everything that lies outside the roots. Only the folders above a
/// root may hold what is on the way to it.
fn outside(
    file: &str,
    at: &[String],
    document: &Map<String, Value>,
    manifest: &Manifest,
    problems: &mut Vec<Problem>,
) {
    if manifest.owns(at) {
        return;
    }
    for (name, value) in document {
        let mut path = at.to_vec();
        path.push(name.clone());
        match value {
            Value::Object(members) if manifest.touches(&path) => {
                outside(file, &path, members, manifest, problems);
            }
            _ if manifest.owns(&path) => {}
            _ => {
                let message = format!("`{}` is outside the roots of the bundle", path.join("/"));
                let hint = "move it under a root, or name its root in `.manifest`";
                problems.push(Problem::error(file, None, message).hint(hint));
            }
        }
    }
}

/// Merges objects at any depth; anything else may stand in one place only.
fn merge_into(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (None, value) => drop(into.insert(name, value)),
            (Some(Value::Object(old)), Value::Object(new)) => {
                merge_into(old, new).map_err(|path| format!("{name}/{path}"))?;
            }
            (Some(_), _) => return Err(name),
        }
    }
    Ok(())
}
