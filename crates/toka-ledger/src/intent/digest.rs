//! The digest of a space.

use super::space::Space;

/// Sets the digest apart from all others.
const DIGEST_CONTEXT: &str = "toka-ledger v1 clusters";
/// Bytes that are hashed at once. BLAKE3 hashes 1 KiB in each lane of a vector, of what it is given together: a row
/// alone would use a fifth of the lanes.
const HASHED_AT_ONCE: usize = 64 * 1024;

impl Space {
    /// Digest of everything that decides where events go: counters, sums, micro-clusters, and the table of
    /// their directions. What follows from these alone is left out.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        let mut bytes = Vec::with_capacity(2 * HASHED_AT_ONCE);
        let numbers = [
            self.embedded,
            self.next_micro.0.into(),
            self.next_intent.0,
            self.born.into(),
            self.grouped.into(),
            self.doubling,
            self.records,
        ];
        put(&mut bytes, &numbers, u64::to_le_bytes);
        put(&mut bytes, &self.sums, i64::to_le_bytes);
        put(&mut bytes, &self.mean, i32::to_le_bytes);
        for (row, micro) in self.micros.rows().iter().enumerate() {
            let numbers = [
                micro.id.0.into(),
                micro.intent.0,
                micro.weight.into(),
                micro.events,
                micro.first,
                micro.last,
            ];
            put(&mut bytes, &numbers, u64::to_le_bytes);
            put(&mut bytes, self.micros.sums(row), i32::to_le_bytes);
            if let Some(table) = &self.table {
                put(&mut bytes, table.row(row), i8::to_le_bytes);
            }
            let whole = bytes.len() - bytes.len() % HASHED_AT_ONCE;
            if whole > 0 {
                hasher.update(&bytes[..whole]);
                bytes.drain(..whole);
            }
        }
        hasher.update(&bytes);
        *hasher.finalize().as_bytes()
    }
}

/// Appends the bytes of each number.
fn put<T: Copy, const N: usize>(bytes: &mut Vec<u8>, numbers: &[T], of: impl Fn(T) -> [u8; N]) {
    let start = bytes.len();
    bytes.resize(start + N * numbers.len(), 0);
    let (places, _) = bytes[start..].as_chunks_mut::<N>();
    for (place, number) in places.iter_mut().zip(numbers) {
        *place = of(*number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::Place;
    use super::super::{IntentId, Parameters};
    use super::*;
    use crate::core::Embedding;

    #[test]
    fn digest_is_that_of_all_bytes_one_after_the_other() {
        let mut space = Space::new(Parameters::default(), 3);
        // A header and many rows: more than is hashed at once, twice.
        let rows = 2 * HASHED_AT_ONCE as u64 / 60 + 10;
        for sequence in 1..=rows {
            let components = [1.0, sequence as f32, -3.0];
            let embedding = Embedding::from_f32(&components).expect("not zero");
            let place = Place::New(Some(IntentId(sequence)));
            space.add(place, &embedding, sequence);
        }
        let mut bytes = Vec::new();
        let mut append = |part: &[u8]| bytes.extend_from_slice(part);
        append(&rows.to_le_bytes());
        append(&(rows + 1).to_le_bytes());
        append(&(rows + 1).to_le_bytes());
        append(&rows.to_le_bytes());
        append(&0_u64.to_le_bytes());
        append(&space.doubling.to_le_bytes());
        append(&0_u64.to_le_bytes());
        space.sums.iter().for_each(|sum| append(&sum.to_le_bytes()));
        append(&[0; 3 * 4]);
        for row in 0..space.micros.len() {
            let sequence = (row as u64 + 1).to_le_bytes();
            append(&sequence);
            append(&sequence);
            append(&1_u64.to_le_bytes());
            append(&1_u64.to_le_bytes());
            append(&sequence);
            append(&sequence);
            let sums = space.micros.sums(row).iter();
            sums.for_each(|sum| append(&sum.to_le_bytes()));
        }
        assert!(bytes.len() > 2 * HASHED_AT_ONCE);
        assert_eq!(space.digest(), blake3::derive_key(DIGEST_CONTEXT, &bytes));
    }
}
