//! May they: the Rego bundle that ships, evaluated by regorus, as a policy sidecar
//! would do it: an input is built from method, path and claims, one entry point is
//! asked. Nothing of the product is used but its policy.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::RegoVM;
use regorus::{Engine, Value};
use serde_json::json;

use crate::token::Caller;

const ENTRY_POINT: &str = "data.vaultgate.decision";

/// How Rego is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Machine {
    /// The engine, cloned for each request
    Interpreter,
    /// Compiled once; one machine for each thread, kept hot
    Rvm,
}

/// A bundle that can be asked.
pub(crate) struct Policy {
    engine: Engine,
    data: Value,
    program: Option<Arc<Program>>,
}

thread_local! {
    static VM: RefCell<Option<RegoVM>> = const { RefCell::new(None) };
}

impl Policy {
    /// Reads a bundle: rules anywhere, and `data.json` in the folder whose path it has.
    pub(crate) fn load(bundle: &Path, machine: Machine) -> anyhow::Result<Policy> {
        let mut engine = Engine::new();
        let data = Value::from(read(bundle, &mut engine)?);
        engine.add_data(data.clone())?;
        // Asked once, so that every clone shares what was worked out of the rules.
        engine.set_input(Value::new_object());
        let _ = engine.eval_rule(ENTRY_POINT.to_owned());
        let program = match machine {
            Machine::Interpreter => None,
            Machine::Rvm => {
                let entry: regorus::Rc<str> = ENTRY_POINT.into();
                let compiled = engine.compile_with_entrypoint(&entry)?;
                Some(Compiler::compile_from_policy(&compiled, &[ENTRY_POINT])?)
            }
        };
        Ok(Policy {
            engine,
            data,
            program,
        })
    }

    /// Whether the bundle allows it; a fault is a denial.
    pub(crate) fn allows(&self, method: &http::Method, path: &str, caller: &Caller) -> bool {
        let input = input(method, path, caller);
        let decision = match &self.program {
            Some(program) => self.run(program, input),
            None => {
                let mut engine = self.engine.clone();
                engine.set_input(input);
                engine.eval_rule(ENTRY_POINT.to_owned())
            }
        };
        decision.is_ok_and(|decision| {
            let allow = decision.as_object().ok();
            let allow = allow.and_then(|members| members.get(&Value::from("allow")));
            allow == Some(&Value::from(true))
        })
    }

    fn run(&self, program: &Arc<Program>, input: Value) -> anyhow::Result<Value> {
        VM.with(|kept| {
            let mut kept = kept.try_borrow_mut()?;
            if kept.is_none() {
                let mut vm = RegoVM::new();
                vm.load_program(Arc::clone(program));
                vm.set_data(self.data.clone())?;
                *kept = Some(vm);
            }
            let vm = kept.as_mut().context("a machine")?;
            vm.set_input(input);
            Ok(vm.execute()?)
        })
    }
}

/// Adds the rules below a folder and returns its data: what stands in it, and what each folder
/// in it has.
fn read(folder: &Path, engine: &mut Engine) -> anyhow::Result<serde_json::Value> {
    let own = folder.join("data.json");
    let mut data: serde_json::Map<String, serde_json::Value> = match own.exists() {
        true => serde_json::from_str(&std::fs::read_to_string(own)?)?,
        false => serde_json::Map::new(),
    };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy();
        if path.is_dir() {
            data.insert(name.to_string(), read(&path, engine)?);
        } else if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            engine.add_policy(path.display().to_string(), std::fs::read_to_string(&path)?)?;
        }
    }
    Ok(data.into())
}

/// The members that the shipped bundle asks for.
fn input(method: &http::Method, path: &str, caller: &Caller) -> Value {
    let class = match *method {
        http::Method::GET | http::Method::HEAD => "read",
        http::Method::DELETE => "delete",
        _ => "configure",
    };
    let mut segments = path.split('/').skip(1);
    let subscription = segments.next().and_then(|_| segments.next());
    let mut input = Value::from(json!({
        "operation": {"class": class, "method": method.as_str(), "body_unknown": []},
        "resource": {"id": path, "subscription": subscription},
        "request": {}, "facts": {"vault": {"status": "ok"}}, "flow": null,
    }));
    if let Ok(members) = input.as_object_mut() {
        members.insert(Value::from("principal"), caller.principal.clone());
    }
    input
}
