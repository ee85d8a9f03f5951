//! Who carries: takes what waits in the outbox to its channels until each has it.
//!
//! Each channel has a round of its own, so that none waits for another; within one,
//! messages go one after the other, oldest first. Never gives a message up, never
//! polls, and never takes a message out of the outbox that was not taken from it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;
use vaultgate_https::ClientError;

use crate::channel::{Blame, Channel, ChannelError, DeliveryError, Route};
use crate::http::{Client, Connections};
use crate::outbox::{Outbox, OutboxError};

mod retries;

pub use retries::Backoff;
use retries::{Next, Retries};

/// What time it is, for signatures and for dates that receivers name.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why there is nobody to carry.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// Two channels have one name: which of them has a message would be chance.
    #[error("there are two channels `{0}`")]
    Twice(String),
    /// Connections cannot be set up.
    #[error(transparent)]
    Connections(#[from] ClientError),
    /// A channel cannot be set up.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// Takes what waits to its channels.
pub struct Courier {
    rounds: Vec<Round>,
}

impl Courier {
    /// A courier for these channels. Reads the system's roots.
    ///
    /// # Errors
    /// When two channels have one name, or TLS cannot be set up.
    pub fn new(
        outbox: Outbox,
        channels: Vec<Channel>,
        connections: &Connections,
        backoff: Backoff,
        clock: Clock,
    ) -> Result<Courier, CourierError> {
        let ca = connections.extra_ca.as_deref();
        let client = Client::new(connections, ca)?;
        let mut names = BTreeSet::new();
        let mut rounds = Vec::new();
        for channel in channels {
            if !names.insert(channel.name().to_owned()) {
                return Err(CourierError::Twice(channel.name().to_owned()));
            }
            rounds.push(Round {
                route: Arc::new(channel.ready(connections, ca)?),
                client: client.clone(),
                outbox: outbox.clone(),
                clock: Arc::clone(&clock),
                retries: Retries::new(backoff),
            });
        }
        Ok(Courier { rounds })
    }

    /// Carries until `stop` turns true or its sender is gone. Attempts that are under way
    /// then are brought to their end: cut short, they would be made again at the next
    /// start.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut rounds = JoinSet::new();
        for round in self.rounds {
            rounds.spawn(round.walk(stop.clone()));
        }
        while let Some(ended) = rounds.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a channel gets no more messages until the next start");
            }
        }
        stopped(&mut stop).await;
    }
}

/// What one attempt came to.
enum Attempt {
    Taken,
    /// There is no such message any more.
    Gone,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("the attempt broke off")]
    Broke,
}

impl Failure {
    fn blame(&self) -> Blame {
        match self {
            Failure::Delivery(error) => error.blame(),
            Failure::Outbox(_) | Failure::Broke => Blame::Message,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Delivery(error) => error.retry_after(),
            Failure::Outbox(_) | Failure::Broke => None,
        }
    }
}

/// One channel and what is known of its failures.
struct Round {
    route: Arc<Route>,
    client: Client,
    outbox: Outbox,
    clock: Clock,
    retries: Retries,
}

impl Round {
    async fn walk(mut self, mut stop: watch::Receiver<bool>) {
        let outbox = self.outbox.clone();
        while !is_stopped(&stop) {
            // Before looking: what is put while we look must not be overlooked.
            let woken = outbox.woken();
            let until = match self
                .retries
                .next(&outbox, self.route.name(), Instant::now())
            {
                Next::Due(id) => {
                    self.attempt(id).await;
                    continue;
                }
                Next::At(due) => Some(due),
                Next::Nothing => None,
            };
            tokio::select! {
                () = woken => {}
                () = reached(until) => {}
                () = stopped(&mut stop) => {}
            }
        }
    }

    async fn attempt(&mut self, id: Uuid) {
        // What was taken must not be sent again because its file cannot be removed.
        let attempt = if self.retries.is_delivered(id) {
            Ok(Attempt::Taken)
        } else {
            self.deliver(id).await
        };
        match attempt {
            Ok(Attempt::Taken) => self.take_out(id).await,
            Ok(Attempt::Gone) => self.retries.forget(id),
            Err(failure) => {
                let (blame, asked) = (failure.blame(), failure.retry_after());
                let wait = self.retries.failed(id, blame, asked, Instant::now());
                let channel = self.route.name();
                tracing::warn!(channel, notice = %id, error = %failure, ?wait, "a message was not taken");
            }
        }
    }

    async fn deliver(&self, id: Uuid) -> Result<Attempt, Failure> {
        let name = self.route.name().to_owned();
        let read = self.on_disk(move |outbox| outbox.read(&name, id)).await?;
        let Some(notice) = read? else {
            return Ok(Attempt::Gone);
        };
        let (route, client) = (Arc::clone(&self.route), self.client.clone());
        let now = (self.clock)();
        // In a task of its own: if a library panics on one message, only its attempt ends.
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { route.deliver(&notice, &client, now).await });
        match attempt.join_next().await {
            Some(Ok(delivered)) => {
                delivered?;
                Ok(Attempt::Taken)
            }
            Some(Err(_)) | None => Err(Failure::Broke),
        }
    }

    async fn take_out(&mut self, id: Uuid) {
        let name = self.route.name().to_owned();
        let removed = self.on_disk(move |outbox| outbox.remove(&name, id)).await;
        match removed.and_then(|removed| Ok(removed?)) {
            Ok(()) => self.retries.settled(id),
            Err(error) => {
                self.retries.left_behind(id, Instant::now());
                let channel = self.route.name();
                tracing::error!(channel, notice = %id, %error, "a delivered message stays in the outbox");
            }
        }
    }

    /// Does what blocks where it blocks nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let outbox = self.outbox.clone();
        let done = tokio::task::spawn_blocking(move || work(&outbox)).await;
        done.map_err(|_| Failure::Broke)
    }
}

fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender nobody can say so any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
