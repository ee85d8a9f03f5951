//! Which rule needs which: recursion ends a process, so there must be none.
//!
//! The engine finds cycles of plain rules while it evaluates, and cycles through
//! functions not at all: those overflow its stack and abort the process. Edges
//! are drawn generously: a name that could mean a rule is taken to mean it.

use std::collections::{BTreeMap, BTreeSet};

use super::syntax::Module;
use crate::problem::Problem;

/// Rules by path, each path once.
pub(crate) struct Graph<'m> {
    nodes: Vec<Node<'m>>,
}

struct Node<'m> {
    path: &'m [String],
    file: &'m str,
    line: u32,
    needs: BTreeSet<usize>,
}

impl<'m> Graph<'m> {
    /// Draws the graph of all rules.
    pub(crate) fn of(modules: &'m [Module]) -> Graph<'m> {
        let mut numbers: BTreeMap<&[String], usize> = BTreeMap::new();
        let mut nodes = Vec::new();
        for module in modules {
            for rule in &module.rules {
                numbers.entry(&rule.path).or_insert_with(|| {
                    nodes.push(Node {
                        path: &rule.path,
                        file: &module.file,
                        line: rule.line,
                        needs: BTreeSet::new(),
                    });
                    nodes.len() - 1
                });
            }
        }
        for module in modules {
            for rule in &module.rules {
                let references = rule.references.iter();
                let references = references.flat_map(|to| module.evaluated(&to.path));
                let calls = rule
                    .calls
                    .iter()
                    .flat_map(|call| module.meanings(&call.path));
                let needs: BTreeSet<usize> = references
                    .chain(calls)
                    .flat_map(|path| reached(&numbers, &path))
                    .collect();
                let number = numbers.get(rule.path.as_slice());
                if let Some(node) = number.and_then(|number| nodes.get_mut(*number)) {
                    node.needs.extend(needs);
                }
            }
        }
        Graph { nodes }
    }

    /// The paths of all rules that rules named so need, themselves among them.
    pub(crate) fn needed_by(&self, is_start: impl Fn(&[String]) -> bool) -> BTreeSet<&'m [String]> {
        let starts = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| is_start(node.path));
        let mut open: Vec<usize> = starts.map(|(number, _)| number).collect();
        let mut seen: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(node) = open.pop().and_then(|number| self.nodes.get(number)) {
            for next in &node.needs {
                if seen.insert(*next) {
                    open.push(*next);
                }
            }
        }
        seen.iter()
            .filter_map(|number| self.nodes.get(*number))
            .map(|node| node.path)
            .collect()
    }

    /// What is left when every rule is taken away that needs nothing that is left:
    /// all cycles, and what leads to them.
    fn endless(&self) -> BTreeSet<usize> {
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut open: Vec<usize> = Vec::new();
        let mut needs: Vec<usize> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            needs.push(node.needs.len());
            if node.needs.is_empty() {
                open.push(number);
            }
            for next in &node.needs {
                if let Some(list) = needed_by.get_mut(*next) {
                    list.push(number);
                }
            }
        }
        let mut left: BTreeSet<usize> = (0..self.nodes.len()).collect();
        while let Some(number) = open.pop() {
            left.remove(&number);
            for user in needed_by.get(number).into_iter().flatten() {
                if let Some(count) = needs.get_mut(*user) {
                    *count -= 1;
                    if *count == 0 {
                        open.push(*user);
                    }
                }
            }
        }
        left
    }

    /// One cycle among the rules that are left: from any of them there is a way on,
    /// so a walk comes back to where it was.
    fn cycle(&self, left: &BTreeSet<usize>) -> Vec<&Node<'m>> {
        let mut walked: Vec<usize> = Vec::new();
        let mut at = left.first().copied();
        while let Some(number) = at {
            if let Some(start) = walked.iter().position(|seen| *seen == number) {
                let cycle = walked.iter().skip(start);
                return cycle.filter_map(|number| self.nodes.get(*number)).collect();
            }
            walked.push(number);
            let needs = self.nodes.get(number).map(|node| &node.needs);
            at = needs.and_then(|needs| needs.intersection(left).next().copied());
        }
        Vec::new()
    }
}

/// A problem for each cycle, as far as they do not share rules.
pub(super) fn recursion(modules: &[Module]) -> Vec<Problem> {
    let mut graph = Graph::of(modules);
    let mut problems = Vec::new();
    loop {
        let left = graph.endless();
        let cycle = graph.cycle(&left);
        let Some(first) = cycle.first() else {
            return problems;
        };
        let mut names: Vec<String> = cycle.iter().map(|node| node.path.join(".")).collect();
        names.push(first.path.join("."));
        let message = format!("recursion: {}", names.join(" needs "));
        let hint = "rules may not need themselves; a variable named like a rule counts as it";
        problems.push(Problem::error(first.file, Some(first.line), message).hint(hint));
        // Taken apart, so that the next cycle is found.
        let path = first.path;
        for node in &mut graph.nodes {
            if node.path == path {
                node.needs.clear();
            }
        }
    }
}

/// The rules that a reference reaches: the one at its path, those below it, and
/// the one whose value it looks into.
fn reached<'g>(
    numbers: &'g BTreeMap<&[String], usize>,
    path: &[String],
) -> impl Iterator<Item = usize> + use<'g> {
    let path = path.to_vec();
    let above: Vec<usize> = (1..path.len())
        .filter_map(|length| path.get(..length))
        .filter_map(|prefix| numbers.get(prefix).copied())
        .collect();
    let below = numbers.range::<[String], _>((
        std::ops::Bound::Included(path.as_slice()),
        std::ops::Bound::Unbounded,
    ));
    let below = below.take_while(move |(rule, _)| rule.starts_with(&path));
    let below: Vec<usize> = below.map(|(_, number)| *number).collect();
    above.into_iter().chain(below)
}
