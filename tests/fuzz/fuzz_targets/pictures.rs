//! See `toka_fuzz::pictures`.

#![no_main]

toka_fuzz::target!(pictures);
