//! Everything wrong with a configuration, gathered so that one run reports it all.
//!
//! A key is the dotted path of the offending setting as it stands in the file,
//! with indexes for tables of an array: `issuer[0].audiences`.

use std::fmt;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Dotted path of the setting.
    pub(crate) key: String,
    /// What is wrong, with the offending value (never a credential).
    pub(crate) message: String,
    /// What to do about it; may be empty.
    pub(crate) hint: String,
    /// Its line, where the parser told it; else that of the key.
    pub(crate) line: Option<usize>,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more problem.
    pub(crate) fn add(
        &mut self,
        key: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add_at(None, key, message, hint);
    }

    /// Notes one more problem, on this line.
    pub(crate) fn add_at(
        &mut self,
        line: Option<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.0.push(Problem {
            key: key.into(),
            message: message.into(),
            hint: hint.into(),
            line,
        });
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems in the order found.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        if self.hint.is_empty() {
            return Ok(());
        }
        write!(f, "\n  hint: {}", self.hint)
    }
}
