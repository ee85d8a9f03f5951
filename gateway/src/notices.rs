//! Who is told of what people decide: through an outbox on disk, until each channel has it.
//!
//! Telling never decides anything: a channel that is down delays nobody, and a notice that
//! cannot be kept is an error in the log of traces, not a refusal. What is told is what
//! approvers see, nothing more.

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use vaultgate_notify::{
    Backoff, Channel, ChannelError, Connections, Courier, CourierError, MailLogin, MailSettings,
    MailTls, Notice, Outbox, OutboxError,
};

use crate::approvals::shown::visible;
use crate::approvals::{Approval, from};
use crate::clock::Clock;
use crate::config::notify::{self, By, Notify};
use crate::config::upstream::SecretRef;
use crate::deletions::Deletion;

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoticesError {
    /// A secret cannot be read.
    #[error("channel `{channel}`: {why}")]
    Secret {
        /// The channel.
        channel: String,
        /// What is wrong; never the secret.
        why: String,
    },
    /// A channel cannot be used.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The outbox cannot be used.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Nobody can carry.
    #[error(transparent)]
    Courier(#[from] CourierError),
}

/// Tells every channel; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Notices {
    kept: Option<(Outbox, Arc<[String]>)>,
}

impl Notices {
    /// Opens the outbox where there are channels, and makes their courier.
    pub(crate) fn open(
        dir: &Path,
        channels: &[Notify],
        extra_ca: Option<&[u8]>,
        clock: &Clock,
    ) -> Result<(Notices, Option<Courier>), NoticesError> {
        if channels.is_empty() {
            return Ok((Notices::default(), None));
        }
        let outbox = Outbox::open(dir)?;
        let ready = channels
            .iter()
            .map(channel)
            .collect::<Result<Vec<_>, _>>()?;
        let connections = Connections {
            extra_ca: extra_ca.map(<[u8]>::to_vec),
            ..Connections::default()
        };
        let clock = clock.clone();
        let courier = Courier::new(
            outbox.clone(),
            ready,
            &connections,
            Backoff::default(),
            Arc::new(move || clock.now()),
        )?;
        let names = channels
            .iter()
            .map(|channel| channel.name.clone())
            .collect();
        let notices = Notices {
            kept: Some((outbox, names)),
        };
        Ok((notices, Some(courier)))
    }

    /// Keeps a notice for every channel; on disk when this returns.
    pub(crate) async fn tell(&self, notice: Notice) {
        let Some((outbox, names)) = self.kept.clone() else {
            return;
        };
        let kept = tokio::task::spawn_blocking(move || outbox.put(&notice, &names)).await;
        let kept = kept.map_err(|error| error.to_string());
        if let Err(error) = kept.and_then(|kept| kept.map_err(|error| error.to_string())) {
            tracing::error!(%error, "a notice was not kept: nobody is told");
        }
    }
}

/// What is told of an approval.
pub(crate) fn approval(kind: &str, approval: &Approval, clock: &Clock) -> Notice {
    let shown = &approval.request.shown;
    let mut notice = Notice::new(kind, shown.summary.clone(), clock.now());
    notice.text = shown.consequences.clone();
    notice
        .text
        .push(format!("vaultgate approvals show {}", approval.id));
    let fact = |name: &str, value: String| (name.to_owned(), value);
    notice.facts = vec![
        fact("approval", approval.id.to_string()),
        fact("state", approval.state.as_str().to_owned()),
        fact("needs", from(&approval.terms)),
        fact("until", format!("{:.0}", approval.expires)),
        fact("digest", approval.digest()),
    ];
    let claims = shown.claimed.iter();
    notice
        .facts
        .extend(claims.map(|(name, said)| (format!("the requester says ({name})"), said.clone())));
    notice
}

/// What is told of a deletion: until when it can be taken back.
pub(crate) fn deletion(deletion: &Deletion, clock: &Clock) -> Notice {
    let title = format!("deleted: {}", visible(&deletion.resource));
    let mut notice = Notice::new("deletion", title, clock.now());
    let until = match deletion.until {
        Some(until) => format!("{until:.0}"),
        None => "it is gone: soft delete is off, or nobody knows".to_owned(),
    };
    let fact = |name: &str, value: String| (name.to_owned(), value);
    notice.facts = vec![
        fact("decision", deletion.decision.to_string()),
        fact("by", visible(&deletion.by.1)),
        fact("kept until", until),
    ];
    if deletion.way_back.is_some() {
        notice.text = vec![format!(
            "vaultgate deletions undelete {}",
            deletion.decision
        )];
    }
    notice
}

/// What is told of something that a reviewer did.
pub(crate) fn steering(kind: &str, title: String, why: &str, clock: &Clock) -> Notice {
    let mut notice = Notice::new(kind, title, clock.now());
    notice.facts = vec![("reason".to_owned(), why.to_owned())];
    notice
}

fn channel(channel: &Notify) -> Result<Channel, NoticesError> {
    let name = &channel.name;
    let read = |reference: &SecretRef| read(name, reference);
    Ok(match &channel.by {
        By::Webhook { url, secret } => Channel::webhook(name, &read(url)?, &read(secret)?)?,
        By::Teams { url } => Channel::teams(name, &read(url)?)?,
        By::Slack { url } => Channel::slack(name, &read(url)?)?,
        By::Mail {
            host,
            port,
            tls,
            login,
            from,
            to,
        } => {
            let login = match login {
                Some((user, password)) => Some(MailLogin {
                    user: user.clone(),
                    password: read(password)?,
                }),
                None => None,
            };
            let settings = MailSettings {
                host: host.clone(),
                port: *port,
                tls: match tls {
                    notify::MailTls::Starttls => MailTls::StartTls,
                    notify::MailTls::Implicit => MailTls::Implicit,
                    notify::MailTls::Off => MailTls::Off,
                },
                login,
                from: from.clone(),
                to: to.clone(),
            };
            Channel::mail(name, settings)?
        }
    })
}

fn read(channel: &str, reference: &SecretRef) -> Result<SecretString, NoticesError> {
    reference.at_hand().map_err(|why| NoticesError::Secret {
        channel: channel.to_owned(),
        why,
    })
}
