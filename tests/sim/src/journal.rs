//! The journal: one entry for every request that reached the emulator, written
//! before the request has any effect and before it is answered.
//!
//! Invariant: an entry is never removed or changed but by a reset. Credentials are
//! never written: where a header holds one, the journal holds its digest, so a test
//! can still see *whose* token arrived.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::azure::Reading;
use crate::digest::sha256_hex;

/// Who a bearer token of the emulator's own minting stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// The gateway's reading identity: may only GET.
    Reader,
    /// The gateway's acting identity.
    Operator,
    /// The identity with rights on the resource guard.
    Guard,
    /// No token, or one that the emulator did not mint for Azure.
    None,
}

impl Identity {
    /// The identity's name in journal and tokens.
    pub fn name(self) -> &'static str {
        match self {
            Identity::Reader => "reader",
            Identity::Operator => "operator",
            Identity::Guard => "guard",
            Identity::None => "none",
        }
    }
}

/// One request that reached the emulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Place in the journal, from 0, without gaps.
    pub seq: u64,
    /// Which part was called: `arm`, `idp`, `keyvault`, `imds` or `metadata`.
    pub surface: String,
    /// The method as received.
    pub method: String,
    /// The raw path as received, neither decoded nor normalised.
    pub path: String,
    /// The raw query as received, without the question mark.
    pub query: String,
    /// Whose Azure token the request carried.
    pub identity: Identity,
    /// The `x-ms-client-request-id` header, if any.
    pub client_request_id: Option<String>,
    /// SHA-256 of the body's exact bytes, in hex; of the empty string without one.
    pub body_sha256: String,
    /// What the emulator takes it for; nothing where it knows no such operation, and
    /// outside ARM.
    pub reading: Option<Reading>,
    /// Every header line as `[name, value]`; credentials as `sha256:<hex>`.
    pub headers: Vec<(String, String)>,
    /// When it arrived, by the wall clock.
    pub at: String,
}

/// What is known of a request before it gets its place in the journal.
pub(crate) struct Arrival<'a> {
    pub surface: &'static str,
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub identity: Identity,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    pub reading: Option<Reading>,
}

/// Headers whose value is a credential.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "x-ms-authorization-auxiliary",
    "cookie",
    "x-identity-header",
    "proxy-authorization",
];

/// The list of entries, and the file that repeats them.
pub(crate) struct Journal {
    entries: Mutex<Vec<Entry>>,
    file: Option<Mutex<File>>,
    length: watch::Sender<usize>,
}

impl Journal {
    pub(crate) fn open(path: Option<&Path>) -> std::io::Result<Journal> {
        let file = match path {
            Some(path) => Some(Mutex::new(
                OpenOptions::new().create(true).append(true).open(path)?,
            )),
            None => None,
        };
        Ok(Journal {
            entries: Mutex::new(Vec::new()),
            file,
            length: watch::Sender::new(0),
        })
    }

    /// Writes the entry down, durably where there is a file.
    pub(crate) fn append(&self, arrival: &Arrival<'_>) -> std::io::Result<()> {
        let mut entries = lock(&self.entries);
        let entry = entry(entries.len() as u64, arrival);
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            let mut file = lock(file);
            file.write_all(&line)?;
            file.sync_data()?;
        }
        entries.push(entry);
        let length = entries.len();
        drop(entries);
        self.length.send_replace(length);
        Ok(())
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    /// Forgets everything; the file keeps what it has.
    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// Told each time that an entry was added.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }
}

fn entry(seq: u64, arrival: &Arrival<'_>) -> Entry {
    let header = |name: &str| {
        let value = arrival.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Entry {
        seq,
        surface: arrival.surface.to_owned(),
        method: arrival.method.to_owned(),
        path: arrival.path.to_owned(),
        query: arrival.query.to_owned(),
        identity: arrival.identity,
        client_request_id: header("x-ms-client-request-id"),
        body_sha256: sha256_hex(arrival.body),
        reading: arrival.reading.clone(),
        headers: arrival
            .headers
            .iter()
            .map(|(name, value)| masked(name.as_str(), value.as_bytes()))
            .collect(),
        at: crate::clock::written(jiff::Timestamp::now()),
    }
}

fn masked(name: &str, value: &[u8]) -> (String, String) {
    let shown = if CREDENTIALS.contains(&name) {
        format!("sha256:{}", sha256_hex(value))
    } else {
        String::from_utf8_lossy(value).into_owned()
    };
    (name.to_owned(), shown)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use http::{HeaderMap, HeaderValue};

    use super::{Arrival, Identity, Journal};

    fn arrival<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Arrival<'a> {
        Arrival {
            surface: "arm",
            method: "POST",
            path: "/subscriptions",
            query: "api-version=1",
            identity: Identity::Operator,
            headers,
            body,
            reading: None,
        }
    }

    #[test]
    fn a_credential_is_journaled_as_its_digest_only() {
        let journal = Journal::open(None).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(
            "authorization",
            HeaderValue::from_static("Bearer azcanary.operator.00"),
        );
        journal.append(&arrival(&headers, b"")).unwrap();
        let written = serde_json::to_string(&journal.entries()).unwrap();
        assert!(!written.contains("azcanary"), "{written}");
        assert!(written.contains("sha256:"));
    }

    #[test]
    fn the_file_holds_a_line_for_every_entry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let journal = Journal::open(Some(&path)).unwrap();
        let headers = HeaderMap::new();
        for body in [&b"a"[..], b"b"] {
            journal.append(&arrival(&headers, body)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        let entries = journal.entries();
        assert_eq!((entries[0].seq, entries[1].seq), (0, 1));
        assert_ne!(entries[0].body_sha256, entries[1].body_sha256);
    }
}
