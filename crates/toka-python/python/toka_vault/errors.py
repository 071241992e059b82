"""What goes wrong, as exceptions.

Every one is a `VaultError` with a `code` that never changes, and says whether the same call may succeed later.
"""

from __future__ import annotations


class VaultError(Exception):
    """Any failure of a vault. Codes of its own: `interrupted`, `unsupported`."""

    #: Tells failures of one class apart; never changes.
    code: str = "error"
    #: Whether the same call may succeed later. Commits can be repeated in any case: they are applied once.
    is_retryable: bool = False


class InvalidError(VaultError, ValueError):
    """Bad input; nothing was stored. Codes: `invalid`, `dimension`, `model`."""

    #: What is wrong.
    field: str = ""


class RejectedError(VaultError):
    """The vault has refused it. Codes: `group_exists`, `not_created`, `feature_level`, `rejected`."""


class PreconditionError(RejectedError):
    """Preconditions did not hold; nothing was stored. Code: `precondition`."""

    #: Each that did not hold, with what is the case.
    violations: list[str] = []


class UnknownParentError(RejectedError):
    """A parent, or an event of a precondition, is not in the vault. Codes: `unknown_parent`, `unknown_event`."""


class NotFoundError(VaultError, LookupError):
    """There is none. Codes: `unknown_event`, `unknown_intent`, `unknown_cursor`, `unknown_group`, `unknown_node`."""


class OutOfRangeError(VaultError, LookupError):
    """A position that the vault does not have. Codes: `out_of_range`, `position_ahead`."""

    #: Last sequence that the vault has, where that is known.
    last: int = 0


class ErasedError(VaultError):
    """The payload was erased. Code: `erased`."""


class PayloadError(VaultError, ValueError):
    """The payload is no MessagePack, or was not read. Codes: `payload`, `not_read`."""


class ClaimError(VaultError):
    """A claim was not made. Codes: `unclaimed`, `contended`, `exhausted`, `link`."""


class HeldError(ClaimError):
    """Somebody else has the task. Code: `held`."""

    #: Who.
    holder: str = ""
    #: From when on it may be taken over, milliseconds since the Unix epoch, of the vault's time.
    expires_unix_ms: int = 0
    #: The fencing number.
    number: int = 0


class CompletedError(ClaimError):
    """The task is done. Code: `completed`."""


class ConfigurationError(VaultError, ValueError):
    """A client that cannot be. Codes: `endpoint`, `tls`, `token`, `plaintext_token`."""


class UnauthenticatedError(VaultError):
    """The client has not shown who it is. Code: `unauthenticated`."""


class PermissionDeniedError(VaultError, PermissionError):
    """The client may not do that. Code: `permission_denied`."""


class HistoryChangedError(VaultError):
    """The vault was restored or recovered: positions of before mean nothing. Code: `history_changed`."""


class OtherClusterError(VaultError):
    """The nodes belong to another cluster. Code: `other_cluster`."""


class LimitReachedError(VaultError):
    """A limit that does not pass by itself.

    Codes: `limit_reached`, `cursors_full`, `groups_full`, `lineage_limit`, `full`.
    """


class OverloadedError(VaultError):
    """The cluster was overloaded until the deadline. Code: `overloaded`."""


class UnreachableError(VaultError, ConnectionError):
    """No node answered before the deadline. Code: `unreachable`."""


class UnavailableError(VaultError, ConnectionError):
    """Nodes answered, but there is no leader, or they are behind. Code: `unavailable`."""


class OutcomeUnknownError(VaultError):
    """It is not known whether it was done, and a repeat might undo what others have done. Code: `outcome_unknown`."""


class RefusedError(VaultError):
    """A node has refused it in another way. Code: `refused`."""


class ProtocolError(VaultError):
    """A reply that makes no sense. Code: `reply`."""


class ClosedError(VaultError):
    """The vault is closed. Code: `closed`."""


class ForkedError(VaultError, RuntimeError):
    """This process was forked from one that has used a vault, whose threads it does not have. Code: `forked`."""


class WaitTimeoutError(VaultError, TimeoutError):
    """No event has come in time; a further wait gets the next one. Code: `timeout`."""


class OpenError(VaultError):
    """The directory cannot be opened as a vault.

    Codes: `locked`, `not_a_vault`, `restore_interrupted`, `cluster_node`, `newer_format`, `feature_level`, `open`.
    """


class StorageError(VaultError, OSError):
    """Storage has failed. Codes: `file`, `engine`."""


class CorruptError(StorageError):
    """Stored data is damaged. Code: `corrupt`."""


class EmbedderError(VaultError):
    """There is no vector. Code: `embedder`."""
