//! See `toka_fuzz::apply`.

#![no_main]

toka_fuzz::target!(apply);
