//! Inclusion and consistency proofs: RFC 6962 §2.1, made and checked.
//!
//! Making needs a source of subtree hashes; checking needs nothing but the proof,
//! and must refuse a proof that is longer or shorter than the tree allows: a
//! verifier that accepts falsified proofs is worse than none.

use super::{Hash, empty_root, node_hash};

/// Gives the hash over `2^height` leaves, the `index`-th such run.
pub trait Subtrees {
    /// Why a hash is not at hand.
    type Error;

    /// The hash of a complete subtree.
    fn subtree(&self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Root of the first `size` leaves.
pub fn root<S: Subtrees>(size: u64, from: &S) -> Result<Hash, S::Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    range(0, size, from)
}

/// Proof that leaf `index` is in the tree of `size`; empty when it is not.
pub fn inclusion<S: Subtrees>(index: u64, size: u64, from: &S) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    let (mut low, mut high) = (0, size);
    if index >= size {
        return Ok(path);
    }
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(range(middle, high, from)?);
            high = middle;
        } else {
            path.push(range(low, middle, from)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Proof that the tree of `old` leaves is the beginning of the tree of `new`.
pub fn consistency<S: Subtrees>(old: u64, new: u64, from: &S) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut low, mut high) = (0, new);
    while old < high {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(range(middle, high, from)?);
            high = middle;
        } else {
            path.push(range(low, middle, from)?);
            low = middle;
        }
    }
    if low > 0 {
        path.push(range(low, high, from)?);
    }
    path.reverse();
    Ok(path)
}

/// Largest power of two below `n`, for `n` ≥ 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

fn range<S: Subtrees>(low: u64, high: u64, from: &S) -> Result<Hash, S::Error> {
    let width = high - low;
    if width.is_power_of_two() && low.is_multiple_of(width) {
        return from.subtree(width.ilog2(), low / width);
    }
    let middle = low + split(width);
    Ok(node_hash(
        range(low, middle, from)?,
        range(middle, high, from)?,
    ))
}

/// Whether `proof` shows that `leaf` stands at `index` in the tree of `size` with `root`.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(*sibling, hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree `old` is the beginning of the tree `new`.
pub fn verify_consistency(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && old_root == empty_root();
    }
    let mut rest = proof.iter();
    let first = if old_size.is_power_of_two() {
        old_root
    } else {
        match rest.next() {
            Some(hash) => *hash,
            None => return false,
        }
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut place, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (first, first);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_hash = node_hash(*hash, old_hash);
            new_hash = node_hash(*hash, new_hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(new_hash, *hash);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}
