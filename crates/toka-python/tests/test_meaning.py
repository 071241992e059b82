"""Embeddings, intents and search."""

from __future__ import annotations

import numpy as np
import pytest
from toka_vault import Embedder, Vault, errors

TOPICS = {
    "weather": ["rain today", "rain and wind today", "rain tomorrow and wind", "wind and rain tonight"],
    "music": ["play jazz loud", "play some jazz", "jazz, play it loud", "play jazz and more jazz"],
}


def test_hashed_embedder_is_built_in_and_gives_rows_of_one_model() -> None:
    embedder = Embedder.open()
    assert (embedder.model, embedder.dimension) == ("hashed-v1/384", 384)
    rows = embedder.embed_texts(["rain today", "play jazz", "rain today"])
    assert rows.shape == (3, 384) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[0], embedder.embed_text("rain today"))
    events = [("auth.login", {"user": "alice"}), ("auth.login", None)]
    vectors = embedder.embed_events(events)
    np.testing.assert_array_equal(vectors[0], embedder.embed_event(*events[0]))
    assert embedder.embed_texts([]).shape == (0, 384)
    assert Embedder.open("hashed:64").embed_text("x").shape == (64,)


def test_hits_and_intents_say_what_they_are() -> None:
    embedder = Embedder.open()
    with Vault.in_memory(model=embedder.model) as vault:
        vault.commit("utterance", "rain today", embedding=embedder.embed_text("rain today"))
        found = vault.search(embedder.embed_text("rain today"), limit=1)
        assert repr(found.hits[0]) == '<Hit 1 "utterance" 1.000>'
        assert repr(vault.intents()[0]) == "<Intent 1 events=1>"


def test_embedder_that_there_is_not_is_an_error() -> None:
    with pytest.raises(errors.EmbedderError):
        Embedder.open("word2vec")


def test_events_are_found_by_meaning_and_grouped() -> None:
    embedder = Embedder.open()
    with Vault.in_memory(model=embedder.model) as vault:
        for topic, texts in TOPICS.items():
            for text in texts:
                vault.commit(f"say.{topic}", text, embedding=embedder.embed_text(text))
        query = embedder.embed_text("will there be rain")
        for exact in [False, True]:
            found = vault.search(query, limit=4, exact=exact)
            assert [hit.event.payload in TOPICS["weather"] for hit in found.hits] == [True] * 4
            similarities = [hit.similarity for hit in found.hits]
            assert similarities == sorted(similarities, reverse=True)
        assert found.is_exact and found.compared == 8
        assert {hit.event.kind for hit in vault.search(query, kinds=["say.music"]).hits} == {"say.music"}
        intents = vault.intents(examples=2)
        assert sum(intent.events for intent in intents) == 8
        assert intents[0].examples and intents[0].examples[0].event.payload is not None
        assert all(intent.centre is None for intent in intents)
        assert vault.label_intent(intents[0].id, "talk") == intents[0].id
        assert vault.intent(intents[0].id).label == "talk"
        nearest = vault.classify(query).nearest
        assert nearest and {intent for intent, _ in nearest} <= {intent.id for intent in intents}
        with pytest.raises(errors.NotFoundError) as raised:
            vault.intent(1 << 40)
        assert raised.value.code == "unknown_intent"


def test_centre_of_an_intent_is_the_mean_direction_of_its_events() -> None:
    embedder = Embedder.open()
    with Vault.in_memory(model=embedder.model) as vault:
        texts = TOPICS["weather"] + TOPICS["music"]
        rows = dict(zip(texts, embedder.embed_texts(texts), strict=True))
        for text, row in rows.items():
            vault.commit("say", text, embedding=row)
        intents = vault.intents(examples=8, centres=True)
        assert sum(len(intent.examples) for intent in intents) == len(texts)
        for intent in intents:
            mean = np.mean([rows[hit.event.payload] for hit in intent.examples], axis=0)
            assert intent.centre is not None and intent.centre.dtype == np.float32
            np.testing.assert_allclose(intent.centre, mean / np.linalg.norm(mean), atol=1e-2)


def test_vectors_of_another_model_are_refused() -> None:
    with Vault.in_memory(model="hashed-v1/384") as vault, pytest.raises(errors.InvalidError) as raised:
        vault.commit("k", embedding=np.ones(384, np.float32), model="minilm/384")
    assert raised.value.code == "model"
