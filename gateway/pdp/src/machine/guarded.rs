//! Rules as the machine is given them: with a look at every name that could have no value.
//!
//! To the interpreter a statement `x := e` fails where `e` has no value, and so does a call
//! with an argument that has none. The machine goes on with nothing in `x`, and whatever is
//! negated further down is then true. So each such name is compared with itself first. And
//! what is gone through has to be something that can be gone through: that is an error to the
//! interpreter otherwise, and nothing to the machine. Last, `input` and `data` are named
//! before anything that may be left out (a comprehension over nothing, say): the compiler takes
//! the first place that names them for the place that loads them, whether it is reached or not.

use serde_json::Value;

use crate::admission::member;

/// What checks a collection: the name of a builtin that no bundle may call, so that it is free
/// to mean this.
pub(super) const COLLECTION: &str = "net.cidr_expand";

/// A member of `data` that the machine's rules find there, and no others.
pub(super) const HERE: &str = "the machine";
/// Parts of a rule that may be left out.
const BRANCHES: [&str; 5] = ["ArrayCompr", "SetCompr", "ObjectCompr", "Every", "NotExpr"];

/// What is added to a text, by place.
struct Looks<'t> {
    text: &'t str,
    added: Vec<(usize, String)>,
}

/// The text of a module with looks added; none where a place for one is not found.
pub(super) fn guarded(text: &str, tree: &Value) -> Option<String> {
    let mut looks = Looks {
        text,
        added: Vec::new(),
    };
    for rule in items(member(tree, "rules")) {
        looks.rule(rule)?;
    }
    // What stands at one place stays in the order in which it was found.
    looks.added.sort_by_key(|(place, _)| *place);
    let mut written = String::with_capacity(text.len());
    let mut at = 0;
    for (place, look) in &looks.added {
        written.push_str(text.get(at..*place)?);
        written.push_str(look);
        at = *place;
    }
    written.push_str(text.get(at..)?);
    Some(written)
}

impl Looks<'_> {
    fn rule(&mut self, tree: &Value) -> Option<()> {
        let Some(rule) = tree.get("Spec") else {
            return Some(());
        };
        let arguments = rule.pointer("/head/Func/args");
        let named = arguments.into_iter().flat_map(items).filter_map(name);
        let mut looks: String = named.map(|name| format!("{name} == {name}; ")).collect();
        if BRANCHES
            .iter()
            .any(|kind| holds(rule, &|key, _| key == *kind))
        {
            let names = |name: &str| holds(rule, &|key, value| key == "value" && value == name);
            if names("input") {
                looks.push_str("is_object(input); ");
            }
            if names("data") {
                looks.push_str(&format!("data[\"{HERE}\"]; "));
            }
        }
        let bodies: Vec<&Value> = items(member(rule, "bodies")).collect();
        self.below(member(rule, "head"))?;
        if bodies.is_empty() && !looks.is_empty() {
            let end = self.end(rule)?;
            self.add(end, format!(" if {{ {} }}", looks.trim_end_matches("; ")));
        }
        for body in bodies {
            let statements = items(body.pointer("/query/stmts")?).collect::<Vec<_>>();
            let first = statements.first()?;
            let (start, end) = (self.start(first)?, self.end(first)?);
            let before = self.text.get(..start)?.trim_end();
            // `if condition` takes one statement; in braces it takes more.
            let plain = statements.len() == 1 && !before.ends_with('{');
            let binds = statements.iter().any(|one| assigned(one).is_some());
            if plain && (binds || !looks.is_empty()) {
                self.add(start, "{ ".to_owned());
            }
            if !looks.is_empty() {
                self.add(start, looks.clone());
            }
            self.below(body)?;
            if plain && (binds || !looks.is_empty()) {
                self.add(end, " }".to_owned());
            }
        }
        Some(())
    }

    /// Looks behind every assignment below a node, and at what is gone through.
    fn below(&mut self, tree: &Value) -> Option<()> {
        match tree {
            Value::Array(items) => items.iter().try_for_each(|item| self.below(item)),
            Value::Object(members) => {
                for statement in members.get("stmts").into_iter().flat_map(items) {
                    if let Some(name) = assigned(statement) {
                        let end = self.end(statement)?;
                        self.add(end, format!("; {name} == {name}"));
                    }
                }
                for (kind, part) in [("SomeIn", "collection"), ("Every", "domain")] {
                    if let Some(through) = members.get(kind) {
                        let collection = member(through, part).as_object()?.values().next()?;
                        self.add(self.start(collection)?, format!("{COLLECTION}("));
                        self.below(member(through, part))?;
                        self.add(self.end(collection)?, ")".to_owned());
                        self.below(member(through, "query"))?;
                        return Some(());
                    }
                }
                members.values().try_for_each(|item| self.below(item))
            }
            _ => Some(()),
        }
    }

    /// Where a node begins. The engine's places of text leave its quotes out.
    fn start(&self, tree: &Value) -> Option<usize> {
        let start = offset(tree, "start")?;
        let before = self.text.get(..start)?;
        Some(start - usize::from(before.ends_with(['"', '`'])))
    }

    /// Where a node ends.
    fn end(&self, tree: &Value) -> Option<usize> {
        let end = offset(tree, "end")?;
        let behind = self.text.get(end..)?;
        Some(end + usize::from(behind.starts_with(['"', '`'])))
    }

    fn add(&mut self, place: usize, look: String) {
        self.added.push((place, look));
    }
}

/// Whether a member below a node is such a one.
fn holds(tree: &Value, is: &dyn Fn(&str, &Value) -> bool) -> bool {
    match tree {
        Value::Array(items) => items.iter().any(|item| holds(item, is)),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| is(key, value) || holds(value, is)),
        _ => false,
    }
}

/// The name that a statement assigns to, by `:=`.
fn assigned(statement: &Value) -> Option<&str> {
    let assignment = statement.pointer("/literal/Expr/expr/AssignExpr")?;
    let declares = member(assignment, "op").as_str() == Some("ColEq");
    declares.then(|| name(member(assignment, "lhs")))?
}

/// A name that stands alone.
fn name(tree: &Value) -> Option<&str> {
    let name = tree.pointer("/Var/value")?.as_str()?;
    (name != "_" && !name.contains('$')).then_some(name)
}

fn offset(tree: &Value, end: &str) -> Option<usize> {
    usize::try_from(member(tree, "span").get(end)?.as_u64()?).ok()
}

fn items(tree: &Value) -> impl Iterator<Item = &Value> {
    tree.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::guarded;

    fn written(text: &str) -> String {
        let text = format!("package p\n{text}");
        let mut engine = regorus::Engine::new();
        engine.add_policy("p.rego".into(), text.clone()).unwrap();
        let tree = serde_json::to_value(engine.get_modules().first().unwrap()).unwrap();
        let guarded = guarded(&text, &tree).unwrap();
        let mut engine = regorus::Engine::new();
        engine.add_policy("p.rego".into(), guarded.clone()).unwrap();
        guarded.strip_prefix("package p\n").unwrap().to_owned()
    }

    #[test]
    fn names_that_could_have_no_value_are_looked_at() {
        for (text, expected) in [
            (
                "a if {\n\tx := input.x\n\tx\n}",
                "a if {\n\tx := input.x; x == x\n\tx\n}",
            ),
            ("a if x := input.x", "a if { x := input.x; x == x }"),
            ("f(x) := input.x", "f(x) := input.x if { x == x }"),
            ("f(x, y) if x", "f(x, y) if { x == x; y == y; x }"),
            (
                "f(x) := y if {\n\ty := x\n}",
                "f(x) := y if {\n\tx == x; y := x; y == y\n}",
            ),
            (
                "a := {y | y := input.x}",
                "a := {y | y := input.x; y == y} if { is_object(input) }",
            ),
            ("a if 1 == 1", "a if 1 == 1"),
            (
                "a contains x if some x in input",
                "a contains x if some x in net.cidr_expand(input)",
            ),
            (
                "a if {\n\tevery e in [1] {\n\t\tx := e\n\t\tx\n\t}\n}",
                "a if {\n\tevery e in net.cidr_expand([1]) {\n\t\tx := e; x == x\n\t\tx\n\t}\n}",
            ),
            (
                "f(x) := 1 if x\nelse := 2 if not x",
                "f(x) := 1 if { x == x; x }\nelse := 2 if { x == x; not x }",
            ),
        ] {
            assert_eq!(written(text), expected);
        }
    }
}
