"""Events in the hands of consumers."""

from __future__ import annotations

from .. import _native
from .._native import Event, Precondition
from ._wait import result_of


class Delivery:
    """An event in the hands of a consumer, until it settles it or its time is over.

    What settles it returns whether the delivery was still current: if not, it was settled already, or another consumer
    has the event.
    """

    def __init__(self, native: _native.Delivery) -> None:
        self._native = native

    @property
    def event(self) -> Event:
        """The event."""
        return self._native.event

    @property
    def group(self) -> str:
        """The group."""
        return self._native.group

    @property
    def delivery(self) -> int:
        """Which of the event's deliveries to this group, from 1."""
        return self._native.delivery

    def acknowledged(self) -> Precondition:
        """That this delivery is current, for a commit that acknowledges it: one consumer of the event commits."""
        return self._native.acknowledged()

    def ack(self) -> bool:
        """Done with it."""
        return result_of(self._native.ack())

    def reject(self, *, delay: float = 0.0, reason: str = "") -> bool:
        """It is to be delivered again, not before `delay` seconds have passed."""
        return result_of(self._native.reject(delay=delay, reason=reason))

    def extend(self) -> bool:
        """From now on as much time as there was at first."""
        return result_of(self._native.extend())

    def park(self, reason: str = "") -> bool:
        """It is to be put aside."""
        return result_of(self._native.park(reason))

    def release(self) -> bool:
        """Nothing was done to it: others get it, and this delivery does not count."""
        return result_of(self._native.release())
