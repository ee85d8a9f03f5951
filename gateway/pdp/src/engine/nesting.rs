//! How deep brackets nest, counted before the engine parses.
//!
//! The engine's parser tries each `[` and `{` as two things, so each level costs
//! twice as much as the one within: thirty levels take hours. Each `(` and each sign is
//! a call of its own to it: some tens of thousands overflow its stack, and that aborts
//! the process.

/// Deepest nesting that is handed to the parser.
pub(super) const MAX_DEPTH: usize = 12;
/// Most parentheses within one another, and most signs in a row.
pub(super) const MAX_CALLS: usize = 100;

/// The line where brackets nest too deep.
pub(super) fn too_deep(text: &str) -> Option<u32> {
    let mut line = 1_u32;
    let mut depth = 0_usize;
    let mut calls = 0_usize;
    let mut signs = 0_usize;
    let mut inside = Inside::Rules;
    let mut escaped = false;
    for byte in text.bytes() {
        if byte == b'\n' {
            line = line.saturating_add(1);
        }
        inside = match (inside, byte) {
            (Inside::Text, _) if escaped => Inside::Text,
            (Inside::Rules, b'"') => Inside::Text,
            (Inside::Rules, b'`') => Inside::Raw,
            (Inside::Rules, b'#') => Inside::Comment,
            // Text ends with its line: what goes on is an error that the parser finds.
            (Inside::Text, b'"' | b'\n') | (Inside::Raw, b'`') | (Inside::Comment, b'\n') => {
                Inside::Rules
            }
            (Inside::Rules, b'[' | b'{') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(line);
                }
                Inside::Rules
            }
            (Inside::Rules, b']' | b'}') => {
                depth = depth.saturating_sub(1);
                Inside::Rules
            }
            (Inside::Rules, b'(') => {
                calls += 1;
                Inside::Rules
            }
            (Inside::Rules, b')') => {
                calls = calls.saturating_sub(1);
                Inside::Rules
            }
            (inside, _) => inside,
        };
        signs = match (inside, byte) {
            (Inside::Rules, b'-') => signs + 1,
            // A comment or a space between them parts no signs.
            (Inside::Comment, _) | (Inside::Rules, b' ' | b'\t' | b'\r' | b'\n') => signs,
            _ => 0,
        };
        if calls > MAX_CALLS || signs > MAX_CALLS {
            return Some(line);
        }
        escaped = matches!(inside, Inside::Text) && byte == b'\\' && !escaped;
    }
    None
}

#[derive(Clone, Copy)]
enum Inside {
    Rules,
    Text,
    Raw,
    Comment,
}

#[cfg(test)]
mod tests {
    use super::{MAX_CALLS, MAX_DEPTH, too_deep};

    /// Found by fuzzing: sixty thousand of either ended the process that parsed them.
    #[test]
    fn a_stack_of_calls_or_signs_is_not_handed_to_the_parser() {
        for part in ["f(\n", "(", "-\n", "- ", "-# -\n"] {
            let rules = format!("x := {}", part.repeat(MAX_CALLS + 1));
            assert!(too_deep(&rules).is_some(), "{part:?}");
            let rules = format!("x := {}", part.repeat(MAX_CALLS));
            assert_eq!(too_deep(&rules), None, "{part:?}");
        }
        let apart = format!("x := {}", "f(1) - 1\n".repeat(1_000));
        assert_eq!(too_deep(&apart), None);
    }

    #[test]
    fn only_brackets_of_rules_count() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(too_deep(&format!("package a\nx := {deep}")), Some(2));
        assert_eq!(
            too_deep(&format!("x := {}", "{[".repeat(MAX_DEPTH))),
            Some(1)
        );
        for fine in [
            format!("x := \"{deep}\""),
            format!("x := `\n{deep}`"),
            format!("# {deep}\nx := 1"),
            format!("x := \"\\\"{deep}\""),
            "x := [{}]\n".repeat(1_000),
        ] {
            assert_eq!(too_deep(&fine), None, "{fine}");
        }
        for hidden in [
            format!("x := \"\\\\\" {deep}"),
            format!("x := \"\n {deep}"),
            format!("x := `\\` {deep}"),
            format!("# \"\n {deep}"),
            format!("x := \"#\" {deep}"),
        ] {
            assert!(too_deep(&hidden).is_some(), "{hidden}");
        }
    }
}
