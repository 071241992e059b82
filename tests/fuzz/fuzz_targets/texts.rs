//! See `toka_fuzz::texts`.

#![no_main]

toka_fuzz::target!(texts);
