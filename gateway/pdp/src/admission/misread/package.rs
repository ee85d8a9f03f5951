//! What the files of a package mean together: imports, packages as a whole, defaults, functions.

use std::collections::{BTreeMap, BTreeSet};

use crate::admission::syntax::Module;
use crate::problem::Problem;

/// A name that one file imports is that import in every file of the package.
pub(super) fn imports(modules: &[Module]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut known: BTreeMap<(&[String], &str), &[String]> = BTreeMap::new();
    for module in modules {
        for (name, target) in &module.imports {
            let first = *known.entry((&module.package, name)).or_insert(target);
            let rules = modules
                .iter()
                .filter(|other| other.package == module.package)
                .flat_map(|other| &other.rules);
            let at = module.package.len();
            let of_rule = rules
                .into_iter()
                .any(|rule| rule.path.get(at) == Some(name) && rule.path.len() > at);
            let stands = match (first == target.as_slice(), of_rule) {
                (false, _) => "another import",
                (true, true) => "a rule",
                (true, false) => continue,
            };
            let package = module.package.join(".");
            let message = format!("the import `{name}` is {stands} elsewhere in `{package}`");
            let hint = "what a file imports, all files of its package import: use another name";
            problems.push(Problem::error(&module.file, Some(module.line), message).hint(hint));
        }
    }
    problems
}

/// A package looked at as a whole lacks rules that are not evaluated by then.
pub(super) fn whole_packages(modules: &[Module]) -> Vec<Problem> {
    let is_package = |path: &[String]| {
        let mut packages = modules.iter().map(|module| &module.package);
        packages.any(|package| package.starts_with(path))
    };
    let mut problems = Vec::new();
    for module in modules {
        for rule in &module.rules {
            for reference in &rule.references {
                let first = reference.path.first();
                let imported = module.imports.iter().any(|(name, _)| Some(name) == first);
                let absolute = imported || first.is_some_and(|name| name == "data");
                let meanings = module.meanings(&reference.path);
                let Some(meaning) = meanings.first().filter(|_| absolute) else {
                    continue;
                };
                if is_package(meaning) {
                    let message = format!("`{}` is a whole package", meaning.join("."));
                    let hint = "name the rule or the data that is meant";
                    let problem = Problem::error(&module.file, Some(reference.line), message);
                    problems.push(problem.hint(hint));
                }
            }
        }
    }
    problems
}

/// Of two defaults of one rule the engine takes one.
pub(super) fn defaults(modules: &[Module]) -> Vec<Problem> {
    let mut known = BTreeSet::new();
    let mut problems = Vec::new();
    for module in modules {
        for rule in module.rules.iter().filter(|rule| rule.default) {
            if !known.insert(&rule.path) {
                let message = format!("`{}` has a default already", rule.path.join("."));
                let problem = Problem::error(&module.file, Some(rule.line), message);
                problems.push(problem.hint("keep one of the two"));
            }
        }
    }
    problems
}

/// Of a function in several files the engine takes the parameters of one definition for those of
/// another.
pub(super) fn functions(modules: &[Module]) -> Vec<Problem> {
    let mut known: BTreeMap<&[String], &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for module in modules {
        let functions = module.rules.iter().filter(|rule| rule.arguments.is_some());
        for rule in functions.filter(|rule| !rule.default) {
            let first = *known.entry(&rule.path).or_insert(&module.file);
            if first != module.file {
                let message = format!(
                    "the function `{}` goes on in another file",
                    rule.path.join(".")
                );
                let hint = format!("keep all of it in one file, such as `{first}`");
                problems.push(Problem::error(&module.file, Some(rule.line), message).hint(hint));
            }
        }
    }
    problems
}
