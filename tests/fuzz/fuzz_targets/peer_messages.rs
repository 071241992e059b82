//! See `toka_fuzz::peer_messages`.

#![no_main]

toka_fuzz::target!(peer_messages);
