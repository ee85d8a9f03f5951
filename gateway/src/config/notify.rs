//! `[[notify]]`: who is told of approvals, quarantine and the freeze.
//!
//! Addresses of Teams and Slack are credentials: like secrets they are given by reference.

use std::path::Path;

use serde::Deserialize;

use super::Problems;
use super::upstream::{SecretRef, secret_at_hand};

/// One channel as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifyFile {
    name: String,
    kind: KindFile,
    url: Option<String>,
    secret: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tls: MailTls,
    user: Option<String>,
    password: Option<String>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindFile {
    Webhook,
    Teams,
    Slack,
    Mail,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    /// By STARTTLS.
    #[default]
    Starttls,
    /// By TLS from the first byte.
    Implicit,
    /// Not at all, to this machine.
    Off,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notify {
    /// Its name in the outbox and in messages.
    pub(crate) name: String,
    /// How it is reached.
    pub(crate) by: By,
}

/// How a channel is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Signed JSON, as Standard Webhooks says.
    Webhook {
        /// Where the address is.
        url: SecretRef,
        /// Where the key is, `whsec_…`.
        secret: SecretRef,
    },
    /// A workflow of Microsoft Teams.
    Teams {
        /// Where the address is.
        url: SecretRef,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Where the address is.
        url: SecretRef,
    },
    /// A mail server.
    Mail {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// How the connection is protected.
        tls: MailTls,
        /// User, and where the password is.
        login: Option<(String, SecretRef)>,
        /// Sender.
        from: String,
        /// Recipients.
        to: Vec<String>,
    },
}

impl NotifyFile {
    pub(super) fn check(self, key: &str, base: &Path, problems: &mut Problems) -> Option<Notify> {
        let by = match self.kind {
            KindFile::Webhook => By::Webhook {
                url: reference(self.url.as_deref(), key, "url", base, problems)?,
                secret: reference(self.secret.as_deref(), key, "secret", base, problems)?,
            },
            KindFile::Teams => By::Teams {
                url: reference(self.url.as_deref(), key, "url", base, problems)?,
            },
            KindFile::Slack => By::Slack {
                url: reference(self.url.as_deref(), key, "url", base, problems)?,
            },
            KindFile::Mail => {
                let host = present(self.host, key, "host", problems)?;
                let from = present(self.from, key, "from", problems)?;
                let login = match (self.user, self.password.as_deref()) {
                    (Some(user), password) => {
                        let password = reference(password, key, "password", base, problems)?;
                        Some((user, password))
                    }
                    (None, _) => None,
                };
                let custom = match self.tls {
                    MailTls::Starttls => 587,
                    MailTls::Implicit => 465,
                    MailTls::Off => 25,
                };
                By::Mail {
                    host,
                    port: self.port.unwrap_or(custom),
                    tls: self.tls,
                    login,
                    from,
                    to: self.to,
                }
            }
        };
        Some(Notify {
            name: self.name,
            by,
        })
    }
}

fn present(
    value: Option<String>,
    key: &str,
    name: &str,
    problems: &mut Problems,
) -> Option<String> {
    if value.is_none() {
        problems.add(
            format!("{key}.{name}"),
            format!("this kind of channel needs `{name}`"),
            "`vaultgate config sample` shows each kind",
        );
    }
    value
}

fn reference(
    text: Option<&str>,
    key: &str,
    name: &str,
    base: &Path,
    problems: &mut Problems,
) -> Option<SecretRef> {
    let text = present(text.map(str::to_owned), key, name, problems)?;
    secret_at_hand(&text, &format!("{key}.{name}"), base, problems)
}
