//! What is wrong with a flow file: where it stands, what was found, and what to write instead.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1; 0 where the whole file is meant.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn at(place: Place, message: impl Into<String>) -> Problem {
        Problem {
            line: place.line,
            column: place.column,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with what to write instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Why a flow file was not taken: everything that is wrong with it, by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Name of the file, for people.
    pub file: String,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            match problem.line {
                0 => write!(f, "{}: {}", self.file, problem.message)?,
                line => write!(
                    f,
                    "{}:{line}:{}: {}",
                    self.file, problem.column, problem.message
                )?,
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// The known word that somebody most likely meant, if one is near.
pub(crate) fn nearest<'w>(
    given: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let given = given.to_lowercase();
    let near = known.into_iter().map(|word| (distance(&given, word), word));
    let (distance, word) = near.min_by_key(|(distance, _)| *distance)?;
    // A third of a word may be mistyped.
    (distance <= (word.chars().count() / 3).max(1)).then_some(word)
}

/// How many letters have to be changed, added, taken out or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX);
            let changed = at(&row, j).saturating_add(usize::from(a != b));
            let added = at(&next, j).saturating_add(1);
            let taken = at(&row, j + 1).saturating_add(1);
            let mut least = changed.min(added).min(taken);
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                least = least.min(at(&before, j - 1).saturating_add(1));
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_mistyped_word_is_recognised_and_another_is_not() {
        let known = ["schedule", "targets", "parallel", "deadline"];
        assert_eq!(nearest("shedule", known), Some("schedule"));
        assert_eq!(nearest("Target", known), Some("targets"));
        assert_eq!(nearest("paralell", known), Some("parallel"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
