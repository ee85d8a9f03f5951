//! Results of tests as JUnit's XML.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Outcome, TestResult};

/// One suite for each package.
pub(super) fn written(results: &[TestResult]) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "<testsuites {}>", counts(results.iter()));
    let mut packages: Vec<&str> = Vec::new();
    for result in results {
        if !packages.contains(&result.package.as_str()) {
            packages.push(&result.package);
        }
    }
    for package in packages {
        let own = || results.iter().filter(|result| result.package == package);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" {}>",
            escaped(package),
            counts(own())
        );
        own().for_each(|result| case(&mut xml, result));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn counts<'r>(results: impl Iterator<Item = &'r TestResult>) -> String {
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    let mut took = Duration::ZERO;
    for result in results {
        tests += 1;
        took += result.duration;
        match result.outcome {
            Outcome::Pass => {}
            Outcome::Fail => failures += 1,
            Outcome::Error(_) => errors += 1,
            Outcome::Skipped => skipped += 1,
        }
    }
    format!(
        "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.6}\"",
        took.as_secs_f64()
    )
}

fn case(xml: &mut String, result: &TestResult) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
        escaped(&result.package),
        escaped(&result.name),
        escaped(&result.file),
        result.line,
        result.duration.as_secs_f64()
    );
    let inner = match &result.outcome {
        Outcome::Pass => String::new(),
        Outcome::Skipped => "<skipped/>".to_owned(),
        Outcome::Error(why) => format!("<error message=\"{}\"/>", escaped(why)),
        Outcome::Fail => {
            let failed = result.cases.iter().filter(|(_, passed)| !passed);
            let failed: Vec<&str> = failed.map(|(name, _)| name.as_str()).collect();
            let which = match failed.is_empty() {
                true => "not true".to_owned(),
                false => format!("not true: {}", failed.join(", ")),
            };
            format!("<failure message=\"{}\"/>", escaped(&which))
        }
    };
    let output = match result.output.is_empty() {
        true => String::new(),
        false => format!(
            "<system-out>{}</system-out>",
            escaped(&result.output.join("\n"))
        ),
    };
    let _ = match inner.is_empty() && output.is_empty() {
        true => writeln!(xml, "/>"),
        false => writeln!(xml, ">{inner}{output}</testcase>"),
    };
}

/// Text in XML; what XML cannot hold is shown as `?`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}
