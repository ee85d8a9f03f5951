//! A channel of Slack, through an incoming webhook: blocks of mrkdwn.
//!
//! `&`, `<` and `>` of a value are escaped, so that none can call `<!channel>`, name a
//! person or show one address and lead to another. Never lets Slack turn words into
//! links or fetch what a link leads to.

use serde_json::{Value, json};
use url::Url;

use super::{CUT, escaped};
use crate::http::{Letter, Target};
use crate::notice::Notice;

/// Longest text of a section; Slack takes 3000 characters.
const SECTION_MOST: usize = 2900;
/// Longest line in a section, bytes.
const LINE_MOST: usize = 1500;
/// Longest heading, bytes.
const HEADING_MOST: usize = 300;

/// A channel of Slack.
#[derive(Debug)]
pub struct Slack {
    name: String,
    target: Target,
}

impl Slack {
    pub(super) fn new(name: &str, target: Target) -> Slack {
        Slack {
            name: name.to_owned(),
            target,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn letter(&self, notice: &Notice) -> Letter<'_> {
        Letter {
            target: &self.target,
            headers: Vec::new(),
            body: body(notice).to_string().into_bytes(),
        }
    }
}

fn body(notice: &Notice) -> Value {
    let heading = escaped(notice.heading(), HEADING_MOST, mrkdwn);
    let text = notice.text.iter();
    let text = text.map(|line| escaped(line, LINE_MOST, mrkdwn));
    let facts = notice.facts.iter().map(|(name, value)| {
        let name = escaped(name, HEADING_MOST, mrkdwn);
        format!("*{name}:* {}", escaped(value, LINE_MOST, mrkdwn))
    });
    let dead = notice.dead_link();
    let dead = dead.map(|link| escaped(link, LINE_MOST, mrkdwn));
    let mut blocks = vec![section(&format!("*{heading}*"))];
    for lines in [joined(text), joined(facts), joined(dead.into_iter())] {
        // Slack refuses a section without text.
        if !lines.trim().is_empty() {
            blocks.push(section(&lines));
        }
    }
    if let Some(link) = notice.web_link().and_then(|link| opening(&link)) {
        blocks.push(section(&link));
    }
    json!({
        "text": heading,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// `verbatim`: no word of it becomes a link, a channel or a person.
fn section(text: &str) -> Value {
    let text = json!({"type": "mrkdwn", "text": text, "verbatim": true});
    json!({"type": "section", "text": text})
}

fn joined(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > SECTION_MOST {
            text.push_str(CUT);
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A link to click on. A bar would end its address and begin its words. None when it is
/// too long: one that was cut leads elsewhere.
fn opening(link: &Url) -> Option<String> {
    let whole = link.as_str().replace('|', "%7C");
    let address = escaped(&whole, SECTION_MOST, mrkdwn);
    let cut = address.ends_with(CUT);
    (!cut).then(|| format!("<{address}|Open>"))
}

fn mrkdwn(character: char, whole: &mut String) {
    match character {
        '&' => whole.push_str("&amp;"),
        '<' => whole.push_str("&lt;"),
        '>' => whole.push_str("&gt;"),
        plain => whole.push(plain),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use jiff::Timestamp;

    #[test]
    fn hostile_text_calls_nobody_and_hides_no_address() {
        let hostile = "<@channel> <!here> <https://evil.example|https://good.example> &amp;";
        let mut notice = Notice::new("approval.asked", hostile, Timestamp::UNIX_EPOCH);
        notice.text = vec![hostile.into(), "a\nb".into()];
        notice.facts = vec![(hostile.into(), hostile.into())];
        notice.link = Some("https://gateway.example/a?b=1&c=<!channel>|x".into());
        let body = body(&notice);
        let text = body.to_string();
        let link = "<https://gateway.example/a?b=1&amp;c=%3C!channel%3E%7Cx|Open>";
        assert!(text.contains(link), "{text}");
        let rest = text.replace(link, "");
        assert!(!rest.contains('<') && !rest.contains('>'), "{rest}");
        assert!(rest.contains("&lt;@channel&gt;"), "{rest}");
        assert!(rest.contains("&amp;amp;"), "{rest}");
        assert!(rest.contains("a b"), "{rest}");
        let verbatim = body.pointer("/blocks/1/text/verbatim");
        assert_eq!(verbatim.and_then(Value::as_bool), Some(true));
    }

    #[test]
    fn a_link_that_is_none_of_the_web_is_text() {
        let mut notice = Notice::new("approval.asked", "t", Timestamp::UNIX_EPOCH);
        notice.link = Some("javascript:alert(1)".into());
        let text = body(&notice).to_string();
        assert!(
            text.contains("javascript:alert(1)") && !text.contains("|Open>"),
            "{text}"
        );
    }

    #[test]
    fn sections_stay_within_what_slack_takes() {
        let mut notice = Notice::new("approval.asked", "t".repeat(9000), Timestamp::UNIX_EPOCH);
        notice.text = vec!["&".repeat(9000); 9];
        notice.facts = vec![("n".repeat(9000), "<".repeat(9000)); 9];
        notice.link = Some(format!("https://gateway.example/{}", "x".repeat(9000)));
        let body = body(&notice);
        let blocks = body.pointer("/blocks").and_then(Value::as_array).unwrap();
        assert_eq!(blocks.len(), 3, "a link that is too long is left out");
        for block in blocks {
            let text = block.pointer("/text/text").and_then(Value::as_str).unwrap();
            assert!(text.len() <= 3000 && text.ends_with(['…', '*']), "{text}");
        }
    }
}
