//! Names and paths in the engine's syntax trees: where they are used, and what gives them a value.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::admission::syntax::{items, line, member, spanned};

/// What has a body of its own, so that its names are its own.
pub(super) const INNER: [&str; 3] = ["ArrayCompr", "SetCompr", "ObjectCompr"];

/// The names of a path, where all of them are written out.
pub(super) fn fixed(mut tree: &Value) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    loop {
        if let Some(link) = tree.get("RefDot") {
            names.push(member(link, "field").get(1)?.as_str()?);
            tree = member(link, "refr");
        } else if let Some(link) = tree.get("RefBrack") {
            names.push(link.pointer("/index/String/value")?.as_str()?);
            tree = member(link, "refr");
        } else {
            names.push(tree.pointer("/Var/value")?.as_str()?);
            names.reverse();
            return Some(names);
        }
    }
}

/// What a rule is called, such as `a.b[x]`.
pub(super) struct Link<'t> {
    pub(super) links: usize,
    pub(super) open: bool,
    pub(super) indexes: Vec<&'t Value>,
    pub(super) base: &'t Value,
}

impl<'t> Link<'t> {
    pub(super) fn of(mut tree: &'t Value) -> Link<'t> {
        let mut link = Link {
            links: 0,
            open: false,
            indexes: Vec::new(),
            base: tree,
        };
        while let Some(one) = tree.get("RefBrack").or_else(|| tree.get("RefDot")) {
            link.links += 1;
            if let Some(index) = one
                .get("index")
                .filter(|index| index.get("String").is_none())
            {
                link.open = true;
                link.indexes.push(index);
            }
            tree = member(one, "refr");
        }
        link.base = tree;
        link
    }
}

/// A name as it is used.
pub(super) struct Name<'t> {
    pub(super) text: &'t str,
    pub(super) line: u32,
    /// Whether it is the name of a function that is called.
    pub(super) called: bool,
    /// Whether it stands in a comprehension, which has names of its own.
    pub(super) inner: bool,
}

impl<'t> Name<'t> {
    pub(super) fn all(tree: &'t Value) -> Vec<Name<'t>> {
        let mut names = Vec::new();
        Name::collect(tree, false, false, &mut names);
        names
    }

    fn collect(tree: &'t Value, called: bool, inner: bool, names: &mut Vec<Name<'t>>) {
        match tree {
            Value::Array(items) => items
                .iter()
                .for_each(|item| Name::collect(item, called, inner, names)),
            Value::Object(members) => {
                for (kind, part) in members {
                    let inner = inner || INNER.contains(&kind.as_str());
                    if kind == "Var"
                        && let Some(text) = member(part, "value").as_str()
                    {
                        let line = line(part);
                        names.push(Name {
                            text,
                            line,
                            called,
                            inner,
                        });
                    }
                    // In the brackets of what is called stand names that are not called.
                    let called = match kind.as_str() {
                        "fcn" => true,
                        "index" | "params" => false,
                        _ => called,
                    };
                    Name::collect(part, called, inner, names);
                }
            }
            _ => {}
        }
    }
}

/// All nodes of a kind below one.
pub(super) fn under<'t>(tree: &'t Value, wanted: &str, nodes: &mut Vec<&'t Value>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| under(item, wanted, nodes)),
        Value::Object(members) => {
            for (kind, part) in members {
                if kind == wanted {
                    nodes.push(part);
                }
                under(part, wanted, nodes);
            }
        }
        _ => {}
    }
}

/// The names that a rule gives a value itself, whatever else they are outside of it.
pub(super) fn bound(rule: &Value, text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let named = |tree: &Value| {
        Name::all(tree)
            .into_iter()
            .map(|name| name.text.to_owned())
            .collect::<Vec<_>>()
    };
    let nodes = |kind: &str| {
        let mut nodes = Vec::new();
        under(rule, kind, &mut nodes);
        nodes
    };
    for arguments in nodes("args") {
        names.extend(named(arguments));
    }
    for assigned in nodes("AssignExpr") {
        if member(assigned, "op").as_str() == Some("ColEq") {
            names.extend(named(member(assigned, "lhs")));
        }
    }
    for some in nodes("SomeIn") {
        names.extend(named(member(some, "key")));
        names.extend(named(member(some, "value")));
    }
    let every = nodes("Every");
    let spans = every
        .iter()
        .flat_map(|one| [member(one, "key"), member(one, "value")]);
    let vars = nodes("SomeVars");
    let spans = spans.chain(vars.iter().flat_map(|one| items(member(one, "vars"))));
    names.extend(
        spans
            .filter_map(|span| spanned(text, span))
            .map(str::to_owned),
    );
    names
}
