"""Groups and claims, in the vault in this process."""

from __future__ import annotations

import time

import pytest
from toka_vault import EventDraft, Vault, errors


def test_each_event_of_a_group_goes_to_one_consumer_until_it_is_settled() -> None:
    with Vault.in_memory() as vault:
        group = vault.create_group("work", ["task."], ack_timeout_ms=60_000, deliveries_max=2)
        assert (group.name, group.kinds, group.deliveries_max) == ("work", ["task."], 2)
        task = vault.commit("task.created", {"n": 1})
        vault.commit("other")
        (delivery,) = vault.pull("work", "one")
        assert (delivery.event, delivery.group, delivery.delivery) == (task, "work", 1)
        assert delivery.event.payload == {"n": 1}
        assert vault.pull("work", "two", limit=10) == []
        assert delivery.extend()
        assert delivery.release()
        (second,) = vault.pull("work", "two")
        assert second.reject(reason="not now")
        (third,) = vault.pull("work", "two")
        assert third.park("broken")
        assert not third.ack(), "it is settled already"
        (seen,) = vault.groups()
        assert (seen.parked, seen.unacknowledged) == (1, 0)
        assert vault.replay_parked("work") == 1
        (fourth,) = vault.pull("work", "two")
        done = vault.commit("task.done", parents=[task], preconditions=[fourth.acknowledged()])
        assert done.parents == [task.id]
        with pytest.raises(errors.PreconditionError):
            vault.commit("task.done", "again", parents=[task], preconditions=[fourth.acknowledged()])
        vault.delete_group("work")
        with pytest.raises(errors.NotFoundError) as raised:
            vault.pull("work", "one")
        assert raised.value.code == "unknown_group"


def test_group_of_now_starts_behind_what_there_is() -> None:
    with Vault.in_memory() as vault:
        vault.commit("k", 1)
        vault.create_group("late", after=None)
        second = vault.commit("k", 2)
        (delivery,) = vault.pull("late", "one", limit=10, wait=10.0)
        assert delivery.event == second


def test_of_two_who_claim_a_task_one_has_it() -> None:
    with Vault.in_memory() as vault:
        task = vault.commit("task")
        mine, yours = vault.claims("task.claim", "me"), vault.claims("task.claim", "you")
        assert mine.head(task) is None
        claim = mine.claim(task)
        assert (claim.task, claim.holder, claim.action) == (task.id, "me", "claim")
        with pytest.raises(errors.HeldError) as raised:
            yours.acquire(task)
        assert (raised.value.holder, raised.value.number) == ("me", claim.number)
        assert raised.value.is_retryable and raised.value.expires_unix_ms == claim.expires_unix_ms
        renewed = mine.renew(claim)
        assert renewed.number > claim.number
        mine.release(renewed)
        taken = yours.take_over(task)
        assert taken.action == "take_over"
        last, results = yours.complete(taken, [EventDraft("task.done", {"ok": True})])
        assert last.is_completed and [result.payload for result in results] == [{"ok": True}]
        assert results[0].parents == [last.id]
        with pytest.raises(errors.CompletedError):
            mine.acquire(task)


def test_keeper_renews_and_gives_back_what_was_not_completed() -> None:
    with Vault.in_memory() as vault:
        task = vault.commit("task")
        mine, yours = vault.claims("claim", "me", lease=3.0), vault.claims("claim", "you")
        claim = mine.claim(task)
        with mine.keep(claim) as keeper:
            deadline = time.monotonic() + 60
            while keeper.claim is not None and keeper.claim.number == claim.number:
                assert time.monotonic() < deadline, "it is not renewed"
                time.sleep(0.01)
            with pytest.raises(errors.HeldError):
                yours.acquire(task)
        taken = yours.acquire(task)
        keeper = yours.keep(taken)
        last, _ = keeper.complete()
        keeper.lost()
        assert last.is_completed and keeper.claim is None


def test_claim_that_is_renewed_too_often_is_lost() -> None:
    with Vault.in_memory() as vault:
        claims = vault.claims("claim", "me", lease=0.1)
        keeper = claims.keep(claims.claim(vault.commit("task")), renewals_max=1)
        keeper.lost()
        with pytest.raises(errors.ClaimError) as raised:
            keeper.complete()
        assert raised.value.code == "exhausted"


def test_keeper_that_was_left_after_its_claim_was_lost_does_not_begin_again() -> None:
    with Vault.in_memory() as vault:
        claims = vault.claims("claim", "me", lease=0.1)
        task = vault.commit("task")
        with claims.keep(claims.claim(task), renewals_max=1) as keeper:
            keeper.lost()
        with pytest.raises(errors.ClaimError) as raised:
            keeper.release()
        assert raised.value.code == "unclaimed"


def test_lease_that_cannot_be_is_refused() -> None:
    with Vault.in_memory() as vault:
        claims = vault.claims("claim", "me", lease=0.0)
        with pytest.raises(errors.InvalidError) as raised:
            claims.claim(vault.commit("task"))
        assert raised.value.field == "lease_ms"
