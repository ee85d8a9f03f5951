//! Anchors: checkpoints and receipts that were kept outside the log.
//!
//! One text may hold many, apart by blank lines: signed checkpoints, the one-line
//! form that the gateway prints (`checkpoint origin | size | root | | — …`), receipts,
//! and receipts as the response header spells them. What is none of these is an
//! error with its line: an anchor that is passed over in silence anchors nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::SignedHead;
use crate::note::{NoteError, SIGNATURE_MARK};
use crate::record::Receipt;

/// Response header that carries a receipt.
const HEADER: &str = "x-vaultgate-receipt:";
/// What the one-line form begins with.
const ONE_LINE: &str = "checkpoint ";
/// Longest anchor file that is read.
const MAX_FILE: u64 = 256 << 20;

/// Something kept outside the log that it can be held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// A signed head.
    Checkpoint(SignedHead),
    /// The place and hash of one leaf.
    Receipt(Receipt),
}

impl Anchor {
    /// The log that it names.
    pub fn origin(&self) -> &str {
        match self {
            Anchor::Checkpoint(signed) => &signed.head.origin,
            Anchor::Receipt(receipt) => &receipt.origin,
        }
    }
}

/// Why an anchor file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// It could not be read.
    #[error("anchor file `{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is longer than any anchor file should be.
    #[error("anchor file `{0}` is longer than {MAX_FILE} bytes")]
    TooLong(PathBuf),
    /// A part of it is neither a checkpoint nor a receipt.
    #[error("anchor file `{path}`, line {line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
        /// Why.
        reason: NoteError,
    },
}

/// Reads a file of anchors.
pub fn read(path: &Path) -> Result<Vec<Anchor>, AnchorError> {
    let file_error = |error| AnchorError::File {
        path: path.to_owned(),
        error,
    };
    if fs::metadata(path).map_err(file_error)?.len() > MAX_FILE {
        return Err(AnchorError::TooLong(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(file_error)?;
    parse(without_torn_line(&text)).map_err(|(line, reason)| AnchorError::Malformed {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// A writer that was stopped leaves half of its line at the end of the file: that one
/// anchors nothing, and what stands above it still does. Half a signature can look like a
/// whole one, so no line counts without its end; one that stands alone is an error, or an
/// anchor, as it reads.
fn without_torn_line(text: &str) -> &str {
    match text.rsplit_once('\n') {
        Some((whole, last)) if last.starts_with(ONE_LINE) || ONE_LINE.starts_with(last) => whole,
        _ => text,
    }
}

/// Reads the anchors in a text; the error tells the line.
pub fn parse(text: &str) -> Result<Vec<Anchor>, (usize, NoteError)> {
    let mut anchors = Vec::new();
    let mut lines = text.split('\n').enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let told = |reason| (at + 1, reason);
        if line.trim().is_empty() {
            continue;
        }
        let next = lines.peek().map(|(_, next)| *next).unwrap_or_default();
        if let Some(rest) = line.strip_prefix(ONE_LINE) {
            let note = format!("{}\n", rest.trim_end().replace(" | ", "\n"));
            anchors.push(Anchor::Checkpoint(SignedHead::parse(&note).map_err(told)?));
        } else if let Some(receipt) = receipt(line, next) {
            anchors.push(Anchor::Receipt(receipt));
        } else {
            let mut note = format!("{line}\n");
            for (_, line) in lines.by_ref().take_while(|(_, line)| !line.is_empty()) {
                note.push_str(line);
                note.push('\n');
            }
            note.push('\n');
            while let Some((_, line)) = lines.next_if(|(_, l)| l.starts_with(SIGNATURE_MARK)) {
                note.push_str(line);
                note.push('\n');
            }
            anchors.push(Anchor::Checkpoint(SignedHead::parse(&note).map_err(told)?));
        }
    }
    Ok(anchors)
}

/// A receipt on a line of its own. An origin may look like one, but then its size
/// stands below it.
fn receipt(line: &str, next: &str) -> Option<Receipt> {
    if !next.is_empty() && next.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let header = line
        .get(..HEADER.len())
        .filter(|h| h.eq_ignore_ascii_case(HEADER));
    Receipt::parse(line.get(header.map_or(0, str::len)..)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{Anchor, parse, read};
    use crate::checkpoint::TreeHead;
    use crate::key::SigningKey;
    use crate::record::Receipt;
    use crate::tree::leaf_hash;

    fn note(size: u64) -> String {
        let head = TreeHead {
            origin: "log.example".to_owned(),
            size,
            root: leaf_hash(b"r"),
        };
        let key = SigningKey::from_seed("log.example", &[3; 32]).unwrap();
        key.sign_note(&head.text())
    }

    fn receipt() -> String {
        let (origin, leaf_hash) = ("log.example".into(), leaf_hash(b"x"));
        Receipt {
            origin,
            index: 4,
            leaf_hash,
        }
        .to_string()
    }

    #[test]
    fn all_forms_are_read_from_one_text() {
        let one_line = format!("checkpoint {}", note(3).trim_end().replace('\n', " | "));
        let text = format!(
            "{}\n\n{}\n\n\n{}\nX-Vaultgate-Receipt: {}\n{one_line}\n{}",
            note(1).trim_end(),
            note(2),
            receipt(),
            receipt(),
            note(9),
        );
        let anchors = parse(&text).unwrap();
        let sizes: Vec<u64> = anchors
            .iter()
            .map(|anchor| match anchor {
                Anchor::Checkpoint(signed) => signed.head.size,
                Anchor::Receipt(receipt) => 100 + receipt.index,
            })
            .collect();
        assert_eq!(sizes, [1, 2, 104, 104, 3, 9]);
        assert!(
            anchors
                .iter()
                .all(|anchor| anchor.origin() == "log.example")
        );
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn half_a_line_at_the_end_of_a_file_hides_nothing_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchor");
        let line = format!("checkpoint {}\n", note(3).trim_end().replace('\n', " | "));
        let places = line.char_indices().map(|(place, _)| place);
        for cut in places.filter(|place| *place > 0 && *place < line.len()) {
            std::fs::write(&path, format!("{line}{}", line.get(..cut).unwrap())).unwrap();
            assert_eq!(read(&path).unwrap().len(), 1, "{cut}");
        }
        std::fs::write(&path, format!("{line}{}", line.trim_end())).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1, "no end, so it may be half");
        std::fs::write(&path, line.trim_end()).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        for malformed in [
            "checkpoint nothing\n",
            "rubbish",
            "checkpoint nothing\ncheckp",
        ] {
            std::fs::write(&path, format!("{line}{malformed}")).unwrap();
            assert!(read(&path).is_err(), "{malformed}");
        }
    }

    #[test]
    fn what_is_no_anchor_is_an_error_with_its_line() {
        for (text, line) in [
            ("x".to_owned(), 1),
            ("\n\nlog.example\n3\n".to_owned(), 3),
            (format!("{}\n{}\nrubbish", receipt(), receipt()), 3),
            (note(1).replace("\u{2014}", "-"), 1),
            (note(1).replace("\n1\n", "\n01\n"), 1),
            ("checkpoint nothing".to_owned(), 1),
            (format!("{}x", receipt()), 1),
        ] {
            assert_eq!(
                parse(&text).err().map(|(line, _)| line),
                Some(line),
                "{text}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_texts_are_read_without_harm(
            text in "(\u{2014} |checkpoint |x-vaultgate-receipt:|[a+: |=/\n]|[0-9]|\\PC){0,60}",
            at in proptest::prelude::any::<usize>(), with in "\\PC{0,3}",
        ) {
            let _ = parse(&text);
            // A spoilt anchor is told, or still says the very same.
            let good = format!("{}\n{}\n", note(7), receipt());
            let places: Vec<usize> = good.char_indices().map(|(place, _)| place).collect();
            let at = places.get(at % places.len()).copied().unwrap_or(0);
            let mut spoilt = good.clone();
            spoilt.insert_str(at, &with);
            if let Ok(anchors) = parse(&spoilt) {
                let key = SigningKey::from_seed("log.example", &[3; 32]).unwrap().verifier();
                for anchor in anchors {
                    if let Anchor::Checkpoint(signed) = anchor && signed.note.is_signed_by(&key) {
                        proptest::prop_assert_eq!(signed.head.size, 7);
                    }
                }
            }
        }

        #[test]
        fn hostile_keys_and_receipts_are_read_without_harm(text in "[a-c+:0-9/=\\PC]{0,80}") {
            if let Ok(key) = crate::note::VerifierKey::parse(&text) {
                proptest::prop_assert_eq!(key.to_string(), text.clone());
            }
            if let Some(receipt) = Receipt::parse(&text) {
                proptest::prop_assert_eq!(receipt.to_string(), text.trim());
            }
        }
    }
}
