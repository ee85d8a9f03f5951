//! A channel of Microsoft Teams, through the webhook of a workflow: an Adaptive Card.
//!
//! Text blocks and facts are read as Markdown, so every character of a value that would
//! be markup is escaped: none can show one address and lead to another. Never mentions
//! anybody, and never uses a template of the card's own.

use serde_json::{Value, json};

use super::{CUT, escaped};
use crate::http::{Letter, Target};
use crate::notice::Notice;

/// Longest heading, bytes.
const HEADING_MOST: usize = 300;
/// Longest line, bytes.
const LINE_MOST: usize = 1500;
/// All lines together and all facts together, bytes as escaped: Teams takes cards of
/// 28 KiB, and JSON may double each.
const LINES_MOST: usize = 8000;
const FACTS_MOST: usize = 4000;
/// What one line or fact takes beside its text.
const FRAME: usize = 50;
/// Longest link, bytes.
const LINK_MOST: usize = 2000;

/// A channel of Microsoft Teams.
#[derive(Debug)]
pub struct Teams {
    name: String,
    target: Target,
}

impl Teams {
    pub(super) fn new(name: &str, target: Target) -> Teams {
        Teams {
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
        let message = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card(notice),
            }],
        });
        Letter {
            target: &self.target,
            headers: Vec::new(),
            body: message.to_string().into_bytes(),
        }
    }
}

fn card(notice: &Notice) -> Value {
    let mut heading = block(&markdown(notice.heading(), HEADING_MOST));
    if let Some(heading) = heading.as_object_mut() {
        heading.insert("size".into(), "Medium".into());
        heading.insert("weight".into(), "Bolder".into());
    }
    let mut body = vec![heading];
    body.extend(lines(notice));
    let facts = facts(notice);
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    let link = notice.web_link();
    let link = link.filter(|link| link.as_str().len() <= LINK_MOST);
    let actions: Vec<Value> = link
        .map(|link| json!({"type": "Action.OpenUrl", "title": "Open", "url": link.as_str()}))
        .into_iter()
        .collect();
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    })
}

fn block(text: &str) -> Value {
    json!({"type": "TextBlock", "text": text, "wrap": true})
}

/// Each line in a block of its own: in one block together they could be a list or a
/// heading.
fn lines(notice: &Notice) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut left = LINES_MOST;
    for line in notice
        .text
        .iter()
        .map(String::as_str)
        .chain(notice.dead_link())
    {
        let line = markdown(line, LINE_MOST);
        if line.is_empty() {
            continue;
        }
        if line.len() + FRAME > left {
            blocks.push(block(CUT));
            break;
        }
        left -= line.len() + FRAME;
        blocks.push(block(&line));
    }
    blocks
}

fn facts(notice: &Notice) -> Vec<Value> {
    let mut facts = Vec::new();
    let mut left = FACTS_MOST;
    for (name, value) in &notice.facts {
        let (name, value) = (markdown(name, HEADING_MOST), markdown(value, LINE_MOST));
        let length = name.len() + value.len() + FRAME;
        if length > left {
            facts.push(json!({"title": CUT, "value": CUT}));
            break;
        }
        left -= length;
        facts.push(json!({"title": name, "value": value}));
    }
    facts
}

/// `text` as Markdown that shows it as it is. Braces are escaped too: cards replace
/// `{{DATE(…)}}`.
fn markdown(text: &str, most: usize) -> String {
    let mut first = true;
    let mut digits = true;
    escaped(text.trim(), most, |character, whole| {
        let anywhere = "\\`*_{}[]()<>#|~!&".contains(character);
        // Lists and rules begin a line and are nothing within it, as in a date.
        let opens = first && "-+=".contains(character);
        let numbers = !first && digits && character == '.';
        if anywhere || opens || numbers {
            whole.push('\\');
        }
        whole.push(character);
        first = false;
        digits = digits && character.is_ascii_digit();
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use jiff::Timestamp;
    use secrecy::SecretString;

    #[test]
    fn hostile_text_is_no_markup() {
        assert_eq!(
            markdown("[good.example](https://evil.example)", 99),
            "\\[good.example\\]\\(https://evil.example\\)"
        );
        assert_eq!(markdown("\\[a](b)", 99), "\\\\\\[a\\]\\(b\\)");
        assert_eq!(
            markdown("<at>all</at> &lt;", 99),
            "\\<at\\>all\\</at\\> \\&lt;"
        );
        assert_eq!(
            markdown("{{DATE(x)}} `a` *b*", 99),
            "\\{\\{DATE\\(x\\)\\}\\} \\`a\\` \\*b\\*"
        );
        assert_eq!(markdown("- a", 99), "\\- a");
        assert_eq!(markdown("12. a-b.c", 99), "12\\. a-b.c");
        assert_eq!(markdown("2026-10-01 1.5", 99), "2026-10-01 1.5");
        assert_eq!(markdown("  a\n\n# b", 99), "a  \\# b");
        assert_eq!(markdown("****", 6), "\\*…");
    }

    #[test]
    fn the_card_is_of_the_form_that_teams_takes() {
        let url = SecretString::from("https://a.example/workflow");
        let teams = Teams::new("t", Target::new(&url).unwrap());
        let mut notice = Notice::new("approval.asked", "_t_", Timestamp::UNIX_EPOCH);
        notice.text = vec!["[a](b)".into(), String::new()];
        notice.facts = vec![("vault".into(), "my_vault".into())];
        notice.link = Some("https://gateway.example/approvals".into());
        let letter = teams.letter(&notice);
        let message: Value = serde_json::from_slice(&letter.body).unwrap();
        let at = |path: &str| message.pointer(path).unwrap().clone();
        let kind = "application/vnd.microsoft.card.adaptive";
        assert_eq!(at("/attachments/0/contentType"), kind);
        assert_eq!(at("/attachments/0/content/version"), "1.4");
        assert_eq!(at("/attachments/0/content/body/0/text"), "\\_t\\_");
        assert_eq!(at("/attachments/0/content/body/1/text"), "\\[a\\]\\(b\\)");
        assert_eq!(
            at("/attachments/0/content/body/2/facts/0/value"),
            "my\\_vault"
        );
        let url = at("/attachments/0/content/actions/0/url");
        assert_eq!(url, "https://gateway.example/approvals");
        notice.link = Some("javascript:alert(1)".into());
        assert_eq!(card(&notice).pointer("/actions").unwrap(), &json!([]));
    }

    #[test]
    fn the_card_stays_within_what_teams_takes() {
        let mut notice = Notice::new("approval.asked", "*".repeat(9000), Timestamp::UNIX_EPOCH);
        notice.text = vec!["*".repeat(9000); 99];
        notice.facts = vec![("*".repeat(9000), "*".repeat(9000)); 99];
        notice.link = Some(format!("https://gateway.example/{}", "x".repeat(9000)));
        assert!(card(&notice).to_string().len() < 28 << 10);
        notice.text = vec!["\"".into(); 9999];
        notice.facts = vec![(String::new(), String::new()); 9999];
        assert!(card(&notice).to_string().len() < 28 << 10);
    }
}
