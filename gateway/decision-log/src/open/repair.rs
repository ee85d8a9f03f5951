//! Putting right what a crash leaves: torn tails, pages in doubt, stale tiles.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::scan::{Found, Last};
use super::{LogOptions, OpenError};
use crate::blob::{self, Digest};
use crate::lifecycle::Event;
use crate::medium::{Medium, MediumFile, write_all};
use crate::tile::{self, TILES};
use crate::tree::{Hash, TILE_WIDTH, Tree, subtree};

/// Longest torn tail that is kept as evidence.
const MAX_EVIDENCE: u64 = 4 << 20;
/// Full tiles of a level whose content is checked at opening, the newest: older
/// ones have long been written back.
const CHECKED_TILES: u64 = 4096;

/// What was cut off.
#[derive(Default)]
pub(super) struct Cut {
    pub(super) bytes: u64,
    pub(super) event: Option<Event>,
}

/// Cuts the torn tail and makes the records after the checkpoint durable anew.
///
/// After a failed sync the kernel holds pages that look written and are not; what
/// is read back proves nothing. So the tail is written again before it is trusted.
pub(super) fn settle(
    options: &LogOptions,
    medium: &dyn Medium,
    found: &Found,
) -> Result<Cut, OpenError> {
    let Some(last) = &found.last else {
        return Ok(Cut::default());
    };
    let told = OpenError::file(&last.path);
    let torn = last.remainder.used;
    if torn == 0 && last.tail == last.used {
        return Ok(Cut::default());
    }
    let mut cut = Cut::default();
    if torn > 0 {
        let evidence = read_range(&last.path, last.used, torn.min(MAX_EVIDENCE)).map_err(&told)?;
        // Kept if it can be: a full disk must not keep the log from opening.
        let kept = blob::store(medium, &options.dir, &evidence, u64::MAX);
        let digest = kept.unwrap_or_else(|_| Digest::of(&evidence)).to_string();
        cut = Cut {
            bytes: torn,
            event: Some(Event::TailCut {
                bytes: torn,
                digest,
            }),
        };
    }
    let file = medium.open(&last.path).map_err(&told)?;
    rewrite(file.as_ref(), last).map_err(&told)?;
    Ok(cut)
}

fn rewrite(file: &dyn MediumFile, last: &Last) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut at = last.tail;
    while at < last.used {
        let bytes = read_range(&last.path, at, CHUNK.min(last.used - at))?;
        write_all(file, &bytes, at)?;
        at += bytes.len() as u64;
    }
    let end = last.used + last.remainder.used;
    while at < end {
        let zeros = vec![0; usize::try_from(CHUNK.min(end - at)).unwrap_or(0)];
        write_all(file, &zeros, at)?;
        at += zeros.len() as u64;
    }
    file.sync()
}

fn read_range(path: &Path, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Removes every tile: they are of records that are no more.
pub(super) fn forget_tiles(dir: &Path, medium: &dyn Medium) -> Result<(), OpenError> {
    let told = OpenError::file(&dir.join(TILES));
    for (level, index, width) in tile::list(dir).map_err(&told)? {
        let path = dir.join(tile::path(level, index, width));
        medium.remove(&path).map_err(OpenError::file(&path))?;
    }
    Ok(())
}

/// Whether the full tiles below a tree are there, and the newest of them right.
/// The tree's root was signed, so each level vouches for the one below.
pub(super) fn tiles_hold(dir: &Path, tree: &Tree) -> bool {
    let levels = tree.edge().len();
    (0..levels as u32).rev().all(|level| {
        let count = complete(tree, level);
        let all = (0..count).all(|index| is_whole(dir, level, index));
        let checked = count.saturating_sub(CHECKED_TILES)..count;
        all && is_vouched_for(dir, tree, level, checked)
    })
}

/// Full tiles of a level: each covers 256^(level+1) leaves.
fn complete(tree: &Tree, level: u32) -> u64 {
    (0..=level).fold(tree.size(), |left, _| left / TILE_WIDTH as u64)
}

fn is_whole(dir: &Path, level: u32, index: u64) -> bool {
    let path = dir.join(tile::path(level, index, TILE_WIDTH));
    fs::metadata(path).is_ok_and(|file| file.len() == (TILE_WIDTH * 32) as u64)
}

fn is_vouched_for(dir: &Path, tree: &Tree, level: u32, indexes: std::ops::Range<u64>) -> bool {
    let mut parent: (u64, Vec<Hash>) = (u64::MAX, Vec::new());
    for index in indexes {
        let (above, place) = (index / TILE_WIDTH as u64, index % TILE_WIDTH as u64);
        if parent.0 != above {
            let Some(tile) = parent_tile(dir, tree, level + 1, above) else {
                return false;
            };
            parent = (above, tile);
        }
        let own = tile::read(dir, level, index, TILE_WIDTH).map(|tile| subtree(&tile));
        let told = usize::try_from(place)
            .ok()
            .and_then(|place| parent.1.get(place));
        if own.is_none() || own.as_ref() != told {
            return false;
        }
    }
    true
}

fn parent_tile(dir: &Path, tree: &Tree, level: u32, index: u64) -> Option<Vec<Hash>> {
    if index < complete(tree, level) {
        tile::read(dir, level, index, TILE_WIDTH)
    } else {
        tree.edge().get(level as usize).cloned()
    }
}
