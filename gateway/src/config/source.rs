//! The text of a configuration, and on which line each setting stands.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Problem, Problems, Rejected};

/// A parsed document that still knows its lines.
pub(crate) struct Source<'i> {
    text: &'i str,
    root: DeTable<'i>,
}

impl<'i> Source<'i> {
    /// Parses the document; a syntax error is the only problem then reported.
    pub(crate) fn parse(text: &'i str) -> Result<Self, Rejected> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Source {
                text,
                root: root.into_inner(),
            }),
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span));
                let problem = Problem {
                    line,
                    key: "syntax".into(),
                    message: error.message().trim().replace('\n', "; "),
                    hint: "the file is TOML 1.1; `vaultgate config sample` prints one that works"
                        .into(),
                };
                Err(Rejected {
                    problems: vec![(line, problem)],
                })
            }
        }
    }

    /// The names of the tables and settings at the top of the file.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &str> {
        self.root.keys().map(|key| key.get_ref().as_ref())
    }

    /// Reads one section, or its default when the file does not have it.
    pub(crate) fn section<T>(&self, name: &str, problems: &mut Problems) -> Option<T>
    where
        T: for<'de> Deserialize<'de>,
    {
        let found = self.root.iter().find(|(key, _)| key.get_ref() == name);
        let Some((_, value)) = found else {
            // An absent section is an empty one: what has no default is then named.
            return read(
                DeValue::Table(DeTable::new()),
                0..0,
                name,
                self.text,
                problems,
            );
        };
        read(
            value.get_ref().clone(),
            value.span(),
            name,
            self.text,
            problems,
        )
    }

    /// Reads each element of an array of tables; none when the file has none.
    pub(crate) fn array<T>(&self, name: &str, problems: &mut Problems) -> Vec<Option<T>>
    where
        T: for<'de> Deserialize<'de>,
    {
        let found = self.root.iter().find(|(key, _)| key.get_ref() == name);
        match found.map(|(_, value)| (value.get_ref(), value.span())) {
            Some((DeValue::Array(elements), _)) => elements
                .iter()
                .enumerate()
                .map(|(i, element)| {
                    let key = format!("{name}[{i}]");
                    read(
                        element.get_ref().clone(),
                        element.span(),
                        &key,
                        self.text,
                        problems,
                    )
                })
                .collect(),
            Some(_) => {
                problems.add(
                    name,
                    format!("`{name}` is not a list of tables"),
                    format!("begin each with `[[{name}]]`"),
                );
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Puts each problem on its line.
    pub(crate) fn locate(&self, problems: Problems) -> Rejected {
        let located = problems.iter().map(|problem| {
            let line = problem.line.or_else(|| self.line_of_key(&problem.key));
            (line, problem.clone())
        });
        Rejected {
            problems: located.collect(),
        }
    }

    /// The line of the longest part of `key` that the file has.
    fn line_of_key(&self, key: &str) -> Option<usize> {
        let mut best = None;
        let mut table = &self.root;
        for part in key.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((found, value)) = table.iter().find(|(k, _)| k.get_ref() == name) else {
                break;
            };
            best = Some(line_of(self.text, found.span()));
            let value: &Spanned<DeValue<'_>> = match (value.get_ref(), index) {
                (DeValue::Array(list), Some(i)) => match list.get(i) {
                    Some(element) => element,
                    None => break,
                },
                _ => value,
            };
            match value.get_ref() {
                DeValue::Table(inner) => {
                    if index.is_some() {
                        best = Some(line_of(self.text, value.span()));
                    }
                    table = inner;
                }
                _ => break,
            }
        }
        best
    }
}

/// Deserialises one value; its error becomes a problem on the line it names.
fn read<T>(
    value: DeValue<'_>,
    span: Range<usize>,
    key: &str,
    text: &str,
    problems: &mut Problems,
) -> Option<T>
where
    T: for<'de> Deserialize<'de>,
{
    match T::deserialize(ValueDeserializer::from(Spanned::new(span, value))) {
        Ok(read) => Some(read),
        Err(error) => {
            // The error knows its line better than the key of the section does.
            let span = error.span().filter(|span| !span.is_empty());
            problems.add_at(
                span.map(|span| line_of(text, span)),
                key,
                error.message().trim().replace('\n', "; "),
                "`vaultgate config sample` lists every setting",
            );
            None
        }
    }
}

/// The line, counted from 1, on which a span begins.
fn line_of(text: &str, span: Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    before.filter(|byte| **byte == b'\n').count() + 1
}
