//! Opening a node's stores, with power cuts.

use toka_ledger::disk::Disk;

use super::*;
use crate::storage::MemoryStorage;

const PATH: &str = "/vaults/node";

/// Opens the stores and closes them again.
async fn open_and_close(storage: &MemoryStorage) -> Result<(), StartError> {
    let storage = Arc::new(storage.clone());
    let stores = open_stores(
        Path::new(PATH),
        1,
        storage,
        &Seams::system(),
        Blocking::Inline,
    )?;
    // Its thread holds the lock of the log until then.
    let _ = stores.log.handle().close().await;
    Ok(())
}

#[tokio::test]
async fn power_cut_at_every_operation_of_the_first_start_leaves_what_can_be_started() {
    for at in 0.. {
        let storage = MemoryStorage::new();
        storage.disk.fail_after(at);
        let is_open = open_and_close(&storage).await.is_ok();
        for keeps in [false, true] {
            let after = storage.crash(|| keeps);
            let opened = open_and_close(&after).await;
            opened.unwrap_or_else(|error| panic!("operation {at}, {keeps}: {error}"));
        }
        if is_open {
            assert!(at > 20, "{at} operations");
            return;
        }
    }
}

#[tokio::test]
async fn part_that_is_missing_after_the_first_start_is_a_contradiction() {
    for part in ["raft", "CURRENT"] {
        let storage = MemoryStorage::new();
        open_and_close(&storage).await.expect("opened");
        let storage = storage.crash(|| false);
        let lost = Path::new(PATH).join(part);
        if storage.disk.is_dir(&lost) {
            storage.disk.remove_dir_all(&lost).expect("removed");
        } else {
            storage.disk.remove(&lost).expect("removed");
        }
        let error = open_and_close(&storage).await.expect_err("it is missed");
        assert!(
            matches!(error, StartError::Contradiction { .. }),
            "{part}: {error}"
        );
    }
}
