//! Which lines of the rules tests reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use regorus::coverage::Report;
use serde_json::{Map, Value, json};

use crate::bundle::Bundle;

/// Lines by file; only of files that decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    files: BTreeMap<String, Lines>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    reached: BTreeSet<u32>,
    missed: BTreeSet<u32>,
}

impl Coverage {
    pub(super) fn of(bundle: &Bundle) -> Coverage {
        let files = bundle.policies();
        let files = files.map(|(path, _)| (path.to_owned(), Lines::default()));
        Coverage {
            files: files.collect(),
        }
    }

    /// Adds what one test reached.
    pub(super) fn add(&mut self, report: Option<&Report>) {
        for file in report.into_iter().flat_map(|report| &report.files) {
            let Some(lines) = self.files.get_mut(&file.path) else {
                continue;
            };
            lines.reached.extend(&file.covered);
            let missed = lines.missed.iter().chain(&file.not_covered);
            lines.missed = missed
                .filter(|line| !lines.reached.contains(line))
                .copied()
                .collect();
        }
    }

    /// How many of a hundred lines were reached; 100 where there are none.
    pub fn percent(&self) -> f64 {
        let count = |what: fn(&Lines) -> usize| self.files.values().map(what).sum::<usize>();
        percent(
            count(|lines| lines.reached.len()),
            count(|lines| lines.missed.len()),
        )
    }

    /// Files with the lines that nothing reached, for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (file, lines) in self
            .files
            .iter()
            .filter(|(_, lines)| !lines.missed.is_empty())
        {
            let share = percent(lines.reached.len(), lines.missed.len());
            let missed: Vec<String> = ranges(&lines.missed)
                .map(|(begin, end)| match begin == end {
                    true => begin.to_string(),
                    false => format!("{begin}-{end}"),
                })
                .collect();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{file}: {share:.1} %, not lines {}",
                missed.join(", ")
            );
        }
        let _ = writeln!(text, "coverage: {:.1} %", self.percent());
        text
    }

    /// The report that `opa test --coverage` prints.
    pub fn to_json(&self) -> Value {
        let count = |what: fn(&Lines) -> usize| self.files.values().map(what).sum::<usize>();
        let mut report = totals(
            count(|lines| lines.reached.len()),
            count(|lines| lines.missed.len()),
        );
        let files = self.files.iter().map(|(file, lines)| {
            let mut one = totals(lines.reached.len(), lines.missed.len());
            for (name, lines) in [("covered", &lines.reached), ("not_covered", &lines.missed)] {
                let rows = ranges(lines)
                    .map(|(begin, end)| json!({"start": {"row": begin}, "end": {"row": end}}));
                one.insert(name.to_owned(), rows.collect());
            }
            (file.clone(), Value::Object(one))
        });
        report.insert("files".to_owned(), Value::Object(files.collect()));
        Value::Object(report)
    }
}

fn totals(reached: usize, missed: usize) -> Map<String, Value> {
    Map::from_iter([
        ("covered_lines".to_owned(), reached.into()),
        ("not_covered_lines".to_owned(), missed.into()),
        ("coverage".to_owned(), percent(reached, missed).into()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "lines of files")]
fn percent(reached: usize, missed: usize) -> f64 {
    match reached + missed {
        0 => 100.0,
        all => 100.0 * reached as f64 / all as f64,
    }
}

/// Lines that follow each other, as first and last.
fn ranges(lines: &BTreeSet<u32>) -> impl Iterator<Item = (u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *line => *end = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    ranges.into_iter()
}
