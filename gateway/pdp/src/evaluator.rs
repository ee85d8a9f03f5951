//! The threads that judge: named, few, with a large stack and a bounded queue.
//!
//! Every question is answered exactly once, and never with an error: a queue that
//! is full, a panic or a closed evaluator is a denial with a fault. A thread
//! outlives whatever a policy or a callback does to it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::decision::{Decision, FaultCode};
use crate::input::{Document, Judged};
use crate::limits::Limits;
use crate::policy::Policy;

/// Longest input that is judged in place, bytes: what builtins do between two looks at
/// the time grows with it.
const MAX_IN_PLACE: usize = 16 << 10;

thread_local! {
    static HAS_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread was started with the stack of [`Limits::stack_bytes`], so that
/// policy may be judged on it.
pub fn on_thread_with_stack() {
    HAS_STACK.set(true);
}

type Done = Box<dyn FnOnce(Decision) + Send>;

/// One question.
struct Job {
    policy: Arc<Policy>,
    input: Judged,
    done: Done,
}

impl Job {
    fn run(self) {
        let Job {
            policy,
            input,
            done,
        } = self;
        tell(done, policy.decide(&input));
    }

    fn refuse(self, why: &str) {
        tell(self.done, Decision::fault(FaultCode::PolicyOverloaded, why));
    }
}

/// Calls back; a callback that panics is its caller's loss, not the thread's.
fn tell(done: Done, decision: Decision) {
    let _ = catch_unwind(AssertUnwindSafe(move || done(decision)));
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job.run();
        }
    }

    /// The next question; none when the evaluator is closed and all are answered.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A pool of threads that judge.
pub struct Evaluator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    capacity: usize,
}

impl Evaluator {
    /// Starts the threads. Where none can be started, every question is denied.
    pub fn start(threads: usize, limits: Limits) -> Evaluator {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
        });
        let start = |n: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("vaultgate-pdp-{n}"))
                .stack_size(limits.stack_bytes)
                .spawn(move || shared.work())
                .ok()
        };
        let threads: Vec<_> = (0..threads.max(1)).filter_map(start).collect();
        Evaluator {
            shared,
            threads,
            capacity: limits.queue,
        }
    }

    /// Judges here and now, if that is sure to be quick: a thread that waits for another
    /// costs more than the judgement. Otherwise, [`Evaluator::submit`].
    pub fn in_place(&self, policy: &Policy, input: &Document) -> Option<Decision> {
        let short = input.text().get().len() <= MAX_IN_PLACE;
        let here = HAS_STACK.get() && short && policy.is_quick();
        here.then(|| policy.decide(input.value()))
    }

    /// Asks. `done` is called once: on a thread of the evaluator, or at once on
    /// the caller's when there is no room.
    pub fn submit(
        &self,
        policy: Arc<Policy>,
        input: &Document,
        done: impl FnOnce(Decision) + Send + 'static,
    ) {
        let job = Job {
            policy,
            input: input.value().clone(),
            done: Box::new(done),
        };
        if self.threads.is_empty() {
            return job.refuse("no evaluation thread could be started");
        }
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.capacity {
            drop(queue);
            return job.refuse("the queue of the evaluator is full");
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Questions that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        let own = thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a callback on one of these threads.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("threads", &self.threads.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
