//! What rules say of themselves: `# METADATA` comments, as OPA writes them.
//!
//! A block is the comment right above a rule, YAML after the first line. What stands under
//! `custom` joins a denial to its code: reports, `policy attack` and `policy blame` find a
//! rule by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::problem::Problem;

/// The line that begins a block.
const BEGIN: &str = "# METADATA";
/// Longest block that is read, bytes.
const MAX_BLOCK: usize = 16 << 10;

/// What one rule says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// File in the bundle.
    pub file: String,
    /// Line of the rule, from 1.
    pub line: u32,
    /// Last line of the rule.
    pub end: u32,
    /// Name of the rule.
    pub rule: String,
    /// What it is, in a few words.
    pub title: String,
    /// Why it is there.
    pub description: String,
    /// Code of its denials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How much a request that it stops would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Controls that it serves, as `FRAMEWORK ID`.
    pub controls: Vec<String>,
    /// What to do when it denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    title: String,
    description: String,
    custom: Custom,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Custom {
    code: Option<String>,
    severity: Option<String>,
    control: Vec<String>,
    remediation: Option<String>,
}

impl Bundle {
    /// What the rules that decide say of themselves, by file and line, and the blocks that
    /// cannot be read.
    pub fn annotations(&self) -> (Vec<Annotation>, Vec<Problem>) {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for (file, text) in self.policies() {
            for place in places(text) {
                match read(file, text, &place) {
                    Ok(annotation) => found.push(annotation),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        (found, problems)
    }

    /// The bundle without the rules that have this code: what would be decided if nobody had
    /// written them. None when no rule has it.
    pub fn without(&self, code: &str) -> Option<Bundle> {
        let mut removed = false;
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (path, text) in self.files() {
            let mut lines: Vec<Option<&str>> = text.lines().map(Some).collect();
            let decides = self.policies().any(|(policy, _)| policy == path);
            for place in places(text).iter().filter(|_| decides) {
                let own = read(path, text, place).ok().and_then(|own| own.code);
                if own.as_deref() != Some(code) {
                    continue;
                }
                removed = true;
                let lines = lines.get_mut(place.begin..place.end).unwrap_or_default();
                lines.fill(None);
            }
            // A line that is gone leaves an empty one: places stay what they are.
            let kept = lines.into_iter().map(|line| line.unwrap_or_default());
            let kept = kept.collect::<Vec<_>>().join("\n") + "\n";
            files.insert(path.to_owned(), kept.into_bytes());
        }
        removed.then(|| Bundle::of(files, &mut Vec::new()))
    }
}

/// Where a block and its rule stand, as indexes of lines.
struct Place {
    begin: usize,
    /// The first line of the rule.
    rule: usize,
    /// Behind the last line of the rule.
    end: usize,
}

/// The blocks that stand right above a rule.
fn places(text: &str) -> Vec<Place> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = lines.iter().enumerate();
    let begins = begins.filter(|(_, line)| line.trim_end() == BEGIN);
    begins
        .filter_map(|(begin, _)| {
            let rest = lines.get(begin..)?;
            let rule = begin + rest.iter().position(|line| !line.starts_with('#'))?;
            let first = lines.get(rule)?.trim_end();
            // A block of a package, or one that stands alone, is no rule's.
            if first.is_empty() || first.starts_with("package ") {
                return None;
            }
            let opens = first.ends_with(['{', '[', '(']);
            let last = match opens {
                true => {
                    // A rule ends with a bracket in the first column that opens nothing more.
                    let closes = |line: &&str| {
                        line.starts_with(['}', ']', ')'])
                            && !line.trim_end().ends_with(['{', '[', '('])
                    };
                    rule + lines.get(rule..)?.iter().position(closes)?
                }
                false => rule,
            };
            Some(Place {
                begin,
                rule,
                end: last + 1,
            })
        })
        .collect()
}

fn read(file: &str, text: &str, place: &Place) -> Result<Annotation, Problem> {
    let line = |index: usize| u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
    let comment = text.lines().skip(place.begin + 1);
    let comment = comment.take(place.rule.saturating_sub(place.begin + 1));
    let yaml: Vec<&str> = comment
        .map(|line| {
            line.strip_prefix("# ")
                .unwrap_or_else(|| line.trim_start_matches('#'))
        })
        .collect();
    let yaml = yaml.join("\n");
    let wrong = |why: String| {
        let message = format!("the metadata cannot be read: {why}");
        Problem::warning(file, Some(line(place.begin)), message)
            .hint("write it as YAML: `title`, `description`, and `custom` with `code`, `severity`, `control`, `remediation`")
    };
    if yaml.len() > MAX_BLOCK {
        return Err(wrong(format!("it is longer than {MAX_BLOCK} bytes")));
    }
    let block: Block = serde_saphyr::from_str(&yaml).map_err(|error| {
        wrong(
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    })?;
    let head = text.lines().nth(place.rule).unwrap_or_default();
    let name = head.strip_prefix("default ").unwrap_or(head);
    let name = name.split([' ', '(', '[', ':']).next().unwrap_or_default();
    Ok(Annotation {
        file: file.to_owned(),
        line: line(place.rule),
        end: line(place.end.saturating_sub(1)),
        rule: name.to_owned(),
        title: block.title,
        description: block.description.trim_end().to_owned(),
        code: block.custom.code,
        severity: block.custom.severity,
        controls: block.custom.control,
        remediation: block.custom.remediation,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use crate::bundle::Bundle;
    use crate::fixture::{MANIFEST, folder};

    const RULES: &str = r#"# METADATA
# title: A package
package vaultgate

import rego.v1

# METADATA
# title: Not on Sundays
# description: |
#   Nothing is deleted
#   on a Sunday.
# custom:
#   code: sunday
#   severity: high
#   control: [SOC2 CC8.1, ISO27001 A.8.32]
#   remediation: Wait.
deny contains {
	"code": "sunday",
	"message": "no",
} if {
	input.operation.class == "delete"

	input.sunday
}

# METADATA
# title: One line
# custom: {code: short}
deny contains {"code": "short", "message": "no"} if input.short

decision := {"allow": count(deny) == 0, "deny": deny, "grants": [1], "obligations": []}
"#;

    fn bundle(rules: &str) -> Bundle {
        let files: [(&str, &[u8]); 2] = [
            (".manifest", MANIFEST.as_bytes()),
            ("vaultgate/rules.rego", rules.as_bytes()),
        ];
        Bundle::load(folder(&files).path()).unwrap()
    }

    #[test]
    fn rules_say_what_they_are() {
        let (found, problems) = bundle(RULES).annotations();
        assert_eq!(problems, []);
        let [sunday, short] = found.as_slice() else {
            unreachable!("{found:?}");
        };
        assert_eq!((sunday.line, sunday.code.as_deref()), (17, Some("sunday")));
        assert_eq!((sunday.rule.as_str(), sunday.end), ("deny", 24));
        assert_eq!(sunday.description, "Nothing is deleted\non a Sunday.");
        assert_eq!(sunday.controls, ["SOC2 CC8.1", "ISO27001 A.8.32"]);
        assert_eq!((short.line, short.title.as_str()), (29, "One line"));
    }

    #[test]
    fn a_rule_is_left_out_whole_and_nothing_else() {
        let whole = bundle(RULES);
        let left = whole.without("sunday").unwrap();
        let text = |bundle: &Bundle| bundle.files().nth(1).unwrap().1.to_owned();
        assert!(!text(&left).contains("sunday") && text(&left).contains("\"short\""));
        assert_eq!(text(&left).lines().count(), RULES.lines().count());
        let left = left.without("short").unwrap();
        assert!(!text(&left).contains("short") && text(&left).contains("decision :="));
        assert!(whole.without("nothing").is_none());
        assert_ne!(whole.digest(), left.digest());
    }

    #[test]
    fn a_block_that_is_no_yaml_is_told() {
        for wrong in ["title: [", "custom: 4", "custom: {control: {}}", "&a [*a]"] {
            let rules = RULES.replace("title: Not on Sundays", wrong);
            let (_, problems) = bundle(&rules).annotations();
            assert_eq!(problems.len(), 1, "{wrong}");
            assert_eq!(problems.first().unwrap().line, Some(7));
        }
        let long = RULES.replace("Wait.", &"x".repeat(20_000));
        assert_eq!(bundle(&long).annotations().1.len(), 1);
    }
}
