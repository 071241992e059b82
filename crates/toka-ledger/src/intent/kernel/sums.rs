//! Sums of embeddings: what an event adds to them, and what follows from them.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::{Instructions, Kernel, portable};

/// The sums that an event changes when it joins a micro-cluster, shape `[dimension]` each, Q14.
#[derive(Debug)]
pub(in crate::intent) struct Sums<'a> {
    /// Of all embeddings.
    pub(in crate::intent) all: &'a mut [i64],
    /// Of the micro-cluster's intent.
    pub(in crate::intent) intent: &'a mut [i64],
    /// Of the micro-cluster.
    pub(in crate::intent) micro: &'a mut [i32],
}

/// How an event counts in the micro-cluster that it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::intent) struct Share {
    /// Events that the micro-cluster's sums stand for, this one included.
    pub(in crate::intent) weight: i32,
    /// A full micro-cluster first loses one part in 2 to the power of this of its sums.
    pub(in crate::intent) decay_shift: Option<u32>,
}

impl Kernel {
    /// Adds an event, shape `[dimension]`, little-endian, to `sums`. What the micro-cluster gains, the intent gains
    /// too. Writes the micro-cluster's centre relative to `mean`, times its weight: `S - n*mu`.
    pub(in crate::intent) fn join(
        self,
        event: &[[u8; 2]],
        share: Share,
        sums: Sums<'_>,
        mean: &[i32],
        centre: &mut [i32],
    ) {
        let Sums { all, intent, micro } = sums;
        let shapes = [
            all.len(),
            intent.len(),
            micro.len(),
            mean.len(),
            centre.len(),
        ];
        assert_eq!(shapes, [event.len(); 5], "sums keep their shape");
        match self.0 {
            Instructions::Portable => {
                portable::join(event, share, all, intent, micro, mean, centre);
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes both kernels only where the CPU has AVX2.
            Instructions::Avx2 | Instructions::Avx512Vnni => unsafe {
                avx2::join(event, share, all, intent, micro, mean, centre);
            },
        }
    }

    /// Writes `event - mean`, shape `[dimension]`; the event is little-endian.
    pub(in crate::intent) fn relative(self, event: &[[u8; 2]], mean: &[i32], out: &mut [i32]) {
        assert_eq!([mean.len(), out.len()], [event.len(); 2], "one shape");
        match self.0 {
            Instructions::Portable => portable::relative(event, mean, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes both kernels only where the CPU has AVX2.
            Instructions::Avx2 | Instructions::Avx512Vnni => unsafe {
                avx2::relative(event, mean, out);
            },
        }
    }
}
