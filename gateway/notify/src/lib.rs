//! Who is told: notices, the channels that carry them, and the outbox in between.
//!
//! A notice is on disk before [`Outbox::put`] returns and stays there until its
//! channel has taken it: it may arrive twice, with the same id, and is never given up.
//! A channel that fails holds up no other.
//!
//! This crate decides nothing and knows no approval, vault or user: it imports nothing
//! of the product. It must never print or log an address or secret of a channel, only
//! the host; never follow a redirect; never read more of an answer than it needs; and
//! never send without TLS to another machine.
//!
//! Read in this order: [`Notice`], [`Channel`], [`Outbox`], [`Courier`].

mod channel;
mod courier;
mod http;
mod notice;
mod outbox;

#[cfg(test)]
mod test_receiver;

pub use crate::http::{AddressError, Connections};
pub use channel::{
    Channel, ChannelError, Mail, MailError, MailLogin, MailSettings, MailTls, Slack, Teams, Webhook,
};
pub use courier::{Backoff, Clock, Courier, CourierError};
pub use notice::Notice;
pub use outbox::{Outbox, OutboxError, Waiting};
