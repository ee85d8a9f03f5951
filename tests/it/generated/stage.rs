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
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use vaultgate_sim::{Issuer, TokenRequest};

use super::case::{Case, HOST, How, MARK, TOKEN};
use super::judge::{self, Outcome};
use super::wire::{Door, Got, Http1, Http2, Reply};
use crate::harness::{Setup, World, repository};

/// Cases of one gateway's life.
const ROUND: u64 = 10_000;
/// Connections at a time.
const WORKERS: usize = 24;
/// Requests that are sent before their answers are read.
const PIPELINED: usize = 8;
/// Requests of one connection.
const REUSED: usize = 200;
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
    fn put(&self, bytes: &[u8], mark: &str) -> Vec<u8> {
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
    let total = (setting("VAULTGATE_GENERATED", 6_000) * family.share / 100).max(100);
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

/// The connections of one worker.
struct Lines<'s> {
    stage: &'s Stage,
    http1: Option<Http1>,
    http2: Option<Http2>,
    used: usize,
    from: u32,
}

impl<'s> Lines<'s> {
    fn new(stage: &'s Stage, worker: usize, seed: u64) -> Lines<'s> {
        // 127.0.0.0/8 is this machine's: each connection may have its own address.
        let start = (seed.wrapping_mul(0x9e37_79b9) ^ (worker as u64) << 18) & 0x7f_ffff;
        Lines {
            stage,
            http1: None,
            http2: None,
            used: 0,
            from: u32::try_from(start).unwrap(),
        }
    }

    fn address(&mut self) -> Ipv4Addr {
        self.from = (self.from + 1) & 0x7f_ffff;
        self.used = 0;
        Ipv4Addr::from_bits(0x7f00_0002 + self.from)
    }

    fn mark(place: u64) -> String {
        format!("case-{place}.")
    }

    /// Sends cases, several before the first answer where that is safe.
    fn send(&mut self, mut cases: VecDeque<(u64, Case)>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some((place, case)) = cases.pop_front() {
            if self.used > REUSED {
                (self.http1, self.http2) = (None, None);
            }
            self.used += 1;
            let mark = Lines::mark(place);
            let got = match &case.how {
                How::Ask(_) if case.pipelines() => {
                    let mut group = vec![(place, case)];
                    while let Some((place, case)) = cases.pop_front_if(|(_, case)| case.pipelines())
                    {
                        group.push((place, case));
                    }
                    self.pipeline(group, &mut outcomes, &mut cases);
                    continue;
                }
                How::Ask(ask) if !ask.http2 => {
                    let bytes = self.stage.put(&ask.written(), &mark);
                    vec![self.alone(&bytes, ask.method == "HEAD")]
                }
                How::Ask(ask) => vec![self.stream(&ask.stream(), &mark)],
                How::Stream(stream) => vec![self.stream(stream, &mark)],
                How::Bytes(bytes) => self.bytes(bytes, &mark),
            };
            outcomes.push(Outcome {
                place,
                mark,
                case,
                got,
            });
        }
        outcomes
    }

    /// Requests one after another without waiting. What was not answered before the
    /// connection ended is sent again.
    fn pipeline(
        &mut self,
        group: Vec<(u64, Case)>,
        outcomes: &mut Vec<Outcome>,
        cases: &mut VecDeque<(u64, Case)>,
    ) {
        let stage = self.stage;
        let mut bytes = Vec::new();
        for (place, case) in &group {
            if let How::Ask(ask) = &case.how {
                bytes.extend(stage.put(&ask.written(), &Lines::mark(*place)));
            }
        }
        let from = self.address_if(self.http1.is_none());
        let line = self.http1.get_or_insert_with(|| stage.door.http1(from));
        line.write(&bytes);
        let mut group = group.into_iter();
        let mut ended = false;
        for (place, case) in group.by_ref() {
            let (got, closes) = line.reply(false);
            ended = closes;
            let mark = Lines::mark(place);
            outcomes.push(Outcome {
                place,
                mark,
                case,
                got: vec![got],
            });
            if closes {
                break;
            }
        }
        if ended {
            self.http1 = None;
        }
        for left in group.rev() {
            cases.push_front(left);
        }
    }

    fn address_if(&mut self, new: bool) -> Ipv4Addr {
        if new {
            self.address()
        } else {
            Ipv4Addr::LOCALHOST
        }
    }

    fn alone(&mut self, bytes: &[u8], bodiless: bool) -> Got {
        let stage = self.stage;
        let from = self.address_if(self.http1.is_none());
        let line = self.http1.get_or_insert_with(|| stage.door.http1(from));
        line.write(bytes);
        let (got, closes) = line.reply(bodiless);
        if closes {
            self.http1 = None;
        }
        got
    }

    fn stream(&mut self, stream: &super::case::Stream, mark: &str) -> Got {
        let stage = self.stage;
        let frames = stream.frames(&|bytes| stage.put(bytes, mark));
        let from = self.address_if(self.http2.is_none());
        let line = self.http2.get_or_insert_with(|| stage.door.http2(from));
        let (got, goes_on) = line.ask(&frames);
        if !goes_on {
            self.http2 = None;
        }
        got
    }

    /// A connection of its own, read until it ends.
    fn bytes(&mut self, bytes: &[u8], mark: &str) -> Vec<Got> {
        let from = self.address();
        let mut line = self.stage.door.http1(from);
        line.write(&self.stage.put(bytes, mark));
        let mut all: Vec<Got> = Vec::new();
        loop {
            let (got, closes) = line.reply(false);
            let answered = matches!(got, Got::Reply(Reply { .. }));
            if answered || all.is_empty() || matches!(got, Got::Silent) {
                all.push(got);
            }
            if closes || !answered {
                return all;
            }
        }
    }
}
