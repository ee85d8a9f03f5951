//! Forms that the engine reads otherwise than Rego means them: refused, with the form to write.
//!
//! What a reviewer reads, and what Open Policy Agent says in the author's tests, must be what
//! decides here. Each of these was found by asking both engines the same; where they part the
//! engine mostly says yes to more. `tests/policy/opa.py` asks them in every run.

mod names;
mod package;

use std::collections::BTreeSet;

use regorus::Engine;
use serde_json::Value;

use super::syntax::{Module, Rule, items, line, member, spanned};
use crate::problem::Problem;
use crate::schema::always;
use names::{INNER, Link, Name, bound, fixed, under};

/// Builtins that can have no value, whatever their arguments are.
const UNSURE: [&str; 11] = [
    "array.slice",
    "json.filter",
    "json.remove",
    "regex.replace",
    "regex.template_match",
    "max",
    "min",
    "time.add_date",
    "units.parse",
    "units.parse_bytes",
    "json.patch",
];

/// Looks at every file of an engine; `modules` are the same files, as admission reads them.
pub(super) fn check(engine: &mut Engine, modules: &[Module]) -> Vec<Problem> {
    let mut problems = package::imports(modules);
    problems.extend(package::whole_packages(modules));
    problems.extend(package::defaults(modules));
    problems.extend(package::functions(modules));
    // What replaces `input` makes nothing sure of its members.
    let replaces = |rule: &Rule| {
        let mut replaced = rule.replaced.iter();
        replaced.any(|target| target.path.first().is_some_and(|root| root == "input"))
    };
    let whole = !modules
        .iter()
        .flat_map(|module| &module.rules)
        .any(replaces);
    let trees: Vec<(Value, String)> = engine
        .get_modules()
        .iter()
        .map(|tree| {
            let text = tree.package.span.source.get_contents().clone();
            (serde_json::to_value(tree).unwrap_or_default(), text)
        })
        .collect();
    for ((tree, text), module) in trees.iter().zip(modules) {
        let package: Vec<&Value> = trees
            .iter()
            .zip(modules)
            .filter(|(_, other)| other.package == module.package)
            .map(|((tree, _), _)| tree)
            .collect();
        let mut file = File {
            text,
            global: global(modules, module),
            unsure: BTreeSet::new(),
            whole,
        };
        file.decide(&package, module);
        for rule in items(member(tree, "rules")).filter_map(|rule| rule.get("Spec")) {
            let mut found = Vec::new();
            file.head(rule, &mut found);
            file.below(rule, Place::Other, &mut found);
            file.unbound(rule, &mut found);
            file.undecided(rule, &mut found);
            problems.extend(file.shadows(rule).map(|message| {
                let problem = Problem::error(&module.file, Some(line(rule)), message);
                problem.hint("give the rule's own another name")
            }));
            problems.extend(found.into_iter().map(|(line, message, hint)| {
                Problem::error(&module.file, Some(line), message).hint(hint)
            }));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// The names that a file's rules know from outside of themselves.
fn global<'m>(modules: &'m [Module], of: &Module) -> BTreeSet<&'m str> {
    let mut names = BTreeSet::from(["input", "data"]);
    for module in modules.iter().filter(|other| other.package == of.package) {
        names.extend(module.imports.iter().map(|(name, _)| name.as_str()));
        let rules = module.rules.iter();
        names.extend(rules.filter_map(|rule| Some(rule.path.get(of.package.len())?.as_str())));
    }
    names
}

type Found = Vec<(u32, &'static str, &'static str)>;

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Alone in a statement: it holds or it does not.
    Statement,
    /// Anywhere else: its value is used.
    Other,
}

/// What a rule's names are looked up in.
struct File<'m> {
    text: &'m str,
    /// Rules, imports and documents.
    global: BTreeSet<&'m str>,
    /// Those of them that could have no value.
    unsure: BTreeSet<String>,
    /// Whether `input` is always a whole one.
    whole: bool,
}

impl File<'_> {
    /// What a rule is called, what it takes, and what it is.
    fn head(&self, rule: &Value, found: &mut Found) {
        let head = member(rule, "head").as_object();
        let Some((kind, head)) = head.and_then(|head| head.iter().next()) else {
            return;
        };
        parameters(member(head, "args"), line(rule), found);
        let name = Link::of(member(head, "refr"));
        if name.open && (name.links > 1 || (kind == "Set" && head["key"].is_object())) {
            let message = "the head of a rule goes on behind a name that is not fixed";
            found.push((
                line(rule),
                message,
                "write `rule[name] := value`, of one name",
            ));
        }
        // Where a value is missing the engine does not go on with the `else` behind it.
        let bodies: Vec<&Value> = items(member(rule, "bodies")).collect();
        let values = bodies.iter().skip(1).map(|body| member(body, "assign"));
        let values = [member(head, "assign")].into_iter().chain(values);
        let before_else = bodies.len().saturating_sub(1);
        if let Some(line) = values
            .take(before_else)
            .filter_map(|one| self.part(one))
            .min()
        {
            let message = "a rule with an `else` could have no value";
            let hint = "assign it in the body, as in `x := …`, and write `x` in the head";
            found.push((line, message, hint));
        }
        // Of its solutions the engine loses those before one without a value.
        let many = name.open || kind == "Set" || self.runs(member(rule, "bodies"));
        if many {
            let parts = [member(head, "key"), member(head, "assign")];
            let parts = parts.into_iter().chain(name.indexes);
            if let Some(line) = parts.filter_map(|part| self.absent(part)).min() {
                let message = "the head of a rule with several solutions could have no value";
                let hint = "assign it in the body, as in `x := …`, and write `x` in the head";
                found.push((line, message, hint));
            }
        }
    }

    /// Whether bodies go through something, so that there can be several solutions.
    fn runs(&self, bodies: &Value) -> bool {
        match bodies {
            Value::Array(items) => items.iter().any(|item| self.runs(item)),
            Value::Object(members) => members.iter().any(|(kind, part)| match kind.as_str() {
                "SomeIn" | "SomeVars" => true,
                "NotExpr" | "Every" => false,
                inner if INNER.contains(&inner) => false,
                "Call" if part.pointer("/fcn/Var/value") == Some(&Value::from("walk")) => true,
                "index" => self.has_own(part) || self.runs(part),
                _ => self.runs(part),
            }),
            _ => false,
        }
    }

    /// Finds the names of the package that could have no value: imports, and rules of which no
    /// definition has one whatever is asked. A rule that is another one is as sure as that.
    fn decide(&mut self, package: &[&Value], module: &Module) {
        let imports = module.imports.iter().map(|(name, _)| name.clone());
        self.unsure = imports.collect();
        let mut open: Vec<(String, &Value)> = Vec::new();
        let mut sure: BTreeSet<String> = BTreeSet::new();
        for rule in package.iter().flat_map(|tree| items(member(tree, "rules"))) {
            if let Some(default) = rule.get("Default") {
                sure.extend(first_name(member(default, "refr")));
                continue;
            }
            let Some(spec) = rule.get("Spec") else {
                continue;
            };
            let head = member(spec, "head").as_object();
            let Some((kind, head)) = head.and_then(|head| head.iter().next()) else {
                continue;
            };
            let refr = member(head, "refr");
            let Some(name) = first_name(refr) else {
                continue;
            };
            let partial = kind == "Set" || (kind == "Compr" && Link::of(refr).links > 0);
            if partial {
                sure.insert(name);
            } else if kind == "Compr" {
                self.unsure.insert(name.clone());
                if items(member(spec, "bodies")).next().is_none() {
                    open.push((name, member(head, "assign")));
                }
            }
        }
        self.unsure.retain(|name| !sure.contains(name));
        loop {
            let written = open
                .iter()
                .filter(|(name, value)| self.unsure.contains(name) && self.part(value).is_none());
            let written: BTreeSet<String> = written.map(|(name, _)| name.clone()).collect();
            if written.is_empty() {
                return;
            }
            self.unsure.retain(|name| !written.contains(name));
        }
    }

    /// The names of a rule's own that are also of the package: which of the two is meant where is
    /// then nothing that these checks could tell.
    fn shadows(&self, rule: &Value) -> Option<String> {
        let mut own = bound(rule, self.text);
        own.retain(|name| {
            self.global.contains(name.as_str()) && !matches!(name.as_str(), "input" | "data")
        });
        let names: Vec<String> = own.into_iter().collect();
        let names = names.join("`, `");
        (!names.is_empty()).then(|| {
            format!("a name of the rule's own, `{names}`, is also that of a rule or an import")
        })
    }

    /// The line of an expression that has a value for some of the rule's own names only: it
    /// goes into one of them, or asks a function of the bundle about one.
    fn absent(&self, tree: &Value) -> Option<u32> {
        let members = match tree {
            Value::Array(items) => return items.iter().find_map(|item| self.absent(item)),
            Value::Object(members) => members,
            _ => return None,
        };
        members.iter().find_map(|(kind, part)| match kind.as_str() {
            inner if INNER.contains(&inner) => None,
            "RefDot" | "RefBrack" => self.has_own(part).then(|| line(part)),
            "Call" => {
                let parameters = member(part, "params");
                let own = self.is_unsure(member(part, "fcn")) && self.has_own(parameters);
                own.then(|| line(part)).or_else(|| self.absent(parameters))
            }
            _ => self.absent(part),
        })
    }

    /// Whether a name below a node is one of the rule's own.
    fn has_own(&self, tree: &Value) -> bool {
        let names = Name::all(tree);
        let mut names = names.iter().filter(|name| !name.called);
        names.any(|name| !self.global.contains(name.text))
    }

    /// Looks at every expression and statement.
    fn below(&self, tree: &Value, place: Place, found: &mut Found) {
        match tree {
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.below(item, Place::Other, found)),
            Value::Object(members) => members
                .iter()
                .for_each(|(kind, part)| self.node(kind, part, place, found)),
            _ => {}
        }
    }

    fn node(&self, kind: &str, part: &Value, place: Place, found: &mut Found) {
        match kind {
            "Expr" | "NotExpr" => {
                if kind == "NotExpr" {
                    self.negated(part, found);
                }
                self.below(member(part, "expr"), Place::Statement, found);
                return;
            }
            "Membership" if member(part, "key").is_object() => {
                let message = "`key, value in collection` can hold of a key that is not there";
                found.push((line(part), message, "write `collection[key] == value`"));
            }
            "Membership" if place == Place::Other => {
                let message = "`x in y` as a value is false where one of the two has no value";
                found.push((line(part), message, "make it a statement of its own"));
            }
            "SomeIn" => {
                pattern(member(part, "key"), found);
                pattern(member(part, "value"), found);
            }
            "AssignExpr" => {
                pattern(member(part, "lhs"), found);
                if member(part, "op").as_str() != Some("ColEq") {
                    pattern(member(part, "rhs"), found);
                }
            }
            "with_mods" => self.with(part, found),
            "Call" if part.pointer("/fcn/Var/value") == Some(&Value::from("walk")) => {
                items(member(part, "params"))
                    .skip(1)
                    .for_each(|into| pattern(into, found));
            }
            _ => {}
        }
        self.below(part, Place::Other, found);
    }

    /// What is under `not` has a value from elsewhere. `_` has none there.
    fn negated(&self, tree: &Value, found: &mut Found) {
        let wildcard = |name: &&Name<'_>| name.text == "_" && !name.inner;
        if let Some(name) = Name::all(tree).iter().find(wildcard) {
            let message = "`_` under `not` runs through nothing";
            found.push((name.line, message, IN_ITS_OWN_RULE));
        }
        let expression = member(tree, "expr");
        let answered = match expression.get("BoolExpr") {
            Some(compared) if member(compared, "op").as_str() == Some("Eq") => {
                let sides = [member(compared, "lhs"), member(compared, "rhs")];
                sides.into_iter().find_map(|side| self.unanswered(side))
            }
            _ => match expression.get("Call") {
                Some(call) => self.part(member(call, "params")),
                None => self.unanswered(expression),
            },
        };
        if let Some(line) = answered {
            let message = "`not` is true where a part of what it negates has no value";
            let hint =
                "give it its value in a statement before, as in `x := …`, and negate with `x`";
            found.push((line, message, hint));
        }
    }

    /// The line of a part of an expression that could have no value. A path alone may have none.
    fn unanswered(&self, tree: &Value) -> Option<u32> {
        if tree.get("Var").is_some() {
            return None;
        }
        if tree.get("RefDot").is_none() && tree.get("RefBrack").is_none() {
            return self.part(tree);
        }
        let link = Link::of(tree);
        let base = link.base.get("Var").is_none().then_some(link.base);
        let mut parts = link.indexes.into_iter().chain(base);
        parts.find_map(|part| self.part(part))
    }

    /// The line of a path or of a question to a function of the bundle, outside of comprehensions.
    fn part(&self, tree: &Value) -> Option<u32> {
        // What every request has is there.
        let there = |path: Vec<&str>| {
            path.first() == Some(&"input") && always(path.get(1..).unwrap_or_default())
        };
        if self.whole && self.global.contains("input") && fixed(tree).is_some_and(there) {
            return None;
        }
        let members = match tree {
            Value::Array(items) => return items.iter().find_map(|item| self.part(item)),
            Value::Object(members) => members,
            _ => return None,
        };
        members.iter().find_map(|(kind, part)| match kind.as_str() {
            "RefDot" | "RefBrack" => Some(line(part)),
            "Var" => {
                let name = member(part, "value").as_str().unwrap_or_default();
                self.unsure.contains(name).then(|| line(part))
            }
            "Call" if self.is_unsure(member(part, "fcn")) => Some(line(part)),
            "Call" => self.part(member(part, "params")),
            inner if INNER.contains(&inner) => None,
            _ => self.part(part),
        })
    }

    /// Whether a function could have no value: one of the bundle, or a builtin that is so.
    fn is_unsure(&self, function: &Value) -> bool {
        let names = Name::all(function);
        let builtin = fixed(function).map(|path| path.join("."));
        builtin.is_some_and(|name| UNSURE.contains(&name.as_str()))
            || names.iter().any(|name| self.global.contains(name.text))
    }

    /// Names under `not` that have no value from the query that it stands in, or from one around
    /// that.
    fn unbound(&self, rule: &Value, found: &mut Found) {
        let head = member(rule, "head").as_object();
        let head = head.and_then(|head| head.values().next());
        let arguments = head.map(|head| Name::all(member(head, "args")));
        let arguments = arguments.into_iter().flatten();
        let known: BTreeSet<String> = arguments.map(|name| name.text.to_owned()).collect();
        for body in items(member(rule, "bodies")) {
            self.query(member(body, "query"), &known, found);
        }
        if let Some(head) = head {
            self.nested(head, &known, found);
        }
    }

    fn query(&self, query: &Value, outer: &BTreeSet<String>, found: &mut Found) {
        let mut known = outer.clone();
        for statement in items(member(query, "stmts")) {
            self.direct(member(statement, "literal"), &mut known);
        }
        for statement in items(member(query, "stmts")) {
            let negated = statement.pointer("/literal/NotExpr");
            for name in negated.map(Name::all).into_iter().flatten() {
                let own = !name.inner && !name.called && name.text != "_";
                if own && !known.contains(name.text) && !self.global.contains(name.text) {
                    let message = "a name under `not` has no value there";
                    found.push((name.line, message, IN_ITS_OWN_RULE));
                }
            }
            self.nested(statement, &known, found);
        }
    }

    /// The names that a statement could give a value.
    fn direct(&self, tree: &Value, known: &mut BTreeSet<String>) {
        match tree {
            Value::Array(items) => items.iter().for_each(|item| self.direct(item, known)),
            Value::Object(members) => {
                for (kind, part) in members {
                    match kind.as_str() {
                        "NotExpr" => {}
                        inner if INNER.contains(&inner) => {}
                        "Every" => self.direct(member(part, "domain"), known),
                        "SomeVars" => {
                            let names = items(member(part, "vars"));
                            let names = names.filter_map(|span| spanned(self.text, span));
                            known.extend(names.map(str::to_owned));
                        }
                        "Var" => known.extend(member(part, "value").as_str().map(str::to_owned)),
                        _ => self.direct(part, known),
                    }
                }
            }
            _ => {}
        }
    }

    /// Queries within an expression, which know what is known around them.
    fn nested(&self, tree: &Value, known: &BTreeSet<String>, found: &mut Found) {
        match tree {
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.nested(item, known, found)),
            Value::Object(members) => {
                for (kind, part) in members {
                    if INNER.contains(&kind.as_str()) {
                        self.query(member(part, "query"), known, found);
                    } else if kind == "Every" {
                        // It tells where its names stand, not what they are.
                        let spans = [member(part, "key"), member(part, "value")];
                        let names = spans
                            .into_iter()
                            .filter_map(|span| spanned(self.text, span));
                        let mut inner = known.clone();
                        inner.extend(names.map(str::to_owned));
                        self.query(member(part, "query"), &inner, found);
                        self.nested(member(part, "domain"), known, found);
                    } else {
                        self.nested(part, known, found);
                    }
                }
            }
            _ => {}
        }
    }

    /// Names that `some` declares and nothing could give a value.
    fn undecided(&self, rule: &Value, found: &mut Found) {
        let mut giving = Vec::new();
        // A path is gone through by the names in its brackets; `walk` gives its last argument.
        under(rule, "Call", &mut giving);
        giving.retain(|call| call.pointer("/fcn/Var/value") == Some(&Value::from("walk")));
        under(rule, "index", &mut giving);
        under(rule, "AssignExpr", &mut giving);
        let given: BTreeSet<&str> = giving
            .iter()
            .flat_map(|part| Name::all(part))
            .map(|name| name.text)
            .collect();
        let mut declared = Vec::new();
        under(rule, "SomeVars", &mut declared);
        for one in declared {
            let names = items(member(one, "vars")).filter_map(|span| spanned(self.text, span));
            if names
                .into_iter()
                .any(|name| name != "_" && !given.contains(name))
            {
                let message = "a name that `some` declares gets no value";
                found.push((
                    line(one),
                    message,
                    "say what it runs through, as in `some x in y`",
                ));
            }
        }
    }

    /// One `with`, of a value that does not follow from what it replaces.
    fn with(&self, tree: &Value, found: &mut Found) {
        if let Some(second) = items(tree).nth(1) {
            let message = "a second `with` puts in the text `<undefined>` for what has no value";
            let hint = "replace one document, by a value that a statement before it makes";
            found.push((line(second), message, hint));
        }
        for one in items(tree) {
            let names = Name::all(member(one, "as"));
            let rule = |name: &Name<'_>| name.text != "input" && self.global.contains(name.text);
            if names.iter().any(rule) {
                let message = "what a `with` puts in goes through a rule or data, and may have no value there";
                let hint = "make the value in a statement before it, as in `x := …`";
                found.push((line(one), message, hint));
            }
        }
    }
}

/// What a rule is called, up to its first dot.
fn first_name(refr: &Value) -> Option<String> {
    Name::all(refr).first().map(|name| name.text.to_owned())
}

const IN_ITS_OWN_RULE: &str =
    "give what is negated a rule of its own, and write `not` before its name";

/// The names that a function takes.
fn parameters(tree: &Value, at: u32, found: &mut Found) {
    let names = Name::all(tree);
    for (place, name) in names.iter().enumerate() {
        let before = names.iter().take(place);
        if name.text != "_" && before.clone().any(|other| other.text == name.text) {
            let message = "two parameters of a function have one name";
            found.push((
                at,
                message,
                "give each its own, and compare them in the body",
            ));
        }
        if matches!(name.text, "input" | "data") {
            let message = "a parameter has the name of a document";
            found.push((at, message, "give it another name than `input` and `data`"));
        }
    }
    pattern(tree, found);
}

/// An object into which names are put takes objects that have more members.
fn pattern(tree: &Value, found: &mut Found) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| pattern(item, found)),
        Value::Object(members) => {
            for (kind, part) in members {
                match kind.as_str() {
                    "Object" if !Name::all(part).is_empty() => {
                        let message = "an object with names in it takes objects with more members";
                        let hint = "take the members one by one, as in `x := object.member`";
                        found.push((line(part), message, hint));
                    }
                    "Array" => pattern(member(part, "items"), found),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
