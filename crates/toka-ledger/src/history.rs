//! The history: a Merkle tree of RFC 9162's shape (section 2.1.1) over the events' leaves.
//!
//! Only the roots of the full subtrees on its right edge are held, one for each 1 bit of its size.
//! Roots of full subtrees of some heights are kept in storage, so that old roots and proofs can be
//! computed from few rows.

use crate::core::Digest;
use crate::hash;

/// Heights whose full subtrees are stored.
pub const STORED_HEIGHTS: [u8; 5] = [8, 16, 24, 32, 40];

/// The right edge of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the full subtrees, largest first: one for each 1 bit of `size`.
    roots: Vec<Digest>,
}

/// A full subtree that a leaf completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// It has 2^height leaves.
    pub height: u8,
    /// Its place among the subtrees of that height, from 0.
    pub index: u64,
    /// Its root.
    pub root: Digest,
}

impl Frontier {
    /// The frontier of a tree with `size` leaves; `None` if these are not as many roots as it has
    /// full subtrees.
    #[must_use]
    pub fn new(size: u64, roots: Vec<Digest>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the full subtrees, largest first.
    #[must_use]
    pub fn roots(&self) -> &[Digest] {
        &self.roots
    }

    /// Appends a leaf. `completed` is told of each subtree of a stored height that it completes.
    pub fn push(&mut self, leaf: Digest, mut completed: impl FnMut(Completed)) {
        let heights = u8::try_from(self.size.trailing_ones()).expect("at most 64");
        let mut root = leaf;
        for height in 1..=heights {
            let left = self
                .roots
                .pop()
                .expect("one root for each 1 bit of the size");
            root = hash::node(&left, &root);
            if STORED_HEIGHTS.contains(&height) {
                completed(Completed {
                    height,
                    index: self.size >> height,
                    root,
                });
            }
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// Root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Digest {
        let right_to_left = self.roots.iter().copied().rev();
        right_to_left
            .reduce(|right, left| hash::node(&left, &right))
            .unwrap_or_else(hash::empty_history)
    }
}

/// Root of the full tree over `roots`, which are a power of two of equally high subtrees' roots.
fn join(roots: &[Digest]) -> Digest {
    match roots {
        [root] => *root,
        _ => {
            let (left, right) = roots.split_at(roots.len() / 2);
            hash::node(&join(left), &join(right))
        }
    }
}

/// The frontier of the tree as it was with `size` leaves, a multiple of 256, from stored subtrees.
///
/// `subtrees(height, from, count)` gives the roots of `count` stored subtrees from index `from`.
///
/// # Errors
/// Those of `subtrees`.
pub fn frontier_at<E>(
    size: u64,
    mut subtrees: impl FnMut(u8, u64, u64) -> Result<Vec<Digest>, E>,
) -> Result<Frontier, E> {
    debug_assert!(size.is_multiple_of(256));
    let mut roots = Vec::new();
    for height in (0..u64::BITS)
        .rev()
        .filter(|height| size >> height & 1 == 1)
    {
        // Leaves left of this subtree are those of the higher bits.
        let start = size >> (height + 1) << (height + 1);
        let stored = STORED_HEIGHTS
            .iter()
            .rev()
            .find(|&&stored| u32::from(stored) <= height);
        let stored = *stored.unwrap_or(&STORED_HEIGHTS[0]);
        let count = 1 << (height - u32::from(stored));
        roots.push(join(&subtrees(stored, start >> stored, count)?));
    }
    Ok(Frontier { size, roots })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn leaf(n: u64) -> Digest {
        hash::leaf(n, n, &Digest::ZERO, &Digest::ZERO)
    }

    /// MTH of RFC 9162, section 2.1.1, word for word.
    fn naive(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => hash::empty_history(),
            [leaf] => *leaf,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                hash::node(&naive(&leaves[..k]), &naive(&leaves[k..]))
            }
        }
    }

    #[test]
    fn root_is_that_of_rfc_9162_for_every_size() {
        let leaves: Vec<_> = (1..=300).map(leaf).collect();
        let mut frontier = Frontier::default();
        for size in 0..=300 {
            assert_eq!(frontier.root(), naive(&leaves[..size]), "size {size}");
            assert_eq!(frontier.roots().len(), size.count_ones() as usize);
            if let Some(leaf) = leaves.get(size) {
                frontier.push(*leaf, |_| {});
            }
        }
    }

    #[test]
    fn old_frontiers_follow_from_stored_subtrees() {
        const SIZE: u64 = (1 << 16) + 5 * 256 + 7;
        let mut stored = BTreeMap::new();
        let mut frontiers = BTreeMap::new();
        let mut frontier = Frontier::default();
        for n in 0..SIZE {
            if n % 256 == 0 {
                frontiers.insert(n, frontier.clone());
            }
            frontier.push(leaf(n), |completed| {
                let key = (completed.height, completed.index);
                assert_eq!(stored.insert(key, completed.root), None);
            });
        }
        assert_eq!(stored.len() as u64, SIZE / 256 + 1);
        for (size, frontier) in frontiers {
            let from_stored = frontier_at(size, |height, from, count| {
                (from..from + count)
                    .map(|index| stored.get(&(height, index)).copied().ok_or(()))
                    .collect()
            });
            assert_eq!(from_stored, Ok(frontier), "size {size}");
        }
    }

    #[test]
    fn a_stored_subtree_is_the_naive_root_of_its_leaves() {
        let leaves: Vec<_> = (1..=512).map(leaf).collect();
        let mut frontier = Frontier::default();
        let mut completed = Vec::new();
        for leaf in &leaves {
            frontier.push(*leaf, |subtree| completed.push(subtree));
        }
        let expected = [0, 1].map(|index| Completed {
            height: 8,
            index,
            root: naive(&leaves[index as usize * 256..][..256]),
        });
        assert_eq!(completed, expected);
    }

    #[test]
    fn a_frontier_has_one_root_for_each_bit_of_its_size() {
        assert_eq!(Frontier::new(0, vec![]), Some(Frontier::default()));
        assert_eq!(Frontier::new(3, vec![Digest::ZERO]), None);
    }
}
