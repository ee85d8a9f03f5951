//! What was decided: a durable, append-only Merkle log of decision records.
//!
//! Records are JSON lines in segment files; the bytes of a line are a leaf of an
//! RFC 6962 tree, laid out as C2SP tlog-tiles, whose heads are signed as C2SP
//! checkpoints. A record is acknowledged only after it is durable; after the
//! first failed sync nothing is acknowledged until the log is reopened.
//!
//! This crate uses `std::fs` and threads only. It must never open a socket, read a
//! clock of its own, or give up a record that it has taken.
//!
//! Read in this order: [`record`], [`tree`], [`checkpoint`], [`append`], [`read`],
//! [`verify`].

pub mod anchor;
pub mod append;
pub mod blob;
pub mod checkpoint;
pub mod key;
mod lifecycle;
mod medium;
pub mod note;
pub mod open;
pub mod read;
pub mod record;
mod segment;
pub mod tile;
pub mod tree;
pub mod verify;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod test_log;

pub use append::{AppendError, DecisionLog, LogError, LogState, Space};
pub use blob::{BlobError, Digest};
pub use checkpoint::Checkpoint;
pub use key::{KeyError, SigningKey};
pub use note::VerifierKey;
pub use open::{LogOptions, OpenError, Opened};
pub use record::{Entry, EntryError, Kind, Members, Priority, Receipt};
