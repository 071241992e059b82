//! The definition: k^3 steps over a whole matrix, all in i128.

use super::super::{Frozen, Linkage};

pub(super) fn group(frozen: &Frozen, linkage: &Linkage) -> Vec<u32> {
    let mean: Vec<i128> = frozen.mean.iter().copied().map(i128::from).collect();
    let squares: i128 = mean.iter().map(|m| m * m).sum();
    let spread = ((1 << 28) - squares).max(1 << 20);
    let weights: Vec<i128> = frozen.weights.iter().copied().map(i128::from).collect();
    let sums = frozen.sums.chunks(frozen.dimension);
    let centres: Vec<Vec<i128>> = sums
        .zip(&weights)
        .map(|(sums, &weight)| {
            let components = sums.iter().zip(&mean);
            components
                .map(|(&sum, mean)| {
                    (i128::from(sum).div_euclid(weight) - mean).clamp(-32_767, 32_767)
                })
                .collect()
        })
        .collect();
    let similarity = |a: &[i128], b: &[i128]| {
        let dot: i128 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        (dot << 28).div_euclid(spread)
    };
    let square = centres
        .iter()
        .map(|a| centres.iter().map(|b| similarity(a, b)).collect());
    agglomerate(square.collect(), weights, linkage)
}

pub(super) fn agglomerate(
    mut s: Vec<Vec<i128>>,
    mut weights: Vec<i128>,
    linkage: &Linkage,
) -> Vec<u32> {
    let len = weights.len();
    let mut roots: Vec<usize> = (0..len).collect();
    while let Some((low, high)) = best(&s, &weights, &roots, linkage) {
        let (a, b) = (weights[low], weights[high]);
        let own = a * a * s[low][low] + b * b * s[high][high] + 2 * a * b * s[low][high];
        let others = s[low].iter().zip(&s[high]);
        let means = others.map(|(low, high)| (a * low + b * high).div_euclid(a + b));
        let means: Vec<i128> = means.collect();
        for (row, &mean) in s.iter_mut().zip(&means) {
            row[low] = mean;
        }
        s[low] = means;
        s[low][low] = own.div_euclid((a + b) * (a + b));
        weights[low] = a + b;
        for root in roots.iter_mut().filter(|root| **root == high) {
            *root = low;
        }
    }
    let roots = roots.into_iter();
    roots.map(|r| u32::try_from(r).expect("small")).collect()
}

fn best(
    s: &[Vec<i128>],
    weights: &[i128],
    roots: &[usize],
    linkage: &Linkage,
) -> Option<(usize, usize)> {
    let coherence = |group: usize| {
        let sum = weights[group] * s[group][group] - (1 << 28)
            + i128::from(linkage.w0_q28) * i128::from(linkage.n0);
        sum.div_euclid((weights[group] - 1 + i128::from(linkage.n0)).max(1))
    };
    let mut best = None;
    let mut highest = (1 << 16) - 1;
    for a in (0..roots.len()).filter(|&a| roots[a] == a) {
        for b in (a + 1..roots.len()).filter(|&b| roots[b] == b) {
            let relative = (i128::from(linkage.rho_q16) * coherence(a).min(coherence(b))) >> 16;
            let bar = relative.max(i128::from(linkage.floor_q28)).max(1);
            let ratio = (s[a][b] << 16).div_euclid(bar);
            if ratio > highest {
                highest = ratio;
                best = Some((a, b));
            }
        }
    }
    best
}
