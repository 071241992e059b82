//! The model and the dimension that a vault is for.

use super::*;

#[tokio::test]
async fn vault_is_not_opened_for_another_model() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault.close().await;
    // Without an embedding it may become of any model.
    let builder = VaultBus::builder().model("x");
    let vault = builder.clone().open_engine(engine.clone()).expect("opened");
    vault.close().await;
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let commit = vault.commit(&1, &[], "k", vector()).await;
    commit.expect("committed");
    vault.close().await;
    let error = builder.open_engine(engine).expect_err("unnamed vectors");
    assert!(
        matches!(
            &error,
            Error::Invalid(Invalid::Model { expected: None, actual, .. }) if actual == "x"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn vectors_without_a_name_are_of_the_model_that_the_vault_was_opened_for() {
    let engine = TestEngine::new();
    // One that was made without a model is named by the first vector.
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault.close().await;
    let of = |model: &str| VaultBus::builder().model(model).open_engine(engine.clone());
    let vault = of("one").expect("opened");
    let commit = vault.commit(&1, &[], "k", vector()).await;
    commit.expect("committed");
    let other = vault.event("k").embedding(&[1.0, 0.0, 0.0]).model("two");
    let error = other.commit().await.expect_err("another model");
    assert!(
        matches!(
            &error,
            Error::Rejected(Rejection::Invalid { invalid: Invalid::Model { expected: Some(expected), actual, .. }, .. })
                if expected == "one" && actual == "two"
        ),
        "{error}"
    );
    vault.close().await;

    let error = of("two").expect_err("another model");
    assert!(
        matches!(
            &error,
            Error::Invalid(Invalid::Model { expected: Some(expected), actual, .. })
                if expected == "one" && actual == "two"
        ),
        "{error}"
    );
    assert!(of("one").is_ok());
}

#[tokio::test]
async fn dimension_can_be_set_at_creation() {
    let engine = TestEngine::new();
    let builder = VaultBus::builder().dimension(4);
    let vault = builder.clone().open_engine(engine.clone()).expect("opened");
    assert!(vault.commit(&1, &[], "k", vector()).await.is_err());
    assert!(
        vault
            .commit(&1, &[], "k", arr1(&[1.0, 0.0, 0.0, 0.0]))
            .await
            .is_ok()
    );
    vault.close().await;
    assert!(builder.open_engine(engine.clone()).is_ok());
    let error = VaultBus::builder()
        .dimension(5)
        .open_engine(engine)
        .expect_err("other dimension");
    assert!(
        matches!(
            error,
            Error::Invalid(Invalid::Dimension {
                expected: 4,
                actual: 5,
                ..
            })
        ),
        "{error}"
    );
    assert!(VaultBus::builder().dimension(0).open_in_memory().is_err());
}
