//! The oracle's own tests, which are in its source.

#![cfg(simulation)]

#[path = "../src/oracle.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the simulation uses it, and this only tests it"
)]
mod oracle;
