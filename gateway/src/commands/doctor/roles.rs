//! Whether an identity may do what the catalogue needs: no less, and no more.
//!
//! An identity that may do more is what an intruder of the gateway's host would want;
//! one that may do less fails on the day of the restore.

use serde_json::Value;

use crate::observer::{Observer, Purpose};

const VERSION: &str = "2022-04-01";
/// Actions named in one finding; the rest is counted.
const NAMED: usize = 5;

/// What roles grant.
#[derive(Debug, Default)]
struct Granted {
    actions: Vec<String>,
    not_actions: Vec<String>,
}

/// Compares the roles of a service principal in a subscription with `needed`.
pub(super) async fn compare(
    observer: &Observer,
    subscription: &str,
    object_id: &str,
    needed: &[&str],
) -> Result<String, String> {
    let mut granted = Granted::default();
    for definition in definitions(observer, subscription, object_id).await? {
        let role = read(observer, &format!("{definition}?api-version={VERSION}")).await?;
        let permissions = role
            .pointer("/properties/permissions")
            .and_then(Value::as_array);
        for permission in permissions.into_iter().flatten() {
            granted.actions.extend(texts(permission, "actions"));
            granted.not_actions.extend(texts(permission, "notActions"));
        }
    }
    let (missing, excess) = granted.against(needed);
    match (missing.is_empty(), excess.is_empty()) {
        (true, true) => Ok(format!(
            "exactly the {} actions that are needed",
            needed.len()
        )),
        _ => Err([
            tell("may not", &missing),
            tell("may more than is needed", &excess),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")),
    }
}

/// That a service principal has no role in a subscription: what calls the gateway is to reach Azure
/// through it alone.
pub(super) async fn none(
    observer: &Observer,
    subscription: &str,
    object_id: &str,
) -> Result<String, String> {
    match assigned(observer, subscription, object_id).await?.len() {
        0 => Ok(format!("`{object_id}` has no role in {subscription}")),
        count => Err(format!(
            "`{object_id}` has {count} role assignments in {subscription}: it could go round the gateway; take them away"
        )),
    }
}

async fn definitions(
    observer: &Observer,
    subscription: &str,
    object_id: &str,
) -> Result<Vec<String>, String> {
    let definitions = assigned(observer, subscription, object_id).await?;
    if definitions.is_empty() {
        return Err(format!("`{object_id}` has no role in {subscription}"));
    }
    Ok(definitions)
}

/// The role definitions that are assigned to a service principal.
async fn assigned(
    observer: &Observer,
    subscription: &str,
    object_id: &str,
) -> Result<Vec<String>, String> {
    let target = format!(
        "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignments?api-version={VERSION}&$filter=assignedTo('{object_id}')"
    );
    let assigned = read(observer, &target).await?;
    let list = assigned.get("value").and_then(Value::as_array);
    let id = |one: &Value| {
        one.pointer("/properties/roleDefinitionId")?
            .as_str()
            .map(str::to_owned)
    };
    let mut definitions: Vec<String> = list.into_iter().flatten().filter_map(id).collect();
    definitions.sort_unstable();
    definitions.dedup();
    Ok(definitions)
}

async fn read(observer: &Observer, target: &str) -> Result<Value, String> {
    let answer = observer.one(Purpose::Doctor, None, target).await;
    let answer = answer.ok_or("no answer to what roles there are")?;
    if !answer.status.is_success() {
        return Err(format!(
            "Azure answers {} to what roles there are",
            answer.status
        ));
    }
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let list = value.get(name).and_then(Value::as_array);
    let text = |one: &Value| one.as_str().map(str::to_owned);
    list.into_iter().flatten().filter_map(text).collect()
}

impl Granted {
    /// Needed actions that are not granted, and granted patterns that are not needed.
    fn against(&self, needed: &[&str]) -> (Vec<String>, Vec<String>) {
        let hit = |patterns: &[String], action: &str| patterns.iter().any(|p| matches(p, action));
        let has = |action: &str| hit(&self.actions, action) && !hit(&self.not_actions, action);
        let missing = needed
            .iter()
            .filter(|action| !has(action))
            .map(|a| (*a).to_owned());
        let listed = |pattern: &&String| !needed.iter().any(|a| a.eq_ignore_ascii_case(pattern));
        let excess = self.actions.iter().filter(listed).cloned();
        (missing.collect(), excess.collect())
    }
}

/// Whether a pattern of a role, in which `*` stands for anything, covers an action.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == action;
    };
    let Some(mut left) = action.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = left.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.ends_with(last)
}

fn tell(what: &str, actions: &[String]) -> Option<String> {
    let named: Vec<String> = actions
        .iter()
        .take(NAMED)
        .map(|a| format!("`{a}`"))
        .collect();
    let more = match actions.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!(" and {more} others"),
        _ => String::new(),
    };
    (!named.is_empty()).then(|| format!("{what}: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{Granted, matches};

    #[test]
    fn patterns_cover_as_azure_reads_them() {
        let read = "Microsoft.RecoveryServices/vaults/backupJobs/read";
        for pattern in [
            "*",
            "*/read",
            "microsoft.recoveryservices/*",
            "Microsoft.RecoveryServices/vaults/*/read",
            read,
        ] {
            assert!(matches(pattern, read), "{pattern}");
        }
        for pattern in [
            "*/write",
            "Microsoft.RecoveryServices/vaults/read",
            "Microsoft.Recovery",
            "*/vaults/*/delete",
        ] {
            assert!(!matches(pattern, read), "{pattern}");
        }
    }

    #[test]
    fn too_few_and_too_many_are_told_apart() {
        let granted = Granted {
            actions: vec!["A/b/read".into(), "A/c/*".into()],
            not_actions: vec!["A/c/delete".into()],
        };
        let (missing, excess) = granted.against(&["a/b/read", "A/c/write", "A/c/delete"]);
        assert_eq!(
            (missing, excess),
            (vec!["A/c/delete".to_owned()], vec!["A/c/*".to_owned()])
        );
    }
}
