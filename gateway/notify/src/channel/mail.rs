//! Mailboxes, through one mail server: settings, the plain text and the exchange.
//!
//! No value of a notice can begin a header or end the text: line breaks are taken out
//! before lettre, which encodes headers and doubles leading dots, gets to see them.
//! Never logs in or sends without TLS to another machine, never takes "TLS if it is
//! offered", and never puts words of the server into an error: they may repeat what
//! was sent to it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use url::Host;

use super::{Blame, escaped, one_line};
use crate::notice::Notice;

/// Longest subject, bytes.
const SUBJECT_MOST: usize = 200;

/// How a mail server is reached, as configured.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// The server's name or address; its certificate must be for it.
    pub host: String,
    /// Its port: by custom 587 with STARTTLS and 465 with TLS from the first byte.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Who logs in, if anybody does.
    pub login: Option<MailLogin>,
    /// The sender: `Vaultgate <vaultgate@example.com>`.
    pub from: String,
    /// The recipients. One that the server refuses keeps the mail from all: give those
    /// that may fail a channel of their own.
    pub to: Vec<String>,
}

/// A user of a mail server.
#[derive(Clone, Debug)]
pub struct MailLogin {
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// By STARTTLS, before anything else is said; a server without it gets nothing.
    StartTls,
    /// By TLS from the first byte.
    Implicit,
    /// Not at all: only to a literal of this machine, such as `127.0.0.1`.
    Off,
}

/// Why mail cannot be set up, or was not taken. Names the server only.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server's name is none.
    #[error("`{0}` is no host")]
    Host(String),
    /// The server is on another machine and TLS is off.
    #[error("`{0}` without TLS; hint: that is for a literal such as `127.0.0.1` only")]
    NotHere(String),
    /// Something is no mailbox.
    #[error("`{0}` is no mailbox")]
    Mailbox(String),
    /// There are no recipients.
    #[error("there are no recipients")]
    Nobody,
    /// TLS cannot be configured.
    #[error("TLS to `{host}` cannot be configured: {cause}")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        cause: String,
    },
    /// The notice cannot be written as a mail.
    #[error("the mail cannot be written: {0}")]
    Unwritable(String),
    /// The server refused.
    #[error("the mail server `{host}` refused with the code {code}")]
    Refused {
        /// The server.
        host: String,
        /// Its answer's code.
        code: String,
    },
    /// The exchange did not come to an end.
    #[error("no mail could be given to `{host}`: {cause}")]
    Broken {
        /// The server.
        host: String,
        /// Why.
        cause: String,
    },
    /// There was no end in time.
    #[error("the mail server `{host}` was not done within {limit:?}")]
    Late {
        /// The server.
        host: String,
        /// Within what.
        limit: Duration,
    },
}

impl MailError {
    /// Whether another message would have failed too.
    pub(super) fn blame(&self) -> Blame {
        match self {
            MailError::Broken { .. } => Blame::Channel,
            // Closing down, and what concerns the login: tried for each message, a wrong
            // password would lock the account.
            MailError::Refused { code, .. }
                if matches!(code.as_str(), "421" | "454" | "530" | "534" | "535" | "538") =>
            {
                Blame::Channel
            }
            _ => Blame::Message,
        }
    }
}

/// Mailboxes, through a mail server.
#[derive(Debug)]
pub struct Mail {
    name: String,
    host: String,
    port: u16,
    tls: MailTls,
    login: Option<MailLogin>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(super) fn new(name: &str, settings: MailSettings) -> Result<Mail, MailError> {
        let MailSettings {
            host, port, tls, ..
        } = settings;
        let address: Option<IpAddr> = host.parse().ok();
        if address.is_none() && Host::parse(&host).is_err() {
            return Err(MailError::Host(host));
        }
        let here = address.is_some_and(|address| address.is_loopback());
        if tls == MailTls::Off && !here {
            return Err(MailError::NotHere(host));
        }
        let to = settings.to.iter();
        let to: Vec<Mailbox> = to.map(|to| mailbox(to)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(MailError::Nobody);
        }
        Ok(Mail {
            name: name.to_owned(),
            host,
            port,
            tls,
            login: settings.login,
            from: mailbox(&settings.from)?,
            to,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The sender's domain, by which this side names itself and its messages. One beyond
    /// ASCII may stand in neither place.
    fn domain(&self) -> &str {
        let domain = self.from.email.domain();
        if domain.is_ascii() {
            domain
        } else {
            "vaultgate.invalid"
        }
    }

    fn message(&self, notice: &Notice) -> Result<Message, MailError> {
        let subject = escaped(notice.heading(), SUBJECT_MOST, |c, whole| whole.push(c));
        // Mail knows no date before 1970.
        let at = SystemTime::from(notice.at.max(Timestamp::UNIX_EPOCH));
        // Absence notes are not to answer a machine.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let automatic = HeaderValue::new(automatic, "auto-generated".to_owned());
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(at)
            .message_id(Some(format!("<{}@{}>", notice.id, self.domain())))
            .raw_header(automatic);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let text = SinglePart::plain(text(notice));
        let written = message.singlepart(text);
        written.map_err(|error| MailError::Unwritable(error.to_string()))
    }
}

fn mailbox(written: &str) -> Result<Mailbox, MailError> {
    // Checked here and not left to the parser: a line break would begin a header.
    if one_line(written) != written {
        return Err(MailError::Mailbox(written.escape_debug().to_string()));
    }
    let mailbox = written.parse::<Mailbox>();
    mailbox.map_err(|_| MailError::Mailbox(written.to_owned()))
}

fn text(notice: &Notice) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(&one_line(line));
        text.push_str("\r\n");
    };
    for written in &notice.text {
        line(written);
    }
    if !notice.facts.is_empty() {
        line("");
    }
    for (name, value) in &notice.facts {
        line(&format!("{name}: {value}"));
    }
    if let Some(link) = &notice.link {
        line("");
        line(link);
    }
    text
}

/// A mail server, ready to be used. Each mail has a connection of its own.
pub(crate) struct Mailer {
    mail: Mail,
    tls: Tls,
    limit: Duration,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer")
            .field("mail", &self.mail)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// The roots are read here, once: they are many.
    pub(super) fn new(mail: Mail, ca: Option<&[u8]>, limit: Duration) -> Result<Mailer, MailError> {
        let tls = match mail.tls {
            MailTls::StartTls => Tls::Required(parameters(&mail.host, ca)?),
            MailTls::Implicit => Tls::Wrapper(parameters(&mail.host, ca)?),
            MailTls::Off => Tls::None,
        };
        Ok(Mailer { mail, tls, limit })
    }

    pub(super) fn name(&self) -> &str {
        self.mail.name()
    }

    /// Gives one mail to the server.
    pub(super) async fn send(&self, notice: &Notice) -> Result<(), MailError> {
        let message = self.mail.message(notice)?;
        let transport = self.transport();
        let host = || self.mail.host.clone();
        match timeout(self.limit, transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error, host())),
            Err(_) => Err(MailError::Late {
                host: host(),
                limit: self.limit,
            }),
        }
    }

    fn transport(&self) -> AsyncSmtpTransport<Tokio1Executor> {
        let mail = &self.mail;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
            .port(mail.port)
            .tls(self.tls.clone())
            .timeout(Some(self.limit))
            .hello_name(ClientId::Domain(mail.domain().to_owned()));
        match &mail.login {
            Some(login) => {
                let password = login.password.expose_secret().to_owned();
                transport
                    .credentials(Credentials::new(login.user.clone(), password))
                    .build()
            }
            None => transport.build(),
        }
    }
}

fn parameters(host: &str, ca: Option<&[u8]>) -> Result<TlsParameters, MailError> {
    let failed = |error: smtp::Error| MailError::Tls {
        host: host.to_owned(),
        cause: error.to_string(),
    };
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(pem) = ca {
        let certificate = Certificate::from_pem(pem).map_err(failed)?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build().map_err(failed)
}

fn failed(error: &smtp::Error, host: String) -> MailError {
    if let Some(code) = error.status() {
        let code = code.to_string();
        return MailError::Refused { host, code };
    }
    // What could not be read as an answer is quoted by the error; the rest is of the
    // connection or of this side.
    let cause = if error.is_response() {
        "its answer is none of a mail server".to_owned()
    } else {
        error.to_string()
    };
    MailError::Broken { host, cause }
}

#[cfg(test)]
mod tests;
