//! Bytes as people read them.

use std::fmt;

use toka_ledger::disk::Space;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// So many bytes, in GiB with one decimal, or in MiB or KiB if they are fewer than one of the larger unit. Rounded
/// down: what is free is never said to be more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount(pub(crate) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..MIB => write!(f, "{} KiB", self.0 / KIB),
            MIB..GIB => write!(f, "{} MiB", self.0 / MIB),
            GIB.. => {
                let tenths = self.0 % GIB * 10 / GIB;
                write!(f, "{}.{tenths} GiB", self.0 / GIB)
            }
        }
    }
}

/// What is free of a disk. Some file systems of networks do not tell how large they are.
pub(crate) fn free(space: Space) -> String {
    let Space {
        free_bytes,
        total_bytes,
    } = space;
    if total_bytes == 0 {
        return Amount(free_bytes).to_string();
    }
    let permille = u128::from(free_bytes) * 1_000 / u128::from(total_bytes);
    format!(
        "{} of {} ({}.{} %)",
        Amount(free_bytes),
        Amount(total_bytes),
        permille / 10,
        permille % 10
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_of_which_there_is_one() {
        for (bytes, shown) in [
            (0, "0 KiB"),
            (MIB - 1, "1023 KiB"),
            (60 << 20, "60 MiB"),
            (GIB, "1.0 GiB"),
            (GIB + GIB / 2, "1.5 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(Amount(bytes).to_string(), shown);
        }
    }

    #[test]
    fn what_is_free_has_its_share_where_the_whole_is_known() {
        let of = |free_bytes, total_bytes| {
            free(Space {
                free_bytes,
                total_bytes,
            })
        };
        assert_eq!(of(60 << 20, 16 << 30), "60 MiB of 16.0 GiB (0.3 %)");
        assert_eq!(of(60 << 20, 0), "60 MiB");
    }
}
