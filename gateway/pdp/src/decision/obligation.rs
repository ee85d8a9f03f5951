//! What must be done before an allowed request goes on.
//!
//! A type that is not known here is a malformed decision, never an obligation
//! that is passed over.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest quorum that means anything.
const MAX_QUORUM: u32 = 20;
/// Longest period, seconds: a year.
const MAX_SECONDS: u64 = 366 * 86_400;

/// One obligation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Obligation {
    /// Other people have to approve.
    Approval(Approval),
}

/// Whose approval is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// How many different people.
    pub quorum: u32,
    /// From whom: `group:…` or `role:…`.
    pub from: Vec<String>,
    /// How long an approval may be waited for and used.
    pub ttl: Period,
    /// How long after the last approval nothing happens yet.
    pub cooling_off: Period,
}

impl Obligation {
    pub(super) fn check(&self) -> Result<(), String> {
        let Obligation::Approval(approval) = self;
        if approval.quorum == 0 || approval.quorum > MAX_QUORUM {
            return Err(format!(
                "an approval has a quorum of {}, not 1 to {MAX_QUORUM}",
                approval.quorum
            ));
        }
        let known = |from: &String| {
            let name = from.strip_prefix("group:").or(from.strip_prefix("role:"));
            name.is_some_and(|name| !name.is_empty())
        };
        if approval.from.is_empty() || !approval.from.iter().all(known) {
            return Err("an approval is not from `group:…` or `role:…`".into());
        }
        if approval.ttl.seconds == 0 {
            return Err("an approval lives for no time".into());
        }
        Ok(())
    }
}

/// A length of time as policy writes it: `0s`, `90m`, `4h`, `2d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    text: String,
    seconds: u64,
}

impl Period {
    /// Its length.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    fn parse(text: &str) -> Option<Period> {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let seconds = digits.parse::<u64>().ok()?.checked_mul(seconds)?;
        (seconds <= MAX_SECONDS).then(|| Period {
            text: text.to_owned(),
            seconds,
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        let text = String::deserialize(deserializer)?;
        Period::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!("`{text}` is no period such as `4h`"))
        })
    }
}
