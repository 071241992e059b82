"""The vault itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from .. import _native
from .._names import Consistency, Name, only, wanted
from .._native import Classification, Event, EventDraft, Filter, Group, Intent, Precondition, SearchResult
from ._wait import result_of
from .claims import Claims
from .delivery import Delivery
from .follower import Follower


class Vault:
    """A vault: one in this process (`open`, `in_memory`), or a cluster (`connect`).

    For any number of threads. Closed by `close`, or by leaving `with`.
    """

    def __init__(self, native: _native.NativeVault) -> None:
        self._native = native

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        dimension: int | None = None,
        model: str | None = None,
        cache_bytes: int | None = None,
    ) -> Self:
        """Opens the vault in a directory, or makes one there; one process at a time can have it open.

        `model` names what makes the embeddings: those of another model are refused.
        """
        call = _native.open(path, dimension=dimension, model=model, cache_bytes=cache_bytes)
        return cls(result_of(call))

    @classmethod
    def in_memory(cls, *, dimension: int | None = None, model: str | None = None) -> Self:
        """A vault that is gone when it is closed."""
        return cls(result_of(_native.open(None, dimension=dimension, model=model)))

    @classmethod
    def connect(
        cls,
        endpoints: str | Sequence[str],
        *,
        timeout: float | None = None,
        token: str | None = None,
        token_file: str | PathLike[str] | None = None,
        tls_ca: str | PathLike[str] | None = None,
        tls_certificate: str | PathLike[str] | None = None,
        tls_key: str | PathLike[str] | None = None,
        tls_server_name: str | None = None,
        send_token_in_plaintext: bool = False,
    ) -> Self:
        """A client of the cluster that these endpoints (`host:port`) belong to. Connects when it is used.

        Commits go to the leader, reads to any node; what fails is tried again, elsewhere, for `timeout` seconds (15).
        """
        call = _native.connect(
            [endpoints] if isinstance(endpoints, str) else list(endpoints),
            timeout=timeout,
            token=token,
            token_file=token_file,
            tls_ca=tls_ca,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            tls_server_name=tls_server_name,
            send_token_in_plaintext=send_token_in_plaintext,
        )
        return cls(result_of(call))

    def close(self) -> None:
        """Closes it: what was accepted is finished. Followers that are open, and claims, keep the directory."""
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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._native!r}>"

    @property
    def is_embedded(self) -> bool:
        """Whether it is one in this process."""
        return self._native.is_embedded

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._native.is_closed

    @property
    def leader(self) -> tuple[int, str] | None:
        """Node id and endpoint of the leader, as far as replies have named it; `None` of a vault in this process."""
        return self._native.leader

    @property
    def endpoints(self) -> list[str]:
        """The endpoints that were given."""
        return self._native.endpoints

    @property
    def revision(self) -> int:
        """The highest revision that is known here: a read of at least it sees what this client has committed."""
        return self._native.revision

    def head(self) -> int:
        """The sequence of the last event; 0 if there is none."""
        return result_of(self._native.head())

    def commit(
        self,
        kind: str,
        payload: Any = None,
        *,
        parents: Sequence[Event | str] | None = None,
        embedding: ArrayLike | None = None,
        model: str | None = None,
        source: str | None = None,
        content_type: str | None = None,
        attributes: dict[str, str] | None = None,
        salt: bytes | None = None,
        preconditions: Sequence[Precondition] = (),
    ) -> Event:
        """Stores an event, and returns it as it is stored once that is durable, on a majority of a cluster.

        `payload`: bytes as they are, anything else as MessagePack, `None` for none. The same kind, payload, parents and
        `salt` again are the same event: it is returned with `deduplicated`. `embedding`, an array of float32, is read
        where it lies; `model` names what has made it. With `preconditions` it is stored only if they hold
        (`PreconditionError`).
        """
        draft = EventDraft(
            kind,
            payload,
            parents=parents,
            embedding=embedding,
            model=model,
            source=source,
            content_type=content_type,
            attributes=attributes,
            salt=salt,
        )
        return only(self.commit_batch([draft], preconditions))

    def commit_batch(self, drafts: Sequence[EventDraft], preconditions: Sequence[Precondition] = ()) -> list[Event]:
        """Stores events together or not at all. Drafts name earlier ones of the batch as parents by their index."""
        return result_of(_native.commit(self._native, list(drafts), list(preconditions)))

    def get(
        self,
        name: Name,
        *,
        payload: bool = True,
        embedding: bool = False,
        consistency: Consistency | None = None,
    ) -> Event:
        """The event of that id, digest or sequence. Raises `NotFoundError`.

        `consistency`: `"read_your_writes"` by default; `"local"`, what the node has; `"linearizable"`, everything that
        was acknowledged to anybody; or a revision. A vault in this process always shows everything.
        """
        call = _native.get(self._native, [name], payload=payload, embedding=embedding, consistency=consistency)
        return wanted(name, result_of(call))

    def find(
        self,
        names: Sequence[Name],
        *,
        payload: bool = True,
        embedding: bool = False,
        consistency: Consistency | None = None,
    ) -> list[Event | None]:
        """The events of these names, in their order; `None` for each that there is not."""
        call = _native.get(self._native, list(names), payload=payload, embedding=embedding, consistency=consistency)
        return result_of(call)

    def events(
        self,
        kinds: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        after: int = 0,
        until: int | None = None,
        newest_first: bool = False,
        page_size: int = 256,
        payload: bool = True,
        embedding: bool = False,
        consistency: Consistency | None = None,
    ) -> Iterator[Event]:
        """The events that there are, from `after` (exclusive) to `until` (inclusive), read page by page.

        `kinds`: those whose kind starts with any of these; `filter` says more.
        """
        pages = _native.pages(
            self._native,
            filter or Filter(kinds),
            after=after,
            until=until,
            newest_first=newest_first,
            page_size=page_size,
            payload=payload,
            embedding=embedding,
            consistency=consistency,
        )
        while (page := result_of(pages.next())) is not None:
            for event in page:
                yield event

    def follow(
        self,
        kinds: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        start: str | int | None = None,
        at: int | None = None,
        cursor: str | None = None,
        payload: bool = True,
        embedding: bool = False,
        history_id: str | None = None,
    ) -> Follower:
        """Follows events, in order, each once, for ever. Where a node of a cluster dies, another one goes on.

        From now on, or: `start="beginning"`, `start` a sequence after which, `at` a time in milliseconds since the Unix
        epoch, `cursor` the place of that cursor. Who stores a position stores `Follower.history_id` with it, and
        gives it here again: a vault that was restored since is refused then (`HistoryChangedError`).
        """
        call = _native.follow(
            self._native,
            filter or Filter(kinds),
            start=start,
            at=at,
            cursor=cursor,
            payload=payload,
            embedding=embedding,
            history_id=history_id,
        )
        return Follower(result_of(call))

    def ancestors(
        self,
        event: Name,
        *,
        depth_max: int | None = None,
        limit: int = 1_000,
        kinds: Sequence[str] | None = None,
        consistency: Consistency | None = None,
    ) -> list[tuple[Event, int]]:
        """The event, and what it depends on, without payloads, each with its depth: breadth first."""
        call = _native.walk(self._native, event, depth_max=depth_max, limit=limit, kinds=kinds, consistency=consistency)
        return result_of(call)

    def descendants(
        self,
        event: Name,
        *,
        depth_max: int | None = None,
        limit: int = 1_000,
        kinds: Sequence[str] | None = None,
        consistency: Consistency | None = None,
    ) -> list[tuple[Event, int]]:
        """The event, and what depends on it, without payloads, each with its depth: breadth first."""
        call = _native.walk(
            self._native,
            event,
            descendants=True,
            depth_max=depth_max,
            limit=limit,
            kinds=kinds,
            consistency=consistency,
        )
        return result_of(call)

    def cursor(self, name: str) -> int | None:
        """Where a cursor is; `None` if there is none of that name."""
        return result_of(_native.cursor(self._native, name))

    def cursors(self) -> list[tuple[str, int]]:
        """All cursors and where they are, by name."""
        return result_of(_native.cursors(self._native))

    def save_cursor(self, name: str, sequence: int, *, from_sequence: int | None = None) -> None:
        """Puts a cursor at a sequence; with `from_sequence` only if it is there, where 0 stands for none.

        `Precondition.cursor_move` moves one together with a commit.
        """
        result_of(_native.save_cursor(self._native, name, sequence, from_sequence=from_sequence))

    def delete_cursor(self, name: str, *, from_sequence: int | None = None) -> None:
        """Deletes a cursor; with `from_sequence` only if it is there."""
        result_of(_native.delete_cursor(self._native, name, from_sequence=from_sequence))

    def create_group(
        self,
        name: str,
        kinds: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        after: int | None = 0,
        ack_timeout_ms: int | None = None,
        unacknowledged_max: int | None = None,
        deliveries_max: int | None = None,
    ) -> Group:
        """Makes a consumer group, whose events go to one consumer at a time each.

        Of events after the sequence `after`; `None`: of those that are committed from now on. If there is one of that
        name with the same settings, that one is returned.
        """
        call = _native.create_group(
            self._native,
            name,
            filter or Filter(kinds),
            after=after,
            ack_timeout_ms=ack_timeout_ms,
            unacknowledged_max=unacknowledged_max,
            deliveries_max=deliveries_max,
        )
        return result_of(call)

    def groups(self) -> list[Group]:
        """All consumer groups, by name."""
        return result_of(_native.groups(self._native))

    def delete_group(self, name: str) -> None:
        """Deletes a consumer group and all that it has outstanding or parked."""
        result_of(_native.delete_group(self._native, name))

    def replay_parked(self, group: str) -> int:
        """Has parked events of a group delivered again, up to 1,000 of them. Returns how many."""
        return result_of(_native.move_parked(self._native, group, True))

    def discard_parked(self, group: str) -> int:
        """Has done with parked events of a group, up to 1,000 of them. Returns how many."""
        return result_of(_native.move_parked(self._native, group, False))

    def pull(self, group: str, consumer: str, *, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """Leases up to `limit` events of a group to a consumer; empty if there were none within `wait` seconds.

        What is not settled in the group's time is delivered again, to whoever asks.
        """
        call = _native.pull(self._native, group, consumer, limit=limit, wait=wait)
        return [Delivery(native) for native in result_of(call)]

    def claims(self, kind: str, holder: str, *, lease: float = 30.0) -> Claims:
        """Makes claims by events of `kind`, for a holder of that name; each is held for `lease` seconds."""
        return Claims(_native.claims(self._native, kind, holder, lease))

    def intents(
        self,
        *,
        examples: int = 0,
        skip_tentative: bool = False,
        centres: bool = False,
        limit: int = 1_000,
        payload: bool = True,
        consistency: Consistency | None = None,
    ) -> list[Intent]:
        """The intents, the largest first, each with up to `examples` (at most 8) of its events, and with its centre if that
        is wanted."""
        call = _native.intents(
            self._native,
            examples=examples,
            skip_tentative=skip_tentative,
            centres=centres,
            limit=limit,
            payload=payload,
            consistency=consistency,
        )
        return result_of(call)

    def intent(
        self,
        intent: int,
        *,
        examples: int = 0,
        payload: bool = True,
        consistency: Consistency | None = None,
    ) -> Intent:
        """One intent; of a retired one its successor. Raises `NotFoundError`."""
        call = _native.intent(self._native, intent, examples=examples, payload=payload, consistency=consistency)
        return result_of(call)

    def label_intent(self, intent: int, label: str | None) -> int:
        """Gives an intent a label, or takes it off. Returns the intent that has it: of a retired one its successor."""
        return result_of(_native.label_intent(self._native, intent, label))

    def classify(
        self, embedding: ArrayLike, *, limit: int = 8, consistency: Consistency | None = None
    ) -> Classification:
        """Where an event with this embedding would go if it were committed now."""
        return result_of(_native.classify(self._native, embedding, limit=limit, consistency=consistency))

    def search(
        self,
        embedding: ArrayLike,
        *,
        limit: int = 10,
        kinds: Sequence[str] | None = None,
        filter: Filter | None = None,
        probes: int | None = None,
        exact: bool = False,
        payload: bool = True,
        with_embedding: bool = False,
        consistency: Consistency | None = None,
    ) -> SearchResult:
        """The events nearest to a vector, by cosine similarity.

        From the `probes` (8) intents that are nearest to it; with `exact` from all events.
        """
        call = _native.search(
            self._native,
            embedding,
            limit=limit,
            filter=filter or Filter(kinds),
            probes=probes,
            exact=exact,
            payload=payload,
            with_embedding=with_embedding,
            consistency=consistency,
        )
        return result_of(call)
