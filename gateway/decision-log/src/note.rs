//! Signed notes and verifier keys: C2SP signed-note, Ed25519 only.
//!
//! Every byte comes from outside: the parser is strict (no control characters, no
//! carriage returns, canonical base64, at most 100 signatures) and a signature
//! line that names a known key but does not verify makes the whole note unsigned.
//!
//! Own code, not the crate `signed_note` 0.2: it signs with ed25519-dalek, and this
//! product has one provider of cryptography. The tests hold both to the same notes.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tree::sha256;

/// Longest note that is read.
const MAX_NOTE: usize = 1_000_000;
/// Most signatures that a note may have.
const MAX_SIGNATURES: usize = 100;
/// Signature type of Ed25519 in key ids and verifier keys.
const ED25519_TYPE: u8 = 1;
/// What a signature line begins with: an em dash and a space.
pub(crate) const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a verifier key or a note cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not `name+id+base64`.
    #[error("verifier key `{0}` is not of the form `name+id+base64`")]
    KeyForm(String),
    /// The id does not belong to name and key.
    #[error("verifier key `{0}` has an id of another name or key")]
    KeyId(String),
    /// Another algorithm than Ed25519.
    #[error("verifier key `{0}` is not an Ed25519 key")]
    KeyType(String),
    /// The note breaks the form.
    #[error("not a signed note: {0}")]
    Form(&'static str),
}

/// Whether a text may name a log or a key: visible ASCII without `+`, quotes or
/// backslash, so that it stands in headers, notes and JSON as it is.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'+' | b'"' | b'\\');
    !text.is_empty() && text.len() <= 200 && text.bytes().all(plain)
}

/// A public key with the name it signs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    pub(crate) fn new(name: &str, public: [u8; 32]) -> VerifierKey {
        VerifierKey {
            name: name.to_owned(),
            public,
        }
    }

    /// Reads `name+id+base64(type, key)`.
    pub fn parse(text: &str) -> Result<VerifierKey, NoteError> {
        let form = || NoteError::KeyForm(text.chars().take(300).collect());
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form());
        };
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !is_name(name) || id.len() != 8 || !id.bytes().all(lower) || key.len() > 64 {
            return Err(form());
        }
        let bytes = STANDARD.decode(key).map_err(|_| form())?;
        let (kind, public) = bytes.split_first().ok_or_else(form)?;
        if *kind != ED25519_TYPE {
            return Err(NoteError::KeyType(text.to_owned()));
        }
        let public: [u8; 32] = public.try_into().map_err(|_| form())?;
        let key = VerifierKey::new(name, public);
        if format!("{:08x}", key.id()) != id {
            return Err(NoteError::KeyId(text.to_owned()));
        }
        Ok(key)
    }

    /// The name it signs under: the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of SHA-256 of name, newline, type and key.
    pub fn id(&self) -> u32 {
        let mut bytes = self.name.as_bytes().to_vec();
        bytes.push(b'\n');
        bytes.push(ED25519_TYPE);
        bytes.extend_from_slice(&self.public);
        let hash = sha256(&bytes).0;
        hash.iter()
            .take(4)
            .fold(0, |id, b| (id << 8) | u32::from(*b))
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.public);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519_TYPE];
        bytes.extend_from_slice(&self.public);
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id(),
            STANDARD.encode(bytes)
        )
    }
}

/// A text and the signatures below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

impl SignedNote {
    /// Reads a note. What it says may be used only after [`SignedNote::is_signed_by`].
    pub fn parse(note: &str) -> Result<SignedNote, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Form("too long"));
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Form("a control character"));
        }
        let (text, lines) = note
            .rsplit_once("\n\n")
            .ok_or(NoteError::Form("no blank line before the signatures"))?;
        let lines = lines
            .strip_suffix('\n')
            .ok_or(NoteError::Form("no newline at the end"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::Form("too many signatures"));
            }
            signatures.push(Signature::parse(line)?);
        }
        Ok(SignedNote {
            text: format!("{text}\n"),
            signatures,
        })
    }

    /// The text, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the key signed this text. One bad signature under the key's name
    /// and id spoils it, as C2SP asks.
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let (name, id) = (key.name(), key.id());
        let mut own = self
            .signatures
            .iter()
            .filter(|s| s.name == name && s.id == id)
            .peekable();
        own.peek().is_some() && own.all(|s| key.verify(self.text.as_bytes(), &s.bytes))
    }
}

impl Signature {
    fn parse(line: &str) -> Result<Signature, NoteError> {
        let malformed = NoteError::Form("a malformed signature line");
        let rest = line.strip_prefix(SIGNATURE_MARK).ok_or(malformed.clone())?;
        let (name, encoded) = rest.split_once(' ').ok_or(malformed.clone())?;
        let bytes = STANDARD.decode(encoded).map_err(|_| malformed.clone())?;
        let valid = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        let (id, rest) = bytes.split_first_chunk::<4>().ok_or(malformed.clone())?;
        if !valid || rest.is_empty() {
            return Err(malformed);
        }
        Ok(Signature {
            name: name.to_owned(),
            id: u32::from_be_bytes(*id),
            bytes: rest.to_vec(),
        })
    }
}

/// Writes a note: the text and one signature line.
pub(crate) fn compose(text: &str, key: &VerifierKey, signature: &[u8]) -> String {
    let mut bytes = key.id().to_be_bytes().to_vec();
    bytes.extend_from_slice(signature);
    let encoded = STANDARD.encode(bytes);
    format!("{text}\n{SIGNATURE_MARK}{} {encoded}\n", key.name())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{SignedNote, VerifierKey};
    use crate::key::SigningKey;

    // The example of the C2SP signed-note text.
    const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_published_example_verifies() {
        let key = VerifierKey::parse(VKEY).unwrap();
        assert_eq!(key.to_string(), VKEY);
        assert!(SignedNote::parse(NOTE).unwrap().is_signed_by(&key));
    }

    #[test]
    fn a_changed_note_or_a_second_bad_signature_is_not_signed() {
        let key = VerifierKey::parse(VKEY).unwrap();
        let changed = NOTE.replace("answer", "Answer");
        assert!(!SignedNote::parse(&changed).unwrap().is_signed_by(&key));
        let line = NOTE.lines().last().unwrap();
        let spoilt = line.replace("ZJku", "ZJkv");
        let both = format!("{NOTE}{spoilt}\n");
        assert!(!SignedNote::parse(&both).unwrap().is_signed_by(&key));
        let other = SigningKey::from_seed("PeterNeumann", &[7; 32])
            .unwrap()
            .verifier();
        assert!(!SignedNote::parse(NOTE).unwrap().is_signed_by(&other));
    }

    #[test]
    fn hostile_keys_are_refused() {
        for bad in [
            "",
            "+",
            "++",
            "a+b+c",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "PeterNeumann+c74f20a3+",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "peterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
        ] {
            assert!(VerifierKey::parse(bad).is_err(), "{bad}");
        }
        assert!(VerifierKey::parse(&"+".repeat(1 << 20)).is_err());
    }

    #[test]
    fn hostile_notes_are_refused() {
        for bad in [
            String::new(),
            "\n\n".to_owned(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            "text\n\n\n".to_owned(),
            NOTE.trim_end().to_owned(),
            NOTE.replace('\n', "\r\n"),
            NOTE.replace("\u{2014} ", "- "),
            NOTE.replace("If", "\u{0}If"),
            NOTE.replace("PeterNeumann x08", "Peter+Neumann x08"),
            NOTE.replace("AM=\n", "AM\n"),
            NOTE.replace(" x08go", "  x08go"),
            format!("text\n\n{}", "\u{2014} a AAAAAAA=\n".repeat(101)),
            format!("{}\n\n\u{2014} a AAAAAAA=\n", "x".repeat(1_000_000)),
        ] {
            assert!(
                SignedNote::parse(&bad).is_err(),
                "{}",
                bad.chars().take(80).collect::<String>()
            );
        }
        assert!(
            SignedNote::parse(&format!("text\n\n{}", "\u{2014} a AAAAAAA=\n".repeat(100))).is_ok()
        );
    }
}
