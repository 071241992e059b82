//! See `toka_fuzz::log_crashes`.

#![no_main]

toka_fuzz::target!(log_crashes);
