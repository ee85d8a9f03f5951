//! Names that nothing uses and names that hide others.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use serde_json::Value;

use crate::admission::{Module, is_builtin, line, member, spanned};
use crate::problem::Problem;

/// Looks at every file of an engine; `modules` are the same files, as admission reads them.
pub(super) fn check(engine: &mut Engine, modules: &[Module]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (tree, module) in engine.get_modules().iter().zip(modules) {
        let source = &tree.package.span.source;
        let file = File {
            name: source.get_path(),
            text: source.get_contents(),
            rules: module
                .rules
                .iter()
                .filter_map(|rule| rule.path.get(module.package.len()))
                .map(String::as_str)
                .collect(),
            imports: module
                .imports
                .iter()
                .map(|(name, _)| name.as_str())
                .collect(),
        };
        let tree = serde_json::to_value(tree).unwrap_or_default();
        problems.extend(file.hiding());
        problems.extend(file.unused_imports(&tree, module));
        for rule in member(&tree, "rules").as_array().into_iter().flatten() {
            problems.extend(file.rule(rule));
        }
    }
    problems
}

struct File<'m> {
    name: &'m str,
    text: &'m str,
    rules: BTreeSet<&'m str>,
    imports: BTreeSet<&'m str>,
}

/// The names that a rule declares, with the line of each, and how often it uses any name.
#[derive(Default)]
struct Names {
    declared: BTreeMap<String, u32>,
    used: BTreeMap<String, isize>,
}

impl Names {
    fn declare(&mut self, name: &str, line: u32) {
        if !name.starts_with('_') {
            self.declared.entry(name.to_owned()).or_insert(line);
        }
    }

    fn is_used(&self, name: &str) -> bool {
        self.used.get(name).is_some_and(|uses| *uses > 0)
    }

    fn count(&mut self, name: &str, by: isize) {
        *self.used.entry(name.to_owned()).or_default() += by;
    }
}

impl File<'_> {
    fn problem(&self, line: u32, message: String, hint: &str) -> Problem {
        Problem::error(self.name, Some(line), message).hint(hint)
    }

    /// Rules that are called like a builtin: which of the two is meant is nothing to guess.
    fn hiding(&self) -> Vec<Problem> {
        let hide = self.rules.iter().filter(|name| is_builtin(name));
        hide.map(|name| {
            let message = format!("the rule `{name}` hides a builtin");
            Problem::error(self.name, None, message).hint("give it another name")
        })
        .collect()
    }

    fn unused_imports(&self, tree: &Value, module: &Module) -> Vec<Problem> {
        let mut names = Names::default();
        self.walk(member(tree, "rules"), &mut names);
        let unused = self.imports.iter().filter(|name| !names.is_used(name));
        unused
            .map(|name| {
                let message = format!("the import `{name}` is not used");
                self.problem(module.line, message, "delete it")
            })
            .collect()
    }

    fn rule(&self, tree: &Value) -> Vec<Problem> {
        let mut names = Names::default();
        self.walk(tree, &mut names);
        let mut problems = Vec::new();
        for (name, line) in &names.declared {
            if !names.is_used(name) {
                let message = format!("`{name}` is not used");
                problems.push(self.problem(*line, message, "delete it, or call it `_`"));
            }
            let hides = match () {
                () if self.rules.contains(name.as_str()) => "a rule",
                () if self.imports.contains(name.as_str()) => "an import",
                () if is_builtin(name) => "a builtin",
                () => continue,
            };
            let message = format!("the variable `{name}` hides {hides}");
            problems.push(self.problem(*line, message, "give it another name"));
        }
        problems
    }

    /// Takes up what is declared and used below a node. Uses are counted by name, whatever
    /// the scope: a name that is used anywhere in the rule is taken for used.
    fn walk(&self, tree: &Value, names: &mut Names) {
        match tree {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, names)),
            Value::Object(members) => {
                for (kind, below) in members {
                    match kind.as_str() {
                        "Var" => names.count(text(member(below, "value")), 1),
                        "SomeVars" => {
                            for span in member(below, "vars").as_array().into_iter().flatten() {
                                names.declare(self.at(span), span_line(span));
                            }
                        }
                        "SomeIn" => {
                            self.pattern(member(below, "key"), names);
                            self.pattern(member(below, "value"), names);
                            self.walk(below, names);
                        }
                        "Every" => {
                            for span in [member(below, "key"), member(below, "value")] {
                                if span.is_object() {
                                    names.declare(self.at(span), span_line(span));
                                }
                            }
                            self.walk(member(below, "domain"), names);
                            self.walk(member(below, "query"), names);
                        }
                        "AssignExpr" => {
                            if member(below, "op").as_str() == Some("ColEq") {
                                self.pattern(member(below, "lhs"), names);
                            }
                            self.walk(below, names);
                        }
                        "Func" => {
                            self.pattern(member(below, "args"), names);
                            self.walk(below, names);
                        }
                        _ => self.walk(below, names),
                    }
                }
            }
            _ => {}
        }
    }

    /// Declares the variables of a pattern; the walk over it counts each as used once, which
    /// is taken off here.
    fn pattern(&self, tree: &Value, names: &mut Names) {
        match tree {
            Value::Array(items) => items.iter().for_each(|item| self.pattern(item, names)),
            Value::Object(members) => {
                for (kind, below) in members {
                    match kind.as_str() {
                        "Var" => {
                            let name = text(member(below, "value"));
                            names.declare(name, line(below));
                            names.count(name, -1);
                        }
                        // A reference in a pattern is a use.
                        "RefDot" | "RefBrack" | "Call" | "span" => {}
                        _ => self.pattern(below, names),
                    }
                }
            }
            _ => {}
        }
    }

    fn at(&self, span: &Value) -> &str {
        spanned(self.text, span).unwrap_or("_")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("_")
}

fn span_line(span: &Value) -> u32 {
    let line = member(span, "line").as_u64();
    line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
}
