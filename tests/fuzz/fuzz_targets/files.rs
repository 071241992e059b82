//! See `toka_fuzz::files`.

#![no_main]

toka_fuzz::target!(files);
