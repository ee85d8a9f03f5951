//! The rules of a bundle as calls and references: what admission looks at.
//!
//! Taken from the engine's own syntax trees, so that what is checked is what is
//! evaluated. Where a name could mean two things both are kept: a check may see
//! a call too many, never one too few.

use regorus::Engine;
use serde_json::Value;

/// One Rego file.
#[derive(Debug)]
pub(crate) struct Module {
    /// Path in the bundle.
    pub(crate) file: String,
    /// The package, from `data`.
    pub(crate) package: Vec<String>,
    /// Line of the package.
    pub(crate) line: u32,
    /// Name in this file and what it stands for.
    pub(crate) imports: Vec<(String, Vec<String>)>,
    /// The rules.
    pub(crate) rules: Vec<Rule>,
    /// How deep the syntax tree is.
    pub(crate) depth: usize,
}

/// One rule, or one of several definitions of it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Where it stands, from `data`, as far as that is fixed.
    pub(crate) path: Vec<String>,
    /// Whether the head goes on with names that are not fixed.
    pub(crate) open: bool,
    /// Line.
    pub(crate) line: u32,
    /// Whether it is what stands where no other definition has a value.
    pub(crate) default: bool,
    /// Number of arguments, for a function.
    pub(crate) arguments: Option<usize>,
    /// Whether its value is one that is written out, or `true`.
    pub(crate) constant: bool,
    /// The code that it gives a denial, where its head says one.
    pub(crate) code: Option<String>,
    /// Where its cases come from, for a rule such as `test_x[note] if some note, case in …`.
    pub(crate) cases: Option<Cases>,
    /// What it refers to, as written.
    pub(crate) references: Vec<Reference>,
    /// What it calls, as written.
    pub(crate) calls: Vec<Call>,
    /// What it replaces by `with`, as written.
    pub(crate) replaced: Vec<Reference>,
}

/// The cases of a rule that has one value for each.
#[derive(Debug)]
pub(crate) struct Cases {
    /// The collection, as written.
    pub(crate) collection: String,
    /// Whether its keys name the cases, and not its values.
    pub(crate) by_key: bool,
}

/// A reference, as far as it is fixed.
#[derive(Debug)]
pub(crate) struct Reference {
    /// Its names.
    pub(crate) path: Vec<String>,
    /// Line.
    pub(crate) line: u32,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// Name of the function, as written.
    pub(crate) path: Vec<String>,
    /// Number of arguments.
    pub(crate) arguments: usize,
    /// Line.
    pub(crate) line: u32,
}

impl Module {
    /// What a name in this file can mean, from `data` or `input`.
    pub(crate) fn meanings(&self, path: &[String]) -> Vec<Vec<String>> {
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        if matches!(first.as_str(), "data" | "input") {
            return vec![path.to_vec()];
        }
        let mut meanings: Vec<Vec<String>> = Vec::new();
        for (name, target) in &self.imports {
            if name == first {
                meanings.push(target.iter().chain(rest).cloned().collect());
            }
        }
        meanings.push(self.package.iter().chain(path).cloned().collect());
        meanings
    }

    /// What evaluating a reference evaluates. Through an import that is all that
    /// lies under the import, whatever part of it is asked for.
    pub(crate) fn evaluated(&self, path: &[String]) -> Vec<Vec<String>> {
        let mut evaluated = self.meanings(path);
        let imports = self.imports.iter();
        evaluated.extend(
            imports
                .filter(|(name, _)| Some(name) == path.first())
                .map(|(_, to)| to.clone()),
        );
        evaluated
    }
}

/// The modules of an engine.
pub(crate) fn modules(engine: &mut Engine) -> Vec<Module> {
    let read = engine.get_modules().iter().map(|module| {
        let source = &module.package.span.source;
        // Not through the engine's JSON text: that nests deeper than a parser takes.
        let tree = serde_json::to_value(module).unwrap_or_default();
        read_module(source.get_path(), source.get_contents(), &tree)
    });
    read.collect()
}

fn read_module(file: &str, text: &str, tree: &Value) -> Module {
    let package = member(tree, "package");
    let mut path = vec!["data".to_owned()];
    path.extend(Fixed::of(member(package, "refr")).path);
    let imports = items(member(tree, "imports"));
    let rules = items(member(tree, "rules"));
    Module {
        file: file.to_owned(),
        line: line(package),
        imports: imports
            .filter_map(|import| read_import(text, import))
            .collect(),
        rules: rules
            .filter_map(|rule| Rule::read(text, rule, &path))
            .collect(),
        package: path,
        depth: depth(tree),
    }
}

fn read_import(text: &str, tree: &Value) -> Option<(String, Vec<String>)> {
    let path = Fixed::of(member(tree, "refr")).path;
    if !matches!(path.first()?.as_str(), "data" | "input") {
        return None;
    }
    // The tree tells where the name after `as` stands, not what it is.
    let name = spanned(text, member(tree, "as")).or(path.last().map(String::as_str));
    let name = name?.to_owned();
    Some((name, path))
}

impl Rule {
    fn read(text: &str, tree: &Value, package: &[String]) -> Option<Rule> {
        let (kind, body) = tree.as_object()?.iter().next()?;
        let head = match kind.as_str() {
            "Default" => body,
            _ => member(body, "head").as_object()?.values().next()?,
        };
        let name = Fixed::of(member(head, "refr"));
        let arguments = items(member(head, "args")).count();
        let mut rule = Rule {
            path: package.iter().chain(&name.path).cloned().collect(),
            open: name.open,
            line: line(body),
            default: kind == "Default",
            arguments: (arguments > 0 || head.get("args").is_some_and(|_| kind != "Default"))
                .then_some(arguments),
            constant: plain(member(head, "assign"))
                && items(member(body, "bodies")).all(|one| plain(member(one, "assign"))),
            code: code(member(head, "key")),
            cases: Cases::read(text, head, body),
            references: Vec::new(),
            calls: Vec::new(),
            replaced: Vec::new(),
        };
        name.indexes.iter().for_each(|index| rule.walk(index));
        for part in ["key", "assign", "value"] {
            rule.walk(member(head, part));
        }
        rule.walk(member(body, "bodies"));
        Some(rule)
    }

    /// Takes up every call and reference below a node, whatever the node is: a
    /// construct that is not known here is still looked into.
    fn walk(&mut self, tree: &Value) {
        match tree {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(members) => {
                for (name, below) in members {
                    match name.as_str() {
                        "Call" => self.call(below),
                        "Var" | "RefDot" | "RefBrack" => self.reference(tree),
                        "with_mods" => self.with(below),
                        _ => self.walk(below),
                    }
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, tree: &Value) {
        let function = Fixed::of(member(tree, "fcn"));
        let parameters = member(tree, "params");
        self.calls.push(Call {
            path: function.path,
            arguments: items(parameters).count(),
            line: line(tree),
        });
        function.indexes.iter().for_each(|index| self.walk(index));
        self.walk(parameters);
    }

    fn reference(&mut self, tree: &Value) {
        let reference = Fixed::of(tree);
        if !reference.path.is_empty() {
            self.references.push(Reference {
                path: reference.path,
                line: reference.line,
            });
        }
        reference.indexes.iter().for_each(|index| self.walk(index));
    }

    fn with(&mut self, tree: &Value) {
        for replacement in items(tree) {
            let target = Fixed::of(member(replacement, "refr"));
            self.replaced.push(Reference {
                path: target.path,
                line: target.line,
            });
            self.walk(member(replacement, "refr"));
            self.walk(member(replacement, "as"));
        }
    }
}

/// A chain such as `a.b["c"][x].d`: what of it is fixed, and what else is in it.
struct Fixed<'t> {
    path: Vec<String>,
    open: bool,
    line: u32,
    indexes: Vec<&'t Value>,
}

impl<'t> Fixed<'t> {
    fn of(tree: &'t Value) -> Fixed<'t> {
        let mut links = Vec::new();
        let mut at = tree;
        let mut fixed = Fixed {
            path: Vec::new(),
            open: false,
            line: 0,
            indexes: Vec::new(),
        };
        let base = loop {
            if let Some(dot) = at.get("RefDot") {
                links.push(Link::Name(member(dot, "field").get(1)));
                at = member(dot, "refr");
            } else if let Some(bracket) = at.get("RefBrack") {
                links.push(Link::Index(member(bracket, "index")));
                at = member(bracket, "refr");
            } else {
                break at;
            }
        };
        match base.get("Var") {
            Some(variable) => {
                fixed.line = line(variable);
                fixed.path.extend(text(variable.get("value")));
            }
            None => {
                fixed.open = true;
                fixed.indexes.push(base);
            }
        }
        for link in links.into_iter().rev() {
            fixed.follow(link);
        }
        fixed
    }

    fn follow(&mut self, link: Link<'t>) {
        let name = match link {
            Link::Name(name) => text(name),
            Link::Index(index) => {
                let literal = index.get("String").or(index.get("RawString"));
                let name = text(literal.and_then(|literal| literal.get("value")));
                if name.is_none() {
                    self.indexes.push(index);
                }
                name
            }
        };
        match name {
            Some(name) if !self.open => self.path.push(name),
            _ => self.open = true,
        }
    }
}

impl Cases {
    fn read(text: &str, head: &Value, body: &Value) -> Option<Cases> {
        let name = |tree: &Value| tree.pointer("/Var/value").cloned();
        let wanted = name(head.pointer("/refr/RefBrack/index")?)?;
        let statements = items(member(body, "bodies"))
            .flat_map(|one| items(one.pointer("/query/stmts").unwrap_or(&Value::Null)));
        for statement in statements {
            let Some(some) = statement.pointer("/literal/SomeIn") else {
                continue;
            };
            let by_key = name(member(some, "key")).is_some_and(|key| key == wanted);
            let by_value = name(member(some, "value")).is_some_and(|value| value == wanted);
            if by_key || by_value {
                let node = member(some, "collection").as_object()?.values().next()?;
                let collection = spanned(text, member(node, "span"))?.to_owned();
                return Some(Cases { collection, by_key });
            }
        }
        None
    }
}

/// Whether what is assigned is written out: nothing, which is `true`, or a literal.
fn plain(assign: &Value) -> bool {
    let literals = ["Bool", "String", "RawString", "Number", "Null"];
    let kind = member(assign, "value").as_object();
    let kind = kind.and_then(|value| value.keys().next());
    assign.is_null() || kind.is_some_and(|kind| literals.contains(&kind.as_str()))
}

/// What stands under `code` in an object that is written out.
fn code(tree: &Value) -> Option<String> {
    let literal = |expression: &Value| text(expression.pointer("/String/value"));
    let mut fields = items(tree.pointer("/Object/fields")?);
    fields.find_map(|field| {
        let [_, name, value] = field.as_array()?.as_slice() else {
            return None;
        };
        (literal(name)? == "code").then(|| literal(value))?
    })
}

enum Link<'t> {
    Name(Option<&'t Value>),
    Index(&'t Value),
}

fn depth(tree: &Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(tree, 1)];
    while let Some((at, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match at {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => open.extend(members.values().map(|item| (item, depth + 1))),
            _ => {}
        }
    }
    deepest
}

pub(crate) fn member<'t>(tree: &'t Value, name: &str) -> &'t Value {
    tree.get(name).unwrap_or(&Value::Null)
}

/// What stands in the text of a file where a span says.
pub(crate) fn spanned<'t>(text: &'t str, span: &Value) -> Option<&'t str> {
    let offset = |name| usize::try_from(span.get(name)?.as_u64()?).ok();
    text.get(offset("start")?..offset("end")?)
}

pub(super) fn items(tree: &Value) -> impl Iterator<Item = &Value> {
    tree.as_array().into_iter().flatten()
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

pub(crate) fn line(tree: &Value) -> u32 {
    let line = tree.pointer("/span/line").and_then(Value::as_u64);
    line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
}
