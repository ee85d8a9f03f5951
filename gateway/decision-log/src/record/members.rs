//! A record's own members: one JSON object on one line, none of whose members has a
//! name of the head. A second `seq` or a smuggled newline would let a caller write a
//! record's place.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeStruct, Serializer};

use super::EntryError;

/// Members that only the log writes.
const HEAD_NAMES: [&str; 5] = ["schema", "seq", "time", "kind", "id"];
/// How `serde_json` says that something is text already.
const RAW: &str = "$serde_json::private::RawValue";
/// Room for a record of usual length, bytes.
const USUAL: usize = 8 << 10;

/// The members of a record beside its head: the text of one JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(String);

impl Members {
    /// Writes a structure or a map down.
    pub fn of<T: Serialize + ?Sized>(record: &T) -> Result<Members, EntryError> {
        let told = |error: serde_json::Error| EntryError::Members(error.to_string());
        let mut json = serde_json::Serializer::new(Vec::with_capacity(USUAL));
        record.serialize(Object(&mut json)).map_err(told)?;
        let text = String::from_utf8(json.into_inner());
        Members::on_one_line(text.map_err(|error| EntryError::Members(error.to_string()))?)
    }

    /// Takes a text that came from elsewhere, after reading all of it.
    pub fn parse(text: String) -> Result<Members, EntryError> {
        if !text.starts_with('{') {
            return Err(EntryError::Members("not an object".to_owned()));
        }
        let told = |error: serde_json::Error| EntryError::Members(error.to_string());
        serde_json::from_str::<Names>(&text).map_err(told)?;
        Members::on_one_line(text)
    }

    /// Parts that were JSON before they came here keep their white space.
    fn on_one_line(text: String) -> Result<Members, EntryError> {
        let ends = text.ends_with('}');
        if !ends || text.bytes().any(|b| b == b'\n' || b == b'\r') {
            return Err(EntryError::Members("not an object on one line".to_owned()));
        }
        Ok(Members(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn refusal(why: impl fmt::Display) -> serde_json::Error {
    ser::Error::custom(why)
}

fn taken(name: &str) -> Option<String> {
    HEAD_NAMES
        .contains(&name)
        .then(|| format!("member `{name}` is written by the log alone"))
}

/// An object that was read to the end.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    if let Some(why) = taken(&name) {
                        return Err(de::Error::custom(why));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(Names)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

type Json = serde_json::Serializer<Vec<u8>>;
type Nothing = Impossible<(), serde_json::Error>;
type Written = Result<(), serde_json::Error>;

/// Writes an object and looks at its names on the way; anything else is refused.
struct Object<'j>(&'j mut Json);

/// An object that is being written.
struct Open<S>(S);

impl<S: SerializeStruct<Ok = (), Error = serde_json::Error>> SerializeStruct for Open<S> {
    type Ok = ();
    type Error = serde_json::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
        match taken(name) {
            Some(why) => Err(refusal(why)),
            None => self.0.serialize_field(name, value),
        }
    }

    fn end(self) -> Written {
        self.0.end()
    }
}

impl<S: SerializeMap<Ok = (), Error = serde_json::Error>> SerializeMap for Open<S> {
    type Ok = ();
    type Error = serde_json::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Written {
        let name = match serde_json::to_value(name)? {
            serde_json::Value::String(name) => name,
            other => other.to_string(),
        };
        match taken(&name) {
            Some(why) => Err(refusal(why)),
            None => self.0.serialize_key(&name),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.0.serialize_value(value)
    }

    fn end(self) -> Written {
        self.0.end()
    }
}

/// The kinds of values that are no object.
macro_rules! no_object {
    ($($method:ident($($kind:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$ok, serde_json::Error> {
            Err(refusal("not an object"))
        })*
    };
}

impl<'j> Serializer for Object<'j> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = Nothing;
    type SerializeTuple = Nothing;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Open<<&'j mut Json as Serializer>::SerializeMap>;
    type SerializeStruct = Open<<&'j mut Json as Serializer>::SerializeStruct>;
    type SerializeStructVariant = Nothing;

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, Self::Error> {
        Ok(Open(self.0.serialize_map(length)?))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, Self::Error> {
        // Nobody would look into a record that is text already.
        if name == RAW {
            return Err(refusal("not read"));
        }
        Ok(Open(self.0.serialize_struct(name, length)?))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
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
        _: &'static str,
        _: &T,
    ) -> Written {
        Err(refusal("not an object"))
    }

    no_object! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Nothing;
        serialize_tuple(usize) -> Nothing;
        serialize_tuple_struct(&'static str, usize) -> Nothing;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Nothing;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Nothing;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::{HEAD_NAMES, Members};
    use crate::record::EntryError;

    #[derive(Serialize)]
    struct Record<'r> {
        verdict: &'r str,
        inner: BTreeMap<&'r str, u64>,
        raw: Option<&'r RawValue>,
    }

    fn refused(result: Result<Members, EntryError>) -> bool {
        matches!(result, Err(EntryError::Members(_)))
    }

    #[test]
    fn what_is_written_down_is_what_json_gives() {
        let record = Record {
            verdict: "a\n\"b\"",
            inner: BTreeMap::from([("seq", 1)]),
            raw: None,
        };
        let members = Members::of(&record).unwrap();
        assert_eq!(members.as_str(), serde_json::to_string(&record).unwrap());
        assert_eq!(Members::parse(members.as_str().to_owned()), Ok(members));
        assert_eq!(Members::of(&json!({})).unwrap().as_str(), "{}");
        assert_eq!(
            Members::of(&Some(json!({"a": 1}))).unwrap().as_str(),
            "{\"a\":1}"
        );
    }

    #[test]
    fn members_that_could_forge_a_head_or_a_line_are_refused() {
        for text in [
            "",
            "{",
            "[]",
            "{}x",
            " {}",
            "{\"a\":1}\n",
            "{\"a\":\n1}",
            "{\"a\":1,}",
            "{\"seq\":1}",
            "{\"a\":1,\"id\":\"x\"}",
            "{\"s\\u0065q\":1}",
            "{\"time\":0}",
            "{}{}",
            "{\"a\":1}{\"b\":2}",
        ] {
            assert!(refused(Members::parse(text.to_owned())), "{text}");
        }
        assert!(Members::parse("{\"a\":{\"seq\":1}}".to_owned()).is_ok());
        for name in HEAD_NAMES {
            assert!(refused(Members::of(&BTreeMap::from([(name, 1)]))), "{name}");
            assert!(refused(Members::of(&json!({"a": 1, name: 2}))), "{name}");
        }
        #[derive(Serialize)]
        struct Forged {
            seq: u64,
        }
        assert!(refused(Members::of(&Forged { seq: 1 })));
        let raw: Box<RawValue> = serde_json::from_str("[1,\n2]").unwrap();
        let folded = Record {
            verdict: "",
            inner: BTreeMap::new(),
            raw: Some(&raw),
        };
        assert!(refused(Members::of(&folded)));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(refused(Members::of(&1)));
        assert!(refused(Members::of("text")));
        assert!(refused(Members::of(&[1, 2])));
        assert!(refused(Members::of(&Option::<u8>::None)));
        let raw: Box<RawValue> = serde_json::from_str("{\"seq\":1}").unwrap();
        assert!(refused(Members::of(&raw)));
    }
}
