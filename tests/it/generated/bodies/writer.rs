//! Writes a document as text, with what is unusual at the members that were chosen.

use serde_json::Value;

use super::super::case::Expect::{self, Either, Hides, Passes, Refused};
use super::{Quirk, Spelt};

/// Writes a document, with what is unusual at the members that were chosen.
pub(super) struct Writer<'w> {
    pub(super) quirks: &'w [Quirk],
    pub(super) total: usize,
    pub(super) at: usize,
    pub(super) expect: &'w mut Expect,
    pub(super) out: &'w mut String,
}

impl Writer<'_> {
    fn must(&mut self, expect: Expect) {
        *self.expect = (*self.expect).max(expect);
    }

    fn blank(&mut self) {
        if self
            .quirks
            .iter()
            .any(|quirk| matches!(quirk, Quirk::Blanks))
        {
            self.out.push_str(" \n\t");
        }
    }

    pub(super) fn value(&mut self, value: &Value) {
        let Value::Object(members) = value else {
            return self.out.push_str(&value.to_string());
        };
        self.out.push('{');
        for (place, (name, value)) in members.iter().enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            self.blank();
            self.member(name, value);
        }
        self.out.push('}');
    }

    fn member(&mut self, name: &str, value: &Value) {
        let (own, total) = (self.at, self.total);
        self.at += 1;
        let mut written = name.to_owned();
        let mut after = String::new();
        for quirk in self.quirks {
            match quirk {
                Quirk::Spelt(place, how) if place.index(total) == own => {
                    // A name that is escaped and of another case at once is another name.
                    self.must(match how {
                        Spelt::Escaped => Passes,
                        // No id any more, where the model does not know it.
                        _ if name.ends_with("Id") => Hides,
                        _ => Refused,
                    });
                    written = spelt(&written, *how);
                }
                Quirk::Twice(place, how, null) if place.index(total) == own => {
                    let again = how.map_or(name.to_owned(), |how| spelt(name, how));
                    let value = if *null {
                        "null".to_owned()
                    } else {
                        value.to_string()
                    };
                    after.push_str(&format!(",\"{again}\":{value}"));
                    // With a space it is another name, where the model knows neither.
                    let other = matches!(how, Some(Spelt::Space)) && name.ends_with("Id");
                    self.must(if other { Either } else { Refused });
                }
                Quirk::Unknown(place, (unknown, named), (value, valued))
                    if place.index(total) == own =>
                {
                    self.out.push_str(&format!("\"{unknown}\":{value},"));
                    let repeated = self
                        .quirks
                        .iter()
                        .filter(|quirk| matches!(quirk, Quirk::Unknown(..)));
                    self.must((*named).max(*valued).max(if repeated.count() > 1 {
                        Either
                    } else {
                        Passes
                    }));
                }
                Quirk::Deep(levels) if own == 0 => {
                    let deep = format!("\"deep\":{}{},", "[".repeat(*levels), "]".repeat(*levels));
                    self.out.push_str(&deep);
                }
                _ => {}
            }
        }
        self.out.push_str(&format!("\"{written}\""));
        self.blank();
        self.out.push(':');
        self.blank();
        self.value(value);
        self.out.push_str(&after);
        self.blank();
    }
}

fn spelt(name: &str, how: Spelt) -> String {
    let mut letters = name.chars();
    match (how, letters.next()) {
        (Spelt::Escaped, Some(first)) if first != '\\' => {
            format!("\\u{:04x}{}", u32::from(first), letters.as_str())
        }
        (Spelt::Case, Some(first)) if first != '\\' => {
            format!("{}{}", first.to_ascii_uppercase(), letters.as_str())
        }
        (Spelt::Space, _) => format!("{name} "),
        _ => name.to_owned(),
    }
}
