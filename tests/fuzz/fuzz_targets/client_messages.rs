//! See `toka_fuzz::client_messages`.

#![no_main]

toka_fuzz::target!(client_messages);
