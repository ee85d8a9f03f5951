//! What the fuzz targets reach that nobody else may: `tests/fuzz` builds with
//! `--cfg fuzzing`, and nothing else does.

use crate::resource::Resource;

/// The resource of an ARM id that stands only in a body.
pub fn vault_id(id: &str) -> Option<Resource> {
    Resource::of_vault_id(id)
}

/// The decoded names of a path.
pub fn segments(path: &str, is_get: bool) -> Option<Vec<String>> {
    crate::target::segments(path, is_get).ok()
}
