//! An admitted policy: the only thing that may judge a request.
//!
//! Each request is judged by a fresh clone of the prepared engine, which shares
//! rules and data and costs next to nothing, so that an engine that broke is gone
//! with its request. [`Policy::decide`] never errs: a fault is a denial.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::{Engine, LimitError, Value};

use crate::ENTRY_POINT;
use crate::admission;
use crate::bundle::Bundle;
use crate::decision::{Decision, FaultCode};
use crate::engine;
use crate::input::Judged;
use crate::limits::Limits;
use crate::machine::{Machine, MachineReport};
use crate::pace::Pace;
use crate::problem::{Problem, Rejected};
use crate::value;

/// How often an evaluation is begun that the machine, not the policy, holds up.
const ATTEMPTS: usize = 4;
/// How much longer each further evaluation may wait for a processor.
const MORE: u32 = 4;

/// Processor time that this thread has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A bundle that was found fit to decide.
pub struct Policy {
    engine: Engine,
    limits: Limits,
    digest: String,
    revision: String,
    warnings: Vec<Problem>,
    pace: Pace,
    pub(crate) machine: Result<Machine, String>,
}

impl Policy {
    /// Checks a bundle in every way that is known and prepares it, or tells all
    /// that is wrong with it. Run it in a process of its own first: a bundle that
    /// is hostile enough can end the process.
    pub fn admit(bundle: Bundle, limits: &Limits) -> Result<Policy, Rejected> {
        admission::admit(bundle, Vec::new(), limits)
    }

    pub(crate) fn of(
        engine: Engine,
        limits: &Limits,
        bundle: &Bundle,
        warnings: Vec<Problem>,
    ) -> Policy {
        let machine = match limits.machine {
            true => Machine::admit(&engine, limits),
            false => Err("it is switched off".to_owned()),
        };
        Policy {
            machine,
            engine,
            limits: limits.clone(),
            digest: bundle.digest().to_owned(),
            revision: bundle.revision().to_owned(),
            warnings,
            pace: Pace::default(),
        }
    }

    /// Digest of the bundle.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Revision that the bundle names itself.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What somebody should look at though it did not keep the bundle out.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether it has lately judged so quickly that nobody notices who waits for it.
    pub(crate) fn is_quick(&self) -> bool {
        self.pace.is_quick()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A clone of the engine for other questions than the entry point.
    pub(crate) fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// Judges one input. Needs a thread with a large stack.
    pub(crate) fn decide(&self, input: &Judged) -> Decision {
        self.decide_read(input, self.limits.time_limit)
    }

    /// Judges the text of an input, with another time limit.
    pub(crate) fn decide_text(&self, input: &str, limit: Duration) -> Decision {
        let input = value::parse(input).map_err(|error| error.to_string());
        self.decide_read(&input, limit)
    }

    fn decide_read(&self, input: &Judged, limit: Duration) -> Decision {
        match input {
            Ok(input) => self.decide_within(input, limit),
            Err(why) => {
                let why = format!("the input is not read: {why}");
                Decision::fault(FaultCode::PolicyError, why)
            }
        }
    }

    /// Whether the bytecode machine was found to disagree and nobody was told yet: true once.
    pub fn machine_alarm(&self) -> bool {
        self.machine.as_ref().is_ok_and(Machine::alarm)
    }

    /// What the bytecode machine did, or why it decides nothing.
    pub fn machine(&self) -> Result<MachineReport, &str> {
        self.machine
            .as_ref()
            .map(Machine::report)
            .map_err(String::as_str)
    }

    /// What the machine decides, where it takes the bundle and the input.
    pub(crate) fn quick(&self, input: &Value, limit: Duration) -> Option<Decision> {
        let machine = self.machine.as_ref().ok();
        run(
            machine.filter(|machine| machine.takes(input))?,
            input,
            limit,
        )
    }

    fn decide_within(&self, input: &Value, limit: Duration) -> Decision {
        let machine = self.machine.as_ref().ok();
        let Some(machine) = machine.filter(|machine| machine.takes(input)) else {
            return self.interpret(input, limit);
        };
        let began = cpu_time();
        let quick = run(machine, input, limit);
        self.pace.note(cpu_time().saturating_sub(began));
        match quick {
            Some(decision) if !machine.is_sampled() => decision,
            Some(decision) => {
                let interpreted = self.interpret(input, limit);
                machine.hold(&decision, &interpreted);
                interpreted
            }
            None => self.interpret(input, limit),
        }
    }

    pub(crate) fn interpret(&self, input: &Value, limit: Duration) -> Decision {
        // The engine's limit is of wall time. A thread that was not given a processor for
        // all of it has not judged too long: it judges again, a few times at most, and each time
        // with more patience for the machine; never for the policy.
        let mut patience = limit;
        for _ in 1..ATTEMPTS {
            let began = cpu_time();
            let decision = self.attempt(input, patience);
            let took = cpu_time().saturating_sub(began);
            self.pace.note(took);
            let timed_out = decision
                .fault
                .as_ref()
                .is_some_and(|fault| fault.code == FaultCode::PolicyTimeout);
            if !timed_out || took >= limit / 10 * 9 {
                return decision;
            }
            patience = patience.saturating_mul(MORE);
        }
        self.attempt(input, patience)
    }

    fn attempt(&self, input: &Value, limit: Duration) -> Decision {
        // Some builtins panic on what a caller can send. What a panic leaves behind
        // belongs to this request's clone alone.
        catch_unwind(AssertUnwindSafe(|| self.evaluate(input, limit))).unwrap_or_else(|_| {
            Decision::fault(FaultCode::PolicyPanic, "the policy engine panicked")
        })
    }

    fn evaluate(&self, input: &Value, limit: Duration) -> Decision {
        let mut engine = self.engine.clone();
        engine::set_time_limit(&mut engine, limit, &self.limits);
        engine.set_input(input.clone());
        let value = match engine.eval_rule(ENTRY_POINT.to_owned()) {
            Ok(Value::Undefined) => {
                let why = format!("`{ENTRY_POINT}` is undefined");
                return Decision::fault(FaultCode::PolicyUndefined, why);
            }
            Ok(value) => value,
            Err(error) => {
                let text = error.to_string();
                if engine::is_timeout(error.downcast_ref::<LimitError>(), &text) {
                    let why = format!("the evaluation took longer than {limit:?}");
                    return Decision::fault(FaultCode::PolicyTimeout, why);
                }
                return Decision::fault(FaultCode::PolicyError, engine::one_line(&text));
            }
        };
        match value.to_json_str() {
            Ok(text) => Decision::from_json(&text),
            Err(error) => Decision::fault(FaultCode::PolicyMalformed, error.to_string()),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("digest", &self.digest)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What the machine decides of an input that it takes. A panic of it is the interpreter's to look
/// into.
fn run(machine: &Machine, input: &Value, limit: Duration) -> Option<Decision> {
    catch_unwind(AssertUnwindSafe(|| machine.decide(input, limit))).ok()?
}
