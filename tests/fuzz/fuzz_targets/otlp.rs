//! See `toka_fuzz::otlp`.

#![no_main]

toka_fuzz::target!(otlp);
