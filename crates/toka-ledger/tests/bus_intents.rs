//! Intents of an embedded vault.

use toka_ledger::VaultBus;
use toka_ledger::intent::IntentId;

#[tokio::test]
async fn centre_of_an_intent_is_the_mean_of_its_embeddings() {
    let vault = VaultBus::builder().open_in_memory().expect("opens");
    for (payload, components) in [("left", [1.0, 0.2, 0.0]), ("right", [1.0, -0.2, 0.0])] {
        let event = vault.event("a").payload_bytes(payload);
        let event = event.embedding(&components);
        event.commit().await.expect("committed");
    }
    let intents = vault.intents();
    assert_eq!(intents.len(), 1, "{intents:?}");
    let reader = vault.reader();
    let centre = reader.intent_centre(intents[0].intent).expect("it has one");
    for (found, expected) in centre.to_f32().into_iter().zip([1.0, 0.0, 0.0]) {
        let missed: f32 = found - expected;
        assert!(missed.abs() < 1e-3, "{centre:?}");
    }
    assert_eq!(reader.intent_centre(IntentId(99)), None);
}
