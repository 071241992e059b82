//! See `toka_fuzz::commands`.

#![no_main]

toka_fuzz::target!(commands);
