"""Vaults for programs that wait with an event loop. `toka_vault.blocking` has the same for threads."""

from .claims import AsyncClaims, AsyncKeeper
from .delivery import AsyncDelivery
from .embedder import AsyncEmbedder
from .follower import AsyncFollower
from .vault import AsyncVault

__all__ = ["AsyncClaims", "AsyncDelivery", "AsyncEmbedder", "AsyncFollower", "AsyncKeeper", "AsyncVault"]
