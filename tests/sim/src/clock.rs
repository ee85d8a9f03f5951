//! The emulator's time: the wall clock, plus what a test has wound it forward,
//! with the speed at which Azure's jobs run. Tokens never use it: a token's times
//! are judged by the gateway's own clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Time as Azure's resources see it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    ahead: SignedDuration,
    scale: f64,
}

impl Clock {
    /// A clock at the wall's time; at scale 1 a job takes two seconds.
    pub(crate) fn new(scale: f64) -> Clock {
        let scale = if scale.is_finite() && scale > 0.0 {
            scale
        } else {
            1.0
        };
        Clock {
            ahead: SignedDuration::ZERO,
            scale,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
            .saturating_add(self.ahead)
            .unwrap_or(Timestamp::MAX)
    }

    /// Winds the clock forward, so that jobs end without anyone waiting.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead = SignedDuration::try_from(by)
            .ok()
            .and_then(|by| self.ahead.checked_add(by))
            .unwrap_or(self.ahead);
    }

    /// How long something takes here that takes `at_scale_one` at scale 1.
    pub(crate) fn lasts(&self, at_scale_one: Duration) -> SignedDuration {
        SignedDuration::from_secs_f64(at_scale_one.as_secs_f64() / self.scale)
    }

    /// The `Retry-After` to hand out, in whole seconds.
    pub(crate) fn retry_after(&self) -> String {
        format!("{:.0}", (1.0 / self.scale).floor())
    }
}

/// A moment as ARM writes it.
pub(crate) fn written(at: Timestamp) -> String {
    format!("{at:.7}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Clock;

    #[test]
    fn a_faster_clock_shortens_jobs_and_polls() {
        let clock = Clock::new(4.0);
        assert_eq!(clock.lasts(Duration::from_secs(2)).as_millis(), 500);
        assert_eq!(clock.retry_after(), "0");
        assert_eq!(Clock::new(1.0).retry_after(), "1");
        assert_eq!(Clock::new(f64::NAN).retry_after(), "1");
    }

    #[test]
    fn winding_forward_moves_now() {
        let mut clock = Clock::new(1.0);
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now().duration_since(before).as_secs() >= 3600);
    }
}
