//! See `toka_fuzz::damage`.

#![no_main]

toka_fuzz::target!(damage);
