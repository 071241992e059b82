//! What is refused, and what is said of it.

use super::*;

#[tokio::test]
async fn bad_input_is_refused_and_nothing_is_written() {
    let (engine, vault) = opened();
    vault
        .commit(&1, &[], "first", vector())
        .await
        .expect("committed");
    let before = rows(&engine.inner);
    let writes = engine.writes();
    let position = vault.position();

    let event = || vault.event("kind");
    let attributes = (0..17).fold(event(), |event, i| event.attribute(format!("n{i}"), "v"));
    let refused = [
        vault.event("").commit().await,
        vault.event(&"k".repeat(256)).commit().await,
        vault.event("a\tb").commit().await,
        event()
            .payload_bytes(vec![0; PAYLOAD_BYTES_MAX + 1])
            .commit()
            .await,
        event().parents_by_digest([Digest::ZERO; 65]).commit().await,
        attributes.commit().await,
        event().attribute("name", "v".repeat(257)).commit().await,
        event().salt(&[0; 33]).commit().await,
        event().embedding(&[1.0, f32::NAN, 0.0]).commit().await,
        event().embedding(&[1.0, f32::INFINITY, 0.0]).commit().await,
        event().embedding(&[0.0, 0.0, 0.0]).commit().await,
        event().quantized(&[1, 1, 1]).commit().await,
        event()
            .unless_child(&vault.get_by_sequence(1).expect("there"), "")
            .commit()
            .await,
        vault.commit(&1, &[], "", vector()).await,
    ];
    for result in refused {
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    assert_eq!(
        engine.writes(),
        writes,
        "an invalid commit reaches the engine"
    );
    assert_eq!(vault.position(), position);
    assert_eq!(rows(&engine.inner), before);
}

#[tokio::test]
async fn errors_name_field_limit_and_value() {
    let vault = vault();
    vault
        .commit(&1, &[], "first", vector())
        .await
        .expect("committed");
    let message = |result: Result<EventHeader, Error>| result.expect_err("refused").to_string();
    assert_eq!(
        message(
            vault
                .event("k")
                .payload_bytes(vec![0; 1_048_577])
                .commit()
                .await
        ),
        "payload has 1048577 bytes; at most 1048576 are allowed"
    );
    let error = vault
        .commit(&2, &[], "k", arr1(&[1.0, 0.0]))
        .await
        .expect_err("two dimensions");
    let Error::Rejected(Rejection::Invalid { event: 0, invalid }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        *invalid,
        Invalid::Dimension {
            field: "embedding",
            expected: 3,
            actual: 2
        },
    );
    assert_eq!(
        message(
            vault
                .event("k")
                .parents_by_digest([Digest([0xab; 32])])
                .commit()
                .await
        ),
        format!(
            "event 0 of the commit names a parent that is not in the vault: {}",
            "ab".repeat(32)
        )
    );
    assert_eq!(vault.position().sequence, 1);
}
