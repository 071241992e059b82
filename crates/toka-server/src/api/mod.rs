//! The services that clients call.

mod backup;
mod cluster;
mod commit;
mod commit_stream;
mod coordination;
mod cursors;
mod dispatchers;
mod encoded;
mod gate;
mod groups;
mod intents;
mod label;
mod lineage;
mod list;
mod membership;
mod name_token;
mod page_token;
mod passthrough;
mod place;
mod positions;
mod read;
mod shared;
mod stalled;
mod subscribe;
mod vault;
mod verify;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::cursors::Cursors;
pub(crate) use self::gate::Gate;
pub(crate) use self::groups::Groups;
pub(crate) use self::intents::Intents;
pub(crate) use self::lineage::Lineage;
pub(crate) use self::shared::{Shared, off_reactor};
pub(crate) use self::stalled::sweep;
pub(crate) use self::vault::Vault;
