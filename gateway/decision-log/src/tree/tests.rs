//! The tree against RFC 6962 as written: slow, recursive, over all small sizes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::convert::Infallible;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::proof::{Subtrees, consistency, inclusion, root, verify_consistency, verify_inclusion};
use super::{Hash, Tree, empty_root, leaf_hash, node_hash, subtree};

fn leaves(n: u64) -> Vec<Hash> {
    (0..n).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// RFC 6962 §2.1, word for word.
fn reference(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(reference(&leaves[..k]), reference(&leaves[k..]))
        }
    }
}

struct Memory(Vec<Hash>);

impl Subtrees for Memory {
    type Error = Infallible;
    fn subtree(&self, height: u32, index: u64) -> Result<Hash, Infallible> {
        let (from, width) = ((index as usize) << height, 1 << height);
        Ok(subtree(&self.0[from..from + width]))
    }
}

#[test]
fn published_vectors_hold() {
    // The test tree of RFC 6962's reference implementation.
    let inputs: [&[u8]; 3] = [b"", b"\x00", b"\x10"];
    let mut tree = Tree::new();
    let hex = |hash: Hash| {
        hash.0
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    assert_eq!(
        hex(tree.root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ];
    for (input, root) in inputs.into_iter().zip(roots) {
        tree.push(leaf_hash(input), drop);
        assert_eq!(hex(tree.root()), root);
    }
}

#[test]
fn every_small_root_is_that_of_the_text() {
    let all = leaves(1100);
    let mut tree = Tree::new();
    let mut tiles = Vec::new();
    for n in 0..all.len() {
        if n < 300 || n % 37 == 0 {
            assert_eq!(tree.root(), reference(&all[..n]), "{n}");
        }
        tree.push(all[n], |tile| tiles.push(tile));
    }
    assert_eq!(tiles.len(), 4);
    assert_eq!(tiles[3].hashes, all[768..1024]);
    assert_eq!(root(1100, &Memory(all.clone())).unwrap(), tree.root());
    let again = Tree::from_edge(1100, tree.edge().to_vec()).unwrap();
    assert_eq!(again, tree);
    for size in [1099, 1101, 0, 76, 1100 + 256] {
        assert!(
            Tree::from_edge(size, tree.edge().to_vec()).is_none(),
            "{size}"
        );
    }
}

#[test]
fn proofs_hold_for_all_small_trees_and_nothing_else() {
    let all = leaves(40);
    let memory = Memory(all.clone());
    for size in 1..=40_u64 {
        let whole = reference(&all[..size as usize]);
        for index in 0..size {
            let leaf = all[index as usize];
            let proof = inclusion(index, size, &memory).unwrap();
            assert!(
                verify_inclusion(leaf, index, size, &proof, whole),
                "{index} of {size}"
            );
            // A place off the end has the shape of another proof; one leaf for another never holds.
            assert!(!verify_inclusion(
                leaf_hash(b"other"),
                index,
                size,
                &proof,
                whole
            ));
            assert!(!verify_inclusion(leaf, size, size, &proof, whole));
            if size > 1 {
                let other = (index + 1) % size;
                assert!(
                    !verify_inclusion(leaf, other, size, &proof, whole),
                    "{index} of {size}"
                );
                assert!(!verify_inclusion(leaf, index, size, &proof[1..], whole));
            }
            let longer = [proof.as_slice(), &[leaf]].concat();
            assert!(!verify_inclusion(leaf, index, size, &longer, whole));
        }
        for old in 0..=size {
            let before = (old, reference(&all[..old as usize]));
            let proof = consistency(old, size, &memory).unwrap();
            assert!(
                verify_consistency(before, (size, whole), &proof),
                "{old} of {size}"
            );
            let longer = [proof.as_slice(), &[whole]].concat();
            assert!(!verify_consistency(before, (size, whole), &longer));
            if !proof.is_empty() {
                assert!(!verify_consistency(before, (size, whole), &proof[1..]));
                assert!(!verify_consistency(
                    (old, leaf_hash(b"x")),
                    (size, whole),
                    &proof
                ));
                assert!(!verify_consistency(before, (size, leaf_hash(b"x")), &proof));
            }
            assert!(!verify_consistency(
                (size + 1, whole),
                (size, whole),
                &proof
            ));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_proof_never_holds(
        size in 2_u64..600, place in any::<u64>(), at in any::<usize>(), bit in 0_usize..256,
    ) {
        let all = leaves(size);
        let memory = Memory(all.clone());
        let (whole, index) = (reference(&all), place % size);
        let mut proof = inclusion(index, size, &memory).unwrap();
        prop_assert!(verify_inclusion(all[index as usize], index, size, &proof, whole));
        let at = at % proof.len();
        proof[at].0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!verify_inclusion(all[index as usize], index, size, &proof, whole));
    }

    #[test]
    fn hashes_read_back_and_rubbish_does_not(bytes in any::<[u8; 32]>(), text in "\\PC{0,60}") {
        let hash = Hash(bytes);
        prop_assert_eq!(Hash::from_base64(&hash.to_base64()), Some(hash));
        if let Some(hash) = Hash::from_base64(&text) {
            prop_assert_eq!(hash.to_base64(), text);
        }
    }
}
