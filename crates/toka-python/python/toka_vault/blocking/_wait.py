"""Waits of threads."""

from __future__ import annotations

from typing import TypeVar

from .._native import Call

T = TypeVar("T")


def result_of(call: Call[T]) -> T:
    """What a call comes to, waited for with this thread."""
    return call.wait()
