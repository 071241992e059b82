//! Columns of slots that have an order: near their neighbours, and not on each other.

use super::Slot;

/// Times that all layers are gone over; the last time down, since lines are followed that way.
const SWEEPS: usize = 13;

/// The middle of each slot, from 0, pixels. Those in no row are at 0.
pub(super) fn spread(rows: &[Vec<usize>], slots: &[Slot], gap: f64) -> Vec<f64> {
    let mut x = vec![0.0; slots.len()];
    for row in rows {
        settle(row, slots, gap, &mut x, |_| &[]);
    }
    for sweep in 0..SWEEPS {
        if sweep % 2 == 0 {
            for row in rows {
                settle(row, slots, gap, &mut x, |slot| &slots[slot].above);
            }
        } else {
            for row in rows.iter().rev() {
                settle(row, slots, gap, &mut x, |slot| &slots[slot].below);
            }
        }
    }
    let placed = || rows.iter().flatten().copied();
    let left = placed().map(|slot| x[slot] - slots[slot].width / 2.0);
    let left = left.fold(f64::INFINITY, f64::min);
    for slot in placed() {
        x[slot] -= left;
    }
    x
}

/// Slots that stand as close as they may, and how far left the first of them would stand at the beginning of its row.
#[derive(Clone, Copy)]
struct Block {
    wanted: f64,
    slots: f64,
}

impl Block {
    fn mean(self) -> f64 {
        self.wanted / self.slots
    }
}

/// Moves the slots of a row to the middle of their neighbours as far as they let each other: so that the squares of what
/// is missing are the least in sum. Within the order that is an isotonic regression, which merges those that would pass
/// each other into blocks (pool adjacent violators; Barlow et al. 1972).
fn settle<'a>(
    row: &[usize],
    slots: &[Slot],
    gap: f64,
    x: &mut [f64],
    neighbours: impl Fn(usize) -> &'a [usize],
) {
    let mut offsets = Vec::with_capacity(row.len());
    let mut blocks: Vec<Block> = Vec::new();
    let mut offset = 0.0;
    for (at, &slot) in row.iter().enumerate() {
        if let Some(before) = at.checked_sub(1) {
            offset += gap + f64::midpoint(slots[row[before]].width, slots[slot].width);
        }
        offsets.push(offset);
        let near = neighbours(slot);
        #[allow(clippy::cast_precision_loss, reason = "at most SLOTS_MAX")]
        let wanted = match near.len() {
            0 => x[slot],
            count => near.iter().map(|near| x[*near]).sum::<f64>() / count as f64,
        };
        let mut block = Block {
            wanted: wanted - offset,
            slots: 1.0,
        };
        while let Some(before) = blocks.pop_if(|before| before.mean() > block.mean()) {
            block.wanted += before.wanted;
            block.slots += before.slots;
        }
        blocks.push(block);
    }
    let mut rest = row.iter().zip(offsets);
    for block in blocks {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of slots"
        )]
        let count = block.slots as usize;
        for (slot, offset) in rest.by_ref().take(count) {
            x[*slot] = block.mean() + offset;
        }
    }
}
