//! Through what a notice leaves: the kinds of channel, checked when they are made.
//!
//! Each kind writes a notice in its own format and escapes for it; how bytes leave is
//! [`crate::http`]'s and lettre's. Never shows an address or secret of a channel:
//! errors and `Debug` name the channel and its host.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::http::{AddressError, Client, Connections, PostError, Target};
use crate::notice::{Notice, is_channel_name};

mod mail;
mod slack;
mod teams;
mod webhook;

use mail::Mailer;
pub use mail::{Mail, MailError, MailLogin, MailSettings, MailTls};
pub use slack::Slack;
pub use teams::Teams;
pub use webhook::Webhook;

/// What stands for the rest of a text that was cut.
const CUT: &str = "…";

/// Somewhere a notice can be sent.
#[derive(Debug)]
pub enum Channel {
    /// A receiver of signed JSON, as Standard Webhooks says.
    Webhook(Webhook),
    /// A channel of Microsoft Teams, through a workflow.
    Teams(Teams),
    /// A channel of Slack, through an incoming webhook.
    Slack(Slack),
    /// Mailboxes, through a mail server.
    Mail(Mail),
}

/// Why there cannot be such a channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Its name cannot be part of a file name.
    #[error("`{0}` is no name for a channel; hint: up to 64 ASCII letters, digits, `-` and `_`")]
    Name(String),
    /// Its address may not be posted to.
    #[error("the address of channel `{name}` {error}")]
    Address {
        /// The channel.
        name: String,
        /// Why.
        error: AddressError,
    },
    /// Its secret does not sign.
    #[error(
        "the secret of channel `{0}` is not of the form `whsec_` and the base64 of 24 to 64 bytes"
    )]
    Secret(String),
    /// Its mail settings do not do.
    #[error("the mail settings of channel `{name}`: {error}")]
    Mail {
        /// The channel.
        name: String,
        /// Why.
        error: MailError,
    },
}

impl Channel {
    /// A receiver of JSON that is signed with `secret`, `whsec_` and base64.
    ///
    /// # Errors
    /// When the name, the address or the secret does not do.
    pub fn webhook(
        name: &str,
        url: &SecretString,
        secret: &SecretString,
    ) -> Result<Channel, ChannelError> {
        let target = target(name, url)?;
        Webhook::new(name, target, secret).map(Channel::Webhook)
    }

    /// A channel of Teams, by the address of a workflow's webhook.
    ///
    /// # Errors
    /// When the name or the address does not do.
    pub fn teams(name: &str, url: &SecretString) -> Result<Channel, ChannelError> {
        Ok(Channel::Teams(Teams::new(name, target(name, url)?)))
    }

    /// A channel of Slack, by the address of an incoming webhook.
    ///
    /// # Errors
    /// When the name or the address does not do.
    pub fn slack(name: &str, url: &SecretString) -> Result<Channel, ChannelError> {
        Ok(Channel::Slack(Slack::new(name, target(name, url)?)))
    }

    /// Mailboxes, through a mail server.
    ///
    /// # Errors
    /// When the name or the settings do not do.
    pub fn mail(name: &str, settings: MailSettings) -> Result<Channel, ChannelError> {
        let name = checked(name)?;
        match Mail::new(name, settings) {
            Ok(mail) => Ok(Channel::Mail(mail)),
            Err(error) => Err(ChannelError::Mail {
                name: name.to_owned(),
                error,
            }),
        }
    }

    /// What it is called: messages of the outbox name it.
    pub fn name(&self) -> &str {
        match self {
            Channel::Webhook(channel) => channel.name(),
            Channel::Teams(channel) => channel.name(),
            Channel::Slack(channel) => channel.name(),
            Channel::Mail(channel) => channel.name(),
        }
    }

    /// Whom it leads to: all that may be shown of its address.
    pub fn host(&self) -> &str {
        match self {
            Channel::Webhook(channel) => channel.target().host(),
            Channel::Teams(channel) => channel.target().host(),
            Channel::Slack(channel) => channel.target().host(),
            Channel::Mail(channel) => channel.host(),
        }
    }

    /// The channel with all that it needs to send.
    pub(crate) fn ready(
        self,
        connections: &Connections,
        ca: Option<&[u8]>,
    ) -> Result<Route, ChannelError> {
        let mail = match self {
            Channel::Webhook(channel) => return Ok(Route::Webhook(channel)),
            Channel::Teams(channel) => return Ok(Route::Teams(channel)),
            Channel::Slack(channel) => return Ok(Route::Slack(channel)),
            Channel::Mail(mail) => mail,
        };
        let name = mail.name().to_owned();
        match Mailer::new(mail, ca, connections.mail) {
            Ok(mailer) => Ok(Route::Mail(Box::new(mailer))),
            Err(error) => Err(ChannelError::Mail { name, error }),
        }
    }
}

fn checked(name: &str) -> Result<&str, ChannelError> {
    if is_channel_name(name) {
        Ok(name)
    } else {
        Err(ChannelError::Name(name.to_owned()))
    }
}

fn target(name: &str, url: &SecretString) -> Result<Target, ChannelError> {
    let name = checked(name)?;
    Target::new(url).map_err(|error| ChannelError::Address {
        name: name.to_owned(),
        error,
    })
}

/// A channel that can send.
#[derive(Debug)]
pub(crate) enum Route {
    Webhook(Webhook),
    Teams(Teams),
    Slack(Slack),
    Mail(Box<Mailer>),
}

/// Why a notice was not taken. Names the host only.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    Mail(#[from] MailError),
}

/// What failed: the way, or this one message on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Any other message would have failed too: all wait, and their order is kept.
    Channel,
    /// Perhaps no other message fails: one that is never taken must not hold up the rest.
    Message,
}

impl DeliveryError {
    /// What failed.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            DeliveryError::Post(PostError::Unreachable { .. }) => Blame::Channel,
            // Asked to slow down, or not there at the moment.
            DeliveryError::Post(PostError::Status {
                status: 429 | 502 | 503 | 504,
                ..
            }) => Blame::Channel,
            DeliveryError::Post(_) => Blame::Message,
            DeliveryError::Mail(error) => error.blame(),
        }
    }

    /// How long the receiver asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            DeliveryError::Post(PostError::Status { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

impl Route {
    pub(crate) fn name(&self) -> &str {
        match self {
            Route::Webhook(channel) => channel.name(),
            Route::Teams(channel) => channel.name(),
            Route::Slack(channel) => channel.name(),
            Route::Mail(mailer) => mailer.name(),
        }
    }

    /// Sends once.
    pub(crate) async fn deliver(
        &self,
        notice: &Notice,
        client: &Client,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let letter = match self {
            Route::Webhook(channel) => channel.letter(notice, now),
            Route::Teams(channel) => channel.letter(notice),
            Route::Slack(channel) => channel.letter(notice),
            Route::Mail(mailer) => return Ok(mailer.send(notice).await?),
        };
        Ok(client.post(letter, now).await?)
    }
}

/// `text` on one line: a line break in a value must not begin a paragraph, a list or a
/// header of its own.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars()
        .map(|c| if breaks(c) { ' ' } else { c })
        .collect()
}

/// `text` on one line, each character as `escape` writes it, and at most `most` bytes:
/// receivers refuse what is too long, again at every attempt. Cut between two
/// characters, never within an escape, which would open what it was to close.
fn escaped(text: &str, most: usize, mut escape: impl FnMut(char, &mut String)) -> String {
    let mut whole = String::new();
    for character in one_line(text).chars() {
        let before = whole.len();
        escape(character, &mut whole);
        if whole.len() + CUT.len() > most {
            whole.truncate(before);
            whole.push_str(CUT);
            break;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn doubled(character: char, whole: &mut String) {
        whole.push(character);
        whole.push(character);
    }

    #[test]
    fn a_text_is_cut_between_characters_and_escapes() {
        assert_eq!(escaped("ab", 10, doubled), "aabb");
        assert_eq!(escaped("abcdef", 8, doubled), "aabb…");
        assert_eq!(escaped("äöü", 9, |c, whole| whole.push(c)), "äöü");
        assert_eq!(escaped("äöü", 8, |c, whole| whole.push(c)), "äö…");
        assert_eq!(
            escaped("a\r\nb\u{2028}c", 99, |c, whole| whole.push(c)),
            "a  b c"
        );
    }

    #[test]
    fn a_channel_shows_its_host_and_nothing_else() {
        let url = SecretString::from("https://hooks.example/services/T0/B0/hidden");
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw");
        let channels = [
            Channel::slack("s", &url).unwrap(),
            Channel::teams("t", &url).unwrap(),
            Channel::webhook("w", &url, &secret).unwrap(),
        ];
        for channel in &channels {
            let shown = format!("{channel:?}");
            assert!(shown.contains("hooks.example"), "{shown}");
            assert!(
                !shown.contains("hidden") && !shown.contains("MfKQ"),
                "{shown}"
            );
            assert_eq!(channel.host(), "hooks.example");
        }
    }

    #[test]
    fn a_channel_that_does_not_do_is_refused_without_its_secrets() {
        let url = |url: &str| SecretString::from(url);
        let refused = [
            Channel::slack("../s", &url("https://hooks.example/hidden")),
            Channel::slack("s", &url("http://hooks.example/hidden")),
            Channel::slack("s", &url("http://localhost/hidden")),
            Channel::slack("s", &url("https://hidden:hidden@hooks.example/")),
            Channel::slack("s", &url("hidden")),
            Channel::webhook("w", &url("https://a.example/"), &url("whsec_hidden")),
            Channel::webhook("w", &url("https://a.example/"), &url("hidden")),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
        assert!(Channel::slack("s", &url("http://127.0.0.1:9/")).is_ok());
        assert!(Channel::slack("s", &url("http://[::1]:9/")).is_ok());
    }
}
