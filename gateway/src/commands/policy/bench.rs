//! `vaultgate policy bench`: how long decisions take.

use std::path::Path;

use clap::ValueEnum;
use vaultgate_pdp::{Bencher, Bundle, Limits, Policy};

use super::Format;
use crate::commands::{FAILED, say};

/// What decides when decisions are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timed {
    /// The interpreter, which decides whatever is asked
    Interpreter,
    /// The bytecode machine, for plain reads and snapshots
    Machine,
}

/// Times decisions of one engine on a file's inputs.
pub(super) fn run(
    dir: &Path,
    input: &Path,
    engine: Timed,
    count: usize,
    format: Format,
) -> anyhow::Result<u8> {
    let limits = Limits {
        machine: engine == Timed::Machine,
        ..Limits::default()
    };
    let policy = Policy::admit(Bundle::load(dir)?, &limits)
        .map_err(|rejected| anyhow::anyhow!("{rejected}"))?;
    let text = std::fs::read_to_string(input)?;
    let inputs: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    anyhow::ensure!(!inputs.is_empty(), "{}: there is no input", input.display());
    let bencher = match engine {
        Timed::Interpreter => Bencher::Interpreter,
        Timed::Machine => Bencher::Machine,
    };
    let bench = vaultgate_pdp::bench(&policy, &inputs, bencher, count)
        .map_err(|why| anyhow::anyhow!("{why}"))?;
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let [p50, p99] = [0.5, 0.99].map(|share| micros(bench.percentile(share)));
    let mean = micros(bench.mean());
    let decided = bench.times.len();
    match format {
        Format::Json => say(&serde_json::json!({
            "decided": decided, "handed_over": bench.handed_over,
            "p50_us": p50, "p99_us": p99, "mean_us": mean,
        })
        .to_string()),
        Format::Text => say(&format!(
            "{decided} decisions: p50 {p50:.0} us, p99 {p99:.0} us, mean {mean:.0} us; {} not decided",
            bench.handed_over
        )),
    }
    Ok(if decided == 0 { FAILED } else { 0 })
}
