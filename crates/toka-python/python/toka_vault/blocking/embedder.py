"""Vectors of events and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._wait import result_of


class Embedder:
    """Makes vectors of events and of texts; those of two models mean nothing to each other.

    `spec`: `"hashed"` (the default: built in, needs nothing), `"hashed:DIM"`, `"openai:URL#MODEL"` (the key is in
    `OPENAI_API_KEY`), or, in a build with the feature `sentence`, `"model:DIR"`.
    """

    def __init__(self, native: _native.NativeEmbedder) -> None:
        self._native = native

    @classmethod
    def open(cls, spec: str | None = None) -> Self:
        """The embedder that `spec` names. Raises `EmbedderError`."""
        return cls(result_of(_native.embedder(spec)))

    @property
    def model(self) -> str:
        """Names what makes the vectors: to be committed with them."""
        return self._native.model

    @property
    def dimension(self) -> int | None:
        """Components of a vector; `None` before the first reply of an endpoint."""
        return self._native.dimension

    def embed_event(self, kind: str, payload: Any = None) -> NDArray[np.float32]:
        """The vector of an event, shape `[dimension]`."""
        return result_of(self._native.embed_event(kind, payload))

    def embed_events(self, events: Sequence[tuple[str, Any]]) -> NDArray[np.float32]:
        """The vectors of events, each a kind and a payload; shape `[events, dimension]`."""
        return result_of(self._native.embed_events(list(events)))

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """The vector of a text, such as a query; shape `[dimension]`."""
        return result_of(self._native.embed_text(text))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts; shape `[texts, dimension]`."""
        return result_of(self._native.embed_texts(list(texts)))
