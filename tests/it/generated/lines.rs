//! The connections of a worker: which case goes where, and what is sent again.
//!
//! A connection that was used before may be closed by the gateway, which waited too
//! long for the next request: what was not answered on it is sent once more on a new
//! one. Whatever arrives twice by that is found by the judge.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::case::{Case, How};
use super::judge::Outcome;
use super::stage::Stage;
use super::wire::{Got, Http1, Http2, Reply};

/// Requests of one connection.
const REUSED: usize = 200;

/// The connections of one worker.
pub(super) struct Lines<'s> {
    stage: &'s Stage,
    http1: Option<Http1>,
    http2: Option<Http2>,
    used: usize,
    from: u32,
}

impl<'s> Lines<'s> {
    pub(super) fn new(stage: &'s Stage, worker: usize, seed: u64) -> Lines<'s> {
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
    pub(super) fn send(&mut self, mut cases: VecDeque<(u64, Case)>) -> Vec<Outcome> {
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
        let reused = self.http1.is_some();
        let line = self.http1.get_or_insert_with(|| stage.door.http1(from));
        line.write(&bytes);
        let mut group = group.into_iter();
        let (mut ended, mut unanswered) = (false, None);
        for (place, case) in group.by_ref() {
            let (got, closes) = line.reply(false);
            ended = closes;
            if reused && matches!(got, Got::Ended) {
                unanswered = Some((place, case));
                break;
            }
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
        for left in group.rev().chain(unanswered) {
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
        let reused = self.http1.is_some();
        let line = self.http1.get_or_insert_with(|| stage.door.http1(from));
        line.write(bytes);
        let (got, closes) = line.reply(bodiless);
        if closes {
            self.http1 = None;
        }
        match got {
            Got::Ended if reused => self.alone(bytes, bodiless),
            got => got,
        }
    }

    fn stream(&mut self, stream: &super::case::Stream, mark: &str) -> Got {
        let stage = self.stage;
        let frames = stream.frames(&|bytes| stage.put(bytes, mark));
        let from = self.address_if(self.http2.is_none());
        let reused = self.http2.is_some();
        let line = self.http2.get_or_insert_with(|| stage.door.http2(from));
        let (got, goes_on) = line.ask(&frames);
        if !goes_on {
            self.http2 = None;
        }
        match got {
            Got::Ended if reused && !goes_on => self.stream(stream, mark),
            got => got,
        }
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
