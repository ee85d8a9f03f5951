//! The keys that seal operation handles: apart from the log's key, newest first.
//!
//! A new key seals; the older ones open what they sealed until that expires.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vaultgate_arm::SECRET_DIGEST;
use zeroize::Zeroizing;

/// Keys kept in the file; the oldest goes when one more is made.
const KEPT: usize = 4;
const KEY_BYTES: usize = 32;

/// What something is sealed as: what was sealed as the one does not open as the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The handle of a long-running operation, which callers hold.
    Handle,
    /// The body of a request that waits for approval, which never leaves the store.
    Body,
    /// A sign-in at the console that has begun, which the browser holds.
    SignIn,
}

impl Purpose {
    fn context(self) -> Aad<&'static [u8]> {
        Aad::from(match self {
            Purpose::Handle => b"vaultgate operation handle 1".as_slice(),
            Purpose::Body => b"vaultgate approved body 1".as_slice(),
            Purpose::SignIn => b"vaultgate console sign-in 1".as_slice(),
        })
    }
}

const MASK: &[u8] = b"vaultgate secret digest 1";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use `{path}`: {source}")]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("`{path}` can be read by others (mode {mode:o}); hint: chmod 600")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("`{path}` line {line} is not a base64 key of 32 bytes")]
    Malformed {
        /// The key file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// Sealing keys, newest first.
pub(crate) struct SealingKeys {
    keys: Vec<RandomizedNonceKey>,
    /// Digests secrets in records: the newest key, under a purpose of its own.
    mask: hmac::Key,
}

impl SealingKeys {
    /// Reads the keys, or makes the file with one.
    pub(crate) fn open(path: &Path) -> Result<SealingKeys, KeyError> {
        if !path.exists() {
            write(path, &[fresh()], true)?;
        }
        let keys = read(path)?;
        let built = keys.iter().map(|key| {
            RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| malformed(path, 1))
        });
        let newest = keys.first().map(|key| key.as_slice()).unwrap_or_default();
        let purpose = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, newest), MASK);
        Ok(SealingKeys {
            keys: built.collect::<Result<_, _>>()?,
            mask: hmac::Key::new(hmac::HMAC_SHA256, purpose.as_ref()),
        })
    }

    /// A keyed digest of a secret: equal secrets have equal digests, and nobody
    /// without the key can try candidates.
    pub(crate) fn digest(&self, secret: &[u8]) -> String {
        let tag = hmac::sign(&self.mask, secret);
        format!("{SECRET_DIGEST}{}", crate::digest::hex(tag.as_ref()))
    }

    /// Puts a new key first.
    pub(crate) fn rotate(path: &Path) -> Result<(), KeyError> {
        let mut keys = read(path)?;
        keys.insert(0, fresh());
        keys.truncate(KEPT);
        write(path, &keys, false)
    }

    /// Seals with the newest key: nonce, then ciphertext and tag.
    pub(crate) fn seal(&self, purpose: Purpose, mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let nonce = key.seal_in_place_append_tag(purpose.context(), &mut plain);
        let mut sealed = nonce.ok()?.as_ref().to_vec();
        sealed.append(&mut plain);
        Some(sealed)
    }

    /// Opens with whichever key sealed it.
    pub(crate) fn open_sealed(&self, purpose: Purpose, sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut buffer = rest.to_vec();
            let plain = key.open_in_place(nonce, purpose.context(), &mut buffer);
            Some(plain.ok()?.to_vec())
        })
    }
}

fn fresh() -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    // The generator aborts rather than return predictable bytes.
    let filled = aws_lc_rs::rand::fill(&mut key);
    debug_assert!(filled.is_ok());
    key
}

fn read(path: &Path) -> Result<Vec<Zeroizing<Vec<u8>>>, KeyError> {
    let io = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
    let lines = text.lines().enumerate();
    let keys = lines.map(|(i, line)| match STANDARD.decode(line.trim()) {
        Ok(key) if key.len() == KEY_BYTES => Ok(Zeroizing::new(key)),
        _ => Err(malformed(path, i + 1)),
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(malformed(path, 1));
    }
    Ok(keys)
}

fn write(path: &Path, keys: &[Zeroizing<Vec<u8>>], new: bool) -> Result<(), KeyError> {
    let io = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(String::new());
    for key in keys {
        text.push_str(&STANDARD.encode(key.as_slice()));
        text.push('\n');
    }
    // Written aside and renamed: a crash leaves the old keys or the new ones.
    let aside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&aside).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    if new && path.exists() {
        return Ok(());
    }
    fs::rename(&aside, path).map_err(io)
}

fn malformed(path: &Path, line: usize) -> KeyError {
    KeyError::Malformed {
        path: path.to_owned(),
        line,
    }
}
