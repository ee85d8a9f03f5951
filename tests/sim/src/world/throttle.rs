//! ARM's token buckets: per subscription, identity and kind of operation. Wide open
//! until a test narrows them.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::journal::Identity;

/// The kinds that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Reads,
    Writes,
    Deletes,
}

impl Kind {
    pub(crate) fn of(method: &str) -> Kind {
        match method {
            "GET" | "HEAD" => Kind::Reads,
            "DELETE" => Kind::Deletes,
            _ => Kind::Writes,
        }
    }

    pub(crate) fn header(self) -> &'static str {
        match self {
            Kind::Reads => "x-ms-ratelimit-remaining-subscription-reads",
            Kind::Writes => "x-ms-ratelimit-remaining-subscription-writes",
            Kind::Deletes => "x-ms-ratelimit-remaining-subscription-deletes",
        }
    }
}

/// How many a bucket holds and how many come back each second.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// GET and HEAD.
    pub reads: Bucket,
    /// PUT, PATCH and POST.
    pub writes: Bucket,
    /// DELETE.
    pub deletes: Bucket,
}

/// One bucket's measure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    /// What it holds when full.
    pub size: f64,
    /// What comes back each second.
    pub per_second: f64,
}

/// Buckets in use.
#[derive(Default)]
pub(crate) struct Throttle {
    limits: Option<Limits>,
    left: HashMap<(String, Identity, Kind), (f64, Instant)>,
}

/// What one request finds.
pub(crate) enum Taken {
    /// It may pass; so many are left.
    Passes(u64),
    /// It must wait so many seconds.
    Waits(u64),
}

impl Throttle {
    pub(crate) fn set(&mut self, limits: Limits) {
        self.limits = Some(limits);
        self.left.clear();
    }

    pub(crate) fn take(&mut self, subscription: &str, identity: Identity, kind: Kind) -> Taken {
        let measure = match (self.limits, kind) {
            (None, _) => Bucket {
                size: 1e6,
                per_second: 1e6,
            },
            (Some(limits), Kind::Reads) => limits.reads,
            (Some(limits), Kind::Writes) => limits.writes,
            (Some(limits), Kind::Deletes) => limits.deletes,
        };
        let now = Instant::now();
        let key = (subscription.to_owned(), identity, kind);
        let (left, since) = self.left.entry(key).or_insert((measure.size, now));
        let back = now.duration_since(*since).as_secs_f64() * measure.per_second;
        *left = (*left + back).min(measure.size);
        *since = now;
        if *left < 1.0 {
            return Taken::Waits(whole((1.0 - *left) / measure.per_second.max(0.001)).max(1));
        }
        *left -= 1.0;
        Taken::Passes(whole(*left))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a clamped, positive count"
)]
fn whole(number: f64) -> u64 {
    number.ceil().clamp(0.0, 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Kind, Limits, Taken, Throttle};
    use crate::journal::Identity;

    #[test]
    fn an_empty_bucket_makes_one_identity_wait_and_no_other() {
        let small = Bucket {
            size: 1.0,
            per_second: 0.01,
        };
        let wide = Bucket {
            size: 100.0,
            per_second: 1.0,
        };
        let mut throttle = Throttle::default();
        throttle.set(Limits {
            reads: wide,
            writes: small,
            deletes: wide,
        });
        let mut take = |identity, kind| throttle.take("s", identity, kind);
        assert!(matches!(
            take(Identity::Operator, Kind::Writes),
            Taken::Passes(0)
        ));
        assert!(matches!(
            take(Identity::Operator, Kind::Writes),
            Taken::Waits(1..)
        ));
        assert!(matches!(
            take(Identity::Reader, Kind::Writes),
            Taken::Passes(0)
        ));
        assert!(matches!(
            take(Identity::Operator, Kind::Reads),
            Taken::Passes(_)
        ));
    }
}
