//! What of a file OPA's signatures are over: the bytes, and of JSON its one canonical text.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// JSON with members in order and nothing between them. Numbers stay as they are written.
pub(super) fn canonical(text: &str) -> Result<String, serde_json::Error> {
    let value: &RawValue = serde_json::from_str(text)?;
    let mut written = String::with_capacity(text.len());
    write(value.get().trim(), &mut written)?;
    Ok(written)
}

fn write(text: &str, into: &mut String) -> Result<(), serde_json::Error> {
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
            into.push('{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                string(name, into)?;
                into.push(':');
                write(value.get().trim(), into)?;
            }
            into.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            into.push('[');
            for (place, value) in items.iter().enumerate() {
                if place > 0 {
                    into.push(',');
                }
                write(value.get().trim(), into)?;
            }
            into.push(']');
        }
        Some(b'"') => string(&serde_json::from_str::<String>(text)?, into)?,
        _ => into.push_str(text),
    }
    Ok(())
}

/// Text as the writer of OPA has it, which escapes two line separators besides.
fn string(text: &str, into: &mut String) -> Result<(), serde_json::Error> {
    let written = serde_json::to_string(text)?;
    into.push_str(
        &written
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029"),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::canonical;

    #[test]
    fn one_text_for_one_document() {
        for (text, expected) in [
            ("{}", "{}"),
            (
                " { \"b\" : [ 1 , 2.50 , 1e3 ] , \"a\" : null }\n",
                "{\"a\":null,\"b\":[1,2.50,1e3]}",
            ),
            ("{\"x\": \"<\\u0041&\\u2028>\"}", "{\"x\":\"<A&\\u2028>\"}"),
            (
                "[true, {\"z\": {}, \"y\": []}]",
                "[true,{\"y\":[],\"z\":{}}]",
            ),
        ] {
            assert_eq!(canonical(text).unwrap(), expected);
        }
        assert!(canonical("{").is_err() && canonical("").is_err());
    }
}
