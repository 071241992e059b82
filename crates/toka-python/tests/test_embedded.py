"""The vault in this process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from toka_vault import EventDraft, Filter, Precondition, Vault, errors


def test_event_is_stored_with_all_that_it_came_with() -> None:
    with Vault.in_memory() as vault:
        cause = vault.commit("cause")
        event = vault.commit(
            "effect",
            {"answer": 42, "of": ["a", None, True, 1.5, b"\x00"]},
            parents=[cause],
            source="tester",
            content_type="application/msgpack",
            attributes={"session": "s1"},
            salt=b"salt",
        )
        read = vault.get(event.id)
        assert read == event and hash(read) == hash(event)
        assert read.payload == {"answer": 42, "of": ["a", None, True, 1.5, b"\x00"]}
        assert (read.sequence, read.kind, read.parents) == (2, "effect", [cause.id])
        assert (read.source, read.content_type) == ("tester", "application/msgpack")
        assert (read.attributes, read.salt) == ({"session": "s1"}, b"salt")
        assert vault.get(event.digest) == vault.get(2) == vault.get(event) == event
        assert vault.get(cause).payload is None


def test_same_event_is_stored_once_whatever_the_order_of_its_keys() -> None:
    with Vault.in_memory() as vault:
        first = vault.commit("k", {"a": 1, "b": 2})
        again = vault.commit("k", {"b": 2, "a": 1})
        assert again == first and again.deduplicated and not first.deduplicated
        assert vault.commit("k", {"b": 2, "a": 1}, salt=b"another").sequence == 2
        assert vault.head() == 2


def test_bytes_are_stored_as_they_are() -> None:
    with Vault.in_memory() as vault:
        event = vault.commit("raw", b"\xc1not msgpack")
        assert vault.get(event).payload_bytes == b"\xc1not msgpack"
        with pytest.raises(errors.PayloadError) as raised:
            _ = event.payload
        assert raised.value.code == "payload"


def test_payload_that_was_not_asked_for_is_told_from_an_empty_one() -> None:
    with Vault.in_memory() as vault:
        event = vault.get(vault.commit("k", "text"), payload=False)
        with pytest.raises(errors.PayloadError) as raised:
            _ = event.payload
        assert raised.value.code == "not_read"


@pytest.mark.parametrize("payload", [object(), {1, 2}, 1 << 70])
def test_what_is_no_messagepack_is_refused_by_name(payload: object) -> None:
    with Vault.in_memory() as vault, pytest.raises(errors.InvalidError) as raised:
        vault.commit("k", payload)
    assert raised.value.field == "payload"
    assert isinstance(raised.value, ValueError) and not raised.value.is_retryable


def test_payload_without_an_end_is_refused() -> None:
    payload: list[object] = []
    payload.append(payload)
    with Vault.in_memory() as vault, pytest.raises(errors.InvalidError):
        vault.commit("k", payload)


def test_batch_is_stored_together_with_parents_by_index() -> None:
    with Vault.in_memory() as vault:
        first, second = vault.commit_batch([EventDraft("a"), EventDraft("b", parents=[0])])
        assert second.parents == [first.id]
        with pytest.raises(errors.UnknownParentError):
            vault.commit_batch([EventDraft("c"), EventDraft("d", parents=["00" * 32])])
        assert vault.head() == 2


def test_failed_preconditions_are_all_told() -> None:
    with Vault.in_memory() as vault:
        task = vault.commit("task")
        claim = Precondition.no_child(task, "done")
        vault.commit("done", parents=[task], preconditions=[claim])
        with pytest.raises(errors.PreconditionError) as raised:
            vault.commit("done", "mine", parents=[task], preconditions=[claim, Precondition.kind_at("task", 7)])
        assert raised.value.code == "precondition" and len(raised.value.violations) == 2


def test_cursor_moves_together_with_a_commit() -> None:
    with Vault.in_memory() as vault:
        vault.commit("k")
        vault.commit("out", preconditions=[Precondition.cursor_move("reader", 0, 1)])
        assert vault.cursor("reader") == 1
        assert vault.cursors() == [("reader", 1)]
        vault.save_cursor("reader", 2, from_sequence=1)
        vault.delete_cursor("reader")
        assert vault.cursor("reader") is None


def test_events_are_listed_page_by_page_and_filtered() -> None:
    with Vault.in_memory() as vault:
        for number in range(10):
            vault.commit("even" if number % 2 == 0 else "odd", number, attributes={"mod3": str(number % 3)})
        assert [event.payload for event in vault.events(page_size=3)] == list(range(10))
        assert [event.payload for event in vault.events(["odd"], newest_first=True, page_size=2)] == [9, 7, 5, 3, 1]
        third = Filter(["even"], attributes={"mod3": "0"})
        assert [event.payload for event in vault.events(filter=third)] == [0, 6]
        assert [event.sequence for event in vault.events(after=3, until=5)] == [4, 5]
        assert list(vault.events(until=0)) == []
        assert [event and event.sequence for event in vault.find([1, 99, 2])] == [1, None, 2]


def test_lineage_is_walked_both_ways() -> None:
    with Vault.in_memory() as vault:
        root = vault.commit("root")
        middle = vault.commit("middle", parents=[root])
        leaf = vault.commit("leaf", parents=[middle])
        assert vault.ancestors(leaf) == [(leaf, 0), (middle, 1), (root, 2)]
        assert vault.descendants(root, kinds=["leaf"]) == [(leaf, 2)]
        assert vault.ancestors(leaf, depth_max=1) == [(leaf, 0), (middle, 1)]
        with pytest.raises(errors.InvalidError) as raised:
            vault.ancestors(leaf, depth_max=0)
        assert raised.value.field == "depth_max"
        below = Filter(descendants_of=root)
        assert list(vault.events(filter=below)) == [middle, leaf]


def test_follower_waits_in_one_thread_for_what_another_one_commits() -> None:
    with Vault.in_memory() as vault:
        vault.commit("before")
        follower = vault.follow(["wanted"])
        found: list[int] = []

        def follow() -> None:
            found.extend(next(follower).sequence for _ in range(2))

        thread = threading.Thread(target=follow)
        thread.start()
        vault.commit("other")
        vault.commit("wanted", 1)
        vault.commit("wanted", 2)
        thread.join(timeout=60)
        assert not thread.is_alive() and found == [3, 4] and follower.position == 4
        assert [next(vault.follow(start="beginning")).kind, next(vault.follow(start=1)).kind] == ["before", "other"]
        vault.save_cursor("here", 2)
        assert next(vault.follow(cursor="here")).sequence == 3


def test_vault_is_found_again_as_it_was_left(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "data", model="hashed-v1/384") as vault:
        event = vault.commit("kept", {"n": 1})
        with pytest.raises(errors.OpenError) as locked:
            Vault.open(tmp_path / "data")
        assert locked.value.code == "locked"
    assert vault.is_closed
    with pytest.raises(errors.ClosedError):
        vault.head()
    with Vault.open(tmp_path / "data") as again:
        assert again.get(event.id).payload == {"n": 1}
    with pytest.raises(errors.InvalidError) as raised:
        Vault.open(tmp_path / "data", model="another/384")
    assert raised.value.code == "model"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(errors.OpenError) as refused:
        Vault.open(tmp_path / "other")
    assert refused.value.code == "not_a_vault"


def test_missing_events_and_bad_names_are_errors_of_their_own() -> None:
    with Vault.in_memory() as vault:
        with pytest.raises(errors.NotFoundError) as raised:
            vault.get(1)
        assert raised.value.code == "unknown_event" and isinstance(raised.value, LookupError)
        with pytest.raises(errors.InvalidError):
            vault.get("no id")
        with pytest.raises(errors.InvalidError) as kind:
            vault.commit("")
        assert kind.value.field == "kind"
        with pytest.raises(errors.InvalidError) as consistency:
            vault.get(1, consistency="eventual")  # type: ignore[arg-type]
        assert consistency.value.field == "consistency"


def test_vectors_are_taken_in_every_form_and_given_back_of_unit_norm() -> None:
    with Vault.in_memory() as vault:
        whole = np.arange(1, 9, dtype=np.float32)
        forms: list[ArrayLike] = [whole[::2], whole[::2].copy(), whole[::2].astype(np.float64), [1.0, 3.0, 5.0, 7.0]]
        stored = [vault.commit("k", number, embedding=form) for number, form in enumerate(forms)]
        read = [vault.get(event, embedding=True).embedding for event in stored]
        expected = whole[::2] / np.linalg.norm(whole[::2])
        for vector in read:
            assert vector is not None and vector.dtype == np.float32
            np.testing.assert_allclose(vector, expected, atol=1e-4)
        assert stored[0].dimension == 4 and vault.get(stored[0]).embedding is None
        with pytest.raises(errors.InvalidError) as raised:
            vault.commit("k", "another", embedding=[1.0, 2.0])
        assert raised.value.code == "dimension"


def test_array_takes_over_the_memory_that_it_is_made_of() -> None:
    with Vault.in_memory() as vault:
        event = vault.commit("k", embedding=[3.0, 4.0])
        vector = vault.get(event, embedding=True).embedding
        assert vector is not None
        # It is not NumPy that has allocated it.
        assert vector.base is not None and vector.flags.writeable and not vector.flags.owndata


def test_wait_for_an_event_ends_in_time_and_loses_nothing() -> None:
    with Vault.in_memory() as vault, vault.follow() as follower:
        for timeout in [0.0, 0.01]:
            with pytest.raises(errors.WaitTimeoutError) as raised:
                follower.next(timeout)
            assert raised.value.code == "timeout" and raised.value.is_retryable
            assert isinstance(raised.value, TimeoutError)
        event = vault.commit("k")
        assert follower.next(timeout=60.0) == event
        assert follower.position == event.sequence
        with pytest.raises(errors.InvalidError) as invalid:
            follower.next(-1.0)
        assert invalid.value.field == "timeout"


def test_follower_that_is_closed_ends_waits_and_frees_the_directory(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "data") as vault:
        follower = vault.follow()
        ends: list[str] = []
        waits = threading.Event()

        def follow() -> None:
            waits.set()
            try:
                follower.next()
            except errors.ClosedError as error:
                ends.append(error.code)

        thread = threading.Thread(target=follow)
        thread.start()
        waits.wait()
        follower.close()
        thread.join(timeout=60)
        assert not thread.is_alive() and ends == ["closed"]
        with pytest.raises(errors.ClosedError):
            next(follower)
        follower.close()
    with Vault.open(tmp_path / "data") as again:
        assert again.head() == 0


def test_vault_that_is_forgotten_frees_the_directory(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "data")
    vault.commit("k")
    follower = vault.follow()
    del vault, follower
    with Vault.open(tmp_path / "data") as again:
        assert again.head() == 1


def test_thread_that_waits_holds_up_no_end_of_the_process() -> None:
    script = """
import threading, toka_vault
vault = toka_vault.Vault.in_memory()
follower = vault.follow(["wanted"])
threading.Thread(target=follower.next, daemon=True).start()
vault.commit("other")
print("ends", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ends\n", "")


def test_forked_process_is_told_that_it_cannot_go_on() -> None:
    script = """
import os, sys
from toka_vault import Vault, errors
vault = Vault.in_memory()
child = os.fork()
if child == 0:
    for call in [vault.head, vault.close, Vault.in_memory]:
        try:
            call()
        except errors.ForkedError as error:
            assert error.code == "forked" and isinstance(error, RuntimeError)
        else:
            os._exit(1)
    del vault, call
    os._exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
vault.commit("k")
vault.close()
sys.exit(status)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 7, ended.stderr


def test_interrupt_ends_a_wait() -> None:
    # Who started this may ignore interrupts.
    script = """
import signal, toka_vault
signal.signal(signal.SIGINT, signal.default_int_handler)
follower = toka_vault.Vault.in_memory().follow()
print("waits", flush=True)
next(follower)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in said
