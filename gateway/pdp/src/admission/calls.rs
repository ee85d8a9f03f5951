//! What rules call, and what they replace: only what is known and harmless.

use std::collections::BTreeMap;

use super::builtins::{self, Builtin};
use super::syntax::{Call, Module, Rule};
use crate::bundle::is_test;
use crate::problem::Problem;

/// Which rules are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that decide.
    Deciding,
    /// Those that decide and their tests.
    Tests,
}

/// Functions of the bundle by path, with the number of arguments.
type Functions<'m> = BTreeMap<&'m [String], usize>;

/// Checks every call.
pub(super) fn check(modules: &[Module], scope: Scope) -> Vec<Problem> {
    let mut functions = Functions::new();
    for rule in modules.iter().flat_map(|module| &module.rules) {
        if let Some(arguments) = rule.arguments {
            functions.insert(&rule.path, arguments);
        }
    }
    let mut problems = Vec::new();
    for module in modules {
        let in_tests = scope == Scope::Tests && is_test(&module.file);
        for rule in &module.rules {
            let calls = rule.calls.iter();
            problems.extend(calls.filter_map(|call| wrong(module, call, &functions, in_tests)));
            if !in_tests {
                problems.extend(replacements(module, rule, &functions));
            }
        }
    }
    problems
}

/// What is wrong with a call.
fn wrong(module: &Module, call: &Call, own: &Functions<'_>, in_tests: bool) -> Option<Problem> {
    let name = call.path.join(".");
    let problem = |message: String| Problem::error(&module.file, Some(call.line), message);
    let meanings = module.meanings(&call.path);
    let expected = match meanings.iter().find_map(|path| own.get(path.as_slice())) {
        Some(arguments) => *arguments,
        None => match builtins::find(&name, in_tests) {
            Builtin::Allowed(arguments) => arguments,
            Builtin::AnyArguments => return None,
            Builtin::Refused(why) => {
                return Some(problem(format!("`{name}` may not be called")).hint(why));
            }
            Builtin::Unknown => {
                let hint = "write the function in the bundle, or use a builtin that is listed";
                return Some(problem(format!("there is no function `{name}`")).hint(hint));
            }
        },
    };
    // One argument more takes the result: the engine then puts a body into another order, but
    // `walk` has no other form.
    let fits = call.arguments == expected || (name == "walk" && call.arguments == expected + 1);
    (!fits).then(|| {
        let given = call.arguments;
        problem(format!(
            "`{name}` takes {expected} arguments and gets {given}"
        ))
    })
}

/// Outside of tests `with` may replace documents, not functions: a replaced
/// function is a call that the call graph does not show.
fn replacements<'m>(
    module: &'m Module,
    rule: &'m Rule,
    functions: &'m Functions<'_>,
) -> impl Iterator<Item = Problem> + use<'m> {
    let replaced = rule.replaced.iter().filter(|target| {
        let document = target
            .path
            .first()
            .is_some_and(|root| root == "data" || root == "input");
        !document || functions.contains_key(target.path.as_slice())
    });
    replaced.map(|target| {
        let message = format!("`with` replaces the function `{}`", target.path.join("."));
        let hint = "replace functions in tests only";
        Problem::error(&module.file, Some(target.line), message).hint(hint)
    })
}
