//! How long a connection may keep the gateway waiting.
//!
//! Two threats hold a place and its memory for nothing: a client that asks nothing (a
//! preface without end, a header block that drips, PINGs that are answered for ever), and
//! one that does not take the answers it asked for. The clocks of the protocol crates see
//! neither over HTTP/2, so this one goes by requests and answers, whatever the protocol.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::Instant;

/// Most of an answer that is handed to the protocol at once, bytes: the rest waits here,
/// where it is seen whether the client takes it.
const PIECE: usize = 16 << 10;
/// Time given to a client to close a connection after it was told that it ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The patience with one connection.
pub(super) struct Patience {
    /// Longest time without a request in flight.
    idle: Duration,
    /// Longest time for one answer to be taken.
    answer: Duration,
    state: Mutex<State>,
}

struct State {
    /// Requests since the connection began; the newest one's number.
    requests: u64,
    /// Requests whose answers are not yet taken.
    open: usize,
    /// Since when none is open.
    quiet_since: Instant,
    /// When the answers that wait for their client were ready, by request.
    answers: BTreeMap<u64, Instant>,
    leaving: bool,
}

/// Why patience ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// Nothing was ever asked.
    Silent,
    /// Nothing more was asked.
    Idle,
    /// An answer was not taken.
    Unread,
}

impl Patience {
    /// With a connection that begins now.
    pub(super) fn new(idle: Duration, answer: Duration) -> Arc<Patience> {
        Arc::new(Patience {
            idle,
            answer,
            state: Mutex::new(State {
                requests: 0,
                open: 0,
                quiet_since: Instant::now(),
                answers: BTreeMap::new(),
                leaving: false,
            }),
        })
    }

    /// A request has come.
    pub(super) fn asked(self: &Arc<Patience>) -> Exchange {
        let mut state = self.lock();
        state.requests += 1;
        state.open += 1;
        Exchange {
            number: state.requests,
            patience: Arc::clone(self),
        }
    }

    /// The client was told that the connection ends: it has little time when nothing is open.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.leaving = true;
        state.quiet_since = Instant::now();
    }

    /// Waits until patience ends.
    pub(super) async fn spent(&self) -> Spent {
        loop {
            let (at, why) = self.deadline();
            match why {
                Some(why) if at <= Instant::now() => return why,
                _ => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// When to look again, and what is over then if nothing happens until then.
    fn deadline(&self) -> (Instant, Option<Spent>) {
        let state = self.lock();
        if state.open == 0 {
            let idle = if state.leaving { FAREWELL } else { self.idle };
            let why = if state.requests == 0 {
                Spent::Silent
            } else {
                Spent::Idle
            };
            return (state.quiet_since + idle, Some(why));
        }
        // An exchange that ends does not wake this clock: it looks for itself.
        let look = Instant::now() + self.idle / 2;
        match state.answers.first_key_value() {
            Some((_, ready)) if *ready + self.answer < look => {
                (*ready + self.answer, Some(Spent::Unread))
            }
            _ => (look, None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request until its answer is taken, or given up.
pub(super) struct Exchange {
    number: u64,
    patience: Arc<Patience>,
}

impl Exchange {
    /// Its answer is ready.
    pub(super) fn answered(self, body: Full<Bytes>) -> Taken {
        let mut state = self.patience.lock();
        state.answers.insert(self.number, Instant::now());
        drop(state);
        Taken {
            left: body,
            held: Bytes::new(),
            exchange: Some(self),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.patience.lock();
        state.answers.remove(&self.number);
        state.open -= 1;
        if state.open == 0 {
            state.quiet_since = Instant::now();
        }
    }
}

/// The body of an answer, handed over in pieces as the client takes them.
pub(super) struct Taken {
    left: Full<Bytes>,
    /// What was read from `left` and not handed over.
    held: Bytes,
    /// Gone once the last piece is handed over.
    exchange: Option<Exchange>,
}

impl Body for Taken {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.held.is_empty() {
            match Pin::new(&mut self.left).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.held = frame.into_data().unwrap_or_default();
                }
                other => return other,
            }
        }
        let size = self.held.len().min(PIECE);
        let piece = self.held.split_to(size);
        if self.is_end_stream() {
            self.exchange = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.left.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left.size_hint().exact().unwrap_or(0);
        SizeHint::with_exact(left + self.held.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tokio::time::Instant;

    use super::{FAREWELL, PIECE, Patience, Spent};

    const IDLE: Duration = Duration::from_secs(10);
    const ANSWER: Duration = Duration::from_secs(60);

    async fn seconds_until_spent(patience: &Patience) -> (f64, Spent) {
        let began = Instant::now();
        let why = patience.spent().await;
        (began.elapsed().as_secs_f64(), why)
    }

    fn body(size: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; size]))
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_given_up() {
        let patience = Patience::new(IDLE, ANSWER);
        let (seconds, why) = seconds_until_spent(&patience).await;
        assert!((10.0..10.1).contains(&seconds), "{seconds}");
        assert_eq!(why, Spent::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_starts_anew_when_the_last_answer_is_taken() {
        let patience = Patience::new(IDLE, ANSWER);
        let exchange = patience.asked();
        let late = Arc::clone(&patience);
        tokio::spawn(async move {
            // The gateway's own work has limits of its own.
            tokio::time::sleep(Duration::from_secs(100)).await;
            exchange.answered(body(1)).collect().await.unwrap();
            late.asked();
        });
        let (seconds, why) = seconds_until_spent(&patience).await;
        assert!((110.0..110.1).contains(&seconds), "{seconds}");
        assert_eq!(why, Spent::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends_it_however_much_is_asked_besides() {
        let patience = Patience::new(IDLE, ANSWER);
        let mut unread = patience.asked().answered(body(3 * PIECE));
        unread.frame().await.unwrap().unwrap();
        let asking = Arc::clone(&patience);
        let asker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                asking.asked().answered(body(1)).collect().await.unwrap();
            }
        });
        let (seconds, why) = seconds_until_spent(&patience).await;
        assert!((60.0..60.1).contains(&seconds), "{seconds}");
        assert_eq!(why, Spent::Unread);
        asker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_told_to_leave_has_little_time() {
        let patience = Patience::new(IDLE, ANSWER);
        drop(patience.asked());
        patience.leave();
        let began = Instant::now();
        assert_eq!(patience.spent().await, Spent::Idle);
        assert_eq!(began.elapsed().as_secs(), FAREWELL.as_secs());
    }

    #[tokio::test]
    async fn a_body_arrives_whole_and_in_pieces() {
        let patience = Patience::new(IDLE, ANSWER);
        for size in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut taken = patience.asked().answered(body(size));
            let mut seen = 0;
            while let Some(frame) = taken.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                assert!(piece.len() <= PIECE);
                seen += piece.len();
            }
            assert_eq!(seen, size);
        }
        assert_eq!(patience.lock().open, 0);
        assert!(patience.lock().answers.is_empty());
    }
}
