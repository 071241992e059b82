//! See `toka_fuzz::wire`.

#![no_main]

toka_fuzz::target!(wire);
