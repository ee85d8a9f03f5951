//! The keys of one occurrence: the same however often it is tried, by whomever.

use jiff::Timestamp;
use uuid::Uuid;

/// The namespace of the keys: never changed, or what was sent could be sent again.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f1d_5f4e_2c1b_4a57_9d3e_6b0a_7c52_e914);

/// The id of the run of a region that is due at an instant.
pub fn run_id(flow: &str, region: &str, due: Timestamp) -> Uuid {
    Uuid::new_v5(
        &NAMESPACE,
        format!("run\n{flow}\n{region}\n{due}").as_bytes(),
    )
}

/// The id of a run that somebody asked for.
pub fn asked_run_id(flow: &str, region: &str, asked: Timestamp) -> Uuid {
    Uuid::new_v5(
        &NAMESPACE,
        format!("asked\n{flow}\n{region}\n{asked}").as_bytes(),
    )
}

/// The key under which the backup of an item in a run is sent. Ids differ in case between
/// answers of Azure, and are the same.
pub fn key(run: Uuid, item: &str) -> Uuid {
    let item = item.to_ascii_lowercase();
    Uuid::new_v5(&NAMESPACE, format!("item\n{run}\n{item}").as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{asked_run_id, key, run_id};

    /// Written out: another key for the same occurrence would be another backup.
    #[test]
    fn keys_never_change() {
        let due = "2026-11-23T02:30:00Z".parse().unwrap();
        let run = run_id("nightly", "westeurope", due);
        assert_eq!(run.to_string(), "b1effa02-a6cc-5a4e-bc1f-6388e58c557a");
        assert_eq!(key(run, "/subscriptions/A"), key(run, "/SUBSCRIPTIONS/a"));
        let others = [
            run_id("nightly", "eastus", due),
            run_id("weekly", "westeurope", due),
            run_id(
                "nightly",
                "westeurope",
                "2026-11-24T02:30:00Z".parse().unwrap(),
            ),
            asked_run_id("nightly", "westeurope", due),
            key(run, "/a"),
        ];
        for other in others {
            assert_ne!(other, run);
        }
    }
}
