//! From what can be written as JSON to the engine's value, without the text between.
//!
//! The same `Serialize` writes the text that is recorded and the value that is judged,
//! so that the two cannot differ; a test holds them together. Parts that are text
//! already (`RawValue`) are read by the engine's own parser.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use foldhash::{HashMap, HashMapExt as _};
use regorus::Value;
use serde::ser::{
    self, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer,
};

/// Names of members that a thread keeps: few are ever used, each many times.
const MAX_NAMES: usize = 1_024;
/// Longest name that is kept, bytes: callers choose some.
const MAX_NAME: usize = 64;
/// Objects of counts that a thread keeps.
const MAX_COUNTS: usize = 1_024;
/// Members of the largest object of counts that is kept.
const WINDOWS: usize = 3;
/// How `serde_json` says that a part is text already.
const RAW: &str = "$serde_json::private::RawValue";

/// Why something is no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ValueError(String);

impl ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> ValueError {
        ValueError(message.to_string())
    }
}

/// The value of anything that can be written as JSON.
pub(crate) fn of<T: Serialize + ?Sized>(anything: &T) -> Result<Value, ValueError> {
    anything.serialize(Writer::new(&mut None))
}

/// The value of a JSON text.
pub(crate) fn parse(text: &str) -> Result<Value, ValueError> {
    Value::from_json_str(text).map_err(ser::Error::custom)
}

/// An object that holds nothing but a few counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    length: usize,
    names: [&'static str; WINDOWS],
    counts: [u64; WINDOWS],
}

// Names follow from the counts' number, nearly always.
impl Hash for Counts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.length.hash(state);
        for count in self.counts {
            state.write_u64(count);
        }
    }
}

impl Counts {
    /// Adds a member; false when there is no room.
    fn push(&mut self, name: &'static str, count: u64) -> bool {
        let at = self.length;
        let (Some(names), Some(counts)) = (self.names.get_mut(at), self.counts.get_mut(at)) else {
            return false;
        };
        (*names, *counts) = (name, count);
        self.length += 1;
        true
    }

    fn members(&self) -> impl Iterator<Item = (Value, Value)> {
        let members = self.names.iter().zip(&self.counts).take(self.length);
        members.map(|(text, count)| (name(text), Value::from(*count)))
    }
}

thread_local! {
    static NAMES: RefCell<HashMap<Box<str>, Value>> = RefCell::new(HashMap::new());
    static COUNTS: RefCell<HashMap<Counts, Value>> = RefCell::new(HashMap::new());
}

fn name(text: &str) -> Value {
    NAMES.with_borrow_mut(|names| match names.get(text) {
        Some(known) => known.clone(),
        None => {
            let value = Value::from(text);
            if text.len() <= MAX_NAME && names.len() < MAX_NAMES {
                names.insert(text.into(), value.clone());
            }
            value
        }
    })
}

/// An object of counts. Three in four objects of an input are such, nearly all of zeros.
fn counted(counts: &Counts) -> Value {
    COUNTS.with_borrow_mut(|known| match known.get(counts) {
        Some(value) => value.clone(),
        None => {
            let value = Value::from(BTreeMap::from_iter(counts.members()));
            if known.len() >= MAX_COUNTS {
                known.clear();
            }
            known.insert(*counts, value.clone());
            value
        }
    })
}

type Written = Result<Value, ValueError>;
type Nothing = Impossible<Value, ValueError>;

struct Writer<'c> {
    /// What was written, if it is a count: `1.0` is none, and another number to some
    /// builtins than `1`.
    count: &'c mut Option<u64>,
    /// Whether it is the name of a member.
    name: bool,
}

impl<'c> Writer<'c> {
    fn new(count: &'c mut Option<u64>) -> Writer<'c> {
        Writer { count, name: false }
    }
}

/// An array on its way.
struct Elements(Vec<Value>);

impl SerializeSeq for Elements {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, element: &T) -> Result<(), ValueError> {
        self.0.push(of(element)?);
        Ok(())
    }

    fn end(self) -> Written {
        Ok(Value::from(self.0))
    }
}

/// An object on its way.
#[derive(Default)]
struct Members {
    /// Members that are expected.
    room: usize,
    members: Vec<(Value, Value)>,
    name: Option<Value>,
    raw: bool,
    /// The first members, as long as all are counts.
    counts: Counts,
}

impl Members {
    fn push(&mut self, name: Value, value: Value) {
        if self.members.capacity() == 0 {
            self.members.reserve(self.room.min(64));
        }
        self.members.push((name, value));
    }

    fn done(mut self) -> Value {
        if self.members.is_empty() {
            return counted(&self.counts);
        }
        self.members.extend(self.counts.members());
        // Two equal names do not come from a structure, and a map has no counts apart.
        Value::from(BTreeMap::from_iter(self.members))
    }
}

impl SerializeMap for Members {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        let mut none = None;
        let writer = Writer {
            count: &mut none,
            name: true,
        };
        match key.serialize(writer)? {
            name @ Value::String(_) => self.name = Some(name),
            _ => return Err(ser::Error::custom("a name that is no text")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let name = self.name.take();
        let name = name.ok_or_else(|| ValueError("a value without a name".to_owned()))?;
        self.push(name, of(value)?);
        Ok(())
    }

    fn end(self) -> Written {
        Ok(self.done())
    }
}

impl SerializeStruct for Members {
    type Ok = Value;
    type Error = ValueError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        field: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        let mut count = None;
        let value = value.serialize(Writer::new(&mut count))?;
        let kept =
            self.members.is_empty() && count.is_some_and(|count| self.counts.push(field, count));
        if !kept {
            self.push(name(field), value);
        }
        Ok(())
    }

    fn end(self) -> Written {
        if !self.raw {
            return Ok(self.done());
        }
        match self.members.as_slice() {
            [(_, Value::String(text))] => parse(text),
            _ => Err(ser::Error::custom("a raw part that is no text")),
        }
    }
}

impl Serializer for Writer<'_> {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = Elements;
    type SerializeTuple = Nothing;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Nothing;

    fn serialize_bool(self, value: bool) -> Written {
        Ok(Value::from(value))
    }

    fn serialize_i8(self, value: i8) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Written {
        // As the parser has it: whole numbers are unsigned where they can be.
        Ok(u64::try_from(value).map_or_else(|_| Value::from(value), Value::from))
    }

    fn serialize_u8(self, value: u8) -> Written {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Written {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Written {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Written {
        *self.count = Some(value);
        Ok(Value::from(value))
    }

    fn serialize_f32(self, value: f32) -> Written {
        parse(&serde_json::to_string(&value).map_err(ser::Error::custom)?)
    }

    fn serialize_f64(self, value: f64) -> Written {
        // What the text says, which may be fewer digits than the machine has.
        parse(&serde_json::to_string(&value).map_err(ser::Error::custom)?)
    }

    fn serialize_char(self, value: char) -> Written {
        Ok(Value::from(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Written {
        Ok(match self.name {
            true => name(value),
            false => Value::from(value),
        })
    }

    fn serialize_bytes(self, _: &[u8]) -> Written {
        Err(ser::Error::custom("bytes are no JSON"))
    }

    fn serialize_none(self) -> Written {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        Ok(name(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let member = (name(variant), of(value)?);
        Ok(Value::from(BTreeMap::from([member])))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Elements, ValueError> {
        Ok(Elements(Vec::with_capacity(length.unwrap_or(0).min(64))))
    }

    fn serialize_tuple(self, _: usize) -> Result<Nothing, ValueError> {
        Err(ser::Error::custom("a tuple is no part of an input"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Nothing, ValueError> {
        Err(ser::Error::custom("a tuple is no part of an input"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nothing, ValueError> {
        Err(ser::Error::custom("a tuple is no part of an input"))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Members, ValueError> {
        Ok(Members {
            room: length.unwrap_or(32),
            ..Members::default()
        })
    }

    fn serialize_struct(self, kind: &'static str, length: usize) -> Result<Members, ValueError> {
        Ok(Members {
            room: length,
            raw: kind == RAW,
            ..Members::default()
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Nothing, ValueError> {
        Err(ser::Error::custom(
            "a variant with members is no part of an input",
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::{COUNTS, MAX_COUNTS, MAX_NAMES, NAMES, of, parse};

    fn anything() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|b| json!(b)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "\\PC{0,30}".prop_map(|s| json!(s)),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|v| json!(v)),
                prop::collection::btree_map("\\PC{0,8}", inner, 0..6).prop_map(|m| json!(m)),
            ]
        })
    }

    #[derive(Serialize)]
    enum Kind {
        Human,
        Held { by: u8 },
        Named(String),
    }

    #[derive(Serialize)]
    struct Part<'p> {
        #[serde(rename = "1h")]
        hour: u32,
        share: Option<f64>,
        small: f32,
        below: i16,
        kind: Kind,
        named: Kind,
        letter: char,
        nothing: (),
        raw: &'p RawValue,
        value: &'p serde_json::Value,
        map: BTreeMap<&'p str, [bool; 0]>,
    }

    #[derive(Serialize)]
    struct Windows {
        a: u64,
        b: u64,
        c: u64,
    }

    #[derive(Serialize)]
    struct Others {
        a: u64,
        c: u64,
    }

    #[derive(Serialize)]
    struct Share {
        a: u64,
        c: f64,
    }

    proptest! {
        /// Whatever is written: the value is the one that the engine reads in the text.
        #[test]
        fn the_value_is_what_parsing_the_text_gives(
            value in anything(), hour: u32, share: Option<f64>, small: f32, below: i16, text: String,
        ) {
            prop_assert_eq!(of(&value).unwrap(), parse(&value.to_string()).unwrap());
            let raw = RawValue::from_string(value.to_string()).unwrap();
            let part = Part {
                hour, share, small, below, kind: Kind::Human, named: Kind::Named(text),
                letter: 'x', nothing: (), raw: &raw, value: &value, map: BTreeMap::new(),
            };
            let text = serde_json::to_string(&part).unwrap();
            prop_assert_eq!(of(&part).unwrap(), parse(&text).unwrap());
            let few = u64::from(hour % 3);
            for windows in [Windows { a: few, b: few, c: few }, Windows { a: few, b: u64::MAX, c: few }] {
                let text = serde_json::to_string(&windows).unwrap();
                prop_assert_eq!(of(&windows).unwrap(), parse(&text).unwrap());
                let text = serde_json::to_string(&Others { a: few, c: few }).unwrap();
                prop_assert_eq!(of(&Others { a: few, c: few }).unwrap(), parse(&text).unwrap());
                let share = of(&Share { a: few, c: 1.0 }).unwrap();
                prop_assert_eq!(share.to_json_str().unwrap(), parse(&format!("{{\"a\":{few},\"c\":1.0}}")).unwrap().to_json_str().unwrap());
            }
        }
    }

    #[test]
    fn what_is_no_part_of_an_input_is_an_error() {
        assert!(of(&Kind::Held { by: 1 }).is_err());
        assert!(of(&(1, 2)).is_err());
        assert!(of(&BTreeMap::from([(1, 2)])).is_err());
        for bad in ["", "{", "[1,", "nul", "{\"a\":1,}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn callers_do_not_fill_memory() {
        for n in 0..3 * MAX_NAMES {
            of(&BTreeMap::from([(
                format!("a name that was made up {n}"),
                n,
            )]))
            .unwrap();
        }
        assert!(NAMES.with_borrow(|names| names.len()) <= MAX_NAMES);
        for a in 0..3 * MAX_COUNTS as u64 {
            of(&Others { a, c: a }).unwrap();
        }
        assert!(COUNTS.with_borrow(|counts| counts.len()) <= MAX_COUNTS);
    }
}
