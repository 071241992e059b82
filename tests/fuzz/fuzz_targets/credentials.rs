//! See `toka_fuzz::credentials`.

#![no_main]

toka_fuzz::target!(credentials);
