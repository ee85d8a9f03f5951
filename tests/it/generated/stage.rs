//! Sends generated cases to a real gateway and judges what became of them.
//!
//! A run is cut into rounds, each with a gateway, a log and an emulator of its own.
//! Every case has a mark, which the record of an allowed request keeps, so that what
//! reached Azure is led back to the case that it came from.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they did"
)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vaultgate_sim::{Issuer, TokenRequest};

use super::case::{Case, HOST, MARK, TOKEN};
use super::judge;
use super::lines::Lines;
use super::wire::Door;
use crate::harness::{Setup, World, repository};

/// Cases of one gateway's life.
const ROUND: u64 = 10_000;
/// Connections at a time.
const WORKERS: usize = 24;
/// Requests that are sent before their answers are read.
const PIPELINED: usize = 8;
/// Most steps towards the smallest case that fails.
const STEPS: usize = 60;

/// A family of cases.
#[derive(Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    /// Keeps its random numbers apart from those of the others.
    pub(super) number: u64,
    /// Its part of all cases, in a hundred.
    pub(super) share: u64,
    pub(super) cases: fn(&Arc<Stage>) -> BoxedStrategy<Case>,
}

/// A running pair with what cases need of it.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) door: Door,
    pub(super) token: String,
}

impl Stage {
    async fn start() -> Stage {
        let read = |path: &str| std::fs::read_to_string(repository().join(path)).unwrap();
        let quick = "[listener]\nheader_timeout = \"2s\"\nbody_idle_timeout = \"2s\"\n";
        let world = World::with(Setup {
            // What is refused here is refused by the gateway itself.
            policies: Some(repository().join("tests/corpus/policy")),
            extra: read("tests/data/unlimited.toml"),
            replace: vec![("[listener]\n".to_owned(), quick.to_owned())],
        })
        .await;
        let token = world
            .sim
            .token(&TokenRequest::new("operator", Issuer::Oidc));
        Stage {
            door: Door::new(&world.gateway.url, &world.dev.ca),
            token: token.unwrap(),
            world,
        }
    }

    /// Puts in what stands for something else.
    pub(super) fn put(&self, bytes: &[u8], mark: &str) -> Vec<u8> {
        let words = [
            (MARK, mark),
            (TOKEN, &self.token),
            (HOST, &self.door.authority),
        ];
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            let word = words
                .iter()
                .find(|(word, _)| rest.starts_with(word.as_bytes()));
            match word.filter(|_| *first == b'@') {
                Some((word, text)) => {
                    out.extend(text.bytes());
                    rest = rest.strip_prefix(word.as_bytes()).unwrap_or_default();
                }
                None => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// The numbers that a case is made of: the same for a seed, a family and a place.
fn runner(seed: u64, family: u64, place: u64) -> TestRunner {
    let words = [seed, family, place, 0].map(u64::to_le_bytes);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, words.as_flattened());
    TestRunner::new_with_rng(Config::default(), rng)
}

/// Sends the family's part of all cases, and fails with the smallest that ends wrong.
pub(super) async fn play(family: Family) {
    let seed = setting("VAULTGATE_SEED", 1);
    let total = (setting("VAULTGATE_GENERATED", 5_000) * family.share / 100).max(100);
    let began = Instant::now();
    let (mut sent, mut reached) = (0, 0);
    while sent < total {
        let end = total.min(sent + ROUND);
        let stage = Arc::new(Stage::start().await);
        let played = Arc::clone(&stage);
        let round = move || round(&played, family, seed, sent..end);
        match tokio::task::spawn_blocking(round).await.unwrap() {
            Ok(passed) => reached += passed,
            Err(wrong) => panic!("{}, seed {seed}: {wrong}", family.name),
        }
        sent = end;
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{}: {sent} cases, {reached} reached Azure, {took:.1} s",
        family.name
    );
    // Who refuses everything would pass all the rest.
    assert!(
        reached * 10 >= sent,
        "{}: only {reached} of {sent} passed",
        family.name
    );
}

fn round(
    stage: &Arc<Stage>,
    family: Family,
    seed: u64,
    places: std::ops::Range<u64>,
) -> Result<u64, String> {
    let next = AtomicU64::new(places.start);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (next, outcomes) = (&next, &outcomes);
            scope.spawn(move || {
                let strategy = (family.cases)(stage);
                let mut lines = Lines::new(stage, worker, seed);
                loop {
                    let first = next.fetch_add(PIPELINED as u64, Ordering::Relaxed);
                    if first >= places.end {
                        return;
                    }
                    let last = places.end.min(first + PIPELINED as u64);
                    let made = (first..last).map(|place| {
                        let tree = strategy.new_tree(&mut runner(seed, family.number, place));
                        (place, tree.unwrap().current())
                    });
                    let done = lines.send(made.collect());
                    outcomes.lock().unwrap().extend(done);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    match judge::judge(&stage.world, &outcomes) {
        Ok(reached) => Ok(reached),
        Err(wrong) => Err(smallest(stage, family, seed, &wrong)),
    }
}

/// Makes a case that ends wrong as small as it can be.
fn smallest(stage: &Arc<Stage>, family: Family, seed: u64, wrong: &judge::Wrong) -> String {
    let Some(place) = wrong.place else {
        return wrong.told.clone();
    };
    let strategy = (family.cases)(stage);
    let mut tree = strategy
        .new_tree(&mut runner(seed, family.number, place))
        .unwrap();
    let mut found = format!("case {place}: {}\n{}", wrong.told, tree.current().told());
    let mut lines = Lines::new(stage, WORKERS, seed);
    // Marks of their own: the log still holds what the round did.
    for step in 0..STEPS {
        let case = tree.current();
        stage.world.sim.reset();
        let own = u64::MAX - u64::try_from(step).unwrap();
        let outcomes = lines.send(VecDeque::from([(own, case.clone())]));
        let goes_on = match judge::judge(&stage.world, &outcomes) {
            Err(still) => {
                found = format!("case {place}, made small: {}\n{}", still.told, case.told());
                tree.simplify()
            }
            // The first try is the case itself: alone it may be fine.
            Ok(_) if step == 0 => return format!("{found}\n(not when it is sent alone)"),
            Ok(_) => tree.complicate(),
        };
        if !goes_on {
            break;
        }
    }
    found
}
