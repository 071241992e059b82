"""Vaults for programs that wait with their threads. `toka_vault.aio` has the same for event loops."""

from .claims import Claims, Keeper
from .delivery import Delivery
from .embedder import Embedder
from .follower import Follower
from .vault import Vault

__all__ = ["Claims", "Delivery", "Embedder", "Follower", "Keeper", "Vault"]
