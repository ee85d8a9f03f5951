//! What every part of a running emulator shares, each behind its own lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderValue;

use crate::azure_tokens::AzureTokens;
use crate::faults::Faults;
use crate::idp::Idp;
use crate::journal::{Identity, Journal};
use crate::key_vault::Secrets;
use crate::world::World;

/// The tenant of every world.
pub const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// The running emulator.
pub(crate) struct State {
    /// `https://localhost:<port>`, without a slash at its end.
    pub origin: String,
    pub journal: Journal,
    pub faults: Faults,
    world: Mutex<World>,
    idp: Mutex<Idp>,
    tokens: Mutex<AzureTokens>,
    secrets: Mutex<Secrets>,
    /// Seconds by which the `Date` header is wrong.
    date_skew: Mutex<i64>,
    time_scale: f64,
}

impl State {
    pub(crate) fn new(origin: String, journal: Journal, idp: Idp, time_scale: f64) -> State {
        State {
            world: Mutex::new(World::seeded(&origin, time_scale)),
            origin,
            journal,
            faults: Faults::new(),
            idp: Mutex::new(idp),
            tokens: Mutex::new(AzureTokens::default()),
            secrets: Mutex::new(Secrets::seeded()),
            date_skew: Mutex::new(0),
            time_scale,
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub(crate) fn idp(&self) -> MutexGuard<'_, Idp> {
        lock(&self.idp)
    }

    pub(crate) fn tokens(&self) -> MutexGuard<'_, AzureTokens> {
        lock(&self.tokens)
    }

    pub(crate) fn secrets(&self) -> MutexGuard<'_, Secrets> {
        lock(&self.secrets)
    }

    /// Who a bearer token of ours stands for; `none` for any other.
    pub(crate) fn identity_of(&self, authorization: Option<&str>) -> Identity {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        token.map_or(Identity::None, |token| self.tokens().identity(token))
    }

    /// A fresh world and an empty journal; keys, tokens and secrets stay, so that
    /// whoever holds them can go on.
    pub(crate) fn reset(&self) {
        *self.world() = World::seeded(&self.origin, self.time_scale);
        self.journal.clear();
        self.faults.clear();
        self.faults.thaw();
        self.idp().heal();
        *lock(&self.date_skew) = 0;
    }

    pub(crate) fn skew_date(&self, seconds: i64) {
        *lock(&self.date_skew) = seconds;
    }

    /// The wrong `Date` to send, when the clock is told to be wrong.
    pub(crate) fn skewed_date(&self) -> Option<HeaderValue> {
        let seconds = *lock(&self.date_skew);
        if seconds == 0 {
            return None;
        }
        let at = jiff::Timestamp::now()
            .saturating_add(jiff::SignedDuration::from_secs(seconds))
            .ok()?;
        HeaderValue::from_str(
            &jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&at)
                .ok()?,
        )
        .ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
