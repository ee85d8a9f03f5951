//! Targets: every way to spell the path of a listed operation, and its query.

mod spellings;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::case::{Ask, Case, Expect, How};
use super::stage::Stage;
use crate::harness::repository;
use spellings::{HEADERS, PIECES, QUERIES, SEGMENTS, TRAILS};

use Expect::{Either, Hides, Passes, Refused};

/// One thing that is unusual about a target.
#[derive(Clone, Debug)]
enum Quirk {
    /// The case of ASCII letters in fixed segments.
    Case(u64),
    /// Escapes where none are needed; upper-case digits or lower.
    Escapes(u64, bool),
    Piece(Index, Index, (&'static str, Expect)),
    Segment(Index, (&'static str, Expect)),
    Empty(Index),
    Slash,
    Trail((&'static str, Expect)),
    /// Another resource, whose extension this then is.
    Extension,
    Method((&'static str, Expect)),
    Origin((&'static str, Expect)),
    Query((&'static str, Expect, Expect)),
    Header((&'static str, &'static str, Expect, Expect)),
}

/// An operation of the list: method and path.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) method: String,
    pub(super) template: Vec<String>,
}

pub(super) fn listed() -> Vec<Listed> {
    let path = repository().join("tests/data/operations.csv");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut columns = line.split(',').skip(2);
        let (method, path) = (columns.next()?, columns.next()?);
        Some(Listed {
            method: method.to_owned(),
            template: path.split('/').skip(1).map(str::to_owned).collect(),
        })
    });
    rows.collect()
}

fn quirk() -> BoxedStrategy<Quirk> {
    let place = any::<Index>;
    let methods = vec![
        ("get", Refused),
        ("HEAD", Refused),
        ("OPTIONS", Refused),
        ("TRACE", Refused),
        ("PROPFIND", Refused),
        ("QUERY", Refused),
        ("Delete", Refused),
        ("GETX", Refused),
        ("GET", Either),
        ("PUT", Either),
        ("POST", Either),
        ("PATCH", Either),
        ("DELETE", Either),
    ];
    let origins = vec![
        ("https://@HOST@", Passes),
        ("https://evil.example", Refused),
        ("https://@HOST@.evil.example", Refused),
        ("https://x@@HOST@", Refused),
        ("https://@HOST@@evil.example", Refused),
        ("//@HOST@", Refused),
        ("https:", Refused),
        ("HTTPS://@HOST@", Either),
        ("http://@HOST@", Either),
        ("*", Refused),
        ("", Either),
    ];
    prop_oneof![
        10 => any::<u64>().prop_map(Quirk::Case),
        10 => any::<(u64, bool)>().prop_map(|(which, upper)| Quirk::Escapes(which, upper)),
        12 => (place(), place(), select(PIECES.to_vec())).prop_map(|(a, b, c)| Quirk::Piece(a, b, c)),
        5 => (place(), select(SEGMENTS.to_vec())).prop_map(|(a, b)| Quirk::Segment(a, b)),
        4 => place().prop_map(Quirk::Empty),
        2 => Just(Quirk::Slash),
        5 => select(TRAILS.to_vec()).prop_map(Quirk::Trail),
        1 => Just(Quirk::Extension),
        3 => select(methods).prop_map(Quirk::Method),
        3 => select(origins).prop_map(Quirk::Origin),
        8 => select(QUERIES.to_vec()).prop_map(Quirk::Query),
        4 => select(HEADERS.to_vec()).prop_map(Quirk::Header),
    ]
    .boxed()
}

/// Names that are names to everybody, and few of what really is there.
fn name() -> BoxedStrategy<String> {
    prop_oneof![
        6 => "[A-Za-z0-9][A-Za-z0-9;._-]{0,10}[A-Za-z0-9]",
        1 => Just("a..b".to_owned()), 1 => Just("providers".to_owned()), 1 => Just("backupJobs".to_owned()),
        1 => Just("VM;iaasvmcontainerv2;rg1;vm1".to_owned()), 1 => Just("vaultconfig".to_owned()),
    ]
    .boxed()
}

pub(super) fn cases(_: &Arc<Stage>) -> BoxedStrategy<Case> {
    let quirks = prop_oneof![
        2 => Just(0_usize..1), 6 => Just(1..2), 2 => Just(2..4)
    ]
    .prop_flat_map(|count| prop::collection::vec(quirk(), count));
    let names = prop::collection::vec(name(), 8);
    (
        select(listed()),
        names,
        0..64_u8,
        quirks,
        prop::bool::weighted(0.35),
    )
        .prop_map(|(row, names, vault, quirks, http2)| case(&row, &names, vault, &quirks, http2))
        .boxed()
}

/// A target on its way.
struct Making {
    method: String,
    /// Segments, and whether each stands in the list as it is.
    path: Vec<(Vec<u8>, bool)>,
    ask: Ask,
    expect: Expect,
}

fn case(row: &Listed, names: &[String], vault: u8, quirks: &[Quirk], http2: bool) -> Case {
    let mut names = names.iter().cycle();
    let segments = row.template.iter().map(|own| match own.as_str() {
        "{subscriptionId}" => (vaultgate_sim::CORPUS.into(), false),
        "{resourceGroupName}" => (b"rg1".to_vec(), false),
        "{vaultName}" => (format!("v{vault}").into(), false),
        own if own.starts_with('{') => (
            names.next().cloned().unwrap_or_default().into_bytes(),
            false,
        ),
        own => (own.into(), true),
    });
    let mut making = Making {
        method: row.method.clone(),
        path: segments.collect(),
        ask: Ask::new(http2, &row.method, ""),
        expect: Passes,
    };
    // The method first, and only one: what others mean depends on it. An extension takes
    // the place of what stands before it, and of what would be wrong there.
    let rank = |quirk: &&Quirk| match quirk {
        Quirk::Method(_) => 0,
        Quirk::Extension => 1,
        _ => 2,
    };
    let mut ordered: Vec<&Quirk> = quirks.iter().collect();
    ordered.sort_by_key(rank);
    ordered.dedup_by_key(|quirk| match quirk {
        Quirk::Method(_) => usize::MAX,
        other => std::ptr::from_ref::<Quirk>(other).addr(),
    });
    ordered.iter().for_each(|quirk| making.bend(quirk));
    making.finish(&ordered)
}

impl Making {
    fn must(&mut self, expect: Expect) {
        self.expect = self.expect.max(expect);
    }

    fn reads(&self) -> bool {
        self.method == "GET"
    }

    fn bend(&mut self, quirk: &Quirk) {
        let length = self.path.len();
        match quirk {
            Quirk::Case(which) => {
                let fixed = self.path.iter_mut().filter(|(_, fixed)| *fixed);
                let letters = fixed.flat_map(|(segment, _)| segment.iter_mut());
                letters
                    .enumerate()
                    .filter(|(n, _)| which >> (n % 64) & 1 == 1)
                    .for_each(|(_, letter)| {
                        if letter.is_ascii_alphabetic() {
                            *letter ^= 0x20;
                        }
                    });
            }
            Quirk::Escapes(which, upper) => {
                for (n, (segment, _)) in self.path.iter_mut().enumerate() {
                    *segment = escaped(
                        segment,
                        which.rotate_left(u32::try_from(n).unwrap_or(0) * 7),
                        *upper,
                    );
                }
            }
            Quirk::Piece(place, within, (piece, expect)) => {
                if let Some((segment, _)) = self.path.get_mut(place.index(length)) {
                    let at = within.index(segment.len() + 1);
                    segment.splice(at..at, piece.bytes());
                    self.must(*expect);
                }
            }
            Quirk::Segment(place, (segment, expect)) => {
                self.path.insert(
                    place.index(length + 1),
                    (segment.as_bytes().to_vec(), false),
                );
                self.must(*expect);
            }
            Quirk::Empty(place) => {
                let place = place.index(length);
                self.path.insert(place, (Vec::new(), false));
                self.must(if self.reads() && place > 0 {
                    Passes
                } else {
                    Refused
                });
            }
            Quirk::Slash => {
                self.path.push((Vec::new(), false));
                self.must(if self.reads() { Passes } else { Refused });
            }
            Quirk::Extension => {
                let other = format!(
                    "subscriptions/{}/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/vm1/providers",
                    vaultgate_sim::CORPUS
                );
                let other = other
                    .split('/')
                    .map(|segment| (segment.as_bytes().to_vec(), false));
                let last = self
                    .path
                    .iter()
                    .rposition(|(segment, _)| segment.eq_ignore_ascii_case(b"providers"));
                self.path.splice(..last.map_or(0, |last| last + 1), other);
                self.must(Either);
            }
            Quirk::Method((method, expect)) => {
                self.method = (*method).to_owned();
                self.must(*expect);
            }
            Quirk::Header((name, value, read, change)) => {
                self.ask
                    .headers
                    .push(((*name).to_owned(), value.as_bytes().to_vec()));
                let repeated = self
                    .ask
                    .headers
                    .iter()
                    .filter(|(own, _)| own == name)
                    .count()
                    > 1;
                self.must(if self.reads() { *read } else { *change });
                self.must(if repeated { Either } else { Passes });
            }
            Quirk::Trail(_) | Quirk::Origin(_) | Quirk::Query(_) => {}
        }
    }

    /// Puts the target together; what stands around the path comes in order.
    fn finish(mut self, quirks: &[&Quirk]) -> Case {
        let mut target = Vec::new();
        let origin = quirks.iter().find_map(|quirk| match quirk {
            Quirk::Origin(origin) => Some(*origin),
            _ => None,
        });
        // Over HTTP/2 no path has an origin; without the rest of the path it is none.
        if let Some((origin, expect)) = origin {
            target.extend(origin.bytes());
            self.must(if self.ask.http2 && !origin.is_empty() {
                Refused
            } else {
                expect
            });
        }
        for (segment, _) in &self.path {
            target.push(b'/');
            target.extend(segment);
        }
        // A second one could mend the first.
        let trail = quirks.iter().find_map(|quirk| match quirk {
            Quirk::Trail(trail) => Some(*trail),
            _ => None,
        });
        if let Some((trail, expect)) = trail {
            target.extend(trail.bytes());
            self.must(expect);
        }
        // What is put beside dots may make a name of them.
        let dots = |quirk: &&&Quirk| matches!(quirk, Quirk::Segment(_, (_, Refused)));
        let beside = |quirk: &&&Quirk| matches!(quirk, Quirk::Piece(..) | Quirk::Trail(_));
        if quirks.iter().any(|quirk| dots(&quirk)) && quirks.iter().any(|quirk| beside(&quirk)) {
            self.must(Hides);
        }
        let (query, read, change) = quirks
            .iter()
            .find_map(|quirk| match quirk {
                Quirk::Query(query) => Some(*query),
                _ => None,
            })
            .unwrap_or(("api-version=2024-04-01", Passes, Passes));
        self.must(if self.reads() { read } else { change });
        target.push(b'?');
        target.extend(query.bytes());
        if matches!(self.method.as_str(), "PUT" | "POST" | "PATCH") {
            self.ask.body = Some(b"{}".to_vec());
            self.ask
                .headers
                .push(("content-type".to_owned(), b"application/json".to_vec()));
        }
        self.ask.method = self.method;
        self.ask.target = target;
        Case {
            how: How::Ask(self.ask),
            expect: self.expect,
        }
    }
}

/// Writes some characters as escapes of themselves.
fn escaped(segment: &[u8], which: u64, upper: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut n = 0;
    while let Some(byte) = segment.get(n) {
        // Neither an escape nor what follows it is escaped again: that would be another name.
        if *byte == b'%' {
            out.extend(segment.iter().skip(n).take(3));
            n += 3;
            continue;
        }
        match which >> (n % 61) & 7 {
            0 if byte.is_ascii_alphanumeric() || b";._-".contains(byte) => {
                let escape = if upper {
                    format!("%{byte:02X}")
                } else {
                    format!("%{byte:02x}")
                };
                out.extend(escape.bytes());
            }
            _ => out.push(*byte),
        }
        n += 1;
    }
    out
}
