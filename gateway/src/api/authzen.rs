//! OpenID AuthZEN: a question about an action on a resource, as a request.

use serde_json::Value;
use vaultgate_arm::catalogue;

/// Most questions in one batch.
const MAX_BATCH: usize = 50;
/// Version that a question without one is asked with.
const VERSION: &str = "2026-08-01";

/// A request that a question describes.
pub(crate) struct Described {
    /// HTTP method.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) target: String,
    /// Body.
    pub(crate) body: Option<Value>,
}

/// The subject that a question names.
pub(crate) fn subject(request: &Value) -> Option<&str> {
    request.pointer("/subject/id").and_then(Value::as_str)
}

/// The request behind a question: the action is an RBAC action of the catalogue,
/// the resource an ARM id; a body may stand under `action.properties.body`.
pub(crate) fn describe(request: &Value) -> Result<Described, String> {
    let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str);
    let action = text("/action/name").ok_or("`action.name` is missing")?;
    let id = text("/resource/id").ok_or("`resource.id` is missing")?;
    let spec = catalogue::by_name(action)
        .ok_or_else(|| format!("`{}` is no action of the catalogue", action.escape_debug()))?;
    let version = text("/context/api_version").unwrap_or(VERSION);
    let mut path = id.trim_end_matches('/').to_owned();
    // The action of a POST is the last part of its path, not of the resource's id.
    if spec.method == vaultgate_arm::Method::Post
        && let Some(last) = spec.template.rsplit('/').next()
        && !path
            .to_ascii_lowercase()
            .ends_with(&format!("/{}", last.to_ascii_lowercase()))
    {
        path.push('/');
        path.push_str(last);
    }
    Ok(Described {
        method: spec.method.as_str(),
        target: format!("{}?api-version={version}", encode(&path)),
        body: request.pointer("/action/properties/body").cloned(),
    })
}

/// The questions of a batch, each completed with the batch's defaults.
pub(crate) fn batch(document: &Value) -> Result<Vec<Value>, String> {
    let list = document.get("evaluations").and_then(Value::as_array);
    let list = list.ok_or("`evaluations` is missing")?;
    if list.len() > MAX_BATCH {
        return Err(format!("more than {MAX_BATCH} questions"));
    }
    let complete = |question: &Value| {
        let mut question = question.clone();
        for part in ["subject", "action", "resource", "context"] {
            if let (Some(default), Some(question)) = (document.get(part), question.as_object_mut())
            {
                question.entry(part).or_insert_with(|| default.clone());
            }
        }
        question
    };
    Ok(list.iter().map(complete).collect())
}

/// Names of items hold characters that a target does not.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ';' => out.push_str("%3B"),
            ' ' => out.push_str("%20"),
            c => out.push(c),
        }
    }
    out
}
