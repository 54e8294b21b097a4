"""Computes the leverage that fits a market and an account.

    optimal = 10 × 1 / max(0.5, ATR% / 2) × depth / 100 × win × regime × spread / account

It is clamped to 3–20, then to the symbol's cap, the range of the account's class and what the account can do.
"""

from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.arithmetic import (
    HUNDRED,
    checked,
    checked_positive,
    clamp,
    fixed_precision,
    half_up,
    log10,
    total,
)
from shared.domain.capital.facts import MarketFacts, usable
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.scaling import LARGE_FROM, rules_for
from shared.domain.market_data import BookLevel, OrderBook

BASE: Final = Decimal(10)
LEAST: Final = Decimal(3)
MOST: Final = Decimal(20)
WITHOUT_DATA: Final = Decimal(3)
CONFIDENCE_WITHOUT_DATA: Final = 30
CAPS: Final = {"BTC": Decimal(15), "ETH": Decimal(12), "BNB": Decimal(10)}
REGIME_FACTORS: Final = {
    MarketRegime.STRONG_TREND: Decimal("1.3"),
    MarketRegime.TRENDING: Decimal("1.1"),
    MarketRegime.RANGING: Decimal("0.8"),
    MarketRegime.VOLATILE: Decimal("0.6"),
}
DEPTH_LEVELS: Final = 5
LOST_BY_ATR: Final = ((5, 30), (3, 15))
"""Points of confidence that an ATR above a percentage costs; the first that applies counts."""
LOST_BY_DEPTH: Final = ((40, 30), (60, 15))
"""The same for a depth below a score."""
_HALF = Decimal("0.5")
_LEAST_DEPTH, _DEPTH_VALUE = Decimal(20), Decimal(10_000)
_BASIS_POINTS = Decimal(10_000)


class LeverageFactors(BaseModel):
    """Every factor of the formula, in its order."""

    model_config = ConfigDict(frozen=True)

    volatility: Decimal
    """1 / max(0.5, ATR% / 2)."""
    depth: Decimal
    """depth / 100."""
    win: Decimal
    regime: Decimal
    spread: Decimal
    account: Decimal
    """The formula divides by it."""

    @property
    @fixed_precision
    def product(self) -> Decimal:
        """The leverage before every limit."""
        return BASE * self.volatility * self.depth * self.win * self.regime * self.spread / self.account


class OptimalLeverage(BaseModel):
    """The leverage for one symbol and account."""

    model_config = ConfigDict(frozen=True)

    optimal: Decimal
    """A whole number, within the limits of symbol and class; 3 when market data are missing."""
    lowest: Decimal
    """The lower bound of the class."""
    highest: Decimal
    """The smaller one of the class's upper bound and the symbol's cap."""
    effective: Decimal
    """What the account can do of it; 1 on a spot account."""
    before_class: Decimal
    """The whole number within 3–20 and the symbol's cap, before the range of the class."""
    factors: LeverageFactors | None
    """None: market data are missing."""
    confidence: int
    """0 to 100."""


@fixed_precision
def optimal_leverage(
    asset: str,
    equity: Decimal,
    market: MarketFacts | None,
    *,
    most_of_account: Decimal = ONE,
    win_rate: Decimal | None = None,
    regime: MarketRegime | None = None,
) -> OptimalLeverage:
    """Return the leverage for an asset, with every factor.

    `equity`: 0 or more. `most_of_account`: what the account can do; 1 on spot. `win_rate`: 0 to 1; None: unknown.
    Raises InvalidAmount for a number out of its range.
    """
    checked("equity", equity, least=0)
    checked_positive("most_of_account", most_of_account)
    band = rules_for(equity).leverage
    highest = min(Decimal(band.highest), CAPS.get(asset, MOST))
    factors = None if market is None else factors_of(market, equity, win_rate, regime)
    before_class = WITHOUT_DATA if factors is None else capped(asset, factors.product)
    optimal = before_class if factors is None else clamp(before_class, Decimal(band.lowest), Decimal(band.highest))
    return OptimalLeverage(
        optimal=optimal,
        lowest=Decimal(band.lowest),
        highest=highest,
        effective=min(optimal, most_of_account),
        before_class=before_class,
        factors=factors,
        confidence=CONFIDENCE_WITHOUT_DATA if factors is None or market is None else _confidence(market, factors),
    )


def capped(asset: str, leverage: Decimal) -> Decimal:
    """Return the nearest whole number within 3–20 that does not exceed the symbol's cap."""
    return min(half_up(clamp(leverage, LEAST, MOST)), CAPS.get(asset, MOST))


@fixed_precision
def factors_of(
    market: MarketFacts, equity: Decimal, win_rate: Decimal | None, regime: MarketRegime | None
) -> LeverageFactors | None:
    """Return the factors; None when the ATR or a side of the order book is missing."""
    if market.atr_pct is None or market.book is None:
        return None
    depth, spread = depth_score(market.book), spread_bps(market.book)
    if depth is None or spread is None:
        return None
    return LeverageFactors(
        volatility=ONE / max(_HALF, market.atr_pct / 2),
        depth=depth / HUNDRED,
        win=win_factor(win_rate),
        regime=ONE if regime is None else REGIME_FACTORS[regime],
        spread=spread_factor(spread),
        account=account_factor(equity),
    )


@fixed_precision
def win_factor(win_rate: Decimal | None) -> Decimal:
    """Return the factor of a win rate (0 to 1): 1 at a half or unknown, 0.5 to 1.5."""
    if win_rate is None:
        return ONE
    rate = checked("win_rate", win_rate, least=0, most=1)
    return clamp(ONE + 2 * (rate - _HALF), _HALF, Decimal("1.5"))


@fixed_precision
def spread_factor(spread: Decimal) -> Decimal:
    """Return the factor of a spread in basis points: 1 up to 10, then falling."""
    bps = checked("spread", spread, least=0)
    return ONE if bps <= BASE else BASE / bps


@fixed_precision
def account_factor(equity: Decimal) -> Decimal:
    """Return the factor of an account's size: 1 at 5,000 US dollars, 0.75 to 1.5; the least for an empty account."""
    balance = checked("equity", equity, least=0)
    least = Decimal("0.75")
    return least if balance <= ONE else clamp(log10(balance) / log10(LARGE_FROM), least, Decimal("1.5"))


@fixed_precision
def depth_score(book: OrderBook) -> Decimal | None:
    """Return 20 to 100 for the value of the smaller side in the first five levels; None if a side is empty."""
    sides = [total(level.price * level.quantity for level in usable(side, DEPTH_LEVELS)) for side in _sides(book)]
    value = min(sides)
    if value <= 0:
        return None
    return clamp(_LEAST_DEPTH + 40 * log10(value / _DEPTH_VALUE), _LEAST_DEPTH, HUNDRED)


@fixed_precision
def spread_bps(book: OrderBook) -> Decimal | None:
    """Return the distance between best bid and ask in basis points of their mean; None if a side is empty."""
    bids, asks = (usable(side, 1) for side in _sides(book))
    if not bids or not asks:
        return None
    bid, ask = bids[0].price, asks[0].price
    return max(ZERO, ask - bid) / ((ask + bid) / 2) * _BASIS_POINTS


def _sides(book: OrderBook) -> tuple[tuple[BookLevel, ...], tuple[BookLevel, ...]]:
    return book.bids, book.asks


def _confidence(market: MarketFacts, factors: LeverageFactors) -> int:
    """A wide range of prices and a thin book each cost confidence."""
    atr, depth = market.atr_pct or ZERO, factors.depth * HUNDRED
    lost_by_atr = next((lost for above, lost in LOST_BY_ATR if atr > above), 0)
    lost_by_depth = next((lost for below, lost in LOST_BY_DEPTH if depth < below), 0)
    return 100 - lost_by_atr - lost_by_depth
