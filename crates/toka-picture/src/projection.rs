//! Many dimensions on a sheet: the first two principal components.
//!
//! They are found by orthogonal iteration with two vectors on the rows' products with each other (Golub, Van Loan:
//! *Matrix Computations*, 8.2.4), a matrix of as many rows and columns as there are rows, whatever their dimension.
//! Only additions, products, quotients and square roots in a fixed order are used, which are the same on every machine;
//! a library's matrix products and decompositions are not.

/// Rounds of the iteration. Where the second and the third component are about as strong it would need more, but then
/// either shows as much.
const ROUNDS: usize = 200;
/// Below this part of all the variance a direction is noise of the calculation.
const NOISE: f64 = 1e-9;

/// Places rows, all of one length and finite, so that those of like direction are near each other: `[x, y]` of each, in
/// units of the cosine's distance. Neither the sign nor the order of anything depends on more than the rows.
pub(crate) fn project(rows: &[&[f32]]) -> Vec<[f64; 2]> {
    let products = products(&centred(rows));
    let count = rows.len();
    let variance: f64 = (0..count).map(|at| products[at * count + at]).sum();
    if variance <= f64::EPSILON {
        return vec![[0.0; 2]; count];
    }
    let noise = variance * NOISE;
    // Neither is along the others' mean, in which there is no variance.
    #[allow(clippy::cast_precision_loss, reason = "a number of rows")]
    let mut first: Vec<f64> = (1..=count).map(|at| 1.0 / at as f64).collect();
    let mut second: Vec<f64> = first.clone();
    second.iter_mut().skip(1).step_by(2).for_each(|x| *x = -*x);
    for _ in 0..ROUNDS {
        first = times(&products, &first);
        normalise(&mut first, noise);
        second = times(&products, &second);
        let shared = dot(&first, &second);
        for (b, a) in second.iter_mut().zip(&first) {
            *b -= shared * a;
        }
        normalise(&mut second, noise);
    }
    let (x, y) = components(&products, &first, &second);
    x.into_iter().zip(y).map(|(x, y)| [x, y]).collect()
}

/// The rows as unit vectors, relative to their mean.
fn centred(rows: &[&[f32]]) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| {
            let mut row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            normalise(&mut row, 0.0);
            row
        })
        .collect();
    #[allow(clippy::cast_precision_loss, reason = "a number of rows")]
    let count = rows.len() as f64;
    let dimension = rows.first().map_or(0, Vec::len);
    for at in 0..dimension {
        let mean = rows.iter().map(|row| row[at]).sum::<f64>() / count;
        rows.iter_mut().for_each(|row| row[at] -= mean);
    }
    rows
}

/// The product of each row with each, row by row.
fn products(rows: &[Vec<f64>]) -> Vec<f64> {
    let count = rows.len();
    let mut products = vec![0.0; count * count];
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate().skip(i) {
            let product = dot(a, b);
            products[i * count + j] = product;
            products[j * count + i] = product;
        }
    }
    products
}

/// Where the rows are along both principal components, the stronger one first, given two vectors that span them.
fn components(products: &[f64], first: &[f64], second: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (along_first, along_second) = (times(products, first), times(products, second));
    // The symmetric matrix [[a, b], [b, c]] of what the products do within the two.
    let a = dot(first, &along_first);
    let b = dot(first, &along_second);
    let c = dot(second, &along_second);
    let half = (a - c) / 2.0;
    let root = (half * half + b * b).sqrt();
    let middle = f64::midpoint(a, c);
    let (stronger, weaker) = (middle + root, middle - root);
    // Its eigenvector of the stronger one, from the row that is not zero.
    let (p, q) = if half >= 0.0 {
        (half + root, b)
    } else {
        (b, root - half)
    };
    let norm = (p * p + q * q).sqrt();
    let (p, q) = if norm > 0.0 {
        (p / norm, q / norm)
    } else {
        (1.0, 0.0)
    };
    let mix = |p: f64, q: f64, strength: f64| {
        let scale = strength.max(0.0).sqrt();
        let mixed = first.iter().zip(second);
        upright(mixed.map(|(a, b)| (p * a + q * b) * scale).collect())
    };
    (mix(p, q, stronger), mix(-q, p, weaker))
}

/// Turned so that the largest is positive: either sign would do, and one must be taken.
fn upright(mut values: Vec<f64>) -> Vec<f64> {
    let mut largest = 0.0_f64;
    for &value in &values {
        if value.abs() > largest.abs() {
            largest = value;
        }
    }
    if largest < 0.0 {
        values.iter_mut().for_each(|value| *value = -*value);
    }
    values
}

fn times(products: &[f64], vector: &[f64]) -> Vec<f64> {
    let rows = products.chunks_exact(vector.len().max(1));
    rows.map(|row| dot(row, vector)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of length 1, or zero if it is not longer than `noise`.
fn normalise(vector: &mut [f64], noise: f64) {
    let norm = dot(vector, vector).sqrt();
    let scale = if norm > noise { 1.0 / norm } else { 0.0 };
    vector.iter_mut().for_each(|x| *x *= scale);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn projected(rows: &[Vec<f32>]) -> Vec<[f64; 2]> {
        project(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
        (a[0] - b[0]).hypot(a[1] - b[1])
    }

    #[test]
    fn nothing_and_one_have_a_place() {
        assert_eq!(projected(&[]), Vec::<[f64; 2]>::new());
        assert_eq!(projected(&[vec![3.0, 4.0]]), [[0.0, 0.0]]);
        assert_eq!(
            projected(&[vec![1.0, 1.0], vec![2.0, 2.0]]),
            [[0.0, 0.0]; 2]
        );
    }

    #[test]
    fn two_are_on_a_line_as_far_apart_as_they_are() {
        let places = projected(&[vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0]]);
        assert!((distance(places[0], places[1]) - 2_f64.sqrt()).abs() < 1e-9);
        assert!(
            places.iter().all(|place| place[1].abs() < 1e-6),
            "{places:?}"
        );
    }

    #[test]
    fn what_is_flat_keeps_its_distances() {
        // All have the same third component and the same norm: their tips are in one plane.
        let rows: Vec<Vec<f32>> = [(3.0, 0.0), (0.0, 3.0), (-3.0, 0.0), (1.8, -2.4)]
            .map(|(x, y)| vec![x, y, 4.0])
            .into();
        let places = projected(&rows);
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                let expected = f64::from(a[0] - b[0]).hypot(f64::from(a[1] - b[1])) / 5.0;
                let found = distance(places[i], places[j]);
                assert!((found - expected).abs() < 1e-6, "{i} {j}: {found}");
            }
        }
    }

    proptest! {
        #[test]
        fn like_directions_are_nearer_than_unlike_ones(
            noise in prop::collection::vec(-0.05_f32..0.05, 48)
        ) {
            let rows: Vec<Vec<f32>> = noise
                .chunks(8)
                .enumerate()
                .map(|(at, noise)| {
                    let mut row = noise.to_vec();
                    row[at / 2] += 1.0;
                    row
                })
                .collect();
            let places = projected(&rows);
            for pair in [0, 2, 4] {
                let within = distance(places[pair], places[pair + 1]);
                let across = distance(places[pair], places[(pair + 2) % 6]);
                prop_assert!(within < across, "{places:?}");
            }
        }

        #[test]
        fn places_are_finite_and_the_same_again(
            rows in prop::collection::vec(prop::collection::vec(-1e30_f32..1e30, 5), 0..12)
        ) {
            let places = projected(&rows);
            prop_assert_eq!(places.len(), rows.len());
            prop_assert!(places.iter().flatten().all(|x| x.is_finite() && x.abs() <= 2.0 + 1e-6));
            prop_assert_eq!(projected(&rows), places);
        }
    }
}
