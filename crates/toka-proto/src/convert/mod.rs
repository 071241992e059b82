//! Between messages and the ledger's types: one file per message family.
//!
//! `TryFrom` checks what comes from outside and names the field that is wrong; `From` writes.

pub mod auth;
pub mod backup;
pub mod cluster;
pub mod commit;
pub mod coordination;
pub mod event;
pub mod ident;
pub mod intent;
pub mod lineage;
pub mod metadata;
pub mod read;
pub mod status;
pub mod verify;
pub mod wire;

#[cfg(test)]
mod tests;
