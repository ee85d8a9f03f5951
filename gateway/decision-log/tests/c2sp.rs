//! A published implementation of the C2SP formats reads what this log writes.
//!
//! `signed_note` and `tlog_tiles` (Cloudflare, ports of Go's reference code) check
//! the checkpoint's signature, compute the root from the lines, authenticate every
//! tile against it, and exchange proofs with our own code in both directions.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{HashReader as _, Tile, TileHashReader, TileReader, tlog};
use vaultgate_decision_log::tile::TileStore;
use vaultgate_decision_log::tree::{Hash, proof};
use vaultgate_decision_log::{
    DecisionLog, Entry, Kind, LogOptions, Members, Priority, SigningKey, read,
};

const ORIGIN: &str = "vaultgate.example/log";

/// A log of `size` records with checkpoints at some sizes on the way.
fn write_log(dir: &Path, size: u64) -> String {
    let key = SigningKey::generate(&dir.join("log.key"), ORIGIN).unwrap();
    let vkey = key.vkey();
    let mut options = LogOptions::new(dir.join("log"), ORIGIN, || jiff::Timestamp::UNIX_EPOCH);
    options.segment_bytes = 1 << 20;
    options.emergency_bytes = 0;
    let (log, _) = DecisionLog::open(options, key).unwrap();
    let (told, answers) = channel();
    for n in 0..size {
        let entry = Entry {
            kind: Kind::Decision,
            id: format!("{n:032}"),
            fields: Members::parse(format!("{{\"n\":{n}}}")).unwrap(),
        };
        let told = told.clone();
        let done = move |result| told.send(result).unwrap();
        log.append(entry, Priority::Normal, done).unwrap();
        answers.recv().unwrap().unwrap();
        if n == 300 {
            log.checkpoint().unwrap();
        }
    }
    log.close().unwrap();
    vkey
}

/// The published library's root over the lines, hash by hash.
struct Storage(Vec<tlog::Hash>);

impl tlog::HashReader for Storage {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let hash = |index: &u64| self.0.get(usize::try_from(*index).unwrap()).copied();
        let hashes: Option<Vec<tlog::Hash>> = indexes.iter().map(hash).collect();
        hashes.ok_or(tlog::Error::IndexesNotInTree)
    }
}

/// Our tile files, given to the published library under its own names.
struct Files(PathBuf);

impl TileReader for Files {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        let read = |tile: &Tile| {
            // That library puts the height into the path, as Go's does; C2SP leaves it out.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let bytes = fs::read(self.0.join(&path));
            let width = tile.width() as usize * 32;
            let full = path.split(".p/").next().unwrap().to_owned();
            let bytes = bytes.or_else(|_| fs::read(self.0.join(full))).unwrap();
            bytes.get(..width).unwrap().to_vec()
        };
        Ok(tiles.iter().map(read).collect())
    }
    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn ours(hash: &tlog::Hash) -> Hash {
    Hash(hash.0)
}

#[test]
fn a_published_implementation_agrees() {
    for size in [1_u64, 255, 256, 257, 700] {
        let home = tempfile::tempdir().unwrap();
        let vkey = write_log(home.path(), size);
        let dir = home.path().join("log");

        let note = Note::from_bytes(&fs::read(dir.join("checkpoint")).unwrap()).unwrap();
        let verifier = StandardVerifier::new(&vkey).unwrap();
        let verifiers = VerifierList::new(vec![Box::new(verifier)]);
        assert_eq!(note.verify(&verifiers).unwrap().0.len(), 1);
        let head = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((head.origin(), head.size()), (ORIGIN, size));

        let mut storage = Storage(Vec::new());
        let mut leaves = Vec::new();
        for (n, record) in (0..).zip(read::Records::open(&dir, 0).unwrap()) {
            let line = record.unwrap().leaf;
            leaves.push(tlog::record_hash(&line));
            storage
                .0
                .extend(tlog::stored_hashes(n, &line, &storage).unwrap());
        }
        let root = tlog::tree_hash(size, &storage).unwrap();
        assert_eq!(root, *head.hash());

        let files = Files(dir.clone());
        let tiles = TileHashReader::new(size, root, &files);
        let indexes: Vec<u64> = (0..size).map(|n| tlog::stored_hash_index(0, n)).collect();
        assert_eq!(tiles.read_hashes(&indexes).unwrap(), leaves);

        proofs_agree(size, root, &leaves, &storage, &TileStore::new(&dir));
    }
}

fn proofs_agree(
    size: u64,
    root: tlog::Hash,
    leaves: &[tlog::Hash],
    storage: &Storage,
    store: &TileStore,
) {
    for (n, leaf) in (0..).zip(leaves) {
        let theirs = tlog::prove_record(size, n, storage).unwrap();
        let own = proof::inclusion(n, size, store).unwrap();
        assert_eq!(theirs.iter().map(ours).collect::<Vec<_>>(), own);
        assert!(proof::verify_inclusion(
            ours(leaf),
            n,
            size,
            &own,
            ours(&root)
        ));
        tlog::check_record(&theirs, size, root, n, *leaf).unwrap();
    }
    for old in 1..=size {
        let before = tlog::tree_hash(old, storage).unwrap();
        let theirs = tlog::prove_tree(size, old, storage).unwrap();
        let own = proof::consistency(old, size, store).unwrap();
        assert_eq!(theirs.iter().map(ours).collect::<Vec<_>>(), own);
        let heads = ((old, ours(&before)), (size, ours(&root)));
        assert!(proof::verify_consistency(heads.0, heads.1, &own));
        tlog::check_tree(&theirs, size, root, old, before).unwrap();
    }
}
