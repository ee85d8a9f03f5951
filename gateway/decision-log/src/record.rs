//! The record: one JSON line, whose bytes are a leaf of the log's tree.
//!
//! The log composes the head (schema, sequence, time, kind, id), so that no
//! caller can claim a place in the log or a time of its own. The other members
//! are the caller's: [`Members`].

mod members;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

pub use members::Members;

use crate::tree::{Hash, leaf_hash};

/// Schema of every record.
pub const SCHEMA: &str = "vaultgate.record/1";
/// Longest leaf, bytes: the limit of C2SP tile entries.
pub const MAX_LEAF: usize = 65_535;
/// Room that the head may take beside the id: sequence, time, kind, names.
const HEAD_ROOM: usize = 160;

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A judged request.
    Decision,
    /// How a forwarded request ended.
    Outcome,
    /// A judged question that is never forwarded.
    Preflight,
    /// An authenticated request refused before it was judged.
    Refusal,
    /// A request refused before anybody was known.
    Unauthenticated,
    /// The gateway's own reads.
    Observation,
    /// An approval asked for, given, taken back or void.
    Approval,
    /// An identity that is stopped, or no longer.
    Quarantine,
    /// Destruction frozen everywhere, or no longer.
    Incident,
    /// Somebody signed in at the console with a browser, or out.
    Session,
    /// What a flow said of one of its runs.
    Run,
    /// A policy bundle activated or rejected.
    Policy,
    /// A configuration taken into use.
    Config,
    /// Start, stop, repair, key change, fork.
    Lifecycle,
}

impl Kind {
    /// The kind as the record spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Decision => "decision",
            Kind::Outcome => "outcome",
            Kind::Preflight => "preflight",
            Kind::Refusal => "refusal",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Observation => "observation",
            Kind::Approval => "approval",
            Kind::Quarantine => "quarantine",
            Kind::Incident => "incident",
            Kind::Session => "session",
            Kind::Run => "run",
            Kind::Policy => "policy",
            Kind::Config => "config",
            Kind::Lifecycle => "lifecycle",
        }
    }
}

/// Who goes first when space runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Reads and snapshots: refused first.
    Normal,
    /// Restores, approvals and outcomes: they may use the emergency space.
    Restore,
}

/// One record on its way into the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it tells.
    pub kind: Kind,
    /// Its id: a UUID.
    pub id: String,
    /// The record's other members.
    pub fields: Members,
}

/// Why an entry cannot become a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The id has other characters than a UUID.
    #[error("record id `{0}` is not a UUID")]
    Id(String),
    /// The members are not one JSON object on one line.
    #[error("the record's members are not one JSON object on one line: {0}")]
    Members(String),
    /// It would not fit into a leaf.
    #[error(
        "a record of {bytes} bytes is longer than a leaf may be, {MAX_LEAF}; hint: keep the long part beside the log by its digest"
    )]
    TooLong {
        /// Its length with the head, at most.
        bytes: usize,
    },
}

impl Entry {
    /// Bytes that the record takes at most.
    pub(crate) fn weight(&self) -> usize {
        self.fields.as_str().len() + self.id.len() + HEAD_ROOM
    }

    /// Checks what the members do not say by their type: the id and the length.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(plain) {
            return Err(EntryError::Id(self.id.clone()));
        }
        if self.weight() > MAX_LEAF {
            return Err(EntryError::TooLong {
                bytes: self.weight(),
            });
        }
        Ok(())
    }

    /// Writes the leaf: the line without its newline.
    pub(crate) fn write_leaf(&self, seq: u64, time: &str, line: &mut Vec<u8>) {
        // Writing into a `Vec` cannot fail.
        let _ = write!(
            line,
            "{{\"schema\":\"{SCHEMA}\",\"seq\":{seq},\"time\":\"{time}\",\"kind\":\"{}\",\"id\":\"{}\"",
            self.kind.as_str(),
            self.id,
        );
        let members = self.fields.as_str().get(1..).unwrap_or("}");
        if !members.trim_start().starts_with('}') {
            line.push(b',');
        }
        line.extend_from_slice(members.as_bytes());
    }
}

/// The head of a record, read strictly as the log writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'l> {
    /// Place in the log, counted from 0.
    pub seq: u64,
    /// When the log took it, RFC 3339 in UTC with milliseconds.
    pub time: &'l str,
    /// What it tells.
    pub kind: &'l str,
    /// Its id.
    pub id: &'l str,
}

impl<'l> Head<'l> {
    /// Reads the head of a line; none when the line was not written by a log.
    pub fn parse(leaf: &'l [u8]) -> Option<Head<'l>> {
        let rest = leaf.strip_prefix(b"{\"schema\":\"vaultgate.record/1\",\"seq\":")?;
        let (seq, rest) = split_at(rest, b",\"time\":\"")?;
        let (time, rest) = split_at(rest, b"\",\"kind\":\"")?;
        let (kind, rest) = split_at(rest, b"\",\"id\":\"")?;
        let (id, rest) = split_at(rest, b"\"")?;
        let ends = matches!(rest.first(), Some(b',' | b'}')) && rest.last() == Some(&b'}');
        let head = Head {
            seq: decimal(std::str::from_utf8(seq).ok()?)?,
            time: std::str::from_utf8(time).ok()?,
            kind: std::str::from_utf8(kind).ok()?,
            id: std::str::from_utf8(id).ok()?,
        };
        (ends && head.time.len() == 24).then_some(head)
    }
}

/// Splits before the first `mark`, which must stand near: heads are short.
fn split_at<'l>(bytes: &'l [u8], mark: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let near = bytes.get(..bytes.len().min(80 + mark.len()))?;
    let begin = mark.first()?;
    let mut from = 0;
    // Only where the first byte stands: whole logs are read line by line.
    loop {
        let at = from + near.get(from..)?.iter().position(|b| b == begin)?;
        if near.get(at..)?.starts_with(mark) {
            return Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?));
        }
        from = at + 1;
    }
}

/// A number as the log writes it: no sign, no leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical {
        text.parse().ok()
    } else {
        None
    }
}

/// Proof that a record is durable, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Name of the log.
    pub origin: Arc<str>,
    /// Place in the log, counted from 0.
    pub index: u64,
    /// Hash of the leaf.
    pub leaf_hash: Hash,
}

impl Receipt {
    /// Reads the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Receipt> {
        let (rest, hash) = text.trim().rsplit_once(':')?;
        let (origin, index) = rest.rsplit_once(':')?;
        if !crate::note::is_name(origin) {
            return None;
        }
        Some(Receipt {
            origin: origin.into(),
            index: decimal(index)?,
            leaf_hash: Hash::from_base64(hash)?,
        })
    }

    /// Whether this receipt is of these leaf bytes.
    pub fn is_of(&self, leaf: &[u8]) -> bool {
        leaf_hash(leaf) == self.leaf_hash
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.origin, self.index, self.leaf_hash)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Entry, EntryError, Head, Kind, Members, Receipt};
    use crate::tree::leaf_hash;

    fn entry(id: &str, fields: &str) -> Entry {
        Entry {
            kind: Kind::Decision,
            id: id.to_owned(),
            fields: Members::parse(fields.to_owned()).unwrap(),
        }
    }

    #[test]
    fn a_line_has_the_head_and_the_members() {
        let mut line = Vec::new();
        entry("a-1", "{\"verdict\":\"deny\"}").write_leaf(7, "2026-11-23T03:00:00.000Z", &mut line);
        let text = String::from_utf8(line.clone()).unwrap();
        assert_eq!(
            text,
            "{\"schema\":\"vaultgate.record/1\",\"seq\":7,\"time\":\"2026-11-23T03:00:00.000Z\",\
             \"kind\":\"decision\",\"id\":\"a-1\",\"verdict\":\"deny\"}"
        );
        let head = Head::parse(&line).unwrap();
        assert_eq!((head.seq, head.kind, head.id), (7, "decision", "a-1"));
        let mut bare = Vec::new();
        entry("b", "{ }").write_leaf(0, "2026-11-23T03:00:00.000Z", &mut bare);
        assert!(serde_json::from_slice::<serde_json::Value>(&bare).is_ok());
    }

    #[test]
    fn ids_and_lengths_that_are_none_are_refused() {
        assert!(entry("a", "{\"a\":{\"seq\":1}}").check().is_ok());
        for id in ["", "a b", "a\"", "é", &"x".repeat(65)] {
            assert!(
                matches!(entry(id, "{}").check(), Err(EntryError::Id(_))),
                "{id}"
            );
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(65_600));
        assert!(matches!(
            entry("a", &long).check(),
            Err(EntryError::TooLong { .. })
        ));
    }

    #[test]
    fn hostile_heads_are_not_heads() {
        let good = "{\"schema\":\"vaultgate.record/1\",\"seq\":7,\"time\":\"2026-11-23T03:00:00.000Z\",\"kind\":\"decision\",\"id\":\"a\"}";
        assert!(Head::parse(good.as_bytes()).is_some());
        for (from, to) in [
            ("/1", "/2"),
            (":7", ":07"),
            (":7", ":-7"),
            (":7", ":7.0"),
            (":7", ":"),
            (":7", ":99999999999999999999"),
            ("000Z", "00Z"),
            ("\"a\"}", "\"a\""),
            ("\"a\"}", "\"a\"x}"),
            ("seq", "Seq"),
            ("{", " {"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(Head::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        for cut in 0..good.len() {
            assert!(
                Head::parse(good.get(..cut).unwrap().as_bytes()).is_none(),
                "{cut}"
            );
        }
    }

    #[test]
    fn receipts_read_back_and_hostile_ones_do_not() {
        let receipt = Receipt {
            origin: "vaultgate.example/log:1".into(),
            index: 42,
            leaf_hash: leaf_hash(b"x"),
        };
        assert_eq!(Receipt::parse(&receipt.to_string()), Some(receipt.clone()));
        assert!(receipt.is_of(b"x") && !receipt.is_of(b"y"));
        let hash = receipt.leaf_hash.to_base64();
        for bad in [
            String::new(),
            ":".to_owned(),
            "::".to_owned(),
            format!(":1:{hash}"),
            format!("a:01:{hash}"),
            format!("a:-1:{hash}"),
            format!("a:18446744073709551616:{hash}"),
            format!("a b:1:{hash}"),
            format!("a+b:1:{hash}"),
            format!("a:1:{}", hash.trim_end_matches('=')),
            format!("a:1:{hash}AA"),
            "a:1:AAAA".to_owned(),
        ] {
            assert!(Receipt::parse(&bad).is_none(), "{bad}");
        }
    }
}
