//! How long decisions take: each engine alone, from an input that was read to the decision, as
//! the gateway judges it.

use std::time::{Duration, Instant};

use crate::policy::Policy;
use crate::{stack, value};

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bencher {
    /// The interpreter, which decides whatever is asked.
    Interpreter,
    /// The bytecode machine, for plain reads and snapshots.
    Machine,
}

/// The times of some decisions.
#[derive(Clone, Debug, Default)]
pub struct Bench {
    /// Each decision's time, in order of length.
    pub times: Vec<Duration>,
    /// Inputs that the machine did not decide: the interpreter has to. They are not timed.
    pub handed_over: u64,
}

impl Bench {
    /// The time that `share` of the decisions did not take longer than, of 0.0 to 1.0.
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list that fits in memory"
        )]
        let place = (last as f64 * share).round() as usize;
        self.times.get(place).copied().unwrap_or_default()
    }

    /// The mean time.
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.times.len()).unwrap_or(u32::MAX).max(1);
        self.times.iter().sum::<Duration>() / count
    }
}

/// Decides on the inputs in turn, `count` times in all, after a tenth of that untimed.
///
/// # Errors
///
/// Says which input cannot be read, or why the machine does not take the bundle.
pub fn bench(
    policy: &Policy,
    inputs: &[&str],
    bencher: Bencher,
    count: usize,
) -> Result<Bench, String> {
    let read = inputs.iter().zip(1..);
    let read = read.map(|(input, number)| {
        value::parse(input).map_err(|error| format!("input {number}: {error}"))
    });
    let inputs = read.collect::<Result<Vec<_>, String>>()?;
    if bencher == Bencher::Machine {
        policy.machine()?;
    }
    let limit = policy.limits().time_limit;
    let run = || {
        let mut bench = Bench::default();
        for (input, turn) in inputs.iter().cycle().zip(0..count + count / 10) {
            let began = Instant::now();
            let decided = match bencher {
                Bencher::Interpreter => policy.interpret(input, limit).fault.is_none(),
                Bencher::Machine => policy.quick(input, limit).is_some(),
            };
            let took = began.elapsed();
            match (turn < count / 10, decided) {
                (true, _) => {}
                (false, true) => bench.times.push(took),
                (false, false) => bench.handed_over += 1,
            }
        }
        bench.times.sort_unstable();
        bench
    };
    stack::on_large_stack(policy.limits().stack_bytes, run).map_err(|error| error.to_string())
}
