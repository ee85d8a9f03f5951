//! What is wrong with a bundle: every problem at once, each with its place and
//! what to do about it.

use std::fmt;

use serde::Serialize;

/// Whether a problem keeps a bundle out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The bundle is not admitted.
    Error,
    /// The bundle is admitted; somebody should look.
    Warning,
}

/// One problem of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// File inside the bundle; `.` for the bundle as a whole.
    pub file: String,
    /// Line in that file, from 1.
    pub line: Option<u32>,
    /// Whether it keeps the bundle out.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a file.
    pub(crate) fn error(file: &str, line: Option<u32>, message: impl Into<String>) -> Problem {
        Problem {
            file: file.to_owned(),
            line,
            severity: Severity::Error,
            message: message.into(),
            hint: None,
        }
    }

    /// Something that does not keep the bundle out.
    pub(crate) fn warning(file: &str, line: Option<u32>, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Warning,
            ..Problem::error(file, line, message)
        }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match self.severity {
            Severity::Error => f.write_str(": ")?,
            Severity::Warning => f.write_str(": warning: ")?,
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// A bundle that was not taken, with all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Rejected {
    problems: Vec<Problem>,
}

impl Rejected {
    /// The problems by file and line, warnings among them.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Rejected {
        Rejected {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Passes on what is left when nothing keeps a bundle out.
pub(crate) fn settle(mut problems: Vec<Problem>) -> Result<Vec<Problem>, Rejected> {
    problems.sort();
    problems.dedup();
    if problems.iter().any(|p| p.severity == Severity::Error) {
        return Err(Rejected { problems });
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::{Problem, settle};

    #[test]
    fn problems_are_sorted_and_read_by_people() {
        let problems = vec![
            Problem::error("b.rego", Some(9), "late").hint("do this"),
            Problem::warning("b.rego", Some(2), "odd"),
            Problem::error("a.rego", None, "early"),
            Problem::error("a.rego", None, "early"),
        ];
        let rejected = settle(problems).err().map(|r| r.to_string());
        let text = "a.rego: early\nb.rego:2: warning: odd\nb.rego:9: late\n  hint: do this";
        assert_eq!(rejected.as_deref(), Some(text));
        let warnings = settle(vec![Problem::warning("a.rego", None, "odd")]);
        assert_eq!(warnings.map(|w| w.len()), Ok(1));
    }
}
