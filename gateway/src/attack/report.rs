//! What became of an attack, for people, programs and `docs/threats.md`.

use std::fmt::Write as _;

use serde_json::{Value, json};
use vaultgate_pdp::Bundle;

use super::story::Story;
use super::{Played, Run, Stop};

/// One story and how it went: as the bundle is, and without the rules that stopped it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    story: Story,
    /// The bundle as it is first, each with one layer less than the one before.
    runs: Vec<Run>,
}

impl Report {
    pub(super) fn of(story: &Story, runs: Vec<Run>) -> Report {
        Report {
            story: story.clone(),
            runs,
        }
    }

    /// Whether the bundle stops it.
    pub(crate) fn stopped(&self) -> bool {
        self.runs.first().is_some_and(|run| run.died.is_some())
    }

    /// What stops it, and what would if that were gone, in this order.
    pub(crate) fn layers(&self) -> Vec<&Stop> {
        let died = self.runs.iter().filter_map(|run| run.died.as_ref());
        died.map(|(_, _, stop)| stop).collect()
    }

    /// Whether it goes through once all that can be taken from the bundle is.
    pub(crate) fn goes_through_without(&self) -> bool {
        self.runs.last().is_some_and(|run| run.died.is_none())
    }

    fn ending(&self) -> String {
        match self.runs.first().and_then(|run| run.died.as_ref()) {
            None => "went through".to_owned(),
            Some((step, attempt, stop)) => {
                let step = step + 1;
                let attempt = match attempt {
                    1 => String::new(),
                    n => format!(", attempt {n}"),
                };
                format!("dies at step {step}{attempt}: {}", in_words(stop))
            }
        }
    }

    /// Lines for a terminal.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", self.story.name, self.ending());
        let first = self.runs.first();
        let played = first.into_iter().flat_map(|run| &run.steps);
        for (step, played) in self.story.steps.iter().zip(played) {
            let _ = writeln!(text, "  {}: {}", step.what, outcome(step.repeat, played));
        }
        for stop in self.layers().iter().skip(1) {
            let _ = writeln!(text, "  without that: {}", in_words(stop));
        }
        if self.stopped() && self.goes_through_without() {
            let _ = writeln!(text, "  without all of these it goes through");
        }
        text
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let first = self.runs.first();
        let steps: Vec<Value> = first
            .into_iter()
            .flat_map(|run| &run.steps)
            .zip(&self.story.steps)
            .map(|(played, step)| {
                json!({"what": step.what, "attempts": step.repeat, "passed": played.passed,
                "goal": step.goal, "stopped_by": played.stopped.as_ref().map(|(_, stop)| codes(stop))})
            })
            .collect();
        let died = first.and_then(|run| run.died.as_ref());
        json!({
            "name": self.story.name, "title": self.story.title,
            "stopped": self.stopped(),
            "step": died.map(|(step, _, _)| step + 1), "attempt": died.map(|(_, attempt, _)| attempt),
            "steps": steps,
            "layers": self.layers().into_iter().map(codes).collect::<Vec<_>>(),
        })
    }
}

/// What stands in the way, as codes.
fn codes(stop: &Stop) -> Vec<String> {
    match stop {
        Stop::Gateway(reason) => vec![(*reason).to_owned()],
        Stop::Ungranted => vec!["ungranted".to_owned()],
        Stop::Fault(_) => vec!["fault".to_owned()],
        Stop::Rules(_) | Stop::Approval { .. } => stop.codes(),
    }
}

fn in_words(stop: &Stop) -> String {
    match stop {
        Stop::Gateway(reason) => format!("the gateway never forwards it ({reason})"),
        Stop::Rules(codes) => codes.join(", "),
        Stop::Approval { quorum, has } => {
            format!("approval, {quorum} others must agree and the attacker has {has}")
        }
        Stop::Ungranted => "no role grants it".to_owned(),
        Stop::Fault(why) => format!("the policy failed: {why}"),
    }
}

fn outcome(repeat: u32, played: &Played) -> String {
    let stopped = played.stopped.as_ref();
    let stopped = stopped.map(|(n, stop)| (n, in_words(stop)));
    match (repeat, stopped) {
        (_, None) => match repeat {
            1 => "done".to_owned(),
            n => format!("done, {n} times"),
        },
        (1, Some((_, why))) => format!("refused, {why}"),
        (all, Some((_, why))) => format!("{} of {all} done, then {why}", played.passed),
    }
}

/// The document of threats: every story with how it ends, and the layers behind each other.
pub(crate) fn markdown(reports: &[Report], bundle: &Bundle) -> String {
    let (annotations, _) = bundle.annotations();
    let titled = |code: &str| {
        let found = annotations
            .iter()
            .find(|one| one.code.as_deref() == Some(code));
        found.map_or_else(
            || format!("`{code}`"),
            |one| format!("`{code}` ({}:{})", one.file, one.line),
        )
    };
    let shown = |stop: &Stop| match stop {
        Stop::Rules(codes) => codes
            .iter()
            .map(|code| titled(code))
            .collect::<Vec<_>>()
            .join(", "),
        Stop::Approval { quorum, has } => format!(
            "{}: {quorum} others must agree and the attacker has {has}",
            titled("approval")
        ),
        other => in_words(other),
    };
    let mut text = format!(
        "# Threats\n\n\
         Published attacks on backups, each played against the policy that ships (revision `{}`) by\n\
         `vaultgate policy attack policies --format markdown`, which wrote this page. Requests are\n\
         understood, counted and judged by the code that serves. \"Without that\" is what stops the attack\n\
         when the rules named before are taken out of the bundle, one layer after the other.\n\n\
         | Attack | Ends | Stopped by |\n|---|---|---|\n",
        bundle.revision()
    );
    for report in reports {
        let story = &report.story;
        let first = report.layers().first().map(|stop| codes(stop).join(", "));
        let step = report.runs.first().and_then(|run| run.died.as_ref());
        let ends = step.map_or("goes through".to_owned(), |(step, _, _)| {
            format!("step {}", step + 1)
        });
        let _ = writeln!(
            text,
            "| [{}](#{}) | {ends} | {} |",
            story.title,
            story.name,
            first.unwrap_or_default()
        );
    }
    for report in reports {
        let story = &report.story;
        let _ = write!(
            text,
            "\n## {}\n\n{}. {}.\n\n",
            story.name, story.title, story.source
        );
        let _ = writeln!(text, "{}\n", story.text.trim());
        let played = report.runs.first().into_iter().flat_map(|run| &run.steps);
        for ((step, played), n) in story.steps.iter().zip(played).zip(1..) {
            let _ = writeln!(text, "{n}. {}: {}", step.what, outcome(step.repeat, played));
        }
        text.push('\n');
        for (stop, n) in report.layers().into_iter().zip(0..) {
            let lead = if n == 0 {
                "Stopped by"
            } else {
                "Without that:"
            };
            let _ = writeln!(text, "- {lead} {}", shown(stop));
        }
        if report.stopped() && report.goes_through_without() {
            let _ = writeln!(text, "- Without all of these it goes through.");
        }
    }
    text
}
