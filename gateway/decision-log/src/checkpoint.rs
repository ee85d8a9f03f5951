//! Checkpoints: the head of the tree at a size, signed (C2SP tlog-checkpoint).
//!
//! `origin\nsize\nbase64 root\n`, then the signatures of a note. One checkpoint kept
//! elsewhere pins every record below its size.

use crate::note::{NoteError, SignedNote, is_name};
use crate::record::decimal;
use crate::tree::Hash;

/// A head of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Name of the log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

impl TreeHead {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads the text of a checkpoint. Extension lines are allowed and ignored.
    pub fn parse(text: &str) -> Option<TreeHead> {
        let body = text.strip_suffix('\n')?;
        let mut lines = body.split('\n');
        let head = TreeHead {
            origin: lines.next().filter(|name| is_name(name))?.to_owned(),
            size: decimal(lines.next()?)?,
            root: Hash::from_base64(lines.next()?)?,
        };
        lines.all(|line| !line.is_empty()).then_some(head)
    }
}

/// A signed head as this process made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The head.
    pub head: TreeHead,
    /// The signed note: what is published and kept elsewhere.
    pub note: String,
    /// Why the copy beside the log could not be written, if so. The head is right
    /// and the records are durable; only this copy is missing.
    pub unsaved: Option<String>,
}

/// A signed head as it was found; nothing in it is trusted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// What it says.
    pub head: TreeHead,
    /// With whose signatures.
    pub note: SignedNote,
}

impl SignedHead {
    /// Reads a signed checkpoint.
    pub fn parse(note: &str) -> Result<SignedHead, NoteError> {
        let note = SignedNote::parse(note)?;
        let head = TreeHead::parse(note.text());
        let head = head.ok_or(NoteError::Form("the text is not a checkpoint"))?;
        Ok(SignedHead { head, note })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{SignedHead, TreeHead};
    use crate::key::SigningKey;
    use crate::tree::empty_root;

    #[test]
    fn a_checkpoint_reads_back() {
        let head = TreeHead {
            origin: "vaultgate.example/log".to_owned(),
            size: 12,
            root: empty_root(),
        };
        let key = SigningKey::from_seed("vaultgate.example/log", &[3; 32]).unwrap();
        let signed = SignedHead::parse(&key.sign_note(&head.text())).unwrap();
        assert_eq!(signed.head, head);
        assert!(signed.note.is_signed_by(&key.verifier()));
        let extended = format!("{}extension 1\n", head.text());
        assert_eq!(TreeHead::parse(&extended), Some(head));
    }

    #[test]
    fn hostile_checkpoints_are_refused() {
        let root = empty_root();
        for bad in [
            String::new(),
            "\n".to_owned(),
            "\n\n\n".to_owned(),
            format!("o\n1\n{root}"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o p\n1\n{root}\n"),
            format!("o\n1\n {root}\n"),
            format!("o\n1\n{root}\n\n"),
            format!("o\n1\n{root}\n\nx\n"),
            "o\n1\nAAAA\n".to_owned(),
            "o\n1\n".to_owned(),
        ] {
            assert!(TreeHead::parse(&bad).is_none(), "{bad:?}");
        }
    }
}
