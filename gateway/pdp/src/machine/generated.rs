//! Generated rules, asked of both: whatever the machine answers is what the interpreter says.
//!
//! `VAULTGATE_MUTATIONS` sets how many bundles are made; `VAULTGATE_SEED` from where on.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they did"
)]

use std::fmt::Write as _;
use std::time::Duration;

use regorus::Value;

use crate::bundle::Bundle;
use crate::engine;
use crate::fixture::{MANIFEST, folder, patient};
use crate::limits::Limits;
use crate::policy::Policy;
use crate::stack;

/// Steps of splitmix64: the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }
}

const MEMBERS: [&str; 7] = ["a", "b", "c", "d", "n", "s", "missing"];
const VALUES: [&str; 12] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "2.5",
    "\"\"",
    "\"a\"",
    "[]",
    "[1, \"a\", null]",
    "{\"a\": 1, \"b\": {\"c\": [2]}}",
    "{}",
];

struct Writer {
    dice: Dice,
    /// Helper rules and functions that may be used.
    rules: Vec<String>,
    functions: Vec<(String, usize)>,
    names: usize,
}

impl Writer {
    fn reference(&mut self, locals: &[String]) -> String {
        match self.dice.roll(6) {
            0 | 1 if !locals.is_empty() => {
                let local = locals[self.dice.roll(locals.len())].clone();
                match self.dice.roll(3) {
                    0 => format!("{local}.{}", self.dice.of(&MEMBERS)),
                    _ => local,
                }
            }
            2 if !self.rules.is_empty() => {
                let place = self.dice.roll(self.rules.len());
                self.rules[place].clone()
            }
            3 => format!(
                "input.{}.{}",
                self.dice.of(&MEMBERS),
                self.dice.of(&MEMBERS)
            ),
            4 => format!(
                "data.d.{}[input.{}]",
                self.dice.of(&MEMBERS),
                self.dice.of(&MEMBERS)
            ),
            _ => format!("input.{}", self.dice.of(&MEMBERS)),
        }
    }

    fn expression(&mut self, depth: usize, locals: &[String]) -> String {
        if depth == 0 {
            return match self.dice.roll(3) {
                0 => self.dice.of(&VALUES).to_owned(),
                _ => self.reference(locals),
            };
        }
        let less = depth - 1;
        match self.dice.roll(12) {
            0 => format!("count({})", self.expression(less, locals)),
            1 => format!(
                "[{}, {}]",
                self.expression(less, locals),
                self.expression(less, locals)
            ),
            2 => format!("{{\"k\": {}}}", self.expression(less, locals)),
            3 => {
                let sign = self.dice.of(&["+", "-", "*", "/", "%"]);
                format!(
                    "({} {sign} {})",
                    self.expression(less, locals),
                    self.expression(less, locals)
                )
            }
            4 | 5 if !self.functions.is_empty() => {
                let place = self.dice.roll(self.functions.len());
                let (name, arity) = self.functions[place].clone();
                let arguments: Vec<String> =
                    (0..arity).map(|_| self.expression(less, locals)).collect();
                format!("{name}({})", arguments.join(", "))
            }
            6 => format!(
                "object.get({}, \"a\", {})",
                self.expression(less, locals),
                self.dice.of(&VALUES)
            ),
            7 => format!("concat(\"-\", {})", self.expression(less, locals)),
            8 => format!("lower({})", self.expression(less, locals)),
            9 => {
                let (name, list) = (self.name(), self.expression(0, locals));
                let inner = [locals, std::slice::from_ref(&name)].concat();
                let open = self.dice.of(&["[", "{"]);
                let close = if open == "[" { "]" } else { "}" };
                let term = self.expression(0, &inner);
                let condition = self.condition(0, &inner);
                format!("{open}{term} | some {name} in {list}; {condition}{close}")
            }
            _ => self.expression(0, locals),
        }
    }

    fn condition(&mut self, depth: usize, locals: &[String]) -> String {
        match self.dice.roll(7) {
            0 => self.expression(depth, locals),
            1 => format!(
                "{} in {}",
                self.expression(depth, locals),
                self.expression(0, locals)
            ),
            2 => format!("startswith({}, \"a\")", self.expression(depth, locals)),
            3 => format!("is_string({})", self.expression(depth, locals)),
            _ => {
                let sign = self.dice.of(&["==", "!=", "<", "<=", ">", ">="]);
                format!(
                    "{} {sign} {}",
                    self.expression(depth, locals),
                    self.expression(0, locals)
                )
            }
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    fn body(&mut self, locals: &[String]) -> (String, Vec<String>) {
        let mut locals = locals.to_vec();
        let mut body = String::new();
        for _ in 0..=self.dice.roll(3) {
            match self.dice.roll(7) {
                0 | 1 => {
                    let (name, value) = (self.name(), self.expression(1, &locals));
                    writeln!(body, "\t{name} := {value}").unwrap();
                    locals.push(name);
                }
                2 => writeln!(body, "\tnot {}", self.condition(1, &locals)).unwrap(),
                3 => {
                    let (name, list) = (self.name(), self.expression(0, &locals));
                    match self.dice.roll(2) {
                        0 => writeln!(body, "\tsome {name} in {list}").unwrap(),
                        _ => {
                            let key = self.name();
                            writeln!(body, "\tsome {key}, {name} in {list}").unwrap();
                            locals.push(key);
                        }
                    }
                    locals.push(name);
                }
                4 => {
                    let (name, list) = (self.name(), self.expression(0, &locals));
                    let inner = [&locals[..], std::slice::from_ref(&name)].concat();
                    let condition = self.condition(1, &inner);
                    writeln!(body, "\tevery {name} in {list} {{ {condition} }}").unwrap();
                }
                _ => writeln!(body, "\t{}", self.condition(2, &locals)).unwrap(),
            }
        }
        (body, locals)
    }

    fn helper(&mut self, place: usize) -> String {
        let mut text = String::new();
        let kind = self.dice.roll(6);
        let name = format!("h{place}");
        for _ in 0..=self.dice.roll(2) {
            let arguments: Vec<String> = match kind {
                3 | 4 => (0..=self.dice.roll(2)).map(|n| format!("p{n}")).collect(),
                _ => Vec::new(),
            };
            let arguments = match self.functions.iter().find(|(known, _)| *known == name) {
                Some((_, arity)) => (0..*arity).map(|n| format!("p{n}")).collect(),
                None => arguments,
            };
            // Not usable in its own body: known only once it is written.
            let known = self.functions.clone();
            self.functions.retain(|(other, _)| *other != name);
            let (body, locals) = self.body(&arguments);
            let head = match kind {
                0 => format!("{name} if"),
                1 => format!("{name} := {} if", self.expression(1, &locals)),
                2 => format!("{name} contains {} if", self.expression(1, &locals)),
                3 => format!(
                    "{name}({}) := {} if",
                    arguments.join(", "),
                    self.expression(1, &locals)
                ),
                4 => format!("{name}({}) if", arguments.join(", ")),
                _ => format!("{name} := {} if", self.dice.of(&VALUES)),
            };
            self.functions = known;
            writeln!(text, "{head} {{\n{body}}}\n").unwrap();
            if matches!(kind, 3 | 4) && !self.functions.iter().any(|(other, _)| *other == name) {
                self.functions.push((name.clone(), arguments.len()));
            }
        }
        if kind == 0 && self.dice.roll(2) == 0 {
            writeln!(text, "default {name} := false\n").unwrap();
        }
        if !matches!(kind, 3 | 4) {
            self.rules.push(name);
        }
        text
    }

    fn bundle(&mut self) -> String {
        let mut text = "package vaultgate\n\nimport rego.v1\n\n".to_owned();
        for place in 0..=self.dice.roll(5) {
            text.push_str(&self.helper(place));
        }
        for _ in 0..=self.dice.roll(2) {
            let (body, _) = self.body(&[]);
            writeln!(
                text,
                "deny contains {{\"code\": \"a\", \"message\": \"m\"}} if {{\n{body}}}\n"
            )
            .unwrap();
        }
        let (body, locals) = self.body(&[]);
        let value = self.expression(1, &locals);
        writeln!(text, "grants contains {{\"g\": {value}}} if {{\n{body}}}\n").unwrap();
        text.push_str(
            "decision := {\"allow\": count(deny) == 0, \"deny\": deny, \"grants\": grants, \"obligations\": []}\n",
        );
        text
    }

    fn input(&mut self) -> String {
        let mut members = Vec::new();
        for name in MEMBERS.iter().take(6) {
            if self.dice.roll(5) > 0 {
                members.push(format!("\"{name}\": {}", self.dice.of(&VALUES)));
            }
        }
        format!(
            "{{\"operation\": {{\"class\": \"read\"}}{}{}}}",
            if members.is_empty() { "" } else { ", " },
            members.join(", ")
        )
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn whatever_the_machine_answers_the_interpreter_says() {
    let (bundles, seed) = (
        number("VAULTGATE_MUTATIONS", 250),
        number("VAULTGATE_SEED", 1),
    );
    let limits = Limits {
        machine: true,
        ..patient()
    };
    let run = || {
        let (mut alike, mut handed, mut unfit, mut quirks) = (0_u64, 0_u64, 0_u64, 0_u64);
        for number in seed..seed + bundles {
            let mut writer = Writer {
                dice: Dice(number),
                rules: Vec::new(),
                functions: Vec::new(),
                names: 0,
            };
            let text = writer.bundle();
            let files: [(&str, &[u8]); 3] = [
                (
                    ".manifest",
                    MANIFEST
                        .replace("\"vaultgate\"", "\"vaultgate\", \"d\"")
                        .into_bytes()
                        .leak(),
                ),
                ("vaultgate/rules.rego", text.as_bytes()),
                (
                    "d/data.json",
                    br#"{"a": {"a": 1, "x": [1]}, "b": {"": {"a": true}}}"#,
                ),
            ];
            let bundle = Bundle::load(folder(&files).path()).unwrap();
            let (engine, problems) = engine::build(&bundle, bundle.policies(), &limits);
            if !problems.is_empty() {
                unfit += 1;
                continue;
            }
            let policy = Policy::of(engine, &limits, &bundle, Vec::new());
            let Ok(machine) = policy.machine.as_ref() else {
                unfit += 1;
                continue;
            };
            for _ in 0..8 {
                let input = writer.input();
                let value = Value::from_json_str(&input).unwrap();
                let limit = Duration::from_secs(5);
                match machine.decide(&value, limit) {
                    None => handed += 1,
                    Some(quick) => {
                        let interpreted = policy.interpret(&value, limit);
                        // A part of what has none, in the head of a rule that goes through
                        // several: no value to the language and to the machine, and to the
                        // interpreter an error of its own.
                        let fault = interpreted.fault.as_ref();
                        if fault.is_some_and(|fault| fault.message == "not an object") {
                            quirks += 1;
                            continue;
                        }
                        alike += 1;
                        assert_eq!(quick, interpreted, "bundle {number}\n{text}\n{input}");
                    }
                }
            }
        }
        assert!(quirks * 1_000 <= alike, "{quirks} of {alike}");
        (alike, handed, unfit)
    };
    let (alike, handed, unfit) = stack::on_large_stack(limits.stack_bytes, run).unwrap();
    println!("{alike} answered alike, {handed} handed over, {unfit} bundles not for the machine");
    assert!(alike * 8 > bundles, "{alike} {handed} {unfit}");
}
