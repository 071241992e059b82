//! Time and randomness of everything that does not take them from the vault's seams: the standard library, tokio,
//! openraft, tonic.
//!
//! The functions below have the names of libc's, so that the linker takes them in the place of those. On a thread
//! that has called [`enter`] they answer from the simulation; on any other one they ask the kernel. As the crate
//! mad-turmoil does, but without turmoil and its clock. Not in the product: only this program has them.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};

/// Simulated time begins here, seconds since the Unix epoch.
pub(crate) const EPOCH_SECONDS: u64 = 1_700_000_000;
/// Value of the monotonic clock then: some code looks at times before its start.
const UPTIME_SECONDS: u64 = 100_000;
const MILLIS_IN_SECOND: u64 = 1_000;
const NANOS_IN_MILLI: u64 = 1_000_000;

/// What the simulation answers with.
#[derive(Clone, Copy)]
struct Answers {
    entropy: u64,
    now_ms: u64,
}

thread_local! {
    // Without a destructor, so that it can be used at any time in a thread's life.
    static ANSWERS: Cell<Option<Answers>> = const { Cell::new(None) };
}

/// From now on this thread is in a simulation, at its beginning.
pub(crate) fn enter(seed: u64) {
    let answers = Answers {
        entropy: seed,
        now_ms: 0,
    };
    ANSWERS.set(Some(answers));
}

/// Moves the simulation's time.
pub(crate) fn set_now(now_ms: u64) {
    if let Some(answers) = ANSWERS.get() {
        ANSWERS.set(Some(Answers { now_ms, ..answers }));
    }
}

/// The next eight bytes of the simulation's randomness; `None` outside.
fn next_entropy() -> Option<[u8; 8]> {
    let answers = ANSWERS.get()?;
    let mut random = crate::random::Random::new(answers.entropy);
    let next = random.next();
    let entropy = answers.entropy.wrapping_add(0x9e37_79b9_7f4a_7c15);
    ANSWERS.set(Some(Answers { entropy, ..answers }));
    Some(next.to_le_bytes())
}

/// Fills `len` bytes at `buffer` from the simulation; `false` outside of one.
///
/// # Safety
/// `buffer` must be valid for writes of `len` bytes.
unsafe fn fill(buffer: *mut u8, len: usize) -> bool {
    let mut done = 0;
    while done < len {
        let Some(bytes) = next_entropy() else {
            return false;
        };
        let count = bytes.len().min(len - done);
        // SAFETY: the caller's buffer has `len` bytes, and `done + count <= len`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.add(done), count) };
        done += count;
    }
    ANSWERS.get().is_some()
}

/// As getrandom(2).
///
/// # Safety
/// As of libc's: `buffer` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    // SAFETY: as the caller has promised.
    if unsafe { fill(buffer.cast(), len) } {
        return isize::try_from(len).unwrap_or(-1);
    }
    // SAFETY: the kernel's own call, with its arguments.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize }
}

/// As getentropy(3).
///
/// # Safety
/// As of libc's: `buffer` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, len: usize) -> c_int {
    // SAFETY: as the caller has promised.
    let got = unsafe { getrandom(buffer, len, 0) };
    if usize::try_from(got) == Ok(len) {
        0
    } else {
        -1
    }
}

/// Seconds and milliseconds of a simulated clock; `None` outside, and for clocks that measure work.
fn simulated(clock: libc::clockid_t) -> Option<(u64, u64)> {
    let now_ms = ANSWERS.get()?.now_ms;
    let origin = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH_SECONDS,
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => UPTIME_SECONDS,
        _ => return None,
    };
    Some((
        origin + now_ms / MILLIS_IN_SECOND,
        now_ms % MILLIS_IN_SECOND,
    ))
}

/// As clock_gettime(2).
///
/// # Safety
/// As of libc's: `time` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    if let Some((seconds, millis)) = simulated(clock) {
        let value = libc::timespec {
            tv_sec: seconds as libc::time_t,
            tv_nsec: (millis * NANOS_IN_MILLI) as c_long,
        };
        // SAFETY: as the caller has promised.
        unsafe { time.write(value) };
        return 0;
    }
    // SAFETY: the kernel's own call, with its arguments.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

/// As gettimeofday(2).
///
/// # Safety
/// As of libc's: `time` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(time: *mut libc::timeval, zone: *mut c_void) -> c_int {
    if let Some((seconds, millis)) = simulated(libc::CLOCK_REALTIME) {
        let value = libc::timeval {
            tv_sec: seconds as libc::time_t,
            tv_usec: (millis * 1_000) as libc::suseconds_t,
        };
        // SAFETY: as the caller has promised.
        unsafe { time.write(value) };
        return 0;
    }
    // SAFETY: the kernel's own call, with its arguments.
    unsafe { libc::syscall(libc::SYS_gettimeofday, time, zone) as c_int }
}
