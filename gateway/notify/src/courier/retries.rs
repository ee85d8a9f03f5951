//! When what failed is tried again: the waits of one channel and of its messages.
//!
//! A channel that cannot be reached holds all its messages, in their order; a message
//! that alone is refused waits by itself and lets the others go first. Owns no clock
//! and never says that a message will not be tried again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::channel::Blame;
use crate::outbox::Outbox;

/// How long it takes until what failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure, at most; twice that after each further one.
    pub first: Duration,
    /// The longest wait that is not asked for.
    pub longest: Duration,
    /// The longest wait that a receiver may ask for: it must not be able to silence a
    /// channel for ever.
    pub longest_asked: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(10 * 60),
            longest_asked: Duration::from_secs(60 * 60),
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row. `fraction`, from 0 to 1, spreads it over
    /// its second half: many messages must not come back all at once.
    fn wait(&self, failures: u32, asked: Option<Duration>, fraction: f64) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.longest);
        let half = whole / 2;
        let wait = half + half.mul_f64(fraction.clamp(0.0, 1.0));
        asked.map_or(wait, |asked| wait.max(asked.min(self.longest_asked)))
    }
}

/// What there is to do for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This message, now.
    Due(Uuid),
    /// Nothing before that.
    At(Instant),
    /// Nothing until something is put.
    Nothing,
}

/// The waits of one channel.
#[derive(Debug)]
pub(super) struct Retries {
    backoff: Backoff,
    messages: HashMap<Uuid, Failed>,
    channel: Option<Failed>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    times: u32,
    due: Instant,
    /// Taken already: only its file could not be removed.
    delivered: bool,
}

impl Failed {
    fn again(before: Option<Failed>, now: Instant, wait: impl FnOnce(u32) -> Duration) -> Failed {
        let times = before.map_or(1, |before| before.times.saturating_add(1));
        Failed {
            times,
            due: now + wait(times),
            delivered: before.is_some_and(|before| before.delivered),
        }
    }
}

impl Retries {
    pub(super) fn new(backoff: Backoff) -> Retries {
        Retries {
            backoff,
            messages: HashMap::new(),
            channel: None,
        }
    }

    /// What is next: the oldest message that need not wait.
    pub(super) fn next(&self, outbox: &Outbox, channel: &str, now: Instant) -> Next {
        if let Some(held) = self.channel
            && held.due > now
        {
            return Next::At(held.due);
        }
        let due = |id: &Uuid| self.messages.get(id).is_none_or(|failed| failed.due <= now);
        if let Some(id) = outbox.first(channel, due) {
            return Next::Due(id);
        }
        // None of the past: a wait that is over and leads to no message would be waited
        // for again at once, for ever.
        let dues = self.messages.values().map(|failed| failed.due);
        let earliest = dues.filter(|due| *due > now).min();
        earliest.map_or(Next::Nothing, Next::At)
    }

    /// Whether a message was taken and only its file is left.
    pub(super) fn is_delivered(&self, id: Uuid) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|failed| failed.delivered)
    }

    /// A failure: how long is waited now.
    pub(super) fn failed(
        &mut self,
        id: Uuid,
        blame: Blame,
        asked: Option<Duration>,
        now: Instant,
    ) -> Duration {
        let backoff = self.backoff;
        let wait = |times| backoff.wait(times, asked, fraction());
        let failed = match blame {
            Blame::Channel => {
                let failed = Failed::again(self.channel, now, wait);
                self.channel = Some(failed);
                failed
            }
            Blame::Message => {
                let failed = Failed::again(self.messages.get(&id).copied(), now, wait);
                self.messages.insert(id, failed);
                failed
            }
        };
        failed.due.saturating_duration_since(now)
    }

    /// The message was taken, and its file could not be removed.
    pub(super) fn left_behind(&mut self, id: Uuid, now: Instant) {
        self.channel = None;
        self.failed(id, Blame::Message, None, now);
        if let Some(failed) = self.messages.get_mut(&id) {
            failed.delivered = true;
        }
    }

    /// The message was taken and is gone: the channel works.
    pub(super) fn settled(&mut self, id: Uuid) {
        self.channel = None;
        self.forget(id);
    }

    /// The message is gone.
    pub(super) fn forget(&mut self, id: Uuid) {
        self.messages.remove(&id);
    }
}

/// A random number from 0 to 1; 1 without randomness, which only makes a wait longer.
fn fraction() -> f64 {
    let mut random = [0_u8; 4];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return 1.0;
    }
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::notice::Notice;
    use jiff::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_spread_over_their_second_half() {
        let backoff = Backoff::default();
        let whole = |failures| backoff.wait(failures, None, 1.0);
        let waits: Vec<u64> = (1..=11).map(|failures| whole(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert_eq!(whole(u32::MAX), Duration::from_secs(600));
        assert_eq!(backoff.wait(3, None, 0.0), 2 * SECOND);
    }

    #[test]
    fn what_a_receiver_asks_for_is_kept_up_to_an_hour() {
        let backoff = Backoff::default();
        let asked = |seconds| backoff.wait(1, Some(Duration::from_secs(seconds)), 1.0);
        assert_eq!(asked(0), SECOND);
        assert_eq!(asked(90), 90 * SECOND);
        assert_eq!(asked(u64::MAX), 3600 * SECOND);
    }

    #[test]
    fn a_refused_message_lets_others_go_and_an_unreachable_channel_holds_all() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path()).unwrap();
        let [one, two] = ["one", "two"].map(|title| Notice::new("k", title, Timestamp::UNIX_EPOCH));
        let mut retries = Retries::new(Backoff::default());
        let now = Instant::now();
        assert_eq!(retries.next(&outbox, "c", now), Next::Nothing);
        outbox.put(&two, &["c", "d"]).unwrap();
        outbox.put(&one, &["c"]).unwrap();
        assert_eq!(retries.next(&outbox, "c", now), Next::Due(one.id));

        let wait = retries.failed(one.id, Blame::Message, None, now);
        assert!(wait >= SECOND / 2 && wait <= SECOND, "{wait:?}");
        assert_eq!(retries.next(&outbox, "c", now), Next::Due(two.id));
        let wait = retries.failed(two.id, Blame::Channel, Some(5 * SECOND), now);
        assert_eq!(wait, 5 * SECOND);
        assert_eq!(retries.next(&outbox, "c", now), Next::At(now + wait));
        // The first is still first when the channel is back.
        assert_eq!(retries.next(&outbox, "c", now + wait), Next::Due(one.id));
        outbox.remove("c", one.id).unwrap();
        retries.settled(one.id);
        assert_eq!(retries.next(&outbox, "c", now), Next::Due(two.id));
    }

    #[test]
    fn a_message_whose_file_stays_is_known_as_delivered() {
        let mut retries = Retries::new(Backoff::default());
        let id = Uuid::now_v7();
        retries.left_behind(id, Instant::now());
        assert!(retries.is_delivered(id));
        retries.left_behind(id, Instant::now());
        assert!(retries.is_delivered(id));
        retries.settled(id);
        assert!(!retries.is_delivered(id));
    }
}
