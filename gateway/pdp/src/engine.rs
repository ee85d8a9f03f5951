//! The engine, set up the one way that it is used.
//!
//! Strict builtin errors stay on: without them `not to_number(x) > 1` is true for
//! an `x` that is no number, which opens what should be shut.

mod nesting;

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, PolicyLengthConfig, Value};

use crate::bundle::{Bundle, MAX_REGO};
use crate::limits::Limits;
use crate::problem::Problem;

/// Longest line of a rule, columns: certificates and the like stand in one line.
const MAX_COLUMNS: u32 = 16_384;
/// Most lines of a file.
const MAX_LINES: usize = 40_000;

/// An engine with the data of the bundle and these files; what does not parse is
/// a problem and left out.
pub(crate) fn build<'f>(
    bundle: &Bundle,
    files: impl Iterator<Item = (&'f str, &'f str)>,
    limits: &Limits,
) -> (Engine, Vec<Problem>) {
    let mut engine = empty();
    let mut problems = Vec::new();
    set_time_limit(&mut engine, limits.time_limit, limits);
    for (path, text) in files {
        if let Some(line) = nesting::too_deep(text) {
            let message = format!(
                "brackets nest deeper than {}, or calls and signs deeper than {}",
                nesting::MAX_DEPTH,
                nesting::MAX_CALLS
            );
            let hint = "give the inner parts rules of their own";
            problems.push(Problem::error(path, Some(line), message).hint(hint));
            continue;
        }
        if let Some((line, hidden)) = hidden(text) {
            let message = format!("the character U+{:04X} shows nothing", u32::from(hidden));
            let hint = "delete it: with it a rule could read otherwise than it is";
            problems.push(Problem::error(path, Some(line), message).hint(hint));
            continue;
        }
        if let Err(error) = engine.add_policy(path.to_owned(), text.to_owned()) {
            problems.push(located(path, &error.to_string()));
        }
    }
    for (path, text) in bundle.files().filter(|(path, _)| path.ends_with(".json")) {
        if let Some((line, hidden)) = hidden(text) {
            let message = format!("the character U+{:04X} shows nothing", u32::from(hidden));
            let hint = "delete it: a name with it looks like another";
            problems.push(Problem::error(path, Some(line), message).hint(hint));
        }
    }
    if let Err(error) = engine.add_data(Value::from(bundle.data().clone())) {
        let (message, _) = split_location(&error.to_string());
        problems.push(Problem::error(
            ".",
            None,
            format!("the data is not taken: {message}"),
        ));
    }
    (engine, problems)
}

/// A character that shows nothing, or turns the direction of what follows it, and its line: a
/// reviewer would read another rule than the one that decides.
fn hidden(text: &str) -> Option<(u32, char)> {
    let shows_nothing = |c: &char| {
        (c.is_control() && *c != '\t')
            || matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{2800}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E01EF}')
    };
    let lines = text.lines().zip(1..);
    let mut found =
        lines.filter_map(|(line, number)| Some((number, line.chars().find(shows_nothing)?)));
    found.next()
}

/// An engine that knows nothing yet.
pub(crate) fn empty() -> Engine {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.set_policy_length_config(lengths());
    engine
}

/// Sets the longest time of the evaluations of this engine.
pub(crate) fn set_time_limit(engine: &mut Engine, limit: Duration, limits: &Limits) {
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit,
        check_interval: limits.check_interval,
    });
}

/// Whether an error of the engine means that the time is up. The engine hands
/// some errors on as text only.
pub(crate) fn is_timeout(limit: Option<&LimitError>, text: &str) -> bool {
    matches!(limit, Some(LimitError::TimeLimitExceeded { .. }))
        || text.contains("execution exceeded time limit")
}

/// A problem from the engine's message, at the place that the message names.
pub(crate) fn located(file: &str, text: &str) -> Problem {
    let (message, place) = split_location(text);
    match place {
        Some((place, line)) => Problem::error(&place, Some(line), message),
        None => Problem::error(file, None, message),
    }
}

/// What an error says in one line, with its place.
pub(crate) fn one_line(text: &str) -> String {
    match split_location(text) {
        (message, Some((file, line))) => format!("{file}:{line}: {message}"),
        (message, None) => message,
    }
}

/// The engine writes `\n--> file:line:col\n  |\nline | text\n  | ^\nerror: message`.
fn split_location(text: &str) -> (String, Option<(String, u32)>) {
    let mut place = None;
    let mut message = None;
    for line in text.lines() {
        if let Some(at) = line.strip_prefix("--> ") {
            let mut parts = at.rsplitn(3, ':');
            let _column = parts.next();
            let row = parts.next().and_then(|row| row.parse().ok());
            if let (Some(row), Some(file)) = (row, parts.next()) {
                place = Some((file.to_owned(), row));
            }
        } else if let Some(said) = line.strip_prefix("error: ") {
            message = Some(said.trim().to_owned());
        }
    }
    let whole = || text.split_whitespace().collect::<Vec<_>>().join(" ");
    (message.unwrap_or_else(whole), place)
}

fn lengths() -> PolicyLengthConfig {
    let sure = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    PolicyLengthConfig {
        max_col: NonZeroU32::new(MAX_COLUMNS).unwrap_or(NonZeroU32::MIN),
        max_file_bytes: sure(MAX_REGO),
        max_lines: sure(MAX_LINES),
    }
}

#[cfg(test)]
mod tests {
    use super::{located, one_line};

    #[test]
    fn places_are_taken_from_the_engines_messages() {
        let text = "\n--> a:b/x.rego:12:6\n  |\n12 | x := \n  |  ^\nerror: expecting expression";
        let problem = located("other", text);
        assert_eq!(problem.file, "a:b/x.rego");
        assert_eq!(problem.line, Some(12));
        assert_eq!(problem.message, "expecting expression");
        assert_eq!(one_line(text), "a:b/x.rego:12: expecting expression");
        assert_eq!(one_line("something\n else"), "something else");
    }
}
