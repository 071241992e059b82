"""The part that is not written in Python."""

from collections.abc import Generator, Sequence
from os import PathLike
from typing import Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

T = TypeVar("T", covariant=True)

__version__: str

@final
class Call(Generic[T]):
    """Something that the vault is asked for. Nothing happens before it is waited for, once."""

    def wait(self) -> T:
        """Waits with this thread; other threads of Python go on meanwhile. Ctrl-C ends the wait."""
    def __await__(self) -> Generator[Any, None, T]: ...

@final
class Event:
    """A stored event. It never changes; equal events have equal digests."""

    @property
    def id(self) -> str:
        """Its id, a UUID that carries time and sequence."""
    @property
    def sequence(self) -> int:
        """Its place in the vault's order, from 1."""
    @property
    def unix_ms(self) -> int:
        """When it was committed, milliseconds since the Unix epoch, of the vault's time."""
    @property
    def kind(self) -> str:
        """What it is about."""
    @property
    def digest(self) -> str:
        """Its identity: BLAKE3 of payload, kind, salt and parents, 64 hexadecimal digits."""
    @property
    def parents(self) -> list[str]:
        """Ids of the events that it depends on."""
    @property
    def payload(self) -> Any:
        """The payload as a value; `None` for an empty one. Read from MessagePack each time.

        Raises `ErasedError`, and `PayloadError` where it is no MessagePack or was not asked for.
        """
    @property
    def payload_bytes(self) -> bytes:
        """The payload as it is stored."""
    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """The embedding, of unit norm; `None` if it was not asked for or the event has none."""
    @property
    def dimension(self) -> int | None:
        """Number of components of the embedding; `None` without one."""
    @property
    def source(self) -> str | None:
        """Who has committed it."""
    @property
    def content_type(self) -> str | None:
        """Media type of the payload."""
    @property
    def attributes(self) -> dict[str, str]:
        """Further pairs."""
    @property
    def salt(self) -> bytes:
        """What makes a repeat an event of its own; usually empty."""
    @property
    def micro_cluster(self) -> int | None:
        """The micro-cluster; it never changes."""
    @property
    def intent(self) -> int | None:
        """The intent as of the commit."""
    @property
    def deduplicated(self) -> bool:
        """In the answer to a commit: the event was stored before."""
    @property
    def is_erased(self) -> bool:
        """Whether its payload was erased."""
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

@final
class EventDraft:
    """An event that is not committed yet."""

    def __new__(
        cls,
        kind: str,
        payload: Any = None,
        *,
        parents: Sequence[Event | str | int] | None = None,
        embedding: ArrayLike | None = None,
        model: str | None = None,
        source: str | None = None,
        content_type: str | None = None,
        attributes: dict[str, str] | None = None,
        salt: bytes | None = None,
    ) -> EventDraft:
        """`payload`: bytes as they are, anything else as MessagePack, `None` for none.

        `parents`: events, ids, digests, or indexes of earlier events of the batch. An `embedding` that is an array of
        float32 is read where it lies.
        """

@final
class Filter:
    """Which events are wanted. Without arguments all are."""

    def __new__(
        cls,
        kinds: Sequence[str] | None = None,
        *,
        attributes: dict[str, str] | None = None,
        intents: Sequence[int] | None = None,
        descendants_of: Event | str | int | None = None,
    ) -> Filter:
        """All conditions that are given hold.

        `kinds`: the kind starts with any of these. `attributes`: all of these are among the event's; the rarest should
        be the first. `intents`: the event is of any of these. `descendants_of`: it descends from this one.
        """

@final
class Precondition:
    """What must hold for a commit; otherwise nothing of it is stored."""

    @staticmethod
    def no_child(event: Event | str, kind: str) -> Precondition:
        """No event of this kind is a child of this one yet: of many who commit one exactly one succeeds."""
    @staticmethod
    def kind_at(kind: str, sequence: int) -> Precondition:
        """The last event of this kind is at this sequence; 0: there is none."""
    @staticmethod
    def kind_prefix_at(prefix: str, sequence: int) -> Precondition:
        """The last event whose kind starts with this is at this sequence; 0: there is none."""
    @staticmethod
    def time_passed(unix_ms: int) -> Precondition:
        """The vault's time is this, or later, milliseconds since the Unix epoch."""
    @staticmethod
    def cursor_move(name: str, from_sequence: int, to_sequence: int) -> Precondition:
        """The cursor moves together with the commit. `from_sequence`: where it must be, 0 if there is none."""

@final
class Hit:
    """An event that was found, or that is an example of its intent."""

    @property
    def event(self) -> Event: ...
    @property
    def similarity(self) -> float:
        """Cosine similarity, -1 to 1."""

@final
class Intent:
    """Events that mean the same, as the vault sees it."""

    @property
    def id(self) -> int:
        """Which one; never used for another."""
    @property
    def label(self) -> str | None:
        """What people call it."""
    @property
    def events(self) -> int:
        """Events in it."""
    @property
    def micro_clusters(self) -> int:
        """Micro-clusters in it."""
    @property
    def coherence(self) -> float:
        """Mean similarity of two of its events, relative to the mean of all."""
    @property
    def first(self) -> int:
        """Sequence of its first event."""
    @property
    def last(self) -> int:
        """Sequence of its last event."""
    @property
    def is_tentative(self) -> bool:
        """It has too few events for it to be known whether it is one."""
    @property
    def examples(self) -> list[Hit]:
        """Events nearest to its centre, if they were asked for."""
    @property
    def successors(self) -> list[int]:
        """The intents that led here from a retired one; empty if the one that was asked for is in use."""
    @property
    def centre(self) -> NDArray[np.float32] | None:
        """Direction of its centre, of unit norm; `None` if it was not asked for, or is not told."""

@final
class SearchResult:
    """What a search found."""

    @property
    def hits(self) -> list[Hit]:
        """The most similar first."""
    @property
    def compared(self) -> int:
        """Events that were compared."""
    @property
    def is_exact(self) -> bool:
        """Every event that the filter admits was compared."""

@final
class Classification:
    """Where an event with some embedding would go."""

    @property
    def intent(self) -> int | None:
        """The intent that it would be of; `None`: a new one."""
    @property
    def micro_cluster(self) -> int | None:
        """The micro-cluster that it would join; `None`: a new one."""
    @property
    def similarity(self) -> float | None:
        """How similar it is to the centre of that one."""
    @property
    def nearest(self) -> list[tuple[int, float]]:
        """Intents and mean similarities to their events, the most similar first."""

@final
class Group:
    """A consumer group as it was when it was asked for."""

    @property
    def name(self) -> str: ...
    @property
    def position(self) -> int:
        """The event up to which it has delivered everything; 0: none."""
    @property
    def unacknowledged(self) -> int:
        """Events that are delivered and not settled."""
    @property
    def parked(self) -> int:
        """Events that are put aside."""
    @property
    def kinds(self) -> list[str]:
        """Kinds of its events, as prefixes; empty: every kind."""
    @property
    def ack_timeout_ms(self) -> int:
        """Time in which a consumer must settle, milliseconds."""
    @property
    def unacknowledged_max(self) -> int:
        """Events that may be delivered and not settled."""
    @property
    def deliveries_max(self) -> int:
        """Deliveries of an event after which it is parked."""

@final
class Claim:
    """A task that is claimed: the last link that is known of its chain."""

    @property
    def task(self) -> str:
        """Id of the task."""
    @property
    def holder(self) -> str:
        """Who has it."""
    @property
    def session(self) -> str:
        """Tells two holders of one name apart."""
    @property
    def action(self) -> str:
        """`"claim"`, `"renew"`, `"take_over"`, `"release"` or `"complete"`."""
    @property
    def id(self) -> str:
        """Id of the event that says so."""
    @property
    def number(self) -> int:
        """The fencing number: it only grows along the chain of a task."""
    @property
    def expires_unix_ms(self) -> int:
        """From when on others may take it over, milliseconds since the Unix epoch, of the vault's time."""
    @property
    def is_completed(self) -> bool:
        """Whether the task is done."""

@final
class Delivery:
    @property
    def event(self) -> Event: ...
    @property
    def group(self) -> str: ...
    @property
    def delivery(self) -> int: ...
    def acknowledged(self) -> Precondition: ...
    def ack(self) -> Call[bool]: ...
    def reject(self, *, delay: float = 0.0, reason: str = "") -> Call[bool]: ...
    def extend(self) -> Call[bool]: ...
    def park(self, reason: str = "") -> Call[bool]: ...
    def release(self) -> Call[bool]: ...

@final
class Follower:
    @property
    def position(self) -> int: ...
    @property
    def history_id(self) -> str | None: ...
    @property
    def endpoint(self) -> str | None: ...
    def next(self, timeout: float | None = None) -> Call[Event]: ...
    def took(self) -> None: ...
    def close(self) -> Call[object]: ...

@final
class Pages:
    def next(self) -> Call[list[Event] | None]: ...

@final
class NativeClaims:
    @property
    def holder(self) -> str: ...
    def head(self, task: Event | str) -> Call[Claim | None]: ...
    def claim(self, task: Event) -> Call[Claim]: ...
    def take_over(self, task: Event | str) -> Call[Claim]: ...
    def acquire(self, task: Event) -> Call[Claim]: ...
    def renew(self, claim: Claim) -> Call[Claim]: ...
    def release(self, claim: Claim) -> Call[object]: ...
    def complete(self, claim: Claim, results: Sequence[EventDraft]) -> Call[tuple[Claim, list[Event]]]: ...
    def keep(self, claim: Claim, *, renewals_max: int | None = None) -> Call[NativeKeeper]: ...

@final
class NativeKeeper:
    @property
    def claim(self) -> Claim | None: ...
    def lost(self) -> Call[object]: ...
    def stop(self) -> None: ...
    def complete(self, results: Sequence[EventDraft]) -> Call[tuple[Claim, list[Event]]]: ...
    def release(self) -> Call[object]: ...

@final
class NativeEmbedder:
    @property
    def model(self) -> str: ...
    @property
    def dimension(self) -> int | None: ...
    def embed_event(self, kind: str, payload: Any) -> Call[NDArray[np.float32]]: ...
    def embed_events(self, events: Sequence[tuple[str, Any]]) -> Call[NDArray[np.float32]]: ...
    def embed_text(self, text: str) -> Call[NDArray[np.float32]]: ...
    def embed_texts(self, texts: Sequence[str]) -> Call[NDArray[np.float32]]: ...

@final
class NativeVault:
    @property
    def is_embedded(self) -> bool: ...
    @property
    def is_closed(self) -> bool: ...
    @property
    def leader(self) -> tuple[int, str] | None: ...
    @property
    def endpoints(self) -> list[str]: ...
    @property
    def revision(self) -> int: ...
    def close(self) -> Call[object]: ...
    def head(self) -> Call[int]: ...

def open(
    path: str | PathLike[str] | None = None,
    *,
    dimension: int | None = None,
    model: str | None = None,
    cache_bytes: int | None = None,
) -> Call[NativeVault]: ...
def connect(
    endpoints: Sequence[str],
    *,
    timeout: float | None = None,
    token: str | None = None,
    token_file: str | PathLike[str] | None = None,
    tls_ca: str | PathLike[str] | None = None,
    tls_certificate: str | PathLike[str] | None = None,
    tls_key: str | PathLike[str] | None = None,
    tls_server_name: str | None = None,
    send_token_in_plaintext: bool = False,
) -> Call[NativeVault]: ...
def commit(
    vault: NativeVault, drafts: Sequence[EventDraft], preconditions: Sequence[Precondition]
) -> Call[list[Event]]: ...
def get(
    vault: NativeVault,
    names: Sequence[Event | str | int],
    *,
    payload: bool = True,
    embedding: bool = False,
    consistency: str | int | None = None,
) -> Call[list[Event | None]]: ...
def pages(
    vault: NativeVault,
    filter: Filter | None = None,
    *,
    after: int = 0,
    until: int | None = None,
    newest_first: bool = False,
    page_size: int = 256,
    payload: bool = True,
    embedding: bool = False,
    consistency: str | int | None = None,
) -> Pages: ...
def follow(
    vault: NativeVault,
    filter: Filter | None = None,
    *,
    start: str | int | None = None,
    at: int | None = None,
    cursor: str | None = None,
    payload: bool = True,
    embedding: bool = False,
    history_id: str | None = None,
) -> Call[Follower]: ...
def walk(
    vault: NativeVault,
    event: Event | str | int,
    *,
    descendants: bool = False,
    depth_max: int | None = None,
    limit: int = 1_000,
    kinds: Sequence[str] | None = None,
    consistency: str | int | None = None,
) -> Call[list[tuple[Event, int]]]: ...
def cursor(vault: NativeVault, name: str) -> Call[int | None]: ...
def cursors(vault: NativeVault) -> Call[list[tuple[str, int]]]: ...
def save_cursor(vault: NativeVault, name: str, sequence: int, *, from_sequence: int | None = None) -> Call[object]: ...
def delete_cursor(vault: NativeVault, name: str, *, from_sequence: int | None = None) -> Call[object]: ...
def create_group(
    vault: NativeVault,
    name: str,
    filter: Filter | None = None,
    *,
    after: int | None = 0,
    ack_timeout_ms: int | None = None,
    unacknowledged_max: int | None = None,
    deliveries_max: int | None = None,
) -> Call[Group]: ...
def groups(vault: NativeVault) -> Call[list[Group]]: ...
def delete_group(vault: NativeVault, name: str) -> Call[object]: ...
def move_parked(vault: NativeVault, name: str, replay: bool) -> Call[int]: ...
def pull(
    vault: NativeVault, group: str, consumer: str, *, limit: int = 1, wait: float = 0.0
) -> Call[list[Delivery]]: ...
def claims(vault: NativeVault, kind: str, holder: str, lease: float) -> NativeClaims: ...
def intents(
    vault: NativeVault,
    *,
    examples: int = 0,
    skip_tentative: bool = False,
    centres: bool = False,
    limit: int = 1_000,
    payload: bool = True,
    consistency: str | int | None = None,
) -> Call[list[Intent]]: ...
def intent(
    vault: NativeVault,
    intent: int,
    *,
    examples: int = 0,
    payload: bool = True,
    consistency: str | int | None = None,
) -> Call[Intent]: ...
def label_intent(vault: NativeVault, intent: int, label: str | None = None) -> Call[int]: ...
def classify(
    vault: NativeVault, embedding: ArrayLike, *, limit: int = 8, consistency: str | int | None = None
) -> Call[Classification]: ...
def search(
    vault: NativeVault,
    embedding: ArrayLike,
    *,
    limit: int = 10,
    filter: Filter | None = None,
    probes: int | None = None,
    exact: bool = False,
    payload: bool = True,
    with_embedding: bool = False,
    consistency: str | int | None = None,
) -> Call[SearchResult]: ...
def embedder(spec: str | None = None) -> Call[NativeEmbedder]: ...
