//! The log's signing key: Ed25519, in a file that only its owner may read.
//!
//! The file holds one line, `PRIVATE+KEY+<name>+<id>+<base64>`, the form that other
//! signed-note tools read. The key has no Debug, Display or Serialize; the text is
//! wiped from memory after use.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::medium::{Disk, Medium as _};
use crate::note::{self, VerifierKey, is_name};

const PREFIX: &str = "PRIVATE+KEY+";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name may not stand in a key.
    #[error(
        "`{0}` cannot name a log; hint: visible ASCII without `+`, quotes and backslash, like `vaultgate.example.com/log`"
    )]
    Name(String),
    /// The file could not be read or written.
    #[error("log key `{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read or change the file.
    #[error(
        "log key `{path}` has mode {mode:04o}, so others can read or change it; hint: chmod 600 {path}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key. Its content is never shown.
    #[error("log key `{0}` is not of the form `PRIVATE+KEY+name+id+base64`")]
    Form(PathBuf),
    /// The provider of cryptography refused.
    #[error("the cryptography provider could not make a key")]
    Provider,
}

/// An Ed25519 key that signs under the log's name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifierKey,
}

impl SigningKey {
    /// Makes a key and writes it to a new file with mode 0600, durable before
    /// this returns: a checkpoint must never be signed by a key that a crash loses.
    pub fn generate(path: &Path, name: &str) -> Result<SigningKey, KeyError> {
        let file_error = |error| KeyError::File {
            path: path.to_owned(),
            error,
        };
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Provider)?;
        let seed = pair.seed().map_err(|_| KeyError::Provider)?;
        let seed = seed.as_be_bytes().map_err(|_| KeyError::Provider)?;
        let key = SigningKey::from_seed(name, seed.as_ref())?;
        let text = key.text(seed.as_ref());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(file_error)?;
        file.write_all(text.as_bytes()).map_err(file_error)?;
        file.sync_all().map_err(file_error)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Disk.sync_dir(dir).map_err(file_error)?;
        }
        Ok(key)
    }

    /// Reads a key file; refuses one that others may read or change.
    pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
        let file_error = |error| KeyError::File {
            path: path.to_owned(),
            error,
        };
        let mode = fs::metadata(path).map_err(file_error)?.mode() & 0o7777;
        // The group may read: that is how orchestrators mount secrets.
        if mode & 0o037 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(file_error)?);
        SigningKey::parse(text.trim()).ok_or_else(|| KeyError::Form(path.to_owned()))
    }

    fn parse(text: &str) -> Option<SigningKey> {
        let mut parts = text.strip_prefix(PREFIX)?.splitn(3, '+');
        let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let (kind, seed) = bytes.split_first()?;
        let key = SigningKey::from_seed(name, seed).ok()?;
        let named = *kind == 1 && format!("{:08x}", key.public.id()) == id;
        named.then_some(key)
    }

    pub(crate) fn from_seed(name: &str, seed: &[u8]) -> Result<SigningKey, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Provider)?;
        let bytes = pair.public_key().as_ref();
        let public = bytes.try_into().map_err(|_| KeyError::Provider)?;
        Ok(SigningKey {
            public: VerifierKey::new(name, public),
            pair,
        })
    }

    fn text(&self, seed: &[u8]) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![1]);
        bytes.extend_from_slice(seed);
        let encoded = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let (name, id) = (self.public.name(), self.public.id());
        Zeroizing::new(format!("{PREFIX}{name}+{id:08x}+{}\n", encoded.as_str()))
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        self.public.name()
    }

    /// The verifier key to pin elsewhere: `name+id+base64`.
    pub fn vkey(&self) -> String {
        self.public.to_string()
    }

    /// The public half.
    pub fn verifier(&self) -> VerifierKey {
        self.public.clone()
    }

    /// Signs a text as a note.
    pub(crate) fn sign_note(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        note::compose(text, &self.public, signature.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::{KeyError, SigningKey};
    use crate::note::SignedNote;

    #[test]
    fn a_generated_key_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let key = SigningKey::generate(&path, "vaultgate.example/log").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = SigningKey::load(&path).unwrap();
        assert_eq!(again.vkey(), key.vkey());
        let note = SignedNote::parse(&again.sign_note("hello\n")).unwrap();
        assert!(note.is_signed_by(&key.verifier()));
        // A key is never overwritten.
        assert!(SigningKey::generate(&path, "vaultgate.example/log").is_err());
    }

    #[test]
    fn exposed_and_malformed_key_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        SigningKey::generate(&path, "vaultgate.example/log").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for mode in [0o644, 0o604, 0o660, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(SigningKey::load(&path), Err(KeyError::Exposed { .. })),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in [
            "",
            "PRIVATE+KEY+",
            "PRIVATE+KEY+a+b+c",
            text.get(1..).unwrap(),
            text.get(..60).unwrap(),
        ] {
            fs::write(&path, bad).unwrap();
            let refused = SigningKey::load(&path).err().unwrap();
            assert!(matches!(refused, KeyError::Form(_)));
            let secret = text.splitn(5, '+').last().unwrap().trim();
            assert!(!refused.to_string().contains(secret.get(..20).unwrap()));
        }
        assert!(matches!(
            SigningKey::generate(&dir.path().join("k"), "a b"),
            Err(KeyError::Name(_))
        ));
    }
}
