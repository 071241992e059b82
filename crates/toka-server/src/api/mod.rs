//! The services that clients call.

mod backup;
mod cluster;
mod commit;
mod commit_stream;
mod coordination;
mod cursors;
mod dispatchers;
mod gate;
mod groups;
mod intents;
mod label;
mod list;
mod membership;
mod name_token;
mod page_token;
mod read;
mod shared;
mod stalled;
mod subscribe;
mod vault;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::cursors::Cursors;
pub(crate) use self::gate::{Gate, Gates};
pub(crate) use self::groups::Groups;
pub(crate) use self::intents::Intents;
pub(crate) use self::shared::{Shared, off_reactor};
pub(crate) use self::stalled::sweep;
pub(crate) use self::vault::Vault;
