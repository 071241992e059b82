"""Three nodes, of which one dies: the leader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from conftest import PATIENCE, Cluster, eventually
from toka_vault import AsyncVault, Embedder, EventDraft, Vault, errors

#: Events before and after the leader dies.
EVENTS = 30


def kill_leader(cluster: Cluster, vault: Vault | AsyncVault) -> int:
    """SIGKILL to the leader that replies have named."""
    assert vault.leader is not None
    node, endpoint = vault.leader
    assert cluster.node_at(endpoint) == node
    cluster.kill(node)
    return node


def test_commits_and_followers_go_on_when_the_leader_dies(cluster: Cluster) -> None:
    # Nobody has told it of the other two.
    with Vault.connect(cluster.endpoints[0], timeout=PATIENCE) as vault:
        follower = vault.follow(["k"], start="beginning")
        found: list[int] = []

        def follow() -> None:
            found.extend(next(follower).payload for _ in range(2 * EVENTS))

        thread = threading.Thread(target=follow)
        thread.start()
        for number in range(EVENTS):
            vault.commit("k", number)
        eventually("the follower is half way", lambda: len(found) == EVENTS)
        kill_leader(cluster, vault)
        for number in range(EVENTS, 2 * EVENTS):
            vault.commit("k", number)
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive() and found == list(range(2 * EVENTS))
        assert follower.endpoint in cluster.endpoints and follower.history_id
        assert follower.position == 2 * EVENTS
        # Another client goes on where this one was half way.
        with Vault.connect(cluster.endpoints, timeout=PATIENCE) as later:
            resumed = later.follow(["k"], start=EVENTS, history_id=follower.history_id)
            assert [resumed.next(PATIENCE).payload for _ in range(3)] == [EVENTS, EVENTS + 1, EVENTS + 2]
        # A repeat after everything is no event of its own.
        again = vault.commit("k", 0)
        assert again.deduplicated and again.sequence == 1
        # What was committed here is seen here, whichever node is asked.
        assert vault.get(again, consistency="linearizable").payload == 0
        assert [event.payload for event in vault.events(["k"], page_size=7)] == list(range(2 * EVENTS))


def test_event_loop_goes_on_when_the_leader_dies(cluster: Cluster) -> None:
    async def scenario() -> None:
        async with await AsyncVault.connect(cluster.endpoints, timeout=PATIENCE) as vault:
            follower = await vault.follow(start="beginning")
            first = await asyncio.gather(*(vault.commit("k", number) for number in range(EVENTS)))
            kill_leader(cluster, vault)
            numbers = range(EVENTS, 2 * EVENTS)
            second = await asyncio.gather(*(vault.commit("k", number) for number in numbers))
            async with asyncio.timeout(PATIENCE):
                followed = [await follower.next() for _ in range(2 * EVENTS)]
            assert [event.sequence for event in followed] == list(range(1, 2 * EVENTS + 1))
            assert set(followed) == {*first, *second}

    asyncio.run(scenario())


def test_groups_claims_and_cursors_outlive_the_leader(cluster: Cluster) -> None:
    with Vault.connect(cluster.endpoints, timeout=PATIENCE) as vault:
        # Groups need the feature level that the cluster comes to when all of its nodes are up.
        def has_group() -> bool:
            try:
                return vault.create_group("work", ["task"], ack_timeout_ms=1_000).name == "work"
            except errors.VaultError as error:
                assert error.is_retryable or isinstance(error, errors.RefusedError), error
                return False

        eventually("the group is made", has_group)
        tasks = [vault.commit("task", number) for number in range(4)]
        mine, yours = (vault.claims("claim", name, lease=PATIENCE) for name in ["me", "you"])
        claim = mine.claim(tasks[0])
        (lost,) = vault.pull("work", "one", wait=10.0)
        vault.save_cursor("reader", 2)
        kill_leader(cluster, vault)
        with pytest.raises(errors.HeldError):
            yours.acquire(tasks[0])
        _, results = mine.complete(claim, [EventDraft("done")])
        assert vault.get(results[0]).kind == "done"
        assert vault.cursor("reader") == 2
        settled: set[int] = set()

        def settle() -> bool:
            for delivery in vault.pull("work", "two", limit=10, wait=1.0):
                if delivery.ack():
                    settled.add(delivery.event.payload)
            return settled == {0, 1, 2, 3}

        eventually("all tasks are settled, those of the consumer that was lost too", settle)
        assert not lost.ack()


def test_events_are_found_by_meaning_on_every_node(cluster: Cluster) -> None:
    embedder = Embedder.open()
    with Vault.connect(cluster.endpoints, timeout=PATIENCE) as vault:
        for text in ["rain today", "rain tomorrow", "play jazz", "play some jazz"]:
            vault.commit("say", text, embedding=embedder.embed_text(text), model=embedder.model)
        query = embedder.embed_text("rain")
        for endpoint in cluster.endpoints:
            with Vault.connect(endpoint, timeout=PATIENCE) as other:
                revision = vault.revision
                found = other.search(query, limit=2, consistency=revision)
                assert {hit.event.payload for hit in found.hits} == {"rain today", "rain tomorrow"}
                intents = other.intents(centres=True, consistency=revision)
                assert sum(intent.events for intent in intents) == 4
                assert all(intent.centre is not None and intent.centre.shape == (384,) for intent in intents)
                event = other.get(found.hits[0].event, embedding=True)
                assert event.embedding is not None and event.embedding.shape == (384,)


def test_what_goes_wrong_has_a_class_and_a_code(cluster: Cluster) -> None:
    with Vault.connect(cluster.endpoints, timeout=PATIENCE) as vault:
        event = vault.commit("k")
        refusals: list[tuple[Callable[[], object], str]] = [
            (lambda: vault.get("00000000-0000-7000-8000-000000000000"), "unknown_event"),
            (lambda: vault.commit("k", embedding=[0.0]), "invalid"),
            (lambda: vault.commit("k", 1, parents=["00" * 32]), "unknown_parent"),
            (lambda: vault.delete_cursor("none"), "unknown_cursor"),
            (lambda: vault.follow(start=5, history_id="ab" * 16), "history_changed"),
        ]
        for refused, code in refusals:
            with pytest.raises(errors.VaultError) as raised:
                refused()
            assert raised.value.code == code, repr(raised.value)
            assert not raised.value.is_retryable
        assert vault.get(event) == event
        assert list(vault.events(until=0)) == [] and list(vault.events(until=1)) == [event]
    with pytest.raises(errors.ConfigurationError) as raised_by_name:
        Vault.connect([])
    assert raised_by_name.value.code == "endpoint"
    nobody = Vault.connect("127.0.0.1:1", timeout=0.5)
    with pytest.raises(errors.UnreachableError) as unreachable:
        nobody.commit("k")
    assert unreachable.value.is_retryable and isinstance(unreachable.value, ConnectionError)
