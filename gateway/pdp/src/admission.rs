//! Whether a bundle is fit to decide. Everything that is found is told at once.
//!
//! The engine accepts much that is dangerous: recursion that overflows its stack
//! and aborts the process, calls of functions that do not exist, builtins that
//! look at the clock or the network. None of it reaches a request, because a
//! bundle that holds it is not admitted. The order matters: nothing is compiled
//! or evaluated before the calls are known to end.

mod builtins;
mod calls;
mod culprit;
mod grants;
mod graph;
mod misread;
mod probes;
mod shape;
mod syntax;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use regorus::Engine;
use regorus::languages::rego::compiler::{Compiler, CompilerError};

use crate::ENTRY_POINT;
use crate::bundle::Bundle;
use crate::engine;
use crate::limits::Limits;
use crate::policy::Policy;
use crate::problem::{Problem, Rejected, Severity, settle};
use crate::stack;

pub(crate) use builtins::{allowed_builtins, is_builtin};
pub(crate) use graph::Graph;
#[cfg(test)]
pub(crate) use probes::{every_probe, stranger};
pub(crate) use syntax::{Cases, Module, Rule, line, member, modules, spanned};

/// Reads, checks and probes the bundle in a folder: what the trial of a new
/// bundle does in a process of its own.
pub fn admit_and_probe(dir: &Path, limits: &Limits) -> Result<Policy, Rejected> {
    let (bundle, problems) = Bundle::examine(dir);
    admit(bundle, problems, limits)
}

/// Checks and probes a bundle of which `problems` are known already.
pub(crate) fn admit(
    bundle: Bundle,
    problems: Vec<Problem>,
    limits: &Limits,
) -> Result<Policy, Rejected> {
    // A policy compiles for its machine, which goes as deep as its rules do.
    let admitted = stack::on_large_stack(limits.stack_bytes, || {
        let (engine, warnings) = check(&bundle, problems, limits)?;
        Ok(Policy::of(engine, limits, &bundle, warnings))
    });
    admitted.unwrap_or_else(|error| Err(Problem::error(".", None, error.to_string()).into()))
}

/// The rules of a bundle and its tests, once the calls among them are known to
/// end: what tests may be run on.
pub(crate) fn with_tests(
    bundle: &Bundle,
    limits: &Limits,
) -> Result<(Engine, Vec<Module>), Rejected> {
    let (mut engine, mut problems) = engine::build(bundle, bundle.rego(), limits);
    let modules = modules(&mut engine);
    problems.extend(calls::check(&modules, calls::Scope::Tests));
    problems.extend(graph::recursion(&modules));
    settle(problems)?;
    Ok((engine, modules))
}

fn check(
    bundle: &Bundle,
    mut problems: Vec<Problem>,
    limits: &Limits,
) -> Result<(Engine, Vec<Problem>), Rejected> {
    let (mut engine, unparsed) = engine::build(bundle, bundle.policies(), limits);
    problems.extend(unparsed);
    let modules = modules(&mut engine);
    problems.extend(shape::check(bundle, &modules));
    problems.extend(calls::check(&modules, calls::Scope::Deciding));
    problems.extend(graph::recursion(&modules));
    problems.extend(grants::check(bundle, &modules));
    problems.extend(misread::check(&mut engine, &modules));
    if problems.iter().any(|p| p.severity == Severity::Error) {
        // Tests are read for their syntax only, so that all is told at once.
        problems.extend(engine::build(bundle, bundle.rego(), limits).1);
        return settle(problems).map(|warnings| (engine, warnings));
    }
    // Preparing finds unsafe variables and the like. What panics is looked into below.
    let untouched = engine.clone();
    let prepare = AssertUnwindSafe(|| engine.eval_rule(ENTRY_POINT.to_owned()));
    match catch_unwind(prepare) {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            let text = error.to_string();
            if engine::located(".", &text).line.is_some() && text.contains("unsafe") {
                problems.push(engine::located(".", &text));
            }
        }
        Err(_) => engine = untouched,
    }
    problems.extend(bytecode(&engine));
    let policy = Policy::of(engine.clone(), limits, bundle, Vec::new());
    if !problems.iter().any(|p| p.severity == Severity::Error) {
        problems.extend(match probes::first(&policy) {
            None => probes::check(&policy),
            // It would fail on all the others, each of which takes its time.
            Some((mut problem, input)) => {
                if let Some((file, line)) = culprit::find(&engine, &modules, limits, &input) {
                    (problem.file, problem.line) = (file, Some(line));
                }
                vec![problem]
            }
        });
    }
    settle(problems).map(|warnings| (engine, warnings))
}

/// Compiles the entry point for the bytecode machine. The interpreter decides;
/// this compiler looks at every call, reached or not.
fn bytecode(engine: &Engine) -> Option<Problem> {
    let mut engine = engine.clone();
    let compiled = match engine.compile_with_entrypoint(&ENTRY_POINT.into()) {
        Ok(compiled) => compiled,
        Err(error) => return Some(engine::located(".", &error.to_string())),
    };
    let error = Compiler::compile_from_policy(&compiled, &[ENTRY_POINT]).err()?;
    let mut problem = engine::located(".", &error.to_string());
    let unknown = matches!(
        error.error,
        CompilerError::UnknownFunction { .. }
            | CompilerError::UnknownBuiltinFunction { .. }
            | CompilerError::NotBuiltinFunction { .. }
            | CompilerError::UndefinedVariable { .. }
    );
    if !unknown {
        problem.severity = Severity::Warning;
        problem.message = format!("not for the bytecode machine: {}", problem.message);
    }
    Some(problem)
}

#[cfg(test)]
mod tests;
