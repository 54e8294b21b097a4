"""Defines what an account of a class may do: positions, leverage, risk per trade and assets.

The class is the size of the account: small below 1,000 US dollars of equity, medium below 5,000, large from there.
"""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import HUNDRED, cut_cents, fixed_precision
from shared.domain.capital.buckets import CORE_ASSETS, GROWTH_ASSETS, LeverageBand
from shared.domain.instrument import AssetClass, Instrument

MEDIUM_FROM: Final = Decimal(1_000)
LARGE_FROM: Final = Decimal(5_000)
DEFAULT_STOCKS: Final = ("AAPL", "MSFT", "SPY")
"""Shares that every class may buy, unless the settings name others."""


class AccountClass(StrEnum):
    """The size of an account. Limits come from it, never from a bucket."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class ClassRules:
    """What a class may do. `ways` and `goal` are reported; the others are enforced."""

    most_positions: int
    leverage: LeverageBand
    risk_pct: Decimal
    """The risk per trade that counts, in percent of equity."""
    risk_band: tuple[Decimal, Decimal]
    """The band that is reported."""
    least_risk: Decimal
    """The largest amount of the class below, so that more equity never means a smaller amount."""
    assets: tuple[str, ...]
    ways: tuple[str, ...]
    goal: str


RULES: Final = {
    AccountClass.SMALL: ClassRules(
        most_positions=5,
        leverage=LeverageBand(5, 10),
        risk_pct=Decimal(3),
        risk_band=(Decimal(3), Decimal(5)),
        least_risk=ZERO,
        assets=CORE_ASSETS,
        ways=("sniper entries",),
        goal="rapid growth",
    ),
    AccountClass.MEDIUM: ClassRules(
        most_positions=10,
        leverage=LeverageBand(3, 8),
        risk_pct=Decimal(2),
        risk_band=(Decimal(2), Decimal(3)),
        least_risk=Decimal(30),
        assets=("BTC", "ETH", "BNB", "SOL"),
        ways=("pyramid", "DCA"),
        goal="consistent growth",
    ),
    AccountClass.LARGE: ClassRules(
        most_positions=15,
        leverage=LeverageBand(2, 5),
        risk_pct=Decimal("1.5"),
        risk_band=(Decimal(1), Decimal(2)),
        least_risk=Decimal(100),
        assets=(*CORE_ASSETS, *GROWTH_ASSETS),
        ways=("pairs", "hedging", "TWAP"),
        goal="capital preservation",
    ),
}


def class_of(equity: Decimal) -> AccountClass:
    """Return the class of an account. One without equity, or with less than nothing, is small."""
    if equity < MEDIUM_FROM:
        return AccountClass.SMALL
    return AccountClass.MEDIUM if equity < LARGE_FROM else AccountClass.LARGE


def rules_for(equity: Decimal) -> ClassRules:
    """Return what an account with this equity may do."""
    return RULES[class_of(equity)]


@fixed_precision
def risk_amount(equity: Decimal) -> Decimal:
    """Return the largest size of one trade in US dollars; 0 for an account without equity."""
    rules = rules_for(equity)
    return max(ZERO, rules.least_risk, equity * rules.risk_pct / HUNDRED)


@fixed_precision
def margin_for(size: Decimal, leverage: Decimal) -> Decimal:
    """Return the margin that a position of this size binds, cut to cents. `leverage` is 1 or more."""
    return cut_cents(size / max(leverage, Decimal(1)))


def is_allowed(instrument: Instrument, equity: Decimal, stocks: Collection[str] = DEFAULT_STOCKS) -> bool:
    """Whether an account with this equity may open positions in an instrument. `stocks`: the shares of the settings."""
    if instrument.asset_class is AssetClass.STOCK:
        return instrument.base in stocks
    return instrument.base in rules_for(equity).assets
