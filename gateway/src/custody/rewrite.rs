//! URLs in Azure's answers that would lead a caller past the gateway.
//!
//! Operation URLs become handles; `nextLink` becomes the same read at the
//! gateway. A URL of any other host is removed: a client would send its token there.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A body that is not one JSON text which every reader reads alike: what it leads to cannot
/// be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Replaces the value of the top-level `nextLink` of a page, leaving every other byte as
/// Azure sent it; none when there is nothing to replace. `rewrite` gives the new link;
/// `None` removes it (`null`).
pub(crate) fn next_link(
    body: &[u8],
    rewrite: impl FnOnce(&str) -> Option<String>,
) -> Result<Option<Vec<u8>>, Malformed> {
    if body.is_empty() {
        return Ok(None);
    }
    // Clients differ in what they make of broken text, marks and words like `NaN`: a link
    // that is not seen here might be followed there.
    let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
    let page: Page<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let Some(raw) = page.0.map(RawValue::get) else {
        return Ok(None);
    };
    let replacement = match serde_json::from_str::<Option<String>>(raw) {
        Ok(None) => return Ok(None),
        Ok(Some(link)) => serde_json::to_string(&rewrite(&link)).map_err(|_| Malformed)?,
        // Not a link, whatever it is.
        Err(_) => "null".to_owned(),
    };
    // The raw value borrows from `text`, so its distance from the start is its place.
    let start = (raw.as_ptr() as usize)
        .checked_sub(text.as_ptr() as usize)
        .ok_or(Malformed)?;
    let (before, rest) = text.split_at_checked(start).ok_or(Malformed)?;
    let (_, after) = rest.split_at_checked(raw.len()).ok_or(Malformed)?;
    Ok(Some([before, &replacement, after].concat().into_bytes()))
}

/// A JSON text and its top-level member whose name ends in `nextLink`, in whatever case:
/// some clients do not look at it. Two of them are an error.
struct Page<'b>(Option<&'b RawValue>);

impl<'b> Deserialize<'b> for Page<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Page<'b>, D::Error> {
        deserializer.deserialize_any(PageVisitor)
    }
}

struct PageVisitor;

impl<'b> Visitor<'b> for PageVisitor {
    type Value = Page<'b>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Page<'b>, A::Error> {
        let mut link = None;
        while let Some(name) = map.next_key::<Name>()? {
            if !name.0 {
                map.next_value::<IgnoredAny>()?;
            } else if link.replace(map.next_value::<&RawValue>()?).is_some() {
                return Err(de::Error::custom("two links"));
            }
        }
        Ok(Page(link))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut sequence: A) -> Result<Page<'b>, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Page(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }

    fn visit_unit<E>(self) -> Result<Page<'b>, E> {
        Ok(Page(None))
    }
}

/// The name of a member: whether it is that of the link.
struct Name(bool);

impl<'b> Deserialize<'b> for Name {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Name, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        // `odata.nextLink` and `@odata.nextLink` are followed too.
        let end = name.len().saturating_sub("nextLink".len());
        let link = name
            .get(end..)
            .is_some_and(|end| end.eq_ignore_ascii_case("nextLink"));
        Ok(Name(link))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::{Malformed, next_link};

    #[test]
    fn the_link_alone_changes() {
        let body = br#"{"value":[{"n":1.10,"nextLink":"https://a/inner"}], "nextLink" : "https:\/\/a\/b" }"#;
        let rewritten = next_link(body, |link| Some(link.replace("https://a", "https://g")));
        let expected =
            br#"{"value":[{"n":1.10,"nextLink":"https://a/inner"}], "nextLink" : "https://g/b" }"#;
        assert_eq!(rewritten.unwrap().unwrap(), expected);
        for (body, expected) in [
            (r#"{"nextLink":"https://evil/"}"#, r#"{"nextLink":null}"#),
            (r#"{"NEXTlink":"https://evil/"}"#, r#"{"NEXTlink":null}"#),
            (
                r#"{"next\u004cink":"https://evil/"}"#,
                r#"{"next\u004cink":null}"#,
            ),
            (
                r#"{"nextLink":["https://evil/"], "a":1}"#,
                r#"{"nextLink":null, "a":1}"#,
            ),
        ] {
            let removed = next_link(body.as_bytes(), |_| None).unwrap().unwrap();
            assert_eq!(String::from_utf8(removed).unwrap(), expected);
        }
        for none in [
            "",
            "[]",
            "[1,{\"nextLink\":2}]",
            "{}",
            "{\"nextLink\":null}",
            " 1",
            "-1.5",
            "\"x\"",
            "null",
            "true",
        ] {
            assert_eq!(next_link(none.as_bytes(), |_| None), Ok(None), "{none}");
        }
    }

    #[test]
    fn what_readers_could_read_differently_is_malformed() {
        for body in [
            &br#"{"nextLink":"https://evil/","nextLink":"https://evil/"}"#[..],
            br#"{"nextLink":null,"NextLink":"https://evil/"}"#,
            br#"{"value":[NaN],"nextLink":"https://evil/"}"#,
            b"\xef\xbb\xbf{\"nextLink\":\"https://evil/\"}",
            b"{\"a\":\"\xff\",\"nextLink\":\"https://evil/\"}",
            br#"{"nextLink":"https://evil/"} {}"#,
            br#"{"nextLink":"https://evil/""#,
            br#"{'nextLink':'https://evil/'}"#,
            b"<html>",
            b" ",
        ] {
            assert_eq!(next_link(body, |_| None), Err(Malformed), "{body:?}");
        }
    }
}
