//! The vault in one process: commit, cause, follow.
//!
//! `cargo run -p toka-ledger --example seed [DIRECTORY]`

use serde::{Deserialize, Serialize};
use toka_ledger::{EventPayload, Start, VaultBus};
use tokio_stream::StreamExt;

#[derive(Serialize, Deserialize)]
struct UserLogin {
    user_id: String,
    timestamp: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Session {
    user_id: String,
    pages: u32,
}

/// Basic event storage.
async fn example(vault: &VaultBus) -> anyhow::Result<()> {
    // Simple embedding (in practice, use smart-embedder crate)
    let embedding = ndarray::arr1(&[0.1, 0.5, -0.2]);

    let header = vault
        .commit(
            &UserLogin {
                user_id: "alice".to_string(),
                timestamp: 1234567890,
            },
            &[], // No parent events
            "auth.login",
            embedding,
        )
        .await?;

    let seen_before = if header.deduplicated {
        ", already stored"
    } else {
        ""
    };
    println!("Event committed: {}{seen_before}", header.id);
    let login: UserLogin = vault.payload(&header)?;
    println!("  {} at {}", login.user_id, login.timestamp);
    Ok(())
}

/// Causal dependencies.
async fn causes(vault: &VaultBus) -> anyhow::Result<()> {
    let initial_state = Session {
        user_id: "alice".to_string(),
        pages: 0,
    };
    let state_update = Session {
        user_id: "alice".to_string(),
        pages: 1,
    };
    let embedding1 = ndarray::arr1(&[0.9, 0.1, 0.0]);
    let embedding2 = ndarray::arr1(&[0.8, 0.2, 0.1]);

    // Events can reference parent events to maintain causality
    let parent_event = vault
        .commit(&initial_state, &[], "init", embedding1)
        .await?;

    let dependent_event = vault
        .commit(
            &state_update,
            &[parent_event], // This event depends on the parent
            "update",
            embedding2,
        )
        .await?;
    println!(
        "{} was caused by {}",
        dependent_event.id, dependent_event.parents[0].id
    );
    Ok(())
}

/// Event streaming.
async fn watch_events(vault: &VaultBus) -> anyhow::Result<()> {
    let mut stream = vault.subscribe();

    while let Ok(header) = stream.recv().await {
        println!("New event: {} (kind: {})", header.id, header.kind);
    }

    Ok(())
}

/// Any `Serialize` value is a payload.
fn size(payload: &impl EventPayload) -> anyhow::Result<usize> {
    Ok(payload.to_bytes()?.len())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1);
    let vault = match &directory {
        Some(directory) => VaultBus::open(directory)?,
        None => VaultBus::open(temporary.path().join("vault-data"))?,
    };

    let watched = vault.clone();
    let watcher = tokio::spawn(async move { watch_events(&watched).await });
    example(&vault).await?;
    causes(&vault).await?;
    println!("a login takes {} bytes", size(&("alice", 1234567890_u64))?);

    let kinds: Vec<_> = vault
        .subscribe_from(Start::Beginning, Default::default())
        .take(usize::try_from(vault.position().sequence)?)
        .map(|header| header.map(|header| header.kind))
        .collect::<Result<_, _>>()
        .await?;
    println!("the history: {kinds:?}");

    let report = vault.verify()?;
    anyhow::ensure!(report.is_intact(), "{:?}", report.problems);
    println!(
        "{} events, history root {}",
        report.events, report.history_root
    );
    vault.close().await;
    watcher.await??;
    Ok(())
}
