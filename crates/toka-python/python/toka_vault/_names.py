"""How events are named, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from ._native import Event
from .errors import NotFoundError

#: An event, its id, its digest, or its sequence.
Name: TypeAlias = Event | str | int
#: What a read must see.
Consistency: TypeAlias = Literal["local", "read_your_writes", "linearizable"] | int


def only(events: Sequence[Event]) -> Event:
    """The one event of a commit of one."""
    (event,) = events
    return event


def wanted(name: Name, found: Sequence[Event | None]) -> Event:
    """The event that was asked for by `name`."""
    (event,) = found
    if event is None:
        error = NotFoundError(f"there is no event {name}")
        error.code = "unknown_event"
        raise error
    return event
