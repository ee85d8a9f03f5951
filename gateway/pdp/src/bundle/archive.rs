//! A bundle as one file: a JSON object from path to text, in the order of the
//! paths. What replay loads is checked as strictly as what a folder holds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Files, MANIFEST, MAX_BUNDLE, MAX_FILES, SIGNATURES, is_data, is_rego, size_limit};
use crate::problem::Problem;
use crate::strict_json;

/// Most bytes that an archive may have: escapes make text longer.
const MAX_ARCHIVE: usize = 2 * MAX_BUNDLE;

/// Writes the files; the same files always give the same bytes.
pub(super) fn write(files: &BTreeMap<String, String>, signatures: Option<&str>) -> Vec<u8> {
    let files = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let signatures = signatures.map(|text| (SIGNATURES, text));
    let all: BTreeMap<&str, &str> = files.chain(signatures).collect();
    // Text under text in a map: writing it as JSON cannot fail.
    serde_json::to_vec(&all).unwrap_or_default()
}

/// Reads the files back.
pub(super) fn read(bytes: &[u8]) -> (Files, Vec<Problem>) {
    let refuse = |message: String| {
        let problem = Problem::error(".", None, message);
        (Files::new(), vec![problem])
    };
    if bytes.len() > MAX_ARCHIVE {
        return refuse(format!("the archive is larger than {MAX_ARCHIVE} bytes"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return refuse("the archive is not UTF-8".into());
    };
    let archive = match strict_json::parse(text) {
        Ok(Value::Object(archive)) => archive,
        Ok(_) => return refuse("the archive is not an object".into()),
        Err(error) => return refuse(format!("the archive is not read: {error}")),
    };
    if archive.len() > MAX_FILES {
        return refuse(format!("the archive has more than {MAX_FILES} files"));
    }
    let mut files = Files::new();
    let mut problems = Vec::new();
    for (path, text) in archive {
        let plain = !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        let known = path == MANIFEST || path == SIGNATURES || is_rego(&path) || is_data(&path);
        match text {
            Value::String(text) if plain && known && text.len() <= size_limit(&path) => {
                files.insert(path, text.into_bytes());
            }
            _ => problems.push(Problem::error(&path, None, "it is no file of a bundle")),
        }
    }
    (files, problems)
}
