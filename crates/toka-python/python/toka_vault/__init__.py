"""Toka Vault: a causal event store for AI agents.

`Vault` waits with the thread, `AsyncVault` with an event loop; each is a vault in this process, or a cluster.

    with Vault.open("./vault-data") as vault:
        login = vault.commit("auth.login", {"user": "alice"})
        vault.commit("auth.token", {"for": "alice"}, parents=[login])
"""

from . import errors
from ._native import (
    Claim,
    Classification,
    Event,
    EventDraft,
    Filter,
    Group,
    Hit,
    Intent,
    Precondition,
    SearchResult,
    __version__,
)
from .aio import AsyncClaims, AsyncDelivery, AsyncEmbedder, AsyncFollower, AsyncKeeper, AsyncVault
from .blocking import Claims, Delivery, Embedder, Follower, Keeper, Vault
from .errors import VaultError

__all__ = [
    "AsyncClaims",
    "AsyncDelivery",
    "AsyncEmbedder",
    "AsyncFollower",
    "AsyncKeeper",
    "AsyncVault",
    "Claim",
    "Claims",
    "Classification",
    "Delivery",
    "Embedder",
    "Event",
    "EventDraft",
    "Filter",
    "Follower",
    "Group",
    "Hit",
    "Intent",
    "Keeper",
    "Precondition",
    "SearchResult",
    "Vault",
    "VaultError",
    "__version__",
    "errors",
]
