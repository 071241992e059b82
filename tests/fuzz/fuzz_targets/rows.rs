//! See `toka_fuzz::rows`.

#![no_main]

toka_fuzz::target!(rows);
