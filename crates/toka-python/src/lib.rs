//! Python bindings of Toka Vault: the vault in this process and the client of a cluster, as one extension module.
//!
//! What people use is the package around it (`python/toka_vault`): `Vault` waits with the thread, `AsyncVault` with an
//! event loop. Both are made of the functions here, each of which returns a `Call` that is waited for in either
//! way; so there is one implementation of each operation, for both and for both sorts of vaults.
//!
//! Invariants: nothing waits while it holds the interpreter; Ctrl-C ends every wait of the main thread; every error is
//! one of `toka_vault.errors` with a code that never changes; a vector that comes as an array of float32 is read where it
//! lies, and one that goes to Python takes its memory along. This crate knows nothing of Raft or of servers.

mod call;
mod claims;
mod coordination;
mod draft;
mod embedder;
mod error;
mod event;
mod follow;
mod intents;
mod lineage;
mod names;
mod reads;
mod value;
mod vault;

use pyo3::prelude::*;

/// The part of `toka_vault` that is not written in Python.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    add_classes(module)?;
    add_functions(module)
}

fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<call::Call>()?;
    module.add_class::<claims::Claimant>()?;
    module.add_class::<claims::Kept>()?;
    module.add_class::<claims::Link>()?;
    module.add_class::<coordination::Delivery>()?;
    module.add_class::<coordination::GroupInfo>()?;
    module.add_class::<draft::Condition>()?;
    module.add_class::<draft::Draft>()?;
    module.add_class::<embedder::Embedder>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<follow::Follower>()?;
    module.add_class::<intents::EventHit>()?;
    module.add_class::<intents::Intent>()?;
    module.add_class::<intents::Place>()?;
    module.add_class::<intents::SearchResult>()?;
    module.add_class::<names::EventFilter>()?;
    module.add_class::<reads::Pages>()?;
    module.add_class::<vault::Vault>()
}

fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(claims::claims, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::create_group, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::cursor, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::cursors, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::delete_cursor, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::delete_group, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::groups, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::move_parked, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::pull, module)?)?;
    module.add_function(wrap_pyfunction!(coordination::save_cursor, module)?)?;
    module.add_function(wrap_pyfunction!(embedder::embedder, module)?)?;
    module.add_function(wrap_pyfunction!(follow::follow, module)?)?;
    module.add_function(wrap_pyfunction!(intents::classify, module)?)?;
    module.add_function(wrap_pyfunction!(intents::intent, module)?)?;
    module.add_function(wrap_pyfunction!(intents::intents, module)?)?;
    module.add_function(wrap_pyfunction!(intents::label_intent, module)?)?;
    module.add_function(wrap_pyfunction!(intents::search, module)?)?;
    module.add_function(wrap_pyfunction!(lineage::walk, module)?)?;
    module.add_function(wrap_pyfunction!(reads::commit, module)?)?;
    module.add_function(wrap_pyfunction!(reads::get, module)?)?;
    module.add_function(wrap_pyfunction!(reads::pages, module)?)?;
    module.add_function(wrap_pyfunction!(vault::connect, module)?)?;
    module.add_function(wrap_pyfunction!(vault::open, module)?)
}
