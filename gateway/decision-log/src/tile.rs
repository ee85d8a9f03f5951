//! Tiles on disk: C2SP tlog-tiles, hash tiles of height 8.
//!
//! A full tile is written as it completes, a partial one with each checkpoint.
//! Tiles are an index, never the truth: they are not synced, are rebuilt from the
//! segments when missing, short or wrong, and what is read from them counts only
//! once the root over it equals a signed one. Entry bundles are not written: the
//! segments hold the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::medium::{Medium, write_all};
use crate::record::decimal;
use crate::tree::proof::Subtrees;
use crate::tree::{Hash, TILE_HEIGHT, TILE_WIDTH, Tree, subtree};

/// Directory of the tiles.
pub(crate) const TILES: &str = "tile";

/// Place of a tile below the log's directory: `tile/<level>/<index>[.p/<width>]`.
pub fn path(level: u32, index: u64, width: usize) -> PathBuf {
    let mut name = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        name = format!("{name}.p/{width}");
    }
    Path::new(TILES).join(level.to_string()).join(name)
}

/// Which tile a path names; the reverse of [`path`].
fn parse(relative: &str) -> Option<(u32, u64, usize)> {
    let mut parts = relative.split('/');
    let level = u32::try_from(decimal(parts.next()?)?).ok()?;
    let mut names: Vec<&str> = parts.collect();
    let mut width = TILE_WIDTH;
    if let [.., stem, last] = names.as_slice()
        && let Some(stem) = stem.strip_suffix(".p")
    {
        width = usize::try_from(decimal(last)?).ok()?;
        let stem = stem.to_owned();
        names.truncate(names.len() - 2);
        let index = number(&names, &stem)?;
        return (width > 0 && width < TILE_WIDTH && level < 8).then_some((level, index, width));
    }
    let last = names.pop()?;
    let index = number(&names, last)?;
    (level < 8).then_some((level, index, width))
}

fn number(high: &[&str], low: &str) -> Option<u64> {
    let digits = |text: &str| {
        let three = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        if three {
            text.parse::<u64>().ok()
        } else {
            None
        }
    };
    let mut index = 0_u64;
    for part in high {
        index = index
            .checked_mul(1000)?
            .checked_add(digits(part.strip_prefix('x')?)?)?;
    }
    index.checked_mul(1000)?.checked_add(digits(low)?)
}

/// Bytes of a tile.
pub(crate) fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Hashes of a tile's bytes; none when they are no whole number of hashes.
pub(crate) fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (chunks, rest) = bytes.as_chunks::<32>();
    rest.is_empty()
        .then(|| chunks.iter().map(|chunk| Hash(*chunk)).collect())
}

/// Writes a tile, unsynced.
pub(crate) fn write(
    medium: &dyn Medium,
    dir: &Path,
    level: u32,
    index: u64,
    tile: &[Hash],
) -> io::Result<PathBuf> {
    let path = dir.join(path(level, index, tile.len()));
    let file = match medium.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                medium.create_dir(parent)?;
            }
            medium.create(&path)?
        }
        other => other?,
    };
    if let Err(error) = write_all(file.as_ref(), &bytes(tile), 0) {
        // Half a tile is worse than none: it would be reported as missing for good.
        let _ = medium.remove(&path);
        return Err(error);
    }
    Ok(path)
}

/// Reads at least `want` hashes of a tile: the full one, or a partial one that is
/// wide enough. None when there is no sound file of them.
pub fn read(dir: &Path, level: u32, index: u64, want: usize) -> Option<Vec<Hash>> {
    let full = dir.join(path(level, index, TILE_WIDTH));
    if let Some(tile) = read_exact(&full, TILE_WIDTH) {
        return Some(tile);
    }
    if want >= TILE_WIDTH {
        return None;
    }
    let partial = full.with_file_name(format!("{}.p", full.file_name()?.to_str()?));
    let mut widths: Vec<usize> = fs::read_dir(&partial)
        .ok()?
        .filter_map(|entry| Some(decimal(entry.ok()?.file_name().to_str()?)? as usize))
        .filter(|width| *width >= want && *width < TILE_WIDTH)
        .collect();
    widths.sort_unstable();
    widths
        .into_iter()
        .find_map(|width| read_exact(&partial.join(width.to_string()), width))
}

fn read_exact(path: &Path, width: usize) -> Option<Vec<Hash>> {
    let tile = hashes(&fs::read(path).ok()?)?;
    (tile.len() == width).then_some(tile)
}

/// The edge of the tree of `size`, as the tiles tell it. Compare its root with a
/// signed one before using it.
pub(crate) fn load_edge(dir: &Path, size: u64) -> Option<Tree> {
    let mut edge = Vec::new();
    let mut left = size;
    let mut level = 0;
    while left > 0 {
        let width = usize::try_from(left % TILE_WIDTH as u64).ok()?;
        left /= TILE_WIDTH as u64;
        let mut tile = Vec::with_capacity(TILE_WIDTH);
        if width > 0 {
            tile.extend(read(dir, level, left, width)?.into_iter().take(width));
        }
        edge.push(tile);
        level += 1;
    }
    Tree::from_edge(size, edge)
}

/// A tile file as a listing of the directory names it.
pub(crate) type Found = (u32, u64, usize);

/// Lists the tile files.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeSet<Found>> {
    let mut found = BTreeSet::new();
    let root = dir.join(TILES);
    let mut open = vec![root.clone()];
    while let Some(next) = open.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                continue;
            }
            let path = entry.path();
            let relative = path.strip_prefix(&root).ok().and_then(Path::to_str);
            found.extend(relative.and_then(parse));
        }
    }
    Ok(found)
}

/// Why a subtree hash is not at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tile `{0}` is missing or short; hint: the log rebuilds its tiles when it is opened")]
pub struct MissingTile(pub PathBuf);

/// Hashes from the tiles of a log, for proofs.
pub struct TileStore {
    dir: PathBuf,
}

impl TileStore {
    /// The tiles of the log in `dir`.
    pub fn new(dir: &Path) -> TileStore {
        TileStore {
            dir: dir.to_owned(),
        }
    }
}

impl Subtrees for TileStore {
    type Error = MissingTile;

    fn subtree(&self, height: u32, index: u64) -> Result<Hash, MissingTile> {
        let (level, inner) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << inner;
        let (tile, offset) = (
            first / TILE_WIDTH as u64,
            (first % TILE_WIDTH as u64) as usize,
        );
        let end = offset + (1 << inner);
        let read = read(&self.dir, level, tile, end);
        if let Some(run) = read.as_ref().and_then(|tile| tile.get(offset..end)) {
            return Ok(subtree(run));
        }
        if height == 0 || level == 0 {
            return Err(MissingTile(path(level, tile, end)));
        }
        // The level above is written with the next checkpoint; the one below is there.
        let left = self.subtree(height - 1, index * 2)?;
        let right = self.subtree(height - 1, index * 2 + 1)?;
        Ok(crate::tree::node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{load_edge, parse, path, write};
    use crate::medium::Disk;
    use crate::tree::{Tree, leaf_hash};

    #[test]
    fn paths_are_those_of_the_specification() {
        let told = |level, index, width| path(level, index, width).to_str().unwrap().to_owned();
        assert_eq!(told(0, 0, 256), "tile/0/000");
        assert_eq!(told(4, 1_234_067, 1), "tile/4/x001/x234/067.p/1");
        assert_eq!(told(2, 1_000, 256), "tile/2/x001/000");
        for (level, index, width) in [
            (0, 0, 256),
            (4, 1_234_067, 1),
            (7, 999, 255),
            (0, 1_000_000, 256),
        ] {
            let text = told(level, index, width);
            assert_eq!(
                parse(text.strip_prefix("tile/").unwrap()),
                Some((level, index, width))
            );
        }
        for bad in [
            "",
            "0",
            "0/0",
            "0/0000",
            "0/x00/000",
            "0/001/000",
            "x/000",
            "0/000.p/256",
            "0/000.p/0",
            "0/000.p/x",
            "8/000",
            "0/000.new",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_edge_is_resumed_from_tiles() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        for n in 0..70_000_u32 {
            tree.push(leaf_hash(&n.to_be_bytes()), |tile| {
                write(&Disk, dir.path(), tile.level, tile.index, &tile.hashes).unwrap();
            });
        }
        assert!(load_edge(dir.path(), 70_000).is_none());
        let mut index = 70_000_u64;
        for (level, tile) in (0_u32..).zip(tree.edge()) {
            index /= 256;
            if !tile.is_empty() {
                write(&Disk, dir.path(), level, index, tile).unwrap();
            }
        }
        assert_eq!(load_edge(dir.path(), 70_000).unwrap(), tree);
        // Any earlier size can be resumed too: full tiles hold their own beginnings.
        assert!(load_edge(dir.path(), 65_536).is_some());
        assert!(load_edge(dir.path(), 70_001).is_none());
    }
}
