"""Agents that share tasks: each follows them, claims one, works on it, and commits the result with the claim's end.

    python agent_loop.py 127.0.0.1:7311 127.0.0.1:7321

Any of them, and any node, may die at any time: what it has claimed is taken over when its lease is over, and no task is
done twice, since a result is committed together with the last link of its claim.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter

from toka_vault import AsyncKeeper, AsyncVault, Event, EventDraft
from toka_vault.errors import ClaimError, CompletedError, HeldError

#: How long a task is held without a renewal, seconds.
LEASE = 10.0
#: Tasks that one agent works on at a time.
AT_ONCE = 2


async def work(task: Event) -> str:
    """What an agent would ask a model for."""
    await asyncio.sleep(0.01)
    return str(task.payload["text"]).upper()


async def do(vault: AsyncVault, name: str, task: Event, busy: asyncio.Semaphore) -> None:
    """Does a task, unless somebody else has done it; while somebody has it, looks again now and then."""
    claims = vault.claims("task.claim", name, lease=LEASE)
    while True:
        async with busy:
            try:
                claim = await claims.acquire(task)
            except CompletedError:
                return
            except HeldError:
                claim = None
            if claim is not None:
                await finish(await claims.keep(claim), name, task)
                return
        await asyncio.sleep(LEASE / 2)


async def finish(keeper: AsyncKeeper, name: str, task: Event) -> None:
    """Works on a task that is claimed; if it does not come to the end, the task is given back."""
    async with keeper:
        result = {"task": task.id, "text": await work(task), "by": name}
        try:
            await keeper.complete([EventDraft("task.done", result, parents=[task], source=name)])
        except ClaimError as error:
            # Somebody has taken it over meanwhile, and does it again: this result is stored nowhere.
            print(f"{name}: task {task.sequence} was lost: {error}")


async def agent(vault: AsyncVault, name: str) -> None:
    """Follows tasks for ever, from the first one on, and works on some at a time."""
    busy = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        async for task in await vault.follow(["task.created"], start="beginning"):
            group.create_task(do(vault, name, task, busy))


async def main(endpoints: list[str], tasks: int, agents: int) -> None:
    """Makes tasks, lets agents do them, and checks that each was done once."""
    async with await AsyncVault.connect(endpoints) as vault:
        # From here on, so that this can be run again on the same vault.
        done = await vault.follow(["task.done"])
        running = [asyncio.create_task(agent(vault, f"agent-{number}")) for number in range(agents)]
        run = await vault.commit("run", salt=(await vault.head()).to_bytes(8, "big"))
        created = [
            await vault.commit("task.created", {"text": f"task {number}"}, parents=[run]) for number in range(tasks)
        ]
        results: Counter[str] = Counter()
        wanted = {task.id for task in created}
        while results.keys() < wanted:
            result = (await done.next()).payload
            if result["task"] in wanted:
                print(f"{result['by']}: {result['text']}")
                results[result["task"]] += 1
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task_event in created:
            children = await vault.descendants(task_event, kinds=["task.done"], consistency="linearizable")
            assert len(children) == 1, children
        print(f"{tasks} tasks, each done once")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoints", nargs="+", metavar="HOST:PORT")
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--agents", type=int, default=3)
    flags = parser.parse_args()
    asyncio.run(main(flags.endpoints, flags.tasks, flags.agents))
