//! The bytecode machine: a quicker way to the same answer for plain reads and snapshots.
//!
//! The interpreter decides. The machine takes over only what cannot destroy anything, and hands
//! the request back when it meets what the two evaluate differently: an error of a builtin or
//! of arithmetic, which it swallows, so that a rule that denies would be lost; a rule that
//! could have two values. Every so often both are asked; where they do not agree the machine is
//! out for good, and says so.

mod guarded;
mod watched;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::instructions::Instruction;
use regorus::rvm::program::{Program, RuleInfo, RuleType};
use regorus::rvm::vm::RegoVM;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::ENTRY_POINT;
use crate::admission;
use crate::decision::{Decision, FaultCode};
use crate::engine;
use crate::limits::Limits;

/// Most instructions of one decision: some thousand are usual.
const MAX_INSTRUCTIONS: usize = 200_000;
/// One decision of so many is made by both.
const SAMPLE: u64 = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The machine of this thread, and whose program it holds.
    static HOT: RefCell<Option<(u64, RegoVM)>> = const { RefCell::new(None) };
}

/// A bundle compiled for the machine.
pub(crate) struct Machine {
    id: u64,
    program: Arc<Program>,
    data: Value,
    limits: Limits,
    asked: AtomicU64,
    decided: AtomicU64,
    handed_over: AtomicU64,
    checked: AtomicU64,
    out: AtomicBool,
    told: AtomicBool,
}

/// What the machine of a policy has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineReport {
    /// Decisions that it made alone.
    pub decided: u64,
    /// Requests that it handed to the interpreter: an error, or a rule that is not for it.
    pub handed_over: u64,
    /// Decisions that both made.
    pub checked: u64,
    /// Whether the two did not agree: it decides nothing any more.
    pub out: bool,
}

impl Machine {
    /// Compiles an engine's rules, or says what keeps them from the machine.
    pub(crate) fn admit(engine: &Engine, limits: &Limits) -> Result<Machine, String> {
        let mut engine = looking(engine)?;
        refuse_default_functions(&mut engine)?;
        let modules = admission::modules(&mut engine);
        let rules = modules.iter().flat_map(|module| &module.rules);
        // Rules of which no definition can have another value than the one that stands there.
        let mut constant: BTreeMap<String, bool> = BTreeMap::new();
        for rule in rules {
            let known = constant.entry(rule.path.join(".")).or_insert(true);
            *known &= rule.constant;
        }
        let compiled = engine
            .compile_with_entrypoint(&ENTRY_POINT.into())
            .map_err(|error| error.to_string())?;
        let program = Compiler::compile_from_policy(&compiled, &[ENTRY_POINT])
            .map_err(|error| error.to_string())?;
        let mut program = Program::clone(&program);
        let differing = program.rule_infos.iter().enumerate().filter(|(_, rule)| {
            let constant = constant.get(&rule.name) == Some(&true);
            differs(&program, rule, constant)
        });
        let differing: Vec<usize> = differing.map(|(place, _)| place).collect();
        // The interpreter looks at every definition, and meets the errors of each.
        for rule in &mut program.rule_infos {
            rule.early_exit_on_first_success = false;
        }
        watched::watch(&mut program)?;
        for place in differing {
            watched::hand_over(&mut program, place);
        }
        Ok(Machine {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            program: Arc::new(program),
            data: engine.get_data(),
            limits: limits.clone(),
            asked: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            out: AtomicBool::new(false),
            told: AtomicBool::new(false),
        })
    }

    /// Whether it may decide this: a plain read or a snapshot, as long as it is not out.
    pub(crate) fn takes(&self, input: &Value) -> bool {
        let class = &input["operation"]["class"];
        let plain = class == &Value::from("read") || class == &Value::from("snapshot");
        plain && !self.out.load(Ordering::Relaxed)
    }

    /// Decides, or nothing: then the interpreter has to.
    pub(crate) fn decide(&self, input: &Value, limit: Duration) -> Option<Decision> {
        let decision = self.run(input, limit);
        let counter = match decision {
            Some(_) => &self.decided,
            None => &self.handed_over,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        decision
    }

    /// Whether this decision is one that both make.
    pub(crate) fn is_sampled(&self) -> bool {
        self.asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SAMPLE)
    }

    /// Holds its decision against the interpreter's. Decisions that ran out of time say nothing.
    pub(crate) fn hold(&self, own: &Decision, interpreted: &Decision) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let fault = interpreted.fault.as_ref().map(|fault| fault.code);
        if fault != Some(FaultCode::PolicyTimeout) && own != interpreted {
            self.out.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is out and this is the first to hear of it.
    pub(crate) fn alarm(&self) -> bool {
        self.out.load(Ordering::Relaxed) && !self.told.swap(true, Ordering::Relaxed)
    }

    /// What it has done.
    pub(crate) fn report(&self) -> MachineReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MachineReport {
            decided: read(&self.decided),
            handed_over: read(&self.handed_over),
            checked: read(&self.checked),
            out: self.out.load(Ordering::Relaxed),
        }
    }

    fn run(&self, input: &Value, limit: Duration) -> Option<Decision> {
        // Taken out, so that a machine that panicked or stopped half way is not used again.
        let kept = HOT.with_borrow_mut(Option::take);
        let mut machine = match kept {
            Some((id, machine)) if id == self.id => machine,
            _ => self.fresh()?,
        };
        machine.set_execution_timer_config(Some(ExecutionTimerConfig {
            limit,
            check_interval: self.limits.check_interval,
        }));
        machine.set_input(input.clone());
        let value = watched::quietly(|| machine.execute().ok())??;
        let text = match value {
            Value::Undefined => return None,
            value => value.to_json_str().ok()?,
        };
        let decision = Decision::from_json(&text);
        machine.set_input(Value::Null);
        HOT.set(Some((self.id, machine)));
        decision.fault.is_none().then_some(decision)
    }

    fn fresh(&self) -> Option<RegoVM> {
        let mut machine = RegoVM::new();
        machine.set_max_instructions(MAX_INSTRUCTIONS);
        machine.load_program(Arc::clone(&self.program));
        machine.set_data(self.data.clone()).ok()?;
        Some(machine)
    }
}

/// The same rules and data with looks at names that could have no value.
fn looking(engine: &Engine) -> Result<Engine, String> {
    let mut engine = engine.clone();
    let mut looking = engine::empty();
    for module in engine.get_modules() {
        let source = &module.package.span.source;
        let tree = serde_json::to_value(module).map_err(|error| error.to_string())?;
        let text = guarded::guarded(source.get_contents(), &tree).ok_or_else(|| {
            format!(
                "{}: an assignment stands in no known place",
                source.get_path()
            )
        })?;
        looking
            .add_policy(source.get_path().clone(), text)
            .map_err(|error| engine::one_line(&error.to_string()))?;
    }
    let mut data = engine.get_data();
    let members = data.as_object_mut().map_err(|error| error.to_string())?;
    members.insert(Value::from(guarded::HERE), Value::from(true));
    looking.add_data(data).map_err(|error| error.to_string())?;
    Ok(looking)
}

/// Default functions are undefined to the machine.
fn refuse_default_functions(engine: &mut Engine) -> Result<(), String> {
    use regorus::unstable::Rule;
    for module in engine.get_modules() {
        for rule in &module.policy {
            if let Rule::Default { args, span, .. } = rule.as_ref()
                && !args.is_empty()
            {
                return Err(format!("line {}: a function has a default", span.line));
            }
        }
    }
    Ok(())
}

/// Whether the two could evaluate a rule differently: of two values for one rule the
/// interpreter makes an error, and the machine none. `constant` rules have one value only.
fn differs(program: &Program, rule: &RuleInfo, constant: bool) -> bool {
    match rule.rule_type {
        RuleType::PartialObject => return true,
        RuleType::PartialSet => return false,
        RuleType::Complete => {}
    }
    if let Some(default) = rule.default_literal_index {
        match program.literals.get(usize::from(default)) {
            Some(Value::Bool(_) | Value::Null | Value::String(_) | Value::Number(_)) => {}
            Some(Value::Array(items)) if items.is_empty() => {}
            _ => return true,
        }
    }
    if rule.early_exit_on_first_success {
        return false;
    }
    let bodies = rule.definitions.iter().map(Vec::len).sum::<usize>();
    let mut starts = rule.definitions.iter().flatten();
    bodies > 1 || (!constant && starts.any(|start| loops(program, *start)))
}

/// Whether a body goes through something, outside of comprehensions and of `every`.
fn loops(program: &Program, start: u32) -> bool {
    use regorus::rvm::instructions::LoopMode;
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let mut depth = 0_usize;
    for instruction in program.instructions.iter().skip(start) {
        match instruction {
            Instruction::RuleReturn {} => return false,
            Instruction::ComprehensionBegin { .. } => depth += 1,
            Instruction::ComprehensionEnd {} => depth = depth.saturating_sub(1),
            Instruction::LoopStart { params_index } if depth == 0 => {
                let mode = program.instruction_data.get_loop_params(*params_index);
                if mode.is_none_or(|params| params.mode != LoopMode::Every) {
                    return true;
                }
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
