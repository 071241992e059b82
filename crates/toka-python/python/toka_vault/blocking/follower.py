"""Events as they come."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from .. import _native
from .._native import Event
from ._wait import result_of


class Follower:
    """Events as they come: an iterator without an end.

    Closed by `close`, by leaving `with`, or when it is gone.
    """

    def __init__(self, native: _native.Follower) -> None:
        self._native = native
        # One at a time: what one wait has not taken yet, the next one gets again.
        self._turn = threading.Lock()

    def next(self, timeout: float | None = None) -> Event:
        """The next event; waits for it. A wait that is given up loses nothing.

        Raises `WaitTimeoutError` if none has come within `timeout` seconds, after those who have waited before, and
        `ClosedError` once it is closed.
        """
        with self._turn:
            event = result_of(self._native.next(timeout))
            self._native.took()
            return event

    def close(self) -> None:
        """Ends it, and the waits for its next event."""
        result_of(self._native.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self.next()

    @property
    def position(self) -> int:
        """Every match up to this sequence was handed over."""
        return self._native.position

    @property
    def history_id(self) -> str | None:
        """The history in which the position has a meaning, of a cluster."""
        return self._native.history_id

    @property
    def endpoint(self) -> str | None:
        """The node that serves it, of a cluster."""
        return self._native.endpoint
