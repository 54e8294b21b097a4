"""Names under which OKX holds an asset that is staked and worth as much."""

from collections.abc import Collection
from typing import Final

_STAKED: Final = {"BETH": "ETH"}
"""Tokens that stand for one coin each. Others, such as OKSOL, have prices of their own."""


def staked_asset(name: str, listed: Collection[str]) -> str | None:
    """The asset that `name` stands for; None if `name` is an asset itself. `listed`: the assets that are traded."""
    return None if name in listed else _STAKED.get(name)
