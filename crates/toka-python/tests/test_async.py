"""The vault for event loops."""

from __future__ import annotations

import asyncio
import inspect

import pytest
import toka_vault
from toka_vault import AsyncEmbedder, AsyncVault, EventDraft, errors


def test_everything_is_there_for_threads_and_for_event_loops() -> None:
    for name in ["Vault", "Follower", "Delivery", "Claims", "Keeper", "Embedder"]:
        blocking, loops = getattr(toka_vault, name), getattr(toka_vault, f"Async{name}")
        renamed = {"__iter__": "__aiter__", "__next__": "__anext__", "__enter__": "__aenter__", "__exit__": "__aexit__"}
        expected = {renamed.get(member, member) for member in vars(blocking)}
        assert expected == set(vars(loops)), name
        for member in vars(blocking):
            if inspect.isfunction(getattr(blocking, member)) and not member.startswith("__"):
                of_threads = inspect.signature(getattr(blocking, member)).parameters
                of_loops = inspect.signature(getattr(loops, member)).parameters
                assert str(of_threads) == str(of_loops), f"{name}.{member}"


def test_many_commits_are_under_way_at_once() -> None:
    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            events = await asyncio.gather(*(vault.commit("k", number) for number in range(100)))
            assert sorted(event.sequence for event in events) == list(range(1, 101))
            assert [event.payload async for event in vault.events(page_size=7)] == [
                event.payload for event in sorted(events, key=lambda event: event.sequence)
            ]
            batch = await vault.commit_batch([EventDraft("a"), EventDraft("b", parents=[0])])
            assert await vault.ancestors(batch[1]) == [(batch[1], 0), (batch[0], 1)]

    asyncio.run(scenario())


def test_wait_that_is_cancelled_loses_nothing() -> None:
    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            follower = await vault.follow()
            found: list[int] = []
            for number in range(50):
                waiting = asyncio.create_task(follower.next())
                await vault.commit("k", number)
                # Its answer may be on the way, or not.
                waiting.cancel()
                try:
                    found.append((await waiting).payload)
                except asyncio.CancelledError:
                    assert follower.position == len(found)
            async with asyncio.timeout(60):
                while len(found) < 50:
                    found.append((await follower.next()).payload)
            assert found == list(range(50))

    asyncio.run(scenario())


def test_follower_of_a_loop_is_closed_and_waits_in_time() -> None:
    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            async with await vault.follow() as follower:
                with pytest.raises(errors.WaitTimeoutError):
                    await follower.next(timeout=0.01)
                event = await vault.commit("k")
                assert await follower.next(timeout=60.0) == event
                waiting = asyncio.create_task(follower.next())
                await asyncio.sleep(0)
            with pytest.raises(errors.ClosedError):
                await asyncio.wait_for(waiting, timeout=60)

    asyncio.run(scenario())


def test_vault_serves_event_loops_of_several_threads() -> None:
    async def commit(vault: AsyncVault, thread: int) -> int:
        events = await asyncio.gather(*(vault.commit("k", [thread, number]) for number in range(20)))
        return len({event.sequence for event in events})

    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            in_threads = (asyncio.to_thread(lambda n=n: asyncio.run(commit(vault, n))) for n in range(4))  # type: ignore[misc]
            assert await asyncio.gather(*in_threads) == [20] * 4
            assert await vault.head() == 80

    asyncio.run(scenario())


def test_loop_goes_on_while_one_task_waits() -> None:
    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            follower = await vault.follow()

            async def first() -> int:
                async for event in follower:
                    return event.sequence
                raise AssertionError("it has no end")

            waiting = asyncio.create_task(first())
            await asyncio.sleep(0)
            event = await vault.commit("k")
            assert await asyncio.wait_for(waiting, timeout=60) == event.sequence

    asyncio.run(scenario())


def test_claims_and_groups_are_awaited() -> None:
    async def scenario() -> None:
        async with await AsyncVault.in_memory() as vault:
            await vault.create_group("work", ["task"])
            task = await vault.commit("task")
            (delivery,) = await vault.pull("work", "one", wait=10.0)
            assert await delivery.ack() and not await delivery.ack()
            claims = vault.claims("claim", "me")
            async with await claims.keep(await claims.claim(task)) as keeper:
                last, results = await keeper.complete([EventDraft("done")])
            assert last.is_completed and results[0].kind == "done"
            with pytest.raises(errors.CompletedError):
                await claims.acquire(task)

    asyncio.run(scenario())


def test_embedder_is_awaited() -> None:
    async def scenario() -> None:
        embedder = await AsyncEmbedder.open()
        vector = await embedder.embed_event("auth.login", {"user": "alice"})
        async with await AsyncVault.in_memory(model=embedder.model) as vault:
            event = await vault.commit("auth.login", {"user": "alice"}, embedding=vector)
            found = await vault.search(vector, limit=1)
            assert found.hits[0].event == event

    asyncio.run(scenario())


def test_call_is_waited_for_once() -> None:
    native = toka_vault._native.open(None)
    native.wait()
    with pytest.raises(RuntimeError):
        native.wait()
