//! What is told: the words of one message, as the outbox keeps them.
//!
//! Knows nothing of how a message travels. Never holds a credential: a notice lies on
//! disk and is shown to everybody whom a channel reaches.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// Longest name of a channel, bytes: it becomes part of a file name.
const NAME_MOST: usize = 64;

/// One message, in words that every channel can carry.
///
/// Control characters are expected to be visible already; each channel still escapes
/// what its own format would take for markup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Version 7, so that the order of the ids is the order in which they were made. The
    /// same over all channels and attempts: by it a receiver knows a repetition.
    pub id: Uuid,
    /// What happened, in dotted words: `approval.asked`.
    pub kind: String,
    /// One line: the subject of a mail.
    pub title: String,
    /// Plain lines.
    #[serde(default)]
    pub text: Vec<String>,
    /// Named values, in their order.
    #[serde(default)]
    pub facts: Vec<(String, String)>,
    /// Where to read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl Notice {
    /// A notice with an id of its own and nothing in it but a title.
    pub fn new(kind: impl Into<String>, title: impl Into<String>, at: Timestamp) -> Notice {
        Notice {
            id: Uuid::now_v7(),
            kind: kind.into(),
            title: title.into(),
            text: Vec::new(),
            facts: Vec::new(),
            link: None,
            at,
        }
    }

    /// The title, or the kind when there is none: no channel takes an empty heading.
    pub(crate) fn heading(&self) -> &str {
        if self.title.trim().is_empty() {
            &self.kind
        } else {
            &self.title
        }
    }

    /// The link, when it may be made one to click on. Others, `javascript:` or `file:`
    /// among them, are shown as text only.
    pub(crate) fn web_link(&self) -> Option<Url> {
        let link = Url::parse(self.link.as_deref()?).ok()?;
        let web = matches!(link.scheme(), "https" | "http");
        web.then_some(link)
    }

    /// The link, when it must stay text.
    pub(crate) fn dead_link(&self) -> Option<&str> {
        let link = self.link.as_deref()?;
        self.web_link().is_none().then_some(link)
    }
}

/// Whether a channel may be called so. Names become parts of file names: a dot or a
/// slash in one would lead out of the outbox, or to another channel's message.
pub(crate) fn is_channel_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_MOST && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_the_web_can_be_clicked_on() {
        let mut notice = Notice::new("approval.asked", "", Timestamp::UNIX_EPOCH);
        assert_eq!(notice.heading(), "approval.asked");
        assert!(notice.web_link().is_none() && notice.dead_link().is_none());
        notice.link = Some("https://gateway.example/approvals/1".into());
        assert!(notice.web_link().is_some() && notice.dead_link().is_none());
        notice.link = Some("javascript:alert(1)".into());
        assert!(notice.web_link().is_none());
        assert_eq!(notice.dead_link(), Some("javascript:alert(1)"));
    }

    #[test]
    fn names_stay_within_the_folder() {
        assert!(is_channel_name("on-call_2"));
        for name in ["", ".", "../x", "a/b", "a.b", "ä", &"x".repeat(65)] {
            assert!(!is_channel_name(name), "{name}");
        }
    }
}
