//! Vectors that resemble embeddings of short texts.
//!
//! Centred and normalised, those of tests/data/hwu64 (all-MiniLM-L6-v2 at 384 and all-mpnet-base-v2 at
//! 768 dimensions) have a standard deviation of 0.104 between two of them, and 64, 96 and 128 principal
//! components hold 65, 75 and 82 % of their variance. Here variances fall off like 1/(j + 7)^1.2 along
//! hidden axes, which gives 0.102, and 60, 68 and 73 % (harder for the sketch), and a fixed rotation
//! spreads these over all dimensions.

pub(crate) const DIMENSION: usize = 768;

/// The same numbers on every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// At least 0 and below 1.
    pub(crate) fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly normal, variance 1.
    fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.uniform() - 0.5).sum();
        sum * 3.0_f32.sqrt()
    }

    /// Unit norm; `share` of its squared norm, about, along `centre`.
    pub(crate) fn near(&mut self, centre: &[f32], share: f32) -> Vec<f32> {
        let other = self.vector();
        let pairs = centre.iter().zip(other);
        let mixed = pairs.map(|(a, b)| share.sqrt() * a + (1.0 - share).sqrt() * b);
        unit(mixed.collect())
    }

    /// Unit norm, with a falling spectrum along hidden axes.
    pub(crate) fn vector(&mut self) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..DIMENSION)
            .map(|axis| self.normal() / ((axis + 8) as f32).powf(0.6))
            .collect();
        rotate(&mut vector);
        unit(vector)
    }
}

/// Hadamard transforms of 256 dimensions each, with a shuffle and changes of sign between them.
fn rotate(vector: &mut [f32]) {
    for round in 1..=3 {
        let shuffled: Vec<f32> = (0..DIMENSION)
            .map(|i| {
                let sign = if (i * i + i * round) / 7 % 2 == 0 {
                    1.0
                } else {
                    -1.0
                };
                // 5 has no common factor with 768.
                sign * vector[(i * 5 + round) % DIMENSION]
            })
            .collect();
        vector.copy_from_slice(&shuffled);
        for part in vector.chunks_exact_mut(256) {
            let mut half = 1;
            while half < part.len() {
                for pair in part.chunks_exact_mut(2 * half) {
                    let (left, right) = pair.split_at_mut(half);
                    for (a, b) in left.iter_mut().zip(right) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                half *= 2;
            }
            for x in part {
                *x /= 16.0;
            }
        }
    }
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    for x in &mut vector {
        *x /= norm;
    }
    vector
}
