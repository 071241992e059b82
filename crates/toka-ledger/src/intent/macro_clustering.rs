//! Macro-clustering: groups micro-clusters into intents.
//!
//! Average linkage over the mean pair similarities of the micro-clusters, where two groups merge if
//! they are nearly as similar to each other as the less coherent one is inside (see [`Linkage`]).
//! Everything is a pure function of its arguments and computed in integers, so that
//! replicas with other CPUs, compilers or thread counts arrive at the same bits.
//!
//! Q14, Q16 and Q28 are fixed point: the value times 2^14, 2^16, 2^28. All divisions round down.

mod agglomerate;
mod dots;
mod identity;
mod pairs;

#[cfg(test)]
mod tests;

pub use agglomerate::{Linkage, coherence};
pub use identity::{Regrouping, name_groups};
pub use pairs::{centred, spread};

use pairs::{Pairs, Rows};

/// What a macro-clustering reads, copied at one event of the history.
///
/// It owns all that it holds, so a background thread can take it while events go on. With k
/// micro-clusters, [`group`] allocates 4 k (k + 1) bytes: 67 MB for 4,096.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Components of an embedding, d; at least 1.
    pub dimension: usize,
    /// Mean of all embeddings, shape `[d]`, Q14.
    pub mean: Vec<i32>,
    /// Sums of the micro-clusters' embeddings, shape `[k, d]`, Q14; no component is larger than
    /// 2^14 times the weight.
    pub sums: Vec<i32>,
    /// What each sum is divided by to be a mean, shape `[k]`; 1 to 4,096.
    pub weights: Vec<u32>,
}

/// Groups the micro-clusters; for each row the lowest row of its group.
#[must_use]
pub fn group(frozen: &Frozen, linkage: &Linkage) -> Vec<u32> {
    let weights = frozen.weights.iter().copied();
    let pairs = Pairs::between(&centres(frozen), spread(&frozen.mean));
    agglomerate::agglomerate(pairs, weights.map(u64::from).collect(), linkage)
}

fn centres(frozen: &Frozen) -> Rows {
    let mut rows = Rows::new(frozen.weights.len(), frozen.dimension);
    let mut centre = vec![0; frozen.dimension];
    let sums = frozen.sums.chunks_exact(frozen.dimension);
    for (row, (sums, &weight)) in sums.zip(&frozen.weights).enumerate() {
        centred(sums, weight, &frozen.mean, &mut centre);
        rows.set(row, &centre);
    }
    rows
}
