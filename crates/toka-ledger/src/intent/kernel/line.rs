//! Rows of bytes that begin where vectors load best.

/// Bytes of a [`Line`]: a cache line, and the widest vector.
pub const LINE_BYTES: usize = 64;

/// A part of a row. Rows are whole lines, filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line(pub [i8; LINE_BYTES]);

impl Line {
    /// All zero.
    pub const ZERO: Self = Self([0; LINE_BYTES]);
}

/// Lines that a row of `dimension` bytes takes.
#[must_use]
pub const fn lines_for(dimension: usize) -> usize {
    dimension.div_ceil(LINE_BYTES)
}

/// The bytes of `lines`, one after the other.
#[must_use]
pub fn flat(lines: &[Line]) -> &[i8] {
    // SAFETY: a line is exactly LINE_BYTES of i8 (its alignment equals its size, so there is no
    // padding), the slice's lines are adjacent, and the result borrows `lines`.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE_BYTES) }
}

/// The bytes of `lines`, one after the other.
pub fn flat_mut(lines: &mut [Line]) -> &mut [i8] {
    // SAFETY: as in `flat`; every value of i8 is valid in a line, and the result borrows `lines`
    // exclusively.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE_BYTES) }
}
