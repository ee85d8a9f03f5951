//! What the fuzz targets share: readers of their own, that take nothing from ours.

pub mod edits;
pub mod json_reader;
pub mod log_reader;
pub mod path_reader;

/// The parts of an input, each begun by a line `=== NAME`.
pub fn parts(text: &str) -> Vec<(&str, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("=== ") {
        let after = &rest[at + 4..];
        let (name, body) = after.split_once('\n').unwrap_or((after, ""));
        let end = body.find("\n=== ").map_or(body.len(), |end| end + 1);
        parts.push((name.trim(), &body[..end]));
        rest = &body[end..];
    }
    parts
}
