//! An order within each layer in which few edges cross.

use super::Slot;

/// Times that all layers are gone over, down and up.
const SWEEPS: usize = 8;

/// Sorts each row by where its neighbours are, over and over, and keeps what had the fewest crossings.
pub(super) fn sort(rows: &mut [Vec<usize>], slots: &[Slot]) {
    let mut at = vec![0; slots.len()];
    for row in rows.iter() {
        number(row, &mut at);
    }
    let mut best = rows.to_vec();
    let mut fewest = crossings(rows, slots, &at);
    for _ in 0..SWEEPS {
        if fewest == 0 {
            break;
        }
        for row in rows.iter_mut() {
            settle(row, &mut at, |slot| &slots[slot].above);
        }
        for row in rows.iter_mut().rev() {
            settle(row, &mut at, |slot| &slots[slot].below);
        }
        let left = crossings(rows, slots, &at);
        if left < fewest {
            fewest = left;
            best = rows.to_vec();
        }
    }
    rows.clone_from_slice(&best);
}

/// Remembers who stands where.
fn number(row: &[usize], at: &mut [usize]) {
    for (place, slot) in row.iter().enumerate() {
        at[*slot] = place;
    }
}

/// Sorts a row by the mean place of each slot's neighbours; who has none stays where it is.
fn settle<'a>(row: &mut [usize], at: &mut [usize], neighbours: impl Fn(usize) -> &'a [usize]) {
    #[allow(clippy::cast_precision_loss, reason = "at most SLOTS_MAX")]
    let mean = |slot: usize| {
        let near = neighbours(slot);
        match near.len() {
            0 => at[slot] as f64,
            count => near.iter().map(|near| at[*near]).sum::<usize>() as f64 / count as f64,
        }
    };
    let mut keyed: Vec<(f64, usize)> = row.iter().map(|slot| (mean(*slot), *slot)).collect();
    // Stable: equal ones keep their order.
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, slot)) in row.iter_mut().zip(keyed) {
        *place = slot;
    }
    number(row, at);
}

/// Pairs of edges that cross.
fn crossings(rows: &[Vec<usize>], slots: &[Slot], at: &[usize]) -> u64 {
    let mut crossings = 0;
    for (upper, lower) in rows.iter().zip(rows.iter().skip(1)) {
        // How many ends were at each place: a binary indexed tree (Fenwick 1994).
        let mut ends = vec![0_u64; lower.len() + 1];
        let mut seen = 0;
        for &slot in upper {
            let mut below: Vec<usize> = slots[slot].below.iter().map(|end| at[*end]).collect();
            below.sort_unstable();
            // Those that end left of it, or with it, do not cross it.
            for &end in &below {
                crossings += seen - up_to(&ends, end);
            }
            for &end in &below {
                add(&mut ends, end);
                seen += 1;
            }
        }
    }
    crossings
}

fn add(ends: &mut [u64], place: usize) {
    let mut index = place + 1;
    while index < ends.len() {
        ends[index] += 1;
        index += index & index.wrapping_neg();
    }
}

fn up_to(ends: &[u64], place: usize) -> u64 {
    let mut index = place + 1;
    let mut sum = 0;
    while index > 0 {
        sum += ends[index];
        index &= index - 1;
    }
    sum
}
