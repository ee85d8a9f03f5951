//! Builtins and arithmetic that tell of their errors: the machine itself takes an error for
//! "undefined" and goes on.

use std::cell::Cell;
use std::sync::LazyLock;

use regorus::Value;
use regorus::rvm::instructions::{BuiltinCallParams, Instruction};
use regorus::rvm::program::{BuiltinInfo, Program};
use regorus::unstable::{ArithOp, BUILTINS, BuiltinFcn, Expr, Ref, Span, numbers, sets};

use super::guarded::COLLECTION;
use crate::admission::allowed_builtins;

type Arguments<'a> = (&'a Span, &'a [Ref<Expr>], &'a [Value]);
type Function = fn(&Span, &[Ref<Expr>], &[Value], bool) -> anyhow::Result<Value>;

thread_local! {
    static ERRED: Cell<bool> = const { Cell::new(false) };
}

/// Builtins in the order of the allow-list.
static ORIGINALS: LazyLock<Vec<Option<Function>>> = LazyLock::new(|| {
    let names = allowed_builtins();
    names
        .map(|name| BUILTINS.get(name).map(|known| known.0))
        .collect()
});

/// Runs something; none if a builtin or an operation erred meanwhile.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    ERRED.set(false);
    let value = run();
    (!ERRED.get()).then_some(value)
}

/// Has every builtin and all arithmetic of a program tell of its errors.
pub(super) fn watch(program: &mut Program) -> Result<(), String> {
    let mut resolved: Vec<BuiltinFcn> = Vec::new();
    for builtin in &program.builtin_info_table {
        let name = builtin.name.as_str();
        if name == COLLECTION {
            resolved.push((collection, 1));
            continue;
        }
        let place = allowed_builtins().position(|known| known == name);
        let watched = place.and_then(|place| WATCHED.get(place));
        let arguments = BUILTINS.get(name).map(|known| known.1);
        match watched.zip(arguments) {
            Some((function, arguments)) => resolved.push((*function, arguments)),
            None => return Err(format!("`{name}` is not watched")),
        }
    }
    program.resolved_builtins = resolved;
    for place in 0..program.instructions.len() {
        let (function, dest, left, right): (Function, u8, u8, u8) =
            match program.instructions.get(place) {
                Some(Instruction::Add { dest, left, right }) => (add, *dest, *left, *right),
                Some(Instruction::Sub { dest, left, right }) => (sub, *dest, *left, *right),
                Some(Instruction::Mul { dest, left, right }) => (mul, *dest, *left, *right),
                Some(Instruction::Div { dest, left, right }) => (div, *dest, *left, *right),
                Some(Instruction::Mod { dest, left, right }) => (modulo, *dest, *left, *right),
                _ => continue,
            };
        let builtin_index = program.add_builtin_info(BuiltinInfo {
            name: format!("arithmetic at {place}"),
            num_args: 2,
        });
        program.resolved_builtins.push((function, 2));
        let mut args = [0; 8];
        (args[0], args[1]) = (left, right);
        let params_index = program.add_builtin_call_params(BuiltinCallParams {
            dest,
            builtin_index,
            num_args: 2,
            args,
        });
        if let Some(instruction) = program.instructions.get_mut(place) {
            *instruction = Instruction::BuiltinCall { params_index };
        }
    }
    Ok(())
}

/// Has a rule, whenever it is needed, hand the request to the interpreter.
pub(super) fn hand_over(program: &mut Program, rule: usize) {
    let start = u32::try_from(program.instructions.len()).unwrap_or(u32::MAX);
    let builtin_index = program.add_builtin_info(BuiltinInfo {
        name: format!("rule {rule}"),
        num_args: 0,
    });
    program.resolved_builtins.push((not_here, 0));
    let params_index = program.add_builtin_call_params(BuiltinCallParams {
        dest: 0,
        builtin_index,
        num_args: 0,
        args: [0; 8],
    });
    program.add_instruction(Instruction::BuiltinCall { params_index }, None);
    program.add_instruction(Instruction::RuleReturn {}, None);
    if let Some(rule) = program.rule_infos.get_mut(rule) {
        rule.definitions = regorus::Rc::new(vec![vec![start]]);
        rule.destructuring_blocks = vec![None];
        rule.else_bodies = vec![vec![false]];
        rule.num_registers = rule.num_registers.max(1);
    }
}

/// What can be gone through, as it is.
fn collection(_: &Span, _: &[Ref<Expr>], args: &[Value], _: bool) -> anyhow::Result<Value> {
    match args {
        [all @ (Value::Array(_) | Value::Set(_) | Value::Object(_))] => Ok(all.clone()),
        _ => told(Err(anyhow::anyhow!("nothing that can be gone through"))),
    }
}

fn not_here(_: &Span, _: &[Ref<Expr>], _: &[Value], _: bool) -> anyhow::Result<Value> {
    ERRED.set(true);
    Ok(Value::Null)
}

fn told(result: anyhow::Result<Value>) -> anyhow::Result<Value> {
    if result.is_err() {
        ERRED.set(true);
    }
    result
}

/// The builtin at a place of the list, as strict as the interpreter is.
fn watched<const PLACE: usize>(
    span: &Span,
    params: &[Ref<Expr>],
    args: &[Value],
    _: bool,
) -> anyhow::Result<Value> {
    let original = ORIGINALS.get(PLACE).copied().flatten();
    told(match original {
        Some(original) => original(span, params, args, true),
        None => Err(anyhow::anyhow!("no such builtin")),
    })
}

fn operate(op: &ArithOp, (span, params, args): Arguments<'_>) -> anyhow::Result<Value> {
    told(match (params, args) {
        ([a, b, ..], [x @ Value::Set(_), y] | [x, y @ Value::Set(_)]) if *op == ArithOp::Sub => {
            sets::difference(a, b, x.clone(), y.clone())
        }
        ([a, b, ..], [x, y]) => {
            numbers::arithmetic_operation(span, op, a, b, x.clone(), y.clone(), true)
        }
        _ => Err(anyhow::anyhow!("an operation of two")),
    })
}

macro_rules! operations {
    ($($name:ident $op:ident),+) => {$(
        fn $name(s: &Span, p: &[Ref<Expr>], a: &[Value], _: bool) -> anyhow::Result<Value> {
            operate(&ArithOp::$op, (s, p, a))
        }
    )+};
}
operations!(add Add, sub Sub, mul Mul, div Div, modulo Mod);

macro_rules! table {
    ($($place:literal),+) => {
        /// A function for each place of the allow-list.
        const WATCHED: &[Function] = &[$(watched::<$place>),+];
    };
}
table!(
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49,
    50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73,
    74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96, 97,
    98, 99, 100, 101, 102, 103
);

#[cfg(test)]
mod tests {
    #[test]
    fn every_builtin_has_a_place() {
        let names = crate::admission::allowed_builtins().count();
        assert!(names <= super::WATCHED.len(), "{names}");
        assert!(super::ORIGINALS.iter().all(Option::is_some));
    }
}
