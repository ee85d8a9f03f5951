//! Typed reading of claims: a claim of the wrong type is a refusal, never absent.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::refused::Failure;
use crate::config::issuers::ClaimPath;

/// Longest string of a claim, bytes.
const MAX_TEXT: usize = 512;
/// Longest list.
const MAX_LIST: usize = 1_000;

/// The claims of a token whose signature is good.
#[derive(Clone, Copy)]
pub(super) struct Signed<'c>(pub(super) &'c Map<String, Value>);

impl<'c> Signed<'c> {
    /// A string, if the token has the claim.
    pub(super) fn text(self, path: &ClaimPath) -> Result<Option<&'c str>, Failure> {
        match path.find(self.0) {
            None => Ok(None),
            Some(Value::String(text)) => bounded(text, path.as_str()).map(Some),
            Some(_) => Err(Failure::ClaimType(path.to_string())),
        }
    }

    /// A string of an optional mapping.
    pub(super) fn mapped(self, path: Option<&ClaimPath>) -> Result<Option<String>, Failure> {
        let text = path.map(|path| self.text(path)).transpose()?.flatten();
        Ok(text.map(str::to_owned))
    }

    /// A string under a registered name.
    pub(super) fn named(self, name: &str) -> Result<Option<&'c str>, Failure> {
        self.text(&ClaimPath::new(name))
    }

    /// A string that must be there, and not be empty.
    pub(super) fn required(self, path: &ClaimPath) -> Result<&'c str, Failure> {
        match self.text(path)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Failure::ClaimMissing(path.to_string())),
        }
    }

    /// A list of strings; none when the claim is absent.
    pub(super) fn list(self, path: Option<&ClaimPath>) -> Result<Vec<String>, Failure> {
        let Some((path, value)) = path.and_then(|path| Some((path, path.find(self.0)?))) else {
            return Ok(Vec::new());
        };
        match value {
            Value::Array(elements) => strings(elements, path),
            _ => Err(Failure::ClaimType(path.to_string())),
        }
    }

    /// Roles: only a list holds any. A string or an object is not taken apart, since
    /// two readers would do so differently; it grants nothing.
    pub(super) fn roles(self, path: Option<&ClaimPath>) -> Result<Vec<String>, Failure> {
        match path.and_then(|path| path.find(self.0)) {
            Some(Value::String(_) | Value::Object(_)) => Ok(Vec::new()),
            _ => self.list(path),
        }
    }

    /// Scopes: a list, or one string with spaces between (RFC 8693, 4.2).
    pub(super) fn scopes(self, path: Option<&ClaimPath>) -> Result<Vec<String>, Failure> {
        match path.and_then(|path| Some((path, path.find(self.0)?))) {
            Some((path, Value::String(text))) => {
                let scopes = text.split(' ').filter(|scope| !scope.is_empty());
                scopes
                    .map(|scope| bounded(scope, path.as_str()).map(str::to_owned))
                    .collect()
            }
            _ => self.list(path),
        }
    }

    /// Seconds since 1970, perhaps with a fraction; never negative.
    pub(super) fn seconds(self, name: &str) -> Result<Option<f64>, Failure> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds)),
                _ => Err(Failure::ClaimType(name.to_owned())),
            },
            Some(_) => Err(Failure::ClaimType(name.to_owned())),
        }
    }

    /// Whether the token has the claim at all.
    pub(super) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

fn strings(elements: &[Value], path: &ClaimPath) -> Result<Vec<String>, Failure> {
    if elements.len() > MAX_LIST {
        return Err(Failure::ClaimValue(path.to_string()));
    }
    let texts = elements.iter().map(|element| match element {
        Value::String(text) => bounded(text, path.as_str()).map(str::to_owned),
        _ => Err(Failure::ClaimType(path.to_string())),
    });
    texts.collect()
}

/// Control characters forge lines of logs and keys of counters.
pub(super) fn bounded<'t>(text: &'t str, name: &str) -> Result<&'t str, Failure> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(Failure::ClaimValue(name.to_owned()));
    }
    Ok(text)
}

/// Seconds as a timestamp; what lies beyond any calendar is its end.
pub(super) fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1_000.0) as i64).unwrap_or(Timestamp::MAX)
}
