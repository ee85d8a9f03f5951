//! JSON as strict as RFC 8259 and I-JSON allow, and stricter where two parsers
//! could disagree.
//!
//! Refused: a byte order mark, invalid UTF-8, lone surrogates, names that occur
//! twice or differ only in ASCII case, control characters in strings, depth beyond
//! 64, anything after the document. Numbers keep their text and are compared by
//! it. What is judged is re-serialised from here, so a lenient parser behind the
//! gateway never sees a byte that this one did not understand.

mod parse;

use std::fmt::Write as _;

/// Longest document, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// Longest name of a member, bytes: twice that of a tag, the longest name that ARM takes.
pub const MAX_NAME: usize = 1024;
/// Longest number, bytes: more digits than any value of the API has.
pub const MAX_NUMBER: usize = 64;

/// Why a text is not taken as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// A JSON value; members keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// A member of an object.
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// A member found by its path.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, name| value.member(name))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The same value for policy. A number that JSON readers would round becomes
    /// its text, so that no rule compares a value that was never sent.
    pub fn to_serde(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(text) => exact_number(text),
            Value::String(text) => text.as_str().into(),
            Value::Array(elements) => elements.iter().map(Value::to_serde).collect(),
            Value::Object(members) => serde_json::Value::Object(
                members
                    .iter()
                    .map(|(n, v)| (n.clone(), v.to_serde()))
                    .collect(),
            ),
        }
    }

    /// The value with the members of every object in the order of their names.
    fn sorted(&self) -> Value {
        match self {
            Value::Array(elements) => Value::Array(elements.iter().map(Value::sorted).collect()),
            Value::Object(members) => {
                let mut members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.sorted()))
                    .collect();
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                Value::Object(members)
            }
            plain => plain.clone(),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(text) => out.push_str(text),
            Value::String(text) => write_string(text, out),
            Value::Array(elements) => {
                out.push('[');
                for (i, element) in elements.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn exact_number(text: &str) -> serde_json::Value {
    let number: Result<serde_json::Number, _> = serde_json::from_str(text);
    match number {
        Ok(number) if number.is_i64() || number.is_u64() || number.to_string() == text => {
            serde_json::Value::Number(number)
        }
        _ => serde_json::Value::String(text.to_owned()),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // Escaped: the separators end a line in some readers, the rest is invisible.
            c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    root: Value,
}

impl Document {
    /// Parses a text, strictly.
    pub fn parse(bytes: &[u8]) -> Result<Document, JsonError> {
        parse::document(bytes).map(|root| Document { root })
    }

    /// A document of a value.
    pub fn of(root: Value) -> Document {
        Document { root }
    }

    /// The outermost value.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The document as it is sent: members in their order, nothing but the value.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        self.root.write(&mut out);
        out.into_bytes()
    }

    /// The document in one spelling whatever order its members came in: two requests that
    /// say the same have the same bytes here, and numbers still differ by their text.
    pub fn sorted_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        self.root.sorted().write(&mut out);
        out.into_bytes()
    }

    /// The document for policy.
    pub fn to_value(&self) -> serde_json::Value {
        self.root.to_serde()
    }

    /// The outermost value, for the one rewrite of an id.
    pub(crate) fn root_mut(&mut self) -> &mut Value {
        &mut self.root
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::Document;
    use proptest::prelude::{any, proptest};

    fn refused(text: &[u8]) -> &'static str {
        Document::parse(text).unwrap_err().what
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            &br#"{"a":{"$serde_json::private::Number":"7"}}"#[..],
            br#"{"a":{"$serde_json::private::RawValue":"{}"}}"#,
            &br#"{"a":1,"a":2}"#[..],
            br#"{"a":1,"A":2}"#,
            br#"{"a":1,"\u0061":2}"#,
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            br#"{"a":"\ud800"}"#,
            br#"{"a":01}"#,
            br#"{"a":+1}"#,
            br#"{"a":NaN}"#,
            br#"{"a":1.}"#,
            br#"{"a":.5}"#,
            br#"{"a":1,}"#,
            br"{'a':1}",
            b"{\"a\":\"x\ny\"}",
            br#"{} {}"#,
            b"// c\n{}",
            b"",
            b"{",
        ] {
            assert!(
                Document::parse(text).is_err(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert_eq!(refused(&b"[".repeat(100_000)), "nested too deep");
        let digits = format!("{{\"a\":{}}}", "9".repeat(100_000));
        assert_eq!(refused(digits.as_bytes()), "number too long");
    }

    #[test]
    fn numbers_keep_their_text_and_order_is_kept() {
        let text = br#"{"z":1.10,"a":[9007199254740993,-0,1e3],"s":"\u00e9\ud83d\ude00"}"#;
        let document = Document::parse(text).unwrap();
        let written = String::from_utf8(document.canonical_bytes()).unwrap();
        assert_eq!(
            written,
            "{\"z\":1.10,\"a\":[9007199254740993,-0,1e3],\"s\":\"é😀\"}"
        );
    }

    #[test]
    fn the_order_of_members_is_no_difference_and_the_text_of_numbers_is() {
        let sorted = |text: &str| Document::parse(text.as_bytes()).unwrap().sorted_bytes();
        assert_eq!(
            sorted(r#"{"b":[{"y":1,"x":2}],"a":null}"#),
            sorted(r#"{"a":null,"b":[{"x":2,"y":1}]}"#)
        );
        assert_ne!(sorted(r#"{"a":[1,2]}"#), sorted(r#"{"a":[2,1]}"#));
        assert_ne!(sorted(r#"{"a":1}"#), sorted(r#"{"a":1.0}"#));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic_and_what_is_taken_is_a_fixed_point(bytes in any::<Vec<u8>>()) {
            if let Ok(document) = Document::parse(&bytes) {
                let again = Document::parse(&document.canonical_bytes()).unwrap();
                assert_eq!(again, document);
            }
        }

        #[test]
        fn serde_reads_what_is_written_as_the_same_value(s in ".*", n in any::<i64>()) {
            let text = serde_json::json!({"s": s, "n": n, "l": [s, null, true]}).to_string();
            let document = Document::parse(text.as_bytes()).unwrap();
            let read: serde_json::Value =
                serde_json::from_slice(&document.canonical_bytes()).unwrap();
            assert_eq!(read, serde_json::from_str::<serde_json::Value>(&text).unwrap());
        }
    }
}
