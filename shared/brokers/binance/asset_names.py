"""Names under which Binance holds an asset that earns or is staked."""

from collections.abc import Collection
from typing import Final

EARNING_PREFIX: Final = "LD"
"""`LDUSDT` is USDT in flexible savings. `LDO` is a coin."""
_STAKED: Final = {"BETH": "ETH"}
"""Worth one coin each. Others, such as WBETH and BNSOL, have prices of their own."""


def locked_asset(name: str, listed: Collection[str]) -> str | None:
    """The asset that `name` holds in a form that cannot be sold; None if `name` is an asset itself.

    `listed`: the assets that are traded.
    """
    if name in listed:
        return None
    if name in _STAKED:
        return _STAKED[name]
    earning = name.removeprefix(EARNING_PREFIX)
    if earning == name:
        return None
    # A second listing of the same ticker earns under a name with a digit: LDSHIB2.
    return next((asset for asset in (earning, earning.rstrip("0123456789")) if asset in listed), None)
