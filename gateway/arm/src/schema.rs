//! What a body may hold: known members in their one spelling, and what is not known.
//!
//! The schemas are those of the newest models that clients are generated from,
//! carried in `catalogue/schemas.json`. A known member with another spelling, type,
//! enumeration value or discriminator is refused; an unknown member is reported, and
//! the caller of this module gives the request the worst class it could have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::json::Value;
use crate::refused::{ReasonCode, Refused};

/// How the digests begin that records and answers show in place of secrets.
pub const SECRET_DIGEST: &str = "hmac-sha256:";

/// A type of the models.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Type {
    any: u8,
    r#bool: u8,
    num: u8,
    str: u8,
    r#enum: Vec<String>,
    list: Option<Box<Type>>,
    map: Option<Box<Type>>,
    r#ref: Option<String>,
    secret: bool,
}

impl Type {
    /// Models that values of this type are of.
    fn models(&self) -> Vec<String> {
        let inner = [&self.list, &self.map];
        let inner = inner.into_iter().flatten().flat_map(|typ| typ.models());
        inner.chain(self.r#ref.clone()).collect()
    }
}

/// A model: its members, and its variants by discriminator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    members: BTreeMap<String, Type>,
    discriminator: Option<String>,
    #[serde(default)]
    variants: BTreeMap<String, String>,
}

static MODELS: LazyLock<HashMap<String, Model>> = LazyLock::new(|| {
    // The file is part of the crate and held by a test: empty would refuse bodies.
    serde_json::from_str(include_str!("catalogue/schemas.json")).unwrap_or_default()
});

/// What a checked body turned out to hold.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// JSON pointers of members that the models do not know.
    pub(crate) unknown: Vec<String>,
    /// JSON pointers of members that hold secrets.
    pub(crate) secrets: Vec<String>,
}

/// Names of members that hold secrets, anywhere in a model.
pub(crate) fn secret_names(model: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut open = vec![model.to_owned()];
    while let Some(name) = open.pop() {
        let Some(model) = MODELS.get(&name).filter(|_| seen.insert(name.clone())) else {
            continue;
        };
        open.extend(model.variants.values().cloned());
        for (member, typ) in &model.members {
            if typ.secret {
                names.insert(member.clone());
            }
            open.extend(typ.models());
        }
    }
    names
}

/// Checks a body against a model.
pub(crate) fn check(body: &Value, model: &str) -> Result<Findings, Refused> {
    let mut findings = Findings::default();
    countable(body, "")?;
    object(body, model, "", &mut findings)?;
    Ok(findings)
}

fn object(value: &Value, name: &str, at: &str, findings: &mut Findings) -> Result<(), Refused> {
    let Value::Object(members) = value else {
        return Err(wrong(at, "is not an object"));
    };
    let model = MODELS.get(name).ok_or_else(|| wrong(at, "has no model"))?;
    let model = variant(model, members, at)?;
    for (member, value) in members {
        let at = below(at, member);
        match model.members.get(member) {
            Some(typ) => check_type(value, typ, &at, findings)?,
            None => {
                let near = model
                    .members
                    .keys()
                    .find(|own| own.eq_ignore_ascii_case(member.trim()));
                if let Some(near) = near {
                    return Err(wrong(&at, &format!("is spelt `{near}`")));
                }
                if member.starts_with('$') || !member.is_ascii() {
                    return Err(wrong(&at, "is no member name of this API"));
                }
                findings.unknown.push(at);
            }
        }
    }
    Ok(())
}

/// The model that the discriminator chooses. An unknown value is refused: what it
/// would mean is not understood.
fn variant<'m>(
    model: &'m Model,
    members: &[(String, Value)],
    at: &str,
) -> Result<&'m Model, Refused> {
    let Some(discriminator) = &model.discriminator else {
        return Ok(model);
    };
    let given = members.iter().find(|(name, _)| name == discriminator);
    let Some((_, given)) = given else {
        return Ok(model);
    };
    let at = format!("{at}/{discriminator}");
    let given = given
        .as_str()
        .ok_or_else(|| wrong(&at, "is not a string"))?;
    let chosen = model.variants.get(given).and_then(|name| MODELS.get(name));
    chosen.ok_or_else(|| wrong(&at, &format!("has no value `{}`", given.escape_debug())))
}

fn check_type(value: &Value, typ: &Type, at: &str, findings: &mut Findings) -> Result<(), Refused> {
    // A client that writes back what it read would put the digest in the secret's place.
    if typ.secret
        && value
            .as_str()
            .is_some_and(|text| text.starts_with(SECRET_DIGEST))
    {
        return Err(wrong(
            at,
            "is the digest that is shown in place of a secret",
        ));
    }
    if typ.secret && !matches!(value, Value::Null) {
        findings.secrets.push(at.to_owned());
    }
    if typ.any == 1 || matches!(value, Value::Null) {
        return null_allowed(value, at);
    }
    if let Some(name) = &typ.r#ref {
        return object(value, name, at, findings);
    }
    if let Some(element) = &typ.list {
        let elements = value.as_array().ok_or_else(|| wrong(at, "is not a list"))?;
        for (i, value) in elements.iter().enumerate() {
            check_type(value, element, &format!("{at}/{i}"), findings)?;
        }
        return Ok(());
    }
    if let Some(element) = &typ.map {
        let Value::Object(members) = value else {
            return Err(wrong(at, "is not an object"));
        };
        for (name, value) in members {
            check_type(value, element, &below(at, name), findings)?;
        }
        return Ok(());
    }
    if !typ.r#enum.is_empty() {
        let given = value.as_str().ok_or_else(|| wrong(at, "is not a string"))?;
        if !typ.r#enum.iter().any(|known| known == given) {
            return Err(wrong(
                at,
                &format!("has no value `{}`", given.escape_debug()),
            ));
        }
        return Ok(());
    }
    // A switch written as text is read by some servers and ignored by others: it is
    // reported as not understood, which gives the request its worst class.
    if typ.r#bool == 1 && matches!(value, Value::String(_)) {
        findings.unknown.push(at.to_owned());
        return Ok(());
    }
    let fits = match value {
        Value::Bool(_) => typ.r#bool == 1,
        Value::Number(_) => typ.num == 1,
        Value::String(_) => typ.str == 1,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(wrong(at, "has another type"))
    }
}

/// Numbers here are counts, days and sizes. One below zero, or beyond what every
/// reader holds exactly, would mean another number to somebody.
/// Holds for unknown members too.
fn countable(value: &Value, at: &str) -> Result<(), Refused> {
    const MOST_EXACT: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(text) => match text.parse::<f64>() {
            Ok(number) if (0.0..=MOST_EXACT).contains(&number) && !text.starts_with('-') => Ok(()),
            _ => Err(wrong(at, "is a number out of range")),
        },
        Value::Array(elements) => elements
            .iter()
            .try_for_each(|element| countable(element, at)),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, value)| countable(value, &format!("{at}/{name}"))),
        _ => Ok(()),
    }
}

/// `null` in place of a setting may reset it: only where anything goes.
fn null_allowed(value: &Value, at: &str) -> Result<(), Refused> {
    let security = [
        "Settings",
        "State",
        "immutability",
        "softDelete",
        "retention",
    ];
    if matches!(value, Value::Null) && security.iter().any(|word| at.contains(word)) {
        return Err(wrong(at, "is null, which may reset it"));
    }
    Ok(())
}

/// The JSON pointer of a member: ARM ids are names of members too, slashes and all.
fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn wrong(at: &str, what: &str) -> Refused {
    Refused::new(
        ReasonCode::BodyMember,
        format!(
            "the body's member `{}` {what}",
            if at.is_empty() { "/" } else { at }
        ),
    )
    .hint("known members are taken in their one spelling, type and value")
}

#[cfg(test)]
mod tests {
    /// Found by fuzzing: `tests/fuzz/regressions/classify/pointer-under-a-map`.
    #[test]
    fn pointers_of_members_below_an_id_lead_to_them() {
        let id = "/subscriptions/s/resourceGroups/g~1/providers/x";
        let text = format!(r#"{{"identity":{{"userAssignedIdentities":{{"{id}":{{"odd":1}}}}}}}}"#);
        let document = crate::json::Document::parse(text.as_bytes()).ok();
        let document = document.as_ref().map(crate::json::Document::root);
        let found = document.and_then(|body| super::check(body, "vaults:PatchVault").ok());
        let unknown = found.map(|found| found.unknown).unwrap_or_default();
        let value = document
            .map(crate::json::Value::to_serde)
            .unwrap_or_default();
        assert_eq!(unknown.len(), 1);
        assert!(
            unknown
                .iter()
                .all(|at| value.pointer(at) == Some(&1.into())),
            "{unknown:?}"
        );
    }

    #[test]
    fn every_schema_is_there() {
        assert!(super::MODELS.len() > 300);
        for spec in crate::catalogue::operations() {
            if let Some(body) = spec.body {
                assert!(super::MODELS.contains_key(body), "{body} of {}", spec.id);
            }
        }
        for model in super::MODELS.values() {
            for variant in model.variants.values() {
                assert!(super::MODELS.contains_key(variant), "{variant}");
            }
        }
    }
}
