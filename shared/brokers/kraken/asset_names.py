"""Names under which Kraken holds an asset that is staked, bonded or earns rewards."""

import re
from collections.abc import Collection
from typing import Final

TRADABLE_SUFFIXES: Final = frozenset({"F"})
"""An asset with this suffix earns rewards and may be traded like the coin."""
LOCKED_SUFFIXES: Final = frozenset({"S", "M", "B", "P", "HOLD"})
"""Staked, opted in, bonded, parachain, held back. `T` is a tokenized share, which is a different asset."""
_OTHER_NAMES: Final = {"ETH2": "ETH"}
_STAKING_PERIOD: Final = re.compile(r"\d{2}$")
"""`DOT28.S` is DOT that is staked with 28 days to leave."""


def unstaked(asset: str, suffix: str, listed: Collection[str]) -> str | None:
    """The asset that `asset`.`suffix` is; None for a different asset. `listed`: the assets that are traded.

    `asset` is canonical. A name that is listed itself keeps its digits.
    """
    if suffix and suffix not in TRADABLE_SUFFIXES | LOCKED_SUFFIXES:
        return None
    if asset in _OTHER_NAMES:
        return _OTHER_NAMES[asset]
    plain = _STAKING_PERIOD.sub("", asset)
    return plain if suffix and asset not in listed and plain in listed else asset
