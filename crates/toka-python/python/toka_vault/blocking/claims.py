"""Claims: who works on a task, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from .. import _native
from .._native import Claim, Event, EventDraft
from ._wait import result_of


class Claims:
    """Makes claims for one holder: of many who want a task exactly one has it at a time."""

    def __init__(self, native: _native.NativeClaims) -> None:
        self._native = native

    @property
    def holder(self) -> str:
        """The holder's name."""
        return self._native.holder

    def head(self, task: Event | str) -> Claim | None:
        """The last link of a task's chain; `None` if nobody has claimed it."""
        return result_of(self._native.head(task))

    def claim(self, task: Event) -> Claim:
        """Claims a task that nobody has claimed before. Raises `HeldError` and `CompletedError`."""
        return result_of(self._native.claim(task))

    def take_over(self, task: Event | str) -> Claim:
        """Takes over a task whose lease is over, or that was given back. Raises as `acquire`."""
        return result_of(self._native.take_over(task))

    def acquire(self, task: Event) -> Claim:
        """Claims a task, or takes it over. Raises `HeldError` and `CompletedError`."""
        return result_of(self._native.acquire(task))

    def renew(self, claim: Claim) -> Claim:
        """Keeps a task for another lease. Raises `HeldError` if somebody else has it by now."""
        return result_of(self._native.renew(claim))

    def release(self, claim: Claim) -> None:
        """Gives a task back: whoever wants it may take it over at once."""
        result_of(self._native.release(claim))

    def complete(self, claim: Claim, results: Sequence[EventDraft] = ()) -> tuple[Claim, list[Event]]:
        """Is done with a task, and commits the results with that, or neither. Returns last link and results."""
        return result_of(self._native.complete(claim, list(results)))

    def keep(self, claim: Claim, *, renewals_max: int | None = None) -> Keeper:
        """Renews a claim in the background, three times a lease, until it is completed, given back or lost.

        After `renewals_max` (1,000) the lease runs out, so that a task whose work hangs is not kept for ever.
        """
        return Keeper(result_of(self._native.keep(claim, renewals_max=renewals_max)))


class Keeper:
    """Keeps a claim while its task is worked on. When it is gone, the lease runs out by itself.

    Leaving `with` gives the task back, unless it was completed.
    """

    def __init__(self, native: _native.NativeKeeper) -> None:
        self._native = native
        self._ended = False

    @property
    def claim(self) -> Claim | None:
        """The claim with its newest number; `None` if it is not kept any more: who works on the task stops then."""
        return self._native.claim

    def lost(self) -> None:
        """Returns once the claim is not kept any more."""
        result_of(self._native.lost())

    def complete(self, results: Sequence[EventDraft] = ()) -> tuple[Claim, list[Event]]:
        """Ends the renewals, and is done with the task: see `Claims.complete`."""
        self._ended = True
        return result_of(self._native.complete(list(results)))

    def release(self) -> None:
        """Ends the renewals, and gives the task back."""
        self._ended = True
        result_of(self._native.release())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        if self.claim is None:
            # Others may have it. Nobody works on it here any more, so that it must not be renewed should they not.
            self._native.stop()
        else:
            self.release()
