//! Whole classes of hostile requests against the real gateway, over real sockets: for
//! each family of `tests/data/corpora` a generator that composes cases of that family,
//! and three judges that share nothing with the gateway: what a case must end with, the
//! reading that the emulator journals, and the oracle that holds it against the record.
//!
//! `VAULTGATE_GENERATED` says how many cases, `VAULTGATE_SEED` which; a seed gives the
//! same cases everywhere. What fails is shown as the smallest case that still fails.

mod bodies;
mod case;
mod http1;
mod http2;
mod judge;
mod lines;
mod stage;
mod targets;
mod tokens;
mod wire;

use stage::{Family, play};

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_one_thing_to_everybody() {
    play(Family {
        name: "targets",
        number: 1,
        share: 50,
        cases: targets::cases,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_one_thing_to_everybody() {
    play(Family {
        name: "bodies",
        number: 2,
        share: 30,
        cases: bodies::cases,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_is_one_thing_to_everybody() {
    play(Family {
        name: "http1",
        number: 3,
        share: 8,
        cases: http1::cases,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_one_thing_to_everybody() {
    play(Family {
        name: "http2",
        number: 4,
        share: 6,
        cases: http2::cases,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_as_they_were_signed_open() {
    play(Family {
        name: "tokens",
        number: 5,
        share: 6,
        cases: tokens::cases,
    })
    .await;
}
