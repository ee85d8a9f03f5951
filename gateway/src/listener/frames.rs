//! Meters what a client sends before anybody reads it.
//!
//! HTTP/2 has frames that cost a client a few bytes and the server real work (SETTINGS
//! touches every open stream, PING asks for an answer: CVE-2019-9511 to 9518 and their
//! successors). They are honest only in the company of requests and answers, so they are
//! paid from a credit which requests, answers and time fill, and a connection without
//! credit ends. Whatever the protocol, a connection that always has something to read lets
//! others have their turn.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::telemetry::Metrics;

/// Bytes that one connection reads before others have their turn.
const TURN: usize = 16 << 10;
/// Most credit, and what a connection begins with.
const CREDIT: f64 = 1_000.0;
/// Credit earned by a second, by a header block, and by a byte that the client took.
const SECOND: f64 = 100.0;
const REQUEST: f64 = 8.0;
const TAKEN: f64 = 1.0 / 4_096.0;
/// Price of a SETTINGS frame; of any other that moves nothing forward it is 1.
const SETTINGS: f64 = 20.0;
/// DATA of at least so many bytes is free.
const PLENTY: usize = 256;
/// What an HTTP/2 client says first, before any frame.
const PREFACE: usize = 24;

/// A connection that is metered.
pub(super) struct Metered<S> {
    stream: S,
    frames: Option<Frames>,
    metrics: Arc<Metrics>,
    /// Bytes read in this turn.
    read: usize,
}

impl<S> Metered<S> {
    /// A connection of either protocol.
    pub(super) fn new(stream: S, http2: bool, metrics: Arc<Metrics>) -> Metered<S> {
        Metered {
            stream,
            frames: http2.then(Frames::new),
            metrics,
            read: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN {
            self.read = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if polled.is_pending() {
            self.read = 0;
        }
        ready!(polled)?;
        let new = into.filled().get(before..).unwrap_or_default();
        self.read += new.len();
        if let Some(frames) = &mut self.frames {
            frames.earn(Instant::now());
            if !frames.pay_for(new) {
                self.metrics.connection_refused("flood");
                return Poll::Ready(Err(io::Error::other("a flood of control frames")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write(context, data))?;
        Poll::Ready(Ok(self.taken(taken)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, data))?;
        Poll::Ready(Ok(self.taken(taken)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Metered<S> {
    fn taken(&mut self, bytes: usize) -> usize {
        if let Some(frames) = &mut self.frames {
            frames.credit += TAKEN * bytes as f64;
        }
        bytes
    }
}

/// The frames of one HTTP/2 connection: only their heads are looked at, and nothing is
/// judged but their number.
struct Frames {
    credit: f64,
    at: Instant,
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    /// The head that is being read.
    head: [u8; 9],
    have: usize,
}

impl Frames {
    fn new() -> Frames {
        Frames {
            credit: CREDIT,
            at: Instant::now(),
            skip: PREFACE,
            head: [0; 9],
            have: 0,
        }
    }

    /// Adds what time has earned.
    fn earn(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.credit = (self.credit + SECOND * seconds).min(CREDIT);
    }

    /// Pays for the frames whose heads end in `data`; false when there is no credit left.
    fn pay_for(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let passed = self.skip.min(data.len());
            self.skip -= passed;
            data = data.get(passed..).unwrap_or_default();
            let wanted = self.head.len() - self.have;
            let (part, rest) = data.split_at(wanted.min(data.len()));
            if let Some(space) = self.head.get_mut(self.have..self.have + part.len()) {
                space.copy_from_slice(part);
            }
            self.have += part.len();
            data = rest;
            if self.have == self.head.len() {
                let [a, b, c, kind, flags, ..] = self.head;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.have = 0;
                self.credit -= price(kind, flags, self.skip);
            }
        }
        self.credit >= 0.0
    }
}

/// What a frame costs; a header block earns.
fn price(kind: u8, flags: u8, length: usize) -> f64 {
    const ACK: u8 = 1;
    match kind {
        0 if length >= PLENTY => 0.0,
        1 => -REQUEST,
        4 if flags & ACK == 0 => SETTINGS,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CREDIT, Frames, PREFACE};

    /// A frame of `length` bytes.
    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = (length as u32).to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + length, 0);
        bytes
    }

    fn opened() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.pay_for(&[b'P'; PREFACE]));
        frames
    }

    /// How many of these frames go through at once, up to `most`.
    fn suffered(frame: &[u8], most: usize) -> usize {
        let mut frames = opened();
        (0..most).take_while(|_| frames.pay_for(frame)).count()
    }

    #[test]
    fn frames_that_ask_for_nothing_run_out() {
        for kind in [2, 3, 5, 6, 7, 8, 9, 0xee] {
            assert_eq!(
                suffered(&frame(kind, 0, 8), 5_000),
                CREDIT as usize,
                "{kind}"
            );
        }
        assert_eq!(suffered(&frame(0, 0, 0), 5_000), CREDIT as usize);
        assert_eq!(suffered(&frame(4, 0, 6), 5_000), 50);
    }

    #[test]
    fn requests_and_bodies_do_not() {
        // A request by a client that is generous with control frames.
        let mut request = frame(1, 4, 100);
        request.extend(frame(8, 0, 4));
        request.extend(frame(8, 0, 4));
        request.extend(frame(2, 0, 5));
        request.extend(frame(0, 1, 2));
        assert_eq!(suffered(&request, 5_000), 5_000);
        assert_eq!(suffered(&frame(0, 0, 16_384), 5_000), 5_000);
    }

    #[test]
    fn time_gives_credit_back_up_to_its_most() {
        let mut frames = opened();
        frames.credit = 0.0;
        let start = frames.at;
        frames.earn(start + Duration::from_secs(2));
        assert!((frames.credit - 200.0).abs() < 0.001);
        frames.earn(start + Duration::from_secs(3_600));
        assert!((frames.credit - CREDIT).abs() < 0.001);
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let ping = frame(6, 0, 8);
        for size in [1, 5, 9, 16] {
            let mut frames = opened();
            for piece in ping.repeat(100).chunks(size) {
                assert!(frames.pay_for(piece));
            }
            assert!((frames.credit - (CREDIT - 100.0)).abs() < 0.001, "{size}");
        }
    }
}
