//! Bodies: JSON that two readers could take differently, and contents that contradict
//! their target or themselves.

mod words;
mod writer;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::case::{Ask, Case, Expect, How};
use super::stage::Stage;
use words::{AROUND, DECIDING, HEADERS, Headers, IDS, NAMES, VALUES, operations};
use writer::Writer;

use Expect::{Either, Hides, Passes, Refused};

/// Ways to write a member that is known a second time, or only so.
#[derive(Clone, Copy, Debug)]
enum Spelt {
    /// With an escape: the same name to everybody.
    Escaped,
    /// In another case, which a lenient reader takes for the same.
    Case,
    /// With a space that a lenient reader trims.
    Space,
}

/// One thing that is unusual about a body.
#[derive(Clone, Debug)]
enum Quirk {
    Around((&'static str, &'static str, Expect)),
    /// Spaces between tokens.
    Blanks,
    /// A member's name spelt otherwise.
    Spelt(Index, Spelt),
    /// A member once more, before or after its like.
    Twice(Index, Option<Spelt>, bool),
    Unknown(Index, (&'static str, Expect), (&'static str, Expect)),
    /// So many lists within each other.
    Deep(usize),
    /// An end that comes too early.
    Cut(Index),
    /// Another value for a member that decides.
    Deciding(Index, u8),
    /// An id in the body.
    Id((&'static str, &'static str, Expect)),
    /// Other bytes than UTF-8.
    Coding(u8),
    Header(Headers),
}

fn quirk() -> BoxedStrategy<Quirk> {
    let spelt = || select(vec![Spelt::Escaped, Spelt::Case, Spelt::Space]);
    let place = any::<Index>;
    prop_oneof![
        4 => select(AROUND.to_vec()).prop_map(Quirk::Around),
        2 => Just(Quirk::Blanks),
        4 => (place(), spelt()).prop_map(|(a, b)| Quirk::Spelt(a, b)),
        4 => (place(), prop::option::of(spelt()), any::<bool>()).prop_map(|(a, b, c)| Quirk::Twice(a, b, c)),
        10 => (place(), select(NAMES.to_vec()), select(VALUES.to_vec())).prop_map(|(a, b, c)| Quirk::Unknown(a, b, c)),
        // What needs 64 levels or more with the document's own is refused.
        2 => prop_oneof![1..50_usize, 64..3_000_usize].prop_map(Quirk::Deep),
        2 => place().prop_map(Quirk::Cut),
        5 => (place(), 0..9_u8).prop_map(|(a, b)| Quirk::Deciding(a, b)),
        4 => select(IDS.to_vec()).prop_map(Quirk::Id),
        1 => (0..5_u8).prop_map(Quirk::Coding),
        4 => select(HEADERS.to_vec()).prop_map(Quirk::Header),
    ]
    .boxed()
}

pub(super) fn cases(_: &Arc<Stage>) -> BoxedStrategy<Case> {
    let quirks = prop_oneof![1 => Just(0_usize..1), 7 => Just(1..2), 2 => Just(2..4)]
        .prop_flat_map(|count| prop::collection::vec(quirk(), count));
    (select(operations()), 0..200_u8, quirks, prop::bool::weighted(0.3))
        .prop_map(|((method, path, body), vault, quirks, http2)| {
            let vault = format!(
                "/subscriptions/{}/resourceGroups/rg1/providers/Microsoft.RecoveryServices/vaults/v{vault}",
                vaultgate_sim::CORPUS
            );
            let target = format!("{vault}{path}?api-version=2024-04-01");
            let quirks = apart(quirks);
            let mut making = Making::of(body, &vault);
            let (document, headers) = making.finish(&quirks);
            let mut ask = Ask::new(http2, method, target);
            ask.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            ask.body = Some(document);
            Case { how: How::Ask(ask), expect: making.expect }
        })
        .boxed()
}

/// One quirk of a kind, and one of those that bend the text's ends: a second one could
/// mend what the first has broken.
fn apart(quirks: Vec<Quirk>) -> Vec<Quirk> {
    let mut kept: Vec<Quirk> = Vec::new();
    let ends = |quirk: &Quirk| matches!(quirk, Quirk::Around(_) | Quirk::Cut(_));
    for quirk in quirks {
        let same = |own: &Quirk| {
            std::mem::discriminant(own) == std::mem::discriminant(&quirk)
                || ends(own) && ends(&quirk)
        };
        if !kept.iter().any(same) {
            kept.push(quirk);
        }
    }
    kept
}

/// A document on its way.
struct Making {
    body: Value,
    vault: String,
    expect: Expect,
}

impl Making {
    fn of(body: Value, vault: &str) -> Making {
        Making {
            body,
            vault: vault.to_owned(),
            expect: Passes,
        }
    }

    fn must(&mut self, expect: Expect) {
        self.expect = self.expect.max(expect);
    }

    fn properties(&mut self, name: &str, value: Value) {
        let at = if name == "id" { "" } else { "/properties" };
        if let Some(Value::Object(members)) = self.body.pointer_mut(at) {
            members.insert(name.to_owned(), value);
        }
    }

    fn finish(&mut self, quirks: &[Quirk]) -> (Vec<u8>, &'static [(&'static str, &'static str)]) {
        let mut headers: &'static [_] = &[("content-type", "application/json")];
        // What changes the document, then how it is written, then its bytes.
        for quirk in quirks {
            match quirk {
                Quirk::Id((name, id, expect)) => {
                    let lower = id.starts_with('v');
                    let vault = if lower {
                        self.vault.to_ascii_uppercase()
                    } else {
                        self.vault.clone()
                    };
                    let other = format!("{}x", self.vault);
                    let id = id
                        .replace(['V', 'v'], "\u{1}")
                        .replacen('\u{1}', &vault, 1)
                        .replace('\u{1}', "V");
                    self.properties(name, id.replace('W', &other).into());
                    // Not every operation has a member of that name.
                    self.must(if *expect == Passes { Either } else { *expect });
                }
                Quirk::Deciding(place, how) => self.decide(place, *how),
                Quirk::Deep(levels) => {
                    self.must(if *levels < 50 { Passes } else { Refused });
                }
                Quirk::Header((own, expect)) => {
                    headers = own;
                    self.must(*expect);
                }
                _ => {}
            }
        }
        let mut text = String::new();
        Writer {
            quirks,
            total: members(&self.body),
            at: 0,
            expect: &mut self.expect,
            out: &mut text,
        }
        .value(&self.body);
        (self.bytes(text, quirks), headers)
    }

    /// Another value where a word or a switch decides.
    fn decide(&mut self, place: &Index, how: u8) {
        let mut found = Vec::new();
        collect(&mut self.body, &DECIDING, &mut found);
        let count = found.len();
        if count == 0 {
            return;
        }
        let Some(value) = found.into_iter().nth(place.index(count)) else {
            return;
        };
        let Some(text) = value.as_str().map(str::to_owned) else {
            return;
        };
        let open = text.starts_with("Protection");
        let (other, expect): (Value, Expect) = match how {
            0 => (text.to_ascii_lowercase().into(), Refused),
            1 => (text.to_ascii_uppercase().into(), Refused),
            2 => (format!("{text} ").into(), Refused),
            3 => (format!("{text}\0").into(), Refused),
            4 => ("Nothing".into(), Refused),
            5 => (1.into(), Refused),
            6 => (json!([text]), Refused),
            7 => (Value::Null, Either),
            _ => ("".into(), Refused),
        };
        *value = other;
        self.must(if open { expect.min(Either) } else { expect });
    }

    fn bytes(&mut self, mut text: String, quirks: &[Quirk]) -> Vec<u8> {
        for quirk in quirks {
            match quirk {
                Quirk::Around((before, after, expect)) => {
                    text = format!("{before}{text}{after}");
                    self.must(*expect);
                }
                Quirk::Cut(place) => {
                    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                    text.truncate(
                        places
                            .get(place.index(places.len().max(1)))
                            .copied()
                            .unwrap_or(0),
                    );
                    // Nothing at all is a body that some operations need not have.
                    self.must(if text.is_empty() { Hides } else { Refused });
                }
                _ => {}
            }
        }
        let coding = quirks.iter().find_map(|quirk| match quirk {
            Quirk::Coding(how) => Some(*how),
            _ => None,
        });
        let Some(how) = coding.filter(|_| !text.is_empty()) else {
            return text.into_bytes();
        };
        self.must(Refused);
        match how {
            0 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            1 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            2 => [&[0x1f, 0x8b, 8, 0], text.as_bytes()].concat(),
            3 => text
                .replace('"', "\u{1}")
                .bytes()
                .map(|byte| if byte == 1 { 0xff } else { byte })
                .collect(),
            // An overlong quotation mark.
            _ => text
                .bytes()
                .flat_map(|byte| {
                    if byte == b'"' {
                        vec![0xc0, 0xa2]
                    } else {
                        vec![byte]
                    }
                })
                .collect(),
        }
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Object(own) => own.values().map(|value| 1 + members(value)).sum(),
        _ => 0,
    }
}

fn collect<'v>(value: &'v mut Value, names: &[&str], found: &mut Vec<&'v mut Value>) {
    if let Value::Object(own) = value {
        for (name, value) in own {
            match value {
                Value::String(_) if names.contains(&name.as_str()) => found.push(value),
                value => collect(value, names, found),
            }
        }
    }
}
