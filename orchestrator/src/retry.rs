//! When what may pass is tried again: longer and longer waits, of which a random part is taken,
//! and never sooner than the other side asks for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::flow::Retry;

/// Longest wait that somebody else may ask for: more is a mistake, or a way to hold a backup up.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// The instant of the next attempt. `attempt` is the number of those that were made, `share` a
/// random number from 0.0 to 1.0.
pub fn next(
    retry: &Retry,
    attempt: u32,
    asked: Option<Duration>,
    now: Timestamp,
    share: f64,
) -> Timestamp {
    // Doubled often enough to be longer than any cap.
    let doubled = 1_i64 << attempt.saturating_sub(1).min(30);
    let most = retry
        .first
        .as_secs()
        .saturating_mul(doubled)
        .min(retry.cap.as_secs());
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "milliseconds of at most an hour"
    )]
    let own = ((most * 1_000) as f64 * share.clamp(0.0, 1.0)) as i64;
    let floor = asked.map_or(0, |asked| {
        i64::try_from(asked.min(LONGEST_ASKED).as_millis()).unwrap_or(0)
    });
    // Who is asked to wait waits a little more, so that all who were do not come back at once.
    let wait = SignedDuration::from_millis(own.max(floor.saturating_add(own.min(floor / 4))));
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A random number from 0.0 to 1.0.
pub(crate) fn share() -> f64 {
    let random = uuid::Uuid::new_v4().as_u128() >> 75;
    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    let share = random as f64 / (1_u64 << 53) as f64;
    share
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{next, share};
    use crate::duration::Length;
    use crate::flow::Retry;

    const RETRY: Retry = Retry {
        attempts: 6,
        first: Length::seconds(15),
        cap: Length::seconds(300),
    };

    fn wait(attempt: u32, asked: Option<u64>, share: f64) -> i64 {
        let now = Timestamp::UNIX_EPOCH;
        let at = next(&RETRY, attempt, asked.map(Duration::from_secs), now, share);
        at.duration_since(now).as_secs()
    }

    #[test]
    fn waits_grow_to_their_cap() {
        let longest: Vec<_> = (1..=6).map(|attempt| wait(attempt, None, 1.0)).collect();
        assert_eq!(longest, [15, 30, 60, 120, 240, 300]);
        assert_eq!(wait(1, None, 0.0), 0);
        for attempt in [19, 31, 63, 64, 65, 1_000_000, u32::MAX] {
            assert_eq!(wait(attempt, None, 1.0), 300);
        }
    }

    #[test]
    fn nobody_comes_back_sooner_than_asked() {
        assert_eq!(wait(1, Some(60), 0.0), 60);
        assert_eq!(wait(1, Some(60), 1.0), 75);
        assert_eq!(wait(1, Some(9_999_999), 0.0), 3_600);
        assert_eq!(wait(5, Some(10), 1.0), 240);
    }

    #[test]
    fn shares_are_shares() {
        let shares: Vec<f64> = (0..1_000).map(|_| share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
    }
}
